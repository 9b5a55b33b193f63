"""Nodes as the other end of cluster-wide policies: sets of the addresses of those that a selector selects."""

from collections.abc import Mapping
from typing import Any

from kube_ovn.derive import Graph, Read, Source
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import Node
from kube_ovn.model.nb import AddressSet
from kube_ovn.model.row import Member, State, facts, owned
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.outputs import Outputs
from kube_ovn.topology.policy.rules import Compiled
from kube_ovn.topology.policy.selector import Selector, describe, selects


def define(
    graph: Graph,
    outputs: Outputs,
    inputs: Inputs,
    policies: Source[Any, Compiled],
    addresses: Source[str, tuple[Address, ...]],
) -> None:
    """Derive the sets. `addresses`: those that each Node is reached at."""
    named = graph.split("policies by selector of Nodes", policies, lambda name, policy: _selectors(policy))
    wanted = graph.derive("selectors of Nodes", named, lambda read, selector, those: selector)

    def render(read: Read, selector: Selector, same: Selector) -> State:
        ids = owned(selection=f"nodes {describe(selector) or 'all'}")
        sets = (names.selected_nodes_set(repr(selector), version) for version in (4, 6))
        return facts(*(AddressSet(name=name, external_ids=ids) for name in sets))

    def join(read: Read, name: str, node: Node) -> State | None:
        found = [each for each in read.all(wanted).values() if selects(each, node.metadata.labels)]
        members = [
            Member(AddressSet.TABLE, names.selected_nodes_set(repr(each), address.version), "addresses", str(address))
            for each in found
            for address in read.get(addresses, name) or ()
        ]
        return facts(members=tuple(members)) if members else None

    outputs.rows.follow(graph.derive("sets of Nodes", wanted, render))
    outputs.rows.follow(graph.derive("members of sets of Nodes", inputs.nodes, join))


def _selectors(policy: Compiled) -> Mapping[Selector, bool]:
    return {selector: True for rule in policy.rules for selector in rule.nodes}
