"""Answers for the cluster's names on this node: for which domain, at which addresses, and to which clients."""

import asyncio
from ipaddress import ip_address

import structlog

from kube_ovn.daemon.dns import Responder
from kube_ovn.daemon.settings import Settings
from kube_ovn.daemon.view import View
from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.k8s.domain import read_domain
from kube_ovn.model.addr import Address, Network
from kube_ovn.reconcile import Backoff

log = structlog.get_logger()


class NameService:
    """Serves at the node's own addresses in the fabric, also when they change."""

    def __init__(self, settings: Settings, kube: Client, view: View) -> None:
        self._settings, self._kube, self._view = settings, kube, view
        self._addresses_changed = asyncio.Event()
        view.wake(self._addresses_changed.set, view.sites)

    async def run(self) -> None:
        domain = self._settings.cluster_domain or await self._read_domain()
        for kind in (self._view.services, self._view.slices):
            await kind.store.synced.wait()  # before that, a name that is not known yet may exist
        directory = self._view.directory(domain)
        await Responder(directory, self._addresses, self._is_inside, self._never, self._addresses_changed).run()

    async def _read_domain(self) -> str:
        backoff = Backoff()
        while True:
            try:
                return await read_domain(self._kube)
            except KubeError as error:
                log.warning("the cluster's domain cannot be read, trying again", error=str(error))
                await backoff.wait()

    def _addresses(self) -> tuple[Address, ...]:
        return self._view.site.place.addresses if self._view.site is not None else ()

    def _never(self) -> tuple[Network, ...]:
        return self._view.service_networks or self._settings.service_cluster_ip_range

    def _is_inside(self, client: str) -> bool:
        """Whether the address of a client is in the fabric. A node that asks itself has the address that it asks."""
        return self._view.is_inside(ip_address(client.partition("%")[0]))
