"""The addresses of nodes and the networks that they are attached to, as Nodes tell them. Pure.

The controller and each node ask the same functions. The annotation is that of the node's daemon (`host.attached`).
"""

import contextlib
from collections.abc import Iterator
from ipaddress import ip_network

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
    addresses: list[Address] = []
    for entry in node.status.addresses:
        if entry.type == "InternalIP":
            with contextlib.suppress(ValueError):
                addresses += parse_addresses(entry.address)
    return tuple(dict.fromkeys(addresses))


def parse_networks_of(node: Node) -> tuple[Named, ...]:
    """The networks of one node: its own addresses, and the networks in its annotation. What cannot be read there is
    left out.
    """
    found = _own(node)
    for network, label in _told(node):
        found.setdefault(network, f"{network} ({label}) of node {node.metadata.name}")
    return tuple(found.items())


def networks_without_services(node: Node) -> tuple[Named, ...]:
    """The networks of one node in which no Service has its address. A single address of a link may be that of a
    Service: kube-proxy puts these on a link of its own.
    """
    found = _own(node)
    for network, label in _told(node):
        if network.prefixlen < network.max_prefixlen or label in (GATEWAY, RESOLVER, API_SERVER):
            found.setdefault(network, f"{network} ({label}) of node {node.metadata.name}")
    return tuple(found.items())


def _own(node: Node) -> dict[Network, str]:
    name = node.metadata.name
    return {ip_network(each): f"address {each} of node {name}" for each in internal_addresses(node)}


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
