"""The grants of earlier passes, read back from where they were written: `IP` objects, ports, annotations.

The truth is the IP object: it is written before anything uses the address. A port of the Northbound database is the
next witness, and annotations are the last, where the kubelet reports the same addresses. Ports and annotations count
when the IP objects were lost, as on an upgrade from a version that had none. Where two witnesses disagree, an address
in use (a port) stays with the Pod or Node that uses it.

A key names the owner of a grant. It is the UID of a Pod or Node. For a Pod of a StatefulSet it is the UID of the
StatefulSet and the full name of the Pod, because the address outlives the Pod; the key says nothing on whether that
StatefulSet exists (`addresses.parents`). For a reservation that a user made it is the UID of the IP object itself. For
the address that endpoints in a subnet are checked from, it is the UID of the Subnet.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from kube_ovn.derive import Collection, Derived, Graph, Read
from kube_ovn.model import names
from kube_ovn.model.addr import Address, parse_addresses, parse_mac
from kube_ovn.model.crd import IP
from kube_ovn.model.history import Record
from kube_ovn.model.kube import Node, Pod
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.network import Grant
from kube_ovn.model.row import State
from kube_ovn.topology.addresses.own import OwnNames, is_reservation
from kube_ovn.topology.addresses.span import Owner


def owner_of(item: Node | Pod) -> Owner:
    """The owner of the grant of a Node or Pod, when no reservation owns it."""
    meta = item.metadata
    if isinstance(item, Node):
        return Owner(meta.uid, f"node {meta.name}")
    label = f"Pod {meta.namespace}/{meta.name}"
    parent = item.stateful_set
    return Owner(meta.uid if parent is None else f"{parent.uid}/{meta.namespace}/{meta.name}", label)


def owner_of_ip(ip: IP) -> Owner:
    """The owner of the grant that an IP object records."""
    spec = ip.spec
    if not spec.owner_uid:
        return Owner(ip.metadata.uid, f"reservation {ip.metadata.name}")
    if spec.pod_type == names.NODE_TYPE:
        return Owner(spec.owner_uid, f"node {spec.pod_name}")
    if spec.pod_type == names.CHECKS_TYPE:
        return Owner(spec.owner_uid, f"health checks in Subnet {spec.subnet}")
    name = f"{spec.namespace}/{spec.pod_name}"
    return Owner(f"{spec.owner_uid}/{name}" if spec.pod_type == names.STATEFULSET else spec.owner_uid, f"Pod {name}")


def is_completed(ip: IP) -> bool:
    """Whether a reservation was granted once: then the fields that its user left out were written to it."""
    return is_reservation(ip) and ip.metadata.labels.get(names.IP_RESERVED) == "true" and bool(ip.spec.mac_address)


def is_kept(ip: IP) -> bool:
    """Whether an IP object that is deleted stays, because it has finalizers of others."""
    return any(each != names.FINALIZER for each in ip.metadata.finalizers)


def parse_ip(ip: IP) -> tuple[str, tuple[Address, ...], str | None, tuple[Address, ...]]:
    """Subnet, addresses, MAC (None when a reservation leaves it open) and gateways of an IP object.

    Raises ValueError with a sentence for its user.
    """
    spec = ip.spec
    if not spec.addresses:
        raise ValueError("it names no address; set v4IpAddress, v6IpAddress or both")
    mac = parse_mac(spec.mac_address) if spec.mac_address else None
    return spec.subnet, parse_addresses(spec.addresses), mac, parse_addresses(spec.gateway) if spec.gateway else ()


def read_addresses(ip: IP) -> tuple[Address, ...]:
    """The addresses that an IP object names; none when the object is damaged."""
    try:
        return parse_ip(ip)[1]
    except ValueError:
        return ()


@dataclass(frozen=True, slots=True)
class Recorded:
    """An IP object, and the owner and grant that it records."""

    ip: IP
    owner: Owner
    grant: Grant | None
    """None for a reservation that leaves something open, and for a damaged IP object."""


def define_recorded(graph: Graph, ips: Collection[str, IP], own: OwnNames) -> Derived[str, IP, Recorded]:
    """Derive the owner and the grant that each IP object records, by the name of the object. A reservation with a name
    of the fabric's own records nothing.
    """

    def find(read: Read, name: str, ip: IP) -> Recorded | None:
        if is_reservation(ip) and own.has(read, name):
            return None
        return Recorded(ip, owner_of_ip(ip), recorded(ip))

    return graph.derive("recorded", ips, find)


def recorded(ip: IP) -> Grant | None:
    """The grant that an IP object records; None when the object is damaged or leaves the MAC address open."""
    try:
        subnet, addresses, mac, gateways = parse_ip(ip)
    except ValueError:
        return None
    return None if mac is None else Grant(subnet=subnet, addresses=addresses, mac=mac, gateways=gateways)


def remembered(item: Node | Pod) -> Grant | None:
    """The grant that the annotations of a Node or Pod record; None when they record none, or are damaged. Who makes a
    Pod writes its annotations: they count when the kubelet reports the addresses as well, which only a Pod that was
    connected has.
    """
    annotations = item.metadata.annotations
    if annotations.get(names.ALLOCATED) != "true":
        return None
    try:
        grant = Grant(
            subnet=annotations[names.LOGICAL_SWITCH],
            addresses=parse_addresses(annotations[names.IP_ADDRESS]),
            mac=parse_mac(annotations[names.MAC_ADDRESS]),
        )
    except (KeyError, ValueError):
        return None
    return grant if isinstance(item, Node) or reports(item, grant) else None


def reports(pod: Pod, grant: Grant) -> bool:
    """Whether the kubelet reports the addresses of a grant for a Pod: it is connected with them."""
    try:
        return {ip_address(each.ip) for each in pod.status.pod_ips} == set(grant.addresses)
    except ValueError:
        return False


def confirmed(state: State) -> dict[str, Grant]:
    """The grants that kube-ovn's own ports carry, by the UID of the Pod or Node. Damaged ports are left out."""
    grants: dict[str, Grant] = {}
    for row in state.values():
        if not isinstance(row, LogicalSwitchPort) or names.OWNER_UID not in row.external_ids:
            continue
        mac, _, addresses = " ".join(row.addresses).partition(" ")
        try:
            grants[row.external_ids[names.OWNER_UID]] = Grant(
                subnet=row.external_ids["ls"],
                addresses=parse_addresses(addresses.replace(" ", ",")),
                mac=parse_mac(mac),
            )
        except (KeyError, ValueError):
            continue
    return grants


def released(history: Iterable[Record]) -> dict[str, list[Address]]:
    """The addresses that were released, by subnet, oldest first. Damaged records are left out."""
    found: dict[str, list[Address]] = {}
    for record in history:
        try:
            found.setdefault(record.subnet, []).extend(parse_addresses(record.addresses))
        except ValueError:
            continue
    return found
