"""Events on the objects users own: they tell what became of a user's wish, in the words of the object's fields.

`report` never waits: events queue, equal ones are counted into one, and what exceeds the limits is dropped and counted
in a metric. The Namespaces take turns, so that a storm in one does not keep the users of another waiting. The name of
an Event is derived from its content, so that a restarted process goes on counting.
"""

import asyncio
import hashlib
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import msgspec
import structlog
from prometheus_client import Counter

from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.model.network import ObjectRef
from kube_ovn.model.resource import RESOURCES, Resource
from kube_ovn.reconcile import Backoff

log = structlog.get_logger()

DROPPED = Counter("kube_ovn_kubernetes_event_reports_dropped_total", "Events not written", ["cause"])

SERIES = 5000
"""Different events remembered, and so the longest queue."""
INTERVAL = 0.02
"""Seconds between two writes: a storm of events must not slow down the work that it reports."""
OBJECT_BURST, OBJECT_REFILL = 20.0, 1 / 60
"""Writes for one object: so many at once, then so many a second (one a minute)."""
LONGEST_MESSAGE = 1024

EventType = Literal["Normal", "Warning"]


class EventCount(msgspec.Struct, frozen=True):
    """The only field of an Event that is read."""

    count: int = 0


VERSIONS = {resource.name: resource.version for resource in RESOURCES}
EVENTS = Resource(name="Event", version="v1", plural="events", type=EventCount)


@dataclass(frozen=True, slots=True)
class _Content:
    object: ObjectRef
    type: EventType
    reason: str
    message: str


@dataclass(slots=True)
class _Series:
    """Equal events: how many there were, since when, and how many of them are written."""

    first: str
    last: str
    count: int = 0
    earlier: int = 0
    """The number that an earlier process counted."""
    queued: bool = False
    created: bool = False


@dataclass(slots=True)
class _Budget:
    """The token bucket that limits the writes for one object."""

    tokens: float
    filled: float


