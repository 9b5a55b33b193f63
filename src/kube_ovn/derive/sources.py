"""Sources: values by key that cells can read. A source records the cells that have read each key, and wakes them."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
G = TypeVar("G", bound=Hashable)
V = TypeVar("V")

FEW = 8
"""Readers of one key that are kept in a tuple."""


class All:
    """The key that stands for a whole source."""

    def __repr__(self) -> str:
        return "all"


ALL: Final = All()


class Behind(Protocol):
    """A derivation, as its sources see it. `stale` holds the keys of the cells that are to be worked out anew."""

    stale: dict[Any, None]


class Cell:
    """One key of a derivation, with what it has read: a source and a key in turn."""

    __slots__ = ("derived", "key", "reads")

    def __init__(self, derived: Behind, key: Any) -> None:
        self.derived, self.key = derived, key
        self.reads: tuple[Any, ...] = ()


_Readers = Cell | tuple[Cell, ...] | dict[Cell, None]
"""The cells that read one key: mostly one or a few, and then a dict would be most of what a graph takes of memory."""
Listener = Callable[[Any, Any, Any], None]


class Source(Generic[K, V]):
    """Values by key that cells can read. `values` is for readers outside the graph."""

    def __init__(self, name: str, level: int) -> None:
        self.name, self.level = name, level
        self.values: dict[K, V] = {}
        self._readers: dict[K | All, _Readers] = {}
        self._listeners: list[Listener] = []

    def listen(self, listener: Callable[[K, V | None, V | None], None]) -> None:
        """Have a function called with each key that changes, its old value and its new one; None for no value."""
        self._listeners.append(listener)

    def _set(self, key: K, new: V | None) -> bool:
        """Take over a value, or None for no value any more. Returns whether the value changed."""
        old = self.values.get(key)
        if old is new or (old is not None and new is not None and old == new):
            return False
        if new is None:
            del self.values[key]
        else:
            self.values[key] = new
        self._tell(key, old, new)
        return True

    def _tell(self, key: K, old: V | None, new: V | None) -> None:
        if self._readers:
            self._wake(self._readers.get(key))
            self._wake(self._readers.get(ALL))
        for listener in self._listeners:
            listener(key, old, new)

    def _wake(self, readers: _Readers | None) -> None:
        """Have cells worked out anew."""
        if isinstance(readers, Cell):
            readers.derived.stale[readers.key] = None
        elif readers is not None:
            for cell in readers:
                cell.derived.stale[cell.key] = None

    def subscribe(self, key: K | All, cell: Cell) -> None:
        """A cell reads a key from now on."""
        readers = self._readers.get(key)
        if readers is None:
            self._readers[key] = cell
        elif isinstance(readers, dict):
            readers[cell] = None
        else:
            few = (readers,) if isinstance(readers, Cell) else readers
            self._readers[key] = (*few, cell) if len(few) < FEW else dict.fromkeys((*few, cell))

    def unsubscribe(self, key: K | All, cell: Cell) -> None:
        """A cell does not read a key any more."""
        readers = self._readers[key]
        if isinstance(readers, dict):
            del readers[cell]
        elif isinstance(readers, tuple):
            readers = self._readers[key] = tuple(each for each in readers if each is not cell)
        if readers is cell or not readers:
            del self._readers[key]


class Collection(Source[K, V]):
    """An input of the graph, or an output of a step."""

    def put(self, key: K, value: V) -> None:
        """Set the value of a key. An equal value is no news."""
        self._set(key, value)

    def drop(self, key: K) -> None:
        """Remove a key; an unknown one is fine."""
        self._set(key, None)

    def replace(self, values: Mapping[K, V]) -> None:
        """Take over all values: other keys are removed."""
        for key in [key for key in self.values if key not in values]:
            self.drop(key)
        for key, value in values.items():
            self.put(key, value)


class Union(Source[K, V]):
    """The values of several sources that have no key in common. Always up to date, as an index is."""

    def __init__(self, name: str, level: int, of: Sequence[Source[K, V]]) -> None:
        super().__init__(name, level)
        self.of = of
        for each in of:
            for key, value in each.values.items():
                self._follow(key, None, value)
            each.listen(self._follow)

    def _follow(self, key: K, old: V | None, new: V | None) -> None:
        if old is None and key in self.values:
            raise ValueError(f"{self.name}: {key} is in two sources")
        self._set(key, new)

    def anew(self) -> dict[K, V]:
        """The values, taken from the sources alone."""
        return {key: value for each in self.of for key, value in each.values.items()}


class Index(Source[G, Mapping[K, V]]):
    """The values of another source in groups: each, or a part of it, in those that `parts` names. A group is there
    while it has a member.

    Always up to date: it changes with its source, not at its place in the order. `cutoff`: a group does not change
    where the part of a value that changed is equal to the one before.
    """

    def __init__(
        self, name: str, level: int, of: Source[K, Any], parts: Callable[[K, Any], Mapping[G, V]], *, cutoff: bool
    ) -> None:
        super().__init__(name, level)
        self.of, self._parts, self._cutoff = of, parts, cutoff
        self._groups: dict[G, dict[K, V]] = {}
        self.values = self._groups  # type: ignore[assignment]  # read from outside as mappings
        for key, value in of.values.items():
            self._follow(key, None, value)
        of.listen(self._follow)

    def _follow(self, key: K, old: Any, new: Any) -> None:
        before: Mapping[G, V] = {} if old is None else self._parts(key, old)
        now: Mapping[G, V] = {} if new is None else self._parts(key, new)
        for group in before:
            if group not in now:
                members = self._groups[group]
                del members[key]
                if not members:
                    del self._groups[group]
                self._tell(group, members, members or None)
        for group, part in now.items():
            if self._cutoff and before.get(group) == part:
                continue
            found = self._groups.get(group)
            if found is None:
                self._groups[group] = {key: part}
            else:
                found[key] = part
            self._tell(group, found, self._groups[group])

    def anew(self) -> dict[G, dict[K, V]]:
        """The groups, made anew from the source alone."""
        groups: dict[G, dict[K, V]] = {}
        for key, value in self.of.values.items():
            for group, part in self._parts(key, value).items():
                groups.setdefault(group, {})[key] = part
        return groups
