"""The loop that every part runs on: wait until something changed, make one pass, and try again what the world refused.

Level-triggered: a pass looks at the state as it is, never at what happened. Nothing here depends on Kubernetes or OVN.
"""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger()

REST, LONGEST_REST = 3.0, 0.1
"""After a pass the loop rests REST times as long as the pass kept the processor, and LONGEST_REST seconds at most."""
STUCK = 600.0
"""Seconds after which most work that has not ended never will: its waits have deadlines, which come to much less."""


class Backoff:
    """Exponential delay with jitter: `floor` seconds at first, `ceiling` at most, of which at least half is waited."""

    def __init__(self, floor: float = 0.05, ceiling: float = 10.0) -> None:
        self._floor, self._ceiling, self._delay = floor, ceiling, floor

    def reset(self) -> None:
        self._delay = self._floor

    async def wait(self) -> None:
        await asyncio.sleep(random.uniform(self._delay / 2, self._delay))
        self._delay = min(self._delay * 2, self._ceiling)


class Dirty:
    """A flag that many sources set and one loop waits for; sets between two passes become one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def mark(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()


class Underway:
    """The work that is under way, to notice a piece of it that never ends.

    Work that fails has ended, and a loop that waits for its next attempt has no work under way. So an outage of the API
    server or of a database is nothing to complain about, however long it lasts. `stuck`: seconds, more than all waits
    of one piece of work come to while a database answers late. `clock` returns seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, stuck: float = STUCK) -> None:
        self._clock, self._stuck = clock, stuck
        self._begun: dict[object, tuple[float, str]] = {}  # the oldest first

    @contextmanager
    def watch(self, what: str) -> Iterator[None]:
        """Watch a piece of work, which is the body of the `with` statement."""
        piece = object()
        self._begun[piece] = (self._clock(), what)
        try:
            yield
        finally:
            del self._begun[piece]

    def complaint(self) -> str | None:
        """The oldest piece of work, if it is stuck; else None."""
        begun, what = next(iter(self._begun.values()), (self._clock(), ""))
        age = self._clock() - begun
        return f"{what} has been under way for {age:.0f} s" if age > self._stuck else None


async def until_told(work: Awaitable[None]) -> None:
    """Work until it ends, or until SIGTERM or SIGINT cancels it. A signal to stop is no failure."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await work
    except asyncio.CancelledError:
        log.info("told to stop")


async def reconcile(
    dirty: Dirty,
    make_pass: Callable[[], Awaitable[None]],
    world: tuple[type[Exception], ...],
    final: tuple[type[Exception], ...] = (),
    underway: Underway | None = None,
) -> None:
    """Make a pass at once and then whenever `dirty` is marked, until cancelled.

    Errors of the `world` (connections, conflicts) are logged, and the pass is made again after a jittered delay.
    `final` errors among them, and all other errors, which are bugs, end the loop and with it its TaskGroup. `underway`
    watches the passes.
    """
    backoff, underway = Backoff(), underway or Underway()
    name = getattr(make_pass, "__qualname__", "a pass")
    dirty.mark()
    while True:
        await dirty.wait()
        started = time.thread_time()
        try:
            with underway.watch(name):
                await make_pass()
            backoff.reset()
            # Under a storm of events passes must not take the processor from what they wait for. A lone event after
            # quiet is served at once.
            await asyncio.sleep(min(REST * (time.thread_time() - started), LONGEST_REST))
        except final:
            raise
        except world as error:
            log.warning("pass failed, trying again", error=f"{type(error).__name__}: {error}")
            dirty.mark()
            await backoff.wait()
