"""Publishing: writes to Kubernetes go out after the commit they speak of, many at a time, each until the API server
took it.

A write is the difference between what an object should be and what it is: it goes when the watch echoes it, and a new
leader finds what is missing anew. So nothing here needs to survive a crash.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

import structlog

from kube_ovn.k8s.client import KubeError
from kube_ovn.model.writes import Aspect, Write, WriteKey

log = structlog.get_logger()

IN_FLIGHT = 32
"""Requests to the API server at a time: more gains nothing on it and delays everybody else's."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 10.0
"""Seconds before an object whose write was not taken has its next turn; doubled each time, with jitter."""


GONE = frozenset({404, 409})
"""The object is gone, or another has its name: the watch will tell."""
STATUS_PERIOD = 1.0
"""Seconds between two writes of one status: counts that change with every Pod must not cost a write each."""
MOST_SENT = 1000
NOT_NOW = frozenset({401, 408, 429})
"""The world's doing, not the object's: who we are is not known at the moment, too slow, too many."""


class Publisher:
    """Sends writes, newest decision for each key only. An object that is refused holds up no other."""

    def __init__(
        self,
        send: Callable[[Write], Awaitable[None]],
        refused: Callable[[Write, KubeError], None],
    ) -> None:
        """`refused` is told once of what the API server does not want, in contrast to what it cannot do now."""
        self._send, self._refused = send, refused
        self._waiting: dict[WriteKey, Write] = {}
        self._taken: dict[WriteKey, Write] = {}  # in flight, pausing, or sent and not yet echoed by the watch
        self._pauses: dict[WriteKey, float] = {}
        self._told: set[WriteKey] = set()
        self._later: dict[WriteKey, Write] = {}  # statuses whose time has not come
        self._sent: dict[WriteKey, float] = {}  # loop time of the last write of each status
        self._wake = asyncio.Semaphore(0)

    def offer(self, changed: Mapping[WriteKey, Write | None]) -> None:
        """Take over what came, changed or went (None: echoed, or the object is gone)."""
        for key, write in changed.items():
            if write is not None:
                self._wait_for_its_time(key, write)
                continue
            self._taken.pop(key, None)
            self._waiting.pop(key, None)
            self._later.pop(key, None)
            self._pauses.pop(key, None)
            self._told.discard(key)

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(self._work())

    def _wait_for_its_time(self, key: WriteKey, write: Write) -> None:
        loop = asyncio.get_running_loop()
        due = self._sent.get(key, -STATUS_PERIOD) + STATUS_PERIOD
        if key.aspect is not Aspect.STATUS or due <= loop.time():
            self._wait(key, write)
            return
        if key not in self._later:
            loop.call_at(due, self._come, key)
        self._later[key] = write

    def _come(self, key: WriteKey) -> None:
        if (write := self._later.pop(key, None)) is not None:
            self._wait(key, write)

    def _wait(self, key: WriteKey, write: Write) -> None:
        if key not in self._waiting:
            self._wake.release()
        self._waiting[key] = write

    async def _work(self) -> None:
        while True:
            await self._wake.acquire()
            if not self._waiting:
                continue  # the one this wake-up was for has left
            key = next(iter(self._waiting))
            write = self._waiting.pop(key)
            self._taken[key] = write
            if key.aspect is Aspect.STATUS:
                self._remember_sent(key)
            try:
                await self._send(write)
                self._pauses.pop(key, None)
                self._told.discard(key)
            except KubeError as error:
                if self._taken.get(key) is write:  # still there, and nothing newer is to be said
                    self._put_off(key, write, error)

    def _remember_sent(self, key: WriteKey) -> None:
        """When a status was written last; those of long ago are forgotten."""
        now = asyncio.get_running_loop().time()
        if len(self._sent) > MOST_SENT:
            self._sent = {each: at for each, at in self._sent.items() if at > now - STATUS_PERIOD}
        self._sent[key] = now

    def _put_off(self, key: WriteKey, write: Write, error: KubeError) -> None:
        """Give the object another turn later."""
        if error.status not in GONE:
            log.warning("not written, trying again", object=str(write.object), error=str(error))
        if 400 <= error.status < 500 and error.status not in GONE | NOT_NOW and key not in self._told:
            self._told.add(key)
            self._refused(write, error)
        pause = self._pauses.get(key, FIRST_PAUSE)
        self._pauses[key] = min(2 * pause, LONGEST_PAUSE)
        asyncio.get_running_loop().call_later(random.uniform(pause / 2, pause), self._again, key, write)

    def _again(self, key: WriteKey, write: Write) -> None:
        if self._taken.get(key) is write:
            del self._taken[key]
            self._wait(key, write)
