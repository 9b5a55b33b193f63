"""Derivations: a value for each key of a source, worked out by one pure function, and the values that each has read."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, Generic, TypeVar

from kube_ovn.derive.sources import ALL, Cell, Index, Source

K = TypeVar("K", bound=Hashable)
G = TypeVar("G", bound=Hashable)
S = TypeVar("S")
V = TypeVar("V")


class Read:
    """The reader that a derivation is given: it records each value as read by the cell that is worked out."""

    __slots__ = ("_level", "_log", "_shuffled")

    def __init__(self, *, shuffled: bool = False) -> None:
        """`shuffled`: hand out copies of groups in another order, so that a function that depends on the order, or
        keeps or changes a group, is found.
        """
        self._level = 0
        self._log: list[Any] = []
        self._shuffled = shuffled

    def begin(self, level: int) -> None:
        """Begin with a cell of this level. The cell can read sources of lower levels."""
        self._level = level
        self._log = []

    def taken(self) -> tuple[Any, ...]:
        """The reads since the cell was begun: a source and a key in turn."""
        return tuple(self._log)

    def get(self, source: Source[K, V], key: K) -> V | None:
        """The value of a key; None when there is none."""
        self._record(source, key)
        return source.values.get(key)

    def select(self, index: "Index[G, K, V]", group: G) -> Mapping[K, V]:
        """The members of a group: a view for the moment, not to be kept. Their order means nothing."""
        self._record(index, group)
        found: Mapping[K, V] | None = index.values.get(group)
        if found is None:
            return {}
        return _reversed(found) if self._shuffled else found

    def all(self, source: Source[K, V]) -> Mapping[K, V]:
        """All values of a source, which should be a small one. Their order means nothing."""
        self._record(source, ALL)
        return _reversed(source.values) if self._shuffled else source.values

    def _record(self, source: Source[Any, Any], key: object) -> None:
        if source.level >= self._level:
            raise ValueError(f"{source.name} is defined later than what reads it")
        self._log.append(source)
        self._log.append(key)


def _reversed(values: Mapping[K, V]) -> dict[K, V]:
    return dict(reversed(list(values.items())))


class Derived(Source[K, V], Generic[K, S, V]):
    """A value for each key of a source, worked out by one pure function; None: no value."""

    def __init__(
        self, name: str, level: int, source: Source[K, S], work: Callable[[Read, K, S], V | None], read: Read
    ) -> None:
        super().__init__(name, level)
        self.source, self.work = source, work
        self.stale: dict[K, None] = dict.fromkeys(source.values)  # in order: the same history, the same writes in turn
        self.worked = self.unchanged = 0
        """Cells worked out so far, and those of them that kept their value."""
        self._read = read
        self._cells: dict[K, Cell] = {}  # by key, the cells that have read something
        source.listen(self._follow)

    def _follow(self, key: K, old: S | None, new: S | None) -> None:
        self.stale[key] = None

    @property
    def is_behind(self) -> bool:
        """Whether something is to be worked out."""
        return bool(self.stale)

    def settle(self) -> bool:
        """Work out the stale cells. Returns whether there were any."""
        if not self.stale:
            return False
        stale, self.stale = self.stale, {}
        source, read, work, level = self.source.values, self._read, self.work, self.level
        for key in stale:
            value = source.get(key)
            if value is None:
                self._keep_reads(key, ())
                self._set(key, None)
                continue
            read.begin(level)
            new = work(read, key, value)
            self._keep_reads(key, read.taken())
            self.worked += 1
            self.unchanged += not self._set(key, new)
        return True

    def reads(self, key: K) -> tuple[tuple[Source[Any, Any], Any], ...]:
        """The sources and keys that the cell of a key has read."""
        flat = self._cells[key].reads if key in self._cells else ()
        return tuple(zip(flat[::2], flat[1::2], strict=True))

    def _keep_reads(self, key: K, reads: tuple[Any, ...]) -> None:
        cell = self._cells.get(key)
        if cell is None:
            if not reads:
                return
            cell = self._cells[key] = Cell(self, key)
        before = cell.reads
        if before == reads:
            return
        cell.reads = reads
        now = set(zip(reads[::2], reads[1::2], strict=True))
        then = set(zip(before[::2], before[1::2], strict=True)) if before else _NONE
        for source, name in then - now:
            source.unsubscribe(name, cell)
        for source, name in now - then:
            source.subscribe(name, cell)
        if not reads:
            del self._cells[key]


_NONE: Final[set[Any]] = set()
