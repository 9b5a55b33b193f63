"""The networks of Services' own addresses, as derivations (`discovery.cidrs`), and the Events on ServiceCIDRs.

No new Subnet gets an address of a ServiceCIDR (`subnets.attached`). A Subnet or Node that was there before a
ServiceCIDR stays, and the user of the ServiceCIDR is told; a Node that comes later is told itself (`subnets.near`).
Reads ServiceCIDRs, the networks of Nodes and effective subnets.
"""

from kube_ovn.derive import Derived, Graph, Read, Source
from kube_ovn.discovery import cidrs
from kube_ovn.discovery.attached import Named
from kube_ovn.discovery.cidrs import join_networks
from kube_ovn.model import names
from kube_ovn.model.addr import Network
from kube_ovn.model.kube import ServiceCIDR
from kube_ovn.model.network import Kind, Told, cluster_ref
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.outputs import Outputs
from kube_ovn.topology.subnets.attached import Attached


def define(
    graph: Graph,
    inputs: Inputs,
    outputs: Outputs,
    fabric: Fabric,
    attached: Attached,
    subnets: Source[str, tuple[Named, ...]],
) -> Derived[str, bool, tuple[Network, ...]]:
    """Derive the networks of Services in effect, under the one key `ONE`. `subnets`: the CIDRs of Subnets in effect."""

    def tell(read: Read, name: str, item: ServiceCIDR) -> Told | None:
        each = read.get(judged, name)
        if each is None or not each.refusals:
            return None
        ref = cluster_ref(Kind.SERVICE_CIDR, name, item.metadata.uid)
        message = f"ServiceCIDR {name}: {'; '.join(each.refusals)}"
        return Told(object=ref, reason=names.SERVICE_CIDR_REFUSED, message=message)

    def join(read: Read, key: str, value: bool) -> tuple[Network, ...]:
        return join_networks(fabric.services, (each for _, each in sorted(read.all(judged).items())))

    judged = cidrs.define(graph, inputs.cidrs, attached.by_node, fabric.services, subnets)
    outputs.telling.follow(graph.derive("messages on ServiceCIDRs", inputs.cidrs, tell))
    return graph.derive("networks of Services", inputs.one, join)
