"""The cluster's nodes as this one sees them: itself, and the addresses of all."""

from collections.abc import Callable

from kube_ovn.daemon.known import replace
from kube_ovn.host.node import node_addresses
from kube_ovn.k8s.watch import Store
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import Node


class Nodes:
    """`store` is kept up to date by who made this."""

    def __init__(self, name: str, on_own_change: Callable[[], None], on_addresses: Callable[[], None]) -> None:
        self.store: Store[Node] = Store(self._look)
        self._name, self._on_own_change, self._on_addresses = name, on_own_change, on_addresses
        self._addresses: dict[str, frozenset[Address]] = {}  # by UID
        self._known = False

    @property
    def own(self) -> Node | None:
        return self.store.named("", self._name)

    @property
    def addresses(self) -> frozenset[Address] | None:
        """Of all nodes; None until they are known."""
        return frozenset[Address]().union(*self._addresses.values()) if self._known else None

    def _look(self) -> None:
        changed, own = self.store.take_changed(), self.own
        uids = {*self.store.objects, *self._addresses} if changed is None else changed
        told = [replace(self._addresses, uid, self._addresses_of(uid)) for uid in uids]
        if any(told) or self._known != self.store.synced.is_set():
            self._known = self.store.synced.is_set()
            self._on_addresses()
        if changed is None or own is None or own.metadata.uid in changed:
            self._on_own_change()

    def _addresses_of(self, uid: str) -> frozenset[Address] | None:
        node = self.store.objects.get(uid)
        return frozenset(node_addresses(node) if node else ()) or None
