"""Lines that tell a waiting user what goes on and how long it took.

Only printing lives here; it decides nothing.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_START = time.monotonic()


def say(text: str) -> None:
    """Print one line with the seconds since the command began."""
    print(f"{time.monotonic() - _START:7.1f}s  {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a piece of work, and print how long it took when that was long."""
    say(text)
    begun = time.monotonic()
    yield
    spent = time.monotonic() - begun
    if spent >= 1:
        say(f"{text}: done in {spent:.1f} s")
