"""A second reading of cluster-wide policies (policy.networking.k8s.io v1alpha1 and v1alpha2), written from the text of
the API and from nothing else.

It asks of one packet at one Pod what the tiers before and after NetworkPolicies say. A part that cannot be understood
fails closed as the API has it: a rule that allows matches nothing, any other one denies all. The API leaves the order
of policies with one priority open: here they are asked by kind and name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from kube_ovn.model.admin_policy import (
    AdminEgressRule,
    AdminIngressRule,
    AdminNetworkPolicy,
    AdminPeer,
    AdminPolicy,
    AdminPort,
    AdminProtocol,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
    NamespacedPods,
)
from kube_ovn.model.crd import LabelSelector
from kube_ovn.model.kube import Namespace, Node, Pod
from tests.oracle.selectors import OddError, selects

AdminRule = AdminIngressRule | AdminEgressRule
OTHERS = {"Allow": "allow", "Accept": "allow", "Deny": "deny", "Pass": "pass"}
ANY_PORT = range(65536)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A packet at the Pod that is restricted. `others`: the Pods at the other end that have an address of their own."""

    pod: Pod
    enters: bool
    """Whether the Pod receives the packet."""
    others: tuple[Pod, ...]
    node: str
    """The node whose own address the other end is."""
    address: str
    """Of the other end."""
    protocol: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Tiers:
    namespaces: Sequence[Namespace]
    nodes: Sequence[Node]
    policies: Sequence[AdminPolicy]

    def admin(self, question: Question) -> str:
        """What the tier before NetworkPolicies says: allow, deny, or pass, also where nothing is said."""
        found = [each for each in self.policies if _tier(each) == "Admin"]
        return self._ask(found, question)

    def baseline(self, question: Question) -> str:
        """What the tier after NetworkPolicies says."""
        found = [each for each in self.policies if _tier(each) == "Baseline"]
        said = self._first(found, question)
        if said is not None:
            return said
        return self._ask([each for each in self.policies if isinstance(each, BaselineAdminNetworkPolicy)], question)

    def _ask(self, policies: Sequence[AdminPolicy], question: Question) -> str:
        return self._first(policies, question) or "pass"

    def _first(self, policies: Sequence[AdminPolicy], question: Question) -> str | None:
        """What the first rule that matches says."""
        for policy in sorted(policies, key=_order):
            about, is_known = self._is_about(policy, question.pod)
            if not about:
                continue
            for rule in policy.spec.ingress if question.enters else policy.spec.egress:
                said = self._say(rule, _action(policy, rule), question)
                if is_known and said is not None:
                    return said
                if not is_known and said in ("deny", "pass"):
                    return "deny"
        return None

    def _is_about(self, policy: AdminPolicy, pod: Pod) -> tuple[bool, bool]:
        """Whether a policy is about a Pod; and whether it is known which Pods it is about and when it is asked. No
        policy is about a Pod without a Namespace: the API server removes a Namespace after its Pods.
        """
        subject, is_known = policy.spec.subject, _has_its_place(policy)
        if all(each.metadata.name != pod.metadata.namespace for each in self.namespaces):
            return False, is_known
        try:
            if (subject.namespaces is None) == (subject.pods is None):
                return True, False
            return self._selects(subject.namespaces, subject.pods, pod), is_known
        except OddError:
            if subject.pods is None:
                return True, False
            try:
                return self._selects(subject.pods.namespace_selector, None, pod), False
            except OddError:
                return True, False

    def _selects(self, namespaces: LabelSelector | None, pods: NamespacedPods | None, pod: Pod) -> bool:
        """Whether a Pod is selected. All selectors are read first: one that cannot be makes the part odd."""
        wanted = namespaces if pods is None else pods.namespace_selector
        assert wanted is not None
        by_labels = pods is None or selects(pods.pod_selector, pod.metadata.labels)
        selects(wanted, {})
        labels = next(
            (each.metadata.labels for each in self.namespaces if each.metadata.name == pod.metadata.namespace), None
        )
        return labels is not None and selects(wanted, labels) and by_labels

    def _say(self, rule: AdminRule, action: str, question: Question) -> str | None:
        """What a rule says of a packet; None when it does not match."""
        try:
            matching = self._peers(rule, action, question)
        except OddError:
            return None if action == "allow" else "deny"
        if not matching:
            return None
        try:
            is_port = self._is_port(rule, matching, question)
        except OddError:
            return None if action == "allow" else "deny"
        return action if is_port else None

    def _peers(self, rule: AdminRule, action: str, question: Question) -> list[Pod | None]:
        """The Pods at the other end by which it matches, and None for a match by its address."""
        if not rule.peers:
            raise OddError
        found: list[Pod | None] = []
        for peer in rule.peers:
            if action == "allow" and _only_names(peer) and not question.enters:
                continue  # names are not resolved yet
            found += self._peer(peer, question)
        return found

    def _peer(self, peer: AdminPeer, question: Question) -> Iterator[Pod | None]:
        given = (peer.namespaces, peer.pods, peer.nodes, peer.networks, peer.domain_names)
        if sum(each is not None for each in given) != 1 or peer.domain_names is not None:
            raise OddError
        if question.enters and (peer.nodes is not None or peer.networks is not None):
            raise OddError
        if peer.nodes is not None:
            selects(peer.nodes, {})
            yield from (
                None
                for each in self.nodes
                if each.metadata.name == question.node and selects(peer.nodes, each.metadata.labels)
            )
        elif peer.networks is not None:
            if not peer.networks or not all(map(_is_network, peer.networks)):
                raise OddError
            yield from (
                None for each in peer.networks if ip_address(question.address) in ip_network(each, strict=False)
            )
        else:
            self._selects(peer.namespaces, peer.pods, question.pod)
            yield from (pod for pod in question.others if self._selects(peer.namespaces, peer.pods, pod))

    def _is_port(self, rule: AdminRule, matching: Sequence[Pod | None], question: Question) -> bool:
        if rule.ports is None and rule.protocols is None:
            return True
        entries = [*map(_port, rule.ports or ()), *map(_protocol, rule.protocols or ())]
        by_address = any(each.nodes is not None or each.networks is not None for each in rule.peers)
        if not entries or (by_address and any(name for _, _, name in entries)):
            raise OddError
        for protocol, numbers, name in entries:
            if not name and protocol == question.protocol and question.port in numbers:
                return True
            if name and any(_gives(pod, name, question) for pod in self._receivers(matching, question)):
                return True
        return False

    def _receivers(self, matching: Sequence[Pod | None], question: Question) -> list[Pod]:
        return [question.pod] if question.enters else [each for each in matching if each is not None]


