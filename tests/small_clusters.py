"""Small clusters as values, for tests of the pure core: objects, an API server without a server, and steps between
snapshots.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from ipaddress import ip_network
from itertools import zip_longest
from typing import Any, TypeVar

import msgspec

from kube_ovn.model import names
from kube_ovn.model.addr import parse_addresses, parse_networks
from kube_ovn.model.admin_policy import AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy
from kube_ovn.model.crd import (
    IP,
    IPPool,
    IPPoolSpec,
    IPSpec,
    Ordinals,
    StatefulSet,
    StatefulSetSpec,
    Subnet,
    SubnetSpec,
    Vpc,
)
from kube_ovn.model.kube import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Hint,
    Hints,
    Namespace,
    Node,
    NodeAddress,
    NodeCondition,
    NodeSpec,
    NodeStatus,
    Object,
    ObjectMeta,
    OwnerReference,
    Pod,
    PodIP,
    PodSpec,
    PodStatus,
    Service,
    ServiceCIDR,
    ServiceCIDRSpec,
    ServicePort,
    ServiceSpec,
    TargetRef,
    VersionedMeta,
)
from kube_ovn.model.network import Kind
from kube_ovn.model.policy import NetworkPolicy, NetworkPolicySpec
from kube_ovn.model.resource import Resource
from kube_ovn.model.row import RowKey
from kube_ovn.model.security import SecurityGroup, SecurityGroupSpec
from kube_ovn.model.writes import Annotate, Apply, ApplyStatus, Create, Delete, Let, Patch, Write
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.inputs import FOLLOWED

T = TypeVar("T", bound=Object)
W = TypeVar("W", AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy)
KINDS: Mapping[Kind, type[Any]] = {
    Kind.POD: Pod,
    Kind.NODE: Node,
    Kind.NAMESPACE: Namespace,
    Kind.SUBNET: Subnet,
    Kind.IP: IP,
    Kind.IPPOOL: IPPool,
    Kind.VPC: Vpc,
    Kind.NETWORK_POLICY: NetworkPolicy,
    Kind.SECURITY_GROUP: SecurityGroup,
    Kind.ADMIN_POLICY: AdminNetworkPolicy,
    Kind.BASELINE_POLICY: BaselineAdminNetworkPolicy,
    Kind.CLUSTER_POLICY: ClusterNetworkPolicy,
}


def fabric(
    cidr: str = "10.16.0.0/16",
    join: str = "100.64.0.0/16",
    exclude: tuple[str, ...] = (),
    *,
    trusts_tenants: bool = False,
    private: bool = False,
) -> Fabric:
    default = {"cidrBlock": cidr, "excludeIps": list(exclude), "natOutgoing": True, "default": True, "private": private}
    return Fabric(
        router="ovn-cluster",
        default="ovn-default",
        join="join",
        initial={"ovn-default": default, "join": {"cidrBlock": join}},
        services=parse_networks("10.96.0.0/12,fd00:10:96::/112"),
        domain="cluster.local",
        dns=parse_addresses("10.96.0.10,fd00:10:96::a"),
        trusts_tenants=trusts_tenants,
    )


def node(name: str, number: int, **annotations: str) -> Node:
    address = str(ip_network("172.30.0.0/24")[10 + number])
    return Node(
        metadata=ObjectMeta(name=name, uid=f"node-uid-{name}", annotations=annotations),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=address),)),
    )


def gateway(
    name: str, number: int, *, ready: bool = True, emptied: bool = False, ipv6: bool = False, **labels: str
) -> Node:
    """A node that is on the network; `emptied`: no Pod is to go there any more."""
    made = node(name, number, **{names.CHASSIS: f"chassis-{name}"})
    addresses = made.status.addresses
    if ipv6:
        addresses = (*addresses, NodeAddress(type="InternalIP", address=f"fd00:30::{10 + number}"))
    return Node(
        metadata=msgspec.structs.replace(made.metadata, labels=labels),
        spec=NodeSpec(unschedulable=emptied),
        status=NodeStatus(
            addresses=addresses, conditions=(NodeCondition(type="Ready", status="True" if ready else "Unknown"),)
        ),
    )


def pod(
    name: str,
    on: str = "node1",
    *,
    uid: str | None = None,
    namespace: str = "default",
    phase: str = "Pending",
    host_network: bool = False,
    annotations: dict[str, str] | None = None,
    reported: str = "",
    parent: StatefulSet | None = None,
) -> Pod:
    """`reported`: the addresses in the status, joined by commas."""
    owners = () if parent is None else (refer(parent),)
    meta = ObjectMeta(
        name=name,
        namespace=namespace,
        uid=uid or f"uid-{name}",
        annotations=annotations or {},
        owner_references=owners,
    )
    status = PodStatus(phase=phase, pod_ips=tuple(PodIP(ip=each) for each in reported.split(",") if each))
    return Pod(metadata=meta, spec=PodSpec(node_name=on, host_network=host_network), status=status)


def namespace(name: str, labels: dict[str, str] | None = None, /, **annotations: str) -> Namespace:
    meta = ObjectMeta(name=name, uid=f"namespace-uid-{name}", annotations=annotations, labels=labels or {})
    return Namespace(metadata=meta)


def subnet(name: str, cidr: str, *, age: str = "2026-01-01T00:00:00Z", uid: str = "", **spec: Any) -> Subnet:
    meta = VersionedMeta(name=name, uid=uid or f"subnet-uid-{name}", creation_timestamp=age, generation=1)
    return Subnet(metadata=meta, spec=SubnetSpec(cidr_block=cidr, **spec))


def pool(name: str, of: str, *ips: str, namespaces: tuple[str, ...] = ()) -> IPPool:
    meta = VersionedMeta(name=name, uid=f"pool-uid-{name}")
    return IPPool(metadata=meta, spec=IPPoolSpec(subnet=of, ips=ips, namespaces=namespaces))


def reservation(name: str, of: str, address: str, mac: str = "") -> IP:
    field = "v6_ip_address" if ":" in address else "v4_ip_address"
    spec = IPSpec(subnet=of, mac_address=mac, **{field: address})
    return IP(metadata=ObjectMeta(name=name, uid=f"ip-uid-{name}"), spec=spec)


def refer(parent: StatefulSet, uid: str = "") -> OwnerReference:
    """The reference to a StatefulSet that Kubernetes writes into its Pods. `uid`: that of another StatefulSet."""
    meta = parent.metadata
    return OwnerReference(
        api_version="apps/v1", kind="StatefulSet", name=meta.name, uid=uid or meta.uid, controller=True
    )


def stateful_set(name: str, replicas: int, start: int = 0, *, namespace: str = "default") -> StatefulSet:
    meta = ObjectMeta(name=name, namespace=namespace, uid=f"sts-uid-{name}")
    return StatefulSet(metadata=meta, spec=StatefulSetSpec(replicas=replicas, ordinals=Ordinals(start=start)))


def service(name: str, *addresses: str, namespace: str = "default", uid: str = "", **spec: Any) -> Service:
    """A Service; by default with port 80 alone."""
    annotations = spec.pop("annotations", {})
    meta = ObjectMeta(name=name, namespace=namespace, uid=uid or f"service-uid-{name}", annotations=annotations)
    ports = spec.pop("ports", (ServicePort(port=80),))
    return Service(metadata=meta, spec=ServiceSpec(cluster_ips=addresses, ports=ports, **spec))


def service_cidr(name: str, *cidrs: str, age: str = "") -> ServiceCIDR:
    meta = ObjectMeta(name=name, uid=f"cidr-uid-{name}", creation_timestamp=age)
    return ServiceCIDR(metadata=meta, spec=ServiceCIDRSpec(cidrs=cidrs))


def aged(item: Node, age: str) -> Node:
    """The Node with this creation timestamp."""
    return msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, creation_timestamp=age))


def policy(
    name: str, *, namespace: str = "default", annotations: dict[str, str] | None = None, **spec: Any
) -> NetworkPolicy:
    meta = ObjectMeta(name=name, namespace=namespace, uid=f"policy-uid-{name}", annotations=annotations or {})
    return NetworkPolicy(metadata=meta, spec=NetworkPolicySpec(**spec))


def security_group(name: str, *, uid: str = "", **spec: Any) -> SecurityGroup:
    meta = VersionedMeta(name=name, uid=uid or f"group-uid-{name}", generation=1)
    return SecurityGroup(metadata=meta, spec=SecurityGroupSpec(**spec))


def wide_policy(kind: type[W], name: str, **spec: Any) -> W:
    """A cluster-wide policy of a kind, with the fields of its spec as a user writes them."""
    uid = f"{kind.__name__}-uid-{name}"
    return msgspec.convert({"metadata": {"name": name, "uid": uid}, "spec": spec}, kind)


def slice_of(
    name: str,
    *addresses: str,
    namespace: str = "default",
    uid: str = "",
    port: int = 8080,
    nodes: Sequence[str | None] = (),
    hostnames: Sequence[str | None] = (),
    zones: Sequence[str] = (),
    protocol: str = "TCP",
    name_of_port: str = "",
    pods: Sequence[str] = (),
) -> EndpointSlice:
    """Ready endpoints of a Service, all of the first one's family; with nodes, hostnames, zones and Pods, if given."""
    made = uid or f"slice-uid-{name}"
    meta = ObjectMeta(name=made, namespace=namespace, uid=made, labels={names.SERVICE_OF_SLICE: name})
    return EndpointSlice(
        metadata=meta,
        address_type="IPv6" if ":" in addresses[0] else "IPv4",
        endpoints=tuple(
            Endpoint(
                addresses=(address,),
                node_name=on,
                hostname=hostname,
                hints=Hints(for_zones=(Hint(name=zone),)) if zone else None,
                target_ref=TargetRef(kind="Pod", namespace=namespace, name=pod) if pod else None,
            )
            for address, on, hostname, zone, pod in zip_longest(addresses, nodes, hostnames, zones, pods)
        ),
        ports=(EndpointPort(name=name_of_port, port=port, protocol=protocol),),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A cluster at one moment: objects by UID, and the rows of others in the Northbound database."""

    objects: Mapping[str, Object]
    changed: Set[tuple[str, str]] | None = None
    """Namespaces and names of objects that came, changed or left since the snapshot before; None when any may have."""
    foreign: Set[RowKey] = frozenset()
    unknown: Set[str] = frozenset()
    """Kinds, by name, that could not be listed."""
    absent: Set[str] = frozenset()
    """Those of them that the API server does not have."""


class Shown:
    """The objects of one kind in a snapshot, as a Store shows them."""

    def __init__(self, view: Snapshot, kind: Resource[Any]) -> None:
        self.objects = {uid: item for uid, item in view.objects.items() if isinstance(item, kind.type)}
        self._names = {(item.metadata.namespace, item.metadata.name): item for item in self.objects.values()}
        self._changed = view.changed
        if view.changed is not None:
            self._changed = {name for name in view.changed if bool(name[0]) == kind.namespaced}

    def named(self, namespace: str, name: str) -> Any:
        return self._names.get((namespace, name))

    def take_changed_names(self) -> Set[tuple[str, str]] | None:
        return self._changed


def snapshot(*objects: Object) -> Snapshot:
    return Snapshot(objects={item.metadata.uid: item for item in objects})


def show(topology: Topology, view: Snapshot) -> None:
    """Let a topology see a snapshot, and decide."""
    stores: dict[Resource[Any], Shown] = {kind: Shown(view, kind) for kind in FOLLOWED}
    topology.look(stores, view.foreign, view.unknown, absent=view.absent)
    restless = topology.settle()
    assert not restless, f"{restless} do not come to rest"


def granted(subnet: str, address: str, mac: str = "0a:00:00:00:00:07") -> dict[str, str]:
    """Annotations of an earlier grant, or of a user who imitates one."""
    return {
        names.ALLOCATED: "true",
        names.LOGICAL_SWITCH: subnet,
        names.IP_ADDRESS: address,
        names.MAC_ADDRESS: mac,
    }


def step(before: Snapshot, after: Snapshot) -> Snapshot:
    """The later of two snapshots, with what changed in between named, as a Store tells it."""
    older, newer = before.objects, after.objects
    changed = {
        (item.metadata.namespace, item.metadata.name)
        for uid in older.keys() | newer.keys()
        if older.get(uid) is not newer.get(uid)
        for item in (older.get(uid), newer.get(uid))
        if item is not None
    }
    return replace(after, changed=changed)


class Api:
    """The objects of a cluster, changed by writes: an API server's rules without the server.

    `tests/daemon/test_writes.py` compares it with a real one.
    """

    def __init__(self, *objects: Object) -> None:
        self.objects: dict[str, Object] = {}
        self._made = self._version = 0
        self.put(*objects)

    def snapshot(self) -> Snapshot:
        return snapshot(*self.objects.values())

    def put(self, *objects: Object) -> None:
        for item in objects:
            self._set(item)

    def _set(self, item: Object) -> None:
        """Put an object, with a new version if it changed."""
        meta = item.metadata
        if isinstance(meta, VersionedMeta):
            self._version += 1
            versioned = msgspec.structs.replace(meta, resource_version=str(self._version))
            item = msgspec.structs.replace(item, metadata=versioned)  # type: ignore[type-var]
        self.objects[meta.uid] = item

    def find(self, kind: type[T], name: str, namespace: str = "") -> T | None:
        for item in self.objects.values():
            if isinstance(item, kind) and (item.metadata.name, item.metadata.namespace) == (name, namespace):
                return item
        return None

    def get(self, kind: type[T], name: str, namespace: str = "") -> T:
        found = self.find(kind, name, namespace)
        assert found is not None, f"no {kind.__name__} {name}"
        return found

    def remove(self, uid: str) -> None:
        """A user deletes an object: it goes at once, unless a finalizer holds it."""
        item = self.objects.get(uid)
        if item is None:
            return
        if item.metadata.finalizers:
            self._meta(item, deletion_timestamp="2026-01-01T00:00:00Z")
        else:
            del self.objects[uid]

    def write(self, write: Write) -> bool:
        """Carry a write out; False when it is refused."""
        ref = write.object
        kind = KINDS[ref.kind]
        item = self.objects.get(ref.uid) if ref.uid else self.find(kind, ref.name, ref.namespace)
        match write:
            case Create():
                if item is not None:
                    return False
                self.make(kind, ref.name, write.body)
                return True
        if item is None:
            return False
        match write:
            case Annotate():
                annotations = {**item.metadata.annotations, **write.annotations}
                kept = {key: value for key, value in annotations.items() if value is not None}
                self._meta(item, annotations=kept)
            case Apply() | Patch():
                self._merge(item, write.body)
            case ApplyStatus():
                if isinstance(item.metadata, VersionedMeta) and item.metadata.resource_version != write.version:
                    return False
                body = {**write.status, "conditions": msgspec.to_builtins(write.conditions)}
                status = msgspec.convert(body, type(getattr(item, "status", None)))
                self._set(msgspec.structs.replace(item, status=status))  # type: ignore[type-var]
            case Let() | Delete():
                self._let(item, write.finalizer)
                if isinstance(write, Delete):
                    self.remove(ref.uid)
        return True

    def _let(self, item: Object, finalizer: str) -> None:
        left = tuple(each for each in item.metadata.finalizers if each != finalizer)
        if item.metadata.deletion_timestamp and not left:
            del self.objects[item.metadata.uid]
        else:
            self._meta(item, finalizers=left)

    def make(self, kind: type[Any], name: str, body: Mapping[str, object]) -> None:
        self._made += 1
        given = body.get("metadata", {})
        assert isinstance(given, Mapping)
        meta = {
            "uid": f"{kind.__name__}-{self._made}",
            "creationTimestamp": f"2026-01-02T{self._made // 3600:02}:{self._made // 60 % 60:02}:{self._made % 60:02}Z",
            "generation": 1,
            **given,
        }
        self._set(msgspec.convert({"metadata": meta, "spec": body.get("spec", {})}, kind))

    def _merge(self, item: Object, body: Mapping[str, object]) -> None:
        whole = msgspec.to_builtins(item)
        spec, given = body.get("spec", {}), body.get("metadata", {})
        assert isinstance(spec, Mapping)
        assert isinstance(given, Mapping)
        meta = {**whole["metadata"], **given, "labels": {**item.metadata.labels, **given.get("labels", {})}}
        if any(whole["spec"].get(key) != value for key, value in spec.items()):
            meta["generation"] = item.metadata.generation + 1
        merged = {**whole, "metadata": meta, "spec": {**whole["spec"], **spec}}
        self._set(msgspec.convert(merged, type(item)))

    def _meta(self, item: Object, **changes: Any) -> None:
        metadata = msgspec.structs.replace(item.metadata, **changes)
        self._set(msgspec.structs.replace(item, metadata=metadata))  # type: ignore[type-var]


def settle(topology: Topology, api: Api, before: Snapshot | None = None, rounds: int = 40) -> None:
    """Make passes, and carry every write out, until nothing is left to write; a last pass sees it. `before`: the
    snapshot that the topology saw last.
    """
    for _ in range(rounds):
        view = api.snapshot()
        show(topology, view if before is None else step(before, view))
        before = view
        writes = list(topology.writes.values())
        if not writes:
            return
        for write in writes:
            api.write(write)
    raise AssertionError(f"not settled after {rounds} passes: {list(topology.writes.values())[:3]}")


def settled(api: Api, of: Fabric | None = None) -> Topology:
    """The topology of a controller that has nothing left to write."""
    topology = Topology(of or fabric())
    settle(topology, api)
    return topology


def address(item: Object) -> str:
    return item.metadata.annotations[names.IP_ADDRESS]


class World:
    """A cluster and its controller, which has done all there is to do after each change."""

    def __init__(self, *objects: Object) -> None:
        self.api, self.topology = Api(namespace("default")), Topology(fabric())
        self.put(*objects)

    def put(self, *objects: Object) -> None:
        self.api.put(*objects)
        settle(self.topology, self.api)

    def cidr(self, name: str) -> str:
        """The CIDR in effect."""
        return self.api.get(Subnet, name).status.cidr_block

    def told(self, uid: str) -> str:
        problem = self.topology.problems.get(uid)
        return "" if problem is None else problem.message
