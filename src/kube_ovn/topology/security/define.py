"""The derivations of SecurityGroups: rows, memberships, statuses and Events."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from kube_ovn.derive import Derived, Graph, Read, Source
from kube_ovn.model import names
from kube_ovn.model.kube import Node, Pod
from kube_ovn.model.network import Kind, Told
from kube_ovn.model.row import Key, Row, State, facts
from kube_ovn.model.security import SecurityGroup
from kube_ovn.topology.addresses.grants import Grants
from kube_ovn.topology.addresses.holders import Holders
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.outputs import Outputs, Wanted, find_owner
from kube_ovn.topology.policy.enforce import own_addresses
from kube_ovn.topology.policy.rules import Direction
from kube_ovn.topology.ports.outcome import Outcome
from kube_ovn.topology.security.acls import render_denied, render_group, render_node
from kube_ovn.topology.security.compile import CompiledGroup, GroupRule, compile_group
from kube_ovn.topology.security.levels import TAKEN, Levels, Rank, Stage, assign, level_of, ranks_of, used_by
from kube_ovn.topology.security.membership import Named, absence, members, parse_named, tiers_of
from kube_ovn.topology.security.report import complaint, group_status, ref_of, status_write


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The sources that groups are derived from."""

    inputs: Inputs
    pods: Source[str, Outcome]
    holders: Holders
    grants: Grants


