"""Holders: the Nodes, Pods and Subnets that have an address, or are to get one.

A holder is known by its *record*: the name of its IP object, unless a reservation has the name of a Node's or of that
for checks (`addresses.own`). A Pod gives way when its record would be that of a Node. A reservation under the name of a
Pod's record owns the grant in the Pod's place, unless the Pod uses another address.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kube_ovn.derive import Collection, Derived, Graph, Index, Read
from kube_ovn.model import names
from kube_ovn.model.crd import IP
from kube_ovn.model.kube import Node, Pod
from kube_ovn.model.network import Grant
from kube_ovn.topology.addresses.grants import Grants
from kube_ovn.topology.addresses.memory import owner_of, owner_of_ip, read_addresses
from kube_ovn.topology.addresses.own import OwnNames, find_free, is_reservation, node_record
from kube_ovn.topology.addresses.span import Owner
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.ports.pod import needs_port


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A living Pod or Node that has an address or is to get one, or a Subnet with endpoints to be checked."""

    record: str
    """Identifies the holder."""
    ip: str
    """The name of the holder's IP object: the record, or a spare name."""
    uid: str
    owner: Owner
    owner_uid: str
    pod_type: str
    pod_name: str
    namespace: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """The holders: Nodes by the name of the Node, Pods by the name of their record."""

    nodes: Derived[str, Node, Holder]
    pods: Derived[str, Pod, Holder]
    _nodes_by_ip: Index[str, str, Holder]
    _ips: Collection[str, IP]

    def of_ip(self, read: Read, name: str) -> Holder | None:
        """The Node or Pod with an IP object of this name."""
        found = read.select(self._nodes_by_ip, name) if name.startswith(names.node_port("")) else {}
        return next(iter(found.values()), None) or read.get(self.pods, name)

    def is_recorded(self, read: Read, holder: Holder) -> bool:
        """Whether an IP object records an address of the holder's owner."""
        ip = read.get(self._ips, holder.ip)
        return ip is not None and owner_of_ip(ip).key == holder.owner.key


def define(
    graph: Graph, inputs: Inputs, own_names: OwnNames, grants: Grants, confirmed: Mapping[str, Grant]
) -> Holders:
    """Derive the holders from Nodes, Pods and IP objects. `confirmed`: the grants that ports carried when the process
    started, by the UID of the Pod or Node.
    """

    def owner(read: Read, pod: Pod, record: str) -> Owner:
        own, ip, uid = owner_of(pod), read.get(inputs.ips, record), pod.metadata.uid
        if ip is None or not is_reservation(ip):
            return own
        reservation = owner_of_ip(ip)
        reserved = read.get(grants.held, reservation.key)
        if reserved is not None and reserved.uid == uid:
            return reservation
        # Annotations do not count here: a user who changes them would change the owner, and the owner the annotations.
        held, port = read.get(grants.held, own.key), confirmed.get(uid)
        in_use = held.grant if held is not None and held.recorded else port
        if in_use is not None and not set(read_addresses(ip)) <= set(in_use.addresses):
            return own
        return reservation

    def node_holder(read: Read, name: str, node: Node) -> Holder | None:
        uid, record = node.metadata.uid, node_record(name)
        return Holder(
            record=record,
            ip=find_free(read, inputs.ips, record),
            uid=uid,
            owner=owner_of(node),
            owner_uid=uid,
            pod_type=names.NODE_TYPE,
            pod_name=name,
            namespace="",
            node=name,
        )

    def pod_holder(read: Read, record: str, pod: Pod) -> Holder | None:
        if not needs_port(pod):
            return None
        if own_names.node(read, record) is not None:
            return None
        meta, parent = pod.metadata, pod.stateful_set
        return Holder(
            record=record,
            ip=record,
            uid=meta.uid,
            owner=owner(read, pod, record),
            owner_uid=meta.uid if parent is None else parent.uid,
            pod_type="" if parent is None else names.STATEFULSET,
            pod_name=meta.name,
            namespace=meta.namespace,
            node=pod.spec.node_name,
        )

    nodes = graph.derive("node holders", inputs.nodes, node_holder)
    return Holders(
        nodes=nodes,
        pods=graph.derive("pod holders", inputs.pods, pod_holder),
        _nodes_by_ip=graph.index("node holders by IP", nodes, lambda name, holder: (holder.ip,)),
        _ips=inputs.ips,
    )
