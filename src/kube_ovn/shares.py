"""Places that clients share, such as connections: a bound for all of them, one for each client, and fairness.

A place is spare while its client has asked for nothing yet. When there is no room, a spare place is taken back first,
and otherwise a place of the client that has the most, for a client that would still have fewer.
"""

from collections.abc import Callable


class Place:
    """A place that a client has. `end` takes it back from the client."""

    def __init__(self, client: str, end: Callable[[], None], spare: bool) -> None:
        self.client, self.end, self.spare = client, end, spare


class Shares:
    """The places of one kind."""

    def __init__(self, total: int, each: int) -> None:
        """`total`: places of all clients; `each`: places of one client."""
        self._total, self._each = total, each
        self._held: dict[str, dict[Place, None]] = {}  # by client, the oldest first

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def take(self, client: str, end: Callable[[], None], *, spare: bool = False) -> Place | None:
        """Give the client a place, at the cost of another one where there is no room; None when it gets none."""
        if len(self._held.get(client, ())) >= self._each or len(self) >= self._total:
            victim = self._victim(client)
            if victim is None:
                return None
            self.leave(victim)
            victim.end()
        place = Place(client, end, spare)
        self._held.setdefault(client, {})[place] = None
        return place

    def leave(self, place: Place) -> None:
        """Give a place back. It may have been taken back before."""
        held = self._held.get(place.client, {})
        held.pop(place, None)
        if not held:
            self._held.pop(place.client, None)

    def _victim(self, client: str) -> Place | None:
        own = self._held.get(client, {})
        if len(own) >= self._each:
            return _spare(own)
        ranked = sorted(self._held.values(), key=len, reverse=True)
        if len(ranked[0]) > len(own) + 1:
            return _spare(ranked[0]) or next(iter(ranked[0]))
        return next((found for held in ranked if (found := _spare(held)) is not None), None)


def _spare(held: dict[Place, None]) -> Place | None:
    return next((place for place in held if place.spare), None)
