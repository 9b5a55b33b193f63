"""The address history on a real API server: durable, in order, and shared by two leaders for a moment."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from prometheus_client import REGISTRY

from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.k8s.history import CONFIG_MAPS, SEGMENT, History
from kube_ovn.model import names
from kube_ovn.model.history import Record
from kube_ovn.model.resource import NAMESPACES
from tests.daemon.kube_apiserver import KubeApiserver, kube_apiserver

__all__ = ["kube_apiserver"]

DEADLINE = 30.0
SLOTS, SIZE = 3, 4
_numbers = count(1)


def record(number: int, holder: str = "pod") -> Record:
    return Record(
        addresses=f"10.16.0.{number},fd00:10:16::{number:x}",
        mac=f"0a:00:00:00:00:{number:02x}",
        subnet="ovn-default",
        holder=f"Pod default/{holder}-{number}",
        uid=f"uid-{holder}-{number}",
        since="2025-11-25T10:00:00Z",
        until="2025-11-25T11:00:00Z",
    )


RECORDS = [record(number) for number in range(40)]


class Deaf(Client):
    """Does not hear the answers to its first writes, and counts all."""

    lost = writes = 0

    async def request(self, method: str, path: str, **options: Any) -> bytes:
        answer = await super().request(method, path, **options)
        if method in ("POST", "PUT"):
            self.writes += 1
            if self.writes <= self.lost:
                raise KubeError(0, "Timeout", "no answer in time", path)
        return answer


@pytest.fixture
async def client(kube_apiserver: KubeApiserver) -> AsyncIterator[Client]:
    async with Client(load_credentials(str(kube_apiserver.kubeconfig))) as client:
        yield client


@pytest.fixture
async def namespace(client: Client) -> str:
    name = f"history-{next(_numbers)}"
    await client.create(NAMESPACES, "", {"metadata": {"name": name}})
    return name


@asynccontextmanager
async def writing(client: Client, namespace: str, *, slots: int = SLOTS, size: int = SIZE) -> AsyncIterator[History]:
    """One leader's term."""
    history = History(client, namespace, slots=slots, size=size)
    await history.load()
    async with asyncio.TaskGroup() as group, asyncio.timeout(DEADLINE):
        task = group.create_task(history.run())
        yield history
        task.cancel()


async def stored(client: Client, namespace: str, *, slots: int = SLOTS, size: int = SIZE) -> list[Record]:
    """What the next leader, or `kubectl ko ipam explain`, reads."""
    history = History(client, namespace, slots=slots, size=size)
    await history.load()
    return list(history.records)


def conflicts() -> float:
    labels = {"method": "PUT", "code": "409"}
    return REGISTRY.get_sample_value("kube_ovn_kubernetes_requests_total", labels) or 0


async def test_what_was_appended_is_there_after_a_restart(client: Client, namespace: str) -> None:
    assert await stored(client, namespace) == []
    for one in RECORDS[:6]:
        async with writing(client, namespace) as history:
            await history.append(one)
            assert history.records[-1] == one
    assert await stored(client, namespace) == RECORDS[:6]


async def test_the_oldest_are_overwritten(client: Client, namespace: str) -> None:
    async with writing(client, namespace) as history:
        for one in RECORDS[:31]:
            await history.append(one)
        kept = [*RECORDS[20:31]]
        assert history.records == kept, "two full segments and one of three"
    assert await stored(client, namespace) == kept


async def test_all_that_waits_goes_into_the_next_write(
    kube_apiserver: KubeApiserver, client: Client, namespace: str
) -> None:
    async with Deaf(load_credentials(str(kube_apiserver.kubeconfig))) as counting:
        async with writing(counting, namespace, slots=names.HISTORY_SEGMENTS, size=SEGMENT) as history:
            await asyncio.gather(*map(history.append, RECORDS))
        assert counting.writes <= 2
    name = names.history_segment(0)
    found = json.loads(await client.request("GET", CONFIG_MAPS.path(namespace, name)))
    assert found["data"]["sequence"] == "0"
    assert [json.loads(line)["holder"] for line in found["data"]["records"].splitlines()] == [
        each.holder for each in RECORDS
    ], "one JSON object a line, as people read it with kubectl"


