"""Policies as rows, and the membership of each Pod in what policies speak of."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kube_ovn.derive import Graph, Read, Source
from kube_ovn.discovery.attached import internal_addresses, reported_addresses
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.admin_policy import AdminName
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
from kube_ovn.topology.policy.acls import Trial, address_sets, group, render_policy, render_selection, render_wide
from kube_ovn.topology.policy.compile import compile_policy
from kube_ovn.topology.policy.rules import Compiled, Direction, Port, Rule, Seat, Selection, Tier
from kube_ovn.topology.policy.selections import Chosen, NamedPort, Need, Selections
from kube_ovn.topology.policy.selector import selects
from kube_ovn.topology.policy.status import policy_ref
from kube_ovn.topology.ports.outcome import Outcome
from kube_ovn.topology.subnets.features import Features


class _Way(NamedTuple):
    """How nodes reach the Pods on them: past policies that are enforced, or past those that are tried."""

    past: str
    """Which policies, as in `_sorts_of`."""
    is_private: bool
    """Whether the Pods are in private subnets, which let all nodes in, past every policy."""
    what: str
    ports: str
    tier: int
    priority: int
    action: str


_POLICY, _ADMIN, _AUDIT = "policies", "cluster-wide policies", "audits"
_PASS = (names.ACL_AUDIT_PASS, "pass")
_ALL = names.POLICY_PORTS
_WAYS = (
    _Way(_POLICY, False, "policies", _ALL, names.TIER_POLICY, names.ACL_POLICY_NODES, "allow-related"),
    _Way(_ADMIN, False, "cluster-wide policies", _ALL, names.TIER_ADMIN, names.ACL_ADMIN_NODES, "pass"),
    _Way(_AUDIT, False, "audits", names.AUDIT_PORTS, names.TIER_SUBNET, *_PASS),
    _Way(_AUDIT, True, "audits private", names.AUDIT_PORTS_PRIVATE, names.TIER_ADMIN, *_PASS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The sources that policies are derived from."""

    inputs: Inputs
    effective: Source[str, Subnet]
    features: Source[str, Features]
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
    private = graph.derive("private subnets", on.features, _is_private)
    any_private = graph.derive("whether a subnet is private", inputs.one, lambda read, *_: bool(read.all(private)))
    objects, wide = cluster_wide.define(graph, inputs)
    every = graph.union("policies of all kinds", (compiled, wide))
    found = selections.define(graph, inputs, every)

    def numbers_of(read: Read) -> Callable[[NamedPort], Iterable[int]]:
        return lambda port: read.get(found.numbers, port) or ()

    def dns_of(read: Read) -> Callable[[Selection], bool]:
        def is_dns(selection: Selection) -> bool:
            namespace, key, value = names.CLUSTER_DNS
            is_there = selection.namespace == namespace or (
                not selection.namespace and selection.namespaces in (read.get(found.matching, namespace) or ())
            )
            return is_there and selects(selection.pods, {key: value})

        return is_dns

    def render(read: Read, name: Name, policy: Compiled) -> State:
        also = policy.mode.audit and read.get(any_private, ONE) is True
        those = read.get(versions, ONE) or ()
        return render_policy(name, policy, numbers_of(read), dns_of(read), those, any_private=also)

    def render_wide_one(read: Read, name: AdminName, policy: Compiled, rules: Sequence[tuple[Rule, Seat]]) -> State:
        return render_wide(name, policy, rules, numbers_of(read), dns_of(read), read.get(versions, ONE) or ())

    def tell(read: Read, name: Name, policy: NetworkPolicy) -> Told | None:
        found = read.get(compiled, name)
        if found is None or not found.faults:
            return None
        return Told(object=policy_ref(policy), reason=names.POLICY_REFUSED, message="; ".join(found.faults))

    def render_one(read: Read, selection: Selection, need: Need) -> dict[Key, Row | None]:
        also = bool(need.audits) and read.get(any_private, ONE) is True
        return render_selection(selection, need, read.get(versions, ONE) or (), any_private=also)

    def render_by_port(read: Read, port: NamedPort, found_numbers: frozenset[int]) -> State:
        need = read.get(found.needs, port.selection)
        assert need is not None, "Pods are in selections that there are"
        each = need.by_port(port.protocol, port.name)
        rows: dict[Key, Row | None] = {}
        for number in found_numbers:
            at = port.selection._replace(port=Port(port.protocol, port.name, number))
            rows |= render_one(read, at, each)
        return rows

    outputs.rows.follow(graph.derive("rows of selections", found.needs, render_one))
    outputs.rows.follow(graph.derive("rows of selections by port", found.numbers, render_by_port))
    outputs.rows.follow(graph.derive("rows of policies", compiled, render), lambda name: _find(inputs, name))
    outputs.telling.follow(graph.derive("faults of policies", inputs.policies, tell))
    _define_members(graph, outputs, on, found, private)
    cluster_wide.define_rows(graph, outputs, objects, wide, render_wide_one)
    _define_nodes(graph, outputs, on, every, any_private)
    _define_selected_nodes(graph, outputs, on, wide)


def _is_private(read: Read, name: str, features: Features) -> bool | None:
    return features.spec.private or None


