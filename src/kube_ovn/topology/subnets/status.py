"""The status that a Subnet, an IPPool or a Vpc should have. Pure: counts are derived each time, never kept.

`controller.send` fills in the times of conditions: nothing here reads a clock.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from kube_ovn.model import crd, names
from kube_ovn.model.addr import format_list
from kube_ovn.model.kube import ObjectMeta
from kube_ovn.model.network import Subnet
from kube_ovn.model.ranges import format_ranges
from kube_ovn.topology.addresses.span import Usage
from kube_ovn.topology.gateways.groups import Exit
from kube_ovn.topology.subnets.pool import PoolVerdict

MOST_RANGES = 100
"""The most ranges shown in a status: a summary, not thousands of addresses."""
MOST_EXACT = 1 << 53
"""Above this number a JSON number is a double to many readers, the API server among them."""

MOST_OF_A_MESSAGE = 4096
READY, VALIDATED, GATEWAY = "Ready", "Validated", names.GATEWAY_CONDITION


def subnet_status(
    subnet: crd.Subnet,
    accepted: Subnet | None,
    complaint: str,
    usage: Sequence[Usage],
    waiting_for: str | None,
    way: Exit | None,
    nat_rules: Sequence[crd.EffectiveNatRule] = (),
    *,
    in_effect: bool,
) -> crd.SubnetStatus:
    """The status of a Subnet.

    `waiting_for`: what the removal of the Subnet waits for; None when it is not being deleted. `way`: the exit of the
    Subnet, if it is centralized. `nat_rules`: the rules of its spec that can be read.
    """
    conditions = _conditions(subnet.metadata, complaint, _readiness(complaint, waiting_for, in_effect))
    if way is not None:
        conditions = (*conditions, _condition(subnet.metadata, GATEWAY, *_gateway(way)))
    status = crd.SubnetStatus(
        conditions=conditions,
        cidr_block=format_list(accepted.cidrs) if accepted else "",
        gateway=format_list(accepted.gateways) if accepted else "",
        activate_gateway=format_list(way.carriers) if way is not None else "",
        nat_outgoing_policy_rules=tuple(nat_rules) if accepted else (),
    )
    return replace(status, **_counts(usage))


def pool_status(pool: crd.IPPool, verdict: PoolVerdict, usage: Sequence[Usage]) -> crd.IPPoolStatus:
    """The status of an IPPool. `usage`: one entry for each CIDR of the subnet."""
    readiness = ("True", "", "") if any(verdict.ranges) else ("False", names.VALIDATE_SUBNET_FAILED, verdict.refusal)
    status = crd.IPPoolStatus(conditions=_conditions(pool.metadata, verdict.refusal, readiness))
    return replace(status, **_counts(usage))


def vpc_status(vpc: crd.Vpc, router: str, default: str, subnets: Sequence[str]) -> crd.VpcStatus:
    """The status of the default Vpc. Any other Vpc is not supported yet, and its status says so."""
    meta = vpc.metadata
    if meta.name != router:
        complaint = f"custom VPCs are not supported yet; subnets use Vpc {router}"
        return crd.VpcStatus(conditions=_conditions(meta, complaint, ("False", names.NOT_SUPPORTED, complaint)))
    return crd.VpcStatus(
        conditions=_conditions(meta, "", ("True", "", "")),
        standby=True,
        default=True,
        router=router,
        default_logical_switch=default,
        subnets=tuple(sorted(subnets)),
    )


def same(one: crd.SubnetStatus | crd.IPPoolStatus | crd.VpcStatus, other: object) -> bool:
    """Whether two statuses say the same, apart from times."""
    return _timeless(one) == (_timeless(other) if isinstance(other, type(one)) else None)


def _timeless(
    status: crd.SubnetStatus | crd.IPPoolStatus | crd.VpcStatus,
) -> crd.SubnetStatus | crd.IPPoolStatus | crd.VpcStatus:
    bare = sorted((replace(each, last_transition_time="") for each in status.conditions), key=lambda each: each.type)
    return replace(status, conditions=tuple(bare), **_comparable(status))


def _comparable(status: crd.SubnetStatus | crd.IPPoolStatus | crd.VpcStatus) -> Mapping[str, object]:
    """Counts in one form: a count beyond the precision of a double comes back as an integer or as a float."""
    if isinstance(status, crd.VpcStatus):
        return {}
    return {
        name: float(value)
        for name in ("v4_available_ips", "v4_using_ips", "v6_available_ips", "v6_using_ips")
        if (value := getattr(status, name)) > MOST_EXACT
    }


def _readiness(complaint: str, waiting_for: str | None, in_effect: bool) -> tuple[str, str, str]:
    if waiting_for is not None:
        return "False", names.IN_USE, f"being deleted: waiting for {waiting_for}"
    if not in_effect:
        return "False", names.VALIDATE_SUBNET_FAILED if complaint else "", complaint
    return "True", "", ""


def _conditions(meta: ObjectMeta, complaint: str, ready: tuple[str, str, str]) -> tuple[crd.Condition, ...]:
    valid = (
        ("False", names.VALIDATE_SUBNET_FAILED, complaint) if complaint else ("True", names.VALIDATE_SUBNET_SUCCESS, "")
    )
    return (_condition(meta, READY, *ready), _condition(meta, VALIDATED, *valid))


def _condition(meta: ObjectMeta, kind: str, status: str, reason: str, message: str) -> crd.Condition:
    return crd.Condition(
        type=kind,
        status=status,
        reason=reason or f"{kind}{status}",
        message=message[:MOST_OF_A_MESSAGE],
        observed_generation=meta.generation,
    )


def _gateway(way: Exit) -> tuple[str, str, str]:
    """Status, reason and message of the condition that packets can leave a centralized subnet."""
    if way.flaw:
        return "False", names.NO_READY_GATEWAY, way.flaw
    return "True", names.GATEWAY_READY, "; ".join(way.absent)


def _counts(usage: Sequence[Usage]) -> Mapping[str, object]:
    """The fields that Subnets and IPPools have in common."""
    counts: dict[str, object] = {}
    for version, using, available in usage:
        counts |= {
            f"v{version}_available_ips": _number(available.size),
            f"v{version}_using_ips": _number(using.size),
            f"v{version}_available_ip_range": format_ranges(available, version, MOST_RANGES),
            f"v{version}_using_ip_range": format_ranges(using, version, MOST_RANGES),
        }
    return counts


def _number(count: int) -> int | float:
    return count if count <= MOST_EXACT else float(count)
