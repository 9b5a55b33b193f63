"""Annotations that nothing reads, on Pods, Namespaces, Nodes, Services and NetworkPolicies: their users are told. No
row and no address depends on it.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TypeVar

from kube_ovn.derive import Graph, Read, Source
from kube_ovn.model import names
from kube_ovn.model.annotations import READ, fault_of
from kube_ovn.model.kube import Object
from kube_ovn.model.network import Kind, ObjectRef, Told
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.outputs import Outputs

K = TypeVar("K")
T = TypeVar("T", bound=Object)

MOST_TOLD = 8
"""Annotations that one message names. A user may write thousands, and to find what was meant by one takes time."""


def define(graph: Graph, inputs: Inputs, outputs: Outputs) -> None:
    """Derive what users are told of annotations that nothing reads."""
    _define_kind(graph, outputs, Kind.POD, inputs.pods)
    _define_kind(graph, outputs, Kind.NAMESPACE, inputs.namespaces)
    _define_kind(graph, outputs, Kind.NODE, inputs.nodes)
    _define_kind(graph, outputs, Kind.SERVICE, inputs.services)
    _define_kind(graph, outputs, Kind.NETWORK_POLICY, inputs.policies)


def _define_kind(graph: Graph, outputs: Outputs, kind: Kind, objects: Source[K, T]) -> None:
    """Derive the messages on one kind of object. A message is worked out once for all objects with the same annotations
    that are not read, such as the Pods of a Deployment.
    """

    def odd(key: K, item: T) -> Mapping[tuple[str, ...], bool]:
        found = item.metadata.annotations.keys() - READ[kind]
        return {tuple(sorted(found)): True} if found else {}

    def message(read: Read, odd: tuple[str, ...], members: Mapping[K, bool]) -> str | None:
        return describe(kind, odd) or None

    def tell(read: Read, key: K, item: T) -> Told | None:
        found = [text for each in odd(key, item) if (text := read.get(messages, each))]
        return _told(kind, item, *found) if found else None

    alike = graph.split(f"{kind}s by odd annotations", objects, odd)
    messages = graph.derive(f"messages on {kind}s' annotations", alike, message)
    outputs.telling.follow(graph.derive(f"told of {kind}s' annotations", objects, tell))


def _told(kind: Kind, item: Object, message: str) -> Told:
    meta = item.metadata
    ref = ObjectRef(kind=kind, namespace=meta.namespace, name=meta.name, uid=meta.uid)
    return Told(object=ref, reason=names.ANNOTATION_IGNORED, message=message)


def describe(kind: Kind, odd: Iterable[str]) -> str:
    """The message on annotations of one object; empty when there is nothing to tell."""
    faults = (fault for name in odd if (fault := fault_of(kind, name)))
    found = list(islice(faults, MOST_TOLD + 1))
    more = ["and more"] if len(found) > MOST_TOLD else []
    return "; ".join([*found[:MOST_TOLD], *more])
