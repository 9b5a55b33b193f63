"""Publishing: annotations go out after the commit they speak of, many at a time, each until the API server took it.

A publication is the difference between what an object's annotations should be and what they are. It is offered again
every pass until the watch echoes it, so nothing here needs to survive a crash.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from kube_ovn.k8s.client import KubeError
from kube_ovn.reconcile import Backoff
from kube_ovn.topology.render import Publication

log = structlog.get_logger()

IN_FLIGHT = 32
"""Requests to the API server at a time: more gains nothing on it and delays everybody else's."""


class Publisher:
    """Sends publications, newest decision for each object only."""

    def __init__(self, send: Callable[[Publication], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: dict[str, Publication] = {}
        self._taken: dict[str, Publication] = {}  # in flight, or sent and not yet echoed by the watch
        self._wake = asyncio.Semaphore(0)

    def offer(self, publications: Mapping[str, Publication]) -> None:
        """Take over the current set; what left it since (echoed, or the object is gone) is forgotten."""
        for uid in [uid for uid in self._taken if uid not in publications]:
            del self._taken[uid]
        for uid in [uid for uid in self._waiting if uid not in publications]:
            del self._waiting[uid]
        for uid, publication in publications.items():
            if self._taken.get(uid) is publication or self._waiting.get(uid) is publication:
                continue
            if uid not in self._waiting:
                self._wake.release()
            self._waiting[uid] = publication

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            await self._wake.acquire()
            if not self._waiting:
                continue  # the one this wake-up was for has left
            uid = next(iter(self._waiting))
            publication = self._waiting.pop(uid)
            self._taken[uid] = publication
            await self._deliver(uid, publication)

    async def _deliver(self, uid: str, publication: Publication) -> None:
        backoff = Backoff()
        while self._taken.get(uid) is publication:
            try:
                await self._send(publication)
                return
            except KubeError as error:
                if error.status in (404, 409):
                    return  # the object is gone or another took its name; the watch will say so
                log.warning("annotations not written, trying again", object=str(publication.object), error=str(error))
                await backoff.wait()
