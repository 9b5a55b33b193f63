"""Writes: each key's newest, none held up by another, each until the API server took it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from kube_ovn.controller import publish
from kube_ovn.controller.publish import IN_FLIGHT, Publisher
from kube_ovn.k8s.client import KubeError
from kube_ovn.model.network import Kind, ObjectRef
from kube_ovn.model.writes import Annotate, ApplyStatus, Aspect, Write, WriteKey

DEADLINE = 5.0


def write(uid: str, value: str = "1") -> Annotate:
    ref = ObjectRef(kind=Kind.POD, namespace="default", name=uid, uid=uid)
    return Annotate(object=ref, annotations={"key": value})


def key(uid: str) -> WriteKey:
    return WriteKey(uid, Aspect.ANNOTATIONS)


class Server:
    """Takes annotations, or answers with a status that was set for a UID."""

    def __init__(self) -> None:
        self.status: dict[str, int] = {}
        self.asked: Counter[str] = Counter()
        self.taken: dict[str, str] = {}
        self.told: list[str] = []
        self._changed = asyncio.Event()

    async def send(self, write: Write) -> None:
        uid = write.object.uid
        self.asked[uid] += 1
        self._changed.set()
        await asyncio.sleep(0)
        if (status := self.status.get(uid)) is not None:
            raise KubeError(status, "", "no")
        self.taken[uid] = str(write.annotations["key"] if isinstance(write, Annotate) else write)
        self._changed.set()

    def refused(self, write: Write, error: KubeError) -> None:
        self.told.append(write.object.uid)

    async def until_taken(self, *uids: str) -> None:
        await self._until(lambda: self.taken.keys() >= set(uids))

    async def until_asked(self, uid: str, times: int) -> None:
        await self._until(lambda: self.asked[uid] >= times)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def publishing(server: Server) -> AsyncIterator[Publisher]:
    publisher = Publisher(server.send, server.refused)
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(publish, "LONGEST_PAUSE", 0.01)


async def test_any_number_of_refused_objects_holds_up_no_other() -> None:
    server = Server()
    bad = [f"bad-{number}" for number in range(3 * IN_FLIGHT)]
    server.status = dict.fromkeys(bad, 422)
    async with publishing(server) as publisher:
        offered = {key(uid): write(uid) for uid in [*bad, "good"]}
        publisher.offer(offered)
        await server.until_taken("good")
        await server.until_asked(bad[0], 5)
        assert sorted(server.told) == sorted(bad), "each is told once, however often it is tried"
        server.status.clear()
        await server.until_taken(*bad)


async def test_a_write_that_was_changed_and_is_refused_again_is_told_again() -> None:
    server = Server()
    server.status["a"] = 422
    async with publishing(server) as publisher:
        for number, value in enumerate(("1", "1", "2", "2")):
            publisher.offer({key("a"): write("a", value)})
            await server.until_asked("a", 3 * (number + 1))
        assert server.told == ["a", "a"]


@pytest.mark.parametrize("status", [0, 401, 404, 408, 409, 429, 503])
async def test_what_may_pass_is_tried_again_and_not_told(status: int) -> None:
    server = Server()
    server.status["a"] = status
    async with publishing(server) as publisher:
        publisher.offer({key("a"): write("a")})
        await server.until_asked("a", 3)
        server.status.clear()
        await server.until_taken("a")
        assert server.told == []


async def test_a_refusal_is_told_after_another_failure_too() -> None:
    server = Server()
    server.status["a"] = 503
    async with publishing(server) as publisher:
        publisher.offer({key("a"): write("a")})
        await server.until_asked("a", 2)
        server.status["a"] = 422
        await server.until_asked("a", 6)
        assert server.told == ["a"]


async def test_an_answer_about_what_left_leaves_nothing_behind() -> None:
    answers = asyncio.Event()

    async def send(_: Write) -> None:
        await answers.wait()
        raise KubeError(404, "NotFound", "gone")

    publisher = Publisher(send, lambda *_: None)
    task = asyncio.create_task(publisher.run())
    publisher.offer({key("a"): write("a")})
    await asyncio.sleep(0.01)
    publisher.offer({key("a"): None})
    empty = [dict(value) for value in vars(publisher).values() if isinstance(value, dict)]
    answers.set()
    await asyncio.sleep(0.05)
    assert [value for value in vars(publisher).values() if isinstance(value, dict)] == empty == [{}] * 6
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_left_is_not_tried_again() -> None:
    server = Server()
    server.status["a"] = 404
    async with publishing(server) as publisher:
        publisher.offer({key("a"): write("a")})
        await server.until_asked("a", 2)
        publisher.offer({key("a"): None})
        await asyncio.sleep(0.05)
        asked = server.asked["a"]
        publisher.offer({key("b"): write("b")})
        await server.until_taken("b")
        await asyncio.sleep(0.05)
        assert server.asked["a"] == asked


async def test_the_newest_is_sent_and_what_was_taken_is_not_sent_again() -> None:
    server = Server()
    server.status["a"] = 503
    old, new = write("a"), write("a", "2")
    async with publishing(server) as publisher:
        publisher.offer({key("a"): old})
        await server.until_asked("a", 2)
        publisher.offer({key("a"): new})
        server.status.clear()
        await server.until_taken("a")
        await asyncio.sleep(0.05)
        assert server.taken == {"a": "2"}
        asked = server.asked["a"]
        publisher.offer({key("b"): write("b")})
        await server.until_taken("b")
        assert server.asked["a"] == asked


async def test_a_write_that_waits_is_not_lost_to_the_next_try_of_an_older_one() -> None:
    free = asyncio.Event()
    taken: list[str] = []

    async def send(write: Write) -> None:
        assert isinstance(write, Annotate)
        if write.object.uid != "a":
            await free.wait()
        elif write.annotations["key"] == "old":
            raise KubeError(409, "Conflict", "changed")
        else:
            taken.append(write.object.uid)
            done.set()

    done = asyncio.Event()
    publisher = Publisher(send, lambda *_: None)
    task = asyncio.create_task(publisher.run())
    publisher.offer({key("a"): write("a", "old")})
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the old write was refused, and its next try is due in a moment
    busy = [f"busy-{number}" for number in range(IN_FLIGHT)]
    publisher.offer({key(uid): write(uid) for uid in busy} | {key("a"): write("a", "new")})
    await asyncio.sleep(0.05)
    free.set()
    async with asyncio.timeout(DEADLINE):
        await done.wait()
    assert taken == ["a"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_status_is_written_once_in_its_time_and_the_last_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "STATUS_PERIOD", 2.0)
    sent: list[str] = []
    twice = asyncio.Event()
    ref = ObjectRef(kind=Kind.SUBNET, namespace="", name="s", uid="s")

    async def send(write: Write) -> None:
        assert isinstance(write, ApplyStatus)
        sent.append(write.version)
        if len(sent) == 2:
            twice.set()

    publisher = Publisher(send, lambda *_: None)
    task = asyncio.create_task(publisher.run())
    for version in "123456":
        status = ApplyStatus(object=ref, version=version, status={}, conditions=(), before=())
        publisher.offer({WriteKey("s", Aspect.STATUS): status})
        await asyncio.sleep(0.02)
    assert sent == ["1"]
    async with asyncio.timeout(DEADLINE):
        await twice.wait()
    assert sent == ["1", "6"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
