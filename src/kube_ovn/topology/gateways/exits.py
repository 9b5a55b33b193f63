"""The exits of centralized subnets, as derivations. `gateways.groups` decides on each of them.

Reads Nodes and effective subnets. Makes `exits`, and the rows of all groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kube_ovn.derive import Derived, Graph, Index, Read, Source
from kube_ovn.model.crd import LabelSelector
from kube_ovn.model.gateway import CENTRALIZED, parse_gateway_nodes
from kube_ovn.model.kube import Node
from kube_ovn.model.network import Kind, Subnet
from kube_ovn.model.row import State
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.gateways.groups import (
    Exit,
    GatewayNode,
    Group,
    assign_slots,
    choose,
    parse_node,
    render_exit,
    render_groups,
    watch,
)
from kube_ovn.topology.inputs import ONE, Inputs
from kube_ovn.topology.outputs import Outputs, find_owner
from kube_ovn.topology.subnets.addressing import Addressing
from kube_ovn.topology.subnets.features import Features

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _GatewayNodes:
    """Nodes as possible gateways, by name."""

    nodes: Derived[str, Node, GatewayNode]
    labels: Derived[str, Node, Labels]
    by_label: Index[tuple[str, str], str, Labels]

    def selected(self, read: Read, selector: LabelSelector) -> Mapping[str, Labels]:
        """The nodes that a selector may select: those with the rarest of its labels; all when it names no label."""
        groups = [read.select(self.by_label, pair) for pair in selector.match_labels.items()]
        return min(groups, key=len) if groups else read.all(self.labels)


def define(
    graph: Graph,
    inputs: Inputs,
    outputs: Outputs,
    fabric: Fabric,
    features: Source[str, Features],
    addressing: Addressing,
) -> Derived[str, Subnet, Exit]:
    """Derive the exit of each centralized subnet, by the name of the subnet."""
    labels = graph.derive("labels of nodes", inputs.nodes, _labels)
    nodes = _GatewayNodes(
        nodes=graph.derive("gateway nodes", inputs.nodes, lambda read, name, node: parse_node(node)),
        labels=labels,
        by_label=graph.index("nodes by label", labels, lambda name, labels: tuple(labels.items())),
    )

    def find_exit(read: Read, name: str, subnet: Subnet) -> Exit | None:
        each = read.get(features, name)
        if each is None or each.spec.gateway_type != CENTRALIZED or name == fabric.join:
            return None
        wanted: dict[str, None] = {}
        if each.spec.gateway_node.strip():
            try:
                wanted = dict.fromkeys(parse_gateway_nodes(each.spec.gateway_node))
            except ValueError:
                wanted = {}  # `choose` makes a fault of it
        else:
            for selector in each.spec.gateway_node_selectors:
                wanted.update(dict.fromkeys(nodes.selected(read, selector)))
        there = {node: found for node in wanted if (found := read.get(nodes.nodes, node)) is not None}
        return choose(each.spec, subnet.versions, there)

    exits = graph.derive("exits", addressing.effective, find_exit)
    _define_rows(graph, inputs, outputs, fabric, nodes, exits, addressing)
    return exits


def _labels(read: Read, name: str, node: Node) -> Labels:
    return node.metadata.labels


def _define_rows(
    graph: Graph,
    inputs: Inputs,
    outputs: Outputs,
    fabric: Fabric,
    nodes: _GatewayNodes,
    exits: Derived[str, Subnet, Exit],
    addressing: Addressing,
) -> None:
    names = graph.derive("names of nodes", inputs.nodes, lambda read, name, node: name)

    def slots_of_groups(read: Read, key: str, value: bool) -> Mapping[Group, int]:
        ways = read.all(exits).values()
        groups = {group for way in ways for some in way.groups.values() for group in some}
        if groups:
            groups.add(watch(read.all(names), groups))
        return assign_slots(groups)

    def render_all(read: Read, key: str, assigned: Mapping[Group, int]) -> State | None:
        members = {name for group in assigned for name in group.nodes}
        there = {name: found for name in members if (found := read.get(nodes.nodes, name)) is not None}
        return render_groups(fabric.router, assigned, there) or None

    def render_one(read: Read, name: str, way: Exit) -> State | None:
        subnet = read.get(addressing.effective, name)
        assert subnet is not None, "only what is in effect has a way out"
        return render_exit(fabric.router, subnet, way, read.get(slots, ONE) or {})

    slots = graph.derive("slots of gateway groups", inputs.one, slots_of_groups)
    outputs.rows.follow(graph.derive("rows of gateway groups", slots, render_all))
    outputs.rows.follow(graph.derive("rows of exits", exits, render_one), find_owner(inputs.subnets, Kind.SUBNET))
