"""The durable history of grants that are over, which `kubectl ko ipam explain` reads. Values only.

The history is a log in a ring of segments. Records are appended to the newest segment. After a full segment, the next
slot gets a new one, and its old content is overwritten. `k8s.history` decides where and how segments are kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec


class Identity(NamedTuple):
    """The fields that two records of one grant share. `since` tells apart several grants of one owner, such as those
    that a StatefulSet gets for one Pod when it is scaled down and up.
    """

    uid: str
    addresses: str
    since: str


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One grant that is over. Times are RFC 3339 texts in UTC."""

    addresses: str
    """As in `IP.spec.ipAddress`: `v4`, `v6` or `v4,v6`."""
    mac: str
    subnet: str
    holder: str
    """A label such as `Pod default/web-0` or `node node1`."""
    uid: str
    since: str
    until: str

    @property
    def identity(self) -> Identity:
        return Identity(self.uid, self.addresses, self.since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of the history. Later segments have higher sequence numbers. The sequence number decides the slot."""

    sequence: int
    records: tuple[Record, ...]
    identities: frozenset[Identity]

    @classmethod
    def of(cls, sequence: int, records: Iterable[Record]) -> "Segment":
        kept = tuple(records)
        return cls(sequence=sequence, records=kept, identities=frozenset(record.identity for record in kept))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """A history of `slots` segments with up to `size` records each. `segments`: the oldest first."""

    slots: int
    size: int
    segments: tuple[Segment, ...] = ()

    @classmethod
    def of(cls, slots: int, size: int, segments: Iterable[Segment]) -> "Ring":
        ordered = sorted(segments, key=lambda segment: segment.sequence)
        return cls(slots=slots, size=size, segments=tuple(ordered))

    @property
    def records(self) -> Sequence[Record]:
        """All records, the oldest first."""
        return [record for segment in self.segments for record in segment.records]

    def slot(self, sequence: int) -> int:
        return sequence % self.slots

    def put(self, segment: Segment) -> "Ring":
        """The ring with a segment in its slot, in place of an older one."""
        slot = self.slot(segment.sequence)
        others = [each for each in self.segments if self.slot(each.sequence) != slot]
        return Ring.of(self.slots, self.size, [*others, segment])

    def extend(self, waiting: Sequence[Record]) -> tuple[Segment | None, int]:
        """Returns the one segment to write next for records that wait (None when there is nothing to write), and how
        many of these records, from the first, are in the history after that.

        A record that is in the history already is not written again: a process that died before it acted on a record
        hands it in once more.
        """
        newest = self._open()
        fresh: dict[Identity, Record] = {}
        remembered = 0
        for record in waiting:
            if record.identity not in fresh and not self._remembers(record.identity):
                if len(newest.records) + len(fresh) == self.size:
                    break
                fresh[record.identity] = record
            remembered += 1
        segment = Segment.of(newest.sequence, (*newest.records, *fresh.values())) if fresh else None
        return segment, remembered

    def _open(self) -> Segment:
        """The segment that takes the next record: the newest, or an empty one after it."""
        if not self.segments:
            return Segment.of(0, ())
        newest = self.segments[-1]
        return newest if len(newest.records) < self.size else Segment.of(newest.sequence + 1, ())

    def _remembers(self, identity: Identity) -> bool:
        return any(identity in segment.identities for segment in self.segments)
