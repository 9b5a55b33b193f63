"""The objects that histories make: of every kind, with few names and few addresses, so that they meet."""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from kube_ovn.model import names
from kube_ovn.model.addr import parse_networks
from kube_ovn.model.admin_policy import AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy
from kube_ovn.model.crd import LabelSelector, Vpc
from kube_ovn.model.kube import Object, ServicePort, VersionedMeta
from kube_ovn.model.policy import IngressRule, IPBlock, PolicyPeer, PolicyPort
from kube_ovn.model.row import RowKey
from kube_ovn.model.security import SecurityGroupRule
from tests.small_clusters import (
    fabric,
    gateway,
    namespace,
    node,
    pod,
    policy,
    pool,
    reservation,
    security_group,
    service,
    service_cidr,
    slice_of,
    stateful_set,
    subnet,
    wide_policy,
)

AGES = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z")
WEB = stateful_set("web", 2)
POOLED = {names.IP_POOL: "10.16.0.2;10.16.0.3"}
BLUE = {"matchLabels": {"team": "blue"}}
CHECKED = {names.HEALTH_CHECK: "true"}

FROM_DB = SecurityGroupRule(
    ip_version="ipv4",
    protocol="all",
    priority=1,
    policy="allow",
    remote_type="securityGroup",
    remote_security_group="db",
)


def identity(item: Object) -> str:
    """The kind, Namespace and name of an object, which later objects may share."""
    meta = item.metadata
    name = f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
    return f"{type(item).__name__} {name}"


