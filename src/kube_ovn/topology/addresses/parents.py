"""The StatefulSets of Pods: which of them are believed.

A Pod names its StatefulSet (`Pod.stateful_set`), and a Pod that is made by hand may name any. So a StatefulSet counts
only when it exists: in the Namespace of the Pod, with the name and UID of the reference. A Pod without such a
StatefulSet is given no address that was kept for another Pod, and none is kept after it.

The watches of Pods and StatefulSets may race. Nothing that a Pod was granted depends on which of the two was seen
first: the key of its owner stays the same when its StatefulSet comes into sight, and when it goes.
"""

from dataclasses import dataclass

from kube_ovn.derive import Collection, Read
from kube_ovn.model import names
from kube_ovn.model.crd import IP, StatefulSet
from kube_ovn.model.kube import Pod
from kube_ovn.model.resource import STATEFULSETS
from kube_ovn.topology.inputs import Name


@dataclass(frozen=True, slots=True)
class Parents:
    """Shows which StatefulSets exist."""

    sets: Collection[Name, StatefulSet]
    unknown: Collection[str, bool]
    """The kinds, by name, that could never be listed."""

    def of(self, read: Read, pod: Pod) -> StatefulSet | None:
        """The StatefulSet of a Pod; None when it has none, or names one that does not exist."""
        owner = pod.stateful_set
        return None if owner is None else self._find(read, Name(pod.metadata.namespace, owner.name), owner.uid)

    def may_be_of(self, read: Read, pod: Pod) -> bool:
        """Whether a Pod has a StatefulSet, or may have: while StatefulSets cannot be listed, any of them may exist."""
        if pod.stateful_set is None:
            return False
        return self.of(read, pod) is not None or read.get(self.unknown, STATEFULSETS.name) is True

    def has_place(self, read: Read, ip: IP) -> bool:
        """Whether the StatefulSet of an IP object exists, and has a place for the object's Pod."""
        parent, number = names.split_ordinal(ip.spec.pod_name) or ("", 0)
        found = self._find(read, Name(ip.spec.namespace, parent), ip.spec.owner_uid)
        return found is not None and 0 <= number - found.spec.ordinals.start < found.spec.replicas

    def _find(self, read: Read, name: Name, uid: str) -> StatefulSet | None:
        found = read.get(self.sets, name)
        return found if found is not None and found.metadata.uid == uid else None
