"""The inputs of the graph: a collection for each kind of Kubernetes object, and the foreign rows of the database.

To have the controller follow another kind, add it to `Inputs`. An object of the whole cluster is keyed by its name, an
object in a Namespace by `Name`. A Pod is keyed by the name of its IP object, because records, holders and ports are
looked up by that name.
"""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from kube_ovn.derive import Collection, Graph
from kube_ovn.model import names
from kube_ovn.model.admin_policy import (
    AdminName,
    AdminNetworkPolicy,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
)
from kube_ovn.model.crd import IP, IPPool, StatefulSet, Subnet, Vpc
from kube_ovn.model.kube import EndpointSlice, Namespace, Node, Object, ObjectMeta, Pod, Service, ServiceCIDR
from kube_ovn.model.nb import AddressSet, ChassisTemplateVar, Dns, LoadBalancer, LoadBalancerHealthCheck
from kube_ovn.model.network import Kind, ObjectRef
from kube_ovn.model.policy import Enforced, NetworkPolicy
from kube_ovn.model.resource import (
    ADMIN_POLICIES,
    BASELINE_POLICIES,
    CLUSTER_POLICIES,
    ENDPOINT_SLICES,
    IPPOOLS,
    IPS,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    SECURITY_GROUPS,
    SERVICE_CIDRS,
    SERVICES,
    STATEFULSETS,
    SUBNETS,
    VPCS,
    Resource,
)
from kube_ovn.model.row import RowKey
from kube_ovn.model.security import SecurityGroup

T = TypeVar("T", bound=Object)
_OF_SERVICES = frozenset({each.TABLE for each in (LoadBalancer, LoadBalancerHealthCheck, ChassisTemplateVar, Dns)})
ONE = "one"
STANDING = "standing"