class _Turns:
    """The events that wait to be written: those of each Namespace in order, and the Namespaces in turn."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[_Content]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, content: _Content) -> None:
        self._queues.setdefault(content.object.namespace, deque()).append(content)
        self._size += 1

    def first(self) -> _Content:
        """The event to write next. It stays the first until it is removed."""
        return next(iter(self._queues.values()))[0]

    def remove_first(self) -> None:
        """Remove the first event. It is the turn of the next Namespace then."""
        namespace, queue = self._queues.popitem(last=False)
        queue.popleft()
        self._size -= 1
        if queue:
            self._queues[namespace] = queue

    def drop_for(self, namespace: str) -> _Content | None:
        """Remove the newest event of the Namespace that has the most, to make room for one of another Namespace. None
        when no other has more than two.
        """
        longest = max(self._queues, key=lambda each: len(self._queues[each]))
        if longest == namespace or len(self._queues[longest]) < 3:
            return None
        self._size -= 1
        return self._queues[longest].pop()


class Recorder:
    """Writes Events in the name of one component; `host` is the node it runs on."""

    def __init__(self, client: Client, component: str, host: str = "") -> None:
        self._client, self._component, self._host = client, component, host
        self._series: OrderedDict[_Content, _Series] = OrderedDict()
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()
        self._queue = _Turns()
        self._wake = asyncio.Event()

    def report(self, object: ObjectRef, reason: str, message: str, *, type: EventType = "Warning") -> None:
        """Queue an Event on an object, for its user. Returns at once."""
        content = _Content(object, type, reason, message[:LONGEST_MESSAGE])
        now = _now()
        series = self._series.get(content)
        if series is None:
            if not self._make_room(object.namespace):
                DROPPED.labels("queue").inc()
                return
            series = self._series[content] = _Series(first=now, last=now)
        self._series.move_to_end(content)
        series.last = now
        series.count += 1
        if series.queued:
            return
        if not self._afford(object.uid):
            DROPPED.labels("rate").inc()  # still counted in the series, and told with its next write
            return
        series.queued = True
        self._queue.append(content)
        self._wake.set()

    async def run(self) -> None:
        """Write queued Events until cancelled."""
        backoff = Backoff()
        while True:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
            content = self._queue.first()
            series = self._series[content]
            told = series.count
            try:
                await self._write(content, series)
                backoff.reset()
            except KubeError as error:
                if error.status in (0, 429) or error.status >= 500:
                    await backoff.wait()
                    continue
                # The object's Namespace is being deleted, or we may not write there: another try ends the same.
                DROPPED.labels("refused").inc()
                log.info("event not written", object=content.object.name, reason=content.reason, error=str(error))
            self._queue.remove_first()
            series.queued = series.count > told and self._afford(content.object.uid)
            if series.queued:
                self._queue.append(content)
            await asyncio.sleep(INTERVAL)

    async def _write(self, content: _Content, series: _Series) -> None:
        namespace, name = content.object.namespace or "default", self._name(content)
        if not series.created:
            try:
                await self._client.create(EVENTS, namespace, self._event(content, series, namespace, name))
                series.created = True
                return
            except KubeError as error:
                if error.reason != "AlreadyExists":
                    raise
            # An earlier process counted already. Patching first tells its count; reading would need another right.
            known = await self._client.patch(EVENTS, namespace, name, {"lastTimestamp": series.last})
            series.created = True
            series.earlier = known.count
        try:
            value = {"count": series.earlier + series.count, "lastTimestamp": series.last}
            await self._client.patch(EVENTS, namespace, name, value)
        except KubeError as error:
            if error.status != 404:
                raise
            series.created, series.earlier = False, 0  # the server forgets Events after an hour
            await self._write(content, series)

    def _event(self, content: _Content, series: _Series, namespace: str, name: str) -> dict[str, object]:
        involved = {
            "apiVersion": VERSIONS[content.object.kind],
            "kind": str(content.object.kind),
            "namespace": content.object.namespace,
            "name": content.object.name,
            "uid": content.object.uid,
        }
        return {
            "apiVersion": "v1",
            "kind": EVENTS.name,
            "metadata": {"namespace": namespace, "name": name},
            "involvedObject": involved,
            "type": content.type,
            "reason": content.reason,
            "message": content.message,
            "source": {"component": self._component, "host": self._host},
            "reportingComponent": self._component,
            "firstTimestamp": series.first,
            "lastTimestamp": series.last,
            "count": series.count,
        }

    def _name(self, content: _Content) -> str:
        said = "\0".join([self._component, content.object.uid, content.type, content.reason, content.message])
        return f"{content.object.name[:220].rstrip('-.')}.{hashlib.blake2b(said.encode(), digest_size=8).hexdigest()}"

    def _make_room(self, namespace: str) -> bool:
        """Forget the longest unused series; when all wait to be written, one of another Namespace that has many. False
        when there is none.
        """
        if len(self._series) < SERIES:
            return True
        if len(self._queue) >= SERIES:
            dropped = self._queue.drop_for(namespace)
            if dropped is not None:
                del self._series[dropped]
                DROPPED.labels("queue").inc()
            return dropped is not None
        oldest = next(content for content, series in self._series.items() if not series.queued)
        del self._series[oldest]
        return True

    def _afford(self, uid: str) -> bool:
        now = asyncio.get_running_loop().time()
        budget = self._budgets.pop(uid, None) or _Budget(OBJECT_BURST, now)
        budget.tokens = min(OBJECT_BURST, budget.tokens + (now - budget.filled) * OBJECT_REFILL)
        budget.filled = now
        self._budgets[uid] = budget
        if len(self._budgets) > SERIES:
            self._budgets.popitem(last=False)
        if budget.tokens < 1:
            return False
        budget.tokens -= 1
        return True


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
