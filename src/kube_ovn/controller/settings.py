"""The controller's flags (contract §5.1, as far as they exist)."""

import re
from dataclasses import dataclass
from itertools import combinations, product

from kube_ovn.config import flag, parse_bool, parse_list, parse_subnet
from kube_ovn.k8s.lease import Timing
from kube_ovn.model.addr import parse_networks
from kube_ovn.telemetry import parse_level
from kube_ovn.topology.render import Vpc


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Computes the network Kubernetes should have and writes it to the OVN Northbound database."""

    ovn_nb_addr: tuple[str, ...] = flag(
        (), "OVN Northbound endpoints, comma list of tcp:IP:PORT or ssl:IP:PORT", parse_list
    )
    enable_ssl: bool = flag(False, "connect to the tcp: ones of them with TLS; ssl: ones always are", parse_bool)
    kubeconfig: str = flag("", "kubeconfig file; empty = in-cluster")
    cluster_router: str = flag("ovn-cluster", "name of the default VPC's Logical_Router")
    default_ls: str = flag("ovn-default", "name of the default subnet")
    default_cidr: str = flag("10.16.0.0/16", "CIDR of the default subnet, one a family")
    default_gateway: str = flag("", "gateway of the default subnet; empty = first address")
    default_exclude_ips: str = flag("", "addresses or ranges a..b of the default subnet never handed out")
    node_switch: str = flag("join", "name of the subnet that joins the nodes to the router")
    node_switch_cidr: str = flag("100.64.0.0/16", "CIDR of the join subnet, one a family")
    node_switch_gateway: str = flag("", "gateway of the join subnet; empty = first address")
    service_cluster_ip_range: str = flag("10.96.0.0/12", "Service CIDR of the cluster, one a family")
    pod_namespace: str = flag("kube-system", "Namespace of the Lease")
    pod_name: str = flag("", "this instance's name in the Lease; empty = host name")
    leader_elect_lease_duration: float = flag(30.0, "seconds a Lease is good for", float)
    leader_elect_renew_deadline: float = flag(20.0, "seconds after which an unrenewed Lease is given up", float)
    leader_elect_retry_period: float = flag(6.0, "seconds between attempts to take or renew the Lease", float)
    pprof_port: int = flag(10660, "port of /livez, /readyz and /metrics", int)
    log_level: str = flag("info", "debug, info, warning or error", parse_level)

    def timing(self) -> Timing:
        """Raises ValueError when the durations do not fit together."""
        return Timing(
            duration=self.leader_elect_lease_duration,
            deadline=self.leader_elect_renew_deadline,
            period=self.leader_elect_retry_period,
        )

    def northbound(self) -> tuple[str, ...]:
        """The endpoints to connect to. Raises ValueError when there is none."""
        if not self.ovn_nb_addr:
            raise ValueError("--ovn-nb-addr or OVN_NB_ADDR must name the Northbound database, like tcp:10.0.0.1:6641")
        if not self.enable_ssl:
            return self.ovn_nb_addr
        return tuple(re.sub("^tcp:", "ssl:", endpoint) for endpoint in self.ovn_nb_addr)

    def vpc(self) -> Vpc:
        """The network these settings describe. Raises ValueError with a sentence for the administrator."""
        default = parse_subnet(self.default_ls, self.default_cidr, self.default_gateway, self.default_exclude_ips)
        join = parse_subnet(self.node_switch, self.node_switch_cidr, self.node_switch_gateway)
        if [c.version for c in default.cidrs] != [c.version for c in join.cidrs]:
            raise ValueError(
                f"--default-cidr {self.default_cidr} and --node-switch-cidr {self.node_switch_cidr} "
                "must have the same IP families, in the same order"
            )
        ranges = {
            "--default-cidr": default.cidrs,
            "--node-switch-cidr": join.cidrs,
            "--service-cluster-ip-range": parse_networks(self.service_cluster_ip_range),
        }
        for (one, ours), (other, theirs) in combinations(ranges.items(), 2):
            for a, b in product(ours, theirs):
                if a.version == b.version and a.overlaps(b):
                    raise ValueError(f"{one} {a} and {other} {b} overlap; choose different ranges")
        return Vpc(router=self.cluster_router, default=default, join=join)
