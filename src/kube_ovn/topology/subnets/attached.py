"""The networks that nodes are attached to, as each node's daemon tells them: no new Subnet gets their addresses.

A Subnet that was there before a node stays, and the Node is told. Reads Nodes. The annotation is the daemon's
(`host.attached`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

import msgspec

from kube_ovn.derive import Derived, Graph, Read
from kube_ovn.model import names
from kube_ovn.model.addr import Network
from kube_ovn.model.kube import Node
from kube_ovn.model.text import check_text
from kube_ovn.topology.inputs import ONE, Inputs
from kube_ovn.topology.ports.node import internal_addresses

MOST_OF_A_LABEL = 32
Named = tuple[Network, str]
"""A network, and the words for it in messages, such as `172.17.0.0/16 (docker0) of node node1`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The networks of nodes."""

    by_node: Derived[str, Node, tuple[Named, ...]]
    of_all: Derived[str, bool, tuple[Named, ...]]
    """Under the one key `ONE`. A network of several nodes is named for one of them."""

    def against(self, read: Read, wanted: Iterable[Network], held: Iterable[Network]) -> str:
        """The sentence why a Subnet cannot have these CIDRs; empty when it can. It keeps the CIDRs that it has."""
        had = set(held)
        new = [cidr for cidr in wanted if cidr not in had]
        for network, words in (read.get(self.of_all, ONE) or ()) if new else ():
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


def parse_networks_of(node: Node) -> tuple[Named, ...]:
    """The networks of one node: its own addresses, and the networks in its annotation. What cannot be read there is
    left out.
    """
    name = node.metadata.name
    found = {ip_network(each): f"address {each} of node {name}" for each in internal_addresses(node)}
    try:
        told = msgspec.json.decode(node.metadata.annotations.get(names.NETWORKS, "{}"), type=dict[str, str])
    except msgspec.DecodeError:
        told = {}
    for text, label in told.items():
        try:
            network = ip_network(text)
            check_text(label, "it", MOST_OF_A_LABEL)
        except ValueError:
            continue
        if network.prefixlen:
            found.setdefault(network, f"{network} ({label}) of node {name}")
    return tuple(found.items())
