"""The requests that wait for an address, in lines. A line holds requests for the same, in the order in which they are
served: when its first request cannot be met, none can, and all of their users are told the same.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TypeVar

from kube_ovn.topology.addresses.ask import Ask, Choice, Want
from kube_ovn.topology.addresses.grants import Refusal
from kube_ovn.topology.addresses.ledger import Need

K = TypeVar("K")


@dataclass(slots=True, eq=False)
class Line:
    """Requests for the same; the first one is served first."""

    key: tuple[Ask, str]
    named: AbstractSet[Need]
    """The addresses and MAC addresses that the requests name."""
    queue: list[Want] = field(default_factory=list)
    refusal: Refusal | None = None
    """Why the first request was not met; None before the first try."""
    needs: AbstractSet[Need] = frozenset()
    """The needs that the requests wait for: any of these may help. The named addresses are among them: when another
    owner is granted one, the requests are refused for another reason.
    """


class Waiting:
    """All lines, and the needs of each."""

    def __init__(self) -> None:
        self._lines: dict[tuple[Ask, str], Line] = {}
        self._places: dict[str, tuple[Line, Want]] = {}  # by record
        self._by_subnet: dict[str, dict[Line, None]] = {}
        self._by_need: dict[Need, dict[Line, None]] = {}

    def add(self, want: Want, *, apart: bool) -> Line:
        """Put a request into its line. `apart`: the request gets a line of its own, because its owner has a grant to
        give in exchange.
        """
        key = (want.ask, want.owner.key if apart else "")
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key, _named(want.ask))
            for subnet in _subnets(want.ask):
                self._by_subnet.setdefault(subnet, {})[line] = None
        insort(line.queue, want, key=_order)
        self._places[want.record] = (line, want)
        return line

    def remove(self, record: str) -> None:
        """Take a request out of its line. A request that does not wait is no error."""
        line, want = self._places.pop(record, (None, None))
        if line is None or want is None:
            return
        del line.queue[bisect_left(line.queue, want.order, key=_order)]
        if not line.queue:
            del self._lines[line.key]
            for subnet in _subnets(want.ask):
                _discard(self._by_subnet, subnet, line)
            self._set_needs(line, frozenset())

    def refuse(self, line: Line, refusal: Refusal, needs: AbstractSet[Need]) -> bool:
        """Take over that the first request of a line could not be met: all requests in the line wait for these needs.
        Returns whether the refusal differs from the one before.
        """
        self._set_needs(line, needs | line.named)
        is_news, line.refusal = line.refusal != refusal, refusal
        return is_news

    def refusal(self, record: str) -> Refusal | None:
        """Why a request waits; None when it does not wait."""
        line, _ = self._places.get(record, (None, None))
        return None if line is None else line.refusal

    def concerned(self, moved: Iterable[Need], reshaped: Iterable[str]) -> list[Line]:
        """The lines that may be served now, or be refused for another reason. `moved`: the needs that became free, or
        got another owner, or an owner with another label; `reshaped`: subnets with other ranges.
        """
        found = dict.fromkeys(line for need in moved for line in self._by_need.get(need, ()))
        found.update(dict.fromkeys(line for subnet in reshaped for line in self._by_subnet.get(subnet, ())))
        return list(found)

    def is_waited_for(self, subnet: str) -> bool:
        """Whether a request waits for an address of a subnet."""
        return subnet in self._by_subnet

    def next(self, leaving: Iterable[AbstractSet[Need]]) -> set[str]:
        """The records of the requests that will be served when some grants end. `leaving`: the needs that each of these
        grants will free.
        """
        found: set[str] = set()
        passed: dict[Line, int] = {}  # number of requests of a line that will be served
        for needs in leaving:
            if len(found) == len(self._places):
                break  # all requests that wait will be served
            lines = {line for line in self.concerned(needs, ()) if passed.get(line, 0) < len(line.queue)}
            if lines:
                first = min(lines, key=lambda line: line.queue[passed.get(line, 0)].order)
                found.add(first.queue[passed.get(first, 0)].record)
                passed[first] = passed.get(first, 0) + 1
        return found

    def _set_needs(self, line: Line, needs: AbstractSet[Need]) -> None:
        for need in line.needs - needs:
            _discard(self._by_need, need, line)
        for need in needs - line.needs:
            self._by_need.setdefault(need, {})[line] = None
        line.needs = needs


def _order(want: Want) -> tuple[bool, bool, str, str, str]:
    return want.order


def _subnets(ask: Ask) -> set[str]:
    return {place.subnet for place in (*ask.places, *(choice.place for choice in ask.choices))}


def _named(ask: Ask) -> set[Need]:
    options = ask.choices or [Choice(place, ask.addresses) for place in ask.places]
    named = {Need(option.place.subnet, each) for option in options for each in option.addresses}
    return named if ask.mac is None else named | {Need(option.place.subnet, ask.mac) for option in options}


def _discard(index: dict[K, dict[Line, None]], key: K, line: Line) -> None:
    del index[key][line]
    if not index[key]:
        del index[key]
