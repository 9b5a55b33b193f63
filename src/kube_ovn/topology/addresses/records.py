"""`IP` objects, the records of grants: they are made, changed and removed here.

A record is removed only on proof that its owner is gone: its Pod or Node is gone; or its StatefulSet is gone, or has no
place for the Pod any more; or, for the address that endpoints in a Subnet are checked from, no Service asks for checks
there. A record that contradicts the grant of its owner is removed too, and made anew. A reservation is its user's to
remove. The addresses are free when the object is gone, not before.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import fields

from kube_ovn.derive import Graph, Index, Read, Source
from kube_ovn.model import names
from kube_ovn.model.addr import format_list
from kube_ovn.model.crd import IP, IPSpec
from kube_ovn.model.history import Record
from kube_ovn.model.network import Grant, Kind, ObjectRef, Told, cluster_ref
from kube_ovn.model.resource import ENDPOINT_SLICES, SERVICES, STATEFULSETS
from kube_ovn.model.writes import Aspect, Create, Delete, Patch, Write, WriteKey
from kube_ovn.topology.addresses.grants import ANOTHERS, Grants
from kube_ovn.topology.addresses.holders import Holder, Holders
from kube_ovn.topology.addresses.memory import Recorded, is_kept, owner_of_ip
from kube_ovn.topology.addresses.own import is_reservation
from kube_ovn.topology.addresses.parents import Parents
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.outputs import Outputs, Wanted

MOST_OF_A_LABEL = 400
"""Characters of a holder's label in the history. The names of a Namespace and a Pod together have fewer."""


def define_creation(
    graph: Graph, inputs: Inputs, outputs: Outputs, holders: Holders, checks: Source[str, Holder], grants: Grants
) -> None:
    """Read holders, grants and IP objects. Write the IP objects that are missing."""

    def create(read: Read, key: str, holder: Holder) -> Wanted | None:
        if read.get(inputs.ips, holder.ip) is not None:
            return None
        held = read.get(grants.held, holder.owner.key)
        if held is None or held.uid != holder.uid:
            return None
        return Wanted(_key(holder.ip), _create(holder, held.grant))

    sources: Iterable[tuple[str, Source[str, Holder]]] = (
        ("new records of Pods", holders.pods),
        ("new records of Nodes", holders.nodes),
        ("new records of checks", checks),
    )
    for name, source in sources:
        outputs.writes.follow(graph.derive(name, source, create))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The sources that changes of IP objects are derived from."""

    inputs: Inputs
    recorded: Source[str, Recorded]
    holders: Holders
    checks: Source[str, Holder]
    grants: Grants
    parents: Parents


def define_changes(graph: Graph, outputs: Outputs, on: Reads) -> Index[str, str, str]:
    """Change and remove IP objects, and tell the users of reservations. Returns the names of the objects that go, by
    the subnet in which an address is free then.
    """

    def change(read: Read, name: str, each: Recorded) -> Wanted | None:
        write = _change_reservation(read, on, each.ip) if is_reservation(each.ip) else _change_ours(read, on, each)
        return None if write is None else Wanted(_key(name), write)

    def leave(read: Read, name: str, wanted: Wanted) -> str | None:
        write, ip = wanted.write, read.get(on.inputs.ips, name)
        if not isinstance(write, Delete) or write.record is None or ip is None or is_kept(ip):
            return None
        return write.record.subnet

    def tell(read: Read, name: str, dispute: str) -> Told | None:
        ip = read.get(on.inputs.ips, name)
        if ip is None or not is_reservation(ip):
            return None
        ref = cluster_ref(Kind.IP, name, ip.metadata.uid)
        message = f"IP {name} reserves nothing: {dispute}"
        return Told(object=ref, reason=names.ACQUIRE_ADDRESS_FAILED, message=message)

    def tell_waiting(read: Read, name: str, each: Recorded) -> Told | None:
        ip = each.ip
        if not ip.metadata.deletion_timestamp or is_reservation(ip) or names.FINALIZER not in ip.metadata.finalizers:
            return None
        if read.get(changes, name) is not None:
            return None  # it goes, or is changed before it can
        ref = cluster_ref(Kind.IP, name, ip.metadata.uid)
        end = (
            "it does, or when its StatefulSet has no place for it"
            if ip.spec.pod_type == names.STATEFULSET
            else "it does"
        )
        message = f"IP {name} records the address of {each.owner.label}, which keeps it: the IP goes when {end}"
        return Told(object=ref, reason=names.ADDRESS_IN_USE, message=message, normal=True)

    changes = graph.derive("changes of records", on.recorded, change)
    outputs.writes.follow(changes)
    outputs.telling.follow(graph.derive("told of records that wait", on.recorded, tell_waiting))
    outputs.telling.follow(graph.derive("told of reservations", on.grants.disputed, tell))
    leaving = graph.derive("records that leave", changes, leave)
    return graph.index("records that leave by subnet", leaving, lambda name, subnet: (subnet,))


def find_kept(read: Read, inputs: Inputs, holder: Holder) -> str:
    """Why a grant cannot be recorded: an IP object with a former grant has the name, and cannot go. A sentence for the
    user of the holder; empty when none is in the way.
    """
    ip = read.get(inputs.ips, holder.ip)
    if ip is None or not is_kept(ip):
        return ""
    return (
        f"IP {holder.ip} is in the way: it records a former address, and its finalizers keep it; "
        f"`kubectl describe ip {holder.ip}` shows them, remove them"
    )


def _change_reservation(read: Read, on: Reads, ip: IP) -> Write | None:
    held = read.get(on.grants.held, ip.metadata.uid)
    if held is None:
        return None
    holder, node = on.holders.of_ip(read, ip.metadata.name), ip.spec.node_name
    if holder is not None and holder.owner.key == ip.metadata.uid:
        node = holder.node
    return _complete(ip, held.grant, node)


def _change_ours(read: Read, on: Reads, each: Recorded) -> Write | None:
    ip, owner = each.ip, each.owner
    holder = _holder_of(read, on, ip)
    if holder is not None and holder.owner.key == owner.key:
        held = read.get(on.grants.held, owner.key)
        agrees = held is not None and held.grant == each.grant
        if held is not None and held.uid and not agrees:
            return _delete(ip)
        if not agrees and read.get(on.grants.disputed, ip.metadata.name) == ANOTHERS:
            return _delete(ip)
        return _change_node(ip, holder) if ip.spec.node_name != holder.node else None
    if ip.spec.pod_type == names.STATEFULSET and holder is None and on.parents.has_place(read, ip):
        return _delete(ip) if read.get(on.grants.disputed, ip.metadata.name) == ANOTHERS else None
    needed = _NEEDED.get(ip.spec.pod_type, ())
    return None if any(read.get(on.inputs.unknown, kind) is True for kind in needed) else _delete(ip)


def _holder_of(read: Read, on: Reads, ip: IP) -> Holder | None:
    if ip.spec.pod_type == names.CHECKS_TYPE:
        found = read.get(on.checks, ip.spec.subnet)
        return found if found is not None and found.ip == ip.metadata.name else None
    return on.holders.of_ip(read, ip.metadata.name)


_NEEDED = {
    names.STATEFULSET: (STATEFULSETS.name,),
    names.CHECKS_TYPE: (SERVICES.name, ENDPOINT_SLICES.name),
}
"""By the type of a record, the kinds of objects that prove that its owner is gone. There is no proof while one of these
kinds is unknown.
"""


def _key(name: str) -> WriteKey:
    return WriteKey(f"{Kind.IP} {name}", Aspect.OBJECT)


def _delete(ip: IP) -> Delete:
    meta, spec = ip.metadata, ip.spec
    is_held = names.FINALIZER in meta.finalizers
    return Delete(
        object=cluster_ref(Kind.IP, meta.name, meta.uid),
        finalizer=names.FINALIZER if is_held else "",
        position=meta.finalizers.index(names.FINALIZER) if is_held else 0,
        record=Record(
            addresses=spec.ip_address,
            mac=spec.mac_address,
            subnet=spec.subnet,
            holder=owner_of_ip(ip).label[:MOST_OF_A_LABEL],
            uid=spec.owner_uid,
            since=meta.creation_timestamp,
            until="",
        ),
    )


def _complete(ip: IP, grant: Grant, node: str) -> Patch | None:
    """Fill in the fields that a user left out of a reservation, so that `kubectl get ip` shows it like any other IP
    object, and the node where it is used, which follows it. None when nothing is missing.
    """
    wanted = _addressing(grant)
    missing = {key: value for key, value in wanted.items() if value and not getattr(ip.spec, _FIELDS[key])}
    labels = {names.IP_SUBNET: names.label_value(grant.subnet), names.IP_RESERVED: "true"}
    if node:
        labels[names.IP_NODE] = names.label_value(node)
    if node != ip.spec.node_name:
        missing["nodeName"] = node
    unlabelled = {key: value for key, value in labels.items() if ip.metadata.labels.get(key) != value}
    if not missing and not unlabelled:
        return None
    ref = cluster_ref(Kind.IP, ip.metadata.name, ip.metadata.uid)
    return Patch(object=ref, body={"metadata": {"labels": unlabelled}, "spec": missing})


_FIELDS = {field.encode_name: field.name for field in fields(IPSpec)}


def _addressing(grant: Grant) -> dict[str, str]:
    """The fields of an IP object's spec that hold a grant."""
    by_version = {address.version: str(address) for address in grant.addresses}
    return {
        "subnet": grant.subnet,
        "ipAddress": format_list(grant.addresses),
        "v4IpAddress": by_version.get(4, ""),
        "v6IpAddress": by_version.get(6, ""),
        "macAddress": grant.mac,
        "gateway": format_list(grant.gateways),
    }


