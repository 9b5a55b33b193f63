"""A plan as one transaction: operations of RFC 7047 section 5.2, and what their results mean. Pure.

New rows are inserted with their memberships; elements of existing sets and entries of maps are sent as mutations, so
what other programs keep beside ours survives. A row of a table that is not a root goes by losing its last reference.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Any

from kube_ovn.model.row import Key, Member, Row, RowKey
from kube_ovn.ovsdb.codec import ColumnType, encode_set, encode_value
from kube_ovn.ovsdb.errors import ConflictError, FencedError, RejectedError
from kube_ovn.ovsdb.replica import Replica
from kube_ovn.plan import Plan

Operation = dict[str, Any]

FENCE = "kube-ovn-leader"
"""external_ids entry of the root table's one row that names the controller which may write."""


class Transaction:
    """Builds the operations for one plan against one replica."""

    def __init__(self, plan: Plan[Key, Row | None], replica: Replica) -> None:
        self._plan, self._replica, self._schema = plan, replica, replica.schema
        self._names = {key: f"row{number}" for number, key in enumerate(plan.create) if isinstance(key, RowKey)}
        self._new_members: dict[RowKey, dict[str, list[Any]]] = {}
        self._mutations: dict[tuple[RowKey, str], tuple[list[Any], list[Any]]] = {}

    def operations(self) -> list[Operation]:
        """All operations, to be sent together. Raises ConflictError when the replica lacks a row the plan builds on."""
        self._sort_members()
        return [*self._inserts(), *self._updates(), *self._member_mutations(), *self._deletes()]

    def _sort_members(self) -> None:
        deleted = {key for key in self._plan.delete if isinstance(key, RowKey)}
        for key in self._plan.create:
            if isinstance(key, Member):
                parent = RowKey(key.table, key.key)
                if parent in self._names:
                    self._new_members.setdefault(parent, {}).setdefault(key.column, []).append(self._target(key))
                else:
                    self._mutations.setdefault((parent, key.column), ([], []))[1].append(self._target(key))
        for key in self._plan.delete:
            if not isinstance(key, Member):
                continue
            parent = RowKey(key.table, key.key)
            if parent not in deleted or self._outlives(key, deleted):
                self._mutations.setdefault((parent, key.column), ([], []))[0].append(self._target(key))

    def _outlives(self, member: Member, deleted: Set[RowKey]) -> bool:
        """Whether a reference is in the way: rows that are no roots go only after the server has looked for references
        to those that are deleted by name.
        """
        table = self._schema[member.table].columns[member.column].ref_table
        if table is None or self._schema[member.table].is_root or not self._schema[table].is_root:
            return False
        return RowKey(table, member.target) in deleted

    def _inserts(self) -> list[Operation]:
        operations = []
        for key, row in self._plan.create.items():
            if not isinstance(key, RowKey) or row is None:
                continue
            types = self._schema[key.table].columns
            columns = {
                column: encode_value(types[column], getattr(row, column))
                for column in row.__struct_fields__
                if column in types
            }
            for column, targets in self._new_members.get(key, {}).items():
                columns[column] = encode_set(targets)
            operations.append({"op": "insert", "table": key.table, "row": columns, "uuid-name": self._names[key]})
        return operations

    def _updates(self) -> list[Operation]:
        operations = []
        for key, (old, new) in self._plan.update.items():
            if not isinstance(key, RowKey) or old is None or new is None:
                continue
            columns, mutations = _changes(self._schema[key.table].columns, old, new)
            if columns:
                operations.append({"op": "update", "table": key.table, "where": self._where(key), "row": columns})
            if mutations:
                operations.append(
                    {"op": "mutate", "table": key.table, "where": self._where(key), "mutations": mutations}
                )
        return operations

    def _member_mutations(self) -> list[Operation]:
        operations = []
        for (parent, column), (removed, added) in self._mutations.items():
            mutations = []
            if removed:
                mutations.append([column, "delete", encode_set(removed)])
            if added:
                mutations.append([column, "insert", encode_set(added)])
            operations.append(
                {"op": "mutate", "table": parent.table, "where": self._where(parent), "mutations": mutations}
            )
        return operations

    def _deletes(self) -> list[Operation]:
        return [
            {"op": "delete", "table": key.table, "where": self._where(key)}
            for key in self._plan.delete
            if isinstance(key, RowKey) and self._schema[key.table].is_root
        ]

    def _target(self, member: Member) -> Any:
        """A membership's element on the wire: the value, or a reference by UUID or by the name of an insert."""
        table = self._schema[member.table].columns[member.column].ref_table
        if table is None:
            return member.target
        key = RowKey(table, member.target)
        return ["named-uuid", self._names[key]] if key in self._names else ["uuid", self._uuid(key)]

    def _where(self, key: RowKey) -> list[Any]:
        return [["_uuid", "==", ["uuid", self._uuid(key)]]]

    def _uuid(self, key: RowKey) -> str:
        uuid = self._replica.resolve(key)
        if uuid is None:
            raise ConflictError(f"there is no {key.table} {key.key} in the database")
        return uuid


