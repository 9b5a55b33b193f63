"""The parts of a plan that can be carried out without the rest of it. Pure.

A part is never carried out in a way that lets traffic through which the whole plan would stop: a new row waits for all
its memberships in sets, because one of them may be in the Port_Group with the ACLs that guard it.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from typing import TypeAlias

from kube_ovn.model.row import Key, Member, Row, RowKey
from kube_ovn.plan import Plan

NorthboundPlan: TypeAlias = Plan[Key, Row | None]
TargetOf: TypeAlias = Callable[[Member], RowKey | None]
"""The row that a membership refers to; None where the column holds plain values."""


def parent_of(member: Member) -> RowKey:
    """The row that has the set with a membership."""
    return RowKey(member.table, member.key)


def rows_of(key: Key, target_of: TargetOf) -> list[RowKey]:
    """The row itself, or the one or two rows that a membership joins."""
    if isinstance(key, RowKey):
        return [key]
    target = target_of(key)
    return [parent_of(key)] if target is None else [parent_of(key), target]


class Parts:
    """A whole plan, and how its changes depend on each other."""

    def __init__(self, plan: NorthboundPlan, target_of: TargetOf) -> None:
        self._target_of = target_of
        self._come = _by_target(plan.create, target_of)
        self._leave = _by_target(plan.delete, target_of)

    def sendable(
        self, part: NorthboundPlan, owned: Mapping[Key, Row | None], exists: Callable[[RowKey], bool]
    ) -> NorthboundPlan:
        """The changes of a part that can be sent now. `owned` and `exists` tell which rows the database has.

        A membership waits for its parent row and for the row it refers to. A new row waits for all its memberships.
        When a row goes, its memberships go with it, whether they are in the part or not.
        """
        waiting = self._waiting(part, owned, exists)
        sent = part.without(waiting)
        leave = {
            member: None
            for key in sent.delete
            if isinstance(key, RowKey)
            for member in self._leave.get(key, ())
            if member in owned
        }
        return Plan(create=sent.create, update=sent.update, delete={**sent.delete, **leave})

    def _waiting(self, part: NorthboundPlan, owned: Container[Key], exists: Callable[[RowKey], bool]) -> set[Key]:
        create = part.create
        hanging: dict[RowKey, list[Key]] = {}  # by new row of the part, the keys of the part that need the row
        waiting = dangling(create, exists, self._target_of)
        for key in create:
            if isinstance(key, RowKey):
                if any(member not in create and member not in owned for member in self._come.get(key, ())):
                    waiting.add(key)
                continue
            for row in (parent_of(key), self._target_of(key)):
                if row is not None and row in create:
                    hanging.setdefault(row, []).append(key)
        queue = list(waiting)
        while queue:
            key = queue.pop()
            row = self._target_of(key) if isinstance(key, Member) else None
            needy = (
                hanging.get(key, ())
                if isinstance(key, RowKey)
                else ([row] if row is not None and row in create else [])
            )
            for each in needy:
                if each not in waiting:
                    waiting.add(each)
                    queue.append(each)
        return waiting


def dangling(create: Mapping[Key, Row | None], exists: Callable[[RowKey], bool], target_of: TargetOf) -> set[Key]:
    """The new memberships with a parent or target that neither exists nor is made along with them."""
    return {
        key
        for key in create
        if isinstance(key, Member)
        for row in (parent_of(key), target_of(key))
        if row is not None and row not in create and not exists(row)
    }


def _by_target(keys: Iterable[Key], target_of: TargetOf) -> dict[RowKey, list[Member]]:
    found: dict[RowKey, list[Member]] = {}
    for key in keys:
        if isinstance(key, Member) and (row := target_of(key)) is not None:
            found.setdefault(row, []).append(key)
    return found
