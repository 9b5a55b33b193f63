"""The controller's flags (contract §5.1, as far as they exist)."""

import re
from dataclasses import dataclass
from itertools import combinations, product

from kube_ovn.config import flag, parse_bool, parse_list
from kube_ovn.discovery.dns import dns_addresses
from kube_ovn.discovery.external import host_spots
from kube_ovn.k8s.domain import parse_domain
from kube_ovn.k8s.lease import Timing
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, parse_addresses, parse_networks
from kube_ovn.telemetry import parse_level, parse_metrics_address
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.subnets.verdict import parse_subnet

TRUSTED, UNTRUSTED = "trusted", "untrusted"


def parse_tenants(text: str) -> str:
    """Parse whether tenants are trusted. Raises ValueError."""
    if text not in (TRUSTED, UNTRUSTED):
        raise ValueError(f"{text!r} must be {TRUSTED} or {UNTRUSTED}")
    return text


def parse_ranges(text: str) -> tuple[Network, ...]:
    """Parse a comma list of CIDRs. Raises ValueError."""
    return tuple(network for part in parse_list(text) for network in parse_networks(part))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Computes the network that Kubernetes should have and writes it to the OVN Northbound database."""

    ovn_nb_addr: tuple[str, ...] = flag(
        (), "OVN Northbound endpoints, comma list of tcp:IP:PORT or ssl:IP:PORT", parse_list
    )
    ovn_sb_addr: tuple[str, ...] = flag(
        (),
        "OVN Southbound endpoints, as above; empty = it is not told on which nodes policies are enforced",
        parse_list,
    )
    enable_ssl: bool = flag(False, "connect to the tcp: ones of them with TLS; ssl: ones always are", parse_bool)
    kubeconfig: str = flag("", "kubeconfig file; empty = in-cluster")
    kubernetes_service_host: str = flag("", "the API server's address, which no Service gets; empty or a name = none")
    kubernetes_service_port: int = flag(443, "the API server's port there", int)
    cluster_router: str = flag("ovn-cluster", "name of the default VPC's Logical_Router")
    default_ls: str = flag("ovn-default", "name of the default subnet")
    default_cidr: str = flag("10.16.0.0/16", "CIDR of the default subnet, one a family")
    default_gateway: str = flag("", "gateway of the default subnet; empty = first address")
    default_exclude_ips: str = flag("", "addresses or ranges a..b of the default subnet never handed out")
    node_switch: str = flag("join", "name of the subnet that joins the nodes to the router")
    node_switch_cidr: str = flag("100.64.0.0/16", "CIDR of the join subnet, one a family")
    node_switch_gateway: str = flag("", "gateway of the join subnet; empty = first address")
    service_cluster_ip_range: str = flag(
        "10.96.0.0/12", "Service CIDR of the cluster, one a family; ServiceCIDRs add others"
    )
    dns: bool = flag(True, "answer for the names of Services at the Pods' own ports", parse_bool)
    cluster_domain: str = flag("", "domain of those names; empty = as kubeadm says, else cluster.local", parse_domain)
    cluster_dns: tuple[Address, ...] = flag(
        (),
        "where kubelets tell Pods to look for a DNS server; empty = the Service CIDR's tenth address",
        parse_addresses,
    )
    tenants: str = flag(
        UNTRUSTED,
        "trusted = annotations may lead Pods into subnets that are for other Namespaces; or untrusted",
        parse_tenants,
    )
    namespace_subnets_within: tuple[Network, ...] = flag(
        (), "CIDRs in which annotations of Namespaces may make Subnets; empty = anywhere", parse_ranges
    )
    namespace_subnets_most: int = flag(1000, "the most Subnets that annotations of Namespaces make", int)
    pod_namespace: str = flag("kube-system", "Namespace of the Lease")
    pod_name: str = flag("", "this instance's name in the Lease; empty = host name")
    leader_elect_lease_duration: float = flag(30.0, "seconds a Lease is good for", float)
    leader_elect_renew_deadline: float = flag(20.0, "seconds after which an unrenewed Lease is given up", float)
    leader_elect_retry_period: float = flag(6.0, "seconds between attempts to take or renew the Lease", float)
    pprof_port: int = flag(10660, "port of /livez, /readyz and /metrics", int)
    metrics_address: str = flag(
        "", "the address at which that port is served; empty = all addresses", parse_metrics_address
    )
    log_level: str = flag("info", "debug, info, warning or error", parse_level)

    def timing(self) -> Timing:
        """The times of the leader election. Raises ValueError when they do not fit together."""
        return Timing(
            duration=self.leader_elect_lease_duration,
            deadline=self.leader_elect_renew_deadline,
            period=self.leader_elect_retry_period,
        )

    def northbound(self) -> tuple[str, ...]:
        """The endpoints of the Northbound database. Raises ValueError when there is none."""
        if not self.ovn_nb_addr:
            raise ValueError("--ovn-nb-addr or OVN_NB_ADDR must name the Northbound database, like tcp:10.0.0.1:6641")
        return self._secured(self.ovn_nb_addr)

    def southbound(self) -> tuple[str, ...]:
        """The endpoints of the Southbound database; none when it is not followed."""
        return self._secured(self.ovn_sb_addr)

    def _secured(self, endpoints: tuple[str, ...]) -> tuple[str, ...]:
        if not self.enable_ssl:
            return endpoints
        return tuple(re.sub("^tcp:", "ssl:", endpoint) for endpoint in endpoints)

    def fabric(self) -> Fabric:
        """The network that these settings describe. Raises ValueError with a sentence for the administrator."""
        exclude = parse_list(self.default_exclude_ips)
        flags = {
            self.default_ls: ("--default-cidr", self.default_cidr, self.default_gateway, exclude),
            self.node_switch: ("--node-switch-cidr", self.node_switch_cidr, self.node_switch_gateway, ()),
        }
        ranges = {"--service-cluster-ip-range": parse_networks(self.service_cluster_ip_range)}
        families = set()
        for name, (flag_name, cidr, gateway, excluded) in flags.items():
            try:
                subnet = parse_subnet(name, cidr, gateway, excluded)
            except ValueError as error:
                raise ValueError(f"{flag_name} {cidr}: {error}") from None
            families.add(subnet.versions)
            ranges[flag_name] = subnet.cidrs
        if len(families) > 1:
            raise ValueError(
                f"--default-cidr {self.default_cidr} and --node-switch-cidr {self.node_switch_cidr} "
                "must have the same IP families, in the same order"
            )
        for (one, ours), (other, theirs) in combinations(ranges.items(), 2):
            for a, b in product(ours, theirs):
                if a.version == b.version and a.overlaps(b):
                    raise ValueError(f"{one} {a} and {other} {b} overlap; choose different ranges")
        services = ranges["--service-cluster-ip-range"]
        initial = {name: self._initial(name, *values[1:]) for name, values in flags.items()}
        return Fabric(
            router=self.cluster_router,
            default=self.default_ls,
            join=self.node_switch,
            initial=initial,
            services=services,
            dns=self.cluster_dns or dns_addresses(services),
            servers=host_spots(self.kubernetes_service_host, self.kubernetes_service_port),
            trusts_tenants=self.tenants == TRUSTED,
            namespace_ranges=self.namespace_subnets_within,
            namespace_subnets=self.namespace_subnets_most,
        )

    def _initial(self, name: str, cidr: str, gateway: str, exclude: tuple[str, ...]) -> dict[str, object]:
        """The spec of one of the two Subnets that the controller makes when they do not exist."""
        is_default = name == self.default_ls
        return {
            "cidrBlock": cidr,
            **({"gateway": gateway} if gateway else {}),
            "excludeIps": list(exclude),
            "provider": names.PROVIDER,
            "vpc": self.cluster_router,
            "default": is_default,
            "natOutgoing": is_default,
            "gatewayType": "distributed",
        }
