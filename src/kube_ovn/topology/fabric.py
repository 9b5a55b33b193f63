"""The settings that the network is made with. Nouns only."""

from collections.abc import Mapping
from dataclasses import dataclass

from kube_ovn.discovery.external import Spot
from kube_ovn.model.addr import Address, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric:
    """The configured network: one router, the default subnet of Pods, the subnet that joins the nodes, and Services."""

    router: str
    default: str
    join: str
    initial: Mapping[str, Mapping[str, object]]
    """The specs of the Subnets that are made when they are missing, by name: the default one and the join one."""
    services: tuple[Network, ...] = ()
    """The networks of Services' own addresses that are set; ServiceCIDRs add others (`services.cidrs`)."""
    domain: str = ""
    """The domain of the cluster's names in DNS; empty when the fabric does not answer for names."""
    dns: tuple[Address, ...] = ()
    """The addresses at which kubelets tell Pods to look for a DNS server, one for each IP family."""
    servers: frozenset[Spot] = frozenset()
    """The spots of API servers, beside those of the Service `kubernetes`."""
    trusts_tenants: bool = False
    """Whether annotations may lead the Pods of any Namespace into any subnet."""
    namespace_ranges: tuple[Network, ...] = ()
    """The ranges of the Subnets that annotations of Namespaces make; none means any range."""
    namespace_subnets: int = 1000
    """The most Subnets that annotations of Namespaces make."""
