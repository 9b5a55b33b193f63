"""Waiting for a condition that is checked whenever news arrive."""

import asyncio
from collections.abc import Callable

from kube_ovn.daemon.wait import Broadcast


class News:
    """One task calls `tell` when news arrive; others wait in `until`, which checks its condition each time."""

    def __init__(self) -> None:
        self._told = Broadcast()

    def tell(self) -> None:
        self._told.notify()

    async def until(self, what: str, done: Callable[[], bool], deadline: float) -> None:
        """Wait until `done`, at most `deadline` seconds. Raises TimeoutError with a sentence that names `what`."""
        try:
            async with asyncio.timeout(deadline):
                await self._told.until(lambda: done() or None)
        except TimeoutError:
            raise TimeoutError(f"not within {deadline:g} s: {what}") from None