def _create(holder: Holder, grant: Grant) -> Create:
    labels = {
        names.IP_SUBNET: names.label_value(grant.subnet),
        names.IP_NODE: names.label_value(holder.node),
        names.IP_RESERVED: "false",
    }
    if names.label_value(grant.subnet):
        labels[grant.subnet] = ""  # the contract has a subnet's name as the key of a label, too
    return Create(
        object=cluster_ref(Kind.IP, holder.ip),
        body={
            "metadata": {"name": holder.ip, "labels": labels, "finalizers": [names.FINALIZER]},
            "spec": {
                **_addressing(grant),
                "podName": holder.pod_name,
                "namespace": holder.namespace,
                "nodeName": holder.node,
                "podType": holder.pod_type,
                "ownerUID": holder.owner_uid,
            },
        },
        maker=_maker(holder),
    )


def _maker(holder: Holder) -> ObjectRef:
    """The Pod, Node or Subnet that an IP object is made for."""
    kind = {names.NODE_TYPE: Kind.NODE, names.CHECKS_TYPE: Kind.SUBNET}.get(holder.pod_type, Kind.POD)
    return ObjectRef(kind=kind, namespace=holder.namespace, name=holder.pod_name, uid=holder.uid)


def _change_node(ip: IP, holder: Holder) -> Patch:
    """Record that the Pod of an IP object runs on another node now."""
    ref = cluster_ref(Kind.IP, ip.metadata.name, ip.metadata.uid)
    labels = {names.IP_NODE: names.label_value(holder.node)}
    return Patch(object=ref, body={"metadata": {"labels": labels}, "spec": {"nodeName": holder.node}})
