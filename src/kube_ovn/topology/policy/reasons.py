"""The words for a verdict: what each cause says of the packet, and what would have to change. Pure."""

from collections.abc import Iterator, Sequence

from kube_ovn.model.network import Kind
from kube_ovn.topology.policy.rules import EVERY_PORT, Direction, Rule, Service, Span
from kube_ovn.topology.policy.verdict import (
    EGRESS,
    INGRESS,
    Candidate,
    Cause,
    Effect,
    End,
    Packet,
    Policy,
    Ruling,
    is_about,
)

MOST_RULES = 5
"""The rules of one policy that are spoken of."""


def title(end: End) -> str:
    """The words for an end: a Pod, a node or an address."""
    if end.pod is not None:
        return f"Pod {end.pod.name} ({end.address})"
    return f"node {end.node} ({end.address})" if end.is_node and end.node else f"address {end.address}"


def service(packet: Packet) -> str:
    """The words for the protocol and the port."""
    return packet.protocol.upper() + (f" {packet.port}" if packet.port else "")


def silence(packet: Packet, direction: Direction) -> str:
    """Why nothing is said of a packet in a direction, so that it passes."""
    end = _own(packet, direction)
    if packet.source.address == packet.target.address:
        return "the packet does not leave the Pod" if end.pod else "the packet does not leave the node"
    if end.pod is None:
        return f"no policy restricts {title(end)}: policies are about Pods with a network of their own"
    return f"no NetworkPolicy with {direction} rules or policyTypes selects Pod {end.pod.name}"


def describe(cause: Cause, packet: Packet, direction: Direction) -> str:
    """What a cause says of the packet."""
    if cause.kind is Kind.NODE:
        return "a node reaches the Pods on it, whatever NetworkPolicies say"
    if cause.kind is Kind.SECURITY_GROUP:
        return "the Pod is in this group, which may decide first: its rules are not evaluated here"
    if cause.effect is Effect.UNKNOWN:
        return f"this ACL may decide first, {_raw(cause, packet, direction)}: its match is not evaluated here"
    if cause.kind is Kind.SUBNET:
        return _of_subnet(cause, packet, direction)
    assert cause.policy is not None
    if cause.effect is Effect.ALLOWS:
        return "this rule allows it"
    return "; ".join(_misses(cause.policy, packet, direction))


def _raw(cause: Cause, packet: Packet, direction: Direction) -> str:
    at = _own(packet, direction).subnet
    (acl,) = [each for each in (at.acls if at else ()) if cause.field == f"spec.acls[{each.number}]"]
    return f"{acl.direction} {acl.action} at priority {acl.priority}"


def _of_subnet(cause: Cause, packet: Packet, direction: Direction) -> str:
    if cause.effect is Effect.ALLOWS:
        return "a private Subnet lets nodes in, whatever NetworkPolicies say"
    other = packet.target if direction is EGRESS else packet.source
    way = "leaves for" if direction is EGRESS else "comes from"
    return f"the Subnet is private, and the packet {way} {other.address}, which is neither in it nor in allowSubnets"


def _misses(policy: Policy, packet: Packet, direction: Direction) -> Iterator[str]:
    """Why the rules of a policy do not allow a packet."""
    rules = [each for each in policy.compiled.rules if each.direction is direction]
    if not rules:
        yield f"it selects the Pod, and has no {direction} rule"
    near_first = sorted(rules, key=lambda each: not is_about(each, packet))
    for rule in near_first[:MOST_RULES]:
        yield _miss(rule, packet)
    if len(rules) > MOST_RULES:
        yield f"{len(rules) - MOST_RULES} more rules do not allow it"
    yield from (f"not understood: {each}" for each in policy.compiled.faults[:MOST_RULES])


def _miss(rule: Rule, packet: Packet) -> str:
    field = f"{rule.direction}[{rule.number}]"
    other, word = (packet.source, "from") if rule.direction is INGRESS else (packet.target, "to")
    if is_about(rule, packet):
        return f"{field} is about {title(other)}, but only at {_ports(rule, packet) or 'ports that are not understood'}"
    return f"the `{word}` of {field} does not select {title(other)}"


