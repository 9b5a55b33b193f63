"""Policies as rows, and the membership of each Pod in what policies speak of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kube_ovn.derive import Graph, Read, Source
from kube_ovn.discovery.attached import internal_addresses
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
from kube_ovn.topology.policy import selections
from kube_ovn.topology.policy.acls import address_set, group, render_policy, render_selection
from kube_ovn.topology.policy.compile import compile_policy
from kube_ovn.topology.policy.rules import Compiled, Port, Selection
from kube_ovn.topology.policy.selections import Chosen, NamedPort, Need, Selections
from kube_ovn.topology.policy.selector import selects
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
    found = selections.define(graph, inputs, compiled)

    def render(read: Read, name: Name, policy: Compiled) -> State:
        def numbers(port: NamedPort) -> Iterable[int]:
            return read.get(found.numbers, port) or ()

        def is_dns(selection: Selection) -> bool:
            namespace, key, value = names.CLUSTER_DNS
            is_there = selection.namespace == namespace or (
                not selection.namespace and selection.namespaces in (read.get(found.matching, namespace) or ())
            )
            return is_there and selects(selection.pods, {key: value})

        return render_policy(str(name), policy, numbers, is_dns, read.get(versions, ONE) or ())

    def tell(read: Read, name: Name, policy: Compiled) -> Told | None:
        if not policy.faults:
            return None
        return Told(
            object=_ref(inputs.policies.values[name]), reason=names.POLICY_REFUSED, message="; ".join(policy.faults)
        )

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
    outputs.rows.follow(graph.derive("rows of policies", compiled, render), lambda name: _find(inputs, name))
    outputs.telling.follow(graph.derive("faults of policies", compiled, tell))
    _define_members(graph, outputs, on, found)
    _define_nodes(graph, outputs, on, compiled)


def _define_members(graph: Graph, outputs: Outputs, on: Reads, found: Selections) -> None:
    def addresses(read: Read, name: str, node: Node) -> Iterable[Address]:
        return own_addresses(read, on.holders, on.grants, node)

    own = graph.derive("addresses that nodes send from", on.inputs.nodes, addresses)

    def members(read: Read, record: str, chosen: Chosen) -> State | None:
        traits = read.get(found.traits, record)
        assert traits is not None, "they have chosen"
        if traits.node:
            return facts(members=tuple(_addresses(chosen, read.get(own, traits.node) or ())))
        outcome = read.get(on.pods, record)
        if outcome is None or outcome.end is None:
            return None
        port, those = outcome.end.port, [each for each, need in chosen.items() if need.isolated]
        joined = [Member(PortGroup.TABLE, group(each), "ports", port) for each in those]
        if those:
            joined.append(Member(PortGroup.TABLE, names.POLICY_PORTS, "ports", port))
        return facts(members=(*joined, *_addresses(chosen, outcome.end.addresses)))

    outputs.rows.follow(graph.derive("members of selections", found.chosen, members))


def _addresses(chosen: Chosen, addresses: Iterable[Address]) -> list[Member]:
    return [
        Member(AddressSet.TABLE, address_set(each, address.version), "addresses", str(address))
        for each, need in chosen.items()
        if need.peer
        for address in addresses
    ]


def _define_nodes(graph: Graph, outputs: Outputs, on: Reads, compiled: Source[Name, Compiled]) -> None:
    """A node reaches the Pods on it whatever policies say, as its kubelet must (networking.k8s.io/v1)."""
    any_policy = graph.index("policies there are", compiled, lambda name, policy: (ONE,))

    def allow(read: Read, name: str, node: Node) -> State | None:
        if not read.select(any_policy, ONE):
            return None
        acls = [
            Acl(
                priority=names.ACL_POLICY_NODES,
                direction="to-lport",
                match=f"outport == @{names.POLICY_PORTS} && ip{address.version}.src == {address} && "
                f'is_chassis_resident("{names.node_port(name)}")',
                action="allow-related",
                tier=names.TIER_POLICY,
                external_ids=owned(key=f"policies node {name} {address}", node=name),
            )
            for address in own_addresses(read, on.holders, on.grants, node)
        ]
        joined = tuple(Member(PortGroup.TABLE, names.POLICY_PORTS, "acls", each.key) for each in acls)
        return facts(*acls, PortGroup(name=names.POLICY_PORTS, external_ids=owned()), members=joined)

    def join(read: Read, name: str, node: Node) -> State:
        sets = [
            (names.joined_nodes_set(each.version), str(each)) for each in _joined(read, on.holders, on.grants, node)
        ]
        return facts(members=tuple(Member(AddressSet.TABLE, key, "addresses", text) for key, text in sets))

    def render_sets(read: Read, key: str, value: bool) -> State:
        return facts(*(AddressSet(name=names.joined_nodes_set(version), external_ids=owned()) for version in (4, 6)))

    outputs.rows.follow(graph.derive("sets of joined nodes", on.inputs.one, render_sets))
    outputs.rows.follow(graph.derive("joined nodes", on.inputs.nodes, join), lambda name: _node_ref(on.inputs, name))
    rows = graph.derive("nodes' way to their Pods", on.inputs.nodes, allow)
    outputs.rows.follow(rows, lambda name: _node_ref(on.inputs, name))


def own_addresses(read: Read, holders: Holders, grants: Grants, node: Node) -> tuple[Address, ...]:
    """The addresses that a node, and Pods in its network, send from."""
    return tuple(dict.fromkeys((*_joined(read, holders, grants, node), *internal_addresses(node))))


def _joined(read: Read, holders: Holders, grants: Grants, node: Node) -> tuple[Address, ...]:
    """The addresses of a node in the join subnet."""
    holder = read.get(holders.nodes, node.metadata.name)
    held = read.get(grants.held, holder.owner.key) if holder is not None else None
    return held.grant.addresses if held is not None and held.recorded else ()


def _find(inputs: Inputs, name: Name) -> ObjectRef | None:
    found = inputs.policies.values.get(name)
    return None if found is None else _ref(found)


def _ref(policy: NetworkPolicy) -> ObjectRef:
    meta = policy.metadata
    return ObjectRef(kind=Kind.NETWORK_POLICY, namespace=meta.namespace, name=meta.name, uid=meta.uid)


def _node_ref(inputs: Inputs, name: str) -> ObjectRef | None:
    found = inputs.nodes.values.get(name)
    return None if found is None else cluster_ref(Kind.NODE, name, found.metadata.uid)
