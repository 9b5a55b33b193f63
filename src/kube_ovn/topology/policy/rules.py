"""Rules: what a policy means, in one form for all kinds of policies. Nouns only."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from kube_ovn.model.addr import Network
from kube_ovn.topology.policy.selector import Selector, describe


class Direction(StrEnum):
    """Which way packets of a restricted Pod go."""

    INGRESS = "ingress"
    EGRESS = "egress"


class Action(StrEnum):
    """What becomes of the packets of a rule, as the column `action` of an ACL."""

    ALLOW = "allow-related"
    DROP = "drop"
    PASS = "pass"
    """The rules of later tiers decide."""


class Tier(StrEnum):
    """Where a cluster-wide policy stands."""

    ADMIN = "Admin"
    """Before NetworkPolicies."""
    BASELINE = "Baseline"
    """After them: what no NetworkPolicy is about."""
    LAST = "BaselineAdminNetworkPolicy"
    """After all others."""


class Level(NamedTuple):
    """The place of a cluster-wide policy in the order: less comes before, in its tier."""

    tier: Tier
    priority: int


class Port(NamedTuple):
    """A named port as the Pods that listen there give it."""

    protocol: str
    name: str
    number: int


class Selection(NamedTuple):
    """A set of Pods: those in one Namespace, or in all that a selector selects, with labels that meet a selector."""

    namespace: str
    """Empty when `namespaces` counts."""
    namespaces: Selector
    pods: Selector
    port: Port | None = None
    """Where it is given, only the Pods that have a port of this name with this number."""

    def __str__(self) -> str:
        where = f"namespace {self.namespace}" if self.namespace else f"namespaces {describe(self.namespaces) or 'all'}"
        text = f"{where}, pods {describe(self.pods) or 'all'}"
        return text if self.port is None else f"{text}, port {self.port.name} {self.port.protocol} {self.port.number}"


class Span(NamedTuple):
    """Numbers of ports, both ends included."""

    low: int
    high: int


EVERY_PORT = (Span(0, 65535),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The ports of one protocol that a rule is about, sorted and not adjacent; and named ports."""

    protocol: str
    """`tcp`, `udp` or `sctp`."""
    spans: tuple[Span, ...] = ()
    named: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one rule of a policy is about: packets to or from these ends, at these ports."""

    direction: Direction
    number: int
    """The index of the rule among those of its direction."""
    anywhere: bool = False
    """Whether the other end may be any address."""
    selections: tuple[Selection, ...] = ()
    blocks: tuple[Network, ...] = ()
    """CIDRs, the fewest that say the same, sorted."""
    services: tuple[Service, ...] | None = None
    """None: all packets, of whatever protocol."""
    action: Action = Action.ALLOW
    own: bool = False
    """Whether selections mean only Pods with an address of their own, and not those in a node's network."""
    nodes: tuple[Selector, ...] = ()
    """Nodes by their labels, as the other end."""


class Seat(NamedTuple):
    """The priorities of a rule's ACLs in their tier."""

    tier: int
    priority: int
    names: int
    """Of the ACLs with a label, which allow questions for names (`ACL_DNS_COMMIT`). They are also among what the others
    allow, so they come before these.
    """
    fits: bool = True
    """Whether the rule has its place in the order; else only a part of it is in force (`admin.close`)."""


class Mode(NamedTuple):
    """Whether a policy is enforced, and what is logged of it."""

    audit: bool = False
    """Whether it restricts nothing, and what it would drop is logged."""
    actions: frozenset[str] = frozenset()
    """Those of `allow` and `drop` that are logged."""
    rate: int = 0
    """The most packets that are logged in a second."""


ENFORCED = Mode()
"""A policy that says nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A policy: Pods, the directions in which only what rules allow passes, and the rules, in their order."""

    subject: Selection
    isolated: tuple[Direction, ...]
    rules: tuple[Rule, ...] = ()
    mode: Mode = ENFORCED
    faults: tuple[str, ...] = ()
    """The parts that cannot be understood, one sentence each. They allow nothing."""
    level: Level | None = None
    """The place of a cluster-wide policy in the order; None for a NetworkPolicy."""
