"""Policies as rows, and the membership of each Pod in what policies speak of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kube_ovn.derive import Graph, Read, Source
from kube_ovn.discovery.attached import internal_addresses, reported_addresses
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import Node
from kube_ovn.model.nb import Acl, AddressSet, PortGroup
from kube_ovn.model.network import Kind, ObjectRef, Subnet, Told, cluster_ref
from kube_ovn.model.policy import NetworkPolicy
from kube_ovn.model.row import Key, Member, Row, State, facts, owned
from kube_ovn.topology.addresses.grants import Grants
from kube_ovn.topology.addresses.holders import Holders
from kube_ovn.topology.inputs import ONE, Inputs, Name
from kube_ovn.topology.outputs import Outputs
from kube_ovn.topology.policy import cluster_wide, selected_nodes, selections
from kube_ovn.topology.policy.acls import address_sets, group, render_policy, render_selection
from kube_ovn.topology.policy.compile import compile_policy
from kube_ovn.topology.policy.rules import Compiled, Port, Rule, Seat, Selection, Tier
from kube_ovn.topology.policy.selections import Chosen, NamedPort, Need, Selections
from kube_ovn.topology.policy.selector import selects
from kube_ovn.topology.policy.status import policy_ref
from kube_ovn.topology.ports.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The sources that policies are derived from."""

    inputs: Inputs
    effective: Source[str, Subnet]
    pods: Source[str, Outcome]
    holders: Holders
    grants: Grants


def define(graph: Graph, outputs: Outputs, on: Reads) -> None:
    """Derive the rows of policies, the members of their groups and sets, and the Events of their users."""
    inputs = on.inputs

    def compile_one(read: Read, name: Name, policy: NetworkPolicy) -> Compiled:
        return compile_policy(policy)

    def families(read: Read, key: str, value: bool) -> Sequence[int]:
        return tuple(sorted({each for subnet in read.all(on.effective).values() for each in subnet.versions}))

    compiled = graph.derive("compiled policies", inputs.policies, compile_one)
    versions = graph.derive("IP families", inputs.one, families)
    objects, wide = cluster_wide.define(graph, inputs)
    every = graph.union("policies of all kinds", (compiled, wide))
    found = selections.define(graph, inputs, every)

    def render(read: Read, name: str, policy: Compiled, rules: Iterable[tuple[Rule, Seat]] | None = None) -> State:
        def numbers(port: NamedPort) -> Iterable[int]:
            return read.get(found.numbers, port) or ()

        def is_dns(selection: Selection) -> bool:
            namespace, key, value = names.CLUSTER_DNS
            is_there = selection.namespace == namespace or (
                not selection.namespace and selection.namespaces in (read.get(found.matching, namespace) or ())
            )
            return is_there and selects(selection.pods, {key: value})

        return render_policy(name, policy, numbers, is_dns, read.get(versions, ONE) or (), rules)

    def render_policy_of_namespace(read: Read, name: Name, policy: Compiled) -> State:
        return render(read, str(name), policy)

    def tell(read: Read, name: Name, policy: NetworkPolicy) -> Told | None:
        found = read.get(compiled, name)
        if found is None or not found.faults:
            return None
        return Told(object=policy_ref(policy), reason=names.POLICY_REFUSED, message="; ".join(found.faults))

    def render_one(read: Read, selection: Selection, need: Need) -> State:
        return render_selection(selection, need, read.get(versions, ONE) or ())

    def render_by_port(read: Read, port: NamedPort, found_numbers: frozenset[int]) -> State:
        need = read.get(found.needs, port.selection)
        assert need is not None, "Pods are in selections that there are"
        each = need.by_port(port.protocol, port.name)
        rows: dict[Key, Row | None] = {}
        for number in found_numbers:
            at = port.selection._replace(port=Port(port.protocol, port.name, number))
            rows |= render_selection(at, each, read.get(versions, ONE) or ())
        return rows

    outputs.rows.follow(graph.derive("rows of selections", found.needs, render_one))
    outputs.rows.follow(graph.derive("rows of selections by port", found.numbers, render_by_port))
    rows = graph.derive("rows of policies", compiled, render_policy_of_namespace)
    outputs.rows.follow(rows, lambda name: _find(inputs, name))
    outputs.telling.follow(graph.derive("faults of policies", inputs.policies, tell))
    cluster_wide.define_rows(graph, outputs, objects, wide, render)
    _define_members(graph, outputs, on, found)
    _define_nodes(graph, outputs, on, every, wide)


def _define_members(graph: Graph, outputs: Outputs, on: Reads, found: Selections) -> None:
    def addresses(read: Read, name: str, node: Node) -> Iterable[Address]:
        return _own(read, on, node)

    own = graph.derive("addresses that nodes send from", on.inputs.nodes, addresses)

    def members(read: Read, record: str, chosen: Chosen) -> State | None:
        traits = read.get(found.traits, record)
        assert traits is not None, "they have chosen"
        if traits.node:
            shared = {each: replace(need, own_peer=False) for each, need in chosen.items()}
            return facts(members=tuple(_addresses(shared, read.get(own, traits.node) or ())))
        outcome = read.get(on.pods, record)
        if outcome is None or outcome.end is None:
            return None
        port, those = outcome.end.port, [each for each, need in chosen.items() if need.grouped]
        joined = [Member(PortGroup.TABLE, group(each), "ports", port) for each in those]
        if those:
            joined.append(Member(PortGroup.TABLE, names.POLICY_PORTS, "ports", port))
        return facts(members=(*joined, *_addresses(chosen, outcome.end.addresses)))

    outputs.rows.follow(graph.derive("members of selections", found.chosen, members))


