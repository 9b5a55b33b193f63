"""Setting units aside that the Northbound database refuses, so that everything else goes on. Pure.

A unit is an object with all rows made for it, or one row of the fabric's own with its memberships. A unit stays aside
until its desired rows change or its time has come; then it is tried again, after everything else and on its own.
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
    """The part of the topology that finds the object for which each row is made, and makes the messages for its
    user.
    """

    def owners(self, keys: Collection[Key]) -> Mapping[Key, ObjectRef | None]:
        """The object that each row is made for; None, or no entry, for a row of the fabric's own."""
        ...

    def set_aside(self, refused: Mapping[ObjectRef, str]) -> None:
        """Take over the objects that are set aside now, each with the reason, so that their users are told with the
        next pass. The desired rows stay the same.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Why a unit is set aside, its desired rows at that time, and the loop time at which it is tried again."""

    reason: str
    wanted: Mapping[Key, object]
    until: float


class Aside:
    """All units that are set aside."""

    def __init__(self) -> None:
        self.exclusions: dict[Unit, Exclusion] = {}

    @property
    def due(self) -> float | None:
        """The loop time at which the next unit is to be tried again; None when no unit is set aside."""
        return min((each.until for each in self.exclusions.values()), default=None)

    def reasons(self) -> dict[ObjectRef, str]:
        """Why objects are set aside, for their users."""
        return {unit: each.reason for unit, each in self.exclusions.items() if isinstance(unit, ObjectRef)}

    def put(self, unit: Unit, keys: Iterable[Key], desired: State, reason: str, until: float) -> None:
        """Set a unit aside with these keys. Keys with which it is set aside already are added if their desired rows are
        the same as then. Only these keys are left out of the next plan.
        """
        before = self.exclusions.get(unit)
        still = () if before is None else (key for key, value in before.wanted.items() if _want(key, desired) == value)
        wanted = {key: _want(key, desired) for key in (*still, *keys)}
        self.exclusions[unit] = Exclusion(reason=reason, wanted=wanted, until=until)

    def drop(self, unit: Unit) -> None:
        self.exclusions.pop(unit, None)

    def sort(self, plan: NorthboundPlan, desired: State, now: float) -> tuple[set[Key], Units]:
        """The keys of a plan that are to be left out of it, and the units that are to be tried again now, with their
        keys; these keys may belong to other objects by now. A unit without a key in the plan is set aside no more.
        """
        excluded, again = set[Key](), Units()
        for unit, exclusion in list(self.exclusions.items()):
            keys = {key for key in exclusion.wanted if key in plan}
            if not keys:
                self.drop(unit)
            elif now >= exclusion.until or any(_want(key, desired) != was for key, was in exclusion.wanted.items()):
                again[unit] = keys
            else:
                excluded |= keys
        return excluded, again


def format_unit(unit: Unit) -> str:
    """The name of a unit in logs."""
    if isinstance(unit, RowKey):
        return f"{unit.table} {unit.key}"
    return f"{unit.kind} {unit.namespace}/{unit.name}" if unit.namespace else f"{unit.kind} {unit.name}"


def group(keys: Iterable[Key], owners: Mapping[Key, ObjectRef | None], target_of: TargetOf) -> Units:
    """Group keys of a plan into units. A membership without an owner belongs to the row it refers to, if any."""
    units = Units()
    for key in keys:
        unit: Unit | None = owners.get(key)
        if unit is None:
            unit = key if isinstance(key, RowKey) else target_of(key) or parent_of(key)
        units.setdefault(unit, set()).add(key)
    return units


def waiting(left: Mapping[Key, Unit], refused: Container[Unit], target_of: TargetOf) -> dict[Unit, Unit]:
    """The units that are not refused themselves but have keys that are left out, each with a unit that it waits for.

    A membership waits for the two rows it joins; a new row waits for its memberships in other rows.
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
    """The units that may be at fault when the database named these keys: those of the named rows, if there are any."""
    rows: set[Key] = {key for key in keys if isinstance(key, RowKey)}
    named = rows or set(keys)
    return {unit: those for unit, those in units.items() if not those.isdisjoint(named)}


def halves(units: Units) -> list[Units]:
    """Split units into two halves."""
    middle, items = len(units) // 2, list(units.items())
    return [dict(items[middle:]), dict(items[:middle])]


def chunks(units: Units, size: int) -> list[Units]:
    """Split units into portions of at most `size`."""
    items = list(units.items())
    return [dict(items[start : start + size]) for start in range(0, len(items), size)]


def _want(key: Key, desired: State) -> object:
    return desired.get(key, _ABSENT)
