"""The API server of histories: that of `tests.small_clusters`, with edits of users and the schemas that refuse some."""

from typing import Any

import msgspec

from kube_ovn.model import names
from kube_ovn.model.crd import IP, IPPool, Subnet
from kube_ovn.model.kube import Object, Pod, PodIP, VersionedMeta
from tests.histories.fields import Edit
from tests.small_clusters import Api

_SET_ONCE = ("ip_address", "v4_ip_address", "v6_ip_address", "mac_address", "gateway", "owner_uid")


def permitted(before: Object, after: Object) -> bool:
    """Whether the schemas of our resources let an object become another (`charts/kube-ovn/templates/crd-*.yaml`)."""
    if isinstance(before, IP) and isinstance(after, IP):
        old, new = before.spec, after.spec
        kept = all(getattr(old, name) in ("", getattr(new, name)) for name in _SET_ONCE)
        listed = set(filter(None, new.ip_address.split(",")))
        by_family = {":" in text: text for text in listed}
        families = (
            (False, old.v4_ip_address, new.v4_ip_address),
            (True, old.v6_ip_address, new.v6_ip_address),
        )
        agree = all(
            not now or (by_family.get(six, now) == now and (six in by_family or now == was or not old.ip_address))
            for six, was, now in families
        )
        return old.subnet == new.subnet and kept and agree and "nonsense" not in listed
    if isinstance(before, IPPool) and isinstance(after, IPPool):
        return before.spec.subnet == after.spec.subnet
    if isinstance(before, Subnet) and isinstance(after, Subnet):
        return before.spec.vpc == after.spec.vpc or (before.spec.vpc, after.spec.vpc) == ("", "ovn-cluster")
    return True


class Server(Api):
    """An API server that also looks at schemas, and removes what nothing holds any more."""

    def count_from(self, number: int) -> None:
        """Versions and UIDs of what is made from now on are new."""
        self._made = self._version = number

    def _set(self, item: Object) -> None:
        before = self.objects.get(item.metadata.uid)
        if before is None or permitted(before, item):
            super()._set(item)

    def edit(self, item: Object, edit: Edit) -> None:
        after = edit.apply(item)
        if after == item:
            return
        if isinstance(item.metadata, VersionedMeta) and edit.path[0] == "spec":
            meta = msgspec.structs.replace(after.metadata, generation=item.metadata.generation + 1)
            after = msgspec.structs.replace(after, metadata=meta)  # type: ignore[type-var]
        self._set(after)
        if after.metadata.deletion_timestamp and not after.metadata.finalizers:
            del self.objects[item.metadata.uid]

    def connect(self, pod: Pod) -> None:
        """As a node does with a Pod that was told its addresses: the kubelet reports them."""
        told = pod.metadata.annotations[names.IP_ADDRESS].split(",")
        status = msgspec.structs.replace(pod.status, pod_ips=tuple(PodIP(ip=each) for each in told))
        self._set(msgspec.structs.replace(pod, status=status))

    def of(self, kind: type[Any]) -> list[Object]:
        return [item for item in self.objects.values() if isinstance(item, kind)]


def called(item: Object, uid: str, age: str) -> Object:
    meta = msgspec.structs.replace(item.metadata, uid=uid, creation_timestamp=age, deletion_timestamp=None)
    return msgspec.structs.replace(item, metadata=meta)  # type: ignore[type-var]
