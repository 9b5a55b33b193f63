"""The Northbound database as it is, read through our own client, and everything that is written to it.

Its port is for nodes only, so the tests come through its Unix socket.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kube_ovn.model import nb
from kube_ovn.model.row import Row
from kube_ovn.ovsdb.client import Client
from kube_ovn.ovsdb.codec import Columns
from kube_ovn.ovsdb.connection import Connection, Notify
from kube_ovn.ovsdb.errors import OvsdbError
from sandbox.layout import CONTROL_PLANE_NODE
from sandbox.network import netns_path

_DATABASE = "OVN_Northbound"
_DEADLINE = 20.0


def _endpoint() -> str:
    """The socket of the database, through the root directory of its process. Raises OvsdbError while there is none."""
    own = netns_path(CONTROL_PLANE_NODE.netns).stat().st_ino
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"ovnnb_db.json" in (process / "cmdline").read_bytes() and (process / "ns/net").stat().st_ino == own:
                return f"unix:{process}/root/run/ovn/ovnnb_db.sock"
        except OSError:
            continue  # it has ended meanwhile
    raise OvsdbError("the Northbound database does not run")


def read_rows(table: type[Row]) -> list[Columns]:
    """All rows of a table."""
    return asyncio.run(_read_rows(table))


async def _read_rows(table: type[Row]) -> list[Columns]:
    client = Client([_endpoint()], _DATABASE, [table])
    task = asyncio.create_task(client.run())
    try:
        await client.synced(_DEADLINE)
        return client.replica.rows(table.TABLE)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def read_ports(namespace: str) -> dict[str, Columns]:
    """The logical ports of a Namespace's Pods, by name."""
    rows = read_rows(nb.LogicalSwitchPort)
    return {row["name"]: row for row in rows if row["name"].endswith(f".{namespace}")}


def until_nodes_follow(within: float = _DEADLINE) -> None:
    """Wait until every node has done what the Northbound database says by now (`nb_cfg` in ovn-nb(5)). Raises
    TimeoutError.
    """
    asyncio.run(asyncio.wait_for(_until_nodes_follow(), within))


async def _until_nodes_follow() -> None:
    done: asyncio.Queue[int] = asyncio.Queue()

    def note(method: str, params: list[Any]) -> None:
        if method == "update2":
            for change in params[1]["NB_Global"].values():
                done.put_nowait(next(iter(change.values()))["hv_cfg"])

    asked = {"op": "mutate", "table": "NB_Global", "where": [], "mutations": [["nb_cfg", "+=", 1]]}
    told = {"op": "select", "table": "NB_Global", "where": [], "columns": ["nb_cfg"]}
    async with _connected(note) as connection:
        columns = {"NB_Global": [{"columns": ["hv_cfg"]}]}
        await connection.request("monitor_cond", [_DATABASE, "cfg", columns], _DEADLINE)
        _, reply = await connection.request("transact", [_DATABASE, asked, told], _DEADLINE)
        while await done.get() < reply["rows"][0]["nb_cfg"]:
            pass


@asynccontextmanager
async def _connected(note: Notify) -> AsyncIterator[Connection]:
    """A connection in a `with` block. Fails when the connection is lost before the end."""
    connection = await Connection.connect(_endpoint(), note, None)
    reading = asyncio.create_task(connection.run())
    try:
        yield connection
        assert not reading.done(), "the monitor lost its connection"
    finally:
        connection.close(OvsdbError("done"))
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@asynccontextmanager
async def all_updates() -> AsyncIterator[list[Any]]:
    """Every change of any column of any table during the `with` block, as the server sends it."""
    updates: list[Any] = []

    def note(method: str, params: list[Any]) -> None:
        if method == "update2":
            updates.append(params[1])

    async with _connected(note) as connection:
        schema = await connection.request("get_schema", [_DATABASE], _DEADLINE)
        everything: dict[str, Any] = {table: [{}] for table in schema["tables"]}
        await connection.request("monitor_cond", [_DATABASE, "all", everything], _DEADLINE)
        yield updates
        await connection.request("echo", [], _DEADLINE)  # replies keep their order: all changes so far have arrived
