"""Cluster-wide policies as rules (policy.networking.k8s.io v1alpha1 and v1alpha2). Pure.

What cannot be understood fails closed, as the API has it for a peer of an unknown kind: an Allow rule with such a part
allows nothing, and a Deny or Pass rule drops everything that the part could mean. The other rules stay in force. Where
it is not known which Pods the policy is about, or when it is asked, no rule of it allows or passes anything.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import TypeVar

from kube_ovn.model.addr import Network
from kube_ovn.model.admin_policy import (
    AdminEgressRule,
    AdminIngressRule,
    AdminName,
    AdminPeer,
    AdminPolicy,
    AdminSpec,
    NamespacedPods,
    Subject,
)
from kube_ovn.model.crd import LabelSelector
from kube_ovn.model.network import Kind
from kube_ovn.topology.policy.admin_ports import parse_ports
from kube_ovn.topology.policy.compile import minimal
from kube_ovn.topology.policy.rules import Action, Compiled, Direction, Level, Rule, Selection, Service, Tier
from kube_ovn.topology.policy.selector import Selector, canonical

T = TypeVar("T")
HIGHEST = 1000
"""The highest priority of the API, which is asked last."""
_ACTIONS = {
    Kind.ADMIN_POLICY: {"Allow": Action.ALLOW, "Deny": Action.DROP, "Pass": Action.PASS},
    Kind.BASELINE_POLICY: {"Allow": Action.ALLOW, "Deny": Action.DROP},
    Kind.CLUSTER_POLICY: {"Accept": Action.ALLOW, "Deny": Action.DROP, "Pass": Action.PASS},
}
_TIERS = {Tier.ADMIN.value: Tier.ADMIN, Tier.BASELINE.value: Tier.BASELINE}
_NOTHING, _EVERYTHING = "the rule allows nothing", "the rule drops everything"
_CLOSED = "no rule of the policy allows or passes anything"


@dataclass(slots=True)
class _Reading:
    """What is found out about one policy while it is read."""

    kind: Kind
    faults: list[str] = field(default_factory=list)
    is_closed: bool = False
    """Whether it is not known which Pods the policy is about, or when it is asked."""

    def read(self, place: str, parse: Callable[[], T], otherwise: str) -> T | None:
        """Parse a part; None, with a fault, when it cannot be understood. `otherwise`: what follows from that."""
        try:
            return parse()
        except ValueError as error:
            self.faults.append(f"{place}: {error}: {otherwise}")
            return None

    def close(self, place: str, why: str, otherwise: str = _CLOSED) -> None:
        self.is_closed = True
        self.faults.append(f"{place}: {why}: {otherwise}")


def compile_admin(name: AdminName, policy: AdminPolicy) -> Compiled:
    """The rules of a cluster-wide policy, and its place in the order."""
    reading, spec = _Reading(name.kind), policy.spec
    level, subject = _level(reading, spec), _subject(reading, spec.subject)
    listed: dict[Direction, Sequence[AdminIngressRule | AdminEgressRule]]
    listed = {Direction.INGRESS: spec.ingress, Direction.EGRESS: spec.egress}
    read = [_rule(reading, direction, at, rule) for direction, some in listed.items() for at, rule in enumerate(some)]
    rules = [rule for rule in read if rule is not None]
    if reading.is_closed:
        rules = [closed for rule in rules if (closed := close(rule)) is not None]
    if level.tier is not Tier.ADMIN:
        # After the last tier Kubernetes allows what is left.
        rules = [replace(each, action=Action.ALLOW) if each.action is Action.PASS else each for each in rules]
    return Compiled(subject=subject, isolated=(), rules=tuple(rules), faults=tuple(reading.faults), level=level)


def close(rule: Rule) -> Rule | None:
    """The part of a rule that is in force where the rule cannot have its place in the order: it drops what it would
    drop or pass, and allows nothing.
    """
    return None if rule.action is Action.ALLOW else replace(rule, action=Action.DROP)


def _level(reading: _Reading, spec: AdminSpec) -> Level:
    if reading.kind is Kind.BASELINE_POLICY:
        return Level(Tier.LAST, 0)
    tier = Tier.ADMIN
    if reading.kind is Kind.CLUSTER_POLICY:
        found = _TIERS.get(spec.tier)
        if found is None:
            reading.close("spec.tier", f"{spec.tier[:40]!r} is neither Admin nor Baseline")
        tier = found or tier
    if not 0 <= spec.priority <= HIGHEST:
        reading.close("spec.priority", f"{spec.priority} is not from 0 to {HIGHEST}")
    return Level(tier, min(max(spec.priority, 0), HIGHEST))


def _subject(reading: _Reading, subject: Subject) -> Selection:
    try:
        found = _select(subject.namespaces, subject.pods)
    except ValueError as error:
        found = _wider(subject)
        taken = "all Pods of its Namespaces" if found.namespaces else "all Pods"
        reading.close("spec.subject", str(error), f"{taken} are taken for selected, and {_CLOSED}")
    return found


def _wider(subject: Subject) -> Selection:
    """All Pods of the Namespaces of a subject with Pods that are not understood; all Pods where its Namespaces are not
    understood either.
    """
    try:
        assert subject.pods is not None
        assert subject.namespaces is None
        return Selection("", canonical(subject.pods.namespace_selector), ())
    except (ValueError, AssertionError):
        return Selection("", (), ())


def _select(namespaces: LabelSelector | None, pods: NamespacedPods | None) -> Selection:
    if (namespaces is None) == (pods is None):
        raise ValueError("it must have either namespaces or pods, in a form that is known")
    if pods is not None:
        return Selection("", canonical(pods.namespace_selector), canonical(pods.pod_selector))
    assert namespaces is not None
    return Selection("", canonical(namespaces), ())


@dataclass(frozen=True, slots=True)
class _Ends:
    """The other ends of a rule."""

    selections: tuple[Selection, ...] = ()
    nodes: tuple[Selector, ...] = ()
    blocks: tuple[Network, ...] = ()

    @property
    def have_names(self) -> bool:
        """Whether named ports mean something: Nodes and CIDRs name no ports."""
        return not (self.nodes or self.blocks)


def _rule(
    reading: _Reading, direction: Direction, number: int, rule: AdminIngressRule | AdminEgressRule
) -> Rule | None:
    """A rule as far as it is in force; None when it does nothing."""
    place = f"spec.{direction}[{number}]"
    action = _ACTIONS[reading.kind].get(rule.action)
    if action is None:
        known = ", ".join(_ACTIONS[reading.kind])
        reading.faults.append(f"{place}.action: {rule.action[:40]!r} is none of {known}: the rule is taken for Deny")
        action = Action.DROP
    allows = action is Action.ALLOW
    to = f"{place}.{'from' if direction is Direction.INGRESS else 'to'}"
    ends = _ends(reading, direction, to, rule.peers, allows=allows)
    if ends is None:
        everything = Rule(direction=direction, number=number, anywhere=True, action=Action.DROP)
        return None if allows else everything
    services: tuple[Service, ...] | None = None
    if rule.ports is not None or rule.protocols is not None:
        part = "ports" if rule.protocols is None else "protocols"
        otherwise = _NOTHING if allows else "the rule drops packets at all ports"
        services = reading.read(
            f"{place}.{part}", lambda: parse_ports(rule.ports, rule.protocols, named=ends.have_names), otherwise
        )
        if services is None:
            if allows:
                return None
            action = Action.DROP
    made = Rule(
        direction=direction,
        number=number,
        selections=ends.selections,
        blocks=ends.blocks,
        services=services,
        action=action,
        own=True,
        nodes=ends.nodes,
    )
    return made if ends != _Ends() else None


def _ends(
    reading: _Reading, direction: Direction, place: str, peers: Sequence[AdminPeer], *, allows: bool
) -> _Ends | None:
    """The ends of a rule; None when one of them cannot be understood."""
    otherwise = _NOTHING if allows else _EVERYTHING
    if not peers:
        reading.faults.append(f"{place}: it names no peer: {otherwise}")
        return None
    selections, nodes, blocks = dict[Selection, None](), dict[Selector, None](), list[Network]()
    for index, peer in enumerate(peers):
        at = f"{place}[{index}]"
        if allows and _has_only_names(direction, peer):
            reading.faults.append(f"{at}.domainNames: names are not resolved yet: this peer allows nothing")
            continue
        found = reading.read(at, lambda peer=peer: _end(direction, peer), otherwise)  # type: ignore[misc]
        if found is None:
            return None
        selections |= dict.fromkeys(found.selections)
        nodes |= dict.fromkeys(found.nodes)
        blocks += found.blocks
    return _Ends(tuple(sorted(selections)), tuple(sorted(nodes)), minimal(blocks))


def _has_only_names(direction: Direction, peer: AdminPeer) -> bool:
    return direction is Direction.EGRESS and peer.domain_names is not None and _fields(peer) == ["domainNames"]


def _fields(peer: AdminPeer) -> list[str]:
    return [field for field, value in _named(peer) if value is not None]


def _named(peer: AdminPeer) -> Iterator[tuple[str, object]]:
    yield "namespaces", peer.namespaces
    yield "pods", peer.pods
    yield "nodes", peer.nodes
    yield "networks", peer.networks
    yield "domainNames", peer.domain_names


def _end(direction: Direction, peer: AdminPeer) -> _Ends:
    """One peer. Raises ValueError."""
    fields = _fields(peer)
    if len(fields) != 1:
        known = "namespaces, pods" if direction is Direction.INGRESS else "namespaces, pods, nodes, networks"
        raise ValueError(f"it has {len(fields)} of the fields that are known, and must have one: {known}")
    if direction is Direction.INGRESS and fields[0] not in ("namespaces", "pods"):
        raise ValueError(f"packets that come in are not known by {fields[0]}")
    if peer.domain_names is not None:
        raise ValueError("only rules that allow may have domainNames")
    if peer.nodes is not None:
        return _Ends(nodes=(canonical(peer.nodes),))
    if peer.networks is not None:
        if not peer.networks:
            raise ValueError("it lists no networks")
        return _Ends(blocks=tuple(ip_network(each, strict=False) for each in peer.networks))  # host bits are ignored
    return _Ends(selections=(_select(peer.namespaces, peer.pods),))
