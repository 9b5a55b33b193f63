"""The graph: sources, derivations and steps in the order of their definition. It settles, verifies and explains."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar

from kube_ovn.derive.cells import Derived, Read
from kube_ovn.derive.sources import ALL, Collection, Index, Source, Union
from kube_ovn.derive.step import News, Step

K = TypeVar("K", bound=Hashable)
G = TypeVar("G", bound=Hashable)
S = TypeVar("S")
V = TypeVar("V")

MOST_ROUNDS = 20
"""Rounds after which a graph is left for the next call when its steps go on changing their own inputs."""


@dataclass(frozen=True, slots=True)
class StaleCell:
    """A cell with another value than it would have if it were worked out now: a fault of the program."""

    derivation: str
    key: object
    value: object
    anew: object
    reads: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A value, and the explanations of all that its cell has read."""

    source: str
    key: object
    value: object
    because: tuple["Explanation", ...] = ()


class Graph:
    """Sources in the order of their definition."""

    def __init__(self) -> None:
        self._read = Read()
        self._level = 0
        self.sources: dict[str, Source[Any, Any]] = {}
        """By name."""
        self._parts: list[Derived[Any, Any, Any] | Step] = []
        self._indexes: list[Index[Any, Any, Any] | Union[Any, Any]] = []
        self._left = self._all_cells()  # the cells that `verify_some` has still to look at

    @property
    def derivations(self) -> list[Derived[Any, Any, Any]]:
        return [part for part in self._parts if isinstance(part, Derived)]

    def collection(self, name: str, key: type[K], value: type[V]) -> Collection[K, V]:
        """An input, or a collection that a step is to put values into. The types are for the reader and the type
        checker alone.
        """
        made: Collection[K, V] = Collection(name, self._next())
        self._name(made)
        return made

    def index(self, name: str, of: Source[K, V], by: Callable[[K, V], Iterable[G]]) -> Index[G, K, V]:
        """Each value in the groups that `by` names."""
        return self._index(name, of, lambda key, value: dict.fromkeys(by(key, value), value), cutoff=False)

    def split(self, name: str, of: Source[K, S], parts: Callable[[K, S], Mapping[G, V]]) -> Index[G, K, V]:
        """The parts of each value that `parts` names, each in a group. A cell that reads a group is worked out anew
        only when a part in it changes: for large values that many cells read, and of which little changes at a time.
        """
        return self._index(name, of, parts, cutoff=True)

    def _index(
        self, name: str, of: Source[K, S], parts: Callable[[K, S], Mapping[G, V]], *, cutoff: bool
    ) -> Index[G, K, V]:
        if isinstance(of, Index):
            raise TypeError(
                f"{name} groups the groups of {of.name}: group a derivation of them, or what they are made of"
            )
        made = Index(name, self._next(), of, parts, cutoff=cutoff)
        self._indexes.append(made)
        self._name(made)
        return made

    def union(self, name: str, of: Sequence[Source[Any, V]]) -> Union[Any, V]:
        """The values of several sources, for what is derived from all of them alike. A key is in one of them only."""
        if any(isinstance(each, Index) for each in of):
            raise TypeError(f"{name} holds groups of an index: unite what the groups are made of")
        made = Union(name, self._next(), of)
        self._indexes.append(made)
        self._name(made)
        return made

    def derive(self, name: str, source: Source[K, S], work: Callable[[Read, K, S], V | None]) -> Derived[K, S, V]:
        made = Derived(name, self._next(), source, work, self._read)
        self._parts.append(made)
        self._name(made)
        return made

    def step(self, name: str, inputs: Sequence[Source[Any, Any]], work: Callable[[News], None]) -> Step:
        made = Step(name, inputs, work)
        self._parts.append(made)
        return made

    def settle(self) -> list[str]:
        """Bring everything up to date: rounds in the order of definition, until one finds nothing to do.

        Returns the names of the parts that had work in the last of `MOST_ROUNDS` rounds: none, unless steps and
        derivations change one another without end, which is a fault of the program. The next call goes on from there.
        """
        busy: list[str] = []
        for _ in range(MOST_ROUNDS):
            busy = [part.name for part in self._parts if part.settle()]
            if not busy:
                break
        return busy

    def verify(self) -> list[StaleCell]:
        """Work all cells out anew and compare. Call it when the graph is settled."""
        found = [
            StaleCell(index.name, group, index.values.get(group), groups.get(group), ())
            for index in self._indexes
            for groups in (index.anew(),)
            for group in {*groups, *index.values}
            if groups.get(group) != index.values.get(group)
        ]
        for derived in self.derivations:
            for key in {**derived.source.values, **derived.values}:
                found += self._verify(derived, key)
        return found

    def verify_some(self, most: int, seconds: float) -> list[StaleCell]:
        """Work out a few more cells anew, for when there is time: all cells in turn, over many calls. Cells that are
        found stale are worked out again by the next `settle`. After `seconds` no further cell is begun.
        """
        found: list[StaleCell] = []
        if any(part.is_behind for part in self._parts):
            return found  # cells that are to be worked out anyway are no fault
        end = perf_counter() + seconds
        for _ in range(most):
            at = next(self._left, None)
            if at is None:
                self._left = self._all_cells()
                break
            derived, key = at
            for cell in self._verify(derived, key):
                derived.stale[key] = None
                found.append(cell)
            if perf_counter() >= end:
                break
        return found

    def _all_cells(self) -> Iterator[tuple[Derived[Any, Any, Any], Any]]:
        """The cells of one derivation after another. The keys of one at a time are held: there may be very many."""
        for derived in self.derivations:
            for key in list(derived.source.values):
                yield derived, key

    def _verify(self, derived: Derived[Any, Any, Any], key: Any) -> Iterator[StaleCell]:
        source, read = derived.source.values.get(key), Read(shuffled=True)
        read.begin(derived.level)
        anew = None if source is None else derived.work(read, key, source)
        value = derived.values.get(key)
        if anew != value:
            reads = tuple((each.name, name) for each, name in derived.reads(key))
            yield StaleCell(derived.name, key, value, anew, reads)

    def explain(self, source: Source[K, V], key: K, depth: int = 3) -> Explanation:
        """A value with what it was worked out from, so many levels down."""
        because: list[Explanation] = []
        if isinstance(source, Derived) and depth:
            because.append(self.explain(source.source, key, depth - 1))
            for each, name in source.reads(key):
                if name is ALL:
                    because.append(Explanation(each.name, ALL, f"{len(each.values)} values"))
                else:
                    because.append(self.explain(each, name, depth - 1))
        return Explanation(source.name, key, source.values.get(key), tuple(because))

    def _name(self, source: Source[Any, Any]) -> None:
        if source.name in self.sources:
            raise ValueError(f"there are two sources named {source.name}")
        self.sources[source.name] = source

    def _next(self) -> int:
        self._level += 1
        return self._level
