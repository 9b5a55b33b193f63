"""The networks that nodes are attached to, as each node's daemon tells them: no new Subnet gets their addresses.

A Subnet that was there before a node stays, and the Node is told. Reads Nodes.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from kube_ovn.derive import Derived, Graph, Read
from kube_ovn.discovery.attached import Named, parse_networks_of
from kube_ovn.model.addr import Network
from kube_ovn.model.kube import Node
from kube_ovn.topology.inputs import ONE, Inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The networks of nodes."""

    by_node: Derived[str, Node, tuple[Named, ...]]
    of_all: Derived[str, bool, tuple[Named, ...]]
    """Under the one key `ONE`. A network of several nodes is named for one of them."""

    def against(self, read: Read, new: Collection[Network]) -> str:
        """The sentence why a Subnet cannot have these new CIDRs; empty when it can."""
        networks = read.get(self.of_all, ONE)
        return find_overlap(networks or (), new)


def find_overlap(networks: Iterable[Named], new: Collection[Network]) -> str:
    """The sentence why a Subnet cannot have new CIDRs, because one overlaps one of these networks; empty when none
    does.
    """
    for network, words in networks:
        for cidr in new:
            if cidr.version == network.version and cidr.overlaps(network):
                return f"CIDR {cidr} overlaps {words}; choose another"
    return ""


def define(graph: Graph, inputs: Inputs) -> Attached:
    """Derive the networks of nodes."""
    by_node = graph.derive("networks of nodes", inputs.nodes, lambda read, name, node: parse_networks_of(node) or None)

    def join(read: Read, key: str, value: bool) -> tuple[Named, ...]:
        found: dict[Network, str] = {}
        for _, networks in sorted(read.all(by_node).items()):
            for network, words in networks:
                found.setdefault(network, words)
        return tuple(found.items())

    return Attached(by_node=by_node, of_all=graph.derive("networks of all nodes", inputs.one, join))
