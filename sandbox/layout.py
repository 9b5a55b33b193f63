"""The sandbox's plan: its nodes, names and addresses. Pure values; nothing here looks at the machine.

The modules that make networks, certificates, nodes and the control plane all read their facts from here.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import TypeVar

from sandbox.paths import SandboxError

MANAGEMENT_BRIDGE = "ko-mgmt"
TUNNEL_BRIDGE = "ko-tun"
OUTSIDE_NETNS = "ko-outside"
API_PORT = 6443
SERVICE_CIDR_V4 = "10.96.0.0/12"
SERVICE_CIDR_V6 = "fd00:10:96::/112"
API_SERVICE_V4 = IPv4Address("10.96.0.1")
API_SERVICE_V6 = IPv6Address("fd00:10:96::1")
CLUSTER_DNS_V4 = IPv4Address("10.96.0.10")
CLUSTER_DNS_V6 = IPv6Address("fd00:10:96::a")
MOST_NODES = 40

_TUNNEL_V4 = IPv4Address("172.31.0.0")
_TUNNEL_V6 = IPv6Address("fd00:172:31::")
_MANAGEMENT_V4 = IPv4Address("172.30.0.0")
_MANAGEMENT_V6 = IPv6Address("fd00:172:30::")
ROOT_HOST = 1
OUTSIDE_HOST = 254
# Addresses of the outside host that no node has a route to except the default one: documentation ranges.
OUTSIDE_FAR_V4 = IPv4Interface("203.0.113.1/32")
OUTSIDE_FAR_V6 = IPv6Interface("2001:db8::1/128")
_NODE_NAME = re.compile(r"node([1-9][0-9]?)")

T = TypeVar("T")

Interface = IPv4Interface | IPv6Interface
"""An address with the length of its prefix."""


class IpFamily(StrEnum):
    """The address families of a cluster."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DUAL = "dual"


def management_v4(host: int) -> IPv4Interface:
    """The management address with this host number."""
    return IPv4Interface(f"{_MANAGEMENT_V4 + host}/24")


def management_v6(host: int) -> IPv6Interface:
    """The management address with this host number; its last digits read like the IPv4 one's."""
    return IPv6Interface(f"{_alike(_MANAGEMENT_V6, host)}/64")


def _alike(network: IPv6Address, host: int) -> IPv6Address:
    return network + int(str(host), 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node by number: node1, node2, ..."""

    number: int

    @property
    def name(self) -> str:
        """The node's name in Kubernetes and in commands."""
        return f"node{self.number}"

    @property
    def netns(self) -> str:
        """The name of the node's network namespace."""
        return f"ko-{self.name}"

    @property
    def v4(self) -> IPv4Interface:
        """The node's IPv4 management address."""
        return management_v4(10 + self.number)

    @property
    def v6(self) -> IPv6Interface:
        """The node's IPv6 management address."""
        return management_v6(10 + self.number)

    @property
    def tunnel_v4(self) -> IPv4Interface:
        """The node's IPv4 address for tunnels, which the userspace switch takes over from eth1."""
        return IPv4Interface(f"{_TUNNEL_V4 + 10 + self.number}/24")

    @property
    def tunnel_v6(self) -> IPv6Interface:
        """The node's IPv6 address for tunnels."""
        return IPv6Interface(f"{_alike(_TUNNEL_V6, 10 + self.number)}/64")

    @property
    def management_link(self) -> str:
        """The name of the bridge's end of the node's management NIC."""
        return f"ko-{self.name}-m"

    @property
    def tunnel_link(self) -> str:
        """The name of the bridge's end of the node's tunnel NIC."""
        return f"ko-{self.name}-t"


CONTROL_PLANE_NODE = Node(number=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The size and the address family of a cluster."""

    node_count: int
    family: IpFamily

    @property
    def nodes(self) -> list[Node]:
        """All nodes in order."""
        return [Node(number=number) for number in range(1, self.node_count + 1)]

    @property
    def service_ranges(self) -> str:
        """The Service CIDRs, the cluster's first family first."""
        return ",".join(self._of_family(SERVICE_CIDR_V4, SERVICE_CIDR_V6))

    @property
    def cluster_dns(self) -> list[str]:
        """The addresses at which Pods look for DNS."""
        return self._of_family(str(CLUSTER_DNS_V4), str(CLUSTER_DNS_V6))

    def node_addresses(self, node: Node) -> str:
        """The addresses that the kubelet reports for the node."""
        return ",".join(str(address.ip) for address in self.management(node))

    def management(self, node: Node) -> list[Interface]:
        """A node's addresses on its management NIC: only of the cluster's families, so that nothing works by chance."""
        return self._of_family(node.v4, node.v6)

    def tunnel(self, node: Node) -> list[Interface]:
        """A node's addresses on its tunnel NIC."""
        return self._of_family(node.tunnel_v4, node.tunnel_v6)

    @property
    def gateways(self) -> list[IPv4Address | IPv6Address]:
        """The addresses of the nodes' default gateway: the outside host."""
        return self._of_family(management_v4(OUTSIDE_HOST).ip, management_v6(OUTSIDE_HOST).ip)

    @property
    def outside(self) -> list[IPv4Address | IPv6Address]:
        """The outside host's far addresses."""
        return self._of_family(OUTSIDE_FAR_V4.ip, OUTSIDE_FAR_V6.ip)

    def _of_family(self, v4: T, v6: T) -> list[T]:
        return {IpFamily.IPV4: [v4], IpFamily.IPV6: [v6], IpFamily.DUAL: [v4, v6]}[self.family]


def api_address(family: IpFamily) -> str:
    """The API server's address as it stands in a URL."""
    return f"[{CONTROL_PLANE_NODE.v6.ip}]" if family is IpFamily.IPV6 else str(CONTROL_PLANE_NODE.v4.ip)


def parse_node(name: str) -> Node:
    """The node with this name. Raises SandboxError when the text is no node's name."""
    match = _NODE_NAME.fullmatch(name)
    if match is None:
        raise SandboxError(f"{name!r} is not a node; nodes are called node1, node2, ...")
    return Node(number=int(match[1]))
