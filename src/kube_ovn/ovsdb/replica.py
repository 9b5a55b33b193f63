"""The rows as they are: a copy of the monitored columns, kept up to date by the server, and those rows that are ours.

`owned` has the shape of the desired state, so that `plan.diff` can compare the two; UUIDs do not leave this package.
The cost of an update grows with the rows that changed, not with the rows there are.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kube_ovn.model.row import KEY_ID, VENDOR, VENDOR_ID, Key, Member, Row, RowKey
from kube_ovn.ovsdb.codec import Columns, Schema, apply_difference, decode_value

_Referrer = tuple[str, str, str]  # table, UUID and column of a row that refers to another


class Replica:
    """Rows by UUID with an index by key; and the facts (our rows and memberships), kept per row so that an update can
    replace them.
    """

    def __init__(self, tables: Iterable[type[Row]]) -> None:
        self.tables = {table.TABLE: table for table in tables}
        self.monitored = {name: sorted(_columns(table)) for name, table in self.tables.items()}
        """Columns to ask the server for, by table."""
        self.schema: Schema = {}
        self.owned: dict[Key, Row | None] = {}
        self.foreign: frozenset[RowKey] = frozenset()
        """The keys of rows that are not ours; a new set whenever it changes."""
        self._rows: dict[str, dict[str, Columns]] = {name: {} for name in self.tables}
        self._uuids: dict[RowKey, set[str]] = {}
        self._key_of: dict[str, RowKey] = {}
        self._facts: dict[str, dict[Key, Row | None]] = {}
        self._referrers: dict[str, set[_Referrer]] = {}
        self._changed: set[Key] | None = None

    def take_changed(self) -> set[Key] | None:
        """Keys of `owned` that changed since the last call; None after a full reload, when any may have."""
        changed, self._changed = self._changed, set()
        return changed

    def uuid(self, key: RowKey) -> str | None:
        """UUID of a row, ours or not. With several of one key, ours with the lowest UUID."""
        uuids = self._uuids.get(key)
        return min(uuids, key=lambda uuid: (not self._is_ours(key.table, uuid), uuid)) if uuids else None

    def columns(self, key: RowKey) -> Columns | None:
        """All monitored columns of a row, ours or not, as they are in the database."""
        uuid = self.uuid(key)
        return None if uuid is None else self._rows[key.table][uuid]

    def rows(self, table: str) -> list[Columns]:
        """All rows of a table; meant for tables of one row."""
        return list(self._rows[table].values())

    def reset(self) -> None:
        """Forget everything: a full reload follows."""
        for rows in self._rows.values():
            rows.clear()
        for index in (self._uuids, self._key_of, self._facts, self._referrers, self.owned):
            index.clear()
        self.foreign = frozenset()
        self._changed = None

    def apply(self, updates: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        """Apply `<table-updates2>` (ovsdb-server(7), 4.1.14): initial, insert, modify and delete of rows."""
        affected: dict[str, str] = {}  # UUID -> table
        keys = set[RowKey]()
        for table, rows in updates.items():
            for uuid, update in rows.items():
                self._apply_row(table, uuid, update, affected)
        for uuid, table in list(affected.items()):
            keys |= self._index(table, uuid, affected)
        self._replace_facts(affected)
        theirs = {key for key in keys if any(not self._is_ours(key.table, uuid) for uuid in self._uuids.get(key, ()))}
        if theirs != self.foreign & keys:
            self.foreign = (self.foreign - keys) | theirs

    def _apply_row(self, table: str, uuid: str, update: Mapping[str, Any], affected: dict[str, str]) -> None:
        types = self.schema[table].columns
        rows, old = self._rows[table], self._rows[table].get(uuid, {})
        ((kind, wire),) = update.items()
        affected[uuid] = table
        if kind == "delete":
            rows.pop(uuid, None)
            new: Columns = {}
        elif kind == "modify":
            new = {**old, **{c: apply_difference(types[c], old[c], value) for c, value in wire.items()}}
            rows[uuid] = new
        else:
            new = {
                column: decode_value(types[column], wire[column]) if column in wire else types[column].default()
                for column in self.monitored[table]
            }
            rows[uuid] = new
        for column in self.tables[table].MEMBERS:
            target_table = types[column].ref_table
            if target_table in self.tables:
                self._refer((table, uuid, column), target_table, old.get(column), new.get(column), affected)

    def _refer(self, referrer: _Referrer, table: str, old: Any, new: Any, affected: dict[str, str]) -> None:
        before, after = _references(old), _references(new)
        for target in before - after:
            self._referrers[target].discard(referrer)
            affected.setdefault(target, table)
        for target in after - before:
            self._referrers.setdefault(target, set()).add(referrer)
            affected.setdefault(target, table)

    def _index(self, table: str, uuid: str, affected: dict[str, str]) -> set[RowKey]:
        """Bring the index by key up to date for one row. When its key changes, rows with the same key and rows that
        refer to it are added to `affected`. Returns the keys that the row had and has.
        """
        columns = self._rows[table].get(uuid)
        old = self._key_of.get(uuid)
        new = RowKey(table, self._key(table, uuid, columns)) if columns is not None else None
        keys = {key for key in (old, new) if key is not None}
        if columns is None and not self._referrers.get(uuid):
            self._referrers.pop(uuid, None)
        if old == new:
            if new is not None and len(self._uuids[new]) > 1:
                affected.update(dict.fromkeys(self._uuids[new], table))
            return keys
        for key in keys:
            affected.update(dict.fromkeys(self._uuids.get(key, ()), table))
        if old is not None:
            self._uuids[old].discard(uuid)
            if not self._uuids[old]:
                del self._uuids[old]
            self._key_of.pop(uuid)
        if new is not None:
            self._uuids.setdefault(new, set()).add(uuid)
            self._key_of[uuid] = new
        self._targets_of(table, uuid, affected)
        return keys

    def _targets_of(self, table: str, uuid: str, affected: dict[str, str]) -> None:
        columns = self._rows[table].get(uuid, {})
        for column in self.tables[table].MEMBERS if columns else ():
            target_table = self.schema[table].columns[column].ref_table
            if target_table in self.tables:
                affected.update(dict.fromkeys(_references(columns[column]), target_table))

    def _key(self, table: str, uuid: str, columns: Columns) -> str:
        kind = self.tables[table]
        if kind.KEY == "external_ids":
            return str(columns["external_ids"].get(KEY_ID, uuid))
        return str(columns[kind.KEY])

    def _is_ours(self, table: str, uuid: str) -> bool:
        columns, kind = self._rows[table].get(uuid), self.tables[table]
        if columns is None:
            return False
        if kind.OURS is not None:
            return columns[kind.KEY] in kind.OURS
        return bool(columns["external_ids"].get(VENDOR_ID) == VENDOR)

    def _replace_facts(self, affected: Mapping[str, str]) -> None:
        """Replace the facts of rows: the rows, their values, and the memberships in which they are the target."""
        old: dict[Key, Row | None] = {}
        new: dict[Key, Row | None] = {}
        for uuid, table in affected.items():
            old.update(self._facts.pop(uuid, {}))
            if facts := self._facts_now(table, uuid):
                self._facts[uuid] = facts
                new.update(facts)
        for key in old:
            if key not in new:
                del self.owned[key]
                self._mark(key)
        for key, row in new.items():
            if key not in old or old[key] != row:
                self.owned[key] = row
                self._mark(key)

    def _mark(self, key: Key) -> None:
        if self._changed is not None:
            self._changed.add(key)

    def _facts_now(self, table: str, uuid: str) -> dict[Key, Row | None]:
        if not self._is_ours(table, uuid):
            return {}
        kind, columns = self.tables[table], self._rows[table][uuid]
        own = self.fact_key(uuid)
        fields = {column: columns[column] for column in kind.__struct_fields__ if column in columns}
        if kind.FOREIGN_IDS:
            kept = {key: value for key, value in columns["external_ids"].items() if key not in kind.FOREIGN_IDS}
            fields["external_ids"] = kept
        facts: dict[Key, Row | None] = {own: kind(**fields)}
        for column in kind.MEMBERS:
            if self.schema[table].columns[column].ref_table is None:
                facts.update({Member(table, own.key, column, value): None for value in columns[column]})
        for parent_table, parent, column in self._referrers.get(uuid, ()):
            facts[Member(parent_table, self.fact_key(parent).key, column, own.key)] = None
        return facts

    def fact_key(self, uuid: str) -> RowKey:
        """A row's key among the facts. Of several rows with one key all but one get a key that is never desired, so
        that the difference removes them.
        """
        key = self._key_of[uuid]
        return key if self.uuid(key) == uuid else RowKey(key.table, f"{key.key} (duplicate {uuid})")

    def has(self, key: RowKey) -> bool:
        """Whether there is such a row, ours or not."""
        return self.resolve(key) is not None

    def target(self, member: Member) -> RowKey | None:
        """The row that a membership refers to; None where the column holds plain values."""
        table = self.schema[member.table].columns[member.column].ref_table
        return None if table is None else RowKey(table, member.target)

    def resolve(self, key: RowKey) -> str | None:
        """UUID for a key as it stands among the facts, duplicates included."""
        head, mark, tail = key.key.rpartition(" (duplicate ")
        uuid = tail.removesuffix(")")
        if mark and self._key_of.get(uuid) == RowKey(key.table, head):
            return uuid
        return self.uuid(key)


def _columns(table: type[Row]) -> set[str]:
    """The columns of a table that are monitored."""
    columns = {*table.__struct_fields__, *table.MEMBERS, *table.READ}
    return columns if table.OURS is None else columns - {"external_ids"}


def _references(value: Any) -> frozenset[str]:
    if value is None:
        return frozenset()
    return frozenset({value}) if isinstance(value, str) else frozenset(value)
