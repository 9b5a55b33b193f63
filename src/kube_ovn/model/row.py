"""The shape of database rows everywhere outside `ovsdb/`: typed structs that refer to one another by key, not by UUID.

A `Row` declares exactly the columns that this project writes; a column that it does not declare is never changed. The
desired state of a database is one flat mapping of `Key` to `Row` (a row exists) or `None` (a membership exists).
`topology/` and `host/` render it, `ovsdb.replica` observes it, `plan.diff` compares it, and `ovsdb.commit` sends the
difference.
"""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple, TypeAlias

import msgspec


class RowKey(NamedTuple):
    """The identity of one row: its table and its key within the table (`Row.key`)."""

    table: str
    key: str


class Member(NamedTuple):
    """One element of a set column that grows with the cluster, such as `Logical_Switch.ports`.

    Large sets are compared and sent element by element (RFC 7047 `mutate`), so that one more port costs one element,
    not the whole column. `target` is the key of the row referred to where the schema says the column holds references
    (`refTable`), else the value itself.
    """

    table: str
    key: str
    column: str
    target: str


Key: TypeAlias = RowKey | Member


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all rows. Field names are the OVSDB schema's column names; values are str, int, bool, `None` (an empty
    optional), `frozenset[str]` (a small set that this row owns whole) and `dict[str, str]` (a map owned whole).

    TABLE   table name of the OVSDB schema
    KEY     the column that names the row; "external_ids" for tables without a name column: rows carry their key in
            external_ids under `KEY_ID`
    MEMBERS the set columns maintained as `Member`, not as part of the row
    READ    columns that are monitored but never written; they are read as raw columns of the replica
    OURS    in tables without external_ids, where rows cannot carry the mark of ownership: the keys of owned rows
    FOREIGN_IDS  external_ids entries that another program keeps on owned rows: not compared, not written, not removed
    """

    TABLE: ClassVar[str]
    KEY: ClassVar[str] = "name"
    MEMBERS: ClassVar[tuple[str, ...]] = ()
    READ: ClassVar[tuple[str, ...]] = ()
    OURS: ClassVar[frozenset[str] | None] = None
    FOREIGN_IDS: ClassVar[frozenset[str]] = frozenset()

    external_ids: dict[str, str] = {}

    @property
    def key(self) -> str:
        """The row's key: unique within its table among the rows this project owns."""
        if self.KEY == "external_ids":
            return self.external_ids[KEY_ID]
        return str(getattr(self, self.KEY))

    @property
    def row_key(self) -> RowKey:
        return RowKey(self.TABLE, self.key)


KEY_ID = "key"
"""external_ids entry that holds the key of a row in a table without a name column."""

VENDOR_ID = "vendor"
VENDOR = "kube-ovn"
"""external_ids `vendor=kube-ovn`: the mark of ownership. A row without it is never changed or removed."""

State: TypeAlias = Mapping[Key, Row | None]
"""A database, or the part of it that this project owns: rows under their `RowKey`, `None` under each `Member`."""


def owned(**external_ids: str) -> dict[str, str]:
    """The external_ids of a row that this project owns: the mark of ownership, and these entries."""
    return {VENDOR_ID: VENDOR, **external_ids}


def facts(*rows: Row, members: tuple[Member, ...] = ()) -> dict[Key, Row | None]:
    """Rows and memberships as one piece of a `State`. Raises ValueError when two of them have one key."""
    state: dict[Key, Row | None] = {row.row_key: row for row in rows}
    state.update(dict.fromkeys(members))
    if len(state) != len(rows) + len(members):
        raise ValueError(f"two facts with one key among {sorted(map(str, state))}")
    return state
