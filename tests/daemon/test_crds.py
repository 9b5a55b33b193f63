"""Our resource definitions on a real API server: what it refuses and what it says, what it shows, what it keeps."""

import json
import ssl
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import count
from typing import Any, TypeVar

import msgspec
import pytest

from kube_ovn.k8s.client import APPLY, MERGE, Client, KubeError
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.model import crd, names
from kube_ovn.model.kube import Namespace, ObjectMeta
from kube_ovn.model.resource import IPPOOLS, IPS, SECURITY_GROUPS, SUBNETS, VPCS, Resource
from kube_ovn.model.security import SecurityGroupSpec, SecurityGroupStatus
from kube_ovn.model.text import check_text
from kube_ovn.topology.subnets.namespace import parse_wish, wish_problem, wished_spec
from tests.daemon.crds import install_crds
from tests.daemon.kube_apiserver import ADMIN, KubeApiserver, kube_apiserver

__all__ = ["kube_apiserver"]

T = TypeVar("T")
Spec = Mapping[str, Any]
_numbers = count(1)

KINDS: tuple[Resource[Any], ...] = (SUBNETS, IPS, IPPOOLS, VPCS, SECURITY_GROUPS)
BIG = 2**70


@pytest.fixture(scope="module")
def server(kube_apiserver: KubeApiserver) -> KubeApiserver:
    install_crds(kube_apiserver.kubeconfig)
    return kube_apiserver


@pytest.fixture
async def client(server: KubeApiserver) -> AsyncIterator[Client]:
    async with Client(load_credentials(str(server.kubeconfig))) as client:
        yield client


def manifest(kind: Resource[Any], spec: Spec | None, name: str = "", **metadata: Any) -> dict[str, Any]:
    """An object under a name of its own unless one is given."""
    whole: dict[str, Any] = {
        "apiVersion": kind.version,
        "kind": kind.name,
        "metadata": {"name": name or f"x-{next(_numbers)}", **metadata},
    }
    return whole if spec is None else whole | {"spec": spec}


async def refusal(client: Client, kind: Resource[Any], value: object) -> str:
    """What the API server says against a new object."""
    with pytest.raises(KubeError) as caught:
        await client.request("POST", kind.path(), body=value)
    assert caught.value.status == 422, caught.value.message
    return caught.value.message


async def change(client: Client, kind: Resource[T], name: str, spec: Spec) -> T:
    return await client.patch(kind, "", name, {"spec": spec}, form=MERGE)


# --- what is taken ---

RULE = {
    "ipVersion": "ipv4",
    "protocol": "tcp",
    "priority": 1,
    "policy": "allow",
    "remoteType": "address",
    "remoteAddress": "10.66.0.0/16",
}
PORTS = {"portRangeMin": 80, "portRangeMax": 81}
SOURCES = {"sourcePortRangeMin": 1024, "sourcePortRangeMax": 2048}
WHOLE_RULE = {**RULE, **PORTS, **SOURCES, "remoteSecurityGroup": "web", "localAddress": "10.66.0.7"}

SUBNET = {"cidrBlock": "10.66.0.0/16"}
DUAL = {"cidrBlock": "10.66.0.0/16,fd00:66::/112"}
IP = {"subnet": "ovn-default"}
POOL = {"subnet": "ovn-default", "ips": ["10.66.0.5"]}

