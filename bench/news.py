"""Waiting until what is told from outside says something."""

import asyncio
from collections.abc import Callable

from kube_ovn.daemon.wait import Broadcast


class News:
    """Told by who hears of it; who waits looks again each time."""

    def __init__(self) -> None:
        self._told = Broadcast()

    def tell(self) -> None:
        self._told.notify()

    async def until(self, what: str, done: Callable[[], bool], deadline: float) -> None:
        """Raises TimeoutError with a sentence."""
        try:
            async with asyncio.timeout(deadline):
                await self._told.until(lambda: done() or None)
        except TimeoutError:
            raise TimeoutError(f"not within {deadline:g} s: {what}") from None
