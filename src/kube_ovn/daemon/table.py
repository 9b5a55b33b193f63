"""A table of nftables that is kept as it was rendered, whatever other programs do to it."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from kube_ovn.host.nftables import Rendered
from kube_ovn.linux import nft
from kube_ovn.linux.notify import TableWatch
from kube_ovn.reconcile import Dirty

T = TypeVar("T", bound=Rendered)


async def write(table: Rendered) -> None:
    """Put a table in place of the one before. Raises NftError."""
    await nft.apply(table.text)


class KeptTable(Generic[T]):
    """Writes a table when it differs from the one before, and when another program may have changed it."""

    def __init__(self, name: str, apply: Callable[[T], Awaitable[None]] = write) -> None:
        """`apply`: puts a table in place of the one before. Raises NftError."""
        self._apply = apply
        self._table: T | None = None  # as last written; None when another program may have changed it
        self._watch = TableWatch(name, self._distrust)
        self.dirty = Dirty()
        """Marked when the table may have to be written."""

    async def run(self) -> None:
        """Listen to changes of other programs until cancelled."""
        await self._watch.run()

    async def put(self, table: T) -> None:
        """Have this table in the kernel. Raises NftError."""
        if table == self._table:
            return
        self._watch.own, self._table = table.comment, table  # set first: `_distrust` may be called meanwhile
        try:
            await self._apply(table)
        except BaseException:
            self._table = None
            raise

    def _distrust(self) -> None:
        self._table = None
        self.dirty.mark()
