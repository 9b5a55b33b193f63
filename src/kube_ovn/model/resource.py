"""The kinds of Kubernetes objects that are read: how each is addressed, and the struct that holds it. Nouns only."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from kube_ovn.model.admin_policy import AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy
from kube_ovn.model.crd import IP, IPPool, StatefulSet, Subnet, Vpc
from kube_ovn.model.kube import EndpointSlice, Namespace, Node, Object, Pod, Service, ServiceCIDR
from kube_ovn.model.policy import NetworkPolicy
from kube_ovn.model.security import SecurityGroup

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[T_co]):
    """One kind of object: how it is addressed, and how it is read."""

    name: str
    version: str
    """`v1` or `<group>/<version>`."""
    plural: str
    type: type[T_co]
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of one object, or of the collection (of all Namespaces when none is given)."""
        root = "/api" if "/" not in self.version else "/apis"
        parts = [root, self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)

    @property
    def group_path(self) -> str:
        """The URL path under which a server lists the kinds of the group and version."""
        return self.path().removesuffix(f"/{self.plural}")


PODS = Resource(name="Pod", version="v1", plural="pods", type=Pod)
NODES = Resource(name="Node", version="v1", plural="nodes", type=Node, namespaced=False)
NAMESPACES = Resource(name="Namespace", version="v1", plural="namespaces", type=Namespace, namespaced=False)
STATEFULSETS = Resource(name="StatefulSet", version="apps/v1", plural="statefulsets", type=StatefulSet)
SERVICES = Resource(name="Service", version="v1", plural="services", type=Service)
ENDPOINT_SLICES = Resource(
    name="EndpointSlice", version="discovery.k8s.io/v1", plural="endpointslices", type=EndpointSlice
)
SERVICE_CIDRS = Resource(
    name="ServiceCIDR", version="networking.k8s.io/v1", plural="servicecidrs", type=ServiceCIDR, namespaced=False
)
NETWORK_POLICIES = Resource(
    name="NetworkPolicy", version="networking.k8s.io/v1", plural="networkpolicies", type=NetworkPolicy
)
ADMIN_POLICIES = Resource(
    name="AdminNetworkPolicy",
    version="policy.networking.k8s.io/v1alpha1",
    plural="adminnetworkpolicies",
    type=AdminNetworkPolicy,
    namespaced=False,
)
BASELINE_POLICIES = Resource(
    name="BaselineAdminNetworkPolicy",
    version="policy.networking.k8s.io/v1alpha1",
    plural="baselineadminnetworkpolicies",
    type=BaselineAdminNetworkPolicy,
    namespaced=False,
)
CLUSTER_POLICIES = Resource(
    name="ClusterNetworkPolicy",
    version="policy.networking.k8s.io/v1alpha2",
    plural="clusternetworkpolicies",
    type=ClusterNetworkPolicy,
    namespaced=False,
)
SUBNETS = Resource(name="Subnet", version="kubeovn.io/v1", plural="subnets", type=Subnet, namespaced=False)
IPS = Resource(name="IP", version="kubeovn.io/v1", plural="ips", type=IP, namespaced=False)
IPPOOLS = Resource(name="IPPool", version="kubeovn.io/v1", plural="ippools", type=IPPool, namespaced=False)
VPCS = Resource(name="Vpc", version="kubeovn.io/v1", plural="vpcs", type=Vpc, namespaced=False)
SECURITY_GROUPS = Resource(
    name="SecurityGroup", version="kubeovn.io/v1", plural="security-groups", type=SecurityGroup, namespaced=False
)

RESOURCES: tuple[Resource[Object], ...] = (
    PODS,
    NODES,
    NAMESPACES,
    STATEFULSETS,
    SERVICES,
    ENDPOINT_SLICES,
    SERVICE_CIDRS,
    NETWORK_POLICIES,
    ADMIN_POLICIES,
    BASELINE_POLICIES,
    CLUSTER_POLICIES,
    SUBNETS,
    IPS,
    IPPOOLS,
    VPCS,
    SECURITY_GROUPS,
)
"""All of the above. Which of them the controller follows is decided in `topology.inputs`."""
