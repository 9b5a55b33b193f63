"""The Services as this node sees them, and whether anything about them changed that it has to do something about.

Every endpoint of the cluster is heard of here, and very few of them outside this module: those of Services among whose
endpoints the node chooses itself.
"""

from collections.abc import Callable, Iterable

from kube_ovn.daemon.known import replace
from kube_ovn.discovery.endpoints import endpoint_address, is_serving
from kube_ovn.host.dns import Directory
from kube_ovn.host.service import NodeService, Surroundings, chooses, has_fronts, parse_service
from kube_ovn.k8s.watch import Store
from kube_ovn.model import names
from kube_ovn.model.addr import is_within
from kube_ovn.model.kube import EndpointSlice, Service

_Name = tuple[str, str]
"""Namespace and name of a Service."""


class Services:
    """Services this node does something for. The two stores are kept up to date by who made this, and `look_around` is
    called when what is around them changed.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.store: Store[Service] = Store(self._look)
        self.slices: Store[EndpointSlice] = Store(self._look)
        self._on_change = on_change
        self._here: Surroundings | None = None
        self._effective: dict[str, NodeService] = {}  # by UID
        self._of: dict[_Name, set[str]] = {}  # the slices of each Service, by UID
        self._owner: dict[str, _Name] = {}  # whose each slice is
        self._foreign: set[str] = set()  # slices with an endpoint outside the fabric
        self._named: dict[str, _Name] = {}  # Services by UID, those that are gone until looked at
        self._directory: Directory | None = None
        self._known = False

    @property
    def effective(self) -> Iterable[NodeService] | None:
        """None until all is known."""
        return self._effective.values() if self._known else None

    def look_around(self, here: Surroundings) -> None:
        """Where the node is, and what the fabric's subnets are."""
        if here != self._here:
            self._here, self._known = here, False
            self._look()

    def keep(self, directory: Directory) -> None:
        """Have the names of all Services kept there."""
        self._directory, self._known = directory, False
        self._look()

    def _look(self) -> None:
        if self._here is None or not (self.store.synced.is_set() and self.slices.synced.is_set()):
            return
        services, slices = self.store.take_changed(), self.slices.take_changed()
        if not self._known or services is None or slices is None:
            services, slices = (
                {*self.store.objects, *self._effective, *self._named},
                {*self.slices.objects, *self._owner},
            )
        owners = {name for uid in slices for name in self._file(uid)}
        services |= {service.metadata.uid for name in owners if (service := self.store.named(*name)) is not None}
        if self._directory is not None:
            self._name(self._directory, owners, services)
        # Of each, not of the first: what one pass of the loop leaves out nobody would find.
        told = [replace(self._effective, uid, self._parse(uid)) for uid in services]
        if any(told) or not self._known:
            self._known = True
            self._on_change()

    def _name(self, directory: Directory, owners: set[_Name], services: Iterable[str]) -> None:
        touched = set(owners)
        for uid in services:
            if (before := self._named.pop(uid, None)) is not None:
                touched.add(before)
            if (service := self.store.objects.get(uid)) is not None:
                self._named[uid] = (service.metadata.namespace, service.metadata.name)
                touched.add(self._named[uid])
        for name in touched:
            slices = [self.slices.objects[uid] for uid in self._of.get(name, ())]
            directory.put(*name, self.store.named(*name), slices)

    def _file(self, uid: str) -> set[_Name]:
        """Look at one slice, which may be gone; whose it was and is."""
        before, item = self._owner.pop(uid, None), self.slices.objects.get(uid)
        self._foreign.discard(uid)
        if before is not None:
            self._of[before].discard(uid)
            if not self._of[before]:
                del self._of[before]
        service = item.metadata.labels.get(names.SERVICE_OF_SLICE) if item else None
        now = (item.metadata.namespace, service) if item and service else None
        if item is not None and now is not None:
            self._owner[uid] = now
            self._of.setdefault(now, set()).add(uid)
            if self._is_foreign(item):
                self._foreign.add(uid)
        return {name for name in (before, now) if name is not None}

    def _is_foreign(self, item: EndpointSlice) -> bool:
        """Whether the fabric would be answered past: an endpoint that may be chosen is none of its Pods."""
        assert self._here is not None
        fabric = self._here.fabric
        addresses = [endpoint_address(item, each) for each in item.endpoints or () if is_serving(each)]
        return not all(is_within(address, fabric) for address in addresses if address is not None)

    def _parse(self, uid: str) -> NodeService | None:
        service = self.store.objects.get(uid)
        if service is None:
            return None
        assert self._here is not None
        of = self._of.get((service.metadata.namespace, service.metadata.name), set())
        fronts, foreign = has_fronts(service), not self._foreign.isdisjoint(of)
        if not fronts and not foreign:
            return None
        listed = [self.slices.objects[each] for each in of] if foreign or chooses(service) else []
        return parse_service(service, listed, self._here)
