"""Whether a packet may pass, and what decides it: one question, answered from its two ends alone. Pure.

A packet is judged twice: where it leaves its source (egress), and where it reaches its target (ingress). Each time it
goes through the stages in the order of the tiers of ACLs, and the first one that decides ends its way. A further kind
of policy is a field of `End` with what applies to the end, and a function in `STAGES`. The rows do not come from here
(`acls`): the tests hold both to the same answers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, is_within
from kube_ovn.model.network import Kind
from kube_ovn.topology.inputs import Name
from kube_ovn.topology.policy.rules import Compiled, Direction, Rule, Selection
from kube_ovn.topology.policy.selections import Traits, listeners
from kube_ovn.topology.policy.selector import selects

INGRESS, EGRESS = Direction.INGRESS, Direction.EGRESS


class Policy(NamedTuple):
    """A NetworkPolicy that selects the Pod in question."""

    name: Name
    compiled: Compiled


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A Pod as selections see it."""

    name: Name
    traits: Traits
    namespace_labels: Mapping[str, str] | None
    """The labels of its Namespace; None when there is no such Namespace."""


class RawAcl(NamedTuple):
    """An ACL of the spec of a Subnet, of which nothing but this is understood."""

    number: int
    direction: str
    priority: int
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The part of a Subnet that judges packets."""

    name: str
    cidrs: tuple[Network, ...]
    private: bool = False
    allowed: tuple[Network, ...] = ()
    """Other networks that a private Subnet exchanges packets with."""
    acls: tuple[RawAcl, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a packet: an address, what has it, and what applies to it."""

    address: Address
    pods: tuple[Candidate, ...] = ()
    """The Pod that has the address; for an address of a node, the Pods in the network of the node."""
    node: str = ""
    """The node of the Pod, or the node that has the address; empty when it does not matter."""
    is_node: bool = False
    """Whether it is an address of a node's own."""
    stand_in: Candidate | None = None
    """The Pod of the cluster's DNS server that a node stands in for where it answers questions for names."""
    subnet: Around | None = None
    policies: tuple[Policy, ...] = ()
    """The NetworkPolicies that select the Pod."""
    groups: tuple[str, ...] = ()
    """The SecurityGroups that the Pod names."""

    @property
    def pod(self) -> Candidate | None:
        """The Pod that policies restrict; none in the network of a node."""
        return None if self.is_node or not self.pods else self.pods[0]


class Packet(NamedTuple):
    """The first packet of a connection."""

    source: End
    target: End
    protocol: str
    """`tcp`, `udp`, `sctp` or `icmp`."""
    port: int = 0


class Effect(StrEnum):
    ALLOWS = "allows"
    DENIES = "denies"
    UNKNOWN = "may decide first"


class Cause(NamedTuple):
    """An object that decides, and the field of it that does."""

    effect: Effect
    kind: Kind
    name: str
    field: str
    policy: Policy | None = None