_THINGS: tuple[Object, ...] = (
    pod("a"),
    pod("b", annotations={names.IP_ADDRESS: "10.16.0.3"}),
    pod("a", namespace="third"),
    pod("node-a", "node2"),
    pod("a", namespace="default-ovn-cluster"),
    pod("web-0", parent=WEB),
    pod("web-1", annotations=POOLED, parent=WEB),
    pod("web-2", annotations=POOLED, parent=WEB),
    pod("c", annotations={names.IP_POOL: "few"}),
    pod("d", annotations={names.LOGICAL_SWITCH: "blue"}),
    pod("e", annotations={names.LOGICAL_SWITCH: "blue", names.IP_ADDRESS: "10.20.0.3"}),
    pod("f", annotations={names.LOGICAL_SWITCH: "blue", names.MAC_ADDRESS: "0a:00:00:00:00:07"}),
    pod("own", namespace="other"),
    pod("own", namespace="rival", annotations={names.IP_ADDRESS: "10.30.0.3"}),
    pod("host", host_network=True),
    pod("grouped", annotations={names.SECURITY_GROUPS: "web"}),
    pod("guarded", "node2", annotations={names.SECURITY_GROUPS: "db,web"}),
    gateway("node1", 1, egress="true"),
    gateway("node2", 2, ready=False),
    node("a.default", 3),
    namespace("default"),
    namespace("third", {"team": "blue"}),
    namespace("default-ovn-cluster"),
    namespace("other", None, **{names.LOGICAL_SWITCH: "own", names.CIDR: "10.30.0.0/29"}),
    namespace("fourth", None, **{names.LOGICAL_SWITCH: "mine", names.CIDR: "10.30.0.64/28"}),
    namespace("rival", None, **{names.LOGICAL_SWITCH: "own", names.CIDR: "10.30.0.0/28", names.IP_POOL: "more"}),
    subnet("blue", "10.20.0.0/29", namespaces=("third",)),
    subnet("a.default", "10.21.0.0/29", namespace_selectors=(LabelSelector(match_labels={"team": "blue"}),)),
    subnet("out", "10.20.0.0/28", gateway_type="centralized", gateway_node="node2,node1", private=True),
    subnet("dual", "10.22.0.0/29,fd00:22::/125", enable_dhcp=True, enable_ipv6_ra=True),
    reservation("a.default", "ovn-default", "10.16.0.4"),
    reservation("d.default", "blue", "10.20.0.3"),
    reservation("kept", "blue", "10.20.0.2", "0a:00:00:00:00:07"),
    reservation("checks-blue", "blue", "10.20.0.4"),
    reservation("node-node1", "join", "100.64.0.4"),
    reservation("node-a.default", "ovn-default", "10.16.0.4"),
    pool("few", "ovn-default", "10.16.0.4..10.16.0.5"),
    pool("more", "blue", "10.20.0.2", namespaces=("third",)),
    Vpc(metadata=VersionedMeta(name="other", uid="")),
    WEB,
    service_cidr("kubernetes", "10.96.0.0/12", "fd00:10:96::/112"),
    service_cidr("extra", "10.20.0.0/24"),
    service("web", "10.96.0.20", internal_traffic_policy="Local"),
    service("out", "10.96.0.21", external_ips=("192.0.2.1", "10.20.0.3")),
    service("dns", "10.96.0.10", ports=(ServicePort(port=53, protocol="UDP"),)),
    service("checked", "10.96.0.22", annotations=CHECKED),
    slice_of("web", "10.16.0.2", "10.16.0.3", nodes=("node1", "node2"), zones=("east", "west")),
    slice_of("checked", "10.16.0.2", pods=("a",)),
    slice_of("checked", "10.20.0.2", uid="slice-checked-too", pods=("web-0",)),
    slice_of("kubernetes", "192.0.2.1", port=80),
    policy("deny", policy_types=("Ingress", "Egress")),
    policy(
        "few",
        pod_selector=LabelSelector(match_labels={"team": "blue"}),
        ingress=(
            IngressRule(
                peers=(
                    PolicyPeer(namespace_selector=LabelSelector()),
                    PolicyPeer(ip_block=IPBlock(cidr="192.0.2.0/24")),
                ),
                ports=(PolicyPort(port="http"), PolicyPort(port=80)),
            ),
        ),
    ),
    security_group("web", allow_same_group_traffic=True, ingress_rules=(FROM_DB,)),
    security_group("db", tier=1, egress_rules=(FROM_DB, msgspec.structs.replace(FROM_DB, policy="drop"))),
    wide_policy(
        AdminNetworkPolicy,
        "first",
        priority=0,
        subject={"namespaces": {}},
        ingress=[{"action": "Deny", "from": [{"namespaces": BLUE}], "ports": [{"namedPort": "http"}]}],
        egress=[{"action": "Allow", "to": [{"pods": {"namespaceSelector": {}, "podSelector": BLUE}}, {"nodes": {}}]}],
    ),
    wide_policy(
        ClusterNetworkPolicy,
        "second",
        tier="Admin",
        priority=0,
        subject={"pods": {"namespaceSelector": {}, "podSelector": BLUE}},
        egress=[{"action": "Pass", "to": [{"nodes": BLUE}]}, {"action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]}],
    ),
    wide_policy(
        BaselineAdminNetworkPolicy,
        "default",
        subject={"namespaces": BLUE},
        ingress=[{"action": "Deny", "from": [{"namespaces": {}}]}],
    ),
)
TEMPLATES = {identity(item): item for item in _THINGS}
FOREIGN = (
    RowKey("Logical_Switch_Port", "a.default"),
    RowKey("Logical_Switch_Port", "node-node1"),
    RowKey("Logical_Switch_Port", "blue-ovn-cluster"),
    RowKey("Logical_Switch_Port", "a.default-ovn-cluster"),
    RowKey("Port_Group", "node.node2"),
)
FABRICS = {
    "small": fabric("10.16.0.0/29", "100.64.0.0/29", trusts_tenants=True),
    "dual": fabric("10.16.0.0/29,fd00:16::/125", "100.64.0.0/29,fd00:64::/125", trusts_tenants=True),
    "tenants": replace(
        fabric("10.16.0.0/29", "100.64.0.0/29"), namespace_ranges=parse_networks("10.30.0.0/24"), namespace_subnets=1
    ),
}

_ALWAYS = ("Namespace default", "Namespace third", "Node node1")
STANDING: Mapping[str, tuple[str, ...]] = {
    "nothing": (),
    "pods": (*_ALWAYS, "StatefulSet default/web", "Pod default/a", "Pod default/web-0", "Pod default/web-1"),
    "names": (*_ALWAYS, "Namespace default-ovn-cluster", "Pod default-ovn-cluster/a", "Pod default/node-a"),
    "subnets": (*_ALWAYS, "Subnet blue", "Subnet out", "IPPool few", "IPPool more", "IP kept", "Pod default/c"),
    "waiting": (*_ALWAYS, "Subnet blue", "IP kept", "IP d.default", *(f"Pod default/{name}" for name in "adef")),
    "services": (
        *_ALWAYS,
        "Pod default/a",
        "Subnet blue",
        "StatefulSet default/web",
        "Pod default/web-0",
        "Service default/web",
        "Service default/checked",
        "EndpointSlice default/slice-uid-web",
        "EndpointSlice default/slice-uid-checked",
    ),
    "everything": tuple(
        name for name in TEMPLATES if name not in ("Subnet out", "IP a.default", "IP checks-blue", "IP node-a.default")
    ),
}
"""Clusters that exist and have nothing left to write when a history begins."""