@dataclass(frozen=True, slots=True, kw_only=True)
class _Groups:
    """What is known of the groups themselves."""

    compiled: Source[str, CompiledGroup]
    tiers: Source[str, int]
    levels: Source[tuple[Stage, int], Levels]
    """By stage and priority."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Joined:
    """The memberships of one Pod, and the tiers that they are in."""

    rows: State
    tiers: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """The write to one SecurityGroup, and the message for its user."""

    status: Wanted | None
    told: Told | None


def define(graph: Graph, outputs: Outputs, on: Reads) -> None:
    """Derive all that there is of SecurityGroups."""
    groups = _define_groups(graph, on.inputs)
    rows = graph.derive("rows of SecurityGroups", groups.compiled, _render(groups))
    outputs.rows.follow(rows, find_owner(on.inputs.groups, Kind.SECURITY_GROUP))
    reports = graph.derive("reports on SecurityGroups", on.inputs.groups, _report(on.inputs, groups))
    outputs.writes.follow(reports, lambda report: report.status)
    outputs.telling.follow(reports, lambda report: report.told)
    _define_members(graph, outputs, on, groups)


def _define_groups(graph: Graph, inputs: Inputs) -> _Groups:
    def levels(read: Read, stage: Stage, used: Mapping[tuple[Stage, int], frozenset[Rank]]) -> Levels | None:
        return assign({priority: ranks for (_, priority), ranks in used.items()}, TAKEN.get(stage, ())) or None

    def own(read: Read, at: tuple[Stage, int], ranks: frozenset[Rank]) -> Levels | None:
        found = read.get(shifted, at[0]) or {}
        return {(at[1], rank): found[at[1], rank] for rank in ranks if (at[1], rank) in found} or None

    def merge(read: Read, at: tuple[Stage, int], ranks: Mapping[str, frozenset[Rank]]) -> frozenset[Rank]:
        return frozenset[Rank]().union(*ranks.values())

    compiled = graph.derive("compiled SecurityGroups", inputs.groups, lambda read, name, group: compile_group(group))
    tiers = graph.derive("tiers of SecurityGroups", compiled, lambda read, name, group: group.tier)
    used = graph.split("priorities of SecurityGroups", compiled, lambda name, group: used_by(group))
    ranks = graph.derive("ranks by priority", used, merge)
    stages = graph.index("priorities by stage", ranks, lambda at, ranks: (at[0],))
    shifted = graph.derive("levels by stage", stages, levels)
    # A group reads those of its own priorities: others may move and leave it as it is.
    return _Groups(compiled=compiled, tiers=tiers, levels=graph.derive("levels by priority", ranks, own))


def _levels(read: Read, groups: _Groups, tier: int) -> Callable[[GroupRule], Levels]:
    return lambda rule: read.get(groups.levels, (Stage(tier, rule.direction), rule.priority)) or {}


def _render(groups: _Groups) -> Callable[[Read, str, CompiledGroup], State]:
    def render(read: Read, name: str, group: CompiledGroup) -> State:
        def exists(other: str) -> bool:
            return read.get(groups.tiers, other) is not None

        return render_group(name, group, _levels(read, groups, group.tier), exists)

    return render


def _report(inputs: Inputs, groups: _Groups) -> Callable[[Read, str, SecurityGroup], _Report]:
    def report(read: Read, name: str, group: SecurityGroup) -> _Report:
        compiled = read.get(groups.compiled, name)
        assert compiled is not None, "every SecurityGroup is compiled"
        lacking = [*_lacking(read, groups, compiled)]
        if words := read.get(inputs.refused, ref_of(group)):
            lacking += [(each, f"the Northbound database does not take its rows: {words}") for each in Direction]
        status = group_status(group, compiled.faults, lacking=lacking)
        told = complaint(group, (*compiled.faults, *lacking))
        return _Report(status=status_write(group, status), told=told)

    return report


def _lacking(read: Read, groups: _Groups, group: CompiledGroup) -> Iterator[tuple[Direction, str]]:
    """What keeps rules that are understood from working."""
    levels = _levels(read, groups, group.tier)
    for rule in group.rules:
        if isinstance(rule.remote, str) and read.get(groups.tiers, rule.remote) is None:
            yield rule.direction, f"{rule.field}: SecurityGroup {rule.remote[:63]!r} does not exist: no Pod is in it"
        if any(level_of(levels(rule), rule.priority, rank) is None for rank in ranks_of(rule, group.tier)):
            yield (
                rule.direction,
                f"{rule.field}: no place is left for priority {rule.priority}, because rules that allow and rules that "
                "drop share too many priorities below it; nothing is allowed by it: use a lower number",
            )


def _define_members(graph: Graph, outputs: Outputs, on: Reads, groups: _Groups) -> None:
    def join(read: Read, record: str, found: Named) -> _Joined | None:
        outcome = read.get(on.pods, record)
        if outcome is None or outcome.end is None:
            return None

        def tier_of(group: str) -> int | None:
            return read.get(groups.tiers, group)

        rows = facts(members=members(found, tier_of, outcome.end.port, outcome.end.addresses))
        return _Joined(rows=rows, tiers=tiers_of(found, tier_of))

    def tell(read: Read, record: str, found: Named) -> Told | None:
        missing = [each for each in found.groups if read.get(groups.tiers, each) is None]
        message = found.fault or (absence(missing) if missing else "")
        return Told(object=found.pod, reason=names.POD_SECURITY_FAILED, message=message) if message else None

    def render_denied_tier(read: Read, tier: int, those: Mapping[str, _Joined]) -> State:
        return render_denied(tier)

    named = graph.derive("groups that Pods name", on.inputs.pods, _name)
    joined = graph.derive("members of SecurityGroups", named, join)
    by_tier = graph.index("Pods in groups by tier", joined, lambda record, each: each.tiers)
    denied = graph.derive("rows of tiers of groups", by_tier, render_denied_tier)
    outputs.rows.follow(joined, pick=lambda each: each.rows)
    outputs.rows.follow(denied)
    outputs.telling.follow(graph.derive("Pods that name missing groups", named, tell))
    _define_nodes(graph, outputs, on, denied)


def _name(read: Read, record: str, pod: Pod) -> Named | None:
    return parse_named(pod)


def _define_nodes(
    graph: Graph, outputs: Outputs, on: Reads, denied: Derived[int, Mapping[str, _Joined], State]
) -> None:
    def allow(read: Read, name: str, node: Node) -> State | None:
        rows: dict[Key, Row | None] = {}
        for tier in (each for each in names.SECURITY_GROUP_TIERS if read.get(denied, each) is not None):
            rows |= render_node(name, tier, own_addresses(read, on.holders, on.grants, node))
        return rows or None

    rows = graph.derive("nodes' way to their Pods in groups", on.inputs.nodes, allow)
    outputs.rows.follow(rows, find_owner(on.inputs.nodes, Kind.NODE))
