"""`kubectl ko ipam explain`: the role of an address, the object that has it and since when, and the objects that had it
before. Writes nothing.

`observe_` asks the API server, with the rights of the user. Pure functions work out what the objects mean.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address

import msgspec
from rich.console import Console
from rich.table import Table

from kube_ovn.k8s.client import Client as Kube
from kube_ovn.k8s.client import KubeError
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.k8s.history import History
from kube_ovn.model import crd, names
from kube_ovn.model.addr import Address, format_list, parse_addresses
from kube_ovn.model.crd import IP, IPPool
from kube_ovn.model.history import Record
from kube_ovn.model.kube import Pod
from kube_ovn.model.network import Subnet
from kube_ovn.model.resource import IPPOOLS, IPS, PODS, SUBNETS
from kube_ovn.topology.addresses.memory import parse_ip
from kube_ovn.topology.addresses.own import is_reservation
from kube_ovn.topology.subnets.pool import judge_pools
from kube_ovn.topology.subnets.verdict import format_names, in_effect, parse_range, parse_subnet

NOT_FOUND = 404
_NO_PODS = (names.NODE_TYPE, names.CHECKS_TYPE)
WIDTH = 1000
"""The columns of a table. A time or an address that is cut off is of no use, so the terminal wraps long lines."""


class ExplainError(Exception):
    """Nothing is known of an address. The message is one sentence that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The objects that tell of addresses, and the Pods that have the address in question."""

    subnets: Sequence[crd.Subnet] = ()
    pools: Sequence[IPPool] = ()
    ips: Sequence[IP] = ()
    pods: Sequence[Pod] = ()
    records: Sequence[Record] = ()
    """Oldest first."""


class Location(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The Subnet that an address lies in, and the role of the address there."""

    subnet: str
    cidr: str
    in_effect: bool
    """Whether the Subnet was accepted; if not, `cidr` is only the wish of its spec."""
    role: str
    """`gateway`, `former gateway`, `network address`, `broadcast address`, or empty."""
    excluded_by: str
    pool: str


