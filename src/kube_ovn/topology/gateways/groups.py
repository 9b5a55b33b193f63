"""The nodes that packets leave a centralized subnet through, and the rows that send packets there. Pure.

A *group* is a list of nodes in order of preference: a gateway port of the router with an HA_Chassis_Group of these
nodes. Every chassis by itself sends the packets of a group to the first node that answers BFD over the tunnel. A
failover needs no controller and no Kubernetes, and two nodes never serve one group (ovn-architecture(7), "Distributed
Gateway Ports"). On the node the packet comes out at a port of type localport, the node's own. With ECMP there is one
group for each node, and it begins with this node.

There are O(groups) rows, and one policy for each CIDR. Subnets with the same nodes share their groups.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

import msgspec

from kube_ovn.discovery.attached import internal_addresses
from kube_ovn.discovery.special import GATEWAY_LINKS
from kube_ovn.model import names
from kube_ovn.model.addr import format_list
from kube_ovn.model.crd import SubnetSpec
from kube_ovn.model.gateway import parse_gateway_nodes
from kube_ovn.model.kube import Node
from kube_ovn.model.nb import (
    HaChassis,
    HaChassisGroup,
    LogicalRouter,
    LogicalRouterPolicy,
    LogicalRouterPort,
    LogicalSwitch,
    LogicalSwitchPort,
)
from kube_ovn.model.network import Subnet
from kube_ovn.model.row import Key, Member, Row, facts, owned
from kube_ovn.model.text import check_text
from kube_ovn.topology.subnets.namespace import matches


class Group(NamedTuple):
    """Gateway nodes that stand in for one another. `key` is made from the fields that the user wrote. So a node that
    comes or goes changes the members of a group, and the group stays the same.
    """

    key: str
    nodes: tuple[str, ...]
    """The preferred node comes first."""


# Link addresses between the router and the nodes, four for each group.
_LINKS4, _LINKS6 = (int(links.network_address) for links in GATEWAY_LINKS)
_SLOTS = 8192
_MOST_OF_A_SHARE = 8
"""Nodes of a group that is one of several: the number of rows must not grow with the square of the gateways."""
_MOST_WATCHED = 50
"""Up to so many nodes BFD runs between all of them: the number of its packets grows with the square."""
_ALL = "all nodes"


MOST_OF_A_CHASSIS = 253
"""The most characters of a chassis' name, which is a UUID or the name of a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayNode:
    """The part of a Node that matters to gateways."""

    name: str
    chassis: str
    versions: frozenset[int]
    """IP families in which the node has an address of its own."""
    ready: bool
    schedulable: bool
    """False while an administrator drains the node: other nodes are preferred."""
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The nodes that packets leave a centralized subnet through, in groups."""

    groups: Mapping[int, tuple[Group, ...]]
    """By IP family, the groups that share the packets. Packets of a family without a group are stopped."""
    carriers: tuple[str, ...]
    """The nodes that packets leave through while all of them work: the first of each group."""
    unready: tuple[int, ...] = ()
    """IP families that have carriers, none of which is Ready."""
    faults: tuple[str, ...] = ()
    """The faults in the fields that the user wrote, one sentence each."""
    absent: tuple[str, ...] = ()
    """Why nodes that the user asks for are not used, or come last, one sentence each."""

    @property
    def flaw(self) -> str:
        """Why packets cannot leave, or may soon not leave; empty when all is well."""
        families = format_list(f"IPv{version}" for version, groups in self.groups.items() if not groups)
        if families:
            message = f"no gateway node can be used: packets to the outside are stopped ({families})"
        elif self.unready:
            families = format_list(f"IPv{version}" for version in self.unready)
            message = (
                f"no gateway node is Ready: packets leave through {format_list(self.carriers)} only as long as the "
                f"network there works ({families})"
            )
        else:
            return ""
        return "; ".join([message, *self.absent])


def parse_chassis(node: Node) -> str:
    """The name of a node's Chassis, which the node's daemon writes; empty when there is none, or none that can be a
    name.
    """
    text = node.metadata.annotations.get(names.CHASSIS, "")
    try:
        check_text(text, names.CHASSIS, MOST_OF_A_CHASSIS)
    except ValueError:
        return ""
    return text


def parse_node(node: Node) -> GatewayNode:
    """Read a Node as a gateway."""
    conditions = {each.type: each.status for each in node.status.conditions}
    return GatewayNode(
        name=node.metadata.name,
        chassis=parse_chassis(node),
        versions=frozenset(address.version for address in internal_addresses(node)),
        ready=conditions.get("Ready") == "True",
        schedulable=not node.spec.unschedulable,
        labels=node.metadata.labels,
    )


def choose(spec: SubnetSpec, versions: Iterable[int], nodes: Mapping[str, GatewayNode]) -> Exit:
    """The exit of a centralized subnet with these IP families. `nodes`: all nodes that the spec may mean, by name."""
    asked, wanted, faults = _asked(spec, nodes)
    absent = []
    for name in wanted:
        if name not in nodes:
            faults.append(f"gatewayNode: there is no node {name}")
        elif not nodes[name].ready:
            absent.append(f"node {name} is not Ready")
        elif not nodes[name].chassis:
            absent.append(f"node {name} is not on the network yet")
    there = [name for name in wanted if name in nodes and nodes[name].chassis]
    groups: dict[int, tuple[Group, ...]] = {}
    for version in versions:
        able = [name for name in there if version in nodes[name].versions]
        faults += [f"gatewayNode: node {name} has no IPv{version} address" for name in there if name not in able]
        key = asked if able == there else f"{asked} ipv{version}"
        groups[version] = _groups(key, able, ecmp=spec.enable_ecmp)
    heads = {version: [rank(group.nodes, nodes)[0] for group in some] for version, some in groups.items()}
    return Exit(
        groups=groups,
        carriers=tuple(dict.fromkeys(name for some in heads.values() for name in some)),
        unready=tuple(
            version for version, some in heads.items() if some and not any(nodes[name].ready for name in some)
        ),
        faults=tuple(faults),
        absent=tuple(absent),
    )


def _asked(spec: SubnetSpec, nodes: Mapping[str, GatewayNode]) -> tuple[str, list[str], list[str]]:
    """Returns the choice of the user as a text, always in the same form; the nodes that it means, in order; and its
    faults.
    """
    if spec.gateway_node.strip():
        try:
            wanted = list(parse_gateway_nodes(spec.gateway_node))
        except ValueError as error:
            return "", [], [f"gatewayNode: {error}"]
        asked = format_list(wanted)
    else:
        selectors = spec.gateway_node_selectors
        wanted = sorted(name for name, node in nodes.items() if any(matches(each, node.labels) for each in selectors))
        asked = msgspec.json.encode(selectors, order="sorted").decode()
    if wanted:
        return asked, wanted, []
    what = (
        "gatewayNodeSelectors select no node"
        if spec.gateway_node_selectors
        else "neither gatewayNode nor gatewayNodeSelectors is set"
    )
    return asked, [], [f"gatewayType is centralized, but {what}"]


def rank(group: Sequence[str], nodes: Mapping[str, GatewayNode]) -> list[str]:
    """The members of a group that are to carry packets, the preferred one first.

    A node that is not Ready stays out while another one is Ready. Where all other nodes are dead, BFD gets no answer,
    and only a gateway that is alone in its group goes on. When no node is Ready, all are in, and BFD tells which node's
    network works: after an outage of the API server no node is Ready for a while.
    """
    there = [name for name in group if name in nodes and nodes[name].chassis]
    ready = [name for name in there if nodes[name].ready]
    return sorted(ready or there, key=lambda name: not nodes[name].schedulable)


def _groups(key: str, able: Sequence[str], *, ecmp: bool) -> tuple[Group, ...]:
    if not able:
        return ()
    if not ecmp:
        return (Group(key, tuple(able)),)
    return tuple(
        Group(f"{key} from {head}", (*able[at:], *able[:at])[:_MOST_OF_A_SHARE]) for at, head in enumerate(able)
    )


def watch(nodes: Collection[str], groups: Iterable[Group]) -> Group:
    """A group that no packets leave through. BFD runs between all its nodes, so that any of them can become a gateway
    and no packet is lost until BFD has begun. In large clusters only nodes that are gateways are in it.
    """
    used = {name for group in groups for name in group.nodes}
    return Group(_ALL, tuple(sorted(nodes if len(nodes) <= _MOST_WATCHED else used)))


def render_groups(router: str, slots: Mapping[Group, int], nodes: Mapping[str, GatewayNode]) -> dict[Key, Row | None]:
    """The rows of the switch between the router and the nodes, and of the router's gateway port for each group.
    `slots`: as `assign_slots` assigns them.
    """
    if not slots:
        return {}
    mac = names.derived_mac(names.GATEWAY_PORT)
    hosts = [str(hop) for slot in slots.values() for hop in next_hops(slot).values()]
    rows: list[Row] = [
        LogicalSwitch(name=names.GATEWAY_SWITCH, external_ids=owned()),
        LogicalSwitchPort(
            name=names.GATEWAY_PORT,
            type="localport",
            addresses=frozenset({" ".join([mac, *hosts])}),
            external_ids=owned(ls=names.GATEWAY_SWITCH),
        ),
    ]
    members = [Member(LogicalSwitch.TABLE, names.GATEWAY_SWITCH, "ports", names.GATEWAY_PORT)]
    for group, slot in slots.items():
        name = names.gateway_group(group.key)
        joint = names.switch_port(names.GATEWAY_SWITCH, name)
        chassis = [
            HaChassis(
                chassis_name=nodes[node].chassis,
                priority=priority,
                external_ids=owned(key=f"{name} {node}", node=node),
            )
            for node, priority in _priorities(group, nodes).items()
        ]
        rows += [
            LogicalRouterPort(
                name=name,
                mac=names.derived_mac(name),
                networks=frozenset({f"{_link4(slot, 1)}/30", f"{_link6(slot, 1)}/126"}),
                external_ids=owned(lr=router, ls=names.GATEWAY_SWITCH, nodes=group.key),
            ),
            LogicalSwitchPort(
                name=joint,
                type="router",
                addresses=frozenset({"router"}),
                options={"router-port": name},
                external_ids=owned(ls=names.GATEWAY_SWITCH),
            ),
            HaChassisGroup(name=name, external_ids=owned(nodes=group.key)),
            *chassis,
        ]
        members += [
            Member(LogicalRouter.TABLE, router, "ports", name),
            Member(LogicalSwitch.TABLE, names.GATEWAY_SWITCH, "ports", joint),
            Member(LogicalRouterPort.TABLE, name, "ha_chassis_group", name),
            *(Member(HaChassisGroup.TABLE, name, "ha_chassis", each.key) for each in chassis),
        ]
    return facts(*rows, members=tuple(members))


def _priorities(group: Group, nodes: Mapping[str, GatewayNode]) -> dict[str, int]:
    """The members of a group, and the priority of each: the node with the highest carries the packets.

    In the group that is only watched all members stay, so that BFD need not begin when a node is Ready again. They have
    the same priority, so that one more node does not change the rows of all others.
    """
    if group.key == _ALL:
        return {name: 1 for name in group.nodes if nodes[name].chassis}
    return {name: len(group.nodes) - place for place, name in enumerate(rank(group.nodes, nodes))}


def render_exit(router: str, subnet: Subnet, way: Exit, slots: Mapping[Group, int]) -> dict[Key, Row | None]:
    """The policies that send the packets of a subnet to its groups, or stop them."""
    policies = []
    for cidr in subnet.cidrs:
        placed = [slots[group] for group in way.groups[cidr.version] if group in slots]
        hops = frozenset(str(next_hops(slot)[cidr.version]) for slot in placed)
        policies.append(
            LogicalRouterPolicy(
                priority=names.POLICY_CENTRALIZED,
                match=f"ip{cidr.version}.src == {cidr}",
                action="reroute" if hops else "drop",
                nexthops=hops,
                external_ids=owned(key=f"{router} gateway {subnet.name} ipv{cidr.version}", subnet=subnet.name),
            )
        )
    return facts(
        *policies, members=tuple(Member(LogicalRouter.TABLE, router, "policies", policy.key) for policy in policies)
    )


def assign_slots(groups: Iterable[Group]) -> dict[Group, int]:
    """A slot among the link addresses for each group. It does not depend on the other groups, except where two would
    have the same slot. Then one of them gets another slot, which costs its subnets what a change of their gateway
    costs.
    """
    slots: dict[Group, int] = {}
    taken: set[int] = set()
    for group in sorted(set(groups))[:_SLOTS]:
        slot = int.from_bytes(hashlib.blake2b(group.key.encode(), digest_size=4).digest(), "big") % _SLOTS
        while slot in taken:
            slot = (slot + 1) % _SLOTS
        taken.add(slot)
        slots[group] = slot
    return slots


def next_hops(slot: int) -> dict[int, IPv4Address | IPv6Address]:
    """The nodes' end of the link of a group, by IP family."""
    return {4: _link4(slot, 2), 6: _link6(slot, 2)}


def _link4(slot: int, end: int) -> IPv4Address:
    return IPv4Address(_LINKS4 + 4 * slot + end)


def _link6(slot: int, end: int) -> IPv6Address:
    return IPv6Address(_LINKS6 + 4 * slot + end)
