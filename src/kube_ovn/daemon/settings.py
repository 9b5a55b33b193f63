"""The daemon's flags (contract §5.2, as far as they exist)."""

import re
from dataclasses import dataclass

from kube_ovn.config import flag, parse_bool, parse_list
from kube_ovn.discovery.dns import dns_addresses
from kube_ovn.host.node import OVERHEAD
from kube_ovn.k8s.domain import parse_domain
from kube_ovn.model.addr import Address, Network, parse_addresses, parse_networks
from kube_ovn.telemetry import parse_level, parse_metrics_address

ALL_SERVICES, CLUSTER_IP_ONLY = "all", "clusterip-only"


def parse_network_type(text: str) -> str:
    """Check the name of a type of tunnels. Raises ValueError."""
    if text not in OVERHEAD:
        raise ValueError(f"{text!r} is not one of {', '.join(OVERHEAD)}")
    return text


def parse_patterns(text: str) -> tuple[str, ...]:
    """Parse a comma list of names or regular expressions. Raises ValueError."""
    patterns = parse_list(text)
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is neither a name nor a regular expression: {error}") from None
    return patterns


def parse_services(text: str) -> str:
    """Check which Services a node is to serve. Raises ValueError."""
    if text not in (ALL_SERVICES, CLUSTER_IP_ONLY):
        raise ValueError(f"{text!r} is neither {ALL_SERVICES} nor {CLUSTER_IP_ONLY}")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Connects the Pods of this node, and the node itself, to the network."""

    node_name: str = flag("", "name of this Node")
    pod_ip: tuple[Address, ...] = flag((), "the node's address, by which its NIC is found", parse_addresses)
    kubeconfig: str = flag("", "kubeconfig file; empty = in-cluster")
    kubernetes_service_host: str = flag("", "the API server's address, which no Service gets; empty or a name = none")
    kubernetes_service_port: int = flag(443, "the API server's port there", int)
    ovs_socket: str = flag("/run/openvswitch/db.sock", "socket of the node's Open vSwitch database")
    bind_socket: str = flag("/run/openvswitch/kube-ovn-daemon.sock", "socket on which the CNI plugin is served")
    acl_log: str = flag("/run/openvswitch/acl.log", "file to which ovn-controller writes what policies log")
    cni_conf_dir: str = flag("/etc/cni/net.d", "directory of the container runtime's CNI configurations")
    cni_conf_name: str = flag(
        "01-kube-ovn.conflist", "file name of kube-ovn's there, written when the node's network works"
    )
    node_switch: str = flag("join", "name of the subnet that joins the nodes to the router")
    service_cluster_ip_range: tuple[Network, ...] = flag(
        parse_networks("10.96.0.0/12"),
        "Service CIDR of the cluster, one a family; ServiceCIDRs add others",
        parse_networks,
    )
    services: str = flag(
        ALL_SERVICES,
        "all: node ports and external addresses are answered too; clusterip-only: kube-proxy does that",
        parse_services,
    )
    dns: bool = flag(True, "answer for the cluster's names where it has no DNS server", parse_bool)
    cluster_domain: str = flag("", "domain of those names; empty = as kubeadm says, else cluster.local", parse_domain)
    cluster_dns: tuple[Address, ...] = flag(
        (),
        "where kubelets tell Pods to look for a DNS server; empty = the Service CIDR's tenth address",
        parse_addresses,
    )
    network_type: str = flag("geneve", "tunnels between nodes: geneve or vxlan", parse_network_type)
    iface: tuple[str, ...] = flag(
        (),
        "NIC of the tunnels: names or patterns, the first that exists; empty = the one with the node's address",
        parse_patterns,
    )
    mtu: int = flag(0, "MTU of Pods; 0 = that of the NIC less what the tunnel takes", int)
    pprof_port: int = flag(10665, "port of /livez, /readyz and /metrics", int)
    metrics_address: str = flag(
        "", "the address at which that port is served; empty = all addresses", parse_metrics_address
    )
    log_level: str = flag("info", "debug, info, warning or error", parse_level)

    def dns_servers(self) -> tuple[Address, ...]:
        """The addresses at which Pods look for a DNS server. Where there is none, the nodes answer there."""
        return self.cluster_dns or dns_addresses(self.service_cluster_ip_range)
