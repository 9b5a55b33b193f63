"""Subnets as users wish them: what is read, what is refused and why, and what stays in effect."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from kube_ovn.model import crd, names
from kube_ovn.model.addr import Address, format_list, parse_networks
from kube_ovn.model.kube import Pod
from kube_ovn.model.network import Subnet
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.subnets.verdict import (
    format_names,
    in_effect,
    parse_range,
    parse_subnet,
)
from tests.judging import Judging, Users, Verdict
from tests.small_clusters import Api, World, address, fabric, node, pod, settle, subnet

OLD, NEW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
SERVICES = parse_networks("10.96.0.0/12,fd00:10:96::/112")


def accepted(name: str, cidr: str, gateway: str = "", **fields: Any) -> crd.Subnet:
    """A Subnet whose status says what was accepted: by default, what its spec asks for."""
    made = subnet(name, fields.pop("asks", cidr), **fields)
    effective = parse_subnet(name, cidr, gateway)
    status = crd.SubnetStatus(cidr_block=format_list(effective.cidrs), gateway=format_list(effective.gateways))
    return msgspec.structs.replace(made, status=status)


JOIN = accepted("join", "100.64.0.0/16")
DEFAULT = accepted("ovn-default", "10.16.0.0/16")


def verdicts(*subnets: crd.Subnet, users: Mapping[str, Users] | None = None) -> Mapping[str, Verdict]:
    judging = Judging()
    judging.put(JOIN, DEFAULT, *subnets)
    for name, each in (users or {}).items():
        judging.use(name, each)
    return judging.verdicts()


def used(*texts: str) -> list[tuple[Address, str]]:
    return [(ip_address(text), f"Pod default/p{number}") for number, text in enumerate(texts)]


def shown(made: Subnet | None) -> str:
    return "" if made is None else f"{format_list(made.cidrs)} {format_list(made.gateways)}"


# --- One Subnet's texts ---


@pytest.mark.parametrize(
    ("cidr", "gateway", "expected"),
    [
        ("10.0.0.0/24", "", "10.0.0.0/24 10.0.0.1"),
        ("10.0.0.0/30", "", "10.0.0.0/30 10.0.0.1"),
        ("fd00::/126", "", "fd00::/126 fd00::1"),
        ("10.0.0.0/24", "10.0.0.254", "10.0.0.0/24 10.0.0.254"),
        ("10.0.0.0/24, fd00::/64", "", "10.0.0.0/24,fd00::/64 10.0.0.1,fd00::1"),
        ("10.0.0.0/24,fd00::/64", "fd00::ff", "10.0.0.0/24,fd00::/64 10.0.0.1,fd00::ff"),
        ("fd00::/64,10.0.0.0/24", "10.0.0.9,fd00::ff", "fd00::/64,10.0.0.0/24 fd00::ff,10.0.0.9"),
        ("fd00::/64", "fd00::ffff:ffff:ffff:ffff", "fd00::/64 fd00::ffff:ffff:ffff:ffff"),
        ("FD00::/64", "FD00:0::A", "fd00::/64 fd00::a"),
    ],
)
def test_a_subnet_is_read(cidr: str, gateway: str, expected: str) -> None:
    assert shown(parse_subnet("s", cidr, gateway)) == expected


@pytest.mark.parametrize(
    ("cidr", "gateway", "message"),
    [
        ("", "", "'' is not a CIDR"),
        ("10.0.0.0/24,", "", "'' is not a CIDR"),
        ("nonsense", "", "'nonsense' is not a CIDR"),
        ("10.0.0.1/24", "", "10.0.0.1/24 has host bits set"),
        ("10.0.0.0/33", "", "not a CIDR"),
        ("10.0.0.0/31", "", "CIDR 10.0.0.0/31 is too small; it must hold at least 4 addresses"),
        ("10.0.0.5/32", "", "CIDR 10.0.0.5/32 is too small"),
        ("10.0.0.5", "", "CIDR 10.0.0.5/32 is too small"),
        ("fd00::/127", "", "CIDR fd00::/127 is too small"),
        ("fd00::1/128", "", "CIDR fd00::1/128 is too small"),
        ("10.0.0.0/24,fd00::/127", "", "CIDR fd00::/127 is too small"),
        ("10.0.0.0/24,10.1.0.0/24", "", "two entries of the same IP family"),
        ("127.0.0.0/8", "", "loopback"),
        ("169.254.0.0/16", "", "link-local"),
        ("224.0.0.0/4", "", "multicast"),
        ("fe80::/64", "", "link-local"),
        ("ff00::/8", "", "multicast"),
        ("10.0.0.0/24", "10.1.0.1", "gateway 10.1.0.1 is not a host address of CIDR 10.0.0.0/24"),
        ("10.0.0.0/24", "10.0.0.0", "gateway 10.0.0.0 is not a host address"),
        ("10.0.0.0/24", "10.0.0.255", "gateway 10.0.0.255 is not a host address"),
        ("fd00::/64", "fd00::", "gateway fd00:: is not a host address"),
        ("fd00::/64", "fd01::1", "gateway fd01::1 is not a host address of CIDR fd00::/64"),
        ("10.0.0.0/24", "fd00::1", "gateway fd00::1 is of another IP family than CIDR 10.0.0.0/24"),
        ("10.0.0.0/24", "10.0.0.1,10.0.0.2", "two entries of the same IP family"),
        ("10.0.0.0/24", "first", "'first' is not an IP address"),
    ],
)
def test_a_wrong_subnet_says_why(cidr: str, gateway: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_subnet("s", cidr, gateway)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("10.0.0.5", "10.0.0.5", "10.0.0.5"),
        ("10.0.0.5..10.0.0.9", "10.0.0.5", "10.0.0.9"),
        (" 10.0.0.5 .. 10.0.0.9 ", "10.0.0.5", "10.0.0.9"),
        ("fd00::5..fd00::a", "fd00::5", "fd00::a"),
    ],
)
def test_a_range_is_read(text: str, low: str, high: str) -> None:
    assert parse_range(text) == (ip_address(low), ip_address(high))


@pytest.mark.parametrize(
    "text", ["", "..", "10.0.0.9..10.0.0.5", "10.0.0.5..fd00::5", "10.0.0.0/24", "a..b", "1..2..3"]
)
def test_a_wrong_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="range"):
        parse_range(text)


def test_what_is_excluded_of_a_family_it_has_not_is_left_out() -> None:
    made = parse_subnet("s", "10.0.0.0/24", exclude=["10.0.0.5..10.0.0.9", "fd00::5"])
    assert made.exclude == ((ip_address("10.0.0.5"), ip_address("10.0.0.9")),)


# --- One Subnet among others ---


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (subnet("s", "10.16.5.0/24"), "CIDR 10.16.5.0/24 overlaps 10.16.0.0/16 of subnet ovn-default; choose another"),
        (subnet("s", "10.0.0.0/8"), "overlaps"),
        (subnet("s", "100.64.9.0/24"), "CIDR 100.64.9.0/24 overlaps 100.64.0.0/16 of subnet join; choose another"),
        (subnet("s", "10.100.0.0/16"), "CIDR 10.100.0.0/16 overlaps the Service CIDR 10.96.0.0/12; choose another"),
        (subnet("s", "10.20.0.0/24,fd00:10::/32"), "CIDR fd00:10::/32 overlaps the Service CIDR fd00:10:96::/112"),
        (subnet("s", "10.20.0.0/24", gateway="10.21.0.1"), "gateway 10.21.0.1 is not a host address"),
        (subnet("s", "10.20.0.1/24"), "host bits"),
        (subnet("s", "10.20.0.0/31"), "too small"),
        (subnet("s", "10.20.0.0/32"), "too small"),
        (subnet("s", "fd20::/127"), "too small"),
        (subnet("s", "fd20::/128"), "too small"),
        (subnet("s", "10.20.0.0/24", exclude_ips=("10.20.0.9..10.20.0.5",)), "is not a range of addresses"),
        (subnet("s", ""), "cidrBlock is empty; set it"),
        (subnet("s", "10.20.0.0/24", vpc="blue"), "vpc blue is not ovn-cluster: custom VPCs are not supported yet"),
        (subnet("s", "10.20.0.0/24", vlan="v1"), "underlay subnets are not supported yet"),
        (subnet("s", "10.20.0.0/24", provider="net1.default.ovn"), "attachments are not supported yet"),
    ],
)
def test_a_new_subnet_that_cannot_be_is_refused_and_the_others_are_not(made: crd.Subnet, message: str) -> None:
    found = verdicts(made)
    assert found["s"].accepted is None
    assert message in found["s"].refusal
    assert {name for name, verdict in found.items() if verdict.refusal} == {"s"}
    assert (found["join"].accepted, found["ovn-default"].accepted) == (in_effect(JOIN), in_effect(DEFAULT))


@pytest.mark.parametrize(
    "made",
    [
        subnet("s", "10.20.0.0/24", vpc="ovn-cluster", provider="ovn"),
        subnet("s", "10.20.0.0/30"),
        subnet("s", "fd20::/126"),
        subnet("s", "10.17.0.0/16"),
        subnet("s", "10.112.0.0/12"),
    ],
)
def test_a_new_subnet_that_can_be_is_accepted(made: crd.Subnet) -> None:
    assert verdicts(made)["s"] == Verdict(accepted=parse_subnet("s", made.spec.cidr_block))


@pytest.mark.parametrize(("one", "other"), [("10.20.0.0/16", "10.20.3.0/24"), ("10.20.3.0/24", "10.20.0.0/16")])
def test_of_two_new_ones_that_overlap_the_older_wins(one: str, other: str) -> None:
    for objects in (
        [subnet("z", one, age=OLD), subnet("a", other, age=NEW)],
        [subnet("a", other, age=NEW), subnet("z", one, age=OLD)],
    ):
        found = verdicts(*objects)
        assert shown(found["z"].accepted).startswith(one)
        assert found["a"] == Verdict(accepted=None, refusal=f"CIDR {other} overlaps {one} of subnet z; choose another")


def test_of_two_of_one_age_the_first_by_name_wins() -> None:
    found = verdicts(subnet("b", "10.20.0.0/16"), subnet("a", "10.20.0.0/24"))
    assert found["a"].refusal == ""
    assert "subnet a" in found["b"].refusal


def test_what_is_in_effect_wins_over_an_older_wish() -> None:
    found = verdicts(subnet("older", "10.20.0.0/16", age=OLD), accepted("newer", "10.20.0.0/24", age=NEW))
    assert found["newer"] == Verdict(accepted=parse_subnet("newer", "10.20.0.0/24"))
    assert "overlaps 10.20.0.0/24 of subnet newer" in found["older"].refusal


def test_what_was_decided_and_is_not_written_yet_wins_over_an_older_wish() -> None:
    judging = Judging()
    judging.put(subnet("newer", "10.20.0.0/24", age=NEW))
    before = judging.verdicts()
    judging.put(subnet("older", "10.20.0.0/16", age=OLD))
    found = judging.verdicts()
    assert found["newer"] == before["newer"] == Verdict(parse_subnet("newer", "10.20.0.0/24"))
    assert "subnet newer" in found["older"].refusal


def test_a_refused_one_stands_in_nobodys_way() -> None:
    bad = subnet("bad", "10.96.0.0/16", age=OLD)
    worse = subnet("worse", "10.20.0.0/16,10.21.0.0/16", age=OLD)
    assert verdicts(bad, worse, subnet("s", "10.20.0.0/24", age=NEW))["s"].refusal == ""


# --- Changes ---


def change(asks: str, *users: str, gateway: str = "") -> Verdict:
    """What becomes of a subnet 10.20.0.0/24 that comes to ask for something else."""
    made = msgspec.structs.replace(subnet("s", asks, gateway=gateway), status=accepted("s", "10.20.0.0/24").status)
    return verdicts(made, users={"s": used(*users)})["s"]


HELD = parse_subnet("s", "10.20.0.0/24")


def test_a_change_that_keeps_everybody_is_accepted() -> None:
    assert change("10.20.0.0/23", "10.20.0.9", "10.20.0.254") == Verdict(accepted=parse_subnet("s", "10.20.0.0/23"))
    assert change("10.20.0.0/25", "10.20.0.9") == Verdict(accepted=parse_subnet("s", "10.20.0.0/25"))
    assert change("10.21.0.0/24") == Verdict(accepted=parse_subnet("s", "10.21.0.0/24"))
    assert change("10.20.0.0/24,fd20::/64", "10.20.0.9").refusal == ""


def test_a_change_that_leaves_users_outside_names_them() -> None:
    verdict = change("10.20.0.0/25", "10.20.0.9", "10.20.0.200", "10.20.0.201")
    assert verdict.accepted == HELD
    assert verdict.refusal == (
        "CIDR cannot change from 10.20.0.0/24 to 10.20.0.0/25: Pod default/p1 (10.20.0.200), "
        "Pod default/p2 (10.20.0.201) would be outside; delete them first"
    )


def test_of_many_users_outside_the_first_few_are_named() -> None:
    verdict = change("10.20.0.0/25", *(f"10.20.0.{number}" for number in range(200, 210)))
    assert "Pod default/p4 (10.20.0.204) and 5 more would be outside" in verdict.refusal
    assert "p5" not in verdict.refusal


@pytest.mark.parametrize("asks", ["10.20.0.0/25", "10.20.0.128/25"])
def test_an_address_that_would_be_the_networks_own_or_the_broadcast_address_is_outside(asks: str) -> None:
    assert "would be outside" in change(asks, "10.20.0.127" if asks.endswith("0.0/25") else "10.20.0.128").refusal


def test_the_gateway_cannot_become_what_somebody_has() -> None:
    verdict = change("10.20.0.0/24", "10.20.0.9", gateway="10.20.0.9")
    assert verdict == Verdict(
        accepted=HELD,
        refusal="gateway cannot be 10.20.0.9: it is the address of Pod default/p0; delete it first, or choose another",
    )


def test_the_gateway_may_become_what_nobody_has() -> None:
    verdict = change("10.20.0.0/24", "10.20.0.9", gateway="10.20.0.8")
    assert verdict == Verdict(accepted=parse_subnet("s", "10.20.0.0/24", "10.20.0.8"))


def test_a_change_cannot_bring_the_default_gateway_of_another_cidr_upon_somebody() -> None:
    made = msgspec.structs.replace(
        subnet("s", "10.20.0.128/25"), status=crd.SubnetStatus(cidr_block="10.20.0.0/24", gateway="10.20.0.1")
    )
    verdict = verdicts(made, users={"s": used("10.20.0.129")})["s"]
    assert verdict.refusal.startswith("gateway 10.20.0.1 would be outside, but it serves Pod default/p0")


def test_a_family_cannot_leave_with_its_users() -> None:
    made = accepted("s", "10.20.0.0/24,fd20::/64", asks="10.20.0.0/24")
    verdict = verdicts(made, users={"s": used("10.20.0.9", "fd20::9")})["s"]
    assert "Pod default/p1 (fd20::9) would be outside" in verdict.refusal
    assert verdict.accepted == in_effect(made)


@pytest.mark.parametrize("asks", ["10.16.9.0/24", "10.96.0.0/24", "nonsense", ""])
def test_a_change_that_cannot_be_leaves_what_is_in_effect(asks: str) -> None:
    verdict = change(asks, "10.20.0.9")
    assert verdict.accepted == HELD
    assert verdict.refusal


def test_what_is_excluded_may_be_in_use() -> None:
    made = accepted("s", "10.20.0.0/24", exclude_ips=("10.20.0.9",))
    assert verdicts(made, users={"s": used("10.20.0.9")})["s"].refusal == ""


def test_growth_into_another_is_refused_and_both_stay() -> None:
    found = verdicts(accepted("s", "10.20.0.0/24", asks="10.20.0.0/23"), accepted("t", "10.20.1.0/24"))
    assert found["s"].refusal == "CIDR 10.20.0.0/23 overlaps 10.20.1.0/24 of subnet t; choose another"
    assert found["s"].accepted == HELD
    assert found["t"].refusal == ""


# --- What the status says ---


@pytest.mark.parametrize(
    ("cidr", "gateway", "expected"),
    [
        ("", "", ""),
        ("", "10.20.0.1", ""),
        ("10.20.0.0/24", "10.20.0.1", "10.20.0.0/24 10.20.0.1"),
        ("10.20.0.0/24", "", "10.20.0.0/24 10.20.0.1"),
        ("10.20.0.0/24", "10.21.0.1", ""),
        ("nonsense", "10.20.0.1", ""),
    ],
)
def test_in_effect_is_what_the_status_says(cidr: str, gateway: str, expected: str) -> None:
    status = crd.SubnetStatus(cidr_block=cidr, gateway=gateway)
    made = msgspec.structs.replace(subnet("s", "10.99.0.0/24", gateway="10.99.0.9"), status=status)
    assert shown(in_effect(made)) == expected


def test_in_effect_has_what_the_spec_excludes_now() -> None:
    made = in_effect(accepted("s", "10.20.0.0/24", exclude_ips=("10.20.0.5",)))
    assert made is not None
    assert made.exclude == ((ip_address("10.20.0.5"), ip_address("10.20.0.5")),)


def test_a_fault_in_what_is_excluded_takes_nothing_out_of_effect() -> None:
    assert in_effect(accepted("s", "10.20.0.0/24", exclude_ips=("nonsense",))) == HELD


# --- Nodes ---


@pytest.mark.parametrize(
    ("cidr", "conflicts"), [("172.30.0.0/24", True), ("172.30.1.0/24", False), ("fd00::/64", False)]
)
def test_a_subnet_is_told_when_a_node_with_an_address_in_it_comes(cidr: str, conflicts: bool) -> None:
    api, topology = Api(subnet("s", cidr)), Topology(fabric())
    settle(topology, api)
    api.put(node("node1", 1))
    settle(topology, api)
    problems = topology.problems
    told = f"Subnet s: CIDR {cidr} contains address 172.30.0.11 of node node1; change one of them"
    assert [each.message for uid, each in problems.items() if uid == "subnet-uid-s"] == ([told] if conflicts else [])
    assert ("node-uid-node1" in problems) == conflicts


def test_names_are_shown_as_far_as_there_is_room() -> None:
    assert format_names(list("abcde")) == "a, b, c, d, e"
    assert format_names(list("abcdefg")) == "a, b, c, d, e and 2 more"


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "::/0", "::/64", "126.0.0.0/7", "169.0.0.0/8", "fe00::/7"])
def test_a_cidr_that_contains_special_addresses_is_refused(cidr: str) -> None:
    with pytest.raises(ValueError, match=r"holds (the unspecified|a loopback|a link-local) address; choose another"):
        parse_subnet("s", cidr)


def test_a_subnet_that_is_in_effect_over_special_addresses_is_told_and_stays() -> None:
    """It was made by a version that took it: its Pods go on, and its user is to move them."""
    status = crd.SubnetStatus(cidr_block="240.0.0.0/24", gateway="240.0.0.1")
    old = msgspec.structs.replace(subnet("s", "240.0.0.0/24"), status=status)
    world = World(node("node1", 1), old, pod("a", annotations={names.LOGICAL_SWITCH: "s"}))
    assert address(world.api.get(Pod, "a", "default")) == "240.0.0.2"
    assert world.cidr("s") == "240.0.0.0/24"
    assert world.told("subnet-uid-s") == "Subnet s: CIDR 240.0.0.0/24 holds a reserved address; choose another"
