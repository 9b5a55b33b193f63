"""The law of the engine: after any history a graph is what a fresh one is that was given the same inputs at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kube_ovn.derive import Collection, Graph, Index, News, Read, Source

KEYS, VALUES = st.integers(0, 4), st.integers(0, 5)
INPUTS = 2


@dataclass(frozen=True)
class Shape:
    """One part of a random graph: `kind` and numbers that say what it reads and how it counts."""

    kind: str
    source: int
    other: int
    factor: int
    limit: int


shapes = st.lists(
    st.builds(
        Shape,
        kind=st.sampled_from(["index", "split", "get", "select", "all", "chosen", "over", "copy", "union"]),
        source=st.integers(0, 50),
        other=st.integers(0, 50),
        factor=st.integers(1, 3),
        limit=st.integers(2, 7),
    ),
    min_size=1,
    max_size=10,
)
changes = st.lists(
    st.one_of(
        st.tuples(st.integers(0, INPUTS - 1), KEYS, st.none() | VALUES),
        st.just("settle"),
    ),
    max_size=25,
)


class Made:
    """A graph of a random shape over two inputs of numbers."""

    def __init__(self, parts: list[Shape]) -> None:
        self.graph = Graph()
        self.inputs = [self.graph.collection(f"input {n}", int, int) for n in range(INPUTS)]
        self.sources: list[Source[int, int]] = list(self.inputs)
        self.indexes: list[Index[int, int, int]] = []
        for number, shape in enumerate(parts):
            self._add(number, shape)

    def _add(self, number: int, shape: Shape) -> None:
        source, other = (self.sources[each % len(self.sources)] for each in (shape.source, shape.other))
        name = f"{number} {shape.kind}"
        if shape.kind == "index":
            by = _grouping(shape)
            self.indexes.append(self.graph.index(name, source, by))
        elif shape.kind == "split":
            self.indexes.append(self.graph.split(name, source, _parts(shape)))
        elif shape.kind == "copy":
            made = self.graph.collection(name, int, int)
            self.graph.step(f"{name} step", [source], _copy(source, made))
            self.sources.append(made)
        elif shape.kind == "union":
            self.sources.append(self.graph.derive(name, self._united(name, source, other), _work(shape, other)))
        elif shape.kind in ("select", "over"):
            if self.indexes:
                index = self.indexes[shape.other % len(self.indexes)]
                self.sources.append(self._over(name, shape, source, index))
        else:
            self.sources.append(self.graph.derive(name, source, _work(shape, other)))

    def _united(self, name: str, source: Source[int, int], other: Source[int, int]) -> Source[Any, int]:
        """Two sources as one, each with keys of its own."""
        evens = self.graph.derive(f"{name} evens", source, lambda read, key, value: None if key % 2 else value)
        odds = self.graph.derive(f"{name} odds", other, lambda read, key, value: value if key % 2 else None)
        return self.graph.union(f"{name} of both", (evens, odds))

    def _over(self, name: str, shape: Shape, source: Source[int, int], index: Index[int, int, int]) -> Source[int, int]:
        if shape.kind == "over":
            return self.graph.derive(name, index, _sum(shape))

        def select(read: Read, key: int, value: int) -> int | None:
            members = read.select(index, (key * shape.factor) % shape.limit)
            return (value + sum(members.values())) % 100 or None

        return self.graph.derive(name, source, select)

    def change(self, number: int, key: int, value: int | None) -> None:
        if value is None:
            self.inputs[number].drop(key)
        else:
            self.inputs[number].put(key, value)

    @property
    def values(self) -> list[Mapping[int, Any]]:
        everything: list[Source[int, Any]] = [*self.sources, *self.indexes]
        return [dict(source.values) for source in everything]


def _grouping(shape: Shape) -> Callable[[int, int], list[int]]:
    """The groups of a value: none, one or two."""
    return lambda key, value: [value % shape.limit, (value * shape.factor) % shape.limit] if value else []


def _parts(shape: Shape) -> Callable[[int, int], dict[int, int]]:
    """The parts of a value: one or two. Another value may have an equal part in a group."""
    return lambda key, value: {0: value // shape.limit + 1, value % shape.factor: value % shape.limit + 1}


def _copy(source: Source[int, int], made: Collection[int, int]) -> Callable[[News], None]:
    def copy(news: News) -> None:
        for key in news.of(source):
            if (value := source.values.get(key)) is None:
                made.drop(key)
            else:
                made.put(key, value)

    return copy


def _work(shape: Shape, other: Source[int, int]) -> Callable[[Read, int, int], int | None]:
    def work(read: Read, key: int, value: int) -> int | None:
        if shape.kind == "all":
            return (value + sum(read.all(other).values())) % 100 or None
        if shape.kind == "chosen" and value % 2:  # what is read depends on what was read
            return value % shape.limit or None
        found = read.get(other, (key + value * shape.factor) % shape.limit)
        return None if found is None else (found + value) % shape.limit

    return work


def _sum(shape: Shape) -> Callable[[Read, int, Mapping[int, int]], int | None]:
    return lambda read, group, members: sum(members.values()) % shape.limit + len(members)


@given(shapes, changes)
@settings(max_examples=400)
def test_any_history_ends_where_its_inputs_alone_lead(parts: list[Shape], history: list[Any]) -> None:
    walked = Made(parts)
    inputs: list[dict[int, int]] = [{} for _ in range(INPUTS)]
    for change in history:
        if change == "settle":
            walked.graph.settle()
            continue
        number, key, value = change
        walked.change(number, key, value)
        if value is None:
            inputs[number].pop(key, None)
        else:
            inputs[number][key] = value
    walked.graph.settle()
    fresh = Made(parts)
    for number, values in enumerate(inputs):
        fresh.inputs[number].replace(values)
    fresh.graph.settle()
    assert walked.values == fresh.values
    assert walked.graph.verify() == []
    worked = [each.worked for each in walked.graph.derivations]
    walked.graph.settle()
    assert [each.worked for each in walked.graph.derivations] == worked, "nothing is left to do"
