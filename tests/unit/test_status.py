"""What the status of Subnets, IPPools and Vpcs says, and which two say the same."""

from typing import Any

import msgspec
import pytest

from kube_ovn.config import parse_list
from kube_ovn.model import crd, names
from kube_ovn.model.crd import Condition
from kube_ovn.model.kube import VersionedMeta
from kube_ovn.model.network import Subnet
from kube_ovn.model.ranges import Ranges
from kube_ovn.topology.addresses.ledger import Ledger, Owner, Usage
from kube_ovn.topology.subnets.pool import judge_pools
from kube_ovn.topology.subnets.status import MOST_RANGES, pool_status, same, subnet_status, vpc_status
from kube_ovn.topology.subnets.verdict import parse_subnet
from tests.small_clusters import pool, subnet

OBJECT = subnet("s", "10.0.0.0/29")
SUBNET = parse_subnet("s", "10.0.0.0/29")


def status(
    accepted: Subnet | None = SUBNET,
    complaint: str = "",
    usage: tuple[Usage, ...] = (),
    waiting_for: str | None = None,
    *,
    in_effect: bool = True,
) -> crd.SubnetStatus:
    return subnet_status(OBJECT, accepted, complaint, usage, waiting_for, None, in_effect=in_effect)


def said(made: crd.SubnetStatus | crd.IPPoolStatus | crd.VpcStatus) -> dict[str, tuple[str, str, str]]:
    return {each.type: (each.status, each.reason, each.message) for each in made.conditions}


def used(cidr: str, *owners: str, exclude: str = "") -> tuple[Usage, ...]:
    ledger = Ledger()
    ledger.put_subnet(parse_subnet("s", cidr, exclude=parse_list(exclude)))
    for name in owners:
        ledger.allocate(Owner(name, name), "s")
    return tuple(ledger.usage("s"))


# --- Conditions ---

VALID = ("True", names.VALIDATE_SUBNET_SUCCESS, "")


def test_a_subnet_in_effect_is_ready_and_validated() -> None:
    assert said(status()) == {"Ready": ("True", "ReadyTrue", ""), "Validated": VALID}


def test_a_subnet_that_was_refused_is_neither() -> None:
    failed = ("False", names.VALIDATE_SUBNET_FAILED, "too small")
    assert said(status(None, "too small", in_effect=False)) == {"Ready": failed, "Validated": failed}


def test_a_change_that_was_refused_leaves_a_subnet_ready() -> None:
    made = status(complaint="it cannot")
    assert said(made) == {
        "Ready": ("True", "ReadyTrue", ""),
        "Validated": ("False", names.VALIDATE_SUBNET_FAILED, "it cannot"),
    }
    assert (made.cidr_block, made.gateway) == ("10.0.0.0/29", "10.0.0.1")


def test_what_was_accepted_and_is_not_in_effect_yet_is_validated_and_not_ready() -> None:
    made = status(in_effect=False)
    assert said(made) == {"Ready": ("False", "ReadyFalse", ""), "Validated": VALID}
    assert made.cidr_block == "10.0.0.0/29"


def test_a_subnet_that_is_being_deleted_says_for_whom_it_waits() -> None:
    assert said(status(waiting_for="Pod default/a"))["Ready"] == (
        "False",
        names.IN_USE,
        "being deleted: waiting for Pod default/a",
    )


def test_conditions_are_about_the_generation_that_was_looked_at() -> None:
    metadata = msgspec.structs.replace(OBJECT.metadata, generation=7)
    made = subnet_status(msgspec.structs.replace(OBJECT, metadata=metadata), SUBNET, "", [], None, None, in_effect=True)
    assert [each.observed_generation for each in made.conditions] == [7, 7]


def test_conditions_have_no_times_and_always_a_reason() -> None:
    for made in (status(), status(None, "no", in_effect=False), status(in_effect=False), status(waiting_for="x")):
        assert all(each.reason and not each.last_transition_time for each in made.conditions)


# --- What is in effect and what is used ---


def test_both_families_are_shown_in_their_order() -> None:
    made = status(parse_subnet("s", "fd00::/64,10.0.0.0/29"))
    assert (made.cidr_block, made.gateway) == ("fd00::/64,10.0.0.0/29", "fd00::1,10.0.0.1")


def test_nothing_accepted_is_nothing_shown() -> None:
    made = status(None, "no", in_effect=False)
    assert (made.cidr_block, made.gateway, made.v4_available_ips) == ("", "", 0)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ((), (0, 0, "", "", 0, 0, "", "")),
        (used("10.0.0.0/29"), (5, 0, "10.0.0.2-10.0.0.6", "", 0, 0, "", "")),
        (
            used("10.0.0.0/29", "a", "b", exclude="10.0.0.4"),
            (2, 2, "10.0.0.5-10.0.0.6", "10.0.0.2-10.0.0.3", 0, 0, "", ""),
        ),
        (used("fd00::/126", "a"), (0, 0, "", "", 1, 1, "fd00::3", "fd00::2")),
        (
            used("10.0.0.0/30,fd00::/126", "a"),
            (0, 1, "", "10.0.0.2", 1, 1, "fd00::3", "fd00::2"),
        ),
    ],
)
def test_counts_and_ranges_of_each_family(usage: tuple[Usage, ...], expected: tuple[Any, ...]) -> None:
    made = status(usage=usage)
    v4 = (made.v4_available_ips, made.v4_using_ips, made.v4_available_ip_range, made.v4_using_ip_range)
    v6 = (made.v6_available_ips, made.v6_using_ips, made.v6_available_ip_range, made.v6_using_ip_range)
    assert (*v4, *v6) == expected


