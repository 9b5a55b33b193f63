"""The priorities of ACLs for the rules of all SecurityGroups of one tier and direction. Pure.

A Pod may be in several groups, and their rules count together: by priority, and of rules with one priority first those
that drop, then those that pass packets on, then those that allow. In OVN the order of two ACLs with one priority is not
defined, so such rules get different levels: the first has the level of the contract, 18484 less its priority, and what
comes after it gives way by as little as needed. Where no priority is used in two ways, every level is that of the
contract. A level depends on which priorities are used by groups, not on who is in them.

Egress rules that allow questions for names (UDP port 53) have a second ACL, with a label, that must come before all
that allow without one. It has the level above, where an ACL that allows is no trouble: the packet is allowed anyway.
"""

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from kube_ovn.model import names
from kube_ovn.topology.policy.rules import Direction
from kube_ovn.topology.security.compile import CompiledGroup, GroupRule, Verdict


class Rank(IntEnum):
    """The kinds of ACLs at one priority, in the order in which they count."""

    DROP = 0
    PASS = 1
    NAMES = 2
    ALLOW = 3


class Stage(NamedTuple):
    """Where ACLs are compared with one another."""

    tier: int
    """Of SecurityGroups: 0 or 1."""
    direction: Direction


Levels: TypeAlias = Mapping[tuple[int, Rank], int]
"""By priority and rank, the levels that are not those of the contract; 0 where there is none left."""
TAKEN = {Stage(0, Direction.INGRESS): frozenset({names.ACL_NODE_ALLOW})}
"""Levels at which others have ACLs that allow."""


def ranks_of(rule: GroupRule, tier: int) -> frozenset[Rank]:
    """The kinds of ACLs that a rule needs. After tier 1 there is no tier to pass packets on to: they are allowed."""
    if rule.verdict is Verdict.DROP:
        return frozenset({Rank.DROP})
    if rule.verdict is Verdict.PASS and tier == 0:
        return frozenset({Rank.PASS})
    if not asks_names(rule):
        return frozenset({Rank.ALLOW})
    only = rule.ports is not None and rule.ports.low == rule.ports.high
    return frozenset({Rank.NAMES}) if only else frozenset({Rank.NAMES, Rank.ALLOW})


def asks_names(rule: GroupRule) -> bool:
    """Whether an egress rule is about questions for names, among others."""
    if rule.direction is not Direction.EGRESS or rule.protocol not in (None, "udp"):
        return False
    return rule.ports is None or rule.ports.low <= names.DNS_PORT <= rule.ports.high


def used_by(group: CompiledGroup) -> dict[tuple[Stage, int], frozenset[Rank]]:
    """The ranks that a group needs, by stage and priority."""
    found: dict[tuple[Stage, int], frozenset[Rank]] = {}
    for rule in group.rules:
        at = (Stage(group.tier, rule.direction), rule.priority)
        found[at] = found.get(at, frozenset()) | ranks_of(rule, group.tier)
    return found


def assign(used: Mapping[int, Collection[Rank]], taken: Collection[int] = ()) -> Levels:
    """The levels for ranks by priority."""
    found: dict[tuple[int, Rank], int] = {}
    stops = lowest = names.ACL_GROUP_NODES  # so far: the lowest level of what does not allow, and of all
    for priority in sorted(used):
        for rank in sorted(used[priority]):
            level = _contract(priority, rank)
            if rank in (Rank.DROP, Rank.PASS):
                level = min(level, lowest - 1)
                while level in taken:
                    level -= 1
                stops = level
            else:
                level = min(level, stops - 1)
                if rank is Rank.ALLOW and (priority, Rank.NAMES) in found:
                    level = min(level, found[priority, Rank.NAMES] - 1)
            lowest = min(lowest, level)
            found[priority, rank] = level
    return {at: level if level >= names.ACL_GROUP_LAST else 0 for at, level in found.items() if level != _contract(*at)}


def _contract(priority: int, rank: Rank) -> int:
    return names.ACL_GROUP_RULE - priority + (rank is Rank.NAMES)


def level_of(levels: Levels, priority: int, rank: Rank) -> int | None:
    """The priority of an ACL; None when there is none left."""
    return levels.get((priority, rank), _contract(priority, rank)) or None
