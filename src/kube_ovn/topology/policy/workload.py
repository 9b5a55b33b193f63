"""The workload of a Pod: the object that users know it by. Pure."""

from typing import NamedTuple

from kube_ovn.model.kube import Pod

_HASH = "pod-template-hash"
"""Label of the Pods of a Deployment: the end of the name of their ReplicaSet."""


class Workload(NamedTuple):
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def workload(pod: Pod) -> Workload:
    """The controller of a Pod; for a ReplicaSet of a Deployment this Deployment; else the Pod itself. The controller of
    a static Pod is its node, which is no workload.
    """
    meta = pod.metadata
    for owner in meta.owner_references:
        if not owner.controller or owner.kind == "Node":
            continue
        end = f"-{meta.labels.get(_HASH, '')}"
        if owner.kind == "ReplicaSet" and len(end) > 1 and owner.name.endswith(end):
            return Workload("Deployment", meta.namespace, owner.name.removesuffix(end))
        return Workload(owner.kind, meta.namespace, owner.name)
    return Workload("Pod", meta.namespace, meta.name)
