"""Services and the slices of their endpoints, kept up to date pass by pass; rows are made in `topology.service`."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from kube_ovn.model import names
from kube_ovn.model.kube import EndpointSlice, ObjectMeta, Service
from kube_ovn.topology.assembly import Assembly
from kube_ovn.topology.service import render_service, render_services


class Name(NamedTuple):
    namespace: str
    name: str


class Services:
    """Which Service has which slices, and the rows of each."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._services: dict[Name, Service] = {}
        self._slices: dict[Name, dict[str, EndpointSlice]] = {}  # by Service and UID
        self._names: dict[str, Name] = {}  # of the Service that an object is about, by its UID
        assembly.put("services", render_services())

    def render(
        self, services: Mapping[str, Service], slices: Mapping[str, EndpointSlice], changed: Collection[str] | None
    ) -> None:
        """Bring the rows of Services up to date that may have changed."""
        if changed is None:
            changed = {*self._names, *services, *slices}
        touched: set[Name] = set()
        for uid in changed:
            touched |= self._look_at(uid, services.get(uid), slices.get(uid))
        for name in touched:
            self._render(name)

    def _look_at(self, uid: str, service: Service | None, item: EndpointSlice | None) -> set[Name]:
        """The Services that an object was and is about."""
        before, now = self._names.pop(uid, None), None
        if before is not None:
            self._forget(uid, before)
        if service is not None:
            now = _name(service.metadata, service.metadata.name)
            self._services[now] = service
        elif item is not None and (owner := item.metadata.labels.get(names.SERVICE_OF_SLICE)):
            now = _name(item.metadata, owner)
            self._slices.setdefault(now, {})[uid] = item
        if now is not None:
            self._names[uid] = now
        return {name for name in (before, now) if name is not None}

    def _forget(self, uid: str, name: Name) -> None:
        service = self._services.get(name)
        if service is not None and service.metadata.uid == uid:
            del self._services[name]
        elif name in self._slices:
            self._slices[name].pop(uid, None)
            if not self._slices[name]:
                del self._slices[name]

    def _render(self, name: Name) -> None:
        unit, service = f"service {name.namespace}/{name.name}", self._services.get(name)
        if service is None:
            self._assembly.drop(unit)
        else:
            self._assembly.put(unit, render_service(service, self._slices.get(name, {}).values()))


def _name(metadata: ObjectMeta, name: str) -> Name:
    return Name(metadata.namespace, name)
