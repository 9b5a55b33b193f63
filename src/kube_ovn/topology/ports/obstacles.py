"""Why a Node or Pod cannot have a port under its name. Two rows of one name would be a fault.

Foreign rows of the Northbound database keep their names, and so does the joint of an accepted Subnet with the router.
A Pod gives way to a Node. A new Subnet gives way to a Node or Pod that has an address already, and is not accepted
(`subnets.objections`); any other Node or Pod gives way to the Subnet, also while the Subnet's status does not
say yet that it is in effect: a port that exists must not go when the status comes.
"""

from dataclasses import dataclass

from kube_ovn.derive import Collection, Read, Source
from kube_ovn.model import names
from kube_ovn.model.nb import LogicalSwitchPort, PortGroup
from kube_ovn.model.row import RowKey
from kube_ovn.topology.addresses.holders import Holder
from kube_ovn.topology.subnets.addressing import Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacles:
    """The sources that show whether the name of a port is free."""

    router: str
    foreign: Collection[RowKey, bool]
    judged: Source[str, Judged]

    def of_node(self, read: Read, holder: Holder) -> str:
        """Why a Node cannot have its port, as a sentence for its user; empty when nothing is in the way."""
        port, group = names.node_port(holder.node), names.node_port_group(holder.node)
        return (
            self._joint(read, port)
            or self._taken(read, RowKey(LogicalSwitchPort.TABLE, port))
            or self._taken(read, RowKey(PortGroup.TABLE, group))
        )

    def of_pod(self, read: Read, holder: Holder) -> str:
        """Why a Pod cannot have its port, as a sentence for its user; empty when nothing is in the way. A Node of the
        same name need not be looked for: then the Pod is no holder.
        """
        port = names.pod_port(holder.pod_name, holder.namespace)
        return self._joint(read, port) or self._taken(read, RowKey(LogicalSwitchPort.TABLE, port))

    def _joint(self, read: Read, port: str) -> str:
        name = port.removesuffix(names.switch_port("", self.router))
        judged = read.get(self.judged, name) if name != port else None
        if judged is None or judged.accepted is None:
            return ""
        return f"its port would be named {port}, like that of subnet {name} to the router; rename one of them"

    def _taken(self, read: Read, key: RowKey) -> str:
        if not read.get(self.foreign, key):
            return ""
        return (
            f"the Northbound database has a {key.table} {key.key} that is not kube-ovn's; "
            "remove it with ovn-nbctl, or rename the object"
        )


def gives_way(port: str) -> str:
    """The sentence for the user of a Pod when its port would have the name of a Node's port."""
    node = port.removeprefix(names.node_port(""))
    return f"its port would be named {port}, like the port of node {node}; rename the Pod"
