"""Cluster-wide policies in the graph: compiled, put in order, as rows, and what their users are told."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kube_ovn.derive import Graph, Index, Read, Source
from kube_ovn.model import names
from kube_ovn.model.admin_policy import AdminName, AdminPolicy
from kube_ovn.model.network import Told
from kube_ovn.model.row import State
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.outputs import Outputs
from kube_ovn.topology.policy.admin import close, compile_admin
from kube_ovn.topology.policy.levels import Seats, Wishes, seat, wishes_of
from kube_ovn.topology.policy.rules import Compiled, Direction, Level, Rule, Seat
from kube_ovn.topology.policy.status import policy_ref

MOST_NAMED = 3
"""Policies of the same priority that a user is told."""


def define(graph: Graph, inputs: Inputs) -> tuple[Source[AdminName, AdminPolicy], Source[AdminName, Compiled]]:
    """Derive the cluster-wide policies of all kinds, and their rules."""
    kinds: tuple[Source[AdminName, Any], ...] = (inputs.admin, inputs.baseline, inputs.cluster)
    objects: Source[AdminName, AdminPolicy] = graph.union("cluster-wide policies", kinds)

    def compile_one(read: Read, name: AdminName, policy: AdminPolicy) -> Compiled:
        return compile_admin(name, policy)

    return objects, graph.derive("compiled cluster-wide policies", objects, compile_one)


def define_rows(
    graph: Graph,
    outputs: Outputs,
    objects: Source[AdminName, AdminPolicy],
    compiled: Source[AdminName, Compiled],
    render: Callable[[Read, AdminName, Compiled, Sequence[tuple[Rule, Seat]]], State],
) -> None:
    """Derive rows and Events. `render`: makes the rows of a policy, given the rules that are in force."""
    levels = graph.split("cluster-wide policies by level", compiled, lambda name, policy: _wishes(policy))
    seats = graph.derive("places of cluster-wide policies", levels, lambda read, level, those: seat(level, those))

    def find(read: Read, name: AdminName, policy: Compiled) -> Seats:
        assert policy.level is not None
        return (read.get(seats, policy.level) or {})[name]

    def rows(read: Read, name: AdminName, policy: Compiled) -> State:
        return render(read, name, policy, list(_in_force(policy, find(read, name, policy))))

    def tell(what: str, reason: str, describe: Callable[[Read, AdminName, Compiled], str]) -> None:
        def work(read: Read, name: AdminName, policy: AdminPolicy) -> Told | None:
            found = read.get(compiled, name)
            message = "" if found is None else describe(read, name, found)
            return Told(object=policy_ref(policy), reason=reason, message=message) if message else None

        outputs.telling.follow(graph.derive(what, objects, work))

    made = graph.derive("rows of cluster-wide policies", compiled, rows)
    outputs.rows.follow(made, lambda name: policy_ref(objects.values[name]) if name in objects.values else None)
    tell("faults of cluster-wide policies", names.POLICY_REFUSED, lambda read, name, found: "; ".join(found.faults))
    tell(
        "cluster-wide policies that do not fit",
        names.POLICY_CROWDED,
        lambda read, name, found: _describe_crowd(found, find(read, name, found)),
    )
    tell(
        "cluster-wide policies of one priority",
        names.POLICY_ORDER,
        lambda read, name, found: _describe_order(read, levels, name, found),
    )


def _wishes(policy: Compiled) -> Mapping[Level, Wishes]:
    assert policy.level is not None
    return {policy.level: wishes_of(policy)}


def _by_direction(policy: Compiled) -> Iterator[tuple[Direction, list[Rule]]]:
    for direction in Direction:
        yield direction, [each for each in policy.rules if each.direction is direction]


def _in_force(policy: Compiled, seats: Seats) -> Iterator[tuple[Rule, Seat]]:
    for direction, rules in _by_direction(policy):
        for rule, at in zip(rules, seats.get(direction, ()), strict=True):
            kept = rule if at.fits else close(rule)
            if kept is not None:
                yield kept, at


def _describe_crowd(policy: Compiled, seats: Seats) -> str:
    """The sentence on the rules that do not fit; empty when all do."""
    left = [
        next(f"spec.{direction}[{rule.number}]" for rule, at in zip(rules, placed, strict=True) if not at.fits)
        for direction, rules in _by_direction(policy)
        for placed in (seats.get(direction, ()),)
        if not all(at.fits for at in placed)
    ]
    if not left:
        return ""
    return (
        f"there is no place in the order for {' and '.join(left)} and the rules after it: what they deny or pass is "
        "dropped, and they allow nothing; give the policy a priority of its own, and put rules of one action together"
    )


def _describe_order(read: Read, levels: Index[Level, AdminName, Wishes], name: AdminName, policy: Compiled) -> str:
    """The sentence on other policies of the same level; empty when there are none."""
    assert policy.level is not None
    others = sorted(each for each in read.select(levels, policy.level) if each != name)
    if not others:
        return ""
    named = ", ".join(map(str, others[:MOST_NAMED]))
    more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
    return (
        f"priority {policy.level.priority} of tier {policy.level.tier} is also that of {named}{more}: the API does not "
        "define which is asked first, and here it is the order of kinds and names"
    )