def _ports(rule: Rule, packet: Packet) -> str:
    return ", ".join(text for each in rule.services or () for text in _format(each, packet))


def _format(each: Service, packet: Packet) -> Iterator[str]:
    for span in each.spans:
        yield (
            f"{each.protocol.upper()} {format_span(span)}"
            if span != EVERY_PORT[0]
            else f"all of {each.protocol.upper()}"
        )
    pod = packet.target.pod
    for name in each.named:
        number = None if pod is None else pod.traits.ports.get((each.protocol, name))
        yield f"{each.protocol.upper()} {name} ({'no port of the receiver' if number is None else number})"


def format_span(span: Span) -> str:
    return str(span.low) if span.low == span.high else f"{span.low}-{span.high}"


def change(ruling: Ruling, packet: Packet) -> str:
    """What would have to change for the other verdict in this direction; empty when nothing can be said."""
    direction, kinds = ruling.direction, {each.kind for each in ruling.causes}
    if Kind.SUBNET in kinds:
        return "" if ruling.allows else _open_subnet(ruling.causes, packet, direction)
    if not ruling.allows:
        return _open(ruling.causes, packet, direction)
    if Kind.NODE in kinds:
        return ""
    if ruling.causes:
        those = ", ".join(dict.fromkeys(f"{each.field} of {each.name}" for each in ruling.causes))
        every = "all of these rules must go" if len(ruling.causes) > 1 else "this rule must go"
        return f"to deny it, {every} or be narrower: {those}"
    end = _own(packet, direction)
    if end.pod is None or packet.source.address == packet.target.address:
        return ""
    return (
        f"to deny it, make a NetworkPolicy in Namespace {end.pod.name.namespace} with policyTypes "
        f"[{direction.capitalize()}] that selects Pod {end.pod.name}, without a rule that allows it"
    )


def _open_subnet(causes: Sequence[Cause], packet: Packet, direction: Direction) -> str:
    other = packet.target if direction is EGRESS else packet.source
    cidrs = other.subnet.cidrs if other.subnet is not None else ()
    at = next((str(each) for each in cidrs if other.address in each), str(other.address))
    return f"to allow it, add {at} to spec.allowSubnets of Subnet {causes[0].name}, or take spec.private away"


def _open(causes: Sequence[Cause], packet: Packet, direction: Direction) -> str:
    other, word = (packet.source, "from") if direction is INGRESS else (packet.target, "to")
    own = _own(packet, direction).pod
    assert own is not None, "a policy selects it"
    many = f"one of these {len(causes)} policies" if len(causes) > 1 else f"NetworkPolicy {causes[0].name}"
    port = "" if packet.protocol == "icmp" else f", ports [{packet.protocol.upper()} {packet.port}]"
    none = "no ports, as only such a rule allows ICMP" if not port else ""
    return (
        f"to allow it, add an {direction} rule to {many}, or to another that selects Pod {own.name}: "
        f"{word} [{_peer(other)}]{port}{f', {none}' if none else ''}"
    )


def _peer(end: End) -> str:
    pod = end.pod
    if pod is None:
        return f"ipBlock {end.address}/{end.address.max_prefixlen}"
    return f"namespaceSelector {_namespace(pod)}, podSelector {_labels(pod)}"


def _namespace(pod: Candidate) -> str:
    return f"kubernetes.io/metadata.name={pod.name.namespace}"


def _labels(pod: Candidate) -> str:
    """The labels of a Pod that others of its workload have as well, as far as the keys tell."""
    shown = [f"{key}={value}" for key, value in sorted(pod.traits.labels.items()) if key not in _OF_ONE_POD]
    return ",".join(shown) or "{}"


_OF_ONE_POD = frozenset(
    {
        "pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
    }
)
"""Labels that a controller gives to Pods, and that change with each Pod or each version of its template."""


def _own(packet: Packet, direction: Direction) -> End:
    """The end that is restricted in a direction."""
    return packet.source if direction is EGRESS else packet.target
