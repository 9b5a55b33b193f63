"""What is set aside: units whose rows the Northbound database does not take, so that everything else goes on. Pure.

A unit is an object with all rows made for it, or one row of the fabric's own with its memberships. It stays aside until
what is wanted of it changes or its time has come; then it is tried again, after everything else and on its own.
"""

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from kube_ovn.controller.parts import NorthboundPlan, TargetOf, parent_of
from kube_ovn.model.network import ObjectRef
from kube_ovn.model.row import Key, Member, RowKey, State

Unit: TypeAlias = ObjectRef | RowKey
Units: TypeAlias = dict[Unit, set[Key]]
"""Units, each with its keys in a plan."""

_ABSENT = object()


class Owners(Protocol):
    """The part of the topology that knows for which objects rows are made, and tells the users of these objects."""

    def owners(self, keys: Collection[Key]) -> Mapping[Key, ObjectRef | None]:
        """The objects that rows are made for; None, or no entry, for rows of the fabric's own."""
        ...

    def set_aside(self, refused: Mapping[ObjectRef, str]) -> None:
        """These objects are set aside now, for these reasons: their users are to be told with the next pass. What is
        set aside changes nothing in the rows that are wanted.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a unit is set aside, what was wanted of it, and the time at which it is tried again."""

    reason: str
    wanted: Mapping[Key, object]
    until: float


class Aside:
    """All units that are set aside, with the refusal of each."""

    def __init__(self) -> None:
        self.refusals: dict[Unit, Refusal] = {}

    @property
    def due(self) -> float | None:
        """When the next unit is to be tried again."""
        return min((refusal.until for refusal in self.refusals.values()), default=None)

    def reasons(self) -> dict[ObjectRef, str]:
        """Why objects are set aside, for their users."""
        return {unit: each.reason for unit, each in self.refusals.items() if isinstance(unit, ObjectRef)}

    def put(self, unit: Unit, keys: Iterable[Key], desired: State, reason: str, until: float) -> None:
        before = self.refusals.get(unit)
        wanted = {**(before.wanted if before is not None else {}), **_wanted(keys, desired)}
        self.refusals[unit] = Refusal(reason=reason, wanted=wanted, until=until)

    def drop(self, unit: Unit) -> None:
        self.refusals.pop(unit, None)

    def sort(self, plan: NorthboundPlan, desired: State, now: float) -> tuple[set[Key], Units]:
        """The keys of a plan that are to be left out of it, and the units that are to be tried again now, with their
        keys. Units of which the plan has nothing are aside no more.
        """
        held, again = set[Key](), Units()
        for unit, refusal in list(self.refusals.items()):
            keys = {key for key in refusal.wanted if key in plan}
            if not keys:
                self.drop(unit)
            elif now >= refusal.until or _wanted(refusal.wanted, desired) != refusal.wanted:
                again[unit] = keys
            else:
                held |= keys
        return held, again


def format_unit(unit: Unit) -> str:
    """A unit as logs name it."""
    if isinstance(unit, RowKey):
        return f"{unit.table} {unit.key}"
    return f"{unit.kind} {unit.namespace}/{unit.name}" if unit.namespace else f"{unit.kind} {unit.name}"


def group(keys: Iterable[Key], owners: Mapping[Key, ObjectRef | None], target_of: TargetOf) -> Units:
    """Keys of a plan as units. A membership without an owner belongs to the row it refers to, if it refers to one."""
    units = Units()
    for key in keys:
        unit: Unit | None = owners.get(key)
        if unit is None:
            unit = key if isinstance(key, RowKey) else target_of(key) or parent_of(key)
        units.setdefault(unit, set()).add(key)
    return units


def waiting(left: Mapping[Key, Unit], refused: Container[Unit], target_of: TargetOf) -> dict[Unit, Unit]:
    """Units that are not refused themselves and of which something is left out, each with a unit that it waits for.

    A membership waits for the two rows it joins; a new row waits for the memberships in which it is.
    """
    found: dict[Unit, Unit] = {}
    for key, unit in left.items():
        if not isinstance(key, Member):
            continue
        target = target_of(key)
        for row in (parent_of(key), target):
            other = unit if row is None else left.get(row, unit)
            if other != unit and unit not in refused:
                found.setdefault(unit, other)
            elif other != unit and row == target and other not in refused:
                found.setdefault(other, unit)
    return found


def suspects(units: Units, keys: Collection[Key]) -> Units:
    """The units among which the fault is, when the database named these keys: those of its rows, if it named rows."""
    rows: set[Key] = {key for key in keys if isinstance(key, RowKey)}
    named = rows or set(keys)
    return {unit: those for unit, those in units.items() if not those.isdisjoint(named)}


def halves(units: Units) -> list[Units]:
    """Two halves of several units."""
    middle, items = len(units) // 2, list(units.items())
    return [dict(items[middle:]), dict(items[:middle])]


def chunks(units: Units, size: int) -> list[Units]:
    """All units in portions of at most this many."""
    items = list(units.items())
    return [dict(items[start : start + size]) for start in range(0, len(items), size)]


def _wanted(keys: Iterable[Key], desired: State) -> dict[Key, object]:
    return {key: desired.get(key, _ABSENT) for key in keys}
