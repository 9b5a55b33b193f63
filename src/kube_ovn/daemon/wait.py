"""Waiting for a state instead of an event: a check that is made again whenever something may have changed."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Broadcast:
    """Wakes all tasks that wait. Each makes its own check."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def notify(self) -> None:
        """Have all checks made again."""
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._next = None

    async def until(self, check: Callable[[], T | None]) -> T:
        """Wait for the first outcome of `check` that is not None. The caller sets the deadline."""
        while (outcome := check()) is None:
            if self._next is None:
                self._next = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._next)
        return outcome
