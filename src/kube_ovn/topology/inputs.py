"""The inputs of the graph: a collection for each kind of Kubernetes object, and the rows of others.

A kind of object is added to the controller here: the process follows each kind that `Inputs.kinds` lists. An object of
the whole cluster is keyed by its name, others by `Name`. A Pod is keyed by the name of its IP object, because records,
holders and ports are looked up by that name.
"""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from kube_ovn.derive import Collection, Graph
from kube_ovn.model import names
from kube_ovn.model.crd import IP, IPPool, StatefulSet, Subnet, Vpc
from kube_ovn.model.kube import EndpointSlice, Namespace, Node, Object, ObjectMeta, Pod, Service
from kube_ovn.model.network import ObjectRef
from kube_ovn.model.resource import (
    ENDPOINT_SLICES,
    IPPOOLS,
    IPS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    STATEFULSETS,
    SUBNETS,
    VPCS,
    Resource,
)
from kube_ovn.model.row import RowKey

T = TypeVar("T", bound=Object)
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
    """A kind of object: where it is followed, and the collection that holds the objects there are."""

    resource: Resource[T]
    collection: Collection[Any, T]
    key: Callable[[str, str], Any]
    """The key of an object from its Namespace and name."""
    early: bool
    """Whether it is looked at before the fabric stands: what the first subnets are made from."""


class Inputs:
    """All inputs. `feed` is how the objects of a kind get in."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.kinds: list[Input[Any]] = []
        self.subnets: Collection[str, Subnet] = self._follow(SUBNETS, early=True)
        self.vpcs: Collection[str, Vpc] = self._follow(VPCS, early=True)
        self.pools: Collection[str, IPPool] = self._follow(IPPOOLS)
        self.namespaces: Collection[str, Namespace] = self._follow(NAMESPACES)
        self.nodes: Collection[str, Node] = self._follow(NODES)
        self.ips: Collection[str, IP] = self._follow(IPS)
        self.sets: Collection[Name, StatefulSet] = self._follow(STATEFULSETS)
        self.pods: Collection[str, Pod] = self._follow(PODS, record_name)
        self.services: Collection[Name, Service] = self._follow(SERVICES)
        self.slices: Collection[Name, EndpointSlice] = self._follow(ENDPOINT_SLICES)
        self.foreign: Collection[RowKey, bool] = graph.collection("foreign rows", RowKey, bool)
        """Rows of others in the Northbound database: their names cannot be had."""
        self.refused: Collection[ObjectRef, str] = graph.collection("refused by the database", ObjectRef, str)
        """Objects whose rows the Northbound database does not take, and its words."""
        self.standing: Collection[str, bool] = graph.collection("standing", str, bool)
        """One key, `STANDING`, since the subnets that nodes and Pods fall to are in effect. Before that nothing is
        known of addresses, and the Northbound database stays as it is.
        """
        self.one: Collection[str, bool] = graph.collection("one", str, bool)
        """One key, `ONE`: the source of what there is one of."""
        self.one.put(ONE, True)
        self._seen: set[str] = set()

    def _follow(
        self, resource: Resource[T], key: Callable[[str, str], Any] | None = None, *, early: bool = False
    ) -> Any:
        default = Name if resource.namespaced else _name
        collection: Collection[Any, T] = self._graph.collection(resource.plural, str, resource.type)
        self.kinds.append(Input(resource, collection, key or default, early))
        return collection

    def feed(
        self,
        kind: Input[T],
        changed: Iterable[tuple[str, str]] | None,
        find: Callable[[str, str], T | None],
        everything: Callable[[], Iterable[T]],
    ) -> None:
        """Take over what changed of a kind: Namespaces and names; None when anything may have."""
        if changed is None:
            there = {kind.key(item.metadata.namespace, item.metadata.name): item for item in everything()}
            for item in there.values():
                self._see(kind.resource, item.metadata)
            kind.collection.replace(there)
            return
        for namespace, name in changed:
            key, found = kind.key(namespace, name), find(namespace, name)
            if found is None:
                kind.collection.drop(key)
            else:
                self._see(kind.resource, found.metadata)
                kind.collection.put(key, found)

    def _see(self, resource: Resource[Any], meta: ObjectMeta) -> None:
        self._seen.add(meta.uid)
        if not resource.namespaced:
            self._seen.add(f"{resource.name} {meta.name}")

    def take_seen(self) -> set[str]:
        """The identities, as in `WriteKey`, of objects that were written by anyone since the last call."""
        seen, self._seen = self._seen, set()
        return seen

    def feed_foreign(self, rows: AbstractSet[RowKey]) -> None:
        """These are the rows of others now."""
        self.foreign.replace(dict.fromkeys(rows, True))

    def feed_refused(self, refused: Mapping[ObjectRef, str]) -> None:
        """These are the objects whose rows the database does not take now."""
        self.refused.replace(refused)


def record_name(namespace: str, name: str) -> str:
    """The name of the IP object of a Pod."""
    return names.ip_object(names.pod_port(name, namespace))


def _name(namespace: str, name: str) -> str:
    return name


FOLLOWED: tuple[Resource[Any], ...] = tuple(kind.resource for kind in Inputs(Graph()).kinds)
"""The kinds of objects that the controller follows."""