def _changes(types: Mapping[str, ColumnType], old: Row, new: Row) -> tuple[dict[str, Any], list[Any]]:
    """Columns to set, and mutations of map entries."""
    columns: dict[str, Any] = {}
    mutations: list[Any] = []
    for column in new.__struct_fields__:
        before, after = getattr(old, column), getattr(new, column)
        if before == after:
            continue
        if not types[column].is_map:
            columns[column] = encode_value(types[column], after)
            continue
        if gone := [key for key, value in before.items() if after.get(key) != value]:
            mutations.append([column, "delete", encode_set(gone)])
        if come := {key: value for key, value in after.items() if before.get(key) != value}:
            mutations.append([column, "insert", encode_value(types[column], come)])
    return columns, mutations


def fence(table: str, seen: Sequence[Mapping[str, Any]], expected: str | None, holder: str) -> list[Operation]:
    """Operations that let a transaction through only while `expected` is the leader's mark, and set it to `holder`.

    `seen` are the root table's rows in the replica. `wait` with a timeout of 0 fails at once (RFC 7047 section 5.2.6).
    """
    wait: Operation = {"op": "wait", "table": table, "timeout": 0, "columns": ["external_ids"]}
    if expected is not None:
        mark = ["external_ids", "includes", ["map", [[FENCE, expected]]]]
        wait |= {"where": [mark], "until": "!=", "rows": []}
    else:
        rows = [{"external_ids": ["map", [[k, v] for k, v in sorted(row["external_ids"].items())]]} for row in seen]
        wait |= {"where": [], "until": "==", "rows": rows}
    if expected == holder:
        return [wait]
    if not seen:
        return [wait, {"op": "insert", "table": table, "row": {"external_ids": ["map", [[FENCE, holder]]]}}]
    claim = [["external_ids", "delete", ["set", [FENCE]]], ["external_ids", "insert", ["map", [[FENCE, holder]]]]]
    return [wait, {"op": "mutate", "table": table, "where": [], "mutations": claim}]


def check(operations: Sequence[Operation], results: Sequence[Any]) -> None:
    """Raise what the results of a transaction mean. A transaction with an error in it wrote nothing."""
    for number, result in enumerate(results):
        if isinstance(result, dict) and "error" in result:
            operation = operations[number] if number < len(operations) else {"op": "commit"}
            said = f"{result['error']}: {result.get('details', '')}".rstrip(": ")
            if operation["op"] == "wait":
                raise FencedError(f"another controller has become the leader ({said})")
            if result["error"] in ("referential integrity violation", "aborted"):
                raise ConflictError(said)
            raise RejectedError(f"{operation['op']} in {operation.get('table', 'the transaction')}: {said}")
    for operation, result in zip(operations, results, strict=False):
        if operation["op"] in ("update", "mutate", "delete") and result.get("count") != 1:
            raise ConflictError(f"a row of {operation['table']} was gone when it was to be changed")
