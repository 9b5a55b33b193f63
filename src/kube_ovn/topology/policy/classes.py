"""Pods that no policy tells apart, in one class, so that one of them is judged in place of all; and ports likewise.
Pure.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from kube_ovn.discovery.attached import internal_addresses
from kube_ovn.model.addr import Address, Network
from kube_ovn.model.kube import Node, Pod
from kube_ovn.topology.policy.ends import Catalog, Known, has_port, joined_addresses, own_addresses, pod_addresses
from kube_ovn.topology.policy.rules import EVERY_PORT, Rule, Span
from kube_ovn.topology.policy.selections import listeners
from kube_ovn.topology.policy.verdict import End, Policy, named_ports

PROTOCOLS = ("tcp", "udp", "sctp")
_END = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Pods that no policy tells apart."""

    pods: tuple[Pod, ...]
    node: Node | None
    """Where the Pods are in the network of a node: the first one's."""

    def ends(self, known: Known, *, sends: bool) -> tuple[End, ...]:
        """The ends of one of them, one for each IP family. `sends`: whether it is to be the source of packets. Sources
        and targets are different Pods where there are several: what a Pod sends to itself is not judged.
        """
        pod, node = self.pods[0 if sends else -1], self.node
        if node is None:
            return tuple(known.end_of(pod, address) for address in pod_addresses(pod))
        return tuple(known.end_of_node(node, address) for address in _of_node(node, sends=sends))


def _of_node(node: Node, *, sends: bool) -> Iterable[Address]:
    """The address of a node in each family: the one that it sends to Pods from, or the one that Pods reach it at."""
    preferred = joined_addresses(node) if sends else internal_addresses(node)
    found = {each.version: each for each in reversed((*preferred, *own_addresses(node)))}
    return (found[version] for version in sorted(found))


def classify(known: Known, policies: Sequence[Policy], near: Iterable[str] = ()) -> list[Alike]:
    """The classes of the Pods that have an address. `policies`: all that may tell Pods apart. `near`: nodes that differ
    from others.
    """
    teller = _Teller(known, policies)
    nodes, special = {each.metadata.name: each for each in known.nodes}, frozenset(near)
    of_nodes: dict[str, object] = {}
    for name, hosted in known.hosted.items():
        if name in nodes:
            of_nodes[name] = teller.of_node(nodes[name], hosted, name if name in special else "")
    found: dict[object, list[Pod]] = {}
    for pod in known.pods:
        key = teller.of_pod(pod) if has_port(pod) else of_nodes.get(pod.spec.node_name)
        if key is not None and known.candidate(pod) is not None:
            found.setdefault(key, []).append(pod)
    return [
        Alike(pods=tuple(those), node=None if has_port(those[0]) else nodes[those[0].spec.node_name])
        for those in found.values()
    ]


class _Teller:
    """What policies and Subnets can tell of a Pod, as a key."""

    def __init__(self, known: Known, policies: Sequence[Policy]) -> None:
        rules = [rule for each in policies for rule in each.compiled.rules]
        self._known = known
        self._catalog = Catalog(policies)
        self._catalog.add(at for rule in rules for at in (*rule.selections, *listeners(rule)))
        self._names = {each for rule in rules for each in named_ports(rule)}
        subnets = [*known.around]
        networks = [block for rule in rules for block in rule.blocks]
        networks += [each for subnet in subnets for each in (*subnet.cidrs, *subnet.allowed)]
        self._cuts = {version: _cuts(networks, version) for version in (4, 6)}

    def of_pod(self, pod: Pod) -> object | None:
        addresses = pod_addresses(pod)
        return (self._seen(pod), self._places(addresses)) if addresses else None

    def of_node(self, node: Node, pods: Iterable[Pod], name: str) -> object:
        seen = frozenset(self._seen(each) for each in pods)
        sends, receives = (self._places(_of_node(node, sends=each)) for each in (True, False))
        return (seen, sends, receives, name)

    def _seen(self, pod: Pod) -> object:
        found = self._known.candidate(pod)
        if found is None:
            return None
        ports = frozenset((at, number) for at, number in found.traits.ports.items() if at in self._names)
        return (frozenset(self._catalog.chosen(found)), ports)

    def _places(self, addresses: Iterable[Address]) -> tuple[tuple[int, int], ...]:
        """Between which ends of networks addresses lie: two between the same are in the same networks."""
        return tuple((each.version, bisect_right(self._cuts[each.version], int(each))) for each in addresses)


def _cuts(networks: Iterable[Network], version: int) -> list[int]:
    ends = (
        (int(each.network_address), int(each.broadcast_address) + 1) for each in networks if each.version == version
    )
    return sorted({number for both in ends for number in both})


class Piece(NamedTuple):
    """Ports of a protocol that no rule tells apart: one span that rules name, or all that none names. The protocol
    `icmp`, without ports, stands for all that rules cannot name.
    """

    protocol: str
    spans: tuple[Span, ...]
    is_rest: bool = False

    @property
    def example(self) -> int:
        return max(self.spans[0].low, 1) if self.spans else 0


def pieces(rules: Iterable[Rule], declared: Iterable[tuple[str, int]]) -> list[Piece]:
    """The pieces of all ports, as far as these rules, and the ports that Pods declare, tell them apart."""
    spans: dict[str, set[Span]] = {protocol: set() for protocol in PROTOCOLS}
    for service in (service for rule in rules for service in rule.services or ()):
        spans[service.protocol].update(service.spans)
    for protocol, number in declared:
        spans[protocol].add(Span(number, number))
    found = [Piece("icmp", ())]
    for protocol, those in sorted(spans.items()):
        found += _cut(protocol, those - {*EVERY_PORT})
    return found


def _cut(protocol: str, spans: Iterable[Span]) -> Iterator[Piece]:
    """The pieces of a protocol: named ones in their order, then one for all that none names."""
    cuts = sorted({0, _END} | {each.low for each in spans} | {each.high + 1 for each in spans})
    rest = []
    for low, after in pairwise(cuts):
        if any(each.low <= low <= each.high for each in spans):
            yield Piece(protocol, (Span(low, after - 1),))
        elif after > 1:
            rest.append(Span(low, after - 1))
    if rest:
        yield Piece(protocol, tuple(rest), is_rest=True)


def declared_ports(pod: Pod) -> Iterator[tuple[str, int]]:
    """The ports that the containers of a Pod declare."""
    listed = ((each.protocol.lower(), each.container_port) for at in pod.spec.containers for each in at.ports)
    return ((protocol, number) for protocol, number in listed if protocol in PROTOCOLS)
