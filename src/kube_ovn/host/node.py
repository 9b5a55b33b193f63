"""The node itself on the fabric: its NICs, their addresses and routes, and the table of nftables. Pure.

ovn0 is the node's own NIC, and the way out of Pods that leave through the node they run on. Packets that leave a
centralized subnet come out at ovngw0, on the node that is the subnet's gateway at the moment. Every node has ovngw0, so
that any node can become a gateway without a lost packet. The fabric's router knows the MAC address of ovngw0 and does
not resolve an IP address.
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address, ip_network
from typing import TypeAlias

from kube_ovn.discovery.attached import internal_addresses
from kube_ovn.host.egress import Table, render_table
from kube_ovn.host.pod import parse_interfaces, port_members
from kube_ovn.host.subnet import NodeSubnet
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, parse_mac, parse_networks
from kube_ovn.model.host import Detour, DetourEnd, DetourRoute, DetourRule, InterfaceAddress, Route
from kube_ovn.model.kube import Node
from kube_ovn.model.row import Key, Row, facts, owned
from kube_ovn.model.vswitch import Interface, Port

OVERHEAD = {"geneve": 100, "vxlan": 50}
"""Bytes that a tunnel over IPv4 takes of each packet, as users of the contract expect."""
DUMMY = InterfaceAddress(address=IPv4Address("192.0.0.8"), prefix=32)
"""The address of ovngw0 (RFC 7600, "IPv4 dummy address"). On a link without an address, the kernel takes no packet with
an answer that would leave elsewhere, even when `rp_filter` is loose.
"""
IPV6_OVERHEAD = 20
"""Bytes by which the header of a tunnel is longer over IPv6."""


LinkKey: TypeAlias = InterfaceAddress | Network
"""One thing that a NIC has: an address, or a route, by its destination."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """An internal port of Open vSwitch, and the desired state of its link, which is up."""

    rows: dict[Key, Row | None]
    link: dict[LinkKey, Route | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """Everything that this node should have, except its Pods."""

    nics: dict[str, Nic]
    """By name, which is one of `names.NODE_NICS`."""
    table: Table
    detours: frozenset[Detour]
    """The rules and routes of subnets that have routers of their own outside."""
    stopped: Mapping[str, str]
    """Why packets of a Subnet must not leave here, by the name of the Subnet."""
    fragile: bool
    """Whether the state depends on what the kernel does not notify of: the node's own addresses, and routes that the
    kernel deletes together with their link.
    """
    networks: frozenset[Network]
    """The CIDRs of the fabric that the state covers."""
    gateways: tuple[Address, ...]
    """The addresses of the router on the join switch. When they answer, the node's network works."""


def render_node(
    node: Node,
    subnets: Sequence[NodeSubnet],
    mtu: int,
    local: Collection[Address] = (),
    near: Collection[Network] = (),
    services: Sequence[Network] = (),
    serves: bool = False,
    dns: Sequence[Address] = (),
    nodes: Collection[Address] = (),
) -> NodeState | None:
    """The desired state of a Node; None until the controller has given it an address.

    `subnets`: those in effect, except the join subnet. `mtu`: bytes. `local`: the addresses that the node has.
    `near`: the networks that its other links reach without a router.
    `services`: the networks of Services' own addresses, which the fabric answers for the node's own processes too;
    with `serves`, also for clients that come through this node. `dns`: the addresses at which Pods look for a DNS
    server, which may be this node. `nodes`: the addresses of all nodes. Raises ValueError with a sentence on the Node's
    annotations.
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
    link: dict[LinkKey, Route | None] = dict.fromkeys(interfaces)
    networks = [*(network for subnet in subnets for network in subnet.networks), *services]
    # To just a network that the node is attached to packets go their own way; of a larger and a smaller one, the kernel
    # takes the way to the smaller one.
    through_fabric = (network for network in networks if network not in near)
    link.update({route.to: route for route in _routes(through_fabric, gateways, first_addresses(node))})
    # The source is the node's own address in the fabric: then OVN can send a question of the node back to the node.
    own_addresses: dict[int, Address] = {each.address.version: each.address for each in interfaces}
    link.update({route.to: route for route in _routes(map(ip_network, dns), gateways, own_addresses)})
    own = _port(names.NODE_NIC, annotations[names.PORT_NAME], parse_mac(annotations[names.MAC_ADDRESS]), mtu)
    gateway = _port(names.GATEWAY_NIC, names.GATEWAY_PORT, names.derived_mac(names.GATEWAY_PORT), mtu)
    return NodeState(
        nics={names.NODE_NIC: Nic(rows=own, link=link), names.GATEWAY_NIC: Nic(rows=gateway, link={DUMMY: None})},
        table=render_table([*subnets, join], services if serves else (), nodes),
        detours=frozenset(_detours(subnets)),
        stopped={subnet.name: subnet.reason for subnet in subnets if subnet.reason},
        fragile=any(subnet.sources or subnet.external for subnet in subnets),
        networks=frozenset(network for subnet in (*subnets, join) for network in subnet.networks),
        gateways=gateways,
    )


def _routes(
    networks: Iterable[Network], gateways: Iterable[Address], sources: Mapping[int, Address]
) -> Iterator[Route]:
    """Routes to networks through the fabric's router, for packets with these source addresses, by IP family."""
    hops = {gateway.version: gateway for gateway in gateways}
    for network in networks:
        source = sources.get(network.version)
        # A network that holds the node's own address must not be routed away from the node.
        if network.version in hops and (source is None or source not in network):
            yield Route(to=network, via=hops[network.version], source=source)


