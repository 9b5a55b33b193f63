"""Ports on the integration bridge: those that requests want or want gone, sent together, one transaction at a time.

The transaction is the difference between what is wanted for the named links and what is there; who wants the same thing
twice, or wants what another run of the daemon did already, waits for nothing. Rows come from `host/`.
"""

import asyncio
from collections.abc import Iterable, Mapping

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
IFACE_ID = "iface-id"


class PortError(Exception):
    """Open vSwitch cannot have or use a link: what it said."""


class Ports:
    """The ports of this node. `run` does the writing; the other methods only wait."""

    def __init__(self, ovs: Client) -> None:
        self._ovs = ovs
        self._wanted: dict[str, State] = {}  # link -> its rows; no rows: it has to go
        self._refused: dict[str, tuple[State, str]] = {}  # link -> the rows that were refused, and why
        self._dirty = Dirty()
        self._changed = Broadcast()

    def notify(self) -> None:
        """The replica changed: to be called after each update from the database."""
        self._changed.notify()

    def take_changed_links(self) -> set[str] | None:
        """Links whose rows changed since the last call; None when any may have."""
        changed = self._ovs.replica.take_changed()
        if changed is None:
            return None
        return {key.target if isinstance(key, Member) else key.key for key in changed}

    def sandboxes(self) -> dict[str, Sandbox]:
        """Sandboxes that have a port in the database, by link."""
        found = {}
        for key, row in self._ovs.replica.owned.items():
            if isinstance(key, RowKey) and row is not None and (sandbox := sandbox_of(row)):
                found[key.key] = sandbox
        return found

    async def put(self, link: str, rows: State) -> None:
        """Have the link's rows in the database. Raises PortError when the database refuses them.

        The caller sets the deadline; at its end the wish is withdrawn.
        """
        self._wish({link: rows})
        try:
            await self._until_carried_out({link: rows})
        except asyncio.CancelledError:
            if self._wanted.get(link) is rows:
                del self._wanted[link]
            raise
        finally:
            refused, why = self._refused.pop(link, ({}, ""))
        if refused is rows:
            raise PortError(why)

    async def drop(self, links: Iterable[str]) -> None:
        """Have no rows of these links. Beyond the caller's deadline the wish stands until it can be carried out."""
        wishes: dict[str, State] = {link: {} for link in links}
        self._wish(wishes)
        await self._until_carried_out(wishes)

    async def installed(self, link: str) -> None:
        """Wait until ovn-controller has installed a port's flows. Raises PortError when the switch cannot use it."""

        def check() -> bool | None:
            columns = self._ovs.replica.columns(RowKey(Interface.TABLE, link))
            if columns is None:
                raise PortError("the port was removed while its flows were awaited")
            if error := columns.get("error"):
                raise PortError(str(error))
            return columns["external_ids"].get("ovn-installed") == "true" or None

        await self._changed.until(check)

    async def run(self) -> None:
        """Carry out wishes until cancelled; what the database refuses or does not answer is tried again."""
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

    def _wish(self, wishes: Mapping[str, State]) -> None:
        self._wanted.update(wishes)
        self._dirty.mark()

    async def _until_carried_out(self, wishes: Mapping[str, State]) -> None:
        # A newer wish for a link replaces an older one, whose author then has nothing to wait for.
        await self._changed.until(
            lambda: None if any(self._wanted.get(link) is rows for link, rows in wishes.items()) else True
        )

    async def _carry_out(self) -> None:
        """All wishes in one transaction; when that is refused, one by one, so that only the bad one suffers."""
        wishes = dict(self._wanted)
        try:
            await self._commit(wishes)
        except RejectedError:
            for link, rows in wishes.items():
                try:
                    await self._commit({link: rows})
                except RejectedError as error:
                    if not rows:
                        raise
                    self._refused[link] = rows, str(error)
        for link, rows in wishes.items():
            if self._wanted.get(link) is rows:
                del self._wanted[link]
        self._changed.notify()

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
        """Links in the database that claim a logical port which is now wanted for another link."""
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
    """Every row and membership a link can have."""
    return (RowKey(Interface.TABLE, link), RowKey(Port.TABLE, link), *port_members(link))
