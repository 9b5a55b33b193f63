"""The work on one plan: committing parts of it, and narrowing down which units the Northbound database refuses.

Where the database names a row, its unit is at fault; else units are tried by halves, and a unit that is refused alone
is at fault. All healthy units are committed on the way, in portions, so that a further fault does not cost the whole
plan.
"""

import asyncio
import random
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet

import structlog
from prometheus_client import Counter

from kube_ovn.controller.aside import Aside, Owners, Unit, Units, chunks, format_unit, group, halves, suspects
from kube_ovn.controller.parts import NorthboundPlan, Parts, dangling
from kube_ovn.model.row import Key, State
from kube_ovn.ovsdb.client import Client, ConflictError, OvsdbError, RejectedError, SessionEndedError, UnsendableError
from kube_ovn.plan import Plan, diff

log = structlog.get_logger()

CHANGES = Counter(
    "kube_ovn_controller_nb_changes_total", "Rows and memberships written to the Northbound database", ["change"]
)

COMMIT_DEADLINE, LONGEST_COMMIT_DEADLINE = 5.0, 30.0
"""Seconds a Northbound transaction may take before the pass is made again: a small one, and the largest."""
SLOW = 200
"""Changes a second that even the slowest server carries out; a larger transaction gets more time."""
RECONNECT_DEADLINE = 5.0
PORTION = 256
"""Units that are sent together once a unit was refused: to send a large plan again for each fault is slow."""
MOST_ENDED = 3
"""Units that may be at fault for a session's end or a conflict when no other unit could be committed either."""
ASIDE_PERIOD = 300.0
"""Seconds after which a unit that is set aside is tried again, give or take a fifth."""


class Narrowing:
    """One plan while it is carried out. Units at fault are put into `aside`."""

    def __init__(self, nb: Client, owners: Owners, aside: Aside, plan: NorthboundPlan, desired: State) -> None:
        self._nb, self._owners, self._aside = nb, owners, aside
        self._plan, self._desired = plan, desired
        self._parts: Parts | None = None
        self._incomplete = False  # whether any key had to wait when its turn came
        self._committed = False  # whether any transaction succeeded
        self.refused = Units()
        """Units that were set aside in this work."""

    async def send(self, part: NorthboundPlan) -> None:
        """Commit the changes of a part that can be committed now. Raises OvsdbError."""
        replica, size = self._nb.replica, len(part)
        if size < len(self._plan) or dangling(part.create, self._nb.replica.has, self._nb.replica.target):
            self._parts = self._parts or Parts(self._plan, self._nb.replica.target)
            part = self._parts.sendable(part, replica.owned, self._nb.replica.has)
        self._incomplete |= len(part) < size
        if not part:
            return
        await self._commit(part)

    async def _commit(self, part: NorthboundPlan) -> None:
        await self._nb.commit(part, max(COMMIT_DEADLINE, min(LONGEST_COMMIT_DEADLINE, len(part) / SLOW)))
        self._committed = True
        for change in ("create", "update", "delete"):
            CHANGES.labels(change).inc(len(getattr(part, change)))

    async def take(self, units: Units, *, careful: bool = False) -> None:
        """Commit these units but those at fault, which are set aside. Raises OvsdbError.

        `careful`: a session that the server ends, or a conflict, may be a unit's fault, too. It is the unit's fault
        when it happens with the unit alone, twice in a row, and the database works otherwise.
        """
        waiting, doubtful, ended = chunks(units, PORTION)[::-1], set[Unit](), Units()
        while waiting:
            some = waiting.pop()
            try:
                await self.send(self._difference(set().union(*some.values())))
            except RejectedError as error:
                waiting += self.split(some, error)
            except (SessionEndedError, ConflictError) as error:
                if not careful:
                    raise
                await self.recover()
                if len(some) > 1:
                    waiting += halves(some)
                elif doubtful.isdisjoint(some):
                    doubtful.update(some)
                    waiting.append(some)
                else:
                    ended |= some
                    self._refuse(some, error)
                    if not self._committed and len(ended) > MOST_ENDED:
                        self._absolve(ended)
                        raise

    def split(self, units: Units, error: RejectedError) -> list[Units]:
        """Set aside units that are known to be at fault. Returns the others in groups to try, the last ones first."""
        named = suspects(units, error.keys)
        doubted = named or units
        if len(doubted) == 1 or (named and isinstance(error, UnsendableError)):
            self._refuse(doubted, error)
            later = []
        else:
            later = halves(doubted)
        rest = {unit: keys for unit, keys in units.items() if unit not in doubted}
        return [*later, rest] if rest else later

    def units(self, keys: Collection[Key]) -> Units:
        """Group keys of the plan into units."""
        if not keys:
            return {}
        return group(keys, self._owners.owners(keys), self._nb.replica.target)

    async def recover(self) -> None:
        """Wait until there is a session again that takes a transaction of ours: an empty one, behind the fence. Raises
        OvsdbError.
        """
        await self._nb.synced(RECONNECT_DEADLINE)
        await self._nb.commit(Plan(), RECONNECT_DEADLINE)

    async def finish(self, excluded: AbstractSet[Key]) -> set[Key]:
        """Commit the keys that had to wait for other keys of the plan. Returns the keys that are left in the end, the
        excluded ones among them. Raises OvsdbError.
        """
        if not (self._incomplete or self.refused or excluded):
            return set()
        before = None
        while True:
            out = set(excluded).union(*self.refused.values())
            open_ = set(self._difference([key for key in self._plan if key not in out]))
            if not open_ or open_ == before:
                return set(self._difference(self._plan))
            before = open_
            await self.take(self.units(open_))

    def _absolve(self, units: Units) -> None:
        """Take units back in: they were not at fault."""
        for unit in units:
            self._aside.drop(unit)
            self.refused.pop(unit, None)

    def _difference(self, keys: Iterable[Key]) -> NorthboundPlan:
        """The changes of these keys that are still to be made."""
        return diff(self._desired, self._nb.replica.owned, keys)

    def _refuse(self, units: Units, error: OvsdbError) -> None:
        until = asyncio.get_running_loop().time() + ASIDE_PERIOD * random.uniform(0.8, 1.2)
        for unit, keys in units.items():
            reason = str(error)
            if isinstance(error, UnsendableError):
                reason = next((error.faults[key] for key in keys if key in error.faults), reason)
            log.warning("set aside", unit=format_unit(unit), reason=reason, changes=len(keys))
            self._aside.put(unit, keys, self._desired, reason, until)
            self.refused[unit] = keys
