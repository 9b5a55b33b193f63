"""The guard of the databases of OVN on this node: the third table of nftables, kept as `host.guard` renders it."""

from kube_ovn.daemon.table import KeptTable
from kube_ovn.daemon.view import View
from kube_ovn.host.guard import render_guard
from kube_ovn.host.nftables import Rendered
from kube_ovn.model import names


class Guard:
    """Keeps all but nodes from the databases."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.table: KeptTable[Rendered] = KeptTable(names.GUARD_TABLE)

    async def make_pass(self) -> None:
        """Bring the table to its desired state. Raises NftError."""
        nodes = self._view.all_addresses
        if nodes:  # while no node is known, the table stays as it is: it must not keep the nodes themselves out
            await self.table.put(render_guard(nodes))
