"""Cluster-wide policies (policy.networking.k8s.io): AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1), and
ClusterNetworkPolicy (v1alpha2): only the fields that are read. Nouns only, as in `model.kube`.

The three kinds are written alike, so they share the structs of their parts. A field that the API server requires has a
default here that means nothing, so that an object without it is read, and told to be wrong.
"""

from typing import NamedTuple, TypeAlias

import msgspec

from kube_ovn.model.crd import LabelSelector
from kube_ovn.model.kube import ObjectMeta
from kube_ovn.model.network import Kind


class NamespacedPods(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Pods by their labels, in Namespaces by theirs."""

    namespace_selector: LabelSelector = LabelSelector()
    pod_selector: LabelSelector = LabelSelector()


class Subject(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The Pods that a policy restricts: exactly one field is set."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None


class AdminPeer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The other end: exactly one field is set. Only egress rules have the last three."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None
    nodes: LabelSelector | None = None
    networks: tuple[str, ...] | None = None
    domain_names: tuple[str, ...] | None = None


class PortNumber(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    protocol: str = "TCP"
    port: int


class PortNumbers(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The ports from `start` to `end`, both included."""

    protocol: str = "TCP"
    start: int
    end: int


class AdminPort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Ports in v1alpha1: exactly one field is set. A named port is of whatever protocol the Pod gives it."""

    port_number: PortNumber | None = None
    named_port: str | None = None
    port_range: PortNumbers | None = None


class Numbers(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    start: int
    end: int


class DestinationPort(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Exactly one field is set."""

    number: int | None = None
    range: Numbers | None = None


class Transport(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """All ports of a protocol, or some."""

    destination_port: DestinationPort | None = None


class AdminProtocol(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Ports in v1alpha2: exactly one field is set."""

    tcp: Transport | None = None
    udp: Transport | None = None
    sctp: Transport | None = None
    destination_named_port: str | None = None


class AdminIngressRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What becomes of packets from these peers. `ports` is v1alpha1, `protocols` v1alpha2; neither: all packets."""

    name: str = ""
    action: str = ""
    peers: tuple[AdminPeer, ...] = msgspec.field(default=(), name="from")
    ports: tuple[AdminPort, ...] | None = None
    protocols: tuple[AdminProtocol, ...] | None = None


class AdminEgressRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What becomes of packets to these peers."""

    name: str = ""
    action: str = ""
    peers: tuple[AdminPeer, ...] = msgspec.field(default=(), name="to")
    ports: tuple[AdminPort, ...] | None = None
    protocols: tuple[AdminProtocol, ...] | None = None


class AdminSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`tier` is a ClusterNetworkPolicy's; a BaselineAdminNetworkPolicy has no priority."""

    tier: str = ""
    priority: int = -1
    subject: Subject = Subject()
    ingress: tuple[AdminIngressRule, ...] = ()
    egress: tuple[AdminEgressRule, ...] = ()


class AdminNetworkPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    metadata: ObjectMeta
    spec: AdminSpec = AdminSpec()


class BaselineAdminNetworkPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The API server takes only one, with the name `default`."""

    metadata: ObjectMeta
    spec: AdminSpec = AdminSpec()


class ClusterNetworkPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    metadata: ObjectMeta
    spec: AdminSpec = AdminSpec()


AdminPolicy: TypeAlias = AdminNetworkPolicy | BaselineAdminNetworkPolicy | ClusterNetworkPolicy


class AdminName(NamedTuple):
    """The name of a cluster-wide policy. No `Name` is equal to one: no Namespace is called as a kind is."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"
