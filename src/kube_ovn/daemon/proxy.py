"""Services on the node itself: the second table of nftables, kept as `host.service_table` renders it."""

import asyncio
from collections.abc import Callable, Collection, Mapping

import structlog

from kube_ovn.daemon import plumbing
from kube_ovn.daemon.table import KeptTable
from kube_ovn.daemon.view import View
from kube_ovn.host.nftables import format_removal
from kube_ovn.host.own_ports import OwnPorts, Wishes, find_own_ports, find_wishes
from kube_ovn.host.service import NodeService
from kube_ovn.host.service_table import ServiceTable, render_services
from kube_ovn.linux import nft
from kube_ovn.linux.conntrack import forget
from kube_ovn.linux.listeners import list_listeners
from kube_ovn.linux.netlink import NetlinkError
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.host import Front

log = structlog.get_logger()

LOOK_PAUSE = 5.0
"""Seconds between two looks at the node's addresses and sockets, while Services ask for addresses outside."""


class Proxy:
    """Does what kube-proxy would do on this node."""

    def __init__(self, view: View, tell: Callable[[NodeService, str], None]) -> None:
        """`tell`: gives the user of a Service a sentence."""
        self._view, self._tell = view, tell
        self._fronts: Mapping[Front, frozenset[tuple[Address, int]]] = {}
        self._wishes = Wishes()
        self._nodes: Collection[Address] = ()
        self._own_ports = OwnPorts()
        self.table: KeptTable[ServiceTable] = KeptTable(names.SERVICES_TABLE)

    async def make_pass(self) -> None:
        """Bring the table to its desired state. Raises NetlinkError, NftError."""
        services, nodes, networks = self._view.node_services, self._view.all_addresses, self._view.service_networks
        if services is None or nodes is None or networks is None:
            return  # the table stays as it is
        services = list(services)  # as they are now
        self._wishes, self._nodes = find_wishes(services), nodes
        own_ports = await self._look()
        table = render_services(services, networks, nodes, own_ports.left)
        await self.table.put(table)
        self._complain(own_ports)
        await self._forget(table)

    async def watch(self) -> None:
        """Have the table written again when a process begins or ends to listen at a port that a Service asks for. The
        kernel notifies of neither.
        """
        while True:
            await asyncio.sleep(LOOK_PAUSE)
            try:
                if await self._look() != self._own_ports:
                    self.table.dirty.mark()
            except NetlinkError as error:
                log.warning("sockets not read, trying again", error=str(error))

    async def _look(self) -> OwnPorts:
        """The fronts that this node does not serve now. Raises NetlinkError."""
        wishes, nodes = self._wishes, self._nodes
        if not wishes.asked:
            return OwnPorts()
        local = await plumbing.run(plumbing.list_addresses)
        is_here = any(front.address in local for _, front in wishes.asked)
        listeners = await plumbing.run(list_listeners) if is_here else frozenset()
        return find_own_ports(wishes, nodes, local, listeners)

    def _complain(self, own_ports: OwnPorts) -> None:
        """Tell the user of each Service once which fronts at an address of this node it does not get."""
        before = {(each.asked, each.why) for each in self._own_ports.here}
        for each in own_ports.here:
            if (each.asked, each.why) not in before:
                log.warning("an address of this node is not given to a Service", reason=each.why)
                self._tell(each.service, each.why)
        self._own_ports = own_ports

    async def _forget(self, table: ServiceTable) -> None:
        """Have the kernel forget the connections of UDP fronts that lead elsewhere now. UDP has no end of a connection:
        a client that goes on would be led to the former endpoint, or nowhere.
        """
        changed = _changed(self._fronts, table.fronts)
        if changed:
            count = await plumbing.run(forget, changed, await plumbing.run(plumbing.list_addresses))
            if count:
                log.info("connections of UDP ended that led elsewhere", count=count)
        self._fronts = table.fronts


def _changed(
    before: Mapping[Front, frozenset[tuple[Address, int]]], now: Mapping[Front, frozenset[tuple[Address, int]]]
) -> dict[Front, frozenset[tuple[Address, int]]]:
    """The fronts that are new or gone, or that have lost a target, each with the targets that are left."""
    return {
        front: now.get(front, frozenset())
        for front in {**before, **now}
        if front not in before or not before[front] <= now.get(front, frozenset()) or front not in now
    }


async def remove_table() -> None:
    """Remove the table, so that another program can serve the node's ports. Raises NftError."""
    await nft.apply(format_removal(names.SERVICES_TABLE))
