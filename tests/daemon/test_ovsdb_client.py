"""The OVSDB client against a real ovsdb-server: commit and observe, reconnect, fence, what is not ours."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from kube_ovn.model import nb
from kube_ovn.model.row import Key, Member, Row, RowKey, State, facts, owned
from kube_ovn.ovsdb import connection
from kube_ovn.ovsdb.client import Client, FencedError, OvsdbError, RejectedError
from kube_ovn.plan import diff
from kube_ovn.topology.graph import Topology
from tests.daemon.ovn import Ovn, ovn
from tests.golden.scenario import SCENARIOS, load

__all__ = ["ovn"]

DEADLINE = 10.0


@asynccontextmanager
async def session(daemons: Ovn, on_change: Callable[[], None] = lambda: None) -> AsyncIterator[Client]:
    client = Client(
        [daemons.endpoint("nb")], "OVN_Northbound", nb.TABLES, on_change=on_change, fence_table=nb.NbGlobal.TABLE
    )
    task = asyncio.create_task(client.run())
    try:
        await client.synced(DEADLINE)
        yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def converge(client: Client, desired: State) -> int:
    """One pass; the number of changes it took."""
    plan = diff(desired, client.replica.owned)
    if plan:
        await client.commit(plan, DEADLINE)
    return len(plan)


def rendered(scenario: str) -> Topology:
    topology, _ = load(scenario)
    return topology


def port(name: str) -> dict[Key, Row | None]:
    row = nb.LogicalSwitchPort(name=name, addresses=frozenset({"unknown"}), external_ids=owned())
    return facts(row, members=(Member("Logical_Switch", "s", "ports", name),))


SWITCH = facts(nb.LogicalSwitch(name="s", external_ids=owned()))


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_what_was_committed_is_what_is_seen_and_needs_nothing_more(ovn: Ovn, scenario: str) -> None:
    desired = rendered(scenario).state
    async with session(ovn) as client:
        assert await converge(client, desired) > 0
        assert client.replica.owned == desired  # at once: the update comes before the reply
        assert await converge(client, desired) == 0
    async with session(ovn) as fresh:
        assert fresh.replica.owned == desired
        assert await converge(fresh, {}) > 0
        assert fresh.replica.owned == {}
    assert ovn.nbctl("--columns=name", "list", "Logical_Switch_Port").strip() == ""


async def test_changes_of_rows_sets_and_maps(ovn: Ovn) -> None:
    group = nb.PortGroup(name="g", external_ids=owned(a="1"))
    first = {**SWITCH, **port("p1"), **port("p2"), **facts(group, members=(Member("Port_Group", "g", "ports", "p1"),))}
    second = {
        **SWITCH,
        **port("p2"),
        **facts(
            nb.LogicalSwitchPort(name="p3", type="router", options={"router-port": "x"}, external_ids=owned(b="2")),
            nb.PortGroup(name="g", external_ids=owned(a="3", c="4")),
            members=(
                Member("Logical_Switch", "s", "ports", "p3"),
                Member("Port_Group", "g", "ports", "p2"),
                Member("Port_Group", "g", "ports", "p3"),
            ),
        ),
    }
    async with session(ovn) as client:
        for desired in (first, second, first):
            await converge(client, desired)
            assert client.replica.owned == desired


async def test_what_is_not_ours_stays(ovn: Ovn) -> None:
    ovn.nbctl("ls-add", "theirs", "--", "lsp-add", "theirs", "their-port")
    async with session(ovn) as client:
        await converge(client, {**SWITCH, **port("p1")})
        ovn.nbctl("lsp-add", "s", "foreign", "--", "set", "Logical_Switch_Port", "p1", "external_ids:vendor=kube-ovn")
        await converge(client, {})
        assert client.replica.owned == {}
        assert client.replica.columns(RowKey("Logical_Switch", "theirs")) is not None
    assert "their-port" in ovn.nbctl("lsp-list", "theirs")


async def test_drift_is_seen_and_repaired(ovn: Ovn) -> None:
    desired = {**SWITCH, **port("p1"), **port("p2")}
    changed = asyncio.Event()
    async with session(ovn, changed.set) as client:
        await converge(client, desired)
        for command in (
            ["lsp-del", "p1"],
            ["lsp-set-addresses", "p2", "dynamic"],
            ["ls-del", "s"],
            ["lsp-add", "s", "stray", "--", "set", "Logical_Switch_Port", "stray", "external_ids:vendor=kube-ovn"],
        ):
            changed.clear()
            ovn.nbctl(*command)
            async with asyncio.timeout(DEADLINE):
                await changed.wait()
            assert client.replica.owned != desired
            await converge(client, desired)
            assert client.replica.owned == desired


async def test_of_rows_with_one_key_only_one_is_kept(ovn: Ovn) -> None:
    for _ in range(3):
        ovn.nbctl("create", "Logical_Switch", "name=s", "external_ids:vendor=kube-ovn")
    async with session(ovn) as client:
        await converge(client, {**SWITCH, **port("p1")})
        assert client.replica.owned == {**SWITCH, **port("p1")}
    assert ovn.nbctl("ls-list").count("(s)") == 1


async def test_a_server_that_dies_comes_back_without_a_write(ovn: Ovn) -> None:
    desired = {**SWITCH, **port("p1")}
    changed = asyncio.Event()
    async with session(ovn, changed.set) as client:
        await converge(client, desired)
        for _ in range(2):
            ovn.kill("nb")
            with pytest.raises(OvsdbError):
                await client.probe(DEADLINE)
            ovn.start_database("nb")
            await client.synced(DEADLINE)
            assert await converge(client, desired) == 0


async def test_a_deleted_database_is_filled_again(ovn: Ovn) -> None:
    desired = rendered("two-nodes").state
    async with session(ovn) as client:
        await converge(client, desired)
        ovn.kill("nb")
        with pytest.raises(OvsdbError):
            await client.probe(DEADLINE)
        ovn.create_database("nb")
        ovn.start_database("nb")
        await client.synced(DEADLINE)
        assert client.replica.take_changed() is None
        assert await converge(client, desired) == len(desired)


async def test_a_deposed_leader_cannot_write(ovn: Ovn) -> None:
    async with session(ovn) as old, session(ovn) as new:
        old.fence("old")
        await converge(old, SWITCH)
        await converge(old, {**SWITCH, **port("p1")})
        async with asyncio.timeout(DEADLINE):
            while new.replica.owned != old.replica.owned:
                await new.probe(DEADLINE)
        new.fence("new")
        await converge(old, {**SWITCH, **port("p1"), **port("p2")})  # nobody has written since: still the leader
        async with asyncio.timeout(DEADLINE):
            while new.replica.owned != old.replica.owned:
                await new.probe(DEADLINE)
        await converge(new, SWITCH)
        with pytest.raises(FencedError):
            await converge(old, {**SWITCH, **port("p3")})
        await converge(new, {**SWITCH, **port("p4")})
        assert RowKey("Logical_Switch_Port", "p3") not in new.replica.owned


async def test_a_deposed_leader_cannot_write_even_where_nobody_had_led_before(ovn: Ovn) -> None:
    async with session(ovn) as old, session(ovn) as new:
        await converge(new, {})
        old.fence("old")
        new.fence("new")
        await converge(new, SWITCH)
        async with asyncio.timeout(DEADLINE):
            while old.replica.owned != new.replica.owned:
                await old.probe(DEADLINE)
        with pytest.raises(FencedError):
            await converge(old, {**SWITCH, **port("p1")})


async def test_a_leader_whose_first_answer_was_lost_still_leads(ovn: Ovn) -> None:
    async with session(ovn) as earlier, session(ovn) as client:
        earlier.fence("earlier")
        await converge(earlier, SWITCH)
        async with asyncio.timeout(DEADLINE):
            while client.replica.owned != earlier.replica.owned:
                await client.probe(DEADLINE)
        client.fence("client")
        ovn.pause("nb")
        with pytest.raises(OvsdbError, match="no answer to transact"):
            await client.commit(diff({**SWITCH, **port("p1")}, client.replica.owned), 0.5)
        ovn.resume("nb")
        await client.synced(DEADLINE)
        async with asyncio.timeout(DEADLINE):
            while RowKey("Logical_Switch_Port", "p1") not in client.replica.owned:
                await client.probe(DEADLINE)
        await converge(client, {**SWITCH, **port("p2")})


async def test_a_server_that_died_is_noticed_in_spite_of_a_small_commit(
    ovn: Ovn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PULSE", 0.3)
    async with session(ovn) as client:
        await converge(client, SWITCH)
        ovn.pause("nb")
        asked = asyncio.get_running_loop().time()
        with pytest.raises(OvsdbError):
            await client.commit(diff({**SWITCH, **port("p1")}, client.replica.owned), 0.3)
        assert not client.connected
        assert asyncio.get_running_loop().time() - asked < 1.0
        ovn.resume("nb")


async def test_what_the_schema_forbids_is_refused_whole(ovn: Ovn) -> None:
    bad = nb.LogicalRouterPolicy(priority=99999, match="1", action="allow", external_ids=owned(key="k"))
    router = nb.LogicalRouter(name="r", external_ids=owned())
    desired = facts(router, bad, members=(Member("Logical_Router", "r", "policies", "k"),))
    async with session(ovn) as client:
        with pytest.raises(RejectedError, match="constraint"):
            await converge(client, {**SWITCH, **desired})
        assert client.replica.owned == {}


async def test_a_change_in_the_same_breath_as_the_content_is_kept(ovn: Ovn) -> None:
    """The reply with the whole content and the first update may arrive in one piece."""
    asked = asyncio.Event()

    async def forward(theirs: asyncio.StreamReader, ours: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_unix_connection(f"{ovn.folder}/nb.sock")

        async def to_server() -> None:
            while data := await theirs.read(1 << 16):
                writer.write(data)
                if b'"monitor_cond_since"' in data:
                    asked.set()

        async def to_client() -> None:
            held = b""
            while data := await reader.read(1 << 16):
                held += data
                if not asked.is_set() or b'"update3"' in held:
                    ours.write(held)
                    held = b""

        try:
            await asyncio.gather(to_server(), to_client())
        finally:
            writer.close()
            ours.close()

    path = f"{ovn.folder}/proxy.sock"
    async with session(ovn) as client:
        await converge(client, SWITCH)
    async with await asyncio.start_unix_server(forward, path):
        client = Client([f"unix:{path}"], "OVN_Northbound", nb.TABLES)
        task = asyncio.create_task(client.run())
        await asyncio.wait_for(asked.wait(), DEADLINE)
        await asyncio.to_thread(
            ovn.nbctl, "lsp-add", "s", "late", "--", "set", "Logical_Switch", "s", "external_ids:a=b"
        )
        await client.synced(DEADLINE)
        assert client.replica.columns(RowKey("Logical_Switch_Port", "late")) is not None
        assert client.replica.owned[RowKey("Logical_Switch", "s")] == nb.LogicalSwitch(
            name="s", external_ids=owned(a="b")
        )
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_server_busy_with_what_it_was_asked_is_not_given_up(ovn: Ovn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PULSE", 0.3)
    async with session(ovn) as client:
        await converge(client, SWITCH)
        ovn.pause("nb")
        commit = asyncio.create_task(client.commit(diff({**SWITCH, **port("p1")}, client.replica.owned), DEADLINE))
        await asyncio.sleep(1.0)  # more than three pulses
        assert client.connected
        ovn.resume("nb")
        await commit
        ovn.pause("nb")
        late = asyncio.create_task(client.commit(diff(SWITCH, client.replica.owned), 0.8))
        with pytest.raises(OvsdbError, match="no answer to transact"):
            await late
        assert not client.connected  # what became of the transaction is seen by following anew
        ovn.resume("nb")
        await client.synced(DEADLINE)
        assert await converge(client, SWITCH) in (0, 2)
