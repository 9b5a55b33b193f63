"""The packets between present Pods that one set of NetworkPolicies allows and another does not. Pure.

Only Pods that a changed policy selects are looked at, each against all others. Pods that no policy tells apart are
judged once (`classes`); so are ports that no rule names.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from typing import NamedTuple

from kube_ovn.topology.policy.classes import Alike, Piece, classify, declared_ports, pieces
from kube_ovn.topology.policy.ends import Known
from kube_ovn.topology.policy.reasons import format_span
from kube_ovn.topology.policy.rules import Direction, Rule, Span
from kube_ovn.topology.policy.verdict import EGRESS, INGRESS, End, Packet, Policy, is_about, passes
from kube_ovn.topology.policy.workload import Workload, workload

LAST_PORT = 65535


class Flow(NamedTuple):
    """Packets between two workloads that change their verdict."""

    allows: bool
    """Whether they are newly allowed, else newly denied."""
    source: Workload
    target: Workload
    ports: tuple[Piece, ...]
    version: int
    """The IP version; 0 for all that the Pods have."""
    is_every: bool
    """Whether these are all ports and protocols."""


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A class of Pods as it is before and after the change."""

    alike: Alike
    sources: tuple[tuple[End, ...], tuple[End, ...]]
    """Before and after, one for each IP family."""
    targets: tuple[tuple[End, ...], tuple[End, ...]]
    policies: Mapping[Direction, tuple[Policy, ...]]
    """The policies that restrict the Pods, before or after, with their rules of the direction."""
    changes: Mapping[Direction, bool]
    """Whether they are others after than before."""
    ports: frozenset[tuple[str, int]]


def compare(before: Known, policies: Sequence[Policy]) -> Counter[Flow]:
    """The flows that change when there are these policies in place of the present ones, each with the number of pairs
    of Pods. A node counts as another one than that of the Pod: what a node sends to its own Pods no policy changes.
    """
    after = replace(before, policies=policies)
    seen = [_see(each, before, after) for each in classify(before, [*{*before.policies, *policies}])]
    cutter = _Cutter()
    found: Counter[Flow] = Counter()
    for source, target in product(seen, seen):
        if source.changes[EGRESS] or target.changes[INGRESS]:
            for flow in _between(source, target, cutter):
                _count(found, source.alike, target.alike, *flow)
    return found


def _see(alike: Alike, before: Known, after: Known) -> _Seen:
    sources, targets = (
        (_ends(alike, before, sends=sends), _ends(alike, after, sends=sends)) for sends in (True, False)
    )
    was, will = (tuple(dict.fromkeys(each for end in ends for each in end.policies)) for ends in sources)
    return _Seen(
        alike=alike,
        sources=sources,
        targets=targets,
        policies={direction: _only((*was, *will), direction) for direction in Direction},
        changes={direction: _only(was, direction) != _only(will, direction) for direction in Direction},
        ports=frozenset(at for pod in alike.pods for at in declared_ports(pod)),
    )


def _ends(alike: Alike, known: Known, *, sends: bool) -> tuple[End, ...]:
    return tuple(replace(end, node="") if end.is_node else end for end in alike.ends(known, sends=sends))


def _only(policies: Iterable[Policy], direction: Direction) -> tuple[Policy, ...]:
    """Those policies that judge packets in a direction, with the rules that do, each once."""
    return tuple(
        dict.fromkeys(
            Policy(each.name, replace(each.compiled, rules=rules, faults=()))
            for each in policies
            if direction in each.compiled.isolated
            for rules in [tuple(rule for rule in each.compiled.rules if rule.direction is direction)]
        )
    )


class _Cutter:
    """The pieces of ports between two ends, each worked out once for the rules and ports that it depends on."""

    def __init__(self) -> None:
        self._pieces: dict[object, list[Piece]] = {}
        self._about: dict[tuple[int, int], bool] = {}

    def pieces(self, source: _Seen, target: _Seen, one: End, other: End) -> list[Piece]:
        """The pieces that the rules about these ends tell apart. A named port is a declared one, too."""
        rules = [
            rule
            for direction, seen, end in ((EGRESS, source, other), (INGRESS, target, one))
            for policy in seen.policies[direction]
            for rule in policy.compiled.rules
            if self._is_about(rule, end, Packet(one, other, ""))
        ]
        key = (tuple(map(id, rules)), target.ports)
        found = self._pieces.get(key)
        if found is None:
            found = self._pieces[key] = pieces(rules, target.ports)
        return found

    def _is_about(self, rule: Rule, end: End, packet: Packet) -> bool:
        key = (id(rule), id(end))
        found = self._about.get(key)
        if found is None:
            # A node that stands in for a DNS server answers for Pods that a rule speaks of.
            found = self._about[key] = is_about(rule, packet) or end.stand_in is not None
        return found


