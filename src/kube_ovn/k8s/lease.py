"""Leader election on a Lease: exactly one process leads, and it stops leading before another may start.

A candidate trusts its own clock only: a Lease is free when its holder left it unchanged for the whole duration. Every
leadership has its own epoch, by which the Northbound database can be fenced. What a leader does is not decided here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import structlog
from msgspec.structs import replace
from prometheus_client import Gauge

from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.model.resource import Resource
from kube_ovn.reconcile import Backoff

log = structlog.get_logger()

RELEASE_DEADLINE = 3.0

LEADING = Gauge("kube_ovn_leader", "1 while this process holds the Lease")


class LeaseMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    name: str
    namespace: str
    resource_version: str = ""


class LeaseSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    holder_identity: str = ""
    lease_duration_seconds: int = 1
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int = 0


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    metadata: LeaseMeta
    spec: LeaseSpec = LeaseSpec()


LEASES = Resource(name="Lease", version="coordination.k8s.io/v1", plural="leases", type=Lease)


class LeaseLostError(Exception):
    """The Lease could not be kept: another candidate holds it, or it was not renewed in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Times of an election, in seconds; duration > deadline > 1.2 x period, as in client-go's leader election."""

    duration: float = 30.0
    deadline: float = 20.0
    period: float = 6.0

    def __post_init__(self) -> None:
        if not self.duration > self.deadline > 1.2 * self.period > 0:
            raise ValueError(
                f"lease duration {self.duration} must be longer than the renew deadline {self.deadline}, "
                f"and that longer than 1.2 times the retry period {self.period}"
            )


