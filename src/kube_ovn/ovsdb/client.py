"""The session with one OVSDB database; the rest of the project uses this class.

    client = Client(("tcp:172.30.0.11:6641",), "OVN_Northbound", nb.TABLES, on_change=dirty.mark)
    group.create_task(client.run())         # connects, follows, reconnects; for ever
    await client.synced(30)                 # the replica is complete
    plan = diff(desired, client.replica.owned)
    await client.commit(plan, 10)           # one transaction; on return the replica shows it

A client goes from endpoint to endpoint until one serves the database as leader, follows it with `monitor_cond_since`
(ovsdb-server(7), 4.1.15), and after a reconnect asks only for the changes since. Every failure is an `OvsdbError`.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog

from kube_ovn.model.row import Key, Row
from kube_ovn.ovsdb.codec import parse_schema
from kube_ovn.ovsdb.commit import FENCE, Operation, Step, Transaction, check, fence
from kube_ovn.ovsdb.connection import Connection
from kube_ovn.ovsdb.errors import (
    ConflictError,
    FencedError,
    OvsdbError,
    RejectedError,
    SessionEndedError,
    UnableError,
    UnsendableError,
)
from kube_ovn.ovsdb.replica import Replica
from kube_ovn.plan import Plan
from kube_ovn.reconcile import Backoff

__all__ = [
    "Client",
    "ConflictError",
    "FencedError",
    "OvsdbError",
    "RejectedError",
    "SessionEndedError",
    "UnableError",
    "UnsendableError",
]

log = structlog.get_logger()

SETUP_DEADLINE = 60.0
"""Seconds for the schema or the whole content of a large database."""

_NEVER = "00000000-0000-0000-0000-000000000000"
_SERVER_COLUMNS = ["name", "model", "connected", "leader"]


class Client:
    """Follows and writes one database. `run` must be running for the rest to work. Deadlines are in seconds."""

    def __init__(
        self,
        endpoints: Sequence[str],
        database: str,
        tables: Iterable[type[Row]],
        *,
        on_change: Callable[[], None] = lambda: None,
        tls: ssl.SSLContext | None = None,
        fence_table: str | None = None,
    ) -> None:
        self.replica = Replica(tables)
        self.last_transaction = _NEVER
        self._endpoints, self._database, self._on_change, self._tls = tuple(endpoints), database, on_change, tls
        self._connection: Connection | None = None
        self._following = asyncio.Event()
        self._early: list[list[Any]] = []  # updates that came before the content they build on was taken in
        self._fence_table = fence_table
        self._fence: tuple[str | None, str] | None = None  # the mark that must be there, and ours
        self._writing = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Whether the replica follows the database now."""
        return self._following.is_set() and self._connection is not None and not self._connection.closed

    async def run(self) -> None:
        """Stay connected until cancelled."""
        backoff = Backoff(ceiling=2.0)
        while True:
            for endpoint in self._endpoints:
                try:
                    await self._session(endpoint, backoff)
                except OvsdbError as error:
                    log.warning("database session ended", database=self._database, endpoint=endpoint, error=str(error))
            await backoff.wait()  # after all endpoints: during an election it is not known which one will lead

    async def synced(self, deadline: float) -> None:
        """Wait until the replica is complete and follows the database. Raises OvsdbError."""
        try:
            async with asyncio.timeout(deadline):
                while not self.connected:
                    self._following.clear()
                    await self._following.wait()
        except TimeoutError:
            where = ", ".join(self._endpoints)
            raise OvsdbError(f"no leader of {self._database} at {where} within {deadline:g} s") from None

    async def probe(self, deadline: float) -> None:
        """Prove that the database answers this session: an empty transaction goes there and back. Raises OvsdbError."""
        await self._transact([], deadline)

    def fence(self, holder: str) -> None:
        """From now on write only while no other controller has set its mark; the first real change sets ours.

        To be called when the Lease was acquired. A controller that lost the Lease to another, which then wrote, gets
        FencedError; a plan without changes writes no mark.
        """
        self._fence = (self._mark(), holder)

    async def commit(self, plan: Plan[Key, Row | None], deadline: float) -> None:
        """Carry out a plan as one transaction; afterwards the replica shows it. Raises OvsdbError.

        After ConflictError make the plan again; after FencedError stop writing; after RejectedError the plan would be
        refused again, and the error names the keys if the database does.
        """
        async with self._writing:
            steps = Transaction(plan, self.replica).steps()
            if self._fence is not None and self._fence_table is not None:
                expected, holder = self._fence
                if self._mark() == holder:
                    expected = holder  # set by a transaction of ours that got no answer
                elif expected is None and self._mark() is not None:
                    raise FencedError("another controller has become the leader")
                rows = self.replica.rows(self._fence_table)
                steps = [*map(Step, fence(self._fence_table, rows, expected, holder)), *steps]
            check(steps, await self._transact([step.operation for step in steps], deadline))
            if self._fence is not None:
                self._fence = (self._fence[1], self._fence[1])

    async def count_up(self, table: str, column: str, deadline: float) -> int:
        """Add one to a number in the one row of a table. Returns the new number. Raises OvsdbError."""
        add: Operation = {"op": "mutate", "table": table, "where": [], "mutations": [[column, "+=", 1]]}
        read: Operation = {"op": "select", "table": table, "where": [], "columns": [column]}
        steps = [Step(add), Step(read)]
        results = await self._transact([add, read], deadline)
        check(steps, results)
        return int(results[1]["rows"][0][column])

    def _mark(self) -> str | None:
        if self._fence_table is None:
            return None
        marks = [row["external_ids"].get(FENCE) for row in self.replica.rows(self._fence_table)]
        return marks[0] if marks else None

    async def _transact(self, operations: list[Operation], deadline: float) -> list[Any]:
        if self._connection is None or not self.connected:
            raise OvsdbError(f"not connected to {self._database}")
        results = await self._connection.request("transact", [self._database, *operations], deadline)
        assert isinstance(results, list)
        return results

    async def _session(self, endpoint: str, backoff: Backoff) -> None:
        """One connection from start to end. Raises OvsdbError."""
        connection = await Connection.connect(endpoint, self._notify, self._tls)
        self._connection, self._early = connection, []
        # Not a TaskGroup: in Python 3.11 it loses a cancellation that comes together with the error of a child.
        reading = asyncio.ensure_future(connection.run())
        try:
            await self._require_leader(connection)
            await self._follow(connection)
            backoff.reset()
            log.info("following database", database=self._database, endpoint=endpoint)
            # Not `await reading`: a cancellation handed on to a task that is about to fail is lost.
            await asyncio.wait([reading])
            reading.result()
        finally:
            self._following.clear()
            self._connection = None
            connection.close(OvsdbError("session ended"))
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _require_leader(self, connection: Connection) -> None:
        """Follow the server's own row of the database (`_Server`). Raises OvsdbError when the server is not the leader
        or is cut off from its cluster.
        """
        request = {"Database": {"columns": _SERVER_COLUMNS}}
        params = ["_Server", "server", request]
        for rows in (await connection.request("monitor_cond", params, SETUP_DEADLINE)).values():
            for update in rows.values():
                self._judge(update.get("initial", {}))

    def _judge(self, row: dict[str, Any]) -> None:
        if row.get("name") != self._database or row.get("model") != "clustered":
            return
        if not row.get("connected", False):
            raise OvsdbError("the server is cut off from its cluster")
        if not row.get("leader", False):
            raise OvsdbError("the server is not the leader")

    async def _follow(self, connection: Connection) -> None:
        schema = parse_schema(await connection.request("get_schema", [self._database], SETUP_DEADLINE))
        for table, columns in self.replica.monitored.items():
            if missing := [c for c in columns if table not in schema or c not in schema[table].columns]:
                raise RejectedError(f"{self._database} has no {table}.{missing[0]}: its schema is too old")
        self.replica.schema = schema
        request = {table: [{"columns": columns}] for table, columns in self.replica.monitored.items()}
        params = [self._database, "rows", request, self.last_transaction]
        found, last, updates = await connection.request("monitor_cond_since", params, SETUP_DEADLINE)
        if not found:
            self.replica.reset()
        for transaction, changes in ([last, updates], *self._early):
            self.replica.apply(changes)
            self.last_transaction = transaction
        self._following.set()
        self._on_change()

    def _notify(self, method: str, params: list[Any]) -> None:
        """Handle a notification from the server, in order with the replies."""
        match method, params:
            case "update3", ["rows", last, updates] if not self._following.is_set():
                self._early.append([last, updates])
            case "update3", ["rows", last, updates]:
                self.replica.apply(updates)
                self.last_transaction = last
                self._on_change()
            case "update2", ["server", {"Database": rows}]:
                self._server_changed(rows)

    def _server_changed(self, rows: dict[str, Any]) -> None:
        """Leave a server that lost the leadership or its cluster. A `modify` names only the columns that changed."""
        for update in rows.values():
            change = update.get("modify", {})
            if change.get("leader") is False or change.get("connected") is False:
                connection = self._connection
                if connection is not None:
                    connection.close(OvsdbError("the server is not the leader any more"))
