"""A second reading of SecurityGroups, written from what their fields mean and from nothing else.

It shares no code with `kube_ovn.topology.security` but the types of the objects. It asks of one packet, the first of
its connection, what groups of tier 0 say at the Pod, then NetworkPolicies, then groups of tier 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from kube_ovn.model.kube import Pod
from kube_ovn.model.security import SecurityGroup, SecurityGroupRule
from tests.oracle import network_policy
from tests.oracle.network_policy import Cluster, End

ANNOTATION = "ovn.kubernetes.io/security_groups"
ORDER = ("drop", "pass", "allow")
"""Of rules with one priority, which counts first."""


@dataclass(frozen=True, kw_only=True)
class Packet:
    source: End
    target: End
    protocol: str
    """`TCP`, `UDP`, `SCTP`, `ICMP` or `VRRP`."""
    port: int = 0
    source_port: int = 0


@dataclass(frozen=True, kw_only=True)
class Groups:
    """The groups of a cluster, and its NetworkPolicies."""

    groups: Sequence[SecurityGroup]
    policies: Cluster = field(default_factory=lambda: Cluster(namespaces=(), policies=()))

    @property
    def by_name(self) -> Mapping[str, SecurityGroup]:
        return {each.metadata.name: each for each in self.groups}


def allows(cluster: Groups, packet: Packet) -> bool:
    """Whether a packet is let pass at both of its ends."""
    return _passes(cluster, packet, "Egress") and _passes(cluster, packet, "Ingress")


def _passes(cluster: Groups, packet: Packet, direction: str) -> bool:
    end = packet.source if direction == "Egress" else packet.target
    pod = next((each for each in end.pods if not each.spec.host_network), None)
    if pod is None:
        return True
    if direction == "Ingress" and packet.source.node and packet.source.node == pod.spec.node_name:
        return True
    first = _asked(cluster, pod, packet, direction, 0)
    if first in ("allow", "drop"):
        return first == "allow"
    asked = network_policy.Packet(
        source=packet.source, target=packet.target, protocol=packet.protocol, port=packet.port
    )
    if (isolated := network_policy.verdict(cluster.policies, asked, direction)) is not None:
        return isolated
    return _asked(cluster, pod, packet, direction, 1) != "drop"


def names_of(pod: Pod) -> list[str]:
    return [each for part in pod.metadata.annotations.get(ANNOTATION, "").split(",") if (each := part.strip())]


def _asked(cluster: Groups, pod: Pod, packet: Packet, direction: str, tier: int) -> str:
    """`allow`, `drop`, or `pass` where the next one is to be asked."""
    named = names_of(pod)
    if any(each not in cluster.by_name for each in named):
        return "drop"  # what a missing group says is not known
    found = [cluster.by_name[each] for each in named if cluster.by_name[each].spec.tier == tier]
    if not found:
        return "pass"
    said = [
        (rule.priority, ORDER.index(rule.policy))
        for group in found
        for rule in (group.spec.egress_rules if direction == "Egress" else group.spec.ingress_rules)
        if _is_about(cluster, rule, packet, direction)
    ]
    if said:
        return ORDER[min(said)[1]]
    other = packet.target if direction == "Egress" else packet.source
    for group in found:
        if group.spec.allow_same_group_traffic and _is_in(cluster, other, group.metadata.name):
            return "allow"
    return "allow" if _is_base(packet, direction) else "drop"


def _is_about(cluster: Groups, rule: SecurityGroupRule, packet: Packet, direction: str) -> bool:
    local, other = (packet.source, packet.target) if direction == "Egress" else (packet.target, packet.source)
    if ip_address(other.address).version != {"ipv4": 4, "ipv6": 6}[rule.ip_version]:
        return False
    if rule.remote_type == "securityGroup":
        if not _is_in(cluster, other, rule.remote_security_group):
            return False
    elif ip_address(other.address) not in ip_network(rule.remote_address):
        return False
    if rule.local_address and ip_address(local.address) not in ip_network(rule.local_address):
        return False
    if rule.protocol != "all" and rule.protocol.upper() != packet.protocol:
        return False
    if rule.port_range_max and not rule.port_range_min <= packet.port <= rule.port_range_max:
        return False
    return not rule.source_port_range_max or (
        rule.source_port_range_min <= packet.source_port <= rule.source_port_range_max
    )


def _is_in(cluster: Groups, end: End, group: str) -> bool:
    """Whether an address is that of a Pod in a group. A Pod that names a missing group is in none."""
    inside = [each for each in end.pods if not each.spec.host_network]
    return any(group in named and all(each in cluster.by_name for each in named) for named in map(names_of, inside))


def _is_base(packet: Packet, direction: str) -> bool:
    """Whether a packet is what every Pod in a group may send and receive: DHCP and VRRP."""
    if packet.protocol == "VRRP":
        return True
    asks = {4: (68, 67), 6: (546, 547)}[ip_address(packet.source.address).version]
    ports = asks if direction == "Egress" else tuple(reversed(asks))
    return packet.protocol == "UDP" and (packet.source_port, packet.port) == ports
