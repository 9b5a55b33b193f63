"""The addresses of nodes and the networks that they are attached to, as Nodes tell them. Pure.

The controller and each node ask the same functions. The annotation is that of the node's daemon (`host.attached`).
"""

import contextlib
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import NamedTuple

import msgspec

from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, parse_addresses
from kube_ovn.model.kube import Node
from kube_ovn.model.text import check_text

GATEWAY, RESOLVER, API_SERVER = "default gateway", "resolver", "API server"
"""The labels of single addresses that a node talks to."""
MOST_OF_A_LABEL = 32
Named = tuple[Network, str]
"""A network, and the words for it in messages, such as `172.17.0.0/16 (docker0) of node node1`."""


def internal_addresses(node: Node) -> tuple[Address, ...]:
    """The node's own addresses: the entries of status.addresses of type InternalIP. An entry that is no address is left
    out: the API server does not check them, and the bad status of one node must not stop the others.
    """
    return _parse(entry.address for entry in node.status.addresses if entry.type == "InternalIP")


def reported_addresses(node: Node) -> tuple[Address, ...]:
    """All addresses of the node in its status, of whatever type; host names are left out."""
    return _parse(entry.address for entry in node.status.addresses)


def _parse(texts: Iterable[str]) -> tuple[Address, ...]:
    addresses: list[Address] = []
    for text in texts:
        with contextlib.suppress(ValueError):
            addresses += parse_addresses(text)
    return tuple(dict.fromkeys(addresses))


class NodeNetworks(NamedTuple):
    """The networks of one node."""

    node: str
    age: str
    """The creation timestamp of the Node."""
    own: tuple[Address, ...]
    """The addresses of the node (`internal_addresses`)."""
    told: tuple[tuple[Network, str], ...]
    """The networks in the annotation, each with its label."""

    @property
    def named(self) -> tuple[Named, ...]:
        """All networks, the node's own addresses among them."""
        return self._name(self.told)

    @property
    def named_without_services(self) -> tuple[Named, ...]:
        """The networks in which no Service has its address. A single address of a link may be that of a Service:
        kube-proxy puts these on a link of its own.
        """
        return self._name(
            (network, label)
            for network, label in self.told
            if network.prefixlen < network.max_prefixlen or label in (GATEWAY, RESOLVER, API_SERVER)
        )

    def name(self, network: Network, label: str) -> str:
        """The words for a network in the annotation."""
        return f"{network} ({label}) of node {self.node}"

    def _name(self, told: Iterable[tuple[Network, str]]) -> tuple[Named, ...]:
        found = {ip_network(each): f"address {each} of node {self.node}" for each in self.own}
        for network, label in told:
            found.setdefault(network, self.name(network, label))
        return tuple(found.items())


def parse_networks_of(node: Node) -> NodeNetworks | None:
    """The networks of one node; None when it has none. What cannot be read in the annotation is left out."""
    meta, own, told = node.metadata, internal_addresses(node), tuple(_told(node))
    if not own and not told:
        return None
    return NodeNetworks(node=meta.name, age=meta.creation_timestamp, own=own, told=told)


def _told(node: Node) -> Iterator[tuple[Network, str]]:
    """The networks in the annotation, each with its label."""
    try:
        told = msgspec.json.decode(node.metadata.annotations.get(names.NETWORKS, "{}"), type=dict[str, str])
    except msgspec.DecodeError:
        return
    for text, label in told.items():
        try:
            network = ip_network(text)
            check_text(label, "it", MOST_OF_A_LABEL)
        except ValueError:
            continue
        if network.prefixlen:
            yield network, label
