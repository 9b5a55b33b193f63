"""The node itself on the fabric: ovn0, its addresses and routes, and the table of nftables. Pure."""

import contextlib
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from kube_ovn.host.egress import Table, render_table
from kube_ovn.host.pod import parse_interfaces, port_members
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, parse_addresses, parse_mac, parse_networks
from kube_ovn.model.host import InterfaceAddress, Route
from kube_ovn.model.kube import Node
from kube_ovn.model.row import Key, Row, facts, owned
from kube_ovn.model.vswitch import Interface, Port


class Switch(Enum):
    """What is on or off about ovn0."""

    UP = "up"
    FORWARDING = "forwarding"
    """Forward what Pods send through here, and accept any source that the fabric let pass."""


LinkKey: TypeAlias = "Switch | InterfaceAddress | Network"
"""One thing about ovn0: a switch, an address, the destination of a route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """Everything this node should have, apart from its Pods."""

    rows: dict[Key, Row | None]
    link: dict[LinkKey, Route | None]
    table: Table
    gateways: tuple[Address, ...]
    """Addresses of the router on the join switch: when they answer, the node's network works."""


def render_node(node: Node, pods: tuple[Network, ...], mtu: int) -> NodeState | None:
    """The desired state of a Node; None until the controller has given it an address.

    Raises ValueError with a sentence about the Node's annotations.
    """
    annotations = node.metadata.annotations
    if annotations.get(names.ALLOCATED) != "true":
        return None
    for name in (names.IP_ADDRESS, names.MAC_ADDRESS, names.CIDR, names.GATEWAY, names.PORT_NAME):
        if name not in annotations:
            raise ValueError(f"annotation {name} is missing although {names.ALLOCATED} is set")
    interfaces, gateways = parse_interfaces(annotations)
    sources = internal_addresses(node)
    link: dict[LinkKey, Route | None] = dict.fromkeys([Switch.UP, Switch.FORWARDING])
    link.update(dict.fromkeys(interfaces))
    for network in pods:
        for gateway in gateways:
            if gateway.version == network.version:
                link[network] = Route(to=network, via=gateway, source=sources.get(network.version))
    return NodeState(
        rows=_port(annotations[names.PORT_NAME], parse_mac(annotations[names.MAC_ADDRESS]), mtu),
        link=link,
        table=render_table(pods, {*pods, *parse_networks(annotations[names.CIDR])}),
        gateways=gateways,
    )


def internal_addresses(node: Node) -> dict[int, Address]:
    """The node's first own address of each family; what is no address is left out."""
    found: dict[int, Address] = {}
    for entry in node.status.addresses:
        if entry.type == "InternalIP":
            with contextlib.suppress(ValueError):
                for address in parse_addresses(entry.address):
                    found.setdefault(address.version, address)
    return found


def _port(logical_port: str, mac: str, mtu: int) -> dict[Key, Row | None]:
    """ovn0 as an internal port: Open vSwitch makes the link and sets its MAC and MTU."""
    return facts(
        Interface(
            name=names.NODE_NIC,
            type="internal",
            mac=mac,
            mtu_request=mtu,
            external_ids=owned(**{"iface-id": logical_port}),
        ),
        Port(name=names.NODE_NIC, external_ids=owned()),
        members=port_members(names.NODE_NIC),
    )
