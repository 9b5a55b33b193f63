"""The wishes of a Pod that has an address: what its annotations ask for, against what it got. Pure.

The controller publishes what the Pod got in the same annotations. So a wish is an annotation that says something else
than what is published, and a wish that lost is told before it is written over.
"""

from collections.abc import Iterator, Mapping

from kube_ovn.model import names
from kube_ovn.model.addr import format_list
from kube_ovn.model.kube import Pod
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.topology.addresses.grants import Pools
from kube_ovn.topology.addresses.holders import Holder
from kube_ovn.topology.addresses.memory import owner_of
from kube_ovn.topology.ports.pod import Request, against_routes, parse_request

_WISHES = (
    names.LOGICAL_SWITCH,
    names.IP_ADDRESS,
    names.MAC_ADDRESS,
    names.IP_POOL,
    names.IP_FAMILY,
    names.POD_NIC_TYPE,
    names.ROUTES,
)
_MOST_SHOWN = 3
"""Entries of a list of addresses that a sentence repeats."""


def has_wish(pod: Pod, published: Mapping[str, str]) -> bool:
    """Whether an annotation says something else than what is published."""
    annotations = pod.metadata.annotations
    return any(annotations[key] != published.get(key) for key in _WISHES if key in annotations)


def wish_faults(pod: Pod, holder: Holder, grant: Grant, subnet: Subnet, pools: Pools) -> list[str]:
    """A sentence for each wish that cannot be read, or that the Pod did not get. `pools`: those of the subnet;
    they are looked at until the Pod is connected.
    """
    try:
        request = parse_request(pod)
    except ValueError as error:
        return [str(error)]
    faults = [
        f"{key} asks for {asked}, and lost: {winner}"
        for key, asked, winner in _lost(pod, request, holder, grant, subnet, pools)
    ]
    if against := against_routes(request.routes, subnet, _versions(grant)):
        faults.append(against)
    return faults


def _lost(
    pod: Pod, request: Request, holder: Holder, grant: Grant, subnet: Subnet, pools: Pools
) -> Iterator[tuple[str, str, str]]:
    """The wishes that the Pod did not get: the annotation, what it asks for, and what won."""
    given, addresses, annotations = format_list(grant.addresses), set(grant.addresses), pod.metadata.annotations
    winner, one_of_two = _winner(pod, holder, given), f"{given}; remove one of the two"
    is_listed = any(set(entry) <= addresses for entry in request.choices)
    if request.subnets and grant.subnet not in request.subnets:
        yield names.LOGICAL_SWITCH, format_list(request.subnets), winner
    if not set(request.addresses) <= addresses:
        by = f"{names.IP_POOL} lists {one_of_two}" if is_listed else winner
        yield names.IP_ADDRESS, format_list(request.addresses), by
    if request.mac not in (None, grant.mac):
        yield names.MAC_ADDRESS, annotations[names.MAC_ADDRESS], winner
    if request.versions and request.versions != _versions(grant):
        yield names.IP_FAMILY, annotations[names.IP_FAMILY], winner
    if request.choices and not is_listed:
        yield names.IP_POOL, " or ".join(map(format_list, request.choices[:_MOST_SHOWN])), winner
    if request.pools and not pod.status.pod_ips and not _is_in(grant, subnet, request.pools, pools):
        by = f"{names.IP_ADDRESS} names {one_of_two}" if request.addresses and not _is_reserved(pod, holder) else winner
        yield names.IP_POOL, format_list(request.pools), by
    if annotations.get(names.POD_NIC_TYPE, names.VETH_PAIR) != names.VETH_PAIR:
        yield (
            names.POD_NIC_TYPE,
            repr(annotations[names.POD_NIC_TYPE][:100]),
            f"{names.VETH_PAIR} is the only one yet; remove it",
        )


def _winner(pod: Pod, holder: Holder, given: str) -> str:
    """The source of a Pod's addresses when they are not those that the Pod asks for, and what can be done."""
    if _is_reserved(pod, holder):
        return f"IP {holder.ip} reserves {given} for this Pod: change that IP, or the annotation"
    if pod.status.pod_ips:
        return f"the Pod has had {given} since it started: delete the Pod, so that the next one asks anew"
    if holder.pod_type == names.STATEFULSET:
        return f"IP {holder.ip} keeps {given} for each Pod of this name, until the StatefulSet has no place for it"
    return f"the Pod was given {given} before: delete the Pod, so that the next one asks anew"


def _is_reserved(pod: Pod, holder: Holder) -> bool:
    return holder.owner.key != owner_of(pod).key


def _is_in(grant: Grant, subnet: Subnet, named: tuple[str, ...], pools: Pools) -> bool:
    """Whether an address of a grant is in one of the pools that are named."""
    return any(
        address in cidr and int(address) in ranges
        for name in named
        for cidr, ranges in zip(subnet.cidrs, pools.get(name, ()), strict=False)
        for address in grant.addresses
    )


def _versions(grant: Grant) -> tuple[int, ...]:
    return tuple(address.version for address in grant.addresses)
