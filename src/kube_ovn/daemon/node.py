"""The node's own network: ovn0, its routes, the nftables table; whether it works; and telling Kubernetes that it does.

One pass compares all of it and writes the difference, so it is the same at the start, after an administrator's change
and after a restart of Open vSwitch. What should be there is rendered in `host.node`.
"""

import asyncio
from collections.abc import Callable

import structlog

from kube_ovn.daemon import plumbing
from kube_ovn.daemon.ports import Ports
from kube_ovn.daemon.settings import OVERHEAD, Settings
from kube_ovn.host.egress import Table
from kube_ovn.host.node import NodeState, render_node
from kube_ovn.linux import nft
from kube_ovn.linux.icmp import echo
from kube_ovn.linux.notify import LinkWatch, TableWatch
from kube_ovn.model import names
from kube_ovn.model.kube import Node
from kube_ovn.reconcile import Dirty

log = structlog.get_logger()

PORT_DEADLINE = 15.0
UNPROVEN_WAIT, PROVEN_WAIT = 0.3, 2.0
"""Seconds for an answer of the join gateway: the first question often meets flows that are half installed."""
UNPROVEN_PAUSE, PROVEN_PAUSE = 0.1, 5.0
"""Seconds between two questions to the join gateway."""


class NodeNetwork:
    """Keeps this node on the network."""

    def __init__(self, settings: Settings, node: Callable[[], Node | None], ports: Ports) -> None:
        self._settings, self._node, self._ports = settings, node, ports
        self._table: Table | None = None  # as last written, and by nobody else since
        self._state: NodeState | None = None
        self._built = asyncio.Event()
        self.dirty = Dirty()
        self.proven = asyncio.Event()
        """Set when the join gateway has answered for the first time."""
        self.complaint: str | None = "the node's network is not built yet"
        """Why the node's network does not work; None when it does."""
        self.mtu: int | None = None
        """MTU of Pods; None until the first pass has found it out."""
        self.links = LinkWatch(names.NODE_NIC, names.ROUTE_PROTOCOL, self.dirty.mark)
        self.tables = TableWatch(names.NFT_TABLE, self._distrust_table)

    async def make_pass(self) -> None:
        """Bring the node to what it should be. Raises NetlinkError, NftError, TimeoutError."""
        node, settings = self._node(), self._settings
        self.mtu = settings.mtu or await self._derive_mtu()
        if node is None:
            return  # not registered yet, or removed: what runs here goes on
        try:
            state = render_node(node, settings.default_cidr, self.mtu)
        except ValueError as error:
            log.error("the Node's annotations are wrong; it stays as it is", node=settings.node_name, error=str(error))
            return
        if state is None:
            log.info("the controller has given this node no address yet", node=settings.node_name)
            return
        async with asyncio.timeout(PORT_DEADLINE):
            await self._ports.put(names.NODE_NIC, state.rows)
        self.links.index = await plumbing.run(plumbing.settle, state.link)
        if state.table != self._table:
            self.tables.own = state.table.comment
            await nft.apply(state.table.text)
            self._table = state.table
        self._state = state
        if self.links.index is not None:
            self._built.set()

    async def follow_gateway(self) -> None:
        """Ask the join gateway again and again whether it answers: often until it does, seldom from then on."""
        await self._built.wait()
        while True:
            complaint = await self._ask()
            if complaint != self.complaint:
                log.info("join gateway", complaint=complaint)
                self.complaint = complaint
                if complaint is None:
                    self.proven.set()
            await asyncio.sleep(PROVEN_PAUSE if complaint is None else UNPROVEN_PAUSE)

    async def _ask(self) -> str | None:
        """What is wrong with the way to the join gateways; None when they answer."""
        for gateway in self._state.gateways if self._state else ():
            try:
                await echo(gateway, names.NODE_NIC, UNPROVEN_WAIT if self.complaint else PROVEN_WAIT)
            except OSError as error:  # TimeoutError is one
                return f"the join gateway {gateway} does not answer: {str(error) or 'no reply'}"
        return None

    async def _derive_mtu(self) -> int:
        settings = self._settings
        ipv6 = any(address.version == 6 for address in settings.pod_ip[:1])
        overhead = OVERHEAD[settings.network_type] + (20 if ipv6 else 0)
        return await plumbing.run(plumbing.pod_mtu, settings.iface, settings.pod_ip, overhead)

    def _distrust_table(self) -> None:
        self._table = None
        self.dirty.mark()
