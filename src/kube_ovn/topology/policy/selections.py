"""Selections that policies speak of, and the Pods in each. Pods find their selections by their labels.

A selection is filed under one label that its Pods must have, if there is one; so a Pod looks only at selections that
have a label in common with it, in its own Namespace or in all.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from kube_ovn.derive import Derived, Graph, Read, Source
from kube_ovn.model.kube import Namespace, Pod
from kube_ovn.topology.inputs import Inputs, Name
from kube_ovn.topology.policy.rules import Compiled, Direction, Port, Rule, Selection
from kube_ovn.topology.policy.selector import Selector, anchors, selects
from kube_ovn.topology.ports.pod import needs_port

_ANY = ("", "")
"""Stands for the label of a selector that needs no certain label."""


class NamedPort(NamedTuple):
    """A port by its name, before it is known which number a Pod gives it."""

    selection: Selection
    protocol: str
    name: str


class Asked(NamedTuple):
    """A wish of a policy: to have logged what no rule allows in one direction."""

    direction: Direction
    rate: int
    policy: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What policies need of a selection, and of its Pods with certain ports."""

    isolated: frozenset[Direction] = frozenset()
    """The directions in which the Pods are restricted; there is a Port_Group when there is one."""
    ruled: bool = False
    """Whether there is a Port_Group also where the Pods may do what no rule is about."""
    peer: bool = False
    """Whether there are Address_Sets."""
    own_peer: bool = False
    """Whether there are Address_Sets of those Pods that have addresses of their own."""
    restricted_ports: frozenset[tuple[str, str]] = frozenset()
    """Protocol and name of ports, by which rules speak of restricted Pods."""
    peer_ports: frozenset[tuple[str, str]] = frozenset()
    """Those by which rules speak of peers."""
    own_peer_ports: frozenset[tuple[str, str]] = frozenset()
    """Those by which rules speak of peers that have addresses of their own."""
    logged: frozenset[Asked] = frozenset()
    """The wishes of policies that are enforced."""
    audits: frozenset[Asked] = frozenset()
    """Those of policies that are not, and are to be tried on the Pods."""
    audited_ports: frozenset[tuple[str, str]] = frozenset()
    """Those by which rules of such policies speak of the Pods they are tried on."""

    @property
    def grouped(self) -> bool:
        """Whether there is a Port_Group of the Pods that policies restrict."""
        return self.ruled or bool(self.isolated)

    @property
    def ports(self) -> frozenset[tuple[str, str]]:
        """All ports by which rules speak of the Pods."""
        return self.restricted_ports | self.peer_ports | self.own_peer_ports | self.audited_ports

    @property
    def audited(self) -> frozenset[Direction]:
        """The directions in which policies are tried; there is a Port_Group for each."""
        return frozenset(each.direction for each in self.audits)

    def __or__(self, other: "Need") -> "Need":
        return Need(
            isolated=self.isolated | other.isolated,
            ruled=self.ruled or other.ruled,
            peer=self.peer or other.peer,
            own_peer=self.own_peer or other.own_peer,
            restricted_ports=self.restricted_ports | other.restricted_ports,
            peer_ports=self.peer_ports | other.peer_ports,
            own_peer_ports=self.own_peer_ports | other.own_peer_ports,
            logged=self.logged | other.logged,
            audits=self.audits | other.audits,
            audited_ports=self.audited_ports | other.audited_ports,
        )

    def by_port(self, protocol: str, name: str) -> "Need":
        """What policies need of the Pods that have a port of this name."""
        at = (protocol, name)
        is_restricted = at in self.restricted_ports
        audits = (each for each in self.audits if each.direction is Direction.INGRESS and at in self.audited_ports)
        return Need(
            isolated=self.isolated if is_restricted else frozenset(),
            ruled=self.ruled and is_restricted,
            peer=at in self.peer_ports,
            own_peer=at in self.own_peer_ports,
            audits=frozenset(audits),
        )


Chosen: TypeAlias = Mapping[Selection, Need]
"""The selections that one Pod is in, those by port among them."""


