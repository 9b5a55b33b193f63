"""The names of the fabric's own IP objects: those of Nodes, and of the addresses that health checks come from.

A reservation with such a name is for no Pod, and counts for nothing: it reserves no address, and its user is told. A
Node or Subnet that finds it under the name of its own IP object takes a spare name. A Node's name may have dots. Then
its IP object may have the name of a Pod's, and a reservation of this name is for the Pod as long as there is no such
Node.
"""

from dataclasses import dataclass

from kube_ovn.derive import Collection, Graph, Index, Read
from kube_ovn.model import names
from kube_ovn.model.crd import IP
from kube_ovn.model.kube import Node
from kube_ovn.model.network import Kind, Told, cluster_ref
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.outputs import Outputs


@dataclass(frozen=True, slots=True)
class OwnNames:
    """Shows which names of IP objects are the fabric's own."""

    _nodes: Index[str, str, Node]
    """Nodes by record."""

    def node(self, read: Read, name: str) -> Node | None:
        """The Node that has an IP object of this name."""
        found = read.select(self._nodes, name) if name.startswith(names.node_port("")) else {}
        return next(iter(found.values()), None)

    def has(self, read: Read, name: str) -> bool:
        """Whether a name is the fabric's own: no Pod can have it, or a Node has it."""
        return names.is_own_ip(name) or self.node(read, name) is not None


def is_reservation(ip: IP) -> bool:
    return not ip.spec.owner_uid


def node_record(node: str) -> str:
    """The name of the IP object of a Node, where no reservation has it."""
    return names.ip_object(names.node_port(node))


def find_free(read: Read, ips: Collection[str, IP], record: str) -> str:
    """The name of the IP object of a Node or of checks: `record`, or a spare name when a reservation has that."""
    name, number = record, 0
    while (ip := read.get(ips, name)) is not None and is_reservation(ip):
        number += 1
        name = names.spare_ip(record, number)
    return name


def define(graph: Graph, inputs: Inputs, outputs: Outputs) -> OwnNames:
    """Tell the users of reservations that have a name of the fabric's own."""
    own = OwnNames(graph.index("nodes by record", inputs.nodes, lambda name, node: (node_record(name),)))

    def tell(read: Read, name: str, ip: IP) -> Told | None:
        if not is_reservation(ip) or not own.has(read, name):
            return None
        node = own.node(read, name)
        reason = (
            "IPs named node-<node> or checks-<subnet> are kube-ovn's own"
            if node is None
            else f"its name is kept for the IP of node {node.metadata.name}"
        )
        return Told(
            object=cluster_ref(Kind.IP, name, ip.metadata.uid),
            reason=names.ACQUIRE_ADDRESS_FAILED,
            message=f"IP {name} reserves nothing: {reason}; delete it, and give a reservation the name of its Pod, "
            "<pod>.<namespace>",
        )

    outputs.telling.follow(graph.derive("told of own names", inputs.ips, tell))
    return own
