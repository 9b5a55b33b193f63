"""Cluster-wide policies in the graph: compiled, put in order, as rows, and what their users are told."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kube_ovn.derive import Graph, Index, Read, Source
from kube_ovn.model import names
from kube_ovn.model.admin_policy import AdminName, AdminPolicy
from kube_ovn.model.network import ObjectRef, Told
from kube_ovn.model.row import State
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.outputs import Outputs
from kube_ovn.topology.policy.admin import close, compile_admin
from kube_ovn.topology.policy.levels import Seats, Wishes, seat, wishes_of
from kube_ovn.topology.policy.rules import Compiled, Direction, Level, Rule, Seat
from kube_ovn.topology.policy.status import policy_ref

MOST_NAMED = 3
"""Policies of the same priority that a user is told."""


def define(graph: Graph, inputs: Inputs) -> Source[AdminName, Compiled]:
    """Derive the rules of cluster-wide policies of all kinds."""

    def compile_one(read: Read, name: AdminName, policy: AdminPolicy) -> Compiled:
        return compile_admin(name, policy)

    kinds: tuple[Source[AdminName, Any], ...] = (inputs.admin, inputs.baseline, inputs.cluster)
    compiled = [graph.derive(f"compiled {each.name}", each, compile_one) for each in kinds]
    return graph.union("compiled cluster-wide policies", compiled)


def define_rows(
    graph: Graph,
    outputs: Outputs,
    inputs: Inputs,
    compiled: Source[AdminName, Compiled],
    render: Callable[[Read, str, Compiled, Iterable[tuple[Rule, Seat]]], State],
) -> None:
    """Derive rows and Events. `render`: makes the rows of a policy, given the rules that are in force."""
    levels = graph.split("cluster-wide policies by level", compiled, lambda name, policy: _wishes(policy))
    seats = graph.derive("places of cluster-wide policies", levels, lambda read, level, those: seat(level, those))

    def find(read: Read, name: AdminName, policy: Compiled) -> Seats:
        assert policy.level is not None
        return (read.get(seats, policy.level) or {})[name]

    def rows(read: Read, name: AdminName, policy: Compiled) -> State:
        return render(read, str(name), policy, list(_in_force(policy, find(read, name, policy))))

    def tell_faults(read: Read, name: AdminName, policy: Compiled) -> Told | None:
        return _tell(inputs, name, names.POLICY_REFUSED, "; ".join(policy.faults))

    def tell_crowd(read: Read, name: AdminName, policy: Compiled) -> Told | None:
        return _tell(inputs, name, names.POLICY_CROWDED, _describe_crowd(policy, find(read, name, policy)))

    def tell_order(read: Read, name: AdminName, policy: Compiled) -> Told | None:
        return _tell(inputs, name, names.POLICY_ORDER, _describe_order(read, levels, name, policy))

    outputs.rows.follow(graph.derive("rows of cluster-wide policies", compiled, rows), lambda name: _find(inputs, name))
    outputs.telling.follow(graph.derive("faults of cluster-wide policies", compiled, tell_faults))
    outputs.telling.follow(graph.derive("cluster-wide policies that do not fit", compiled, tell_crowd))
    outputs.telling.follow(graph.derive("cluster-wide policies of one priority", compiled, tell_order))


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


def _tell(inputs: Inputs, name: AdminName, reason: str, message: str) -> Told | None:
    ref = _find(inputs, name)
    if not message or ref is None:
        return None
    return Told(object=ref, reason=reason, message=message)


def _find(inputs: Inputs, name: AdminName) -> ObjectRef | None:
    sources: tuple[Mapping[AdminName, AdminPolicy], ...]
    sources = (inputs.admin.values, inputs.baseline.values, inputs.cluster.values)
    found = next((some[name] for some in sources if name in some), None)
    return None if found is None else policy_ref(found)
