"""The changes of an OVSDB database, with the time at which each was seen on a connection of our own."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench.news import News
from kube_ovn.ovsdb.connection import Connection
from kube_ovn.ovsdb.errors import OvsdbError

NORTHBOUND, SOUTHBOUND = "OVN_Northbound", "OVN_Southbound"
DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class Told:
    """One transaction's changes: rows by table and UUID, each as `insert`, `modify` or `delete` with its columns."""

    at: float
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]]

    def inserted(self, table: str) -> list[Mapping[str, Any]]:
        return [change["insert"] for change in self.rows.get(table, {}).values() if "insert" in change]


class Monitor:
    """The changes of one database since `monitoring` began."""

    def __init__(self, database: str) -> None:
        self.told: list[Told] = []
        self._database, self._news = database, News()
        self._connection: Connection | None = None

    def note(self, method: str, params: list[Any]) -> None:
        if method == "update2":
            self.told.append(Told(time.perf_counter(), params[1]))
            self._news.tell()

    async def follow(self, connection: Connection, tables: Mapping[str, Sequence[str]] | None) -> None:
        """Follow these columns of these tables; all columns of all tables when there are none."""
        self._connection = connection
        if tables is None:
            schema = await connection.request("get_schema", [self._database], DEADLINE)
            tables = {table: list(form["columns"]) for table, form in schema["tables"].items()}
        asked = {table: {"columns": list(each), "select": {"initial": False}} for table, each in tables.items()}
        await connection.request("monitor_cond", [self._database, "all", asked], DEADLINE)

    async def transact(self, *operations: Mapping[str, Any], deadline: float = DEADLINE) -> list[Any]:
        assert self._connection is not None
        replies: list[Any] = await self._connection.request("transact", [self._database, *operations], deadline)
        return replies

    async def count(self, table: str) -> int:
        (reply,) = await self.transact({"op": "select", "table": table, "where": [], "columns": ["_uuid"]})
        return len(reply["rows"])

    async def until(self, what: str, done: Callable[[], bool], deadline: float = DEADLINE) -> float:
        """Wait until `done`; returns the time of the last transaction seen. Raises TimeoutError with a sentence."""
        await self._news.until(what, done, deadline)
        return self.told[-1].at

    async def more(self, what: str, than: int) -> float:
        """The time of the first transaction after the first `than` ones. Raises TimeoutError with a sentence."""
        await self.until(what, lambda: len(self.told) > than)
        return self.told[than].at

    def touched(self, since: int) -> Counter[str]:
        """The number of changed rows by table, in the transactions after the first `since` ones."""
        return Counter(table for told in self.told[since:] for table, rows in told.rows.items() for _ in rows)


@asynccontextmanager
async def monitoring(
    endpoint: str, database: str, tables: Mapping[str, Sequence[str]] | None = None
) -> AsyncIterator[Monitor]:
    """Monitor a database in a `with` block."""
    monitor = Monitor(database)
    connection = await Connection.connect(endpoint, monitor.note, None)
    reading = asyncio.ensure_future(connection.run())
    try:
        await monitor.follow(connection, tables)
        yield monitor
    finally:
        connection.close(OvsdbError("measured"))
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
