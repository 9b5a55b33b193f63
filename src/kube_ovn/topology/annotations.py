"""Annotations of Pods and Namespaces that nothing reads: their users are told. No row and no address depends on it."""

from itertools import islice

from kube_ovn.derive import Graph, Read
from kube_ovn.model import names
from kube_ovn.model.annotations import NAMESPACES_READ, PODS_READ, fault_of
from kube_ovn.model.kube import Namespace, Pod
from kube_ovn.model.network import Kind, Told
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.outputs import Outputs
from kube_ovn.topology.ports.pod import pod_ref
from kube_ovn.topology.subnets.namespace import namespace_ref

MOST_TOLD = 8
"""Annotations that one message names. A user may write thousands, and to find what was meant by one takes time."""


def define(graph: Graph, inputs: Inputs, outputs: Outputs) -> None:
    """Derive what the users of Pods and Namespaces are told of annotations that nothing reads."""

    def of_pod(read: Read, record: str, pod: Pod) -> Told | None:
        odd = pod.metadata.annotations.keys() - PODS_READ
        message = describe(Kind.POD, odd) if odd else ""
        return Told(object=pod_ref(pod), reason=names.ANNOTATION_IGNORED, message=message) if message else None

    def of_namespace(read: Read, name: str, namespace: Namespace) -> Told | None:
        odd = namespace.metadata.annotations.keys() - NAMESPACES_READ
        message = describe(Kind.NAMESPACE, odd) if odd else ""
        ref = namespace_ref(namespace)
        return Told(object=ref, reason=names.ANNOTATION_IGNORED, message=message) if message else None

    outputs.telling.follow(graph.derive("told of Pods' annotations", inputs.pods, of_pod))
    outputs.telling.follow(graph.derive("told of Namespaces' annotations", inputs.namespaces, of_namespace))


def describe(kind: Kind, odd: set[str]) -> str:
    """The message on annotations of one object; empty when there is nothing to tell."""
    faults = (fault for name in sorted(odd) if (fault := fault_of(kind, name)))
    found = list(islice(faults, MOST_TOLD + 1))
    more = ["and more"] if len(found) > MOST_TOLD else []
    return "; ".join([*found[:MOST_TOLD], *more])