class Holder(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An IP object that has the address, and the phase of its Pod."""

    ip: str
    kind: str
    """`Pod`, `Node`, `HealthChecks` or `Reservation`."""
    namespace: str
    name: str
    """The name of the Pod or Node; for a reservation, of the Pod that it is for; for health checks, of the Subnet."""
    node: str
    addresses: str
    mac: str
    since: str
    sticky: bool
    phase: str
    """`NotFound` when there is no such Pod, `Terminating`, or as the Pod's status says; empty when the holder
    is no Pod.
    """


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All that is known of an address. `past`: the newest first. `remembered_since`: an RFC 3339 time; grants that
    ended earlier are not remembered.
    """

    address: str
    place: Location | None
    holders: tuple[Holder, ...]
    past: tuple[Record, ...]
    remembered_since: str


def parse_address(text: str) -> Address:
    """Parse an address in any form, also in brackets as in a URL, or mapped as in a dual-stack log. Raises
    ExplainError.
    """
    try:
        address = ip_address(text.strip().removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ExplainError(f"{text!r} is not an IP address; give one such as 10.16.0.5 or fd00:10:16::5") from None
    mapped = None if isinstance(address, IPv4Address) else address.ipv4_mapped
    return mapped or address


async def observe_address(kubeconfig: str, namespace: str, address: Address) -> Seen:
    """Read the objects that tell of an address. Raises KubeError, CredentialsError, ExplainError."""
    async with Kube(load_credentials(kubeconfig)) as kube:
        try:
            subnets, pools, ips = await kube.list(SUBNETS), await kube.list(IPPOOLS), await kube.list(IPS)
        except KubeError as error:
            if error.status != NOT_FOUND:
                raise
            raise ExplainError("this cluster does not know Subnets (kubeovn.io/v1): install Kube-OVN first") from None
        history = History(kube, namespace)
        await history.load()
        pods = [pod for ip in _having(ips.items, address) if (pod := await _observe_pod(kube, ip)) is not None]
    return Seen(subnets=subnets.items, pools=pools.items, ips=ips.items, pods=pods, records=history.records)


async def _observe_pod(kube: Kube, ip: IP) -> Pod | None:
    """The Pod with the name that an IP object is for; None when there is none."""
    namespace, name = _pod_name(ip)
    if not name:
        return None
    try:
        return await kube.get(PODS, namespace, name)
    except KubeError as error:
        if error.status != NOT_FOUND:
            raise
        return None


def explain(address: Address, seen: Seen) -> Answer:
    """All that is known of an address. Raises ExplainError when nothing is."""
    ips = _having(seen.ips, address)
    # An IP object counts until it is gone, even when its end is in the history already: the controller may have died
    # between writing the end and removing the object.
    current = {(ip.spec.owner_uid, ip.spec.ip_address, ip.metadata.creation_timestamp) for ip in ips}
    explanation = Answer(
        address=str(address),
        place=_place(address, seen),
        holders=tuple(_holder(ip, seen.pods) for ip in ips),
        past=tuple(
            record
            for record in reversed(seen.records)
            if address in _addresses(record) and record.identity not in current
        ),
        remembered_since=seen.records[0].until if seen.records else "",
    )
    if explanation.place is None and not explanation.holders and not explanation.past:
        there = [f"{subnet.name} ({format_list(subnet.cidrs)})" for _, subnet, _ in _subnets(seen.subnets)]
        raise ExplainError(f"{address} is in no subnet; the subnets are {format_names(there) or 'none'}")
    return explanation


def _place(address: Address, seen: Seen) -> Location | None:
    for item, subnet, accepted in _subnets(seen.subnets):
        for at, cidr in enumerate(subnet.cidrs):
            if address in cidr:
                verdicts = judge_pools(seen.pools, {subnet.name: subnet})
                pools = [name for name, each in verdicts.items() if each.ranges and int(address) in each.ranges[at]]
                return Location(
                    subnet=subnet.name,
                    cidr=str(cidr),
                    in_effect=accepted,
                    role=_role(address, subnet, seen.ips),
                    excluded_by=next((text for text in item.spec.exclude_ips if _covers(text, address)), ""),
                    pool=format_list(pools),
                )
    return None


def _subnets(items: Sequence[crd.Subnet]) -> Iterator[tuple[crd.Subnet, Subnet, bool]]:
    """The Subnets in effect, then the other ones, each with whether it is in effect. A Subnet that cannot be understood
    is left out.
    """
    ordered = sorted(items, key=lambda item: item.metadata.name)
    for item in ordered:
        if (subnet := in_effect(item)) is not None:
            yield item, subnet, True
    for item in ordered:
        if in_effect(item) is None:
            try:
                yield item, parse_subnet(item.metadata.name, item.spec.cidr_block, item.spec.gateway), False
            except ValueError:
                continue


def _role(address: Address, subnet: Subnet, ips: Sequence[IP]) -> str:
    if address in subnet.gateways:
        return "gateway"
    for cidr in subnet.cidrs:
        if address == cidr.network_address:
            return "network address"
        if isinstance(cidr, IPv4Network) and address == cidr.broadcast_address:
            return "broadcast address"
    given = any(ip.spec.subnet == subnet.name and address in _gateways(ip) for ip in ips)
    return "former gateway" if given else ""


def _covers(text: str, address: Address) -> bool:
    """Whether an address is in the range of an entry of `excludeIps`."""
    try:
        low, high = parse_range(text)
    except ValueError:
        return False
    return low.version == address.version and int(low) <= int(address) <= int(high)


def _gateways(ip: IP) -> tuple[Address, ...]:
    try:
        return parse_ip(ip)[3]
    except ValueError:
        return ()


def _having(ips: Sequence[IP], address: Address) -> list[IP]:
    """The IP objects that have an address. A damaged one is left out."""
    found = []
    for ip in ips:
        try:
            if address in parse_ip(ip)[1]:
                found.append(ip)
        except ValueError:
            continue
    return found


def _addresses(record: Record) -> tuple[Address, ...]:
    try:
        return parse_addresses(record.addresses)
    except ValueError:
        return ()


def _holder(ip: IP, pods: Sequence[Pod]) -> Holder:
    spec, (namespace, name) = ip.spec, _pod_name(ip)
    kind = "Reservation" if is_reservation(ip) else spec.pod_type if spec.pod_type in _NO_PODS else "Pod"
    return Holder(
        ip=ip.metadata.name,
        kind=kind,
        namespace=namespace,
        name=spec.pod_name if kind in _NO_PODS else name,
        node=spec.node_name,
        addresses=format_list(parse_ip(ip)[1]),
        mac=spec.mac_address,
        since=ip.metadata.creation_timestamp,
        sticky=spec.pod_type == names.STATEFULSET,
        phase="" if kind in _NO_PODS else _phase(ip, pods),
    )


def _pod_name(ip: IP) -> tuple[str, str]:
    """Namespace and name of the Pod that an IP object is for; empty texts when it is for none.

    A reservation is for the Pod with a port of this name, whatever else its spec has.
    """
    if ip.spec.pod_type in _NO_PODS:
        return "", ""
    if is_reservation(ip):
        name, _, namespace = ip.metadata.name.rpartition(".")
        return (namespace, name) if name else ("", "")
    return ip.spec.namespace, ip.spec.pod_name


def _phase(ip: IP, pods: Sequence[Pod]) -> str:
    for pod in pods:
        meta, spec = pod.metadata, ip.spec
        same = is_reservation(ip) or spec.pod_type == names.STATEFULSET or meta.uid == spec.owner_uid
        if (meta.namespace, meta.name) == _pod_name(ip) and same:  # else it is the next Pod of the name
            return "Terminating" if meta.deletion_timestamp else pod.status.phase
    return "NotFound"


def format_rows(answer: Answer) -> list[tuple[str, str]]:
    """The location and the holders of an address, as labels and texts."""
    rows = [("address", answer.address)]
    place = answer.place
    if place is None:
        rows.append(("subnet", "none any more"))
    else:
        state = "" if place.in_effect else f", not in effect: `kubectl describe subnet {place.subnet}` says why"
        rows.append(("subnet", f"{place.subnet} ({place.cidr}){state}"))
        rows += [("is", text) for text in _format_place(place)]
    rows += [("held by", _format_holder(holder)) for holder in answer.holders] or [("held by", "none")]
    if not answer.past:
        since = f" since {answer.remembered_since}, when the history begins" if answer.remembered_since else ""
        rows.append(("before", f"none{since}"))
    return rows


def _format_place(place: Location) -> Iterator[str]:
    if place.role:
        yield f"{place.role} of the subnet"
    if place.excluded_by:
        yield f"excluded by {place.excluded_by}: not handed out"
    if place.pool:
        yield f"in IPPool {place.pool}"


def _format_holder(holder: Holder) -> str:
    owner = f"{holder.namespace}/{holder.name}".removeprefix("/")
    match holder.kind:
        case "Reservation":
            label = f"reservation {holder.ip}" + (f" for Pod {owner} ({holder.phase})" if owner else "")
        case "Node":
            label = f"node {owner}"
        case names.CHECKS_TYPE:
            label = f"health checks of Services' endpoints in Subnet {owner}"
        case _:
            label = f"Pod {owner} ({holder.phase})"
    parts = [label, f"since {holder.since}"]
    if holder.node and holder.kind != "Node":
        parts.append(f"on node {holder.node}")
    if holder.mac:
        parts.append(f"MAC {holder.mac}")
    if "," in holder.addresses:
        parts.append(f"with {holder.addresses}")
    if holder.sticky:
        parts.append("kept for the StatefulSet's Pod of this name")
    return ", ".join(parts)


def print_json(answer: Answer) -> None:
    print(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())


def print_table(answer: Answer) -> None:
    """Print what is known, then one line for each earlier holder of the address."""
    console = Console(width=WIDTH, markup=False, highlight=False)
    facts = Table(box=None, pad_edge=False, show_header=False)
    for label, text in format_rows(answer):
        facts.add_row(label, text)
    console.print(facts)
    if not answer.past:
        return
    past = Table("before", "since", "until", "MAC", box=None, pad_edge=False)
    for record in answer.past:
        past.add_row(record.holder, record.since, record.until, record.mac)
    print()
    console.print(past)
