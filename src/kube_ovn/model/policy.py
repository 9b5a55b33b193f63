"""NetworkPolicies of Kubernetes (networking.k8s.io/v1): only the fields that are read; and what is known of their
enforcement. Nouns only, as in `model.kube`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from kube_ovn.model.crd import LabelSelector
from kube_ovn.model.kube import ObjectMeta


class PolicyPort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Ports of one protocol: all when none is given, one by number or by the name that the receiving Pod gives it, or
    the numbers from `port` to `end_port`.
    """

    protocol: str = "TCP"
    port: int | str | None = None
    end_port: int | None = None


class IPBlock(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The addresses of a CIDR but for those in the CIDRs of `excepted`."""

    cidr: str
    excepted: tuple[str, ...] = msgspec.field(default=(), name="except")


class PolicyPeer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Pods or addresses at the other end."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class IngressRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What may come in. No peers: from anywhere; no ports: at all."""

    peers: tuple[PolicyPeer, ...] = msgspec.field(default=(), name="from")
    ports: tuple[PolicyPort, ...] = ()


class EgressRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What may go out. No peers: to anywhere; no ports: to all."""

    peers: tuple[PolicyPeer, ...] = msgspec.field(default=(), name="to")
    ports: tuple[PolicyPort, ...] = ()


class NetworkPolicySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[str, ...] = ()
    """The API server fills it in."""
    ingress: tuple[IngressRule, ...] = ()
    egress: tuple[EgressRule, ...] = ()


class Version(NamedTuple):
    """A policy as its user wrote it last."""

    uid: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforced:
    """How far one generation of a policy is enforced."""

    generation: int
    nodes: int
    """The number of nodes that enforce it."""
    of: int
    missing: tuple[str, ...] = ()
    """The names of some nodes that do not."""

    def __str__(self) -> str:
        behind = f", not on {', '.join(self.missing)}" if self.missing else ""
        return f"on {self.nodes} of {self.of} nodes{behind}"

    @property
    def everywhere(self) -> bool:
        """Whether all nodes enforce it."""
        return self.nodes == self.of


class NetworkPolicy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    metadata: ObjectMeta
    spec: NetworkPolicySpec = NetworkPolicySpec()
