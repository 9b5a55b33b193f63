"""A plan as one transaction: operations of RFC 7047 section 5.2, and what their results mean. Pure.

New rows are inserted with their memberships; elements of existing sets and entries of maps are sent as mutations, so
that those of other programs beside them stay. A row of a table that is not a root goes when it loses its last
reference.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from kube_ovn.model.row import Key, Member, Row, RowKey
from kube_ovn.ovsdb.codec import ColumnType, encode_set, encode_value
from kube_ovn.ovsdb.errors import ConflictError, FencedError, RejectedError, UnableError, UnsendableError
from kube_ovn.ovsdb.replica import Replica
from kube_ovn.plan import Plan

Operation = dict[str, Any]

FENCE = "kube-ovn-leader"
"""The external_ids entry, in the one row of the root table, that names the controller which may write."""

CONFLICTS = frozenset({"referential integrity violation", "aborted"})
INABILITIES = frozenset(
    {"I/O error", "resources exhausted", "cluster error", "not allowed", "permission error", "timed out"}
    | {"database not available", "not owner", "canceled"}
)
"""Errors that another transaction would meet as well."""
LONGEST_DETAILS = 400
_SENTENCE = ".  "
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


class Step(NamedTuple):
    """One operation, and the keys of the plan that it carries out: first the row's own, if it changes one row."""

    operation: Operation
    keys: tuple[Key, ...] = ()


class Transaction:
    """Builds the operations for one plan against one replica."""

    def __init__(self, plan: Plan[Key, Row | None], replica: Replica) -> None:
        self._plan, self._replica, self._schema = plan, replica, replica.schema
        self._names = {key: f"row{number}" for number, key in enumerate(plan.create) if isinstance(key, RowKey)}
        self._new_members: dict[RowKey, dict[str, list[Member]]] = {}
        self._removed: dict[tuple[RowKey, str], list[Member]] = {}
        self._added: dict[tuple[RowKey, str], list[Member]] = {}
        self._faults: dict[Key, str] = {}

    def steps(self) -> list[Step]:
        """All operations, to be sent together. Raises ConflictError when the replica lacks a row the plan builds on,
        UnsendableError for all values that cannot be sent.
        """
        self._sort_members()
        steps = [*self._inserts(), *self._updates(), *self._member_mutations(), *self._deletes()]
        if self._faults:
            raise UnsendableError(self._faults)
        return steps

    def _sort_members(self) -> None:
        deleted = {key for key in self._plan.delete if isinstance(key, RowKey)}
        for key in self._plan.create:
            if isinstance(key, Member):
                parent = RowKey(key.table, key.key)
                if parent in self._names:
                    self._new_members.setdefault(parent, {}).setdefault(key.column, []).append(key)
                else:
                    self._added.setdefault((parent, key.column), []).append(key)
        for key in self._plan.delete:
            if not isinstance(key, Member):
                continue
            parent = RowKey(key.table, key.key)
            if parent not in deleted or self._outlives(key, deleted):
                self._removed.setdefault((parent, key.column), []).append(key)

    def _outlives(self, member: Member, deleted: Set[RowKey]) -> bool:
        """Whether a membership must be removed by its own operation though its row goes too: rows of tables that are no
        roots go only after the server has looked for references to the rows that are deleted by name.
        """
        table = self._schema[member.table].columns[member.column].ref_table
        if table is None or self._schema[member.table].is_root or not self._schema[table].is_root:
            return False
        return RowKey(table, member.target) in deleted

    def _inserts(self) -> Iterator[Step]:
        for key, row in self._plan.create.items():
            if not isinstance(key, RowKey) or row is None:
                continue
            types = self._schema[key.table].columns
            columns: dict[str, Any] = {}
            for column in row.__struct_fields__:
                if column in types:
                    columns[column] = self._value(key, types, column, getattr(row, column))
            members: list[Member] = []
            for column, those in self._new_members.get(key, {}).items():
                columns[column] = self._targets(those)
                members += those
            operation = {"op": "insert", "table": key.table, "row": columns, "uuid-name": self._names[key]}
            yield Step(operation, (key, *members))

    def _updates(self) -> Iterator[Step]:
        for key, (old, new) in self._plan.update.items():
            if not isinstance(key, RowKey) or old is None or new is None:
                continue
            columns, mutations = self._changes(key, old, new)
            target = {"table": key.table, "where": self._where(key)}
            if columns:
                yield Step({"op": "update", **target, "row": columns}, (key,))
            if mutations:
                yield Step({"op": "mutate", **target, "mutations": mutations}, (key,))

    def _changes(self, key: RowKey, old: Row, new: Row) -> tuple[dict[str, Any], list[Any]]:
        """The columns to set, and the mutations of map entries."""
        types = self._schema[key.table].columns
        columns: dict[str, Any] = {}
        mutations: list[Any] = []
        for column in new.__struct_fields__:
            before, after = getattr(old, column), getattr(new, column)
            if before == after:
                continue
            if not types[column].is_map:
                columns[column] = self._value(key, types, column, after)
                continue
            if gone := [entry for entry, value in before.items() if after.get(entry) != value]:
                mutations.append([column, "delete", encode_set(gone)])
            if come := {entry: value for entry, value in after.items() if before.get(entry) != value}:
                mutations.append([column, "insert", self._value(key, types, column, come)])
        return columns, mutations

    def _member_mutations(self) -> Iterator[Step]:
        for parent, column in dict.fromkeys([*self._removed, *self._added]):
            removed, added = self._removed.get((parent, column), []), self._added.get((parent, column), [])
            mutations = []
            if removed:
                mutations.append([column, "delete", self._targets(removed)])
            if added:
                mutations.append([column, "insert", self._targets(added)])
            operation = {"op": "mutate", "table": parent.table, "where": self._where(parent), "mutations": mutations}
            yield Step(operation, (*removed, *added))

    def _deletes(self) -> Iterator[Step]:
        for key in self._plan.delete:
            if isinstance(key, RowKey) and self._schema[key.table].is_root:
                yield Step({"op": "delete", "table": key.table, "where": self._where(key)}, (key,))

    def _value(self, key: Key, types: Mapping[str, ColumnType], column: str, value: Any) -> Any:
        """The wire form of a column's value; one that cannot be sent is remembered, so that all are named at once."""
        try:
            return encode_value(types[column], value)
        except ValueError as error:
            self._faults.setdefault(key, f"{column} {error}")
            return None

    def _targets(self, members: Sequence[Member]) -> Any:
        """The wire form of a set's elements: values, or references by UUID or by the name of an insert."""
        try:
            return encode_set(map(self._target, members))
        except ValueError as error:
            for member in members:
                self._check_target(member, str(error))
            return None

    def _check_target(self, member: Member, said: str) -> None:
        try:
            encode_set([member.target])
        except ValueError:
            self._faults.setdefault(member, f"{member.column} {said}")

    def _target(self, member: Member) -> Any:
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
    marked = [["external_ids", "delete", ["set", [FENCE]]], ["external_ids", "insert", ["map", [[FENCE, holder]]]]]
    return [wait, {"op": "mutate", "table": table, "where": [], "mutations": marked}]