def _between(source: _Seen, target: _Seen, cutter: _Cutter) -> Iterator[tuple[bool, tuple[Piece, ...], int, bool]]:
    """What changes between two classes: newly allowed and newly denied pieces of ports, by IP version; and whether
    these are all pieces.
    """
    changes: dict[int, tuple[tuple[Piece, ...], tuple[Piece, ...], int]] = {}
    for one, two in zip(*source.sources, strict=True):
        for other, another in zip(*target.targets, strict=True):
            if one.address.version == other.address.version:
                cut, both = cutter.pieces(source, target, one, other), ((one, other), (two, another))
                found = _differ(both, source.changes[EGRESS], target.changes[INGRESS], cut)
                changes[one.address.version] = (*found, len(cut))
    alike = len(set(changes.values())) == 1
    for version, (allowed, denied, every) in [*changes.items()][: 1 if alike else None]:
        for allows, those in ((True, allowed), (False, denied)):
            if those:
                yield allows, those, 0 if alike else version, len(those) == every


def _differ(
    both: tuple[tuple[End, End], tuple[End, End]], leaving: bool, entering: bool, cut: Iterable[Piece]
) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """The pieces that are newly allowed, and those that are newly denied, in one IP family. `leaving`, `entering`: in
    which directions the verdict may change.
    """
    allowed: list[Piece] = []
    denied: list[Piece] = []
    changing = [direction for direction, is_there in ((EGRESS, leaving), (INGRESS, entering)) if is_there]
    same = [direction for direction in Direction if direction not in changing]
    for piece in cut:
        before, after = (Packet(*ends, piece.protocol, piece.example) for ends in both)
        was, will = (all(passes(each, direction) for direction in changing) for each in (before, after))
        if was != will and all(passes(before, direction) for direction in same):
            (allowed if will else denied).append(piece)
    return tuple(allowed), tuple(denied)


def _count(
    found: Counter[Flow],
    source: Alike,
    target: Alike,
    allows: bool,
    ports: tuple[Piece, ...],
    version: int,
    every: bool,
) -> None:
    """Count the pairs of Pods, by their workloads, but for those between which no policy stands: a Pod and itself, and
    a node with the Pods on it.
    """
    ours, theirs = Counter(map(workload, source.pods)), Counter(map(workload, target.pods))
    near: Counter[tuple[Workload, Workload]] = Counter()
    if source.node is not None:
        on = [Counter((workload(pod), pod.spec.node_name) for pod in each.pods) for each in (source, target)]
        for (one, node), many in on[0].items():
            near.update({(one, other): many * on[1][other, node] for other in theirs})
    elif source is target:
        near.update({(one, one): many for one, many in ours.items()})
    for (one, many), (other, more) in product(ours.items(), theirs.items()):
        if pairs := many * more - near[one, other]:
            found[Flow(allows, one, other, ports, version, every)] += pairs


def format_ports(flow: Flow) -> str:
    """The words for the ports of a flow."""
    if flow.is_every:
        return "everything"
    words: list[str] = []
    for protocol, those in groupby(flow.ports, lambda piece: piece.protocol):
        words += _format(protocol, [*those])
    return ", ".join(words)


def _format(protocol: str, ports: Sequence[Piece]) -> Iterator[str]:
    name = protocol.upper()
    spans = sorted(span for piece in ports for span in piece.spans)
    if protocol == "icmp":
        yield "ICMP and other protocols"
    elif sum(span.high - span.low + 1 for span in spans) >= LAST_PORT:
        yield f"all {name} ports"
    else:
        for span in _join(span for piece in ports if not piece.is_rest for span in piece.spans):
            yield f"{name} {format_span(span)}"
        if any(piece.is_rest for piece in ports):
            yield f"other {name} ports"


def _join(spans: Iterable[Span]) -> list[Span]:
    """Sorted spans, adjacent ones in one."""
    joined: list[Span] = []
    for span in spans:
        if joined and joined[-1].high + 1 == span.low:
            joined[-1] = Span(joined[-1].low, span.high)
        else:
            joined.append(span)
    return joined
