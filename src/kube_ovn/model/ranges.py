"""Sets of addresses of one IP family as spans of numbers: a /64 costs as much as a /24.

Values only. `topology` decides what a set is for (a pool, free addresses, reserved ones).
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from kube_ovn.model.addr import Address, Network

Span = tuple[int, int]
"""First and last number, both included."""
_BEYOND = 1 << 128
"""Greater than the number of any address."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """A set of integers as sorted spans that neither overlap nor adjoin."""

    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, spans: Iterable[Span]) -> "Ranges":
        """The union of spans, in any order, overlapping or not; an empty one (last before first) counts for nothing."""
        merged: list[Span] = []
        for low, high in sorted(span for span in spans if span[0] <= span[1]):
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], high))
            else:
                merged.append((low, high))
        return cls(tuple(merged))

    @classmethod
    def of_numbers(cls, numbers: Iterable[int]) -> "Ranges":
        """The same as `of`, for single numbers that do not repeat; ten times as fast."""
        ordered = iter(sorted(numbers))
        spans: list[Span] = []
        for low in ordered:
            high = low
            for number in ordered:
                if number != high + 1:
                    spans.append((low, high))
                    low = number
                high = number
            spans.append((low, high))
        return cls(tuple(spans))

    @property
    def size(self) -> int:
        """The count of numbers; it may exceed what `len` can return."""
        return sum(high - low + 1 for low, high in self.spans)

    def __bool__(self) -> bool:
        return bool(self.spans)

    def _begun(self, number: int) -> int:
        """The count of spans that begin at or before a number."""
        return bisect_right(self.spans, (number, _BEYOND))

    def __contains__(self, number: object) -> bool:
        assert isinstance(number, int)
        at = self._begun(number)
        return at > 0 and number <= self.spans[at - 1][1]

    def __or__(self, other: "Ranges") -> "Ranges":
        return Ranges.of((*self.spans, *other.spans))

    def __sub__(self, other: "Ranges") -> "Ranges":
        return Ranges(tuple(self._without(other)))

    def __and__(self, other: "Ranges") -> "Ranges":
        return self - (self - other)

    def following(self, number: int) -> int | None:
        """The lowest member that is not below `number`."""
        at = self._begun(number)
        if at > 0 and number <= self.spans[at - 1][1]:
            return number
        return self.spans[at][0] if at < len(self.spans) else None

    def including(self, number: int) -> "Ranges":
        """This set with one more member: a copy of the spans, however many numbers they have."""
        if number in self:
            return self
        at = self._begun(number)
        joins_before = at > 0 and self.spans[at - 1][1] == number - 1
        joins_after = at < len(self.spans) and self.spans[at][0] == number + 1
        low = self.spans[at - 1][0] if joins_before else number
        high = self.spans[at][1] if joins_after else number
        return Ranges((*self.spans[: at - joins_before], (low, high), *self.spans[at + joins_after :]))

    def excluding(self, number: int) -> "Ranges":
        """This set without one member."""
        if number not in self:
            return self
        at = self._begun(number) - 1
        low, high = self.spans[at]
        left = [span for span in ((low, number - 1), (number + 1, high)) if span[0] <= span[1]]
        return Ranges((*self.spans[:at], *left, *self.spans[at + 1 :]))

    def _without(self, other: "Ranges") -> Iterator[Span]:
        at, holes = 0, other.spans
        for low, high in self.spans:
            while at < len(holes) and holes[at][1] < low:
                at += 1
            start, hole = low, at
            while hole < len(holes) and holes[hole][0] <= high:
                if start < holes[hole][0]:
                    yield (start, holes[hole][0] - 1)
                start = holes[hole][1] + 1
                hole += 1
            if start <= high:
                yield (start, high)


def host_ranges(network: Network) -> Ranges:
    """The addresses of hosts: all but the network address and, in IPv4, the broadcast address (RFC 4291 section 2.6.1:
    the first address of an IPv6 network belongs to its routers).
    """
    last = int(network.broadcast_address) - isinstance(network, IPv4Network)
    return Ranges.of([(int(network.network_address) + 1, last)])


def address(version: int, number: int) -> Address:
    """The address with this number, of IP version 4 or 6."""
    return IPv4Address(number) if version == 4 else IPv6Address(number)


def format_ranges(ranges: Ranges, version: int, most: int) -> str:
    """Format as `10.16.0.2-10.16.0.9,10.16.1.1`. Of the spans beyond the first `most` it has only the number."""
    shown = [
        str(address(version, low)) if low == high else f"{address(version, low)}-{address(version, high)}"
        for low, high in ranges.spans[:most]
    ]
    if len(ranges.spans) > most:
        shown.append(f"and {len(ranges.spans) - most} more")
    return ",".join(shown)
