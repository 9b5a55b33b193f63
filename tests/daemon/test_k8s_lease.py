"""Leader election on a real API server: takeover, loss, release, and never two leaders at once."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest

from kube_ovn.k8s.client import Client
from kube_ovn.k8s.credentials import Credentials, load_credentials
from kube_ovn.k8s.lease import LEASES, Election, LeaseLostError, Timing
from tests.daemon.kube_apiserver import KubeApiserver, kube_apiserver
from tests.fakes.proxy import Proxy

__all__ = ["kube_apiserver"]

TIMING = Timing(duration=3, deadline=2, period=0.5)
SOON = 1.0
"""Far less than the duration: whoever leads within it did not wait for a Lease to expire."""
NAMESPACE = "default"
_numbers = count(1)


class Candidate:
    """One process: when it led, and how that ended."""

    def __init__(self, client: Client, lease: str, identity: str) -> None:
        self.election = Election(client, NAMESPACE, lease, identity, TIMING)
        self.leading = asyncio.Event()
        self.complaint: str | None = None
        self.led_from = self.led_until = 0.0
        self.epoch = 0
        self.task = asyncio.create_task(self.election.lead(self._work, lambda: self.complaint))

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        self.led_from, self.epoch = loop.time(), self.election.epoch
        self.leading.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.led_until = loop.time()

    async def led(self, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            await self.leading.wait()

    async def stop(self) -> None:
        """As on SIGTERM."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def lost(self, seconds: float) -> str:
        with pytest.raises(ExceptionGroup) as group:
            async with asyncio.timeout(seconds):
                await self.task
        (error,) = group.value.exceptions
        assert isinstance(error, LeaseLostError)
        return str(error)


@pytest.fixture
async def client(kube_apiserver: KubeApiserver) -> AsyncIterator[Client]:
    async with Client(load_credentials(str(kube_apiserver.kubeconfig))) as client:
        yield client


@pytest.fixture
def lease() -> str:
    return f"lease-{next(_numbers)}"


async def test_a_released_lease_is_taken_at_once(client: Client, lease: str) -> None:
    first = Candidate(client, lease, "first")
    await first.led(SOON)
    second = Candidate(client, lease, "second")
    await asyncio.sleep(2 * TIMING.period)
    assert not second.leading.is_set()
    await first.stop()
    await second.led(SOON)
    assert second.led_from >= first.led_until
    assert second.epoch > first.epoch
    await second.stop()
    assert (await client.get(LEASES, NAMESPACE, lease)).spec.holder_identity == ""


async def test_whenever_it_is_stopped_nothing_is_left_held(client: Client, lease: str) -> None:
    for milliseconds in range(0, 40, 2):
        candidate = Candidate(client, lease, f"pod-{milliseconds}")
        await asyncio.sleep(milliseconds / 1000)
        await candidate.stop()
    assert (await client.get(LEASES, NAMESPACE, lease)).spec.holder_identity == ""


async def test_a_killed_process_takes_its_own_lease_back_at_once(kube_apiserver: KubeApiserver, lease: str) -> None:
    async with Client(load_credentials(str(kube_apiserver.kubeconfig))) as doomed:
        first = Candidate(doomed, lease, "pod-1")
        await first.led(SOON)
    await first.stop()  # its connection is closed: nothing is released, as after SIGKILL
    async with Client(load_credentials(str(kube_apiserver.kubeconfig))) as client:
        assert (await client.get(LEASES, NAMESPACE, lease)).spec.holder_identity == "pod-1"
        again = Candidate(client, lease, "pod-1")
        await again.led(SOON)
        assert again.epoch > first.epoch
        await again.stop()


async def test_a_leader_cut_off_stops_before_another_starts(
    kube_apiserver: KubeApiserver, client: Client, lease: str
) -> None:
    known = load_credentials(str(kube_apiserver.kubeconfig))
    async with Proxy(int(known.server.rpartition(":")[2])) as proxy:
        credentials = Credentials(f"https://127.0.0.1:{proxy.port}", known.tls, known.authorization, NAMESPACE)
        async with Client(credentials) as cut:
            first = Candidate(cut, lease, "first")
            await first.led(SOON)
            second = Candidate(client, lease, "second")
            await asyncio.sleep(2 * TIMING.period)
            proxy.hang()
            assert "not renewed for 2 s" in await first.lost(10)
            await second.led(10)
    assert second.led_from > first.led_until, "never two leaders"
    await second.stop()


async def test_a_stolen_lease_is_lost(client: Client, lease: str) -> None:
    first = Candidate(client, lease, "first")
    await first.led(SOON)
    await client.patch(LEASES, NAMESPACE, lease, {"spec": {"holderIdentity": "thief"}})
    assert await first.lost(2 * TIMING.period + SOON) == f"lease {lease} was taken by thief"
    held = await client.get(LEASES, NAMESPACE, lease)
    assert held.spec.holder_identity == "thief", "what is not ours is not released"


async def test_a_foreign_edit_does_not_cost_the_lease(client: Client, lease: str) -> None:
    first = Candidate(client, lease, "first")
    await first.led(SOON)
    for note in ("a", "b"):
        await client.patch(LEASES, NAMESPACE, lease, {"metadata": {"annotations": {"note": note}}})
        await asyncio.sleep(2 * TIMING.period)
    assert not first.task.done()
    await first.stop()
    assert (await client.get(LEASES, NAMESPACE, lease)).spec.holder_identity == ""


async def test_a_leader_that_cannot_prove_its_sight_gives_up(client: Client, lease: str) -> None:
    first, loop = Candidate(client, lease, "first"), asyncio.get_running_loop()
    await first.led(SOON)
    second = Candidate(client, lease, "second")
    first.complaint, since = "Northbound silent for 9 s", loop.time()
    assert "Northbound silent for 9 s" in await first.lost(2 * TIMING.deadline)
    assert loop.time() - since < TIMING.deadline + TIMING.period
    await second.led(SOON)
    assert second.led_from >= first.led_until
    await second.stop()


async def test_what_breaks_in_the_work_ends_the_leadership(client: Client, lease: str) -> None:
    async def work() -> None:
        raise ZeroDivisionError

    election = Election(client, NAMESPACE, lease, "first", TIMING)
    with pytest.raises(ExceptionGroup) as group:
        await election.lead(work, lambda: None)
    assert [type(error) for error in group.value.exceptions] == [ZeroDivisionError]
    assert (await client.get(LEASES, NAMESPACE, lease)).spec.holder_identity == ""


@pytest.mark.parametrize("timing", [(20, 20, 6), (30, 7, 6), (30, 20, 0)])
def test_timings_that_cannot_work_are_refused(timing: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="lease duration"):
        Timing(duration=timing[0], deadline=timing[1], period=timing[2])