class Name(NamedTuple):
    """The name of an object in a Namespace."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Input(Generic[T]):
    """A kind of object that is followed, and the collection that holds its objects."""

    resource: Resource[T]
    collection: Collection[Any, T]
    key: Callable[[str, str], Any]
    """Makes the key of an object from its Namespace and name."""
    early: bool
    """Whether objects of this kind are read before the fabric stands: the first subnets are made from them."""
    tables: AbstractSet[str] | None
    """For a kind that may be missing, the tables with rows made of its objects; None for a kind without which nothing
    is decided.
    """


class Inputs:
    """All inputs. `feed` takes in the objects of a kind."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.kinds: list[Input[Any]] = []
        self.subnets: Collection[str, Subnet] = self._follow(SUBNETS, early=True)
        self.vpcs: Collection[str, Vpc] = self._follow(VPCS, early=True, optional=frozenset())
        self.pools: Collection[str, IPPool] = self._follow(IPPOOLS, optional={AddressSet.TABLE})
        self.namespaces: Collection[str, Namespace] = self._follow(NAMESPACES)
        self.nodes: Collection[str, Node] = self._follow(NODES)
        self.ips: Collection[str, IP] = self._follow(IPS)
        self.sets: Collection[Name, StatefulSet] = self._follow(STATEFULSETS, optional=frozenset())
        self.pods: Collection[str, Pod] = self._follow(PODS, record_name)
        self.services: Collection[Name, Service] = self._follow(SERVICES, optional=_OF_SERVICES)
        self.slices: Collection[Name, EndpointSlice] = self._follow(ENDPOINT_SLICES, optional=_OF_SERVICES)
        self.cidrs: Collection[str, ServiceCIDR] = self._follow(SERVICE_CIDRS, optional=frozenset())
        self.enforced: Collection[str, Enforced] = graph.collection("enforced policies", str, Enforced)
        """How far policies are enforced, by UID, as far as the nodes have said."""
        self.policies: Collection[Name, NetworkPolicy] = self._follow(NETWORK_POLICIES)
        self.groups: Collection[str, SecurityGroup] = self._follow(SECURITY_GROUPS)
        self.admin: Collection[AdminName, AdminNetworkPolicy] = self._follow(
            ADMIN_POLICIES, _of(Kind.ADMIN_POLICY), optional=frozenset()
        )
        self.baseline: Collection[AdminName, BaselineAdminNetworkPolicy] = self._follow(
            BASELINE_POLICIES, _of(Kind.BASELINE_POLICY), optional=frozenset()
        )
        self.cluster: Collection[AdminName, ClusterNetworkPolicy] = self._follow(
            CLUSTER_POLICIES, _of(Kind.CLUSTER_POLICY), optional=frozenset()
        )
        self.foreign: Collection[RowKey, bool] = graph.collection("foreign rows", RowKey, bool)
        """Rows in the Northbound database that kube-ovn does not own. Their names cannot be used."""
        self.refused: Collection[ObjectRef, str] = graph.collection("refused by the database", ObjectRef, str)
        """The objects that have rows which the Northbound database refuses, each with the database's own words."""
        self.unwritten: Collection[str, str] = graph.collection("refused by the API server", str, str)
        """The objects that the API server does not let the controller write, by the identity in `WriteKey`, each with
        the server's own words.
        """
        self.unknown: Collection[str, bool] = graph.collection("unknown kinds", str, bool)
        """Kinds, by name, that could never be listed: their objects are unknown, which does not mean that there are
        none.
        """
        self.absent: Collection[str, bool] = graph.collection("absent kinds", str, bool)
        """Those of the unknown kinds that the API server does not have: there are no objects of them."""
        self.standing: Collection[str, bool] = graph.collection("standing", str, bool)
        """Holds the one key `STANDING` from the moment the initial subnets, from which nodes and Pods get addresses,
        are in effect. Before that nothing is known of addresses, and the Northbound database stays as it is.
        """
        self.one: Collection[str, bool] = graph.collection("one", str, bool)
        """Holds the one key `ONE`: the source of every derivation with a single cell."""
        self.one.put(ONE, True)
        self._seen: set[str] = set()
        self._foreign: AbstractSet[RowKey] = frozenset()

    def _follow(
        self,
        resource: Resource[T],
        key: Callable[[str, str], Any] | None = None,
        *,
        early: bool = False,
        optional: AbstractSet[str] | None = None,
    ) -> Any:
        """Follow a kind. `optional`: as `Input.tables`."""
        default = Name if resource.namespaced else _name
        collection: Collection[Any, T] = self._graph.collection(resource.plural, str, resource.type)
        self.kinds.append(Input(resource, collection, key or default, early, optional))
        return collection

    def feed(
        self,
        kind: Input[T],
        changed: Iterable[tuple[str, str]] | None,
        find: Callable[[str, str], T | None],
        everything: Callable[[], Iterable[T]],
    ) -> None:
        """Take over the changes of a kind. `changed`: Namespaces and names; None when any object may have changed.
        `find`: looks up one object; `everything`: all objects.
        """
        if changed is None:
            there = {kind.key(item.metadata.namespace, item.metadata.name): item for item in everything()}
            for item in there.values():
                self._see(kind.resource, item.metadata)
            kind.collection.replace(there)
            return
        for namespace, name in changed:
            key, found = kind.key(namespace, name), find(namespace, name)
            if found is None:
                self._see_name(kind.resource, name)  # a write that makes it is wanted again
                kind.collection.drop(key)
            else:
                self._see(kind.resource, found.metadata)
                kind.collection.put(key, found)

    def _see(self, resource: Resource[Any], meta: ObjectMeta) -> None:
        self._seen.add(meta.uid)
        self._see_name(resource, meta.name)

    def _see_name(self, resource: Resource[Any], name: str) -> None:
        if not resource.namespaced:
            self._seen.add(f"{resource.name} {name}")

    def take_seen(self) -> set[str]:
        """The identities, as in `WriteKey`, of the objects that changed since the last call, whichever client changed
        them.
        """
        seen, self._seen = self._seen, set()
        return seen

    def feed_foreign(self, rows: AbstractSet[RowKey]) -> None:
        """Set the foreign rows: those in the database that kube-ovn does not own. The same set as before costs nothing;
        a replica keeps its set as long as no foreign row comes or goes.
        """
        if rows is not self._foreign:
            self._foreign = rows
            self.foreign.replace(dict.fromkeys(rows, True))

    def feed_refused(self, refused: Mapping[ObjectRef, str]) -> None:
        """Set the objects that have rows which the database refuses now, each with the database's words."""
        self.refused.replace(refused)


def record_name(namespace: str, name: str) -> str:
    """The name of the IP object of a Pod."""
    return names.ip_object(names.pod_port(name, namespace))


def _of(kind: Kind) -> Callable[[str, str], AdminName]:
    return lambda namespace, name: AdminName(kind, name)


def _name(namespace: str, name: str) -> str:
    return name


_KINDS = Inputs(Graph()).kinds
FOLLOWED: tuple[Resource[Any], ...] = tuple(kind.resource for kind in _KINDS)
"""The kinds of objects that the controller follows."""
OPTIONAL: Mapping[str, AbstractSet[str]] = {
    kind.resource.name: kind.tables for kind in _KINDS if kind.tables is not None
}
"""The kinds that may be missing, by name, each with the tables that have rows made of its objects."""