async def test_what_the_dead_leader_wrote_is_not_written_again(client: Client, namespace: str) -> None:
    async with writing(client, namespace) as history:
        await asyncio.gather(*map(history.append, RECORDS[:SIZE]))
    async with writing(client, namespace) as history:
        await history.append(RECORDS[SIZE])
        await asyncio.gather(*map(history.append, RECORDS[: SIZE + 1]))
    assert await stored(client, namespace) == RECORDS[: SIZE + 1]


async def test_two_writers_at_once_lose_nothing(kube_apiserver: KubeApiserver, client: Client, namespace: str) -> None:
    before = conflicts()
    ours, theirs = ([record(number, who) for number in range(25)] for who in ("old", "new"))
    async with (
        Client(load_credentials(str(kube_apiserver.kubeconfig))) as other,
        writing(client, namespace, slots=20) as one,
        writing(other, namespace, slots=20) as two,
    ):
        for mine, others in zip(ours, theirs, strict=True):
            await asyncio.gather(one.append(mine), two.append(others))
    found = await stored(client, namespace, slots=20)
    assert conflicts() > before, "they did meet"
    assert len(found) == 50
    assert [each for each in found if each in ours] == ours
    assert [each for each in found if each in theirs] == theirs


async def test_an_answer_that_was_lost_doubles_nothing(kube_apiserver: KubeApiserver, namespace: str) -> None:
    async with Deaf(load_credentials(str(kube_apiserver.kubeconfig))) as deaf:
        deaf.lost = 2
        async with writing(deaf, namespace) as history:
            await asyncio.gather(*map(history.append, RECORDS[:7]))
            assert history.records == RECORDS[:7]
            assert deaf.writes >= deaf.lost
        assert await stored(deaf, namespace) == RECORDS[:7]


async def test_an_outage_delays_and_loses_nothing(
    kube_apiserver: KubeApiserver, client: Client, namespace: str
) -> None:
    async with writing(client, namespace) as history:
        await history.append(RECORDS[0])
        kube_apiserver.kill()
        waiting = asyncio.gather(*map(history.append, RECORDS[1:4]))
        await asyncio.to_thread(kube_apiserver.start)
        assert not waiting.done() or history.records == RECORDS[:4]
        await waiting
    assert await stored(client, namespace) == RECORDS[:4]


async def test_who_gave_up_waiting_stops_nobody(client: Client, namespace: str) -> None:
    history = History(client, namespace, slots=SLOTS, size=SIZE)
    given_up = asyncio.ensure_future(history.append(RECORDS[0]))
    await asyncio.sleep(0)
    given_up.cancel()
    async with asyncio.TaskGroup() as group, asyncio.timeout(DEADLINE):
        task = group.create_task(history.run())
        await history.append(RECORDS[1])
        task.cancel()
    assert await stored(client, namespace) == [RECORDS[1]]


@pytest.mark.parametrize("data", [{}, {"sequence": "1", "records": "nonsense"}, {"sequence": "77", "records": ""}])
async def test_a_damaged_segment_is_left_out_and_overwritten_in_its_turn(
    client: Client, namespace: str, data: dict[str, str]
) -> None:
    async with writing(client, namespace) as history:
        await asyncio.gather(*map(history.append, RECORDS[: SIZE + 2]))
    name = names.history_segment(1)
    await client.patch(CONFIG_MAPS, namespace, name, {"data": {"sequence": None, "records": None, **data}})
    assert await stored(client, namespace) == RECORDS[:SIZE]
    async with writing(client, namespace) as history:
        await history.append(RECORDS[9])
    assert await stored(client, namespace) == [*RECORDS[:SIZE], RECORDS[9]]


async def test_a_segment_that_somebody_deleted_is_made_anew(client: Client, namespace: str) -> None:
    async with writing(client, namespace) as history:
        await history.append(RECORDS[0])
        await client.request("DELETE", CONFIG_MAPS.path(namespace, names.history_segment(0)))
        await history.append(RECORDS[1])
    assert await stored(client, namespace) == [RECORDS[1]]