def _checked(subnets: Iterable[NodeSubnet], local: Collection[Address]) -> Iterator[NodeSubnet]:
    """The subnets, where packets that cannot leave as configured are stopped: a source address that the node does not
    have may belong to another host, and a routing table has one router of each family, which is that of the first
    subnet by name.
    """
    routers: dict[tuple[int, int], tuple[Address, str]] = {}
    for subnet in subnets:
        lacking = [source for source in subnet.sources if source not in local]
        stopped = {source.version for source in lacking}
        reasons = [f"the node has no address {source}" for source in lacking]
        for gateway in subnet.external.gateways if subnet.external is not None else ():
            assert subnet.external is not None
            table = subnet.external.table
            first, holder = routers.setdefault((table, gateway.version), (gateway, subnet.name))
            if first != gateway:
                stopped.add(gateway.version)
                reasons.append(f"table {table} is Subnet {holder}'s, with another router; set policyRoutingTableID")
        yield replace(subnet, stopped=subnet.stopped | stopped, reason="; ".join(reasons))


def _detours(subnets: Iterable[NodeSubnet]) -> Iterator[Detour]:
    for subnet in subnets:
        if subnet.external is None:
            continue
        table = subnet.external.table
        # For a family without a router, the table has only its end: the packets must not leave another way.
        for network in subnet.networks:
            if network.version not in subnet.stopped:
                yield DetourEnd(table=table, version=network.version)
                yield DetourRule(source=network, table=table, priority=subnet.external.priority)
        for gateway in subnet.external.gateways:
            if gateway.version not in subnet.stopped:
                yield DetourRoute(table=table, via=gateway)


def parse_encaps(text: str) -> tuple[Address, ...]:
    """Parse a comma list of the addresses of this node's tunnels (`ovn-encap-ip` of ovn-controller(8)). What is no
    address is left out.
    """
    found = []
    for part in text.split(","):
        with contextlib.suppress(ValueError):
            found.append(ip_address(part.strip()))
    return tuple(found)


def tunnel_overhead(network_type: str, encaps: Iterable[Address]) -> int:
    """Bytes that tunnels from these addresses take of each packet. `network_type`: a key of OVERHEAD."""
    return OVERHEAD[network_type] + (IPV6_OVERHEAD if any(encap.version == 6 for encap in encaps) else 0)


def first_addresses(node: Node) -> dict[int, Address]:
    """The first InternalIP of a node in each IP family."""
    found: dict[int, Address] = {}
    for address in internal_addresses(node):
        found.setdefault(address.version, address)
    return found


def _port(nic: str, logical_port: str, mac: str, mtu: int) -> dict[Key, Row | None]:
    """The rows of a NIC as an internal port: Open vSwitch makes the link and sets its MAC address and its MTU."""
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
