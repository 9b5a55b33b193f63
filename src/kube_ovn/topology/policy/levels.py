"""The order of the rules of cluster-wide policies, as priorities of ACLs. Pure.

A level (a tier and a priority of the API) has some places in each direction, the first of which is asked first. Rules
that follow one another and do the same share a place: their order means nothing. Policies of one level are taken in the
order of their kinds and names. When a level has too few places, its last one is for what does not fit: that drops what
it would drop or pass, and allows nothing (`admin.close`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from kube_ovn.model import names
from kube_ovn.model.admin_policy import AdminName
from kube_ovn.topology.policy.rules import Action, Compiled, Direction, Level, Rule, Seat, Tier


class Wish(NamedTuple):
    """The part of a rule that its place depends on."""

    action: Action
    asks: bool
    """Whether some of its ACLs may have a label, and so come before the others."""


Wishes: TypeAlias = Mapping[Direction, tuple[Wish, ...]]
"""Those of the rules of one policy, in their order."""
Seats: TypeAlias = Mapping[Direction, tuple[Seat, ...]]


class _Range(NamedTuple):
    """The priorities of a tier: the highest one of level 0, and the number of places in each level."""

    tier: int
    top: int
    places: int

    def seat(self, level: int, place: int, size: int = 1) -> Seat:
        """A seat that takes some places, the first of them for ACLs with a label."""
        first = self.top - self.places * level - place
        return Seat(self.tier, first - size + 1, first)


_RANGES = {
    Tier.ADMIN: _Range(names.TIER_ADMIN, names.ACL_ADMIN, names.ADMIN_PLACES),
    Tier.BASELINE: _Range(names.TIER_POLICY, names.ACL_BASELINE, names.BASELINE_PLACES),
    Tier.LAST: _Range(names.TIER_POLICY, names.ACL_LAST_POLICY, names.LAST_PLACES),
}


def wishes_of(policy: Compiled) -> Wishes:
    """What the rules of a policy need of its level."""
    return {
        direction: tuple(Wish(each.action, _may_ask(each)) for each in policy.rules if each.direction is direction)
        for direction in Direction
    }


def _may_ask(rule: Rule) -> bool:
    """Whether a rule may let questions for names pass: it is not known here which numbers Pods give a named port."""
    if rule.direction is Direction.INGRESS or rule.action is not Action.ALLOW:
        return False
    if rule.services is None:
        return True
    return any(
        each.protocol == "udp" and (each.named or any(span.low <= names.DNS_PORT <= span.high for span in each.spans))
        for each in rule.services
    )


@dataclass(slots=True)
class _Run:
    """Rules that follow one another and do the same."""

    action: Action
    asks: bool = False
    of: list[AdminName] = field(default_factory=list)
    """The policy of each of the rules."""


def seat(level: Level, policies: Mapping[AdminName, Wishes]) -> dict[AdminName, Seats]:
    """The seats of all rules of a level."""
    found: dict[AdminName, dict[Direction, tuple[Seat, ...]]] = {name: {} for name in policies}
    for direction in Direction:
        runs = list(_runs((name, wish) for name in sorted(policies) for wish in policies[name][direction]))
        for run, each in zip(runs, _seats(level, runs), strict=True):
            for name in run.of:
                found[name][direction] = (*found[name].get(direction, ()), each)
    return dict(found)


def _runs(wishes: Iterable[tuple[AdminName, Wish]]) -> Iterator[_Run]:
    run: _Run | None = None
    for name, wish in wishes:
        if run is None or run.action is not wish.action:
            if run is not None:
                yield run
            run = _Run(wish.action)
        run.asks |= wish.asks
        run.of.append(name)
    if run is not None:
        yield run


def _seats(level: Level, runs: list[_Run]) -> Iterator[Seat]:
    """A seat for each run."""
    range_ = _RANGES[level.tier]
    sizes = [1 + run.asks for run in runs]
    room, place = range_.places, 0
    if sum(sizes) > room:
        room -= 1
    for size in sizes:
        if place + size > room:
            place = room  # and so nothing that follows fits
            yield range_.seat(level.priority, range_.places - 1)._replace(fits=False)
        else:
            yield range_.seat(level.priority, place, size)
            place += size
