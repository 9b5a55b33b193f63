"""Publishing: writes to Kubernetes go out after the commit that they announce, many at a time, and each is tried until
the API server takes it.

A write is the difference between what an object should be and what it is: it goes when the watch echoes it, and a new
leader works out the missing writes anew. So nothing here needs to survive a crash.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

import structlog

from kube_ovn.k8s.client import KubeError
from kube_ovn.model.writes import Aspect, Write, WriteKey

log = structlog.get_logger()

IN_FLIGHT = 32
"""Requests to the API server at a time: more of them are not faster, and delay those of other clients."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 10.0
"""Seconds until a write that failed is tried again; doubled each time, with jitter."""


GONE = frozenset({404, 409})
"""HTTP statuses: the object is gone, or another object has its name. The watch will show it."""
STATUS_PERIOD = 1.0
"""Seconds between two writes of one status: counts that change with every Pod must not cost a write each."""
MOST_SENT = 1000
NOT_NOW = frozenset({401, 408, 429})
"""HTTP statuses that are not the object's fault: our token is not accepted at the moment, too slow, too many requests.
"""


class Publisher:
    """Sends writes, only the newest one of each key. A refused write delays no other."""

    def __init__(
        self,
        send: Callable[[Write], Awaitable[None]],
        refused: Callable[[Write, KubeError], None],
    ) -> None:
        """`refused` is called once with a write that the API server refuses for good, not with one that it cannot carry
        out now.
        """
        self._send, self._refused = send, refused
        self._waiting: dict[WriteKey, Write] = {}
        self._taken: dict[WriteKey, Write] = {}  # in flight, pausing, or sent and not yet echoed by the watch
        self._pauses: dict[WriteKey, float] = {}
        self.refusals: dict[WriteKey, str] = {}
        """The writes that the API server refuses, each with its words."""
        self._later: dict[WriteKey, Write] = {}  # statuses that are written when STATUS_PERIOD is over
        self._sent: dict[WriteKey, float] = {}  # loop time of the last write of each status
        self._wake = asyncio.Semaphore(0)

    def offer(self, changed: Mapping[WriteKey, Write | None]) -> None:
        """Take over the writes that came, changed or went (None: the watch has shown it, or the object is gone)."""
        for key, write in changed.items():
            if write is not None:
                if write not in (self._taken.get(key), self._waiting.get(key)):
                    self.refusals.pop(key, None)  # another write may be refused for another reason
                self._wait_for_its_time(key, write)
                continue
            self._taken.pop(key, None)
            self._waiting.pop(key, None)
            self._later.pop(key, None)
            self._pauses.pop(key, None)
            self.refusals.pop(key, None)

    async def run(self) -> None:
        """Send writes until cancelled."""
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
                continue  # the write that this wake-up was for is gone
            key = next(iter(self._waiting))
            write = self._waiting.pop(key)
            self._taken[key] = write
            if key.aspect is Aspect.STATUS:
                self._remember_sent(key)
            try:
                await self._send(write)
                self._pauses.pop(key, None)
                self.refusals.pop(key, None)
            except KubeError as error:
                if self._is_newest(key, write):
                    self._put_off(key, write, error)

    def _remember_sent(self, key: WriteKey) -> None:
        """Remember the time at which a status was written; times of long ago are forgotten."""
        now = asyncio.get_running_loop().time()
        if len(self._sent) > MOST_SENT:
            self._sent = {each: at for each, at in self._sent.items() if at > now - STATUS_PERIOD}
        self._sent[key] = now

    def _put_off(self, key: WriteKey, write: Write, error: KubeError) -> None:
        """Try a write again after a pause."""
        if error.status not in GONE:
            log.warning("not written, trying again", object=str(write.object), error=str(error))
        if 400 <= error.status < 500 and error.status not in GONE | NOT_NOW and key not in self.refusals:
            self.refusals[key] = error.message
            self._refused(write, error)
        pause = self._pauses.get(key, FIRST_PAUSE)
        self._pauses[key] = min(2 * pause, LONGEST_PAUSE)
        asyncio.get_running_loop().call_later(random.uniform(pause / 2, pause), self._again, key, write)

    def _again(self, key: WriteKey, write: Write) -> None:
        if self._is_newest(key, write):
            del self._taken[key]
            self._wait(key, write)

    def _is_newest(self, key: WriteKey, write: Write) -> bool:
        """Whether a write that was taken is still wanted, and no newer write of its key waits."""
        return self._taken.get(key) is write and key not in self._waiting and key not in self._later
