"""Following the Kubernetes API: list, then watch for ever, list again when the version expired.

A kind that is not installed or may not be read is asked for again and again; the objects known before stay in its
Store.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

import structlog
from prometheus_client import Counter, Gauge

from kube_ovn.k8s.client import ALL, Client, KubeError
from kube_ovn.k8s.decode import Changed, Deleted, Unreadable
from kube_ovn.k8s.store import Store
from kube_ovn.model.kube import Object
from kube_ovn.model.resource import Resource
from kube_ovn.reconcile import Backoff

__all__ = ["Report", "Store", "follow"]

log = structlog.get_logger()

T = TypeVar("T", bound=Object)

LISTS = Counter("kube_ovn_kubernetes_lists_total", "Full lists: at the start and after a version expired", ["kind"])
EVENTS = Counter("kube_ovn_kubernetes_events_total", "Watch events received", ["kind"])
OBJECTS = Gauge("kube_ovn_kubernetes_objects", "Objects known", ["kind"])
UNREADABLE = Gauge("kube_ovn_kubernetes_unreadable_objects", "Objects that do not fit what is read of them", ["kind"])
UNAVAILABLE = Gauge(
    "kube_ovn_kubernetes_unavailable_kinds", "1 for a kind that is not installed or may not be read", ["kind"]
)

WATCH_SECONDS = (180.0, 300.0)
"""The seconds that one watch lasts: random, so that the watches of many nodes do not end together. The connection's own
probes notice a dead peer; this bound is for faults that they cannot see, such as a proxy that lost the server behind
it.
"""
RETRY_CEILING = 5.0
SELDOM = 300.0
"""Seconds between two questions for a kind that is done without: every node asks."""
FORBIDDEN = 10.0
"""Seconds after which a kind that may not be read is done without, if it can be: an API server that was just started
may forbid everything.
"""
NOT_FOUND = 404

Report = Callable[[Resource[Object], Unreadable], None]
"""Called with each object that cannot be read, once, and again when it cannot be read for another reason."""


class _Follower(Generic[T]):
    """Keeps one Store equal to the API server. `_version`: the version that the Store has come to; "" = list first."""

    def __init__(
        self,
        client: Client,
        kind: Resource[T],
        store: Store[T],
        selector: Mapping[str, str],
        report: Report,
        optional: bool,
    ) -> None:
        self._client, self._kind, self._store, self._selector = client, kind, store, selector
        self._report, self._optional = report, optional
        self._version = ""
        self._asked = 0.0
        self._backoff, self._absence = Backoff(ceiling=RETRY_CEILING), Backoff(ceiling=SELDOM)
        UNAVAILABLE.labels(kind.name).set(0)

    async def run(self) -> None:
        while True:
            try:
                if not self._version:
                    await self._list()
                async with self._store.watching():
                    await self._watch()
            except TimeoutError:
                self._version = ""
            except KubeError as error:
                if error.expired or error.status == NOT_FOUND:
                    self._version = ""  # a server that was just started may forbid everything for a moment
                if error.unavailable:
                    was_listed = self._store.synced.is_set()
                    self._lack(error, absent=not was_listed and await self._client.lacks(self._kind))
                else:
                    self._log(error)
                is_done_without = error.unavailable and self._optional and self._store.synced.is_set()
                await (self._absence if is_done_without else self._backoff).wait()

    async def _list(self) -> None:
        self._asked = asyncio.get_running_loop().time()
        listing = await self._client.list(self._kind, selector=self._selector)
        LISTS.labels(self._kind.name).inc()
        self._have()
        self._tell(self._store.replace(listing.items, self._asked, listing.unreadable))
        self._store.version = self._version = listing.version
        self._count()

    async def _watch(self) -> None:
        """One watch, until the server ends it as agreed."""
        loop = asyncio.get_running_loop()
        started = self._asked = loop.time()
        seconds = random.uniform(*WATCH_SECONDS)
        events = EVENTS.labels(self._kind.name)
        async for event in self._client.watch(
            self._kind, self._version, selector=self._selector, seconds=seconds, opened=self._have
        ):
            match event:
                case Changed():
                    self._store.put(event.object)
                case Deleted():
                    self._store.remove(event.uid, event.namespace, event.name)
                case Unreadable():
                    self._tell([event] if self._store.put_unreadable(event) else [])
            self._store.version = self._version = event.version
            self._store.proved = loop.time()
            self._backoff.reset()
            events.inc()
            self._count()
        self._store.proved = loop.time()
        if loop.time() - started < 1.0:
            await self._backoff.wait()  # a server that ends watches at once must not be asked in a tight loop

    def _count(self) -> None:
        OBJECTS.labels(self._kind.name).set(len(self._store.objects))
        UNREADABLE.labels(self._kind.name).set(len(self._store.unreadable))

    def _tell(self, unreadable: Iterable[Unreadable]) -> None:
        for each in unreadable:
            log.error(
                "object not understood, left as it was known",
                kind=self._kind.name,
                namespace=each.namespace,
                name=each.name,
                error=each.error,
            )
            self._report(self._kind, each)

    def _have(self) -> None:
        """Take over that the server serves the kind."""
        if self._store.unavailable:
            self._store.unavailable = ""
            UNAVAILABLE.labels(self._kind.name).set(0)
            self._absence.reset()
            log.info("kind available again", kind=self._kind.name)

    def _lack(self, error: KubeError, *, absent: bool) -> None:
        """Take over that the kind is not installed, or that we may not read it."""
        if self._store.refuse(error.message, self._asked, absent=absent):
            UNAVAILABLE.labels(self._kind.name).set(1)
            tell = log.info if absent else log.error  # a cluster need not have every kind
            tell("kind not available, trying again", kind=self._kind.name, status=error.status, error=str(error))
        refused_for = self._asked - self._store.unavailable_since
        if self._optional and (error.status == NOT_FOUND or refused_for > FORBIDDEN):
            self._store.do_without()

    def _log(self, error: KubeError) -> None:
        log.warning(
            "watch interrupted", kind=self._kind.name, error=str(error), reason=error.reason, status=error.status
        )


async def follow(
    client: Client,
    kind: Resource[T],
    store: Store[T],
    selector: Mapping[str, str] = ALL,
    report: Report = lambda resource, unreadable: None,
    *,
    optional: bool = False,
) -> None:
    """Keep the store equal to the API server's objects of the kind that the selector (`Client.list`) chooses, until
    cancelled. `optional`: a server that does not serve the kind counts as one without an object of it, and is asked
    again seldom.
    """
    await _Follower(client, kind, store, selector, report, optional).run()
