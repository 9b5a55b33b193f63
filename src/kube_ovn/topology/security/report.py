"""The status of a SecurityGroup, and the message for its user. Pure."""

import hashlib
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from kube_ovn.model import names
from kube_ovn.model.crd import Condition
from kube_ovn.model.network import Kind, ObjectRef, Told, cluster_ref
from kube_ovn.model.security import SecurityGroup, SecurityGroupRule, SecurityGroupStatus
from kube_ovn.model.writes import ApplyStatus, Aspect, WriteKey
from kube_ovn.topology.outputs import Wanted
from kube_ovn.topology.policy.rules import Direction
from kube_ovn.topology.subnets.status import MOST_OF_A_MESSAGE, READY, VALIDATED


def group_status(
    group: SecurityGroup, faults: Iterable[tuple[Direction, str]], *, lacking: Iterable[tuple[Direction, str]]
) -> SecurityGroupStatus:
    """The status that a SecurityGroup should have. `faults`: what cannot be understood in it, by direction; `lacking`:
    what else keeps its rules from working.
    """
    wrong, spec = tuple(faults), group.spec
    missing = (*wrong, *lacking)
    return SecurityGroupStatus(
        conditions=(
            _condition(group, READY, _join(missing)),
            _condition(group, VALIDATED, _join(wrong)),
        ),
        port_group=names.security_group(group.metadata.name),
        allow_same_group_traffic=spec.allow_same_group_traffic,
        ingress_md5=_digest(spec.ingress_rules),
        egress_md5=_digest(spec.egress_rules),
        ingress_last_sync_success=not any(direction is Direction.INGRESS for direction, _ in missing),
        egress_last_sync_success=not any(direction is Direction.EGRESS for direction, _ in missing),
    )


def status_write(group: SecurityGroup, wanted: SecurityGroupStatus) -> Wanted | None:
    """The write of a status; None when it says what it should."""
    if _timeless(group.status) == _timeless(wanted):
        return None
    fields = msgspec.to_builtins(wanted)
    del fields["conditions"]
    meta = group.metadata
    write = ApplyStatus(
        object=ref_of(group),
        version=meta.resource_version,
        status=fields,
        conditions=wanted.conditions,
        before=group.status.conditions,
    )
    return Wanted(WriteKey(meta.uid, Aspect.STATUS), write)


def complaint(group: SecurityGroup, faults: Iterable[tuple[Direction, str]]) -> Told | None:
    """The message for the user of a group that is not in effect whole."""
    if not (said := _join(faults)):
        return None
    return Told(
        object=ref_of(group),
        reason=names.SECURITY_GROUP_REFUSED,
        message=f"SecurityGroup {group.metadata.name}: {said}",
    )


def ref_of(group: SecurityGroup) -> ObjectRef:
    return cluster_ref(Kind.SECURITY_GROUP, group.metadata.name, group.metadata.uid)


def _join(faults: Iterable[tuple[Direction, str]]) -> str:
    return "; ".join(dict.fromkeys(text for _, text in faults))


def _condition(group: SecurityGroup, kind: str, fault: str) -> Condition:
    status = "False" if fault else "True"
    return Condition(
        type=kind,
        status=status,
        reason=names.SECURITY_GROUP_REFUSED if fault else f"{kind}{status}",
        message=fault[:MOST_OF_A_MESSAGE],
        observed_generation=group.metadata.generation,
    )


def _timeless(status: SecurityGroupStatus) -> SecurityGroupStatus:
    bare = sorted((replace(each, last_transition_time="") for each in status.conditions), key=lambda each: each.type)
    return replace(status, conditions=tuple(bare))


def _digest(rules: tuple[SecurityGroupRule, ...]) -> str:
    """A fingerprint of rules, by which users see whether a change has arrived."""
    return hashlib.md5(msgspec.json.encode(rules), usedforsecurity=False).hexdigest()
