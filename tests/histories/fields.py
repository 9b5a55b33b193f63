"""Edits of objects in place: which fields objects have, found in the structs of `model`, and values to try in them.

A field that is new in a struct is edited from then on, with values by its type. `TEXTS` has better values for fields
with a meaning that matters: few names and few addresses, so that objects meet.
"""

import functools
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from kube_ovn.model import names
from kube_ovn.model.admin_policy import AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy
from kube_ovn.model.crd import IP, IPPool, LabelSelector, SelectorRequirement, StatefulSet, Subnet, Vpc
from kube_ovn.model.kube import EndpointSlice, Namespace, Node, Object, ObjectMeta, Pod, Service, ServiceCIDR
from kube_ovn.model.policy import NetworkPolicy
from kube_ovn.model.security import SecurityGroup

EDITED: tuple[type[Any], ...] = (
    Pod,
    Node,
    Namespace,
    Subnet,
    IP,
    IPPool,
    Vpc,
    StatefulSet,
    Service,
    EndpointSlice,
    ServiceCIDR,
    NetworkPolicy,
    SecurityGroup,
    AdminNetworkPolicy,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
)
FIXED = {"name", "uid", "namespace", "creation_timestamp", "deletion_timestamp", "generation", "resource_version"}
"""Fields of metadata that no edit changes: they identify the object, or are the API server's."""

NODES = ("", "node1", "node2", "a.default", "unknown")
SPACES = ("default", "third", "default-ovn-cluster")
SUBNETS = ("ovn-default", "blue", "a.default", "join", "missing")
CIDRS = (
    "",
    "10.20.0.0/29",
    "10.20.0.0/28",
    "10.20.0.0/30",
    "10.30.0.0/29",
    "10.16.0.0/30",
    "10.20.0.0/29,fd00:20::/125",
)
ADDRESSES = ("", "10.16.0.2", "10.16.0.3", "10.20.0.2", "10.20.0.3", "fd00:16::2", "nonsense")
LISTS = ("10.16.0.2;10.16.0.3", "10.16.0.3,10.16.0.4", "10.20.0.2;10.20.0.3")
MACS = ("", "0a:00:00:00:00:07", "0a:00:00:00:00:08", "01:00:00:00:00:01")
UIDS = ("", "Pod default/a #0", "Pod default/web-0 #0", "StatefulSet default/web #0", "StatefulSet default/web #1")
FLAGS = ("true", "false", "yes")
POOLS = ("few", "more", "few,more")
SELECTORS = (
    LabelSelector(),
    LabelSelector(match_labels={"team": "blue"}),
    LabelSelector(match_expressions=(SelectorRequirement(key="team", operator="Near"),)),
    None,
)
LABELS: dict[str, tuple[str, ...]] = {
    "team": ("blue", "red"),
    names.ZONE: ("east", "west"),
    names.PERMIT_SPOOFING: ("true", "false"),
    names.GATEWAY_FOR_NAMESPACES: ("true",),
    names.SERVICE_OF_SLICE: ("web", "near", "checked"),
}