def check(steps: Sequence[Step], results: Sequence[Any]) -> None:
    """Raise the exception that the results of a transaction mean. A transaction with an error in it wrote nothing."""
    for number, result in enumerate(results):
        if isinstance(result, dict) and "error" in result:
            raise _refusal(steps, results, number)
    for (operation, _), result in zip(steps, results, strict=False):
        if operation["op"] in ("update", "mutate", "delete") and result.get("count") != 1:
            raise ConflictError(f"a row of {operation['table']} was gone when it was to be changed")


def _refusal(steps: Sequence[Step], results: Sequence[Any], number: int) -> Exception:
    """The exception for the error at this place. An error after all operations concerns the transaction as a whole."""
    tag, details = results[number]["error"], str(results[number].get("details") or "")
    said = f"{tag}: {_lasting(details)[:LONGEST_DETAILS]}".rstrip(": ")
    step = steps[number] if number < len(steps) else None
    if step is not None and step.operation["op"] == "wait":
        return FencedError(f"another controller has become the leader ({said})")
    if tag in CONFLICTS:
        return ConflictError(said)
    if tag in INABILITIES:
        return UnableError(said)
    if step is None:
        return RejectedError(said, _named(steps, results, details))
    return RejectedError(f"{step.operation['op']} in {step.operation['table']}: {said}", step.keys)


def _lasting(details: str) -> str:
    """The sentences that are the same when the transaction is tried again: those without the UUIDs of new rows."""
    sentences = [each for each in details.split(_SENTENCE) if not _UUID.search(each)]
    return _SENTENCE.join(sentences) or _UUID.sub("(UUID)", details)


def _named(steps: Sequence[Step], results: Sequence[Any], details: str) -> tuple[Key, ...]:
    """The keys of the rows that the server names by their UUID, as far as the steps insert or change them."""
    uuids = set(_UUID.findall(details))
    return tuple(
        step.keys[0] for step, result in zip(steps, results, strict=False) if step.keys and uuids & _uuids(step, result)
    )


def _uuids(step: Step, result: Any) -> set[str]:
    """The UUIDs of the row that an operation makes or changes."""
    operation = step.operation
    if operation["op"] == "insert":
        return {result["uuid"][1]}
    return {reference[1] for _, _, reference in operation["where"]}
