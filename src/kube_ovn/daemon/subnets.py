"""The Subnets as this node sees them, and whether anything about them changed that it has to do something about.

Their status changes with every Pod of the cluster; of that nothing is heard outside this module.
"""

from collections.abc import Callable

import structlog

from kube_ovn.daemon.known import replace
from kube_ovn.host.subnet import NodeSubnet, parse_subnet
from kube_ovn.k8s.watch import Store
from kube_ovn.model.crd import Subnet

log = structlog.get_logger()


class Subnets:
    """Subnets in effect. `store` is kept up to date by who made this."""

    def __init__(self, join: str, node: str, on_change: Callable[[], None]) -> None:
        self.store: Store[Subnet] = Store(self._look)
        self._join, self._own_name, self._on_change = join, node, on_change
        self._effective: dict[str, NodeSubnet] = {}  # by UID
        self._known = False

    @property
    def effective(self) -> tuple[NodeSubnet, ...] | None:
        """All in effect but the join subnet, by name; None until the first full list."""
        if not self._known:
            return None
        return tuple(sorted(self._effective.values(), key=lambda subnet: subnet.name))

    def mtu(self, name: str) -> int:
        """What the Subnet of this name wants for its Pods; 0 when it wants nothing or is not there."""
        subnet = self.store.named("", name)
        return subnet.spec.mtu if subnet else 0

    def _look(self) -> None:
        changed = self.store.take_changed()
        uids = {*self.store.objects, *self._effective} if changed is None else changed
        # Of each, not of the first: what one pass of the loop leaves out nobody would find.
        told = [replace(self._effective, uid, self._parse(uid)) for uid in uids]
        if any(told) or self._known != self.store.synced.is_set():
            self._known = self.store.synced.is_set()
            self._on_change()

    def _parse(self, uid: str) -> NodeSubnet | None:
        subnet = self.store.objects.get(uid)
        try:
            return parse_subnet(subnet, self._join, self._own_name) if subnet else None
        except ValueError as error:
            log.error("the Subnet's status is wrong; what this node has for it stays", error=str(error))
            return self._effective.get(uid)