TEXTS: dict[str, tuple[object, ...]] = {
    "node_name": NODES,
    "phase": ("Pending", "Running", "Succeeded", "Failed"),
    "OwnerReference.kind": ("StatefulSet", "ReplicaSet"),
    "OwnerReference.name": ("web", "other"),
    "OwnerReference.api_version": ("apps/v1", "apps.example.com/v1"),
    "OwnerReference.controller": (True, False),
    "OwnerReference.uid": UIDS[3:],
    "api_version": ("", "apps/v1", "example.com/v1"),
    "owner_uid": UIDS,
    "pod_type": ("", names.STATEFULSET, names.NODE_TYPE, names.CHECKS_TYPE),
    "pod_name": ("", "a", "web-0", "node1", "blue"),
    "IPSpec.namespace": SPACES,
    "finalizers": ((), (names.FINALIZER,), ("example.com/other", names.FINALIZER)),
    "NodeAddress.type": ("InternalIP", "ExternalIP", "Hostname"),
    "NodeAddress.address": ("172.30.0.11", "172.30.0.12", "10.20.0.2", "10.16.0.2", "fd00:20::2", "nonsense"),
    "NodeCondition.type": ("Ready",),
    "NodeCondition.status": ("True", "False", "Unknown"),
    "cidr_block": CIDRS,
    "SubnetSpec.gateway": ("", "10.20.0.1", "10.20.0.3", "10.16.0.1"),
    "SubnetStatus.gateway": ("", "10.20.0.1", "10.20.0.3"),
    "IPSpec.gateway": ("", "10.16.0.1", "10.16.0.3"),
    "exclude_ips": (
        (),
        ("10.20.0.2..10.20.0.4",),
        ("10.16.0.2",),
        ("10.20.0.3", "nonsense"),
        ("10.16.0.2..10.16.0.6",),
    ),
    "provider": ("", "ovn", "net1.default.ovn"),
    "vpc": ("", "ovn-cluster", "other"),
    "vlan": ("", "vlan7"),
    "protocol": ("TCP", "UDP", "SCTP"),
    "SubnetSpec.protocol": ("", "IPv4", "Dual"),
    "namespaces": ((), ("third",), ("default",), ("third", "default")),
    "allow_subnets": ((), ("10.16.0.0/29",), ("nonsense",)),
    "gateway_type": ("", "distributed", "centralized"),
    "gateway_node": ("", "node1", "node2,node1", "unknown", "node1:", "node1:172.30.0.11"),
    "external_egress_gateway": ("", "192.0.2.1"),
    "src_ips": ("", "10.20.0.0/29", "nonsense"),
    "dst_ips": ("", "192.0.2.0/24"),
    "NatRule.action": ("nat", "forward", "other"),
    "SubnetAcl.direction": ("from-lport", "to-lport"),
    "SubnetAcl.action": ("allow", "drop"),
    "SubnetAcl.match": ("ip", "tcp"),
    "dhcp_v4_options": ("", "dns_server={192.0.2.1}", "nonsense"),
    "dhcp_v6_options": ("", "dns_server=fd00::1", "nonsense"),
    "ipv6_ra_configs": ("", "address_mode=slaac", "nonsense"),
    "policy_routing_priority": (0, 1000),
    "policy_routing_table_id": (0, 254, 1001),
    "mtu": (0, 1300),
    "subnet": SUBNETS,
    "ip_address": ADDRESSES,
    "v4_ip_address": ("", "10.16.0.2", "10.16.0.3", "10.20.0.3"),
    "v6_ip_address": ("", "fd00:16::2", "fd00:16::3"),
    "mac_address": MACS,
    "ips": (
        (),
        ("10.16.0.3",),
        ("10.16.0.2..10.16.0.4",),
        ("10.20.0.2", "10.20.0.3"),
        ("10.20.0.0/30",),
        ("nonsense",),
    ),
    "cidrs": (
        ("10.97.0.0/16",),
        ("10.20.0.0/28", "fd00:97::/112"),
        ("10.30.0.0/24",),
        ("172.30.0.0/24",),
        ("192.0.2.0/24",),
        ("10.112.0.0/16", "nonsense"),
        (),
    ),
    "replicas": (0, 1, 2, 3),
    "start": (0, 1, 2),
    "ServiceSpec.type": ("ClusterIP", "LoadBalancer", "ExternalName"),
    "cluster_ips": (("10.96.0.20",), ("10.96.0.21", "fd00:10:96::21"), ("10.96.0.10",), ("None",), ()),
    "external_ips": (
        (),
        ("192.0.2.1",),
        ("10.20.0.3", "192.0.2.1"),
        ("172.30.0.11", "172.30.0.12"),
        ("127.0.0.1", "192.0.2.1"),
        ("nonsense",),
    ),
    "LoadBalancerIngress.ip": ("192.0.2.1", "192.0.2.2", "172.30.0.11", "127.0.0.1"),
    "ip_mode": ("VIP", "Proxy"),
    "port": (53, 80, 8080),
    "PolicyPort.port": (None, 53, 80, "http"),
    "end_port": (None, 81, 9000),
    "SecurityGroupSpec.tier": (0, 1, 2),
    "ip_version": ("ipv4", "ipv6", "IPv4"),
    "SecurityGroupRule.protocol": ("all", "tcp", "udp", "icmp", "sctp"),
    "SecurityGroupRule.priority": (1, 2, 16384, 0),
    "SecurityGroupRule.policy": ("allow", "drop", "pass", "other"),
    "remote_type": ("address", "securityGroup", ""),
    "remote_address": ("0.0.0.0/0", "10.16.0.0/30", "fd00:16::/126", "nonsense"),
    "remote_security_group": ("web", "db", "missing", ""),
    "port_range_min": (0, 53, 80),
    "port_range_max": (0, 53, 9000),
    "local_address": ("", "10.16.0.2", "nonsense"),
    "source_port_range_min": (0, 1024),
    "source_port_range_max": (0, 2048),
    "policy_types": ((), ("Ingress",), ("Egress",), ("Ingress", "Egress"), ("Other",)),
    "cidr": ("10.16.0.0/30", "192.0.2.0/24", "fd00:16::/126", "nonsense"),
    "excepted": ((), ("10.16.0.2/32",), ("nonsense",)),
    "tier": ("Admin", "Baseline", "Other"),
    "Subject.namespaces": SELECTORS,
    "AdminPeer.namespaces": SELECTORS,
    "AdminSpec.priority": (0, 1, 2000),
    "AdminIngressRule.action": ("Deny", "Allow", "Accept", "Pass", "Other"),
    "AdminEgressRule.action": ("Deny", "Allow", "Accept", "Pass", "Other"),
    "AdminIngressRule.name": ("",),
    "AdminEgressRule.name": ("",),
    "networks": (None, ("10.16.0.0/30",), ("192.0.2.0/24", "fd00:16::/126"), ("nonsense",)),
    "domain_names": (None, ("example.com",)),
    "named_port": (None, "http"),
    "destination_named_port": (None, "http"),
    "ContainerPort.name": ("", "http"),
    "container_port": (80, 8080),
    "ServicePort.name": ("", "http"),
    "EndpointPort.name": ("", "http", None),
    "session_affinity": ("None", "ClientIP"),
    "internal_traffic_policy": ("Cluster", "Local"),
    "external_traffic_policy": ("Cluster", "Local"),
    "load_balancer_source_ranges": ((), ("192.0.2.0/24",), ("nonsense",)),
    "address_type": ("IPv4", "IPv6"),
    "Endpoint.addresses": (
        ("192.0.2.1",),
        ("127.0.0.1",),
        ("10.16.0.2",),
        ("10.16.0.3",),
        ("10.20.0.2",),
        ("10.20.0.3",),
        ("fd00:16::2",),
    ),
    "hostname": (None, "web-0"),
    "Hint.name": ("east", "west", "node1"),
    "PodIP.ip": ("10.16.0.2", "10.16.0.3", "fd00:16::2", "nonsense"),
    "TargetRef.kind": ("Pod", "Node"),
    "TargetRef.namespace": SPACES,
    "TargetRef.name": ("a", "b", "web-0"),
    "SelectorRequirement.key": ("team",),
    "operator": ("In", "NotIn", "Exists", "DoesNotExist"),
    "SelectorRequirement.values": (("blue",), ("red",)),
    "Condition.type": ("Ready", "Validated", names.GATEWAY_CONDITION),
    "Condition.status": ("True", "False"),
    "activate_gateway": ("", "node1", "node2"),
}
ANY_TEXT = ("", "a", "blue", "node1", "10.16.0.2", "10.20.0.0/29", "nonsense")