@pytest.mark.parametrize(
    ("count", "shown"),
    [(1 << 53, 1 << 53), ((1 << 53) + 1, float(1 << 53)), ((1 << 64) - 2, float(1 << 64)), (1 << 112, float(1 << 112))],
)
def test_a_count_beyond_what_a_double_holds_is_the_double_the_api_server_keeps(count: int, shown: float) -> None:
    made = status(usage=(Usage(6, Ranges(), Ranges.of([(1, count)])),))
    assert made.v6_available_ips == shown
    assert type(made.v6_available_ips) is type(shown)
    assert msgspec.json.decode(msgspec.json.encode(made), type=crd.SubnetStatus) == made


def test_a_status_is_a_summary_whatever_is_used() -> None:
    numbers = Ranges.of_numbers(range(10, 10 + 6 * MOST_RANGES, 2))
    made = status(usage=(Usage(4, numbers, Ranges()),))
    assert made.v4_using_ip_range.count(",") == MOST_RANGES
    assert made.v4_using_ip_range.endswith(f",and {2 * MOST_RANGES} more")
    assert made.v4_using_ips == 3 * MOST_RANGES


# --- The API's spelling (contract) ---


def test_fields_are_spelt_as_the_contract_has_them() -> None:
    assert {"v4availableIPs", "v4usingIPs", "v6availableIPrange", "cidrBlock"} <= msgspec.to_builtins(status()).keys()
    assert {"v4AvailableIPs", "v6UsingIPRange"} <= msgspec.to_builtins(crd.IPPoolStatus()).keys()


# --- Pools and Vpcs ---


def pool_said(*ips: str, of: str = "s") -> crd.IPPoolStatus:
    made = pool("few", of, *ips)
    verdict = judge_pools([made], {"s": SUBNET})["few"]
    ledger = Ledger()
    ledger.put_subnet(SUBNET, {"few": verdict.ranges} if verdict.ranges else {})
    if verdict.ranges:
        ledger.allocate(Owner("a", "a"), "s", pool="few")
    ledger.allocate(Owner("b", "b"), "s")
    return pool_status(made, verdict, ledger.usage("s", "few") if verdict.ranges else [])


def test_a_pool_counts_its_own() -> None:
    made = pool_said("10.0.0.3..10.0.0.5")
    assert said(made) == {"Ready": ("True", "ReadyTrue", ""), "Validated": VALID}
    assert (made.v4_available_ips, made.v4_using_ips) == (2, 1)
    assert (made.v4_available_ip_range, made.v4_using_ip_range) == ("10.0.0.4-10.0.0.5", "10.0.0.3")


def test_a_pool_of_which_a_part_counts_is_ready_and_told() -> None:
    conditions = said(pool_said("10.0.0.3", "10.9.0.1"))
    assert conditions["Ready"][0] == "True"
    assert conditions["Validated"][:2] == ("False", names.VALIDATE_SUBNET_FAILED)
    assert "10.9.0.1 is not in the CIDR" in conditions["Validated"][2]


def test_a_pool_without_a_subnet_is_not_ready() -> None:
    failed = ("False", names.VALIDATE_SUBNET_FAILED, "subnet gone does not exist or is not ready")
    assert said(pool_said("10.0.0.3", of="gone")) == {"Ready": failed, "Validated": failed}


def vpc(name: str) -> crd.Vpc:
    return crd.Vpc(metadata=msgspec.convert({"name": name, "uid": name}, VersionedMeta))


def test_the_default_vpc_is_ready_and_lists_its_subnets() -> None:
    made = vpc_status(vpc("ovn-cluster"), "ovn-cluster", "ovn-default", ["ovn-default", "blue", "join"])
    assert said(made) == {"Ready": ("True", "ReadyTrue", ""), "Validated": VALID}
    assert (made.standby, made.default, made.router, made.default_logical_switch, made.subnets) == (
        True,
        True,
        "ovn-cluster",
        "ovn-default",
        ("blue", "join", "ovn-default"),
    )


def test_any_other_vpc_is_told_that_it_is_not_supported() -> None:
    made = vpc_status(vpc("blue"), "ovn-cluster", "ovn-default", ["ovn-default"])
    assert said(made)["Ready"] == (
        "False",
        names.NOT_SUPPORTED,
        "custom VPCs are not supported yet; subnets use Vpc ovn-cluster",
    )
    assert (made.standby, made.default, made.router, made.subnets) == (False, False, "", ())


# --- Sameness ---


def timed(made: crd.SubnetStatus, time: str) -> crd.SubnetStatus:
    conditions = (msgspec.structs.replace(each, last_transition_time=time) for each in made.conditions)
    return msgspec.structs.replace(made, conditions=tuple(conditions))


def test_times_and_the_order_of_conditions_make_no_difference() -> None:
    there = timed(status(), "2026-01-01T00:00:00Z")
    there = msgspec.structs.replace(there, conditions=there.conditions[::-1])
    assert same(status(), there)


@pytest.mark.parametrize(
    "other",
    [
        status(complaint="no"),
        status(usage=used("10.0.0.0/29", "a")),
        status(parse_subnet("s", "10.0.0.0/28")),
        status(parse_subnet("s", "10.0.0.0/29", "10.0.0.2")),
        msgspec.structs.replace(status(), conditions=()),
        msgspec.structs.replace(status(), conditions=(*status().conditions, Condition(type="Odd", status="True"))),
        crd.SubnetStatus(),
        crd.IPPoolStatus(),
        None,
    ],
)
def test_anything_else_makes_a_difference(other: object) -> None:
    assert not same(status(), other)
