"""Stores that follow the Kubernetes API: list, then watch for ever, list again when the version expired.

A Store holds what is known and who changed; what it means is decided elsewhere. Objects leave and enter by UID: one
deleted and made again under its name is two objects, the old one gone before the new one is there.
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Generic, TypeVar

import structlog
from prometheus_client import Counter, Gauge

from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.k8s.decode import Changed, Deleted, Kind
from kube_ovn.model.kube import Object
from kube_ovn.reconcile import Backoff

log = structlog.get_logger()

T = TypeVar("T", bound=Object)
R = TypeVar("R")

LISTS = Counter("kube_ovn_kubernetes_lists_total", "Full lists: at the start and after a version expired", ["kind"])
EVENTS = Counter("kube_ovn_kubernetes_events_total", "Watch events received", ["kind"])
OBJECTS = Gauge("kube_ovn_kubernetes_objects", "Objects known", ["kind"])

WATCH_SECONDS = (180.0, 300.0)
"""How long one watch lasts: random, so that the watches of many nodes do not end together. A peer that died is noticed
by the connection's own probes; this bounds what they cannot see, such as a proxy that lost its far side."""
RETRY_CEILING = 5.0
MOST_CHANGES = 1000
"""Changes a Store remembers, or as many as it has objects; beyond that it says that any may have changed."""


class Store(Generic[T]):
    """Objects of one kind as the API server told them, by UID."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._objects: dict[str, T] = {}
        self._uids: dict[tuple[str, str], str] = {}
        self._changed: set[str] | None = None
        self._on_change = on_change
        self._waiting: dict[tuple[str, str], set[asyncio.Event]] = {}
        self.objects: Mapping[str, T] = MappingProxyType(self._objects)
        self.version = ""
        """The version up to which the server has told everything."""
        self.synced = asyncio.Event()
        """Set after the first full list, for good."""
        self.proved: float | None = None
        """Loop time of the last word of the API server: a list, an event, a bookmark, a watch that ended as agreed.

        On a quiet cluster that may be minutes ago, so what may not be old (a leadership) needs its own proof.
        """
        self._listed = self._renewal = -math.inf  # loop times: asked for the last list; asked for a newer one
        self._relisted = asyncio.Event()
        self._watching: asyncio.Timeout | None = None

    def named(self, namespace: str, name: str) -> T | None:
        """The object that has this name now."""
        uid = self._uids.get((namespace, name))
        return None if uid is None else self._objects[uid]

    def take_changed(self) -> set[str] | None:
        """UIDs that entered, changed or left since the last call; None when any may have: at first, and when nobody
        asked for so long that they are not worth remembering.
        """
        changed, self._changed = self._changed, set()
        return changed

    async def renew(self) -> None:
        """Have everything listed anew: afterwards nothing here is older than this call. Set a timeout."""
        self._renewal = asked = asyncio.get_running_loop().time()
        if self._watching is not None:
            self._watching.reschedule(asked)
        while self._listed < asked:
            self._relisted.clear()
            await self._relisted.wait()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """The time between two lists: ends with TimeoutError as soon as `renew` wants another."""
        try:
            async with asyncio.timeout_at(self._renewal if self._renewal > self._listed else None) as self._watching:
                yield
        finally:
            self._watching = None

    async def until(self, namespace: str, name: str, accept: Callable[[T | None], R | None]) -> R:
        """Wait until `accept` makes something of the object with this name (None = there is none). Set a timeout."""
        while (result := accept(self.named(namespace, name))) is None:
            event = asyncio.Event()
            waiting = self._waiting.setdefault((namespace, name), set())
            waiting.add(event)
            try:
                await event.wait()
            finally:
                waiting.discard(event)
                if not waiting:
                    self._waiting.pop((namespace, name), None)
        return result

    def put(self, item: T) -> None:
        """The object is new or differs. An equal one is dropped, so that identity means: nothing we read changed."""
        metadata = item.metadata
        if self._objects.get(metadata.uid) == item:
            return
        key = (metadata.namespace, metadata.name)
        before = self._uids.get(key)
        if before is not None and before != metadata.uid:
            self.remove(before)
        self._objects[metadata.uid] = item
        self._uids[key] = metadata.uid
        self._tell(metadata.uid, key)

    def anticipate(self, item: T, version: str) -> None:
        """What the server answered to a write, before the watch tells of it; dropped when it told of more already.

        Versions of one kind are comparable numbers (KEP-5504).
        """
        if len(version) > len(self.version) or (len(version) == len(self.version) and version > self.version):
            self.put(item)

    def remove(self, uid: str) -> None:
        """The object is gone; unknown is fine."""
        item = self._objects.pop(uid, None)
        if item is None:
            return
        key = (item.metadata.namespace, item.metadata.name)
        if self._uids.get(key) == uid:
            del self._uids[key]
        self._tell(uid, key)

    def replace(self, items: Iterable[T], asked: float) -> None:
        """These are all there are, or were at the loop time `asked`, when the server was asked."""
        self._listed = self.proved = asked
        self._relisted.set()
        listed = {item.metadata.uid: item for item in items}
        for uid in [uid for uid in self._objects if uid not in listed]:
            self.remove(uid)
        for item in listed.values():
            self.put(item)
        if not self.synced.is_set():
            self.synced.set()
            self._on_change()

    def _tell(self, uid: str, key: tuple[str, str]) -> None:
        if self._changed is not None:
            self._changed.add(uid)
            if len(self._changed) > max(MOST_CHANGES, len(self._objects)):
                self._changed = None
        for event in self._waiting.get(key, ()):
            event.set()
        self._on_change()


class _Follower(Generic[T]):
    """Keeps one Store equal to the API server. `_version` is where it stands; "" = list first."""

    def __init__(self, client: Client, kind: Kind[T], store: Store[T], field_selector: str) -> None:
        self._client, self._kind, self._store, self._selector = client, kind, store, field_selector
        self._version = ""
        self._backoff = Backoff(ceiling=RETRY_CEILING)

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
                if error.expired:
                    self._version = ""
                log.warning(
                    "watch interrupted",
                    kind=self._kind.name,
                    error=str(error),
                    reason=error.reason,
                    status=error.status,
                )
                await self._backoff.wait()

    async def _list(self) -> None:
        asked = asyncio.get_running_loop().time()
        listing = await self._client.list(self._kind, field_selector=self._selector)
        LISTS.labels(self._kind.name).inc()
        self._store.replace(listing.items, asked)
        self._store.version = self._version = listing.version
        OBJECTS.labels(self._kind.name).set(len(self._store.objects))

    async def _watch(self) -> None:
        """One watch, until the server ends it as agreed."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        seconds = random.uniform(*WATCH_SECONDS)
        events, objects = EVENTS.labels(self._kind.name), OBJECTS.labels(self._kind.name)
        async for event in self._client.watch(
            self._kind, self._version, field_selector=self._selector, seconds=seconds
        ):
            match event:
                case Changed():
                    self._store.put(event.object)
                case Deleted():
                    self._store.remove(event.object.metadata.uid)
            self._store.version = self._version = event.version
            self._store.proved = loop.time()
            self._backoff.reset()
            events.inc()
            objects.set(len(self._store.objects))
        self._store.proved = loop.time()
        if loop.time() - started < 1.0:
            await self._backoff.wait()  # a server that ends watches at once must not be asked in a tight loop


async def follow(client: Client, kind: Kind[T], store: Store[T], field_selector: str = "") -> None:
    """Keep the store equal to what the API server knows, until cancelled."""
    await _Follower(client, kind, store, field_selector).run()
