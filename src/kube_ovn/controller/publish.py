"""Publishing: annotations go out after the commit they speak of, many at a time, each until the API server took it.

A publication is the difference between what an object's annotations should be and what they are: it goes when the watch
echoes it, and a new leader finds what is missing anew. So nothing here needs to survive a crash.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

import structlog

from kube_ovn.k8s.client import KubeError
from kube_ovn.topology.render import Publication

log = structlog.get_logger()

IN_FLIGHT = 32
"""Requests to the API server at a time: more gains nothing on it and delays everybody else's."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 10.0
"""Seconds before an object whose annotations were not taken has its next turn; doubled each time, with jitter."""


GONE = frozenset({404, 409})
"""The object is gone, or another has its name: the watch will tell."""
NOT_NOW = frozenset({401, 408, 429})
"""The world's doing, not the object's: who we are is not known at the moment, too slow, too many."""


class Publisher:
    """Sends publications, newest decision for each object only. An object that is refused holds up no other."""

    def __init__(
        self,
        send: Callable[[Publication], Awaitable[None]],
        refused: Callable[[Publication, KubeError], None],
    ) -> None:
        """`refused` is told once of what the API server does not want, in contrast to what it cannot do now."""
        self._send, self._refused = send, refused
        self._waiting: dict[str, Publication] = {}
        self._taken: dict[str, Publication] = {}  # in flight, pausing, or sent and not yet echoed by the watch
        self._pauses: dict[str, float] = {}
        self._told: set[str] = set()
        self._wake = asyncio.Semaphore(0)

    def offer(self, changed: Mapping[str, Publication | None]) -> None:
        """Take over what came, changed or went (None: echoed, or the object is gone)."""
        for uid, publication in changed.items():
            if publication is not None:
                self._wait(uid, publication)
                continue
            self._taken.pop(uid, None)
            self._waiting.pop(uid, None)
            self._pauses.pop(uid, None)
            self._told.discard(uid)

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(self._work())

    def _wait(self, uid: str, publication: Publication) -> None:
        if uid not in self._waiting:
            self._wake.release()
        self._waiting[uid] = publication

    async def _work(self) -> None:
        while True:
            await self._wake.acquire()
            if not self._waiting:
                continue  # the one this wake-up was for has left
            uid = next(iter(self._waiting))
            publication = self._waiting.pop(uid)
            self._taken[uid] = publication
            try:
                await self._send(publication)
                self._pauses.pop(uid, None)
                self._told.discard(uid)
            except KubeError as error:
                if self._taken.get(uid) is publication:  # still there, and nothing newer is to be said
                    self._put_off(uid, publication, error)

    def _put_off(self, uid: str, publication: Publication, error: KubeError) -> None:
        """Give the object another turn later."""
        if error.status not in GONE:
            log.warning("annotations not written, trying again", object=str(publication.object), error=str(error))
        if 400 <= error.status < 500 and error.status not in GONE | NOT_NOW and uid not in self._told:
            self._told.add(uid)
            self._refused(publication, error)
        pause = self._pauses.get(uid, FIRST_PAUSE)
        self._pauses[uid] = min(2 * pause, LONGEST_PAUSE)
        asyncio.get_running_loop().call_later(random.uniform(pause / 2, pause), self._again, uid, publication)

    def _again(self, uid: str, publication: Publication) -> None:
        if self._taken.get(uid) is publication:
            del self._taken[uid]
            self._wait(uid, publication)
