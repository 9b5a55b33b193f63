"""The OVSDB client against servers of other kinds: one behind TLS, and a cluster whose leader goes away."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from kube_ovn.model import nb
from kube_ovn.model.row import Key, Row, facts, owned
from kube_ovn.ovsdb.client import Client, OvsdbError
from kube_ovn.ovsdb.tls import load_tls
from kube_ovn.plan import diff
from tests.daemon.ovn import SCHEMAS, Ovn
from tests.unit.test_ovsdb_tls import Authority

DEADLINE = 15.0
DATABASE = "OVN_Northbound"
MEMBERS = ("m1", "m2", "m3")

Log = list[MutableMapping[str, Any]]


class Servers(Ovn):
    """Northbound servers that `Ovn` does not know; like there, all are killed in the end."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._left: set[str] = set()

    def start_tls(self, secret: Path) -> str:
        """A server that wants certificates of one CA; its endpoint."""
        remote = ["--remote=pssl:0:127.0.0.1", f"--unixctl={self.folder}/tls.ctl"]
        files = [f"--ca-cert={secret}/cacert", f"--certificate={secret}/cert", f"--private-key={secret}/key"]
        self._start("tls", self.argv("ovsdb-server", *remote, *files, f"{self.folder}/nb.db"))
        log, port = self.folder / "tls.log", re.compile(r"listening on port (\d+)")
        self._await(lambda: port.search(log.read_text()), "database behind TLS")
        return f"ssl:127.0.0.1:{port.findall(log.read_text())[-1]}"

    def start_cluster(self) -> None:
        first, *others = ((name, f"unix:{self.folder}/{name}.raft") for name in MEMBERS)
        self.run("ovsdb-tool", "create-cluster", f"{self.folder}/m1.db", f"{self.root}/{SCHEMAS['nb']}", first[1])
        for name, address in others:
            self.run("ovsdb-tool", "join-cluster", f"{self.folder}/{name}.db", DATABASE, address, first[1])
        for name in MEMBERS:
            self.start_database(name)
        for name in MEMBERS:
            self._await(lambda name=name: "Status: cluster member" in self.status(name), name)

    def leave(self, member: str) -> None:
        """Have a member leave the cluster. When it has, it does not know of the database any more."""
        self.run("ovs-appctl", "-t", f"{self.folder}/{member}.ctl", "cluster/leave", DATABASE)
        self._left.add(member)

    def status(self, member: str) -> str:
        return self.run("ovs-appctl", "-t", f"{self.folder}/{member}.ctl", "cluster/status", DATABASE)

    def endpoints(self) -> list[str]:
        """Those of the cluster, the leader last."""
        return [self.endpoint(name) for name in sorted(MEMBERS, key=lambda name: name == self.leader())]

    def leader(self) -> str:
        found: list[str] = []

        def look() -> bool:
            found[:] = self._leaders()
            return bool(found)

        self._await(look, "a leader")
        return found[0]

    def _leaders(self) -> list[str]:
        there = [name for name in MEMBERS if name in self._processes and name not in self._left]
        return [name for name in there if "Role: leader" in self.status(name)]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    made = Servers(tmp_path)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def cluster(servers: Servers) -> Servers:
    servers.start_cluster()
    return servers


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


async def test_tls_with_a_certificate_of_the_same_ca(servers: Servers, authority: Authority) -> None:
    endpoint = servers.start_tls(authority.issue("server"))
    tls = load_tls([endpoint], authority.issue("client"))
    for present in ({}, switches(3)):
        async with following([endpoint], tls) as client:
            await client.synced(DEADLINE)
            assert client.replica.owned == present
            await converge(client, switches(3))
            assert client.replica.owned == switches(3)


async def test_a_server_of_another_ca_is_refused(servers: Servers, authority: Authority, tmp_path: Path) -> None:
    endpoint = servers.start_tls(authority.issue("server"))
    tls = load_tls([endpoint], Authority(tmp_path / "other").issue("client"))
    await assert_refused(endpoint, tls, "certificate verify failed")


async def test_a_client_without_certificate_is_refused(servers: Servers, authority: Authority) -> None:
    secret = authority.issue("server")
    endpoint = servers.start_tls(secret)
    tls = ssl.create_default_context(cafile=str(secret / "cacert"))
    tls.check_hostname = False
    await assert_refused(endpoint, tls, "connection lost|connection closed")
    await assert_refused(endpoint, None, "wants certificates")


async def test_a_follower_is_not_taken_for_the_leader(cluster: Servers) -> None:
    for endpoint in cluster.endpoints()[:-1]:
        await assert_refused(endpoint, None, "the server is not the leader")


@pytest.mark.parametrize("end", ["kill", "leave"])
async def test_the_next_leader_is_found(cluster: Servers, end: str) -> None:
    async with following(cluster.endpoints()) as client:
        await client.synced(DEADLINE)
        await converge(client, switches(3))
        before = cluster.leader()
        if end == "kill":
            cluster.kill(before)
        else:
            cluster.leave(before)
        await until(lambda: not client.connected)
        await client.synced(DEADLINE)
        assert client.replica.owned == switches(3)
        await converge(client, switches(4))
        assert client.replica.owned == switches(4)
        after = cluster.leader()
        assert after != before
        assert names_at(cluster, after) == names(switches(4))


async def test_no_commit_is_lost_or_made_twice(cluster: Servers) -> None:
    """A leader is killed with a commit under way, three times; whether it went through, the next session shows."""
    async with following(cluster.endpoints()) as client:
        await client.synced(DEADLINE)
        for number in range(1, 4):
            await converge(client, switches(10 * number - 1))
            leader = cluster.leader()
            under_way = asyncio.ensure_future(converge(client, switches(10 * number)))
            await asyncio.sleep(0)  # sent
            cluster.kill(leader)
            await asyncio.gather(under_way, return_exceptions=True)
            await until(lambda: not client.connected)
            await client.synced(DEADLINE)
            assert client.replica.owned in (switches(10 * number - 1), switches(10 * number))
            await converge(client, switches(10 * number))
            assert names_at(cluster, cluster.leader()) == names(switches(10 * number))
            cluster.start_database(leader)


@asynccontextmanager
async def following(endpoints: Sequence[str], tls: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    client = Client(endpoints, DATABASE, nb.TABLES, tls=tls)
    task = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def assert_refused(endpoint: str, tls: ssl.SSLContext | None, sentence: str) -> None:
    """The client says why, again and again, and never follows the server."""
    with capture_logs() as log:
        async with following([endpoint], tls) as client:
            await until(lambda: len([entry for entry in log if re.search(sentence, str(entry.get("error")))]) > 2)
            assert not client.connected
            with pytest.raises(OvsdbError, match="no leader"):
                await client.synced(0.1)
    assert {entry["event"] for entry in log} == {"database session ended"}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - what is waited for is in other processes
            await asyncio.sleep(0.01)


async def converge(client: Client, desired: dict[Key, Row | None]) -> None:
    await client.commit(diff(desired, client.replica.owned), DEADLINE)


def switches(count: int) -> dict[Key, Row | None]:
    """Rows whose names the schema does not keep unique: what is committed twice is there twice."""
    return facts(*(nb.LogicalSwitch(name=f"s{number}", external_ids=owned()) for number in range(count)))


def names(desired: dict[Key, Row | None]) -> list[str]:
    return sorted(key.key for key in desired)


def names_at(cluster: Servers, member: str) -> list[str]:
    options = (f"--db={cluster.endpoint(member)}", "--bare", "--columns=name")
    return sorted(cluster.run("ovn-nbctl", *options, "list", "Logical_Switch").split())