GOOD: list[tuple[Resource[Any], Spec | None]] = [
    (SUBNETS, SUBNET),
    (SUBNETS, DUAL),
    (SUBNETS, {"cidrBlock": "fd00:66::/112,10.66.0.0/16", "gateway": "10.66.0.1,fd00:66::1"}),
    (SUBNETS, {"cidrBlock": "fd00:66:0:0::/64"}),
    (SUBNETS, {"cidrBlock": "fd00:0066:0000:0000:0000:0000:0000:0000/112", "gateway": "fd00:66::0:9"}),
    (SUBNETS, {"cidrBlock": "10.66.0.0/30", "gateway": "10.66.0.2"}),
    (SUBNETS, {"cidrBlock": "fd00:66::/126", "gateway": "fd00:66::3"}),
    (SUBNETS, {"cidrBlock": "64.0.0.0/3", "gateway": "95.255.255.254"}),
    (SUBNETS, {**DUAL, "gateway": "10.66.0.254"}),
    (SUBNETS, {**SUBNET, "gateway": ""}),
    (SUBNETS, {**SUBNET, "gateway": "10.66.1.255"}),
    (SUBNETS, {**SUBNET, "gateway": "10.66.1.0"}),
    (SUBNETS, {"vlan": "vlan1"}),
    (SUBNETS, {"vlan": "vlan1", "cidrBlock": "", "gateway": ""}),
    (SUBNETS, {**DUAL, "excludeIps": ["10.66.0.9", "10.66.0.9..10.66.0.10", "fd00:66::2..fd00:66::f", "10.66.0.9"]}),
    (SUBNETS, {**SUBNET, "excludeIps": ["9.255.255.255..10.0.0.0"]}),
    (SUBNETS, {**SUBNET, "allowSubnets": ["10.67.0.0/16", "fd00:67::/64", "10.67.0.5/32"], "private": True}),
    (SUBNETS, {**SUBNET, "acls": [{"direction": "to-lport", "priority": 32767, "match": "ip4", "action": "pass"}]}),
    (
        SUBNETS,
        {**SUBNET, "acls": [{"direction": "to-lport", "priority": 0, "match": "ip4 &&\n\ttcp\r\n", "action": "drop"}]},
    ),
    (SUBNETS, {**SUBNET, "acls": [{"direction": "to-lport", "priority": 1, "match": "1" * 8192, "action": "drop"}]}),
    (SUBNETS, {**SUBNET, "gatewayNode": "node1:192.0.2.11,node2:192.0.2.12, node-3", "routeTable": "é 😀\u00a0"}),
    (SUBNETS, {**SUBNET, "dhcpV4Options": "a" * 8000, "dhcpV6Options": 'dns_server={fd00::53}, domain_search="a,b"'}),
    (SUBNETS, {**SUBNET, "natOutgoingPolicyRules": [{"match": {"srcIPs": "10.66.0.9, 10.66.8.0/24", "dstIPs": ""}}]}),
    (SUBNETS, {**SUBNET, "namespaceSelectors": [{"matchLabels": {"example.com/a": "", "b": "x" * 63}}]}),
    (SUBNETS, {**SUBNET, "mtu": 68}),
    (SUBNETS, {**DUAL, "mtu": 0}),
    (SUBNETS, {**DUAL, "mtu": 1280}),
    (SUBNETS, {**SUBNET, "natOutgoing": True, "externalEgressGateway": ""}),
    (SUBNETS, {**SUBNET, "natOutgoing": False, "externalEgressGateway": "192.0.2.1"}),
    (SUBNETS, {**SUBNET, "protocol": "IPv4", "gatewayType": "centralized", "vpc": "", "provider": "net.ns.ovn"}),
    (SUBNETS, {**SUBNET, "namespaceSelectors": [{}, {"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}),
    (IPS, IP),
    (IPS, {**IP, "ipAddress": "", "v4IpAddress": "", "v6IpAddress": "", "macAddress": "", "ownerUID": ""}),
    (IPS, {**IP, "ipAddress": "10.66.0.5,fd00:66::5", "v4IpAddress": "10.66.0.5", "v6IpAddress": "fd00:66:0::5"}),
    (IPS, {**IP, "ipAddress": "10.66.0.5", "v6IpAddress": "fd00:66::5", "macAddress": "0A:00:00:12:34:56"}),
    (IPS, {**IP, "podName": "a", "namespace": "b", "nodeName": "c", "podType": "StatefulSet", "attachIps": ["d"]}),
    (SECURITY_GROUPS, {}),
    (SECURITY_GROUPS, {"tier": 1, "ingressRules": [RULE, WHOLE_RULE], "egressRules": [{**RULE, **PORTS}]}),
    (SECURITY_GROUPS, {"ingressRules": [{**RULE, "protocol": "all", "portRangeMin": 1, "portRangeMax": 65535}]}),
    (SECURITY_GROUPS, {"ingressRules": [{**RULE, "ipVersion": "ipv6", "remoteAddress": "::/0"}]}),
    (
        SECURITY_GROUPS,
        {"egressRules": [{**RULE, "remoteType": "securityGroup", "remoteAddress": "", "remoteSecurityGroup": "web"}]},
    ),
    (SECURITY_GROUPS, {"egressRules": [{**RULE, "portRangeMin": 0, "portRangeMax": 0, "localAddress": ""}]}),
    (IPPOOLS, POOL),
    (IPPOOLS, {**POOL, "ips": ["10.66.0.5", "10.66.1.0/24", "10.66.2.7/24", "10.66.0.10..10.66.0.20"]}),
    (IPPOOLS, {**POOL, "ips": ["fd00:66::10..fd00:66::20", "fd00:66::/120"], "namespaces": ["a"]}),
    (VPCS, None),
    (VPCS, {}),
    (VPCS, {"namespaces": ["a"], "staticRoutes": [{"cidr": "0.0.0.0/0", "nextHopIP": "10.66.0.254"}], "bfdPort": {}}),
]


@pytest.mark.parametrize(("kind", "spec"), GOOD)
async def test_taken(client: Client, kind: Resource[Any], spec: Spec | None) -> None:
    await client.request("POST", kind.path(), body=manifest(kind, spec))


# --- what is refused, and what the user is told ---

ACL = {"direction": "to-lport", "priority": 1, "match": "ip4", "action": "allow"}
UNDERSTOOD = "is not understood; give a"

BAD: list[tuple[Resource[Any], Spec | None, str]] = [
    (SUBNETS, None, "spec: Required value"),
    (SUBNETS, {}, "cidrBlock is empty, which only a Subnet with a vlan may have; set it"),
    (SUBNETS, {"cidrBlock": "", "vlan": ""}, "cidrBlock is empty"),
    (SUBNETS, {"cidrBlock": "10.66.0.0"}, f"cidrBlock 10.66.0.0 {UNDERSTOOD} CIDR such as 10.66.0.0/16"),
    (SUBNETS, {"cidrBlock": "10.66.0.0/33"}, f"cidrBlock 10.66.0.0/33 {UNDERSTOOD}"),
    (SUBNETS, {"cidrBlock": "10.66.0.0/16,"}, f"cidrBlock 10.66.0.0/16, {UNDERSTOOD}"),
    (SUBNETS, {"cidrBlock": ",10.66.0.0/16"}, f"cidrBlock ,10.66.0.0/16 {UNDERSTOOD}"),
    (SUBNETS, {"cidrBlock": "10.66.0.0/16;fd00::/64"}, f"cidrBlock 10.66.0.0/16;fd00::/64 {UNDERSTOOD}"),
    (SUBNETS, {"cidrBlock": "10.66.0.0/16,fd00::/64,fd01::/64"}, f"fd01::/64 {UNDERSTOOD}"),
    (SUBNETS, {"cidrBlock": "::ffff:10.66.0.0/112"}, f"cidrBlock ::ffff:10.66.0.0/112 {UNDERSTOOD}"),
    (SUBNETS, {"cidrBlock": "10.66.0.0/16,10.67.0.0/16"}, "has several CIDRs of one IP family; give one IPv4 CIDR"),
    (SUBNETS, {"cidrBlock": "fd00::/64,fd01::/64"}, "has several CIDRs of one IP family"),
    (SUBNETS, {"cidrBlock": "FD00:66::/64"}, "cidrBlock FD00:66::/64 has upper-case letters; use fd00:66::/64"),
    (SUBNETS, {"cidrBlock": "10.66.0.5/16"}, "cidrBlock 10.66.0.5/16 has host bits set; use 10.66.0.0/16"),
    (SUBNETS, {"cidrBlock": "fd00:66::5/64"}, "cidrBlock fd00:66::5/64 has host bits set; use fd00:66::/64"),
    (SUBNETS, {"cidrBlock": "10.66.0.0/16,fd00::5/64"}, "has host bits set; use 10.66.0.0/16,fd00::/64"),
    (SUBNETS, {"cidrBlock": "10.66.0.0/31"}, "cidrBlock 10.66.0.0/31 is too small; it must hold at least 4 addresses"),
    (SUBNETS, {"cidrBlock": "10.66.0.1/32"}, "cidrBlock 10.66.0.1/32 is too small"),
    (SUBNETS, {"cidrBlock": "10.66.0.0/16,fd00::/127"}, "is too small"),
    *(
        (SUBNETS, {"cidrBlock": cidr}, f"cidrBlock {cidr} holds loopback, link-local or multicast addresses; choose")
        for cidr in ("127.0.1.0/24", "169.254.0.0/16", "239.1.0.0/16", "fe80::/64", "ff05::/16", "::/64", "0.0.0.0/0")
    ),
    (SUBNETS, {**SUBNET, "gateway": "10.66.0.256"}, f"gateway 10.66.0.256 {UNDERSTOOD}n address such as 10.66.0.1"),
    (SUBNETS, {**SUBNET, "gateway": "10.66.0.1/16"}, f"gateway 10.66.0.1/16 {UNDERSTOOD}"),
    (SUBNETS, {**SUBNET, "gateway": "10.66.0.1,"}, f"gateway 10.66.0.1, {UNDERSTOOD}"),
    (SUBNETS, {**SUBNET, "gateway": "10.66.0.1,10.66.0.2"}, "has several addresses of one IP family; give one of each"),
    (SUBNETS, {**SUBNET, "gateway": "10.67.0.1"}, "gateway 10.67.0.1 is not inside cidrBlock 10.66.0.0/16; choose"),
    (SUBNETS, {**SUBNET, "gateway": "10.66.0.1,fd00:66::1"}, "gateway 10.66.0.1,fd00:66::1 is not inside cidrBlock"),
    (SUBNETS, {**SUBNET, "gateway": "10.66.0.0"}, "gateway 10.66.0.0 is the network address of cidrBlock 10.66.0.0/16"),
    (
        SUBNETS,
        {**DUAL, "gateway": "10.66.0.1,fd00:66::"},
        "is the network address of cidrBlock 10.66.0.0/16,fd00:66::/1",
    ),
    *(
        (SUBNETS, {"cidrBlock": cidr, "gateway": gateway}, f"is the broadcast address of cidrBlock {cidr}")
        for cidr, gateway in (
            ("10.66.0.0/16", "10.66.255.255"),
            ("10.66.0.0/30", "10.66.0.3"),
            ("64.0.0.0/3", "95.255.255.255"),
            ("fd00:66::/112,10.66.8.0/21", "10.66.15.255,fd00:66::1"),
            ("10.66.8.0/21,fd00:66::/112", "fd00:66::1,10.66.15.255"),
        )
    ),
    (
        SUBNETS,
        {**SUBNET, "excludeIps": ["x"]},
        f"excludeIps entry x {UNDERSTOOD}n address such as 10.66.0.2 or a range",
    ),
    (SUBNETS, {**SUBNET, "excludeIps": ["10.66.0.2", ""]}, f"excludeIps entry  {UNDERSTOOD}"),
    (SUBNETS, {**SUBNET, "excludeIps": ["10.66.0.0/24"]}, f"excludeIps entry 10.66.0.0/24 {UNDERSTOOD}"),
    (SUBNETS, {**SUBNET, "excludeIps": ["10.66.0.2..fd00::2"]}, f"excludeIps entry 10.66.0.2..fd00::2 {UNDERSTOOD}"),
    (SUBNETS, {**SUBNET, "excludeIps": ["10.66.0.2..10.66.0.3..10.66.0.4"]}, UNDERSTOOD),
    (
        SUBNETS,
        {**SUBNET, "excludeIps": ["10.66.1.0..10.66.0.255"]},
        "excludeIps entry 10.66.1.0..10.66.0.255 ends before it begins; put the lower address first",
    ),
    (
        SUBNETS,
        {**SUBNET, "allowSubnets": ["10.67.0.5"]},
        "allowSubnets entry 10.67.0.5 is not a CIDR; give one such as",
    ),
    (SUBNETS, {**SUBNET, "allowSubnets": ["10.67.0.5/16"]}, "entry 10.67.0.5/16 has host bits set; use 10.67.0.0/16"),
    (SUBNETS, {**SUBNET, "acls": [{**ACL, "direction": "in"}]}, 'supported values: "from-lport", "to-lport"'),
    (SUBNETS, {**SUBNET, "acls": [{**ACL, "priority": 32768}]}, "should be less than or equal to 32767"),
    (SUBNETS, {**SUBNET, "acls": [{**ACL, "priority": -1}]}, "should be greater than or equal to 0"),
    (SUBNETS, {**SUBNET, "acls": [{**ACL, "action": "deny"}]}, '"allow-stateless", "drop", "reject", "pass"'),
    (SUBNETS, {**SUBNET, "acls": [{"priority": 1}]}, "spec.acls[0].match: Required value"),
    (SUBNETS, {**SUBNET, "acls": [{**ACL, "match": ""}]}, "spec.acls[0].match: Invalid value"),
    (SUBNETS, {**SUBNET, "acls": [{**ACL, "match": "1" * 8193}]}, "spec.acls[0].match: Too long"),
    *(
        (SUBNETS, {**SUBNET, "acls": [{**ACL, "match": f"ip4{character}"}]}, "spec.acls[0].match in body should match")
        for character in ("\0", "\x1b", "\x0b", "\x7f", "\u2028")
    ),
    *(
        (SUBNETS, {**SUBNET, field: "a\0"}, f"spec.{field} in body should match")
        for field in (
            "provider",
            "vlan",
            "gatewayNode",
            "dhcpV4Options",
            "dhcpV6Options",
            "ipv6RAConfigs",
            "routeTable",
        )
    ),
    (SUBNETS, {**SUBNET, "dhcpV4Options": "lease_time=1\n"}, "spec.dhcpV4Options in body should match"),
    (SUBNETS, {**SUBNET, "dhcpV4Options": "a" * 8001}, "spec.dhcpV4Options: Too long"),
    (SUBNETS, {**SUBNET, "gatewayNode": "a" * 8193}, "spec.gatewayNode: Too long"),
    (SUBNETS, {**SUBNET, "namespaces": ["a\x1b"]}, "spec.namespaces[0] in body should match"),
    (SUBNETS, {**SUBNET, "natOutgoingPolicyRules": [{"match": {"srcIPs": "\t"}}]}, "match.srcIPs in body should match"),
    (SUBNETS, {**SUBNET, "namespaceSelectors": [{"matchLabels": {"a": "b\0"}}]}, "matchLabels.a in body should match"),
    (SUBNETS, {**SUBNET, "namespaceSelectors": [{"matchLabels": {"a": "b" * 64}}]}, "matchLabels.a: Too long"),
    (SUBNETS, {**SUBNET, "gatewayType": "local"}, 'Unsupported value: "local": supported values: '),
    (
        SUBNETS,
        {**SUBNET, "mtu": 67},
        "mtu 67 is below 68, the least that IP works with; give more, or 0 for the default",
    ),
    (SUBNETS, {**SUBNET, "mtu": 65536}, "should be less than or equal to 65535"),
    (SUBNETS, {**DUAL, "mtu": 1279}, "mtu 1279 is below 1280, the least that IPv6 works with; give more"),
    (
        SUBNETS,
        {**SUBNET, "natOutgoing": True, "externalEgressGateway": "192.0.2.1"},
        "natOutgoing and externalEgressGateway 192.0.2.1 exclude each other; set natOutgoing to false",
    ),
    (SUBNETS, {**SUBNET, "namespaces": ["a", "a"]}, "Duplicate value"),
    (
        SUBNETS,
        {**SUBNET, "namespaceSelectors": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]},
        "operator In needs at least one of values; add it",
    ),
    (
        SUBNETS,
        {**SUBNET, "namespaceSelectors": [{"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}]},
        "operator Exists takes no values; remove them",
    ),
    (IPS, {}, "spec.subnet: Required value"),
    (IPS, {"subnet": ""}, "spec.subnet"),
    (IPS, {**IP, "ipAddress": "10.66.0"}, f"ipAddress 10.66.0 {UNDERSTOOD}n address such as 10.66.0.5"),
    (IPS, {**IP, "ipAddress": "10.66.0.5,10.66.0.6"}, "has several addresses of one IP family; give one of each"),
    (IPS, {**IP, "ipAddress": "FD00::5"}, "ipAddress FD00::5 has upper-case letters; use fd00::5"),
    (IPS, {**IP, "v4IpAddress": "fd00::5"}, "v4IpAddress fd00::5 is not an IPv4 address; give one such as 10.66.0.5"),
    (IPS, {**IP, "v4IpAddress": "10.66.0.5/16"}, "v4IpAddress 10.66.0.5/16 is not an IPv4 address"),
    (
        IPS,
        {**IP, "v6IpAddress": "10.66.0.5"},
        "v6IpAddress 10.66.0.5 is not an IPv6 address; give one such as fd00:66::5",
    ),
    (IPS, {**IP, "v6IpAddress": "FD00::5"}, "v6IpAddress FD00::5 has upper-case letters; use fd00::5"),
    *(
        (IPS, {**IP, "macAddress": mac}, f"macAddress {mac} is not a unicast MAC address; give one such as 0a:00")
        for mac in ("0a:00:00:12:34", "01:00:5e:00:00:01", "00:00:00:00:00:00", "0a-00-00-12-34-56")
    ),
    (
        IPS,
        {**IP, "ipAddress": "10.66.0.5,fd00::5", "v4IpAddress": "10.66.0.6"},
        "v4IpAddress 10.66.0.6 is not the one in ipAddress 10.66.0.5,fd00::5; give the same address in both",
    ),
    (IPS, {**IP, "ipAddress": "fd00::5", "v6IpAddress": "fd00::6"}, "v6IpAddress fd00::6 is not the one in ipAddress"),
    (IPS, {**IP, "podName": "a\0"}, "spec.podName in body should match"),
    (IPS, {**IP, "containerID": "a" * 254}, "spec.containerID: Too long"),
    (IPS, {**IP, "attachMacs": ["\x07"]}, "spec.attachMacs[0] in body should match"),
    *(
        (SECURITY_GROUPS, {"ingressRules": [{**RULE, **odd}]}, message)
        for odd, message in (
            ({"priority": 0}, "spec.ingressRules[0].priority"),
            ({"priority": 16385}, "spec.ingressRules[0].priority"),
            ({"ipVersion": "IPv4"}, 'spec.ingressRules[0].ipVersion: Unsupported value: "IPv4"'),
            ({"policy": "reject"}, "spec.ingressRules[0].policy: Unsupported value"),
            ({"protocol": "sctp"}, "spec.ingressRules[0].protocol: Unsupported value"),
            ({"remoteAddress": "web"}, "remoteAddress web is not understood; give an address such as"),
            ({"remoteAddress": ""}, "is not understood; give an address such as"),
            ({"remoteAddress": "10.66.0.5/16"}, "remoteAddress 10.66.0.5/16 has host bits set; use 10.66.0.0/16"),
            ({"remoteAddress": "fd00::/64"}, "remoteAddress fd00::/64 is no address of ipVersion ipv4"),
            ({"remoteType": "securityGroup"}, "remoteSecurityGroup is empty; name a SecurityGroup"),
            ({"localAddress": "10.66.0.5/16"}, "localAddress 10.66.0.5/16 is not understood"),
            ({"localAddress": "fd00::5"}, "localAddress fd00::5 is no address of ipVersion ipv4"),
            (
                {"portRangeMin": 81, "portRangeMax": 80},
                "portRangeMin and portRangeMax are not the first and the last port",
            ),
            ({"portRangeMin": 80}, "portRangeMin and portRangeMax are not the first and the last port"),
            ({**PORTS, "protocol": "icmp"}, "mean nothing with protocol icmp; use tcp or udp"),
            (SOURCES, "count only together with localAddress; set it"),
        )
    ),
    (SECURITY_GROUPS, {"tier": 2}, "spec.tier"),
    (IPPOOLS, {"subnet": "ovn-default"}, "spec.ips: Required value"),
    (IPPOOLS, {**POOL, "subnet": "a\x85"}, "spec.subnet in body should match"),
    (IPPOOLS, {**POOL, "namespaces": ["a\0"]}, "spec.namespaces[0] in body should match"),
    (IPPOOLS, {"ips": ["10.66.0.5"]}, "spec.subnet: Required value"),
    (IPPOOLS, {**POOL, "subnet": ""}, "spec.subnet"),
    (IPPOOLS, {**POOL, "ips": []}, "spec.ips"),
    (IPPOOLS, {**POOL, "ips": ["10.66.0.5-10.66.0.9"]}, f"ips entry 10.66.0.5-10.66.0.9 {UNDERSTOOD}n address such as"),
    (IPPOOLS, {**POOL, "ips": ["10.66.0.9..fd00::9"]}, f"ips entry 10.66.0.9..fd00::9 {UNDERSTOOD}"),
    (
        IPPOOLS,
        {**POOL, "ips": ["10.66.0.9..10.66.0.5"]},
        "ips entry 10.66.0.9..10.66.0.5 ends before it begins; put the",
    ),
    (VPCS, {"policyRoutes": [{"action": "nat"}]}, 'supported values: "allow", "drop", "reroute"'),
    (VPCS, {"staticRoutes": [{"policy": "src"}]}, '"policySrc", "policyDst"'),
    (VPCS, {"policyRoutes": [{"match": "ip4\0"}]}, "spec.policyRoutes[0].match in body should match"),
    (VPCS, {"policyRoutes": [{"match": "1" * 8193}]}, "spec.policyRoutes[0].match: Too long"),
    (VPCS, {"policyRoutes": [{"priority": 32768}]}, "should be less than or equal to 32767"),
    (VPCS, {"defaultSubnet": "a\n"}, "spec.defaultSubnet in body should match"),
    (VPCS, {"vpcPeerings": [{"remoteVpc": "a" * 254}]}, "spec.vpcPeerings[0].remoteVpc: Too long"),
]


@pytest.mark.parametrize(("kind", "spec", "message"), BAD)
async def test_refused(client: Client, kind: Resource[Any], spec: Spec | None, message: str) -> None:
    said = await refusal(client, kind, manifest(kind, spec))
    assert message in said
    assert "failed rule" not in said, "a rule without a message of its own"
    assert "evaluation error" not in said
    assert "unable to evaluate" not in said


async def test_a_subnet_is_not_its_own_vpc(client: Client) -> None:
    said = await refusal(client, SUBNETS, manifest(SUBNETS, SUBNET, "ovn-cluster"))
    assert "vpc ovn-cluster is the name of this Subnet itself; rename the Subnet" in said


async def test_many_entries_are_not_too_much_for_the_rules(client: Client) -> None:
    """The API server stops rules that cost too much while they run; the longest lists that are allowed must not."""
    ranges = [f"10.66.{n // 250}.{n % 250}..10.66.200.{n % 250}" for n in range(1000)]
    longest = "fd00:0066:0000:0000:0000:0000:0000:{0:04x}..fd00:0066:0000:0000:0000:0000:ffff:{0:04x}"
    many = [*ranges[:500], *(longest.format(n) for n in range(500))]
    subnet = {**DUAL, "excludeIps": many, "allowSubnets": [f"10.{n // 250}.{n % 250}.0/24" for n in range(1000)]}
    await client.request("POST", SUBNETS.path(), body=manifest(SUBNETS, subnet))
    await client.request("POST", IPPOOLS.path(), body=manifest(IPPOOLS, {**POOL, "ips": many}))
    rules = [{**WHOLE_RULE, "priority": n + 1} for n in range(500)]
    group = {"ingressRules": rules, "egressRules": rules}
    await client.request("POST", SECURITY_GROUPS.path(), body=manifest(SECURITY_GROUPS, group))


# --- what may not change ---

ADDRESSES = {
    "ipAddress": "10.66.0.5,fd00:66::5",
    "v4IpAddress": "10.66.0.5",
    "v6IpAddress": "fd00:66::5",
    "macAddress": "0a:00:00:12:34:56",
}

CHANGES: list[tuple[Resource[Any], Spec, Spec, str]] = [
    (
        SUBNETS,
        SUBNET,
        {"vpc": "other"},
        "vpc cannot change from ovn-cluster to other; delete the Subnet and make another",
    ),
    (SUBNETS, {**SUBNET, "vpc": ""}, {"vpc": "other"}, 'vpc cannot change from "" to other'),
    (SUBNETS, {**SUBNET, "vpc": "blue"}, {"vpc": None}, "vpc cannot change from blue to ovn-cluster"),
    (IPS, IP, {"subnet": "other"}, "subnet cannot change from ovn-default to other; delete this IP and make another"),
    (IPS, {**IP, "ownerUID": "a"}, {"ownerUID": "b"}, "ownerUID cannot change from a to b; delete this IP"),
    (IPS, {**IP, "ownerUID": "a"}, {"ownerUID": ""}, "ownerUID cannot change from a to nothing; delete this IP"),
    (IPS, {**IP, "ownerUID": "a"}, {"ownerUID": None}, "ownerUID cannot change from a to nothing; delete this IP"),
    (
        IPS,
        {**IP, **ADDRESSES},
        {"macAddress": "0a:00:00:12:34:57"},
        "macAddress cannot change from 0a:00:00:12:34:56 to 0a:00:00:12:34:57",
    ),
    (
        IPS,
        {**IP, "v4IpAddress": "10.66.0.5"},
        {"v4IpAddress": "10.66.0.6"},
        "v4IpAddress cannot change from 10.66.0.5 to",
    ),
    (IPS, {**IP, **ADDRESSES}, {"v6IpAddress": None}, "v6IpAddress cannot change from fd00:66::5 to nothing"),
    (
        IPS,
        {**IP, "ipAddress": "10.66.0.5"},
        {"ipAddress": "10.66.0.6"},
        "ipAddress cannot change from 10.66.0.5 to 10.66",
    ),
    (
        IPS,
        {**IP, **ADDRESSES},
        {"ipAddress": "10.66.0.5"},
        "ipAddress cannot change from 10.66.0.5,fd00:66::5 to 10.66.0.5",
    ),
    (IPS, {**IP, **ADDRESSES}, {"ipAddress": None}, "ipAddress cannot change from 10.66.0.5,fd00:66::5 to nothing"),
    (
        IPS,
        {**IP, "ipAddress": "10.66.0.5"},
        {"ipAddress": "10.66.0.5,fd00:66::5"},
        "ipAddress cannot change from 10.66.0.5 to 10.66.0.5,fd00:66::5; delete this IP and make another",
    ),
    (
        IPS,
        {**IP, "ipAddress": "10.66.0.5", "v4IpAddress": "10.66.0.5"},
        {"v6IpAddress": "fd00:66::5"},
        "v6IpAddress fd00:66::5 cannot be added to ipAddress 10.66.0.5; delete this IP and make another with both",
    ),
    (
        IPS,
        {**IP, "ipAddress": "fd00:66::5", "v4IpAddress": ""},
        {"v4IpAddress": "10.66.0.5"},
        "v4IpAddress 10.66.0.5 cannot be added to ipAddress fd00:66::5; delete this IP and make another with both",
    ),
    (
        IPPOOLS,
        POOL,
        {"subnet": "other"},
        "subnet cannot change from ovn-default to other; delete this IPPool and make another",
    ),
]


@pytest.mark.parametrize(("kind", "before", "after", "message"), CHANGES)
async def test_never_changes(client: Client, kind: Resource[Any], before: Spec, after: Spec, message: str) -> None:
    value = manifest(kind, before)
    await client.request("POST", kind.path(), body=value)
    with pytest.raises(KubeError) as caught:
        await change(client, kind, value["metadata"]["name"], after)
    assert message in caught.value.message
    assert "failed rule" not in caught.value.message


async def test_what_was_left_out_may_be_filled_in(client: Client) -> None:
    whole = {**IP, **ADDRESSES, "ownerUID": "a"}
    for before in (IP, {**IP, **dict.fromkeys(ADDRESSES, ""), "ownerUID": ""}, {**IP, "v6IpAddress": "fd00:66::5"}):
        value = manifest(IPS, before)
        await client.request("POST", IPS.path(), body=value)
        filled = await change(client, IPS, value["metadata"]["name"], whole)
        assert filled.spec.ip_address == ADDRESSES["ipAddress"]
    value = manifest(IPS, {**IP, "ipAddress": ADDRESSES["ipAddress"]})
    await client.request("POST", IPS.path(), body=value)
    await change(client, IPS, value["metadata"]["name"], whole)


async def test_what_may_change(client: Client) -> None:
    value = manifest(SUBNETS, {**SUBNET, "vpc": ""})
    await client.request("POST", SUBNETS.path(), body=value)
    changed = await change(
        client, SUBNETS, value["metadata"]["name"], {"vpc": "ovn-cluster", "cidrBlock": "10.64.0.0/14"}
    )
    assert (changed.spec.vpc, changed.spec.cidr_block) == ("ovn-cluster", "10.64.0.0/14")
    value = manifest(IPS, {**IP, **ADDRESSES, "nodeName": "node1"})
    await client.request("POST", IPS.path(), body=value)
    assert (await change(client, IPS, value["metadata"]["name"], {"nodeName": "node2"})).spec.node_name == "node2"


# --- what the API server keeps, and how we read it ---

CONDITION = {
    "type": "Ready",
    "status": "True",
    "reason": "ReadyTrue",
    "message": "m",
    "observedGeneration": 3,
    "lastTransitionTime": "2026-01-31T12:00:00Z",
}
SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]}
WHOLE: list[tuple[Resource[Any], type[msgspec.Struct], type[msgspec.Struct] | None, Spec, Spec]] = [
    (
        SUBNETS,
        crd.SubnetSpec,
        crd.SubnetStatus,
        {
            **DUAL,
            "gateway": "10.66.0.1",
            "excludeIps": ["10.66.0.9", "10.66.0.2..10.66.0.3"],
            "provider": "p",
            "vpc": "v",
            "vlan": "vlan1",
            "protocol": "Dual",
            "namespaces": ["b", "a"],
            "namespaceSelectors": [SELECTOR],
            "private": True,
            "allowSubnets": ["10.67.0.0/16"],
            "acls": [ACL],
            "gatewayType": "centralized",
            "gatewayNode": "node1",
            "gatewayNodeSelectors": [SELECTOR],
            "enableEcmp": True,
            "natOutgoing": False,  # excludes externalEgressGateway
            "natOutgoingPolicyRules": [
                {"match": {"srcIPs": "10.66.0.9", "dstIPs": "192.0.2.0/24"}, "action": "forward"}
            ],
            "externalEgressGateway": "192.0.2.1",
            "policyRoutingPriority": 1001,
            "policyRoutingTableID": 1002,
            "enableDHCP": True,
            "dhcpV4Options": "lease_time=7200",
            "dhcpV6Options": "dns_server=fd00::53",
            "enableIPv6RA": True,
            "ipv6RAConfigs": "max_interval=30",
            "mtu": 1400,
            "permitSpoofing": True,
            "enableLb": False,
        },
        {
            "conditions": [CONDITION],
            "cidrBlock": "10.66.0.0/16",
            "gateway": "10.66.0.1",
            "activateGateway": "node1",
            "natOutgoingPolicyRules": [
                {"ruleID": "0123456789ab", "match": {"srcIPs": "10.66.0.9", "dstIPs": ""}, "action": "forward"}
            ],
            "v4availableIPs": 65533,
            "v4usingIPs": 1,
            "v6availableIPs": BIG,
            "v6usingIPs": 2,
            "v4availableIPrange": "10.66.0.2-10.66.0.9",
            "v4usingIPrange": "10.66.0.10",
            "v6availableIPrange": "fd00:66::2-fd00:66::9",
            "v6usingIPrange": "fd00:66::a",
        },
    ),
    (
        IPS,
        crd.IPSpec,
        None,
        {
            **IP,
            **ADDRESSES,
            "gateway": "10.66.0.1,fd00:66::1",
            "podName": "a",
            "namespace": "b",
            "nodeName": "c",
            "podType": "StatefulSet",
            "ownerUID": "d",
        },
        {},
    ),
    (
        IPPOOLS,
        crd.IPPoolSpec,
        crd.IPPoolStatus,
        {**POOL, "namespaces": ["b", "a"], "enableAddressSet": True},
        {
            "conditions": [CONDITION],
            "v4AvailableIPs": 4,
            "v4UsingIPs": 1,
            "v6AvailableIPs": BIG,
            "v6UsingIPs": 2,
            "v4AvailableIPRange": "10.66.0.2-10.66.0.9",
            "v4UsingIPRange": "10.66.0.10",
            "v6AvailableIPRange": "fd00:66::2-fd00:66::9",
            "v6UsingIPRange": "fd00:66::a",
        },
    ),
    (
        VPCS,
        crd.VpcSpec,
        crd.VpcStatus,
        {"namespaces": ["a"]},
        {
            "conditions": [CONDITION],
            "standby": True,
            "default": True,
            "router": "ovn-cluster",
            "defaultLogicalSwitch": "ovn-default",
            "subnets": ["b", "a"],
        },
    ),
    (
        SECURITY_GROUPS,
        SecurityGroupSpec,
        SecurityGroupStatus,
        {"tier": 1, "allowSameGroupTraffic": True, "ingressRules": [WHOLE_RULE], "egressRules": [RULE]},
        {
            "conditions": [CONDITION],
            "portGroup": "ovn.sg.web",
            "allowSameGroupTraffic": True,
            "ingressMd5": "0123456789abcdef0123456789abcdef",
            "egressMd5": "0123456789abcdef0123456789abcdef",
            "ingressLastSyncSuccess": True,
            "egressLastSyncSuccess": False,
        },
    ),
]


@pytest.mark.parametrize(("kind", "spec_type", "status_type", "spec", "status"), WHOLE)
async def test_read_as_it_was_written(
    client: Client,
    kind: Resource[Any],
    spec_type: type[msgspec.Struct],
    status_type: type[msgspec.Struct] | None,
    spec: Spec,
    status: Spec,
) -> None:
    """Every field that the model reads is sent, so a name that differs between model and schema cannot hide."""
    assert names_of(spec_type) == set(spec)
    value = manifest(kind, spec)
    name = value["metadata"]["name"]
    item = await client.create(kind, "", {**value, "status": status})
    if status_type is not None:
        assert names_of(status_type) == set(status)
        assert item.status == status_type(), "the status is written on its own"
        item = await client.patch(kind, "", name, {"status": status}, subresource="status")
        assert item.status == msgspec.convert(status, status_type)
    assert item.spec == msgspec.convert(spec, spec_type)
    assert await client.get(kind, "", name) == item


def names_of(struct: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(struct)}


async def test_what_is_left_out_has_its_default(client: Client) -> None:
    subnet = await client.create(SUBNETS, "", manifest(SUBNETS, SUBNET))
    wanted = crd.SubnetSpec(
        cidr_block=SUBNET["cidrBlock"], provider="ovn", vpc="ovn-cluster", gateway_type="distributed"
    )
    assert subnet.spec == wanted


async def test_a_reservation_has_no_status_of_its_own(client: Client) -> None:
    value = manifest(IPS, IP)
    await client.request("POST", IPS.path(), body=value)
    with pytest.raises(KubeError) as caught:
        await client.request("GET", IPS.path(name=value["metadata"]["name"], subresource="status"))
    assert caught.value.status == 404


async def test_several_managers_bind_namespaces(client: Client) -> None:
    """Each owns the Namespaces it wrote (server-side apply); so it is with conditions, one a type."""
    value = manifest(SUBNETS, {**SUBNET, "namespaces": ["users"]})
    name = value["metadata"]["name"]

    async def apply(manager: str, body: object, subresource: str = "") -> crd.Subnet:
        path = SUBNETS.path(name=name, subresource=subresource)
        data = await client.request("PATCH", path, query={"fieldManager": manager}, body=body, form=APPLY)
        return msgspec.json.decode(data, type=crd.Subnet)

    await apply("user", value)
    await apply("controller", manifest(SUBNETS, {"namespaces": ["selected"]}, name))
    both = await apply("user", manifest(SUBNETS, {**SUBNET, "namespaces": ["other"]}, name))
    assert set(both.spec.namespaces) == {"selected", "other"}
    for manager in ("one", "two"):
        status = {"conditions": [{"type": manager, "status": "True"}]}
        both = await apply(manager, {**manifest(SUBNETS, None, name), "status": status}, "status")
    assert {condition.type for condition in both.status.conditions} == {"one", "two"}


@pytest.mark.parametrize("status", ["Yes", "true", ""])
async def test_the_status_of_a_condition(client: Client, status: str) -> None:
    value = manifest(VPCS, {})
    await client.request("POST", VPCS.path(), body=value)
    body = {"status": {"conditions": [{"type": "Ready", "status": status}]}}
    with pytest.raises(KubeError, match="Unsupported value"):
        await client.patch(VPCS, "", value["metadata"]["name"], body, subresource="status")


# --- what users see ---

COLUMNS = {
    "subnets": "Provider Vpc Vlan Protocol CIDR Private NAT Default GatewayType V4Used V4Available V6Used V6Available "
    "ExcludeIPs U2OInterconnectionIP",
    "ips": "V4IP V6IP Mac Node Subnet",
    "ippools": "Subnet enableAddressSet IPs V4Used V4Available V6Used V6Available",
    "security-groups": "Age",
    "vpcs": "EnableExternal EnableBfd Standby Subnets ExtraExternalSubnets Namespaces DefaultSubnet Age",
}
SHOWN: dict[str, dict[str, object]] = {
    "subnets": {
        "Provider": "ovn",
        "Vpc": "ovn-cluster",
        "Protocol": "Dual",
        "CIDR": DUAL["cidrBlock"],
        "Private": False,
        "NAT": True,
        "Default": False,
        "GatewayType": "distributed",
        "V4Used": 1,
        "V4Available": 65533,
        "V6Used": 2,
        "V6Available": BIG,
        "ExcludeIPs": '["10.66.0.9"]',
    },
    "ips": {
        "V4IP": "10.66.0.5",
        "V6IP": "fd00:66::5",
        "Mac": ADDRESSES["macAddress"],
        "Node": "n",
        "Subnet": "ovn-default",
    },
    "ippools": {
        "Subnet": "ovn-default",
        "enableAddressSet": False,
        "IPs": '["10.66.0.5"]',
        "V4Used": 1,
        "V4Available": 4,
        "V6Used": 2,
        "V6Available": BIG,
    },
    "security-groups": {},
    "vpcs": {"Standby": True, "Subnets": '["b","a"]', "Namespaces": '["a"]', "DefaultSubnet": "ovn-default"},
}
SPECS: dict[str, Spec] = {
    "subnets": {**DUAL, "protocol": "Dual", "natOutgoing": True, "excludeIps": ["10.66.0.9"]},
    "ips": {**IP, **ADDRESSES, "nodeName": "n"},
    "ippools": POOL,
    "vpcs": {"namespaces": ["a"]},
    "security-groups": {},
}


def read_table(server: KubeApiserver, path: str) -> Any:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    request = urllib.request.Request(server.url + path, headers={"Authorization": f"Bearer {ADMIN}", "Accept": accept})
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=str(server.ca)), timeout=5) as got:
        return json.load(got)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
async def test_columns(server: KubeApiserver, client: Client, kind: Resource[Any]) -> None:
    """As `kubectl get` asks for them."""
    value = manifest(kind, SPECS[kind.plural])
    name = value["metadata"]["name"]
    await client.request("POST", kind.path(), body=value)
    for whole, _, status_type, _, status in WHOLE:
        if whole is kind and status_type is not None:
            await client.patch(kind, "", name, {"status": status}, subresource="status")
    table = read_table(server, kind.path(name=name))
    heads = [column["name"] for column in table["columnDefinitions"]]
    assert heads == ["Name", *COLUMNS[kind.plural].split()]
    cells = dict(zip(heads, table["rows"][0]["cells"], strict=True))
    shown = {head: cell for head, cell in cells.items() if cell is not None and head not in ("Name", "Age")}
    assert shown == SHOWN[kind.plural]


class Definition(msgspec.Struct):
    metadata: ObjectMeta
    spec: dict[str, Any]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
async def test_every_field_is_explained(server: KubeApiserver, kind: Resource[Any]) -> None:
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind.plural}.kubeovn.io"
    definition = msgspec.json.decode(server.get(path), type=Definition)
    short = {"subnets": "subnet", "ips": "ip", "ippools": "ippool", "vpcs": "vpc", "security-groups": "sg"}[kind.plural]
    assert definition.spec["names"]["shortNames"] == [short]
    assert definition.spec["scope"] == "Cluster"
    (version,) = definition.spec["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1", True, True)
    schema = version["schema"]["openAPIV3Schema"]
    fields = dict(walk(schema, kind.name))
    assert len(fields) > 10
    assert {path: text for path, text in fields.items() if len(text) < 25 or not text.endswith((".", ":"))} == {}
    for rule in rules(schema):
        assert rule.get("message") or rule.get("messageExpression"), rule


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
async def test_every_text_of_a_spec_is_bounded(server: KubeApiserver, kind: Resource[Any]) -> None:
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind.plural}.kubeovn.io"
    definition = msgspec.json.decode(server.get(path), type=Definition)
    spec = definition.spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    found = dict(texts(spec, "spec"))
    assert len(found) > 2
    assert [
        path for path, text in found.items() if not {"maxLength", "pattern"} <= text.keys() and "enum" not in text
    ] == []


