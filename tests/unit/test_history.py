"""The ring of the address history: nothing is lost, doubled or out of order within what it holds."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kube_ovn.k8s.history import ConfigMap, DamagedError, format_segment, parse_segment
from kube_ovn.model import names
from kube_ovn.model.history import Record, Ring, Segment

SLOTS, SIZE = 3, 4


def record(number: int, uid: str = "", address: str = "10.16.0.5") -> Record:
    return Record(
        addresses=address,
        mac="0a:00:00:00:00:05",
        subnet="ovn-default",
        holder=f"Pod default/pod-{number}",
        uid=uid or f"uid-{number}",
        since=f"2025-11-25T10:{number // 60:02}:{number % 60:02}Z",
        until="2025-11-25T11:00:00Z",
    )


def config_map(data: dict[str, str], slot: int = 0) -> ConfigMap:
    metadata = {"name": names.history_segment(slot), "namespace": "kube-system", "resourceVersion": "1"}
    return msgspec.convert({"metadata": metadata, "data": data}, ConfigMap)


def extend(ring: Ring, records: list[Record]) -> Ring:
    """Write until all are remembered."""
    while records:
        segment, remembered = ring.extend(records)
        ring, records = ring.put(segment) if segment else ring, records[remembered:]
    return ring


def test_a_write_takes_what_fits_one_segment() -> None:
    ring = extend(Ring(slots=SLOTS, size=SIZE), [record(0)])
    segment, remembered = ring.extend([record(number) for number in range(1, 9)])
    assert segment is not None
    assert remembered == 3, "the rest of this segment; what is over waits for the next write"
    assert segment.records == tuple(record(number) for number in range(4))
    segment, remembered = ring.put(segment).extend([record(number) for number in range(4, 9)])
    assert segment is not None
    assert (segment.sequence, remembered) == (1, 4), "a full one is left as it is"


def test_the_oldest_is_overwritten_when_all_are_full() -> None:
    ring = extend(Ring(slots=SLOTS, size=SIZE), [record(number) for number in range(SLOTS * SIZE)])
    assert [segment.sequence for segment in ring.segments] == [0, 1, 2]
    ring = extend(ring, [record(99)])
    assert [segment.sequence for segment in ring.segments] == [1, 2, 3]
    assert ring.slot(3) == ring.slot(0)
    assert ring.records == [*(record(number) for number in range(SIZE, SLOTS * SIZE)), record(99)]


def test_what_is_said_again_is_remembered_once() -> None:
    ring = extend(Ring(slots=SLOTS, size=SIZE), [record(number) for number in range(SIZE)])
    for again in (record(2), msgspec.structs.replace(record(3), until="2025-11-25T12:00:00Z")):
        assert ring.extend([again]) == (None, 1), "in a full segment too, and whenever it is said"
    segment, remembered = ring.extend([record(2), record(9), record(9), record(9)])
    assert segment is not None
    assert (segment.records, remembered) == ((record(9),), 4)


def test_the_same_owner_can_have_an_address_twice() -> None:
    """A StatefulSet scaled down and up: the beginning tells one grant from the other."""
    first, second = record(1, "set"), record(2, "set")
    assert extend(Ring(slots=SLOTS, size=SIZE), [first, second]).records == [first, second]


def test_a_segment_is_read_as_it_was_written() -> None:
    segment = Segment.of(4, [record(1), record(2)])
    data = format_segment(segment)
    assert data["sequence"] == "4"
    assert data["records"].count("\n") == 2, "one line each, for people with kubectl"
    assert parse_segment(config_map(data, 1), 1, SLOTS) == segment


@given(st.text())
def test_any_text_survives(text: str) -> None:
    segment = Segment.of(0, [msgspec.structs.replace(record(1), holder=text)])
    assert parse_segment(config_map(format_segment(segment)), 0, SLOTS) == segment


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"sequence": "0"},
        {"sequence": "zero", "records": ""},
        {"sequence": "1", "records": ""},
        {"sequence": "-3", "records": ""},
        {"sequence": "9" * 5000, "records": ""},
        {"sequence": "0", "records": "{"},
        {"sequence": "0", "records": '{"addresses":"10.16.0.5"}\n'},
    ],
)
def test_what_somebody_edited_is_damaged_and_no_crash(data: dict[str, str]) -> None:
    with pytest.raises(DamagedError):
        parse_segment(config_map(data), 0, SLOTS)


class Histories(RuleBasedStateMachine):
    """Two leaders at most, each with its own sight of the ConfigMaps, that append, collide, die and start anew."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[int, ConfigMap] = {}
        self.version = 0
        self.appended: list[Record] = []  # each once, in the order in which it was durable first
        self.sights = [self.load(), self.load()]

    def load(self) -> tuple[Ring, dict[int, str]]:
        segments = [parse_segment(stored, slot, SLOTS) for slot, stored in self.stored.items()]
        versions = {slot: stored.metadata.resource_version for slot, stored in self.stored.items()}
        return Ring.of(SLOTS, SIZE, segments), versions

    @rule(
        who=st.sampled_from([0, 1]),
        numbers=st.lists(st.integers(0, 40), min_size=1, max_size=2 * SIZE),
        answered=st.booleans(),
    )
    def append(self, who: int, numbers: list[int], answered: bool) -> None:
        """One write, whose answer may be lost; a conflict makes it look again, and it writes with its next turn."""
        ring, versions = self.sights[who]
        waiting = [record(number) for number in numbers]
        segment, remembered = ring.extend(waiting)
        if segment is None:
            assert remembered == len(waiting)
            return
        slot = ring.slot(segment.sequence)
        actual = self.stored[slot].metadata.resource_version if slot in self.stored else None
        if versions.get(slot) != actual:
            self.sights[who] = self.load()
            return
        self.version += 1
        stored = config_map(format_segment(segment), slot)
        metadata = msgspec.structs.replace(stored.metadata, resource_version=str(self.version))
        self.stored[slot] = msgspec.structs.replace(stored, metadata=metadata)
        known = {each.identity for each in ring.records}
        for each in waiting[:remembered]:
            if each.identity not in known:
                known.add(each.identity)
                self.appended.append(each)
        if answered:
            self.sights[who] = ring.put(segment), {**versions, slot: str(self.version)}

    @rule(who=st.sampled_from([0, 1]))
    def restart(self, who: int) -> None:
        self.sights[who] = self.load()

    @invariant()
    def the_newest_are_remembered_in_order(self) -> None:
        ring, _ = self.load()
        found = list(ring.records)
        assert found == self.appended[len(self.appended) - len(found) :]
        assert len(found) >= min(len(self.appended), (SLOTS - 1) * SIZE + 1)
        assert len({each.identity for each in found}) == len(found)


TestHistories = Histories.TestCase
