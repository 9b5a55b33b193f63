"""Services on the node itself: keeps the second table of nftables what `host.services` says it is."""

from collections.abc import Callable, Collection, Mapping

import structlog

from kube_ovn.daemon import plumbing
from kube_ovn.daemon.services import Services
from kube_ovn.host.nftables import format_removal
from kube_ovn.host.services import ServiceTable, render_services
from kube_ovn.linux import nft
from kube_ovn.linux.conntrack import forget
from kube_ovn.linux.notify import TableWatch
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network
from kube_ovn.model.host import Front
from kube_ovn.reconcile import Dirty

log = structlog.get_logger()


class Proxy:
    """What kube-proxy would be on this node."""

    def __init__(
        self, networks: tuple[Network, ...], services: Services, nodes: Callable[[], Collection[Address] | None]
    ) -> None:
        """`networks`: where Services have their own addresses; `nodes`: the addresses of all nodes, if known."""
        self._networks, self._services, self._nodes = networks, services, nodes
        self._table: ServiceTable | None = None  # as last written, and by nobody else since
        self._fronts: Mapping[Front, frozenset[tuple[Address, int]]] = {}
        self.dirty = Dirty()
        self.tables = TableWatch(names.SERVICES_TABLE, self._distrust)

    async def make_pass(self) -> None:
        """Bring the table to what it should be. Raises NetlinkError, NftError."""
        services, nodes = self._services.effective, self._nodes()
        if services is None or nodes is None:
            return  # what runs here goes on
        table = render_services(services, self._networks, nodes)
        if table != self._table:
            self.tables.own, self._table = table.comment, table  # known before: distrust that comes meanwhile must stay
            try:
                await nft.apply(table.text)
            except BaseException:
                self._table = None
                raise
        await self._forget(table)

    async def _forget(self, table: ServiceTable) -> None:
        """UDP has no end of a connection: a client that goes on would be led where it once was, or nowhere."""
        changed = _changed(self._fronts, table.fronts)
        if changed:
            count = await plumbing.run(forget, changed, await plumbing.run(plumbing.list_addresses))
            if count:
                log.info("connections of UDP ended that led elsewhere", count=count)
        self._fronts = table.fronts

    def _distrust(self) -> None:
        self._table = None
        self.dirty.mark()


def _changed(
    before: Mapping[Front, frozenset[tuple[Address, int]]], now: Mapping[Front, frozenset[tuple[Address, int]]]
) -> dict[Front, frozenset[tuple[Address, int]]]:
    """Fronts that are new or gone, or of which a target is gone, and the targets that are left."""
    return {
        front: now.get(front, frozenset())
        for front in {**before, **now}
        if front not in before or not before[front] <= now.get(front, frozenset()) or front not in now
    }


async def remove_table() -> None:
    """Leave the node's ports to somebody else. Raises NftError."""
    await nft.apply(format_removal(names.SERVICES_TABLE))
