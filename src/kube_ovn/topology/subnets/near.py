"""Nodes near subnets and Services: the addresses of Nodes that lie in a subnet, and the networks of Nodes that clash
with one.

Reads the networks of Nodes, effective subnets, and the networks of Services.
"""

from dataclasses import dataclass

from kube_ovn.derive import Graph, Index, Read, Source
from kube_ovn.discovery.attached import NodeNetworks
from kube_ovn.model.addr import Address, Network, is_part
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.inputs import ONE
from kube_ovn.topology.subnets.addressing import Addressing
from kube_ovn.topology.subnets.attached import Attached, Party

Conflicts = tuple[tuple[Address, str], ...]
"""Addresses of one Node, each with the subnet it lies in."""
_EITHER = "from this node only one of them is reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesNear:
    """The Nodes that are in the way of subnets or Services."""

    addresses: Source[str, tuple[Address, ...]]
    """The Node's own addresses, by the name of the Node."""
    conflicts: Source[str, Conflicts]
    """By the name of the Node."""
    conflicts_by_subnet: Index[str, str, Conflicts]
    conflicts_by_address: Index[tuple[str, Address], str, Conflicts]
    """By subnet and address."""
    clashes: Source[str, str]
    """By the name of the Node: the sentence on a network that both the node and a subnet, or Services, have."""


def define(
    graph: Graph, fabric: Fabric, addressing: Addressing, attached: Attached, ranges: Source[str, tuple[Network, ...]]
) -> NodesNear:
    """Derive the conflicts and clashes of Nodes. `ranges`: the networks of Services, under the one key `ONE`."""
    places = addressing.places

    def find_conflicts(read: Read, name: str, own: tuple[Address, ...]) -> Conflicts | None:
        found = ((address, places.holding(read, address)) for address in own)
        return tuple((address, subnet) for address, subnet in found if subnet is not None) or None

    def may_have(subnet: str, cidr: Network, network: Network) -> bool:
        """Whether a subnet may lie in a network of a node: the configured ones may."""
        return subnet in fabric.initial and cidr != network and is_part(cidr, network)

    def overlap(read: Read, network: Network, party: Party) -> str | None:
        if not party.is_told:
            return None  # `conflicts` has it
        found = places.overlapping(read, network)
        return min((subnet for cidr, subnet, _ in found if not may_have(subnet, cidr, network)), default=None)

    def clash(read: Read, name: str, each: NodeNetworks) -> str | None:
        for network, label in each.told:
            if subnet := read.get(overlaps, network):
                return f"{each.name(network, label)} overlaps subnet {subnet}: {_EITHER}; change one"
        services = read.get(ranges, ONE) or ()
        for network, words in each.named_without_services:
            for reserved in services:
                if is_part(network, reserved):
                    return f"{words} lies in the Service CIDR {reserved}: {_EITHER}; change one"
        return None

    own = graph.derive("addresses of nodes", attached.by_node, lambda read, name, each: each.own or None)
    conflicts = graph.derive("conflicts of nodes", own, find_conflicts)
    overlaps = graph.derive("subnets over networks of nodes", attached.by_network, overlap)
    return NodesNear(
        addresses=own,
        conflicts=conflicts,
        conflicts_by_subnet=graph.index("conflicts by subnet", conflicts, lambda name, found: [s for _, s in found]),
        conflicts_by_address=graph.index(
            "conflicts by address", conflicts, lambda name, found: [(subnet, address) for address, subnet in found]
        ),
        clashes=graph.derive("clashes of nodes", attached.by_node, clash),
    )
