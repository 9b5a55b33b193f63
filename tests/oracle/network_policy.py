"""A second reading of NetworkPolicies (networking.k8s.io/v1), written from the text of the API and from nothing else.

It shares no code with `kube_ovn.topology.policy` but the types of the objects. It is slow and plain: it asks of one
packet whether all policies together allow it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from kube_ovn.model.admin_policy import AdminPolicy
from kube_ovn.model.crd import LabelSelector
from kube_ovn.model.kube import Namespace, Node, Pod
from kube_ovn.model.policy import EgressRule, IngressRule, IPBlock, NetworkPolicy, PolicyPeer, PolicyPort
from tests.oracle.cluster_policy import Question, Tiers


@dataclass(frozen=True, kw_only=True)
class End:
    """One end of a packet: an address; and the Pods that have it. Those in the node's network share the node's."""

    address: str
    pods: tuple[Pod, ...] = ()
    node: str = ""
    """The node whose own address it is."""


@dataclass(frozen=True, kw_only=True)
class Packet:
    source: End
    target: End
    protocol: str
    """`TCP`, `UDP`, `SCTP` or `ICMP`."""
    port: int = 0


@dataclass(frozen=True, kw_only=True)
class Cluster:
    namespaces: Sequence[Namespace]
    policies: Sequence[NetworkPolicy]
    nodes: Sequence[Node] = ()
    wide: Sequence[AdminPolicy] = ()

    @property
    def tiers(self) -> Tiers:
        return Tiers(namespaces=self.namespaces, nodes=self.nodes, policies=self.wide)


def allows(cluster: Cluster, packet: Packet) -> bool:
    """Whether all policies together let a packet, the first of its connection, pass."""
    return may_leave(cluster, packet) and may_enter(cluster, packet)


def verdict(cluster: Cluster, packet: Packet, direction: str) -> bool | None:
    """Whether NetworkPolicies let a packet pass at the Pod that sends (`Egress`) or receives (`Ingress`) it; None when
    none isolates the Pod in that direction.
    """
    pod = _restricted(packet.source if direction == "Egress" else packet.target)
    assert pod is not None, "asked at a Pod that has a network of its own"
    if not any(is_about(each, pod) and direction in types_of(each) for each in cluster.policies):
        return None
    return may_leave(cluster, packet) if direction == "Egress" else may_enter(cluster, packet)


def may_leave(cluster: Cluster, packet: Packet) -> bool:
    pod = _restricted(packet.source)
    if pod is None:
        return True
    question = _ask(pod, packet.target, packet, enters=False)
    said = cluster.tiers.admin(question)
    if said != "pass":
        return said == "allow"
    found = [each for each in cluster.policies if is_about(each, pod) and "Egress" in types_of(each)]
    if not found:
        return cluster.tiers.baseline(question) != "deny"
    return any(
        _rule_allows(cluster, policy, rule, packet.target, packet) for policy in found for rule in policy.spec.egress
    )


def may_enter(cluster: Cluster, packet: Packet) -> bool:
    pod = _restricted(packet.target)
    if pod is None or (packet.source.node and packet.source.node == pod.spec.node_name):
        return True
    question = _ask(pod, packet.source, packet, enters=True)
    said = cluster.tiers.admin(question)
    if said != "pass":
        return said == "allow"
    found = [each for each in cluster.policies if is_about(each, pod) and "Ingress" in types_of(each)]
    if not found:
        return cluster.tiers.baseline(question) != "deny"
    return any(
        _rule_allows(cluster, policy, rule, packet.source, packet) for policy in found for rule in policy.spec.ingress
    )


def _ask(pod: Pod, other: End, packet: Packet, *, enters: bool) -> Question:
    return Question(
        pod=pod,
        enters=enters,
        others=tuple(each for each in other.pods if not each.spec.host_network),
        node=other.node,
        address=other.address,
        protocol=packet.protocol,
        port=packet.port,
    )


def _restricted(end: End) -> Pod | None:
    """The Pod that policies restrict: none in the node's own network."""
    return next((pod for pod in end.pods if not pod.spec.host_network), None)


def types_of(policy: NetworkPolicy) -> list[str]:
    """The directions in which a policy isolates, as its field `policyTypes` names them."""
    if policy.spec.policy_types:
        return list(policy.spec.policy_types)
    return ["Ingress", "Egress"] if policy.spec.egress else ["Ingress"]


def is_about(policy: NetworkPolicy, pod: Pod) -> bool:
    """Whether a policy selects a Pod."""
    same = policy.metadata.namespace == pod.metadata.namespace
    return same and _selects(policy.spec.pod_selector, pod.metadata.labels)


def _rule_allows(
    cluster: Cluster, policy: NetworkPolicy, rule: IngressRule | EgressRule, other: End, packet: Packet
) -> bool:
    peer = not rule.peers or any(_is_peer(cluster, policy, each, other) for each in rule.peers)
    if not peer:
        return False
    if not rule.ports:
        return True
    for port in rule.ports:
        if port.protocol != packet.protocol:
            continue
        if isinstance(port.port, str):
            if _names_it(cluster, policy, rule, port, packet):
                return True
        elif port.port is None or port.port <= packet.port <= (port.end_port or port.port):
            return True
    return False


def _names_it(
    cluster: Cluster, policy: NetworkPolicy, rule: IngressRule | EgressRule, port: PolicyPort, packet: Packet
) -> bool:
    """Whether the receiving Pod gives the port this name. For egress the receiver must be a Pod that the rule selects:
    an ipBlock names no Pod.
    """
    for pod in packet.target.pods:
        if isinstance(rule, EgressRule) and rule.peers:
            chosen = [each for each in rule.peers if each.ip_block is None and _selects_pod(cluster, policy, each, pod)]
            if not chosen:
                continue
        numbers = [
            each.container_port
            for container in pod.spec.containers
            for each in container.ports
            if (each.name, each.protocol) == (port.port, port.protocol)
        ]
        if numbers[:1] == [packet.port]:
            return True
    return False


def _is_peer(cluster: Cluster, policy: NetworkPolicy, peer: PolicyPeer, end: End) -> bool:
    if peer.ip_block is not None:
        return _holds(peer.ip_block, end.address)
    return any(_selects_pod(cluster, policy, peer, pod) for pod in end.pods)


def _selects_pod(cluster: Cluster, policy: NetworkPolicy, peer: PolicyPeer, pod: Pod) -> bool:
    if peer.namespace_selector is None:
        if pod.metadata.namespace != policy.metadata.namespace:
            return False
    else:
        labels = next(
            (each.metadata.labels for each in cluster.namespaces if each.metadata.name == pod.metadata.namespace), None
        )
        if labels is None or not _selects(peer.namespace_selector, labels):
            return False
    return peer.pod_selector is None or _selects(peer.pod_selector, pod.metadata.labels)


def _holds(block: IPBlock, text: str) -> bool:
    address = ip_address(text)
    if address not in ip_network(block.cidr, strict=False):
        return False
    return all(address not in ip_network(each, strict=False) for each in block.excepted)


def _selects(selector: LabelSelector, labels: dict[str, str]) -> bool:
    for key, value in selector.match_labels.items():
        if labels.get(key) != value:
            return False
    for each in selector.match_expressions:
        there = each.key in labels
        holds = {
            "In": there and labels.get(each.key) in each.values,
            "NotIn": not there or labels.get(each.key) not in each.values,
            "Exists": there,
            "DoesNotExist": not there,
        }[each.operator]
        if not holds:
            return False
    return True