class Election:
    """One candidate for one Lease. `identity` must outlive a restart of the process: it takes its own Lease back."""

    def __init__(self, client: Client, namespace: str, name: str, identity: str, timing: Timing) -> None:
        self._client, self._namespace, self._name = client, namespace, name
        self.identity, self._timing = identity, timing
        self._held: Lease | None = None
        self._doubtful = False  # whether a write of ours went out without an answer, so that its fate is not known
        self._renewed = 0.0

    @property
    def epoch(self) -> int:
        """Number of this leadership: greater than that of any earlier one of any candidate (`leaseTransitions`)."""
        return self._held.spec.lease_transitions if self._held else 0

    async def lead(self, work: Callable[[], Awaitable[None]], complaint: Callable[[], str | None]) -> None:
        """Wait for the Lease and do the work while it is held; LeaseLostError (in a group) cancels the work.

        A leader with a `complaint` (it cannot prove that it sees the world as it is) does not renew the Lease, so that
        another candidate can take it. However the work ends, the Lease is released, so that the next need not wait.
        """
        try:
            await self._acquire()
            LEADING.set(1)
            log.info("leading", lease=self._name, identity=self.identity, epoch=self.epoch)
            async with asyncio.TaskGroup() as group:
                renewal = group.create_task(self._renew(complaint))
                await work()
                renewal.cancel()
        finally:
            LEADING.set(0)
            await self._release()

    async def _acquire(self) -> None:
        """Wait until the Lease is ours, free, or left unchanged by its holder for its whole duration, and take it."""
        loop, backoff = asyncio.get_running_loop(), Backoff(ceiling=self._timing.period)
        seen, since, holder = "", loop.time(), ""
        while self._held is None:
            try:
                lease = await self._read()
                if lease.metadata.resource_version != seen:
                    seen, since = lease.metadata.resource_version, loop.time()
                patience = since + lease.spec.lease_duration_seconds - loop.time()
                if lease.spec.holder_identity in ("", self.identity) or patience <= 0:
                    await self._take(lease)
                    return
                if holder != lease.spec.holder_identity:
                    holder = lease.spec.holder_identity
                    log.info("waiting for the lease", lease=self._name, holder=holder)
                await self._changed(lease, min(patience, self._timing.period))
                backoff.reset()
            except KubeError as error:
                log.warning("lease not taken", lease=self._name, error=str(error))
                await backoff.wait()

    async def unheld(self) -> int | None:
        """The epoch of the next leadership, when there is no leader now (or the last one was this candidate, before a
        restart); None when there may be one, or when that cannot be known.
        """
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name)
        except KubeError as error:
            return 1 if error.status == 404 else None
        free = lease.spec.holder_identity in ("", self.identity)
        return lease.spec.lease_transitions + 1 if free else None

    async def _read(self) -> Lease:
        try:
            return await self._client.get(LEASES, self._namespace, self._name)
        except KubeError as error:
            if error.status != 404:
                raise
        lease = Lease(metadata=LeaseMeta(name=self._name, namespace=self._namespace))
        return await self._client.create(LEASES, self._namespace, lease)

    async def _take(self, lease: Lease) -> None:
        asked, now = asyncio.get_running_loop().time(), _now()
        spec = LeaseSpec(
            holder_identity=self.identity,
            lease_duration_seconds=max(1, round(self._timing.duration)),
            acquire_time=now,
            renew_time=now,
            lease_transitions=lease.spec.lease_transitions + 1,
        )
        # Known before it is answered, so that one cancelled in between is released all the same.
        self._held, self._doubtful = Lease(metadata=lease.metadata, spec=spec), True
        try:
            self._held = await self._write(lease, spec)
        except KubeError:
            self._held = None
            raise
        self._renewed, self._doubtful = asked, False

    async def _changed(self, lease: Lease, seconds: float) -> None:
        """Return when the Lease changes, at the latest after `seconds`: a release must not wait for the next look."""
        events = self._client.watch(
            LEASES,
            lease.metadata.resource_version,
            namespace=self._namespace,
            selector={"fieldSelector": f"metadata.name={self._name}"},
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), aclosing(events):
                with suppress(KubeError):  # without the right to watch, time alone decides
                    async for _ in events:
                        return
                await asyncio.sleep(seconds)

    async def _renew(self, complaint: Callable[[], str | None]) -> None:
        """Renew the Lease every period until cancelled. Raises LeaseLostError when another candidate holds it or the
        deadline passed.
        """
        reason: str | None = None
        while True:
            try:
                async with asyncio.timeout_at(self._renewed + self._timing.deadline):
                    await asyncio.sleep(self._timing.period)
                    while (reason := complaint() or await self._failure()) is not None:
                        log.warning("lease not renewed", lease=self._name, reason=reason)
                        await asyncio.sleep(self._timing.period / 3)
            except TimeoutError:
                message = f"lease {self._name} not renewed for {self._timing.deadline:g} s: {reason or 'no answer'}"
                raise LeaseLostError(message) from None

    async def _failure(self) -> str | None:
        """Renew the Lease once; returns why that failed, None when it did not."""
        assert self._held is not None
        lease, asked = self._held, asyncio.get_running_loop().time()
        try:
            if self._doubtful:
                lease = await self._client.get(LEASES, self._namespace, self._name)
            if (lease.spec.holder_identity, lease.spec.lease_transitions) != (self.identity, self.epoch):
                self._held = None
                raise LeaseLostError(f"lease {self._name} was taken by {lease.spec.holder_identity or 'no candidate'}")
            self._doubtful = True
            self._held = await self._write(lease, replace(lease.spec, renew_time=_now()))
            self._doubtful = False
        except KubeError as error:
            return str(error)
        self._renewed = asked
        return None

    async def _release(self) -> None:
        """Give the Lease back, so that the next candidate need not wait; if that fails, it expires."""
        held, self._held = self._held, None
        if held is None:
            return
        spec = replace(held.spec, holder_identity="", lease_duration_seconds=1, renew_time=_now())
        try:
            async with asyncio.timeout(RELEASE_DEADLINE):
                if self._doubtful:
                    now = await self._client.get(LEASES, self._namespace, self._name)
                    if (now.spec.holder_identity, now.spec.lease_transitions) != (
                        self.identity,
                        spec.lease_transitions,
                    ):
                        return
                    held = now
                await self._write(held, spec)
            log.info("lease released", lease=self._name, identity=self.identity)
        except (KubeError, TimeoutError) as error:
            log.warning("lease not released", lease=self._name, error=str(error))

    async def _write(self, lease: Lease, spec: LeaseSpec) -> Lease:
        value = {
            "apiVersion": LEASES.version,
            "kind": LEASES.name,
            "metadata": lease.metadata,
            "spec": spec,
        }
        return await self._client.replace(LEASES, self._namespace, self._name, value)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