class Finding(NamedTuple):
    """The decision of a stage. Each cause of an allowing one allows on its own; those of a denying one deny together:
    any of them could allow.
    """

    effect: Effect
    causes: tuple[Cause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """The verdict in one direction. Without causes nothing is said of the packet, and it passes."""

    direction: Direction
    allows: bool
    causes: tuple[Cause, ...]
    unread: tuple[Cause, ...] = ()
    """What may decide before that, and cannot be evaluated here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    egress: Ruling
    ingress: Ruling

    @property
    def allows(self) -> bool:
        return self.egress.allows and self.ingress.allows


def judge(packet: Packet) -> Verdict:
    """The verdict of a packet. One from an address to itself does not leave the Pod, and is not judged by `STAGES`."""
    return Verdict(egress=rule_on(packet, EGRESS), ingress=rule_on(packet, INGRESS))


def passes(packet: Packet, direction: Direction) -> bool:
    """Whether a packet passes in one direction."""
    for stage in STAGES if packet.source.address != packet.target.address else ():
        found = stage(packet, direction)
        if found is not None and found.effect is not Effect.UNKNOWN:
            return found.effect is Effect.ALLOWS
    return True


def rule_on(packet: Packet, direction: Direction) -> Ruling:
    """The verdict of a packet in one direction."""
    unread: tuple[Cause, ...] = ()
    for stage in STAGES if packet.source.address != packet.target.address else ():
        found = stage(packet, direction)
        if found is None:
            continue
        if found.effect is not Effect.UNKNOWN:
            allows = found.effect is Effect.ALLOWS
            return Ruling(direction=direction, allows=allows, causes=found.causes, unread=unread)
        unread += found.causes
    return Ruling(direction=direction, allows=True, causes=(), unread=unread)


def raw_acls(packet: Packet, direction: Direction) -> Finding | None:
    """The ACLs of Subnets that the packet meets, and that come before `spec.private` of the same Subnet. A packet
    between Subnets passes the ACLs of both at the joint with the router as well.
    """
    causes: list[Cause] = []
    at = packet.source.subnet if direction is EGRESS else packet.target.subnet
    if at is None:
        return None
    is_inside = is_within(packet.source.address, at.cidrs) and is_within(packet.target.address, at.cidrs)
    met = {"from-lport", "to-lport"}
    if is_inside:
        met = {"from-lport"} if direction is EGRESS else {"to-lport"}
    for acl in at.acls:
        is_first = acl.direction == "from-lport" or not at.private or acl.priority >= _priority(at, packet)
        if acl.direction in met and is_first:
            causes.append(Cause(Effect.UNKNOWN, Kind.SUBNET, at.name, f"spec.acls[{acl.number}]"))
    return Finding(Effect.UNKNOWN, tuple(causes)) if causes else None


def security_groups(packet: Packet, direction: Direction) -> Finding | None:
    """The SecurityGroups that the Pod names. Their rules are not read here."""
    end = packet.source if direction is EGRESS else packet.target
    causes = tuple(Cause(Effect.UNKNOWN, Kind.SECURITY_GROUP, each, "spec") for each in end.groups)
    return Finding(Effect.UNKNOWN, causes) if causes else None


def private(packet: Packet, direction: Direction) -> Finding | None:
    """The decision of a private Subnet: at the port of a Pod, and at the joint with the router for what leaves it."""
    at = packet.source.subnet if direction is EGRESS else packet.target.subnet
    if at is None or not at.private:
        return None
    priority = _priority(at, packet)
    if priority == names.ACL_PRIVATE_ALLOW:
        return None  # left to policies
    effect = Effect.ALLOWS if priority == names.ACL_NODE_ALLOW else Effect.DENIES
    return Finding(effect, (Cause(effect, Kind.SUBNET, at.name, "spec.private"),))


def _priority(at: Around, packet: Packet) -> int:
    """The priority of the ACL of a private Subnet that a packet meets."""
    source, target = packet.source, packet.target
    if source.is_node:
        return names.ACL_NODE_ALLOW
    leaves, comes = is_within(source.address, at.cidrs), is_within(target.address, at.cidrs)
    if (leaves and (comes or is_within(target.address, at.allowed))) or (
        comes and is_within(source.address, at.allowed)
    ):
        return names.ACL_PRIVATE_ALLOW
    return names.ACL_PRIVATE_DROP


def network_policies(packet: Packet, direction: Direction) -> Finding | None:
    """The decision of the NetworkPolicies that select the Pod."""
    end = packet.source if direction is EGRESS else packet.target
    if end.pod is None:
        return None
    isolating = [each for each in end.policies if direction in each.compiled.isolated]
    if not isolating:
        return None
    if direction is INGRESS and packet.source.is_node and packet.source.node and packet.source.node == end.node:
        return Finding(Effect.ALLOWS, (Cause(Effect.ALLOWS, Kind.NODE, end.node, ""),))
    allowing = tuple(
        Cause(Effect.ALLOWS, Kind.NETWORK_POLICY, str(each.name), f"spec.{direction}[{rule.number}]", each)
        for each in isolating
        for rule in each.compiled.rules
        if rule.direction is direction and permits(rule, packet)
    )
    if allowing:
        return Finding(Effect.ALLOWS, allowing)
    return Finding(
        Effect.DENIES,
        tuple(
            Cause(Effect.DENIES, Kind.NETWORK_POLICY, str(each.name), f"spec.{direction}", each) for each in isolating
        ),
    )


Stage = Callable[[Packet, Direction], Finding | None]
"""A stage decides, or lets the packet go on (None)."""
STAGES: tuple[Stage, ...] = (raw_acls, security_groups, private, network_policies)


def permits(rule: Rule, packet: Packet) -> bool:
    """Whether a rule allows a packet."""
    if (has_port(rule, packet) or _is_named_here(rule, packet)) and is_about(rule, packet):
        return True
    return rule.direction is EGRESS and (_is_named_there(rule, packet) or _asks_node(rule, packet))


def is_about(rule: Rule, packet: Packet) -> bool:
    """Whether a rule speaks of the other end of a packet, at whatever ports."""
    other = packet.source if rule.direction is INGRESS else packet.target
    return (
        rule.anywhere
        or any(is_in(pod, each) for each in rule.selections for pod in other.pods)
        or is_within(other.address, (each for each in rule.blocks if each.version == other.address.version))
    )


def is_in(pod: Candidate, selection: Selection) -> bool:
    """Whether a Pod is in a selection."""
    if selection.namespace:
        is_there = selection.namespace == pod.traits.namespace
    else:
        is_there = pod.namespace_labels is not None and selects(selection.namespaces, pod.namespace_labels)
    return is_there and selects(selection.pods, pod.traits.labels)


def has_port(rule: Rule, packet: Packet) -> bool:
    """Whether a rule names the protocol and the number of the port."""
    if rule.services is None:
        return True
    for each in rule.services:
        if each.protocol == packet.protocol:
            return any(span.low <= packet.port <= span.high for span in each.spans)
    return False


def named_ports(rule: Rule) -> Iterator[tuple[str, str]]:
    """Protocol and name of the ports that a rule gives by name."""
    return ((each.protocol, name) for each in rule.services or () for name in each.named)


def _is_named_here(rule: Rule, packet: Packet) -> bool:
    """Whether an ingress rule names the port as the receiving Pod does."""
    pod = packet.target.pod
    return rule.direction is INGRESS and pod is not None and _is_named(rule, packet, pod)


def _is_named_there(rule: Rule, packet: Packet) -> bool:
    """Whether an egress rule names the port as a receiving Pod does that it speaks of. A block names no Pod."""
    return any(
        _is_named(rule, packet, pod) and any(is_in(pod, each) for each in listeners(rule)) for pod in packet.target.pods
    )


def _is_named(rule: Rule, packet: Packet, pod: Candidate) -> bool:
    return any(at[0] == packet.protocol and pod.traits.ports.get(at) == packet.port for at in named_ports(rule))


def _asks_node(rule: Rule, packet: Packet) -> bool:
    """Whether a rule lets Pods ask the cluster's DNS server, and the packet asks a node, which may answer in its
    place.
    """
    pod = packet.target.stand_in
    is_question = packet.protocol in ("tcp", "udp") and packet.port == names.DNS_PORT
    return pod is not None and is_question and has_port(rule, packet) and any(is_in(pod, x) for x in rule.selections)
