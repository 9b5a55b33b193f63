"""Carrying a plan out on the Northbound database: all of it but the units that the database refuses.

A plan is one transaction as long as the database takes it. When the database refuses it, the fault is narrowed down to
its unit (`controller.narrow`), the unit is set aside (`controller.aside`), and everything else is committed. An error
that is not due to the plan's content fails the pass: no connection, a server that can write nothing, the fence. So does
a session that ends, or a conflict, while a plan is committed; the second time in a row it may be due to a unit that was
in both plans.
"""

import asyncio
import math
from collections.abc import Callable

import structlog
from prometheus_client import Gauge

from kube_ovn.controller.aside import Aside, Owners, Unit, format_unit, waiting
from kube_ovn.controller.narrow import Narrowing
from kube_ovn.controller.parts import NorthboundPlan, rows_of
from kube_ovn.model.network import ObjectRef
from kube_ovn.model.row import Key, Row, RowKey, State
from kube_ovn.ovsdb.client import Client, ConflictError, RejectedError, SessionEndedError

log = structlog.get_logger()

SET_ASIDE = Gauge("kube_ovn_controller_set_aside", "Objects whose rows the Northbound database does not take", ["kind"])
FABRIC = "fabric"
"""The label of rows that are made for no object."""


class Committer:
    """Carries plans out, and remembers from plan to plan which units are set aside."""

    def __init__(self, nb: Client, owners: Owners, again: Callable[[], None]) -> None:
        """`again` is called when a pass is to be made: a user is to be told, or a unit is to be tried again."""
        self._nb, self._owners, self._again = nb, owners, again
        self._aside = Aside()
        self._seen = nb.replica.foreign  # keys of the rows of others when the last plan was carried out
        self._suspects: frozenset[Unit] = frozenset()  # units that were in every plan that failed since the last commit
        self._told: dict[ObjectRef, str] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[Unit, Unit] = {}  # by unit, another unit that it waits for
        self.left: dict[Key, Unit] = {}
        """The keys of the last plan that were left out, each with its unit."""
        self._wanted: dict[RowKey, Row | None] = {}  # the desired rows of `left`, and the rows its memberships join

    @property
    def incomplete(self) -> set[str]:
        """The UIDs of objects with rows or memberships that were left out."""
        return {unit.uid for unit in self.left.values() if isinstance(unit, ObjectRef)}

    def close(self) -> None:
        """End the work: another controller may lead now, so no unit counts as set aside here."""
        SET_ASIDE.clear()
        if self._timer is not None:
            self._timer.cancel()

    async def commit(self, plan: NorthboundPlan, desired: State) -> None:
        """Carry out as much of a plan as the database takes; afterwards `left` is the rest. Raises OvsdbError."""
        work = Narrowing(self._nb, self._owners, self._aside, plan, desired)
        excluded, again = self._aside.sort(plan, desired, self._time())
        try:
            await self._commit_healthy(work, plan, excluded.union(*again.values()))
            units = work.units(set().union(*again.values()))
            await work.take(units, careful=True)
            for unit in again.keys() - work.refused.keys():
                self._aside.drop(unit)
                if unit in units:
                    log.info("taken in again", unit=format_unit(unit))
            self._leave(work, await work.finish(excluded), desired)
        finally:
            self._tell()

    def _time(self) -> float:
        """The time that decides which units are tried again: the end of time, so all of them, when rows of others came
        or went, since these may have been in the way.
        """
        before, self._seen = self._seen, self._nb.replica.foreign
        return asyncio.get_running_loop().time() if self._seen is before else math.inf

    async def _commit_healthy(self, work: Narrowing, plan: NorthboundPlan, out: set[Key]) -> None:
        """Commit the plan without the keys in `out`, in one transaction if the database takes it."""
        part = plan.without(out)
        try:
            await work.send(part)
        except RejectedError as error:
            for units in reversed(work.split(work.units(list(part)), error)):
                await work.take(units)
        except (SessionEndedError, ConflictError):
            units = work.units(list(part))
            again = {unit: keys for unit, keys in units.items() if unit in self._suspects}
            self._suspects = frozenset(again or units)
            if not again:
                raise
            await work.recover()
            await work.take({unit: keys for unit, keys in units.items() if unit not in again}, careful=True)
            await work.take(again, careful=True)
        self._suspects = frozenset()

    def _leave(self, work: Narrowing, keys: set[Key], desired: State) -> None:
        """Remember the keys that were left out. Looking up owners is slow, so it is done once for each key, and again
        for all when one of the rows has changed: it may be made for another object of the same name.
        """
        before = self.left
        changed = any(desired.get(row) != was for row, was in self._wanted.items())
        refused = {key: unit for unit, those in work.refused.items() for key in those}
        known = ({} if changed else before) | refused
        new = {key: unit for unit, those in work.units(keys - known.keys()).items() for key in those}
        self.left = {key: new.get(key) or known[key] for key in keys}
        if changed or self.left != before:
            target_of = self._nb.replica.target
            self._wanted = {row: desired.get(row) for key in keys for row in rows_of(key, target_of)}
            self._waiting = waiting(self.left, self._aside.exclusions, target_of)

    def _reasons(self) -> dict[ObjectRef, str]:
        """Why objects are set aside, or wait for objects that are."""
        waits = {
            unit: f"it needs rows of {format_unit(other)}, which are not there"
            for unit, other in self._waiting.items()
            if isinstance(unit, ObjectRef)
        }
        return waits | self._aside.reasons()

    def _tell(self) -> None:
        """Have users told when the objects that are set aside change, and units tried again when their time comes."""
        reasons = self._reasons()
        if reasons != self._told:
            self._told = reasons
            self._owners.set_aside(reasons)
            self._again()
        SET_ASIDE.clear()
        for unit in self._aside.exclusions:
            SET_ASIDE.labels(unit.kind if isinstance(unit, ObjectRef) else FABRIC).inc()
        if self._timer is not None:
            self._timer.cancel()
        due = self._aside.due
        self._timer = None if due is None else asyncio.get_running_loop().call_at(due, self._again)
