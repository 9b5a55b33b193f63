"""Services on the node itself: the second table of nftables, kept as `host.service_table` renders it."""

from collections.abc import Mapping

import structlog

from kube_ovn.daemon import plumbing
from kube_ovn.daemon.table import KeptTable
from kube_ovn.daemon.view import View
from kube_ovn.host.nftables import format_removal
from kube_ovn.host.service_table import ServiceTable, render_services
from kube_ovn.linux import nft
from kube_ovn.linux.conntrack import forget
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network
from kube_ovn.model.host import Front

log = structlog.get_logger()


class Proxy:
    """Does what kube-proxy would do on this node."""

    def __init__(self, networks: tuple[Network, ...], view: View) -> None:
        """`networks`: the networks of Services' own addresses."""
        self._networks, self._view = networks, view
        self._fronts: Mapping[Front, frozenset[tuple[Address, int]]] = {}
        self.table: KeptTable[ServiceTable] = KeptTable(names.SERVICES_TABLE)

    async def make_pass(self) -> None:
        """Bring the table to its desired state. Raises NetlinkError, NftError."""
        services, nodes = self._view.node_services, self._view.all_addresses
        if services is None or nodes is None:
            return  # the table stays as it is
        table = render_services(services, self._networks, nodes)
        await self.table.put(table)
        await self._forget(table)

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
