"""OVSDB values and Python values, by schema (RFC 7047 section 5.1). Pure; the only place here with `Any`.

Python values: str, int, float, bool; `None` for an empty optional; `frozenset` for sets; `dict` for maps. References
are UUID strings; `ovsdb.replica` and `ovsdb.commit` turn them into keys and back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Value: TypeAlias = Any
Columns: TypeAlias = dict[str, Any]

_DEFAULTS: dict[str, Any] = {"string": "", "integer": 0, "real": 0.0, "boolean": False, "uuid": "0" * 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnType:
    """A column's type as the server declares it."""

    key: str
    value: str | None
    ref_table: str | None
    min: int
    max: int | None  # None = unlimited

    @property
    def is_map(self) -> bool:
        return self.value is not None

    @property
    def is_composite(self) -> bool:
        """Whether a column can hold more than one value: changes arrive as differences and can be sent as mutations."""
        return self.max is None or self.max > 1

    def default(self) -> Value:
        """The value of a column that the server leaves out (RFC 7047 section 5.2.1)."""
        if self.is_map:
            return {}
        if self.is_composite:
            return frozenset()
        return _DEFAULTS[self.key] if self.min else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSchema:
    columns: Mapping[str, ColumnType]
    is_root: bool


Schema: TypeAlias = Mapping[str, TableSchema]


def parse_schema(document: Mapping[str, Any]) -> dict[str, TableSchema]:
    """Parse the reply of `get_schema`. A schema in which no table is marked as root has only root tables."""
    tables = document["tables"]
    some_root = any(table.get("isRoot", False) for table in tables.values())
    return {
        name: TableSchema(
            columns={column: _column_type(spec["type"]) for column, spec in table["columns"].items()},
            is_root=table.get("isRoot", False) or not some_root,
        )
        for name, table in tables.items()
    }


def _column_type(spec: Any) -> ColumnType:
    if isinstance(spec, str):
        return ColumnType(key=spec, value=None, ref_table=None, min=1, max=1)
    key, value = spec["key"], spec.get("value")
    most = spec.get("max", 1)
    return ColumnType(
        key=key if isinstance(key, str) else key["type"],
        value=None if value is None else value if isinstance(value, str) else value["type"],
        ref_table=None if isinstance(key, str) else key.get("refTable"),
        min=spec.get("min", 1),
        max=None if most == "unlimited" else most,
    )


def decode_value(kind: ColumnType, wire: Any) -> Value:
    """The Python value of a value on the wire."""
    if kind.is_map:
        return {_atom(key): _atom(value) for key, value in wire[1]}
    atoms = _atoms(wire)
    if kind.is_composite:
        return frozenset(atoms)
    return atoms[0] if atoms else None


def encode_value(kind: ColumnType, value: Value) -> Any:
    """The wire form of a value; all we send goes through here. Raises ValueError for a text no database can hold."""
    if kind.is_map:
        entries = [[key, entry] for key, entry in sorted(value.items())]
        for key, entry in entries:
            _check_text(key)
            _check_text(entry)
        return ["map", entries]
    if kind.is_composite:
        return encode_set(value)
    if value is None:
        return ["set", []]
    _check_text(value)
    return value


def encode_set(values: Iterable[Any]) -> Any:
    """The wire form of a set; references in it are encoded already. Raises ValueError as `encode_value` does."""
    ordered = sorted(values)
    for value in ordered:
        _check_text(value)
    return ["set", ordered]


def _check_text(value: Any) -> None:
    """Raise ValueError for U+0000, at which ovsdb-server ends the session (`lib/json.c`), and for a lone surrogate,
    which has no form in UTF-8.
    """
    if type(value) is not str or (value.isascii() and "\0" not in value):
        return
    if "\0" in value:
        raise ValueError("holds the character U+0000, which no database can hold")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"holds half of a character, U+{ord(value[error.start]):04X}") from None


def apply_difference(kind: ColumnType, old: Value, wire: Any) -> Value:
    """The value after a `modify` of update2/update3 (ovsdb-server(7), 4.1.14): a difference for composite columns."""
    change = decode_value(kind, wire)
    if not kind.is_composite:
        return change
    if not kind.is_map:
        return old ^ change
    result = dict(old)
    for key, value in change.items():
        if key in result and result[key] == value:
            del result[key]
        else:
            result[key] = value
    return result


def _atoms(wire: Any) -> list[Any]:
    if isinstance(wire, list) and wire[0] == "set":
        return [_atom(item) for item in wire[1]]
    return [_atom(wire)]


def _atom(wire: Any) -> Any:
    return wire[1] if isinstance(wire, list) else wire
