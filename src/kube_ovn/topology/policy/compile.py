"""A NetworkPolicy as rules (networking.k8s.io/v1). Pure.

What cannot be understood allows nothing, and is told: a selector that cannot be read selects no Pod as a peer, and the
other rules stay in force. Only a selector of the policy's own Pods has no such reading: then all Pods of the Namespace
are meant, so that nothing is open that its user wanted closed.
"""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import collapse_addresses, ip_network
from typing import TypeVar

from kube_ovn.model.addr import Network
from kube_ovn.model.crd import LabelSelector
from kube_ovn.model.policy import EgressRule, IngressRule, IPBlock, NetworkPolicy, PolicyPeer, PolicyPort
from kube_ovn.topology.policy.mode import parse_mode
from kube_ovn.topology.policy.rules import EVERY_PORT, Compiled, Direction, Rule, Selection, Service, Span
from kube_ovn.topology.policy.selector import canonical

T = TypeVar("T")
V = TypeVar("V")
PROTOCOLS = ("TCP", "UDP", "SCTP")
_TYPES = {"Ingress": Direction.INGRESS, "Egress": Direction.EGRESS}


def compile_policy(policy: NetworkPolicy) -> Compiled:
    """The rules of a NetworkPolicy."""
    spec, namespace = policy.spec, policy.metadata.namespace
    faults: list[str] = []
    mode = parse_mode(policy.metadata.annotations, faults)
    pods = _tell(faults, "spec.podSelector", canonical, spec.pod_selector)
    if pods is None:
        faults.append("all Pods of the Namespace are taken for selected")
    subject = Selection(namespace, (), pods or ())
    isolated = _isolated(policy, faults)
    listed: dict[Direction, Sequence[IngressRule | EgressRule]]
    listed = {Direction.INGRESS: spec.ingress, Direction.EGRESS: spec.egress}
    rules = [
        _rule(namespace, direction, number, each, faults)
        for direction in isolated
        for number, each in enumerate(listed[direction])
    ]
    return Compiled(subject=subject, isolated=isolated, rules=tuple(rules), mode=mode, faults=tuple(faults))


def _isolated(policy: NetworkPolicy, faults: list[str]) -> tuple[Direction, ...]:
    """The directions in which a policy isolates. Without types: ingress, and egress where it has egress rules."""
    types, spec = policy.spec.policy_types, policy.spec
    if not types:
        return (Direction.INGRESS, Direction.EGRESS) if spec.egress else (Direction.INGRESS,)
    unknown = [each for each in types if each not in _TYPES]
    if unknown:
        faults.append(f"spec.policyTypes: {unknown[0][:40]!r} is unknown: use Ingress or Egress; both are isolated")
        return (Direction.INGRESS, Direction.EGRESS)
    return tuple(sorted({_TYPES[each] for each in types}, reverse=True))


def _rule(namespace: str, direction: Direction, number: int, rule: IngressRule | EgressRule, faults: list[str]) -> Rule:
    field = f"spec.{direction}[{number}]"
    selections: dict[Selection, None] = {}
    blocks: list[Network] = []
    for index, peer in enumerate(rule.peers):
        place = f"{field}.{'from' if direction is Direction.INGRESS else 'to'}[{index}]"
        if peer.ip_block is not None:
            blocks += _tell(faults, f"{place}.ipBlock", _cover, peer.ip_block) or ()
        elif (found := _tell(faults, place, lambda peer: _select(namespace, peer), peer)) is not None:
            selections[found] = None
    return Rule(
        direction=direction,
        number=number,
        anywhere=not rule.peers,
        selections=tuple(sorted(selections)),
        blocks=minimal(blocks),
        services=_services(rule.ports, f"{field}.ports", faults) if rule.ports else None,
    )


def _select(namespace: str, peer: PolicyPeer) -> Selection:
    if peer.pod_selector is None and peer.namespace_selector is None:
        raise ValueError("it says neither podSelector, nor namespaceSelector, nor ipBlock: nothing is allowed by it")
    pods = canonical(peer.pod_selector or LabelSelector())
    if peer.namespace_selector is None:
        return Selection(namespace, (), pods)
    return Selection("", canonical(peer.namespace_selector), pods)


def _cover(block: IPBlock) -> tuple[Network, ...]:
    """The fewest CIDRs that hold what a block holds. Host bits are ignored, as Kubernetes does."""
    left: list[Network] = [ip_network(block.cidr, strict=False)]
    for text in block.excepted:
        hole = ip_network(text, strict=False)
        left = [part for each in left for part in _without(each, hole)]
    return tuple(left)


def _without(network: Network, hole: Network) -> Sequence[Network]:
    """The parts of a network that are not in another one."""
    if network.version != hole.version or not network.overlaps(hole):
        return (network,)
    if network.prefixlen >= hole.prefixlen:
        return ()
    return tuple(network.address_exclude(hole))  # type: ignore[arg-type]  # of one family


def minimal(blocks: Iterable[Network]) -> tuple[Network, ...]:
    """The fewest CIDRs that hold the same addresses, sorted."""
    found = list(blocks)
    return tuple(
        network
        for version in (4, 6)
        for network in collapse_addresses(each for each in found if each.version == version)  # type: ignore[type-var]
    )


def _services(ports: Sequence[PolicyPort], field: str, faults: list[str]) -> tuple[Service, ...]:
    spans: dict[str, list[Span]] = {}
    named: dict[str, set[str]] = {}
    for index, each in enumerate(ports):
        found = _tell(faults, f"{field}[{index}]", _span, each)
        if found is None:
            continue
        protocol = each.protocol.lower()
        if isinstance(found, str):
            named.setdefault(protocol, set()).add(found)
        else:
            spans.setdefault(protocol, []).append(found)
    return tuple(
        Service(protocol=each, spans=merge(spans.get(each, ())), named=tuple(sorted(named.get(each, ()))))
        for each in sorted(spans.keys() | named.keys())
    )


def _span(each: PolicyPort) -> Span | str:
    """The numbers, or the name, of the ports that an entry means."""
    if each.protocol not in PROTOCOLS:
        raise ValueError(f"protocol {each.protocol[:40]!r} is none of {', '.join(PROTOCOLS)}")
    if isinstance(each.port, str):
        if each.end_port is not None:
            raise ValueError(f"endPort needs a number, and port is {each.port[:40]!r}")
        return each.port
    if each.port is None:
        return EVERY_PORT[0]
    last = each.port if each.end_port is None else each.end_port
    if not 1 <= each.port <= last <= 65535:
        raise ValueError(f"ports {each.port} to {last} are not from 1 to 65535, in this order")
    return Span(each.port, last)


def merge(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The fewest spans that hold the same numbers, sorted."""
    merged: list[Span] = []
    for each in sorted(spans):
        if merged and each.low <= merged[-1].high + 1:
            merged[-1] = Span(merged[-1].low, max(merged[-1].high, each.high))
        else:
            merged.append(each)
    return tuple(merged)


def _tell(faults: list[str], field: str, read: Callable[[T], V], value: T) -> V | None:
    """Read a part; None, with a fault, when it cannot be understood."""
    try:
        return read(value)
    except ValueError as error:
        faults.append(f"{field}: {error}")
        return None
