"""Tells Kubernetes the networks that this node is attached to, in an annotation of its Node (`host.attached`)."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from kube_ovn.daemon import plumbing
from kube_ovn.daemon.view import View
from kube_ovn.host.attached import format_networks
from kube_ovn.host.resolv_conf import parse_resolvers, to_address
from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.linux.netlink import NetlinkError
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.resource import NODES

log = structlog.get_logger()

PERIOD = 10.0
"""Seconds between two looks: other programs make networks when they like."""
RESOLV_CONF = Path("/etc/resolv.conf")


class NodeNetworks:
    """Keeps the annotation up to date."""

    def __init__(self, kube: Client, view: View, changed: Callable[[], None]) -> None:
        """`changed`: called when the networks are others than at the last look."""
        self._kube, self._view, self._changed = kube, view, changed
        self._seen = ""
        self._is_cut = False

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            try:
                await self.look()
            except (NetlinkError, KubeError) as error:
                log.warning("the node's networks are not told, trying again", error=str(error))
            await asyncio.sleep(PERIOD)

    async def look(self) -> None:
        """Write the annotation if it is not what it should be. Raises NetlinkError, KubeError."""
        node, services = self._view.own, self._view.service_networks
        if node is None or services is None:
            return  # not registered or not known yet
        ways = (await plumbing.run(plumbing.look_around)).ways
        on_link = [(way.link, way.to) for way in ways if way.via is None]
        gateways = [way.via for way in ways if way.via is not None and not way.to.prefixlen]
        text = format_networks(on_link, gateways, _resolvers(), to_address(self._kube.host), services)
        if text.left_out and not self._is_cut:
            log.warning("the node has more networks than it tells: the smallest are left out", number=text.left_out)
        self._is_cut = bool(text.left_out)
        if text.value != self._seen:
            self._seen = text.value
            self._changed()
        if node.metadata.annotations.get(names.NETWORKS) != text.value:
            await self._kube.annotate(NODES, "", node.metadata.name, {names.NETWORKS: text.value}, node.metadata.uid)


def _resolvers() -> list[Address]:
    try:
        text = RESOLV_CONF.read_text(errors="replace")
    except OSError:
        return []  # a node without resolvers
    found = map(to_address, parse_resolvers(text))
    return [address for address in found if address is not None]