def _addresses(chosen: Chosen, addresses: Iterable[Address]) -> list[Member]:
    return [
        Member(AddressSet.TABLE, name, "addresses", str(address))
        for each, need in chosen.items()
        for address in addresses
        for name in address_sets(each, need, address.version)
    ]


def _define_nodes(
    graph: Graph, outputs: Outputs, on: Reads, policies: Source[Any, Compiled], wide: Source[Any, Compiled]
) -> None:
    """A node reaches the Pods on it whatever policies say, as its kubelet must (networking.k8s.io/v1). `wide`: those of
    the whole cluster.
    """
    any_policy = graph.index("tiers there are", policies, lambda name, policy: _tiers(policy))

    def allow(read: Read, name: str, node: Node) -> State | None:
        acls = [
            _way(name, address, tier)
            for tier in (names.TIER_ADMIN, names.TIER_POLICY)
            if read.select(any_policy, tier)
            for address in _own(read, on, node)
        ]
        if not acls:
            return None
        joined = tuple(Member(PortGroup.TABLE, names.POLICY_PORTS, "acls", each.key) for each in acls)
        return facts(*acls, members=joined)

    def render_group(read: Read, tier: int, those: Mapping[Any, Compiled]) -> State:
        return facts(PortGroup(name=names.POLICY_PORTS, external_ids=owned()))

    def join(read: Read, name: str, node: Node) -> State:
        sets = [(names.joined_nodes_set(each.version), str(each)) for each in _joined(read, on, node)]
        return facts(members=tuple(Member(AddressSet.TABLE, key, "addresses", text) for key, text in sets))

    def render_sets(read: Read, key: str, value: bool) -> State:
        return facts(*(AddressSet(name=names.joined_nodes_set(version), external_ids=owned()) for version in (4, 6)))

    def reach(read: Read, name: str, node: Node) -> tuple[Address, ...]:
        return tuple(dict.fromkeys((*_joined(read, on, node), *reported_addresses(node))))

    reached = graph.derive("addresses that nodes are reached at", on.inputs.nodes, reach)
    selected_nodes.define(graph, outputs, on.inputs, wide, reached)
    outputs.rows.follow(graph.derive("group of all restricted Pods", any_policy, render_group))
    outputs.rows.follow(graph.derive("sets of joined nodes", on.inputs.one, render_sets))
    outputs.rows.follow(graph.derive("joined nodes", on.inputs.nodes, join), lambda name: _node_ref(on.inputs, name))
    rows = graph.derive("nodes' way to their Pods", on.inputs.nodes, allow)
    outputs.rows.follow(rows, lambda name: _node_ref(on.inputs, name))


def _tiers(policy: Compiled) -> tuple[int, ...]:
    """The tiers in which a policy may stop what a node sends."""
    is_admin = policy.level is not None and policy.level.tier is Tier.ADMIN
    return (names.TIER_ADMIN, names.TIER_POLICY) if is_admin else (names.TIER_POLICY,)


def _way(name: str, address: Address, tier: int) -> Acl:
    """What a node sends from an address to the Pods on it is allowed by the last tier; another one lets it go on."""
    is_last = tier == names.TIER_POLICY
    what = "policies" if is_last else "cluster-wide policies"
    return Acl(
        priority=names.ACL_POLICY_NODES if is_last else names.ACL_ADMIN_NODES,
        direction="to-lport",
        match=f"outport == @{names.POLICY_PORTS} && ip{address.version}.src == {address} && "
        f'is_chassis_resident("{names.node_port(name)}")',
        action="allow-related" if is_last else "pass",
        tier=tier,
        external_ids=owned(key=f"{what} node {name} {address}", node=name),
    )


def _own(read: Read, on: Reads, node: Node) -> tuple[Address, ...]:
    """The addresses that a node, and Pods in its network, send from."""
    return tuple(dict.fromkeys((*_joined(read, on, node), *internal_addresses(node))))


def _joined(read: Read, on: Reads, node: Node) -> tuple[Address, ...]:
    """The addresses of a node in the join subnet."""
    holder = read.get(on.holders.nodes, node.metadata.name)
    held = read.get(on.grants.held, holder.owner.key) if holder is not None else None
    return held.grant.addresses if held is not None and held.recorded else ()


def _find(inputs: Inputs, name: Name) -> ObjectRef | None:
    found = inputs.policies.values.get(name)
    return None if found is None else policy_ref(found)


def _node_ref(inputs: Inputs, name: str) -> ObjectRef | None:
    found = inputs.nodes.values.get(name)
    return None if found is None else cluster_ref(Kind.NODE, name, found.metadata.uid)
