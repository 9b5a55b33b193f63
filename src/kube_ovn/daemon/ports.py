"""Ports on the integration bridge: those that requests wish to have or to remove, in one transaction at a time.

A transaction is the difference between the wishes for some links and the rows that these links have. A wish that is
repeated, or that a former run of the daemon has carried out, costs nothing. `host/` renders the rows.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from kube_ovn.daemon.wait import Broadcast
from kube_ovn.host.pod import port_members, sandbox_of
from kube_ovn.model.host import Sandbox
from kube_ovn.model.row import Key, Member, Row, RowKey, State
from kube_ovn.model.vswitch import Interface, Port
from kube_ovn.ovsdb.client import Client, OvsdbError, RejectedError
from kube_ovn.plan import diff
from kube_ovn.reconcile import Backoff, Dirty

log = structlog.get_logger()

COMMIT_DEADLINE = 10.0
"""Seconds."""
IFACE_ID = "iface-id"


class PortError(Exception):
    """Open vSwitch refuses a port or cannot use its link. The text is that of Open vSwitch."""


@dataclass(frozen=True, slots=True, eq=False)
class _Wish:
    """The rows that a link is to have."""

    rows: State  # none: the port is to be removed
    carried_out: asyncio.Future[None]

    def finish(self, error: RejectedError | None = None) -> None:
        if self.carried_out.done():
            return  # the request waits no longer
        if error is None:
            self.carried_out.set_result(None)
        else:
            self.carried_out.set_exception(PortError(str(error)))


class Ports:
    """The ports of this node. `run` writes; the other methods only wait for that."""

    def __init__(self, ovs: Client) -> None:
        self._ovs = ovs
        self._wanted: dict[str, _Wish] = {}  # by link
        self._dirty = Dirty()
        self._changed = Broadcast()

    def notify(self) -> None:
        """Look at the replica again. To be called after each update from the database."""
        self._changed.notify()

    def take_changed_links(self) -> set[str] | None:
        """The names of links with rows that changed since the last call; None when those of any link may have."""
        changed = self._ovs.replica.take_changed()
        if changed is None:
            return None
        return {key.target if isinstance(key, Member) else key.key for key in changed}

    def sandboxes(self) -> dict[str, Sandbox]:
        """The sandboxes that have a port in the database, by the name of the link."""
        found = {}
        for key, row in self._ovs.replica.owned.items():
            if isinstance(key, RowKey) and row is not None and (sandbox := sandbox_of(row)):
                found[key.key] = sandbox
        return found

    async def put(self, link: str, rows: State) -> None:
        """Give a link these rows in the database. Raises PortError when the database refuses them.

        The caller sets the deadline. At its end the wish is withdrawn.
        """
        wish = self._wish(link, rows)
        try:
            await wish.carried_out
        except asyncio.CancelledError:
            self._forget(link, wish)
            raise

    async def drop(self, links: Iterable[str]) -> None:
        """Remove the rows of these links. The caller sets the deadline; after it, the wish stands until it is carried
        out.
        """
        if wishes := [self._wish(link, {}) for link in links]:
            await asyncio.wait([wish.carried_out for wish in wishes])

    async def installed(self, link: str) -> None:
        """Wait until ovn-controller has installed the flows of a port (`ovn-installed` in its external_ids). The caller
        sets the deadline. Raises PortError when Open vSwitch cannot use the link.
        """

        def check() -> bool | None:
            columns = self._ovs.replica.columns(RowKey(Interface.TABLE, link))
            if columns is None:
                raise PortError("the port was removed while its flows were awaited")
            if error := columns.get("error"):
                raise PortError(str(error))
            return columns["external_ids"].get("ovn-installed") == "true" or None

        await self._changed.until(check)

    async def run(self) -> None:
        """Carry out wishes until cancelled. A transaction that fails is tried again."""
        backoff = Backoff(ceiling=2.0)
        while True:
            await self._dirty.wait()
            try:
                await self._carry_out()
                backoff.reset()
            except OvsdbError as error:
                log.warning("ports not written, trying again", error=str(error), links=sorted(self._wanted))
                self._dirty.mark()
                await backoff.wait()

    def _wish(self, link: str, rows: State) -> _Wish:
        wish = _Wish(rows, asyncio.get_running_loop().create_future())
        if older := self._wanted.get(link):
            older.finish()  # it is replaced, so its request has nothing to wait for
        self._wanted[link] = wish
        self._dirty.mark()
        return wish

    def _forget(self, link: str, wish: _Wish) -> None:
        if self._wanted.get(link) is wish:
            del self._wanted[link]

    async def _carry_out(self) -> None:
        """Carry out all wishes in one transaction. Raises OvsdbError when it has to be tried again."""
        wishes = dict(self._wanted)
        refusals = await self._try({link: wish.rows for link, wish in wishes.items()})
        stubborn: RejectedError | None = None
        for link, wish in wishes.items():
            refusal = refusals.get(link)
            if refusal is not None and not wish.rows:
                stubborn = refusal  # a removal is tried until it succeeds
                continue
            self._forget(link, wish)
            wish.finish(refusal)
        if stubborn is not None:
            raise stubborn

    async def _try(self, wishes: Mapping[str, State]) -> Mapping[str, RejectedError]:
        """Carry out wishes together, or one by one if the whole is refused, so that only the bad one fails. Returns the
        refusals, by link.
        """
        try:
            await self._commit(wishes)
            return {}
        except RejectedError:
            refusals = {}
            for link, rows in wishes.items():
                try:
                    await self._commit({link: rows})
                except RejectedError as error:
                    refusals[link] = error
            return refusals

    async def _commit(self, wishes: Mapping[str, State]) -> None:
        owned = self._ovs.replica.owned
        desired: dict[Key, Row | None] = {}
        for rows in wishes.values():
            desired.update(rows)
        links = {*wishes, *self._rivals(wishes)}
        keys = {key for link in links for key in port_keys(link)}
        if plan := diff(desired, owned, keys):
            await self._ovs.commit(plan, COMMIT_DEADLINE)

    def _rivals(self, wishes: Mapping[str, State]) -> list[str]:
        """The links in the database that have a logical port which a wish has for another link."""
        claims = {
            row.external_ids[IFACE_ID]
            for rows in wishes.values()
            for row in rows.values()
            if isinstance(row, Interface) and IFACE_ID in row.external_ids
        }
        return [
            key.key
            for key, row in self._ovs.replica.owned.items()
            if isinstance(row, Interface)
            and isinstance(key, RowKey)
            and key.key not in wishes
            and row.external_ids.get(IFACE_ID) in claims
        ]


def port_keys(link: str) -> tuple[Key, ...]:
    """The keys of all rows and memberships that a link can have."""
    return (RowKey(Interface.TABLE, link), RowKey(Port.TABLE, link), *port_members(link))