def texts(schema: Spec, path: str) -> Iterator[tuple[str, Spec]]:
    """The schema of each text, by path."""
    if schema.get("type") == "string":
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from texts(inner, f"{path}.{name}")
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from texts(inner, f"{path}[]")


async def test_annotations_and_schemas_refuse_the_same_characters(client: Client) -> None:
    for character in "\0\x01\t\n\x1f ~\x7f\x80\x9f\u00a0\u00adé\u200d\u2027\u2028\u2029\u202e\ufeff\ufffd😀":
        taken = True
        try:
            check_text(character, "provider")
        except ValueError:
            taken = False
        value = manifest(SUBNETS, {**SUBNET, "provider": character})
        if taken:
            await client.request("POST", SUBNETS.path(), body=value)
        else:
            assert "spec.provider in body should match" in await refusal(client, SUBNETS, value)


def walk(schema: Spec, path: str) -> Iterator[tuple[str, str]]:
    """Each field's description, by path."""
    if "description" in schema or not path.endswith("[]"):
        yield path, schema.get("description", "")
    for name, inner in schema.get("properties", {}).items():
        if path.count(".") or name not in ("apiVersion", "kind", "metadata"):
            yield from walk(inner, f"{path}.{name}")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")


def rules(schema: Spec) -> Iterator[Spec]:
    yield from schema.get("x-kubernetes-validations", ())
    for inner in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        yield from rules(inner)