ANNOTATIONS: dict[str, tuple[str, ...]] = {
    names.ALLOCATED: ("true", "false"),
    names.IP_ADDRESS: (*ADDRESSES, "10.16.0.3,fd00:16::3"),
    names.MAC_ADDRESS: MACS,
    names.CIDR: CIDRS,
    names.GATEWAY: ("10.20.0.1", "10.20.0.3", "10.16.0.1"),
    names.EXCLUDE_IPS: ("10.20.0.2", "10.20.0.2..10.20.0.4"),
    names.LOGICAL_SWITCH: (*SUBNETS, "own", "blue,ovn-default"),
    names.PRIVATE: FLAGS,
    names.ALLOW: ("10.16.0.0/29", "nonsense"),
    names.GATEWAY_TYPE: ("distributed", "centralized", "other"),
    names.GATEWAY_NODE: NODES,
    names.NAT_OUTGOING: FLAGS,
    names.IP_POOL: (*POOLS, *LISTS),
    names.IP_FAMILY: ("ipv4", "ipv6", "other"),
    names.PORT_SECURITY: FLAGS,
    names.PORT_VIPS: ("10.16.0.6", "nonsense"),
    names.SECURITY_GROUPS: ("web", "db, web", "web,missing", ","),
    names.DHCP_V4_OPTIONS: ("router=10.16.0.6", "nonsense"),
    names.ROUTES: (
        '[{"gw":"10.16.0.9"}]',
        '[{"dst":"10.0.0.0/8","gw":"10.20.0.3"}]',
        '[{"gw":"fd00:16::9"}]',
        "nonsense",
    ),
    names.POD_NIC_TYPE: (names.VETH_PAIR, "dpdk-port"),
    names.ENABLE_LOG: FLAGS,
    names.LOG_ACTIONS: ("allow", "allow,drop", "nonsense"),
    names.LOG_RATE: ("7", "nonsense"),
    names.POLICY_MODE: ("audit", "audit", "Audit"),
    "ovn.kubernetes.io/ip_adress": ("10.16.0.2",),
    names.WRITTEN_BACK: ("{}", '{"ovn.kubernetes.io/logical_switch":"blue"}', "nonsense"),
    names.NETWORKS: ('{"10.20.0.0/24":"docker0"}', '{"10.30.0.1/32":"resolver"}', "nonsense"),
    names.CHASSIS: ("", "chassis-node1", "chassis-node2"),
    names.HEALTH_CHECK: FLAGS,
    names.AFFINITY_TIMEOUT: ("60", "nonsense"),
}


