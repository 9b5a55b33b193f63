"""Kubernetes objects, only the fields that this project reads. Nouns only; `k8s.decode` makes them from bytes.

Objects that are only read have no resourceVersion here. Two of them are equal when no field that is read differs, so a
Store can keep the old one and everything memoised on it. `gc=False`: objects made from JSON cannot form a cycle, and
the garbage collector need not walk through thousands of them.
"""

from typing import Protocol

import msgspec

from kube_ovn.model import names


class OwnerReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    kind: str
    api_version: str = ""
    name: str
    uid: str
    controller: bool = False


class ObjectMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    name: str
    uid: str
    namespace: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    generation: int = 0
    finalizers: tuple[str, ...] = ()
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()


class VersionedMeta(ObjectMeta, frozen=True, kw_only=True, rename="camel", gc=False):
    """Metadata of an object with a status that the controller writes, and only to the version that it was
    decided for.
    """

    resource_version: str = ""


class Object(Protocol):
    """Anything with metadata: what a Store can hold."""

    @property
    def metadata(self) -> ObjectMeta: ...


class ContainerPort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    container_port: int
    name: str = ""
    protocol: str = "TCP"


class Container(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    ports: tuple[ContainerPort, ...] = ()


class PodSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    node_name: str = ""
    host_network: bool = False
    containers: tuple[Container, ...] = ()


class PodIP(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    ip: str = ""


class PodStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    phase: str = ""
    pod_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="podIPs")
    """The addresses that the kubelet was told when the Pod was connected."""


class Pod(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def stateful_set(self) -> OwnerReference | None:
        """The reference to the StatefulSet that made the Pod, as far as the Pod itself shows: a StatefulSet of apps/v1
        that is the Pod's controller and gave it its name. Whether this StatefulSet exists, the Pod does not show.
        """
        parent, _ = names.split_ordinal(self.metadata.name) or ("", 0)
        for each in self.metadata.owner_references:
            if (each.api_version, each.kind, each.name) == ("apps/v1", names.STATEFULSET, parent) and each.controller:
                return each
        return None


class NodeAddress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    type: str
    address: str


class NodeCondition(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`status.conditions[]` of a Node, without the heartbeat, so that a heartbeat is no change."""

    type: str
    status: str


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[NodeCondition, ...] = ()


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    unschedulable: bool = False


class Node(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class Namespace(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    metadata: ObjectMeta


class ServicePort(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    port: int
    name: str = ""
    protocol: str = "TCP"
    node_port: int = 0


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    type: str = "ClusterIP"
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    """One for each IP family; only `None` for a headless Service."""
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    external_name: str = ""
    ports: tuple[ServicePort, ...] = ()
    session_affinity: str = "None"
    internal_traffic_policy: str = "Cluster"
    external_traffic_policy: str = "Cluster"
    load_balancer_source_ranges: tuple[str, ...] = ()
    health_check_node_port: int = 0


class LoadBalancerIngress(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    ip: str = ""
    ip_mode: str = "VIP"
    """`Proxy`: the cloud's load balancer must see the packets, also those of Pods (KEP-1860)."""


class LoadBalancerStatus(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    metadata: ObjectMeta
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class ServiceCIDRSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    cidrs: tuple[str, ...] = ()
    """One for each IP family at most."""


class ServiceCIDR(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """CIDRs of which the API server gives Services their own addresses (KEP-1880)."""

    metadata: ObjectMeta
    spec: ServiceCIDRSpec = ServiceCIDRSpec()


class EndpointConditions(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The conditions of an endpoint. `ready` counts as true when it is not set (discovery/v1)."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    name: str


class Hints(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The zones and nodes of the clients that an endpoint is for (KEP-2433, KEP-3015)."""

    for_zones: tuple[Hint, ...] = ()
    for_nodes: tuple[Hint, ...] = ()


class TargetRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The object behind an endpoint, if there is one."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    addresses: tuple[str, ...]
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    node_name: str | None = None
    hints: Hints | None = None
    target_ref: TargetRef | None = None


class EndpointPort(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class EndpointSlice(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Endpoints of one Service and one IP family. The label `names.SERVICE_OF_SLICE` names the Service."""

    metadata: ObjectMeta
    address_type: str = ""
    endpoints: tuple[Endpoint, ...] | None = ()
    ports: tuple[EndpointPort, ...] | None = ()
