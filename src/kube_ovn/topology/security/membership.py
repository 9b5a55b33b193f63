"""Which groups a Pod names, and which it is in. Pure.

A Pod that names a group which is not there is in no group at all, and everything to and from it is dropped: what the
missing group was to drop is not known, so the other groups must not allow it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import Pod
from kube_ovn.model.nb import AddressSet, PortGroup
from kube_ovn.model.network import ObjectRef
from kube_ovn.model.row import Member
from kube_ovn.topology.ports.pod import needs_port, pod_ref

MOST_GROUPS = 100
"""Groups that one Pod may name."""
_MOST_SHOWN = 3
"""Names of missing groups in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The groups that a Pod names."""

    pod: ObjectRef
    groups: tuple[str, ...]
    """Each once, sorted."""
    fault: str = ""
    """Why the annotation has no effect, or is not understood."""


def parse_named(pod: Pod) -> Named | None:
    """The groups that the annotation of a Pod names; None when the Pod names none, or has ended."""
    text = pod.metadata.annotations.get(names.SECURITY_GROUPS, "")
    if not text.strip():
        return None
    ref = pod_ref(pod)
    if pod.spec.host_network:
        fault = f"annotation {names.SECURITY_GROUPS} has no effect on a Pod in the network of its node; remove it"
        return Named(pod=ref, groups=(), fault=fault)
    if not needs_port(pod):
        return None
    groups = sorted({each for part in text.split(",") if (each := part.strip())})
    if not groups:
        return Named(pod=ref, groups=(), fault=_closed(f"annotation {names.SECURITY_GROUPS} names no SecurityGroup"))
    if len(groups) > MOST_GROUPS:
        fault = _closed(f"annotation {names.SECURITY_GROUPS} names {len(groups)} groups; {MOST_GROUPS} are the most")
        return Named(pod=ref, groups=(), fault=fault)
    return Named(pod=ref, groups=tuple(groups))


def absence(missing: Iterable[str]) -> str:
    """The sentence on groups that a Pod names and that do not exist."""
    found = list(missing)
    shown = ", ".join(repr(each[:63]) for each in found[:_MOST_SHOWN])
    more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    kind = "SecurityGroup" if len(found) == 1 else "SecurityGroups"
    verb = "does" if len(found) == 1 else "do"
    return _closed(f"{kind} {shown}{more} of annotation {names.SECURITY_GROUPS} {verb} not exist")


def _closed(why: str) -> str:
    return f"{why}: until that is mended nothing is allowed to or from the Pod, other than from its node"


def tiers_of(named: Named, tier_of: Callable[[str], int | None]) -> frozenset[int]:
    """The tiers in which what no group allows is dropped. `tier_of`: the tier of a group, None when there is no such
    group.
    """
    tiers = [tier_of(each) for each in named.groups]
    is_closed = None in tiers or not tiers
    return frozenset({names.CLOSED_PODS}) if is_closed else frozenset(each for each in tiers if each is not None)


def members(
    named: Named, tier_of: Callable[[str], int | None], port: str, addresses: Iterable[Address]
) -> tuple[Member, ...]:
    """The memberships of a Pod's port and addresses."""
    tiers = tiers_of(named, tier_of)
    found = [Member(PortGroup.TABLE, names.denied_group(tier), "ports", port) for tier in sorted(tiers)]
    if names.CLOSED_PODS in tiers:
        return tuple(found)
    for group in named.groups:
        found.append(Member(PortGroup.TABLE, names.security_group(group), "ports", port))
        found += [
            Member(AddressSet.TABLE, names.security_group_set(group, address.version), "addresses", str(address))
            for address in addresses
        ]
    return tuple(found)
