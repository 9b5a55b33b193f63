"""What this node answers of the cluster's names: which they are, at which addresses, and to whom."""

import asyncio
from collections.abc import Sequence
from ipaddress import collapse_addresses, ip_address

import structlog

from kube_ovn.daemon.dns import Responder
from kube_ovn.daemon.services import Services
from kube_ovn.daemon.settings import Settings
from kube_ovn.host.dns import Directory
from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.k8s.domain import read_domain
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, is_within, parse_addresses, parse_networks
from kube_ovn.model.kube import Node
from kube_ovn.reconcile import Backoff

log = structlog.get_logger()


class NameService:
    """`look_around` is to be called when the node's own addresses, or the subnets of the fabric, changed."""

    def __init__(self, settings: Settings, kube: Client, services: Services) -> None:
        self._settings, self._kube, self._services = settings, kube, services
        self._addresses: tuple[Address, ...] = ()
        self._inside: tuple[Network, ...] = ()
        self._directory: Directory | None = None
        self._moved = asyncio.Event()

    async def run(self) -> None:
        domain = self._settings.cluster_domain or await self._read_domain()
        self._directory = Directory(domain, self._inside, self._settings.service_cluster_ip_range)
        self._services.keep(self._directory)
        own, services = (lambda: self._addresses), self._settings.service_cluster_ip_range
        await Responder(self._directory, own, self._is_inside, services, self._moved).run()

    async def _read_domain(self) -> str:
        backoff = Backoff()
        while True:
            try:
                return await read_domain(self._kube)
            except KubeError as error:
                log.warning("the cluster's domain cannot be read, trying again", error=str(error))
                await backoff.wait()

    def look_around(self, node: Node, fabric: Sequence[Network]) -> None:
        """`fabric`: the networks of the subnets."""
        annotations = node.metadata.annotations
        try:
            addresses = parse_addresses(annotations.get(names.IP_ADDRESS, ""))
            join = parse_networks(annotations.get(names.CIDR, ""))
        except ValueError:
            return  # not told yet; or wrong, and then the node's network says so
        inside = (*fabric, *join, *self._settings.service_cluster_ip_range)
        self._inside = tuple(
            network
            for version in (4, 6)
            for network in collapse_addresses([each for each in inside if each.version == version])  # type: ignore[type-var]
        )
        if self._directory is not None:
            self._directory.networks = self._inside
        if addresses != self._addresses:
            self._addresses = addresses
            self._moved.set()

    def _is_inside(self, text: str) -> bool:
        """Whether a client is a Pod or a node; one that asked itself comes from the address it asked."""
        return is_within(ip_address(text.partition("%")[0]), self._inside)