def _define_members(graph: Graph, outputs: Outputs, on: Reads, found: Selections, private: Source[str, bool]) -> None:
    def addresses(read: Read, name: str, node: Node) -> Iterable[Address]:
        return own_addresses(read, on.holders, on.grants, node)

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
        groups = _groups(chosen, read.get(private, outcome.end.subnet) is True)
        joined = [Member(PortGroup.TABLE, each, "ports", outcome.end.port) for each in groups]
        return facts(members=(*joined, *_addresses(chosen, outcome.end.addresses)))

    outputs.rows.follow(graph.derive("members of selections", found.chosen, members))


def _groups(chosen: Chosen, is_private: bool) -> Iterable[str]:
    """The Port_Groups of a Pod. Policies are tried on a Pod only in directions in which no policy restricts it: there
    one more policy drops nothing.
    """
    restricted = frozenset[Direction]().union(*(need.isolated for need in chosen.values()))
    grouped = [group(each) for each, need in chosen.items() if need.grouped]
    if grouped:
        yield names.POLICY_PORTS
    yield from grouped
    tried = [(each, way) for each, need in chosen.items() for way in need.audited if way not in restricted]
    if any(way is Direction.INGRESS for _, way in tried):
        yield names.AUDIT_PORTS_PRIVATE if is_private else names.AUDIT_PORTS
    for each, way in tried:
        yield Trial(way, is_private and way is Direction.INGRESS).group(each)


def _addresses(chosen: Chosen, addresses: Iterable[Address]) -> list[Member]:
    return [
        Member(AddressSet.TABLE, name, "addresses", str(address))
        for each, need in chosen.items()
        for address in addresses
        for name in address_sets(each, need, address.version)
    ]


def _define_nodes(
    graph: Graph, outputs: Outputs, on: Reads, policies: Source[Any, Compiled], any_private: Source[str, bool]
) -> None:
    """A node reaches the Pods on it whatever policies say, as its kubelet must (networking.k8s.io/v1)."""
    sorts = graph.index("policies by mode", policies, lambda name, policy: _sorts_of(policy))

    def ways_of(read: Read, past: str) -> list[_Way]:
        there = (way for way in _WAYS if way.past == past)
        return [way for way in there if not way.is_private or read.get(any_private, ONE)]

    def allow(read: Read, name: str, node: Node) -> State | None:
        ways = [way for past in (_POLICY, _ADMIN, _AUDIT) if read.select(sorts, past) for way in ways_of(read, past)]
        own = own_addresses(read, on.holders, on.grants, node)
        acls = [(way.ports, _way_of(way, name, address)) for way in ways for address in own]
        joined = tuple(Member(PortGroup.TABLE, ports, "acls", acl.key) for ports, acl in acls)
        return facts(*(acl for _, acl in acls), members=joined) or None

    def render_group(read: Read, past: str, those: Mapping[Any, Compiled]) -> State:
        return facts(*(PortGroup(name=way.ports, external_ids=owned()) for way in ways_of(read, past)))

    def join(read: Read, name: str, node: Node) -> State:
        sets = [
            (names.joined_nodes_set(each.version), str(each)) for each in _joined(read, on.holders, on.grants, node)
        ]
        return facts(members=tuple(Member(AddressSet.TABLE, key, "addresses", text) for key, text in sets))

    def render_sets(read: Read, key: str, value: bool) -> State:
        return facts(*(AddressSet(name=names.joined_nodes_set(version), external_ids=owned()) for version in (4, 6)))

    outputs.rows.follow(graph.derive("sets of joined nodes", on.inputs.one, render_sets))
    outputs.rows.follow(graph.derive("joined nodes", on.inputs.nodes, join), lambda name: _node_ref(on.inputs, name))
    outputs.rows.follow(graph.derive("groups of all restricted Pods", sorts, render_group))
    rows = graph.derive("nodes' way to their Pods", on.inputs.nodes, allow)
    outputs.rows.follow(rows, lambda name: _node_ref(on.inputs, name))


def _sorts_of(policy: Compiled) -> tuple[str, ...]:
    """Past which policies nodes need a way because there is this one."""
    if policy.level is not None and policy.level.tier is Tier.ADMIN:
        return (_POLICY, _ADMIN)
    return (_AUDIT,) if policy.mode.audit else (_POLICY,)


def _define_selected_nodes(graph: Graph, outputs: Outputs, on: Reads, wide: Source[AdminName, Compiled]) -> None:
    def reach(read: Read, name: str, node: Node) -> tuple[Address, ...]:
        return tuple(dict.fromkeys((*_joined(read, on.holders, on.grants, node), *reported_addresses(node))))

    reached = graph.derive("addresses that nodes are reached at", on.inputs.nodes, reach)
    selected_nodes.define(graph, outputs, on.inputs, wide, reached)


def _way_of(way: _Way, node: str, address: Address) -> Acl:
    here = "" if way.is_private else f' && is_chassis_resident("{names.node_port(node)}")'
    return Acl(
        priority=way.priority,
        direction="to-lport",
        match=f"outport == @{way.ports} && ip{address.version}.src == {address}{here}",
        action=way.action,
        tier=way.tier,
        external_ids=owned(key=f"{way.what} node {node} {address}", node=node),
    )


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
    return None if found is None else policy_ref(found)


def _node_ref(inputs: Inputs, name: str) -> ObjectRef | None:
    found = inputs.nodes.values.get(name)
    return None if found is None else cluster_ref(Kind.NODE, name, found.metadata.uid)