READINGS = {
    names.CIDR: {
        "10.61.6.0/24, fd61:6::/112": "",
        "10.61.6.0/255.255.255.0": "",
        "FD61:6::/112": "",
        "fd61:0006:0::/112": "",
        "10.61.6.1/24": "has host bits set",
        "10.61.6.0": "is too small",
        "::ffff:10.61.6.0/120": "is IPv4 in the form of IPv6",
        "fd61::%eth0/112": "is not a CIDR",
        "10.61.6.0/24,10.61.7.0/24": "two entries of the same IP family",
    },
    names.GATEWAY: {
        " 10.61.6.254 ": "",
        "10.61.6.254/24": "is not an IP address",
        "10.61.7.1": "is not a host address",
        "fe80::1%eth0": "is not an IP address",
    },
    names.EXCLUDE_IPS: {
        "10.61.6.2 .. 10.61.6.9 , 10.61.6.20": "",
        "10.61.6.5..": "",
        "10.61.6.5..10.61.6.5": "",
        "..10.61.6.5": "is neither an address nor a range",
        "10.61.6.9..10.61.6.2": "is not a range",
        "10.61.6.2..fd61::9": "is not a range",
        "10.61.6.0/30": "is neither an address nor a range",
        "fe80::1%eth0": "is neither an address nor a range",
        "::ffff:10.61.6.2": "is neither an address nor a range",
        ",".join(["10.61.6.2"] * 1001): "has 1001 entries; 1000 are the most",
    },
    names.ALLOW: {
        "192.0.2.1": "",
        "192.0.2.0/24 , FD00::/8": "",
        "192.0.2.0/255.255.255.0": "",
        "192.0.2.1/24": "has host bits set",
        "shop": "is not a CIDR",
    },
    names.LOGICAL_SWITCH: {
        "with_underscore": "is no name of an object",
        "UPPER": "is no name of an object",
        "a" * 254: "is no name",
    },
    names.GATEWAY_TYPE: {"both": "it must be distributed or centralized"},
    names.PRIVATE: {"yes": "must be true or false"},
}
"""Annotations of a Namespace: texts, and the sentence on each that cannot be read."""


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, texts in READINGS.items() for text in texts])
async def test_what_annotations_say_is_understood_alike_by_the_api_server(client: Client, key: str, text: str) -> None:
    name, problem = f"wish-{next(_numbers)}", READINGS[key][text]
    annotations = {names.LOGICAL_SWITCH: name, names.CIDR: "10.61.6.0/24", key: text}
    wish = parse_wish(Namespace(metadata=ObjectMeta(name=name, uid="u", annotations=annotations)), {})
    found = wish_problem(wish)
    if problem:
        assert problem in (found or "")
        return
    assert found is None
    written = await client.create(SUBNETS, "", manifest(SUBNETS, wished_spec(wish, [name]), name))
    assert written.spec.cidr_block == wish.shape[names.CIDR]
