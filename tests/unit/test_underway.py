"""Whether a process is alive: work that never ends is noticed, and an outage is not taken for it."""

import asyncio
import threading
from typing import cast

import pytest
from prometheus_client import REGISTRY

from kube_ovn import reconcile as loops
from kube_ovn.config import parse_flags
from kube_ovn.controller import main as controller
from kube_ovn.controller.settings import Settings
from kube_ovn.daemon import main as daemon
from kube_ovn.daemon import plumbing
from kube_ovn.daemon.settings import Settings as DaemonSettings
from kube_ovn.k8s.client import Client as Kube
from kube_ovn.reconcile import STUCK, Dirty, Underway, reconcile
from kube_ovn.telemetry import Check


class OutageError(Exception):
    pass


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_oldest_piece_of_work_is_named_when_it_is_stuck() -> None:
    clock = Clock()
    underway = Underway(clock)
    with underway.watch("the first"):
        clock.now += 1
        with underway.watch("the second"):
            clock.now += STUCK - 1
            assert underway.complaint() is None
            clock.now += 1
            assert underway.complaint() == f"the first has been under way for {STUCK + 1:.0f} s"
    assert underway.complaint() is None


async def test_passes_that_fail_for_days_are_no_reason_to_start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops.Backoff, "wait", lambda self: asyncio.sleep(0))
    clock, done = Clock(), asyncio.Event()
    underway = Underway(clock)
    said = []

    async def make_pass() -> None:
        clock.now += STUCK / 2
        said.append(underway.complaint())
        if len(said) == 500:
            done.set()
        raise OutageError

    task = asyncio.create_task(reconcile(Dirty(), make_pass, (OutageError,), underway=underway))
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()
    assert set(said) == {None}


async def test_a_loop_with_nothing_to_do_is_alive() -> None:
    clock, passed = Clock(), asyncio.Event()
    underway = Underway(clock)

    async def make_pass() -> None:
        passed.set()

    task = asyncio.create_task(reconcile(Dirty(), make_pass, (), underway=underway))
    await asyncio.wait_for(passed.wait(), 10)
    await asyncio.sleep(0)
    clock.now += 100 * STUCK
    assert underway.complaint() is None
    task.cancel()


async def test_a_pass_that_never_ends_is_noticed() -> None:
    clock, begun = Clock(), asyncio.Event()
    underway = Underway(clock)

    async def make_pass() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(reconcile(Dirty(), make_pass, (), underway=underway))
    await asyncio.wait_for(begun.wait(), 10)
    clock.now += STUCK + 1
    assert "make_pass has been under way for" in (underway.complaint() or "")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert underway.complaint() is None


async def test_a_hung_thread_is_noticed_and_so_is_a_call_that_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, begun, over = Clock(), threading.Barrier(5), threading.Event()
    monkeypatch.setattr(plumbing, "underway", Underway(clock))

    def hang() -> None:
        begun.wait(10)
        over.wait(10)

    hung = [asyncio.create_task(plumbing.run(hang)) for _ in range(4)]
    await asyncio.to_thread(begun.wait, 10)
    try:
        clock.now += STUCK - 1
        waiting = asyncio.create_task(plumbing.run(int))
        await asyncio.sleep(0)
        assert plumbing.underway.complaint() is None
        clock.now += 2
        assert plumbing.underway.complaint() == f"hang in the kernel has been under way for {STUCK + 1:.0f} s"
        for task in hung:
            task.cancel()
        await asyncio.sleep(0)
        assert plumbing.underway.complaint() is not None, "a thread goes on when its task is cancelled"
    finally:
        over.set()
    await asyncio.gather(*hung, waiting, return_exceptions=True)
    assert plumbing.underway.complaint() is None


class SeenError(Exception):
    pass


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Check]:
    """The checks that a program gives to /livez. The program ends there."""
    found: dict[str, Check] = {}

    def look(port: int, live: dict[str, Check], *others: object, **more: object) -> None:
        found.update(live)
        raise SeenError

    for program in (controller, daemon):
        monkeypatch.setattr(program, "serve_health", look)
    return found


async def test_livez_of_the_daemon_asks_for_passes_and_for_calls_into_the_kernel(seen: dict[str, Check]) -> None:
    made = daemon.Daemon(DaemonSettings(node_name="node1"), cast(Kube, None))
    with pytest.raises(SeenError):
        await made.run()
    REGISTRY.unregister(made._node.traffic)
    assert seen == {"passes": made._underway.complaint, "kernel": plumbing.underway.complaint}
    assert [check() for check in seen.values()] == [None, None]
    watched = asyncio.get_running_loop().create_future()

    async def make_pass() -> None:
        watched.set_result([what for _, what in made._underway._begun.values()])

    task = asyncio.create_task(made._reconcile(Dirty(), make_pass))
    assert await asyncio.wait_for(watched, 10) == [make_pass.__qualname__]
    task.cancel()


async def test_livez_of_the_controller_asks_for_passes(seen: dict[str, Check], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = parse_flags(Settings, "p", ["--ovn-nb-addr=tcp:127.0.0.1:1"], {})
    made = controller.Controller(settings, settings.fabric(), settings.timing(), cast(Kube, None), None)

    async def no_leader() -> None:
        return None

    monkeypatch.setattr(made._election, "unheld", no_leader)
    with pytest.raises(SeenError):
        await made.run()
    assert seen == {"pass": made._underway.complaint}