def is_annotation(text: object) -> bool:
    return isinstance(text, str) and text.startswith("ovn.kubernetes.io/") and text != "ovn.kubernetes.io/"


ALL_ANNOTATIONS = sorted({*ANNOTATIONS, *(text for text in vars(names).values() if is_annotation(text))})
"""Every key of an annotation that this project reads or writes, and one that is misspelt."""
ALL_LABELS = sorted(
    {
        *LABELS,
        names.MADE_BY_NAMESPACE,
        names.SERVICE_PROXY_NAME,
        names.SERVICE_HEADLESS,
        names.IP_SUBNET,
        names.IP_NODE,
        names.IP_RESERVED,
    }
)


@dataclass(frozen=True, slots=True)
class Edit:
    """One field of one object of a kind gets another value. In a map one entry does, or goes (None)."""

    kind: type[Any]
    number: int
    """Which of the objects of its kind, counted round."""
    path: tuple[str, ...]
    value: Any
    entry: str = ""

    def __repr__(self) -> str:
        entry = f", {self.entry!r}" if self.entry else ""
        return f"Edit({self.kind.__name__}, {self.number}, {self.path}, {self.value!r}{entry})"

    def apply(self, item: Object) -> Object:
        """The object with that field changed."""
        return _changed(item, self.path, self)  # type: ignore[no-any-return]

    def back(self, item: Object) -> "Edit":
        """The edit that makes the field what it is in an object."""
        value: Any = functools.reduce(getattr, self.path, item)
        return replace(self, value=value.get(self.entry) if self.entry else value)


def _changed(struct: Any, path: tuple[str, ...], edit: Edit) -> Any:
    name, rest = path[0], path[1:]
    before = getattr(struct, name)
    if rest:
        return msgspec.structs.replace(struct, **{name: _changed(before, rest, edit)})
    if not edit.entry:
        return msgspec.structs.replace(struct, **{name: edit.value})
    after = {key: value for key, value in before.items() if key != edit.entry}
    if edit.value is not None:
        after[edit.entry] = edit.value
    return msgspec.structs.replace(struct, **{name: after})


