"""The networks that no new Subnet gets addresses of: those that nodes are attached to, as each node's daemon tells
them, and those that ServiceCIDRs ask for, whether they are in effect or not.

A Subnet that was there before stays, and the Node or the ServiceCIDR is told. Reads Nodes and ServiceCIDRs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kube_ovn.derive import Graph, Read, Source
from kube_ovn.discovery.attached import Named, NodeNetworks, parse_networks_of
from kube_ovn.discovery.cidrs import parse_cidrs
from kube_ovn.model.addr import Network
from kube_ovn.model.kube import ServiceCIDR
from kube_ovn.model.resource import SERVICE_CIDRS
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.subnets import places
from kube_ovn.topology.subnets.places import Places


class Party(NamedTuple):
    """The node that a network is named for: of those that have the network, the oldest, so that a node that comes
    changes no message.
    """

    age: str
    node: str
    words: str
    is_told: bool
    """Whether a node is attached to the network; else it is an address of a node alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The networks of nodes."""

    by_node: Source[str, NodeNetworks]
    by_network: Source[Network, Party]
    places: Places[Network, Party]

    def against(self, read: Read, new: Sequence[Network]) -> str:
        """The sentence why a Subnet cannot have these new CIDRs; empty when it can."""
        for cidr in new:
            found = [(party, network) for network, _, party in self.places.overlapping(read, cidr)]
            if found:
                party, _ = min(found, key=lambda each: (each[0], each[1].version, each[1]))
                return _overlap(cidr, party.words)
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The networks that ServiceCIDRs ask for."""

    by_name: Source[str, tuple[Named, ...]]
    unknown: Source[str, bool]
    """The kinds, by name, that could never be listed."""
    absent: Source[str, bool]
    """Those of them that the API server does not have."""

    def against(self, read: Read, new: Sequence[Network]) -> str:
        """The sentence why a Subnet cannot have these new CIDRs, one at least, or not yet; empty when it can."""
        for _, networks in sorted(read.all(self.by_name).items()):
            for network, words in networks:
                for cidr in new:
                    if cidr.version == network.version and cidr.overlaps(network):
                        return _overlap(cidr, words)
        kind = SERVICE_CIDRS.name
        if read.get(self.unknown, kind) and not read.get(self.absent, kind):
            return (
                f"CIDR {new[0]} waits: a ServiceCIDR may have it, and kube-ovn-controller cannot list "
                f"{SERVICE_CIDRS.plural}; its log says why"
            )
        return ""


def define(graph: Graph, inputs: Inputs) -> Attached:
    """Derive the networks of nodes."""

    def split(name: str, each: NodeNetworks) -> Mapping[Network, Party]:
        told = {network for network, _ in each.told}
        return {network: Party(each.age, name, words, network in told) for network, words in each.named}

    def choose(read: Read, network: Network, members: Mapping[str, Party]) -> Party:
        return min(members.values())._replace(is_told=any(each.is_told for each in members.values()))

    by_node = graph.derive("networks of nodes", inputs.nodes, lambda read, name, node: parse_networks_of(node))
    nodes = graph.split("nodes by network", by_node, split)
    by_network = graph.derive("parties by network", nodes, choose)
    return Attached(
        by_node=by_node,
        by_network=by_network,
        places=places.define(graph, "networks of nodes", by_network, lambda network, party: (network,)),
    )


def define_claimed(graph: Graph, inputs: Inputs) -> Claimed:
    """Derive the networks that ServiceCIDRs ask for."""
    by_name = graph.derive("CIDRs of ServiceCIDRs", inputs.cidrs, _claim)
    return Claimed(by_name=by_name, unknown=inputs.unknown, absent=inputs.absent)


def _claim(read: Read, name: str, item: ServiceCIDR) -> tuple[Named, ...] | None:
    networks, _ = parse_cidrs(item)
    return tuple((network, f"the ServiceCIDR {name!r} ({network})") for network in networks) or None


def _overlap(cidr: Network, words: str) -> str:
    return f"CIDR {cidr} overlaps {words}; choose another"
