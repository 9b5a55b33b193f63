"""The networks of Services' own addresses, as derivations (`discovery.cidrs`), and the Events on ServiceCIDRs.

No new Subnet gets an address of a ServiceCIDR. A Subnet that was there before a ServiceCIDR stays, and the user of the
ServiceCIDR is told. Reads ServiceCIDRs, Nodes and effective subnets.
"""

from collections.abc import Collection, Iterator

from kube_ovn.derive import Derived, Graph, Read, Source
from kube_ovn.discovery import cidrs
from kube_ovn.discovery.attached import Named
from kube_ovn.discovery.cidrs import join_networks, parse_cidrs
from kube_ovn.model import names
from kube_ovn.model.addr import Network
from kube_ovn.model.kube import ServiceCIDR
from kube_ovn.model.network import Kind, Subnet, Told, cluster_ref
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.outputs import Outputs
from kube_ovn.topology.subnets.attached import find_overlap


class Claimed:
    """The networks that ServiceCIDRs ask for, whether they are in effect or not."""

    def __init__(self, graph: Graph, inputs: Inputs) -> None:
        self._by_name = graph.derive("CIDRs of ServiceCIDRs", inputs.cidrs, _claim)

    def against(self, read: Read, new: Collection[Network]) -> str:
        """The sentence why a Subnet cannot have these new CIDRs; empty when it can."""
        claimed = sorted(read.all(self._by_name).items())
        return find_overlap((each for _, networks in claimed for each in networks), new)


def _claim(read: Read, name: str, item: ServiceCIDR) -> tuple[Named, ...] | None:
    networks, _ = parse_cidrs(item)
    return tuple((network, f"the ServiceCIDR {name!r} ({network})") for network in networks) or None


def define(
    graph: Graph, inputs: Inputs, outputs: Outputs, fabric: Fabric, effective: Source[str, Subnet]
) -> Derived[str, bool, tuple[Network, ...]]:
    """Derive the networks of Services in effect, under the one key `ONE`. `effective`: the subnets in effect."""

    def subnets(read: Read) -> Iterator[Named]:
        for name, subnet in sorted(read.all(effective).items()):
            yield from ((cidr, f"{cidr} of Subnet {name}") for cidr in subnet.cidrs)

    def tell(read: Read, name: str, item: ServiceCIDR) -> Told | None:
        each = read.get(judged, name)
        if each is None or not each.refusals:
            return None
        ref = cluster_ref(Kind.SERVICE_CIDR, name, item.metadata.uid)
        message = f"ServiceCIDR {name}: {'; '.join(each.refusals)}"
        return Told(object=ref, reason=names.SERVICE_CIDR_REFUSED, message=message)

    def join(read: Read, key: str, value: bool) -> tuple[Network, ...]:
        return join_networks(fabric.services, (each for _, each in sorted(read.all(judged).items())))

    judged = cidrs.define(graph, inputs.cidrs, inputs.nodes, fabric.services, subnets)
    outputs.telling.follow(graph.derive("messages on ServiceCIDRs", inputs.cidrs, tell))
    return graph.derive("networks of Services", inputs.one, join)