def _tier(policy: AdminPolicy) -> str:
    """Where a policy stands. What is not known is asked first, where it can only deny."""
    if isinstance(policy, BaselineAdminNetworkPolicy):
        return ""
    if isinstance(policy, ClusterNetworkPolicy) and policy.spec.tier == "Baseline":
        return "Baseline"
    return "Admin"


def _has_its_place(policy: AdminPolicy) -> bool:
    if isinstance(policy, BaselineAdminNetworkPolicy):
        return True
    known = isinstance(policy, AdminNetworkPolicy) or policy.spec.tier in ("Admin", "Baseline")
    return known and 0 <= policy.spec.priority <= 1000


def _order(policy: AdminPolicy) -> tuple[int, str, str]:
    return min(max(policy.spec.priority, 0), 1000), type(policy).__name__, policy.metadata.name


def _action(policy: AdminPolicy, rule: AdminRule) -> str:
    allowed = {
        AdminNetworkPolicy: ("Allow", "Deny", "Pass"),
        BaselineAdminNetworkPolicy: ("Allow", "Deny"),
        ClusterNetworkPolicy: ("Accept", "Deny", "Pass"),
    }[type(policy)]
    return OTHERS[rule.action] if rule.action in allowed else "deny"


def _only_names(peer: AdminPeer) -> bool:
    others = (peer.namespaces, peer.pods, peer.nodes, peer.networks)
    return peer.domain_names is not None and all(each is None for each in others)


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _port(port: AdminPort) -> tuple[str, range, str]:
    """Protocol, numbers and name of an entry of v1alpha1; a name is of any protocol."""
    given = (port.port_number, port.port_range, port.named_port)
    if sum(each is not None for each in given) != 1:
        raise OddError
    if port.port_number is not None:
        return _numbers(port.port_number.protocol, port.port_number.port, port.port_number.port)
    if port.port_range is not None:
        return _numbers(port.port_range.protocol, port.port_range.start, port.port_range.end)
    if not port.named_port:
        raise OddError
    return "", range(0), port.named_port


def _protocol(entry: AdminProtocol) -> tuple[str, range, str]:
    """As `_port`, of v1alpha2."""
    given = [(name, each) for name, each in (("TCP", entry.tcp), ("UDP", entry.udp), ("SCTP", entry.sctp)) if each]
    if len(given) + (entry.destination_named_port is not None) != 1:
        raise OddError
    if not given:
        if not entry.destination_named_port:
            raise OddError
        return "", range(0), entry.destination_named_port
    ((protocol, transport),) = given
    port = transport.destination_port
    if port is None:
        return protocol, ANY_PORT, ""
    if port.number is not None and port.range is None:
        return _numbers(protocol, port.number, port.number)
    if port.range is not None and port.number is None:
        return _numbers(protocol, port.range.start, port.range.end)
    raise OddError


def _numbers(protocol: str, first: int, last: int) -> tuple[str, range, str]:
    if protocol not in ("TCP", "UDP", "SCTP") or not 1 <= first <= last <= 65535:
        raise OddError
    return protocol, range(first, last + 1), ""


def _gives(pod: Pod, name: str, question: Question) -> bool:
    numbers = [
        each.container_port
        for container in pod.spec.containers
        for each in container.ports
        if (each.name, each.protocol) == (name, question.protocol)
    ]
    return numbers[:1] == [question.port]
