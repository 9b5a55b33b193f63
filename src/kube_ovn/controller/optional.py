"""The rows that the controller leaves alone while a kind of object that may be missing is. Pure.

A kind may be missing (its definition is not installed) or forbidden. Objects of it that are known stay known and in
effect. If it was never listed, its objects are unknown, not absent: the rows that an earlier controller made of them
stay as they are, and no new row comes beside them, for it may be what one of them has to become.
"""

from collections.abc import Collection

from kube_ovn.controller.parts import NorthboundPlan, TargetOf, rows_of
from kube_ovn.model.nb import AddressSet
from kube_ovn.model.row import Key, RowKey, State
from kube_ovn.topology.inputs import OPTIONAL


def kept(plan: NorthboundPlan, unknown: Collection[str], owned: State, target_of: TargetOf) -> set[Key]:
    """The keys of a plan that are left as they are in the database (`owned`) while these kinds are unknown: the rows of
    their tables, and the memberships that join such rows.
    """
    tables = frozenset[str]().union(*(OPTIONAL[kind] for kind in unknown))
    if not tables:
        return set()
    return {
        key
        for key in plan
        if any(row.table in tables and not _is_other_set(row, owned) for row in rows_of(key, target_of))
    }


def _is_other_set(row: RowKey, owned: State) -> bool:
    """Whether a row is an Address_Set that is made of no IPPool. A new one is: no IPPool is known."""
    there = owned.get(row)
    return row.table == AddressSet.TABLE and (there is None or "ippool" not in there.external_ids)
