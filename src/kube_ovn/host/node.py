"""The node itself on the fabric: its NICs, their addresses and routes, and the table of nftables. Pure.

ovn0 is the node's own NIC, and the way out of Pods that leave through the node they run on. What leaves a centralized
subnet comes out at ovngw0, on the node that is its gateway at the moment. Every node has it, so that any can become a
gateway without a packet lost; the fabric's router knows its MAC, and nobody asks for an address.
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, ip_address, ip_network
from typing import TypeAlias

from kube_ovn.host.egress import Table, render_table
from kube_ovn.host.pod import parse_interfaces, port_members
from kube_ovn.host.subnet import NodeSubnet
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, parse_addresses, parse_mac, parse_networks
from kube_ovn.model.host import Detour, DetourEnd, DetourRoute, DetourRule, InterfaceAddress, Route
from kube_ovn.model.kube import Node
from kube_ovn.model.row import Key, Row, facts, owned
from kube_ovn.model.vswitch import Interface, Port

OVERHEAD = {"geneve": 100, "vxlan": 50}
"""Bytes a tunnel over IPv4 takes of each packet, as users of the contract expect."""
DUMMY = InterfaceAddress(address=IPv4Address("192.0.0.8"), prefix=32)
"""ovngw0's address (RFC 7600, "IPv4 dummy address"): on a link without any, the kernel takes no packet whose answer
would go elsewhere, even when `rp_filter` is loose.
"""
IPV6_OVERHEAD = 20
"""Bytes its header is longer over IPv6."""


class Switch(Enum):
    """What is on or off about a NIC."""

    UP = "up"
    FORWARDING = "forwarding"
    """Forward what Pods send through here, and accept any source that the fabric let pass."""


LinkKey: TypeAlias = "Switch | InterfaceAddress | Network"
"""One thing about a NIC: a switch, an address, the destination of a route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """An internal port of Open vSwitch, and what its link should be."""

    rows: dict[Key, Row | None]
    link: dict[LinkKey, Route | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """Everything this node should have, apart from its Pods."""

    nics: dict[str, Nic]
    """By name: `names.NODE_NICS`."""
    table: Table
    detours: frozenset[Detour]
    """Rules and routes of subnets with a router of their own outside."""
    stopped: Mapping[str, str]
    """Subnets whose packets must not leave here, and why."""
    fragile: bool
    """Whether it depends on what nobody tells of: the node's own addresses, and routes that go with their link."""
    networks: frozenset[Network]
    """The CIDRs of the fabric that all this is for."""
    gateways: tuple[Address, ...]
    """Addresses of the router on the join switch: when they answer, the node's network works."""


def render_node(
    node: Node,
    subnets: Sequence[NodeSubnet],
    mtu: int,
    local: Collection[Address] = (),
    services: Sequence[Network] = (),
    serves: bool = False,
    dns: Sequence[Address] = (),
) -> NodeState | None:
    """The desired state of a Node; None until the controller has given it an address.

    `subnets` are those in effect, the join subnet not among them; `local` the addresses the node has; `services` where
    Services have theirs, which the fabric answers for the node's own processes too; `serves`: and for others that ask
    this node; `dns`: where there is a DNS server, which may be this node.
    Raises ValueError with a sentence about the Node's annotations.
    """
    annotations = node.metadata.annotations
    if annotations.get(names.ALLOCATED) != "true":
        return None
    for name in (
        names.IP_ADDRESS,
        names.MAC_ADDRESS,
        names.CIDR,
        names.GATEWAY,
        names.LOGICAL_SWITCH,
        names.PORT_NAME,
    ):
        if name not in annotations:
            raise ValueError(f"annotation {name} is missing although {names.ALLOCATED} is set")
    interfaces, gateways = parse_interfaces(annotations)
    subnets = list(_checked(subnets, local))
    join = NodeSubnet(name=annotations[names.LOGICAL_SWITCH], networks=parse_networks(annotations[names.CIDR]))
    link: dict[LinkKey, Route | None] = dict.fromkeys([Switch.UP, Switch.FORWARDING])
    through: dict[LinkKey, Route | None] = {**link, DUMMY: None}
    link.update(dict.fromkeys(interfaces))
    networks = [*(network for subnet in subnets for network in subnet.networks), *services]
    link.update({route.to: route for route in _routes(networks, gateways, internal_addresses(node))})
    # Asked by its own address in the fabric, OVN can lead the node back to itself.
    own_addresses: dict[int, Address] = {each.address.version: each.address for each in interfaces}
    link.update({route.to: route for route in _routes(map(ip_network, dns), gateways, own_addresses)})
    own = _port(names.NODE_NIC, annotations[names.PORT_NAME], parse_mac(annotations[names.MAC_ADDRESS]), mtu)
    gateway = _port(names.GATEWAY_NIC, names.GATEWAY_PORT, names.derived_mac(names.GATEWAY_PORT), mtu)
    return NodeState(
        nics={names.NODE_NIC: Nic(rows=own, link=link), names.GATEWAY_NIC: Nic(rows=gateway, link=through)},
        table=render_table([*subnets, join], services if serves else ()),
        detours=frozenset(_detours(subnets)),
        stopped={subnet.name: subnet.reason for subnet in subnets if subnet.reason},
        fragile=any(subnet.sources or subnet.external for subnet in subnets),
        networks=frozenset(network for subnet in (*subnets, join) for network in subnet.networks),
        gateways=gateways,
    )


def _routes(
    networks: Iterable[Network], gateways: Iterable[Address], sources: Mapping[int, Address]
) -> Iterator[Route]:
    """To networks through the fabric's router, in a packet with the node's own address."""
    hops = {gateway.version: gateway for gateway in gateways}
    for network in networks:
        source = sources.get(network.version)
        # A network that the node's own address is in must not lead away from the node.
        if network.version in hops and (source is None or source not in network):
            yield Route(to=network, via=hops[network.version], source=source)


def _checked(subnets: Iterable[NodeSubnet], local: Collection[Address]) -> Iterator[NodeSubnet]:
    """The subnets, with those stopped whose packets cannot leave as they are to: a source address that the node does
    not have is another's, and a table has one router of each family, the one of the subnet whose name comes first.
    """
    routers: dict[tuple[int, int], tuple[Address, str]] = {}
    for subnet in subnets:
        lacking = [source for source in subnet.sources if source not in local]
        stopped = {source.version for source in lacking}
        reasons = [f"the node has no address {source}" for source in lacking]
        for gateway in subnet.external.gateways if subnet.external is not None else ():
            assert subnet.external is not None
            table = subnet.external.table
            first, whose = routers.setdefault((table, gateway.version), (gateway, subnet.name))
            if first != gateway:
                stopped.add(gateway.version)
                reasons.append(f"table {table} is Subnet {whose}'s, with another router; set policyRoutingTableID")
        yield replace(subnet, stopped=subnet.stopped | stopped, reason="; ".join(reasons))


def _detours(subnets: Iterable[NodeSubnet]) -> Iterator[Detour]:
    for subnet in subnets:
        if subnet.external is None:
            continue
        table = subnet.external.table
        # A family without a router has the end of the table alone: its packets are not to leave another way.
        for network in subnet.networks:
            if network.version not in subnet.stopped:
                yield DetourEnd(table=table, version=network.version)
                yield DetourRule(source=network, table=table, priority=subnet.external.priority)
        for gateway in subnet.external.gateways:
            if gateway.version not in subnet.stopped:
                yield DetourRoute(table=table, via=gateway)


def parse_encaps(text: str) -> tuple[Address, ...]:
    """The addresses of this node's tunnels (`ovn-encap-ip` of ovn-controller(8)); what is no address is left out."""
    found = []
    for part in text.split(","):
        with contextlib.suppress(ValueError):
            found.append(ip_address(part.strip()))
    return tuple(found)


def tunnel_overhead(network_type: str, encaps: Iterable[Address]) -> int:
    """Bytes that tunnels from these addresses take of each packet."""
    return OVERHEAD[network_type] + (IPV6_OVERHEAD if any(encap.version == 6 for encap in encaps) else 0)


def internal_addresses(node: Node) -> dict[int, Address]:
    """The node's first own address of each family; what is no address is left out."""
    found: dict[int, Address] = {}
    for entry in node.status.addresses:
        if entry.type == "InternalIP":
            with contextlib.suppress(ValueError):
                for address in parse_addresses(entry.address):
                    found.setdefault(address.version, address)
    return found


def node_addresses(node: Node) -> Iterator[Address]:
    """What a node may send from as a client; what is no address is left out."""
    for entry in node.status.addresses:
        if entry.type in ("InternalIP", "ExternalIP"):
            with contextlib.suppress(ValueError):
                yield from parse_addresses(entry.address)


def _port(nic: str, logical_port: str, mac: str, mtu: int) -> dict[Key, Row | None]:
    """A NIC as an internal port: Open vSwitch makes the link and sets its MAC and MTU."""
    return facts(
        Interface(
            name=nic,
            type="internal",
            mac=mac,
            mtu_request=mtu,
            external_ids=owned(**{"iface-id": logical_port}),
        ),
        Port(name=nic, external_ids=owned()),
        members=port_members(nic),
    )
