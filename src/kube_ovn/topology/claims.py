"""Who has an address and port that several Services want."""

from collections.abc import Iterable
from typing import NamedTuple


class Name(NamedTuple):
    """A Service."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class _Rank(NamedTuple):
    foreign: bool
    """Not one of the Service's own addresses, which the API server gave to nobody else."""
    age: str
    name: Name


class Claims:
    """What Services are reached at, and whose it is: his whose own address it is, else the oldest's."""

    def __init__(self) -> None:
        self._ranks: dict[str, dict[Name, _Rank]] = {}  # by what is claimed
        self._by: dict[Name, dict[str, _Rank]] = {}

    def update(self, name: Name, age: str, own: Iterable[str], others: Iterable[str]) -> set[Name]:
        """What a Service claims now: its own addresses, and others. Returns the other Services that this concerns."""
        claims = {claim: _Rank(foreign=True, age=age, name=name) for claim in others}
        claims |= {claim: _Rank(foreign=False, age=age, name=name) for claim in own}
        before = self._by.pop(name, {})
        if claims:
            self._by[name] = claims
        concerned: set[Name] = set()
        for claim in {*before, *claims}:
            ranks = self._ranks.setdefault(claim, {})
            if before.get(claim) != claims.get(claim):
                concerned.update(ranks)
            ranks.pop(name, None)
            if claim in claims:
                ranks[name] = claims[claim]
            if not ranks:
                del self._ranks[claim]
        return concerned - {name}

    def holder(self, claim: str) -> Name | None:
        ranks = self._ranks.get(claim)
        return min(ranks.values()).name if ranks else None