@dataclass(frozen=True, slots=True)
class Traits:
    """The part of a Pod that selections depend on."""

    namespace: str
    labels: Mapping[str, str]
    ports: Mapping[tuple[str, str], int]
    """The number of each named port, by protocol and name."""
    node: str
    """The node of a Pod in the node's own network; empty for any other Pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selections:
    """What other parts read of selections."""

    chosen: Derived[str, Traits, Chosen]
    traits: Source[str, Traits]
    needs: Source[Selection, Need]
    matching: Source[str, frozenset[Selector]]
    """By the name of a Namespace, the selectors of Namespaces that select it."""
    numbers: Source[NamedPort, frozenset[int]]
    """The numbers that the Pods of a selection give a port of this name."""


def define(graph: Graph, inputs: Inputs, compiled: Source[Any, Compiled]) -> Selections:
    """Derive the selections that each Pod is in. `compiled`: the policies of all kinds."""
    needs = graph.split("needs of selections", compiled, needs_of)
    selections = graph.derive("selections", needs, _merge)
    candidates = graph.index("selections by label", selections, _file)
    scopes = graph.index("selections by Namespaces", selections, lambda each, need: [each.namespaces] * _is_wide(each))
    wide = graph.derive("selectors of Namespaces", scopes, lambda read, selector, those: selector)
    by_label = graph.index("selectors by label", wide, lambda selector, _: list(anchors(selector)) or [_ANY])

    def match_namespace(read: Read, name: str, namespace: Namespace) -> frozenset[Selector] | None:
        labels = namespace.metadata.labels
        found = (each for label in _labels(labels) for each in read.select(by_label, label).values())
        return frozenset(each for each in found if selects(each, labels)) or None

    matching = graph.derive("selectors that select a Namespace", inputs.namespaces, match_namespace)

    def choose(read: Read, record: str, pod: Traits) -> Chosen | None:
        namespaces = read.get(matching, pod.namespace) or frozenset()
        found: dict[Selection, Need] = {}
        for scope in (pod.namespace, ""):
            for label in _labels(pod.labels):
                for each, need in read.select(candidates, (scope, *label)).items():
                    if (scope or each.namespaces in namespaces) and selects(each.pods, pod.labels):
                        found[each] = need
        return {**found, **_by_port(found, pod.ports)} or None

    traits = graph.derive("traits of Pods", inputs.pods, lambda read, record, pod: traits_of(pod))
    chosen = graph.derive("selections of Pods", traits, choose)
    numbered = graph.split("numbers of named ports", chosen, lambda record, those: _numbers(those))
    numbers = graph.derive("numbers", numbered, lambda read, port, those: frozenset(those.values()))
    return Selections(chosen=chosen, traits=traits, needs=selections, matching=matching, numbers=numbers)


def needs_of(name: Any, policy: Compiled) -> dict[Selection, Need]:
    """What a policy needs of each selection that it speaks of."""
    mode = policy.mode
    asked = frozenset(Asked(each, mode.rate, name) for each in policy.isolated)
    named = frozenset(
        (service.protocol, port)
        for rule in policy.rules
        if rule.direction is Direction.INGRESS
        for service in rule.services or ()
        for port in service.named
    )
    if mode.audit:
        found = {policy.subject: Need(audits=asked, audited_ports=named)}
    else:
        logged = asked if "drop" in mode.actions else frozenset[Asked]()
        isolated = frozenset(policy.isolated)
        ruled = policy.level is not None
        found = {policy.subject: Need(isolated=isolated, ruled=ruled, restricted_ports=named, logged=logged)}
    for rule in policy.rules:
        for each, need in _of_peers(rule):
            found[each] = found.get(each, Need()) | need
    return found


def _of_peers(rule: Rule) -> Iterable[tuple[Selection, Need]]:
    """What a rule needs of each selection of Pods at the other end."""
    if rule.direction is Direction.INGRESS:
        return ((each, Need(own_peer=True) if rule.own else Need(peer=True)) for each in rule.selections)
    ports = frozenset((each.protocol, name) for each in rule.services or () for name in each.named)
    whole = not rule.anywhere and (rule.services is None or any(each.spans for each in rule.services))
    need = Need(own_peer=whole, own_peer_ports=ports) if rule.own else Need(peer=whole, peer_ports=ports)
    return ((each, need) for each in listeners(rule))


EVERYONE = Selection("", (), ())
"""All Pods."""


def listeners(rule: Rule) -> tuple[Selection, ...]:
    """The selections that may receive what an egress rule allows. A named port anywhere is one of some Pod: of what is
    no Pod it is not known what it means.
    """
    is_named = any(each.named for each in rule.services or ())
    return (EVERYONE,) if rule.anywhere and is_named else rule.selections


def _merge(read: Read, selection: Selection, needs: Mapping[Any, Need]) -> Need:
    merged = Need()
    for each in needs.values():
        merged |= each
    return merged


def _is_wide(selection: Selection) -> bool:
    return not selection.namespace


def _file(selection: Selection, need: Need) -> list[tuple[str, str, str]]:
    return [(selection.namespace, *label) for label in anchors(selection.pods) or [_ANY]]


def _labels(labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield _ANY
    yield from labels.items()


def _by_port(found: Chosen, ports: Mapping[tuple[str, str], int]) -> dict[Selection, Need]:
    """The selections by port that a Pod is in, as it is in these selections and has these ports."""
    return {
        each._replace(port=Port(protocol, name, ports[protocol, name])): need.by_port(protocol, name)
        for each, need in found.items()
        for protocol, name in need.ports
        if (protocol, name) in ports
    }


def _numbers(chosen: Chosen) -> dict[NamedPort, int]:
    return {
        NamedPort(each._replace(port=None), each.port.protocol, each.port.name): each.port.number
        for each in chosen
        if each.port is not None
    }


def traits_of(pod: Pod) -> Traits | None:
    """The traits of a Pod; None for a Pod that no selection is about: it has no node yet, or has ended."""
    node = pod.spec.node_name if pod.spec.host_network else ""
    if not node and not needs_port(pod):
        return None
    return Traits(pod.metadata.namespace, pod.metadata.labels, dict(_named_ports(pod)), node)


def _named_ports(pod: Pod) -> Iterable[tuple[tuple[str, str], int]]:
    """The named ports of a Pod; of two with one name and protocol the first counts."""
    listed = [each for container in pod.spec.containers for each in container.ports if each.name]
    return (((each.protocol.lower(), each.name), each.container_port) for each in reversed(listed))