def paths(struct: type[Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """All fields of a struct and of the structs in it: path, name with its struct's, and type."""
    for name, kind in hints_of(struct).items():
        if issubclass(struct, ObjectMeta) and name in FIXED:
            continue
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from paths(kind, (*above, name))
        else:
            yield (*above, name), f"{struct.__name__}.{name}", kind


def variants(name: str, kind: Any) -> tuple[Any, ...]:
    """The values to try in a field, the plainest first. `name`: that of the struct, and of the field."""
    known = TEXTS.get(name) or TEXTS.get(name.partition(".")[2])
    if known is not None:
        return known
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return tuple(each for some in args for each in variants(name, some))
    if origin is tuple:
        some = variants(name, args[0])
        return ((), *((each,) for each in some), *((some[0], each) for each in some[1:4]))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return tuple(_structs(kind))
    simple: dict[Any, tuple[Any, ...]] = {
        str: ANY_TEXT,
        bool: (False, True),
        int: (0, 1, 2),
        float: (float(1 << 60),),
        type(None): (None,),
        dict: ({}, {"team": "blue"}),
    }
    return simple[origin or kind]


def _structs(kind: type[Any]) -> Iterator[Any]:
    """A plain one, and those that differ from it in one field."""
    fields = {field: variants(f"{kind.__name__}.{field}", hint) for field, hint in hints_of(kind).items()}
    plain = kind(**{field: some[0] for field, some in fields.items()})
    yield plain
    for field, some in fields.items():
        yield from (msgspec.structs.replace(plain, **{field: each}) for each in some[1:])


def hints_of(kind: type[Any]) -> dict[str, Any]:
    return {field: hint for field, hint in get_type_hints(kind).items() if not field.startswith("__")}


READ: dict[type[Any], tuple[str, ...]] = {
    Pod: (
        names.IP_ADDRESS,
        names.MAC_ADDRESS,
        names.LOGICAL_SWITCH,
        names.IP_POOL,
        names.IP_FAMILY,
        names.PORT_SECURITY,
        names.PORT_VIPS,
        names.SECURITY_GROUPS,
        names.DHCP_V4_OPTIONS,
        names.ROUTES,
        names.ALLOCATED,
    ),
    Node: (names.NETWORKS, names.CHASSIS, names.IP_ADDRESS, names.MAC_ADDRESS),
    Namespace: (
        names.LOGICAL_SWITCH,
        names.CIDR,
        names.IP_POOL,
        names.EXCLUDE_IPS,
        names.GATEWAY,
        names.PRIVATE,
        names.WRITTEN_BACK,
    ),
    Service: (names.HEALTH_CHECK, names.AFFINITY_TIMEOUT),
}
"""Annotations that matter on objects of a kind are edited more often than the others."""


def _entries(path: tuple[str, ...], kind: type[Any]) -> Iterator[Edit]:
    """One entry of the annotations or labels gets another value, or goes."""
    known, keys = (LABELS, ALL_LABELS) if path[-1] == "labels" else (ANNOTATIONS, ALL_ANNOTATIONS)
    for key in keys:
        for value in (*known.get(key, ANY_TEXT), None):
            yield Edit(kind=kind, number=0, path=path, value=value, entry=key)


def edits_of(kind: type[Any]) -> dict[str, tuple[Edit, ...]]:
    """All edits of the first object of a kind, by the part of the object they change."""
    parts: dict[str, list[Edit]] = {}
    for path, name, hint in paths(kind):
        if path[-1] in ("annotations", "labels"):
            entries = tuple(_entries(path, kind))
            parts[path[-1]] = list(entries)
            if some := [each for each in entries if each.entry in READ.get(kind, ())]:
                parts["annotations that are read"] = some
        else:
            made = [Edit(kind=kind, number=0, path=path, value=value) for value in variants(name, hint)]
            parts.setdefault(path[0], []).extend(made)
    return {part: tuple(some) for part, some in parts.items()}


EDITS = {kind: edits_of(kind) for kind in EDITED}
NUMBERS = st.integers(0, 5)
_WEIGHTS = {"spec": 4, "annotations that are read": 4}


def _chosen(kind: type[Any]) -> st.SearchStrategy[Edit]:
    parts = EDITS[kind]
    return st.one_of(*(st.sampled_from(parts[part]) for part in parts for _ in range(_WEIGHTS.get(part, 1))))


edits = st.builds(
    lambda edit, number: replace(edit, number=number),
    st.one_of(*(_chosen(kind) for kind in EDITED)),
    NUMBERS,
)
