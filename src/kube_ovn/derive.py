"""The engine: values derived from other values by pure functions, and worked out anew only when something they read has
changed. Generic: nothing here knows of Kubernetes or of networks.

    graph = Graph()
    pods = graph.collection("pods", str, Pod)       an input: put(key, value), drop(key)
    by_node = graph.index("pods by node", pods, lambda key, pod: (pod.node,))
    ports = graph.derive("ports", pods, render)     render(read, key, pod) -> Port | None, once for each key of pods
    graph.settle()                                  brings everything up to date

`read.get(source, key)`, `read.select(index, group)` and `read.all(source)` hand out values and record that the cell has
read them. A cell (one key of a derivation) is worked out anew when a value it has read is another; a result that equals
the one before goes no further. The order of definition is the order of work: what is defined later cannot be read, so
there is no cycle and no cell is worked out twice in a round. A `Step` is for what has a memory: a function that is
called with the keys that changed, and that may put values into collections. Where it puts one that earlier derivations
read, a further round follows.

The law: after `settle`, every cell has the value it would have if all were worked out from the inputs alone. `verify`
holds the graph to it.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
G = TypeVar("G", bound=Hashable)
S = TypeVar("S")
V = TypeVar("V")

FEW = 8
"""Readers of one key that are kept in a tuple."""
MOST_ROUNDS = 20
"""Rounds after which a graph is left for the next call when its steps go on changing their own inputs."""


class _All:
    """The key that stands for a whole source."""

    def __repr__(self) -> str:
        return "all"


_ALL: Final = _All()


class _Cell:
    """One key of a derivation, with what it has read: a source and a key in turn."""

    __slots__ = ("derived", "key", "reads")

    def __init__(self, derived: "Derived[Any, Any, Any]", key: Any) -> None:
        self.derived, self.key = derived, key
        self.reads: tuple[Any, ...] = ()


_Readers = _Cell | tuple[_Cell, ...] | dict[_Cell, None]
"""The cells that read one key: mostly one or a few, and then a dict would be most of what a graph takes of memory."""
_Listener = Callable[[Any, Any, Any], None]


class Source(Generic[K, V]):
    """Values by key that cells can read. `values` is for readers outside the graph."""

    def __init__(self, name: str, level: int) -> None:
        self.name, self.level = name, level
        self.values: dict[K, V] = {}
        self._readers: dict[K | _All, _Readers] = {}
        self._listeners: list[_Listener] = []

    def listen(self, listener: Callable[[K, V | None, V | None], None]) -> None:
        """Have a function called with each key that changes, its old value and its new one; None for no value."""
        self._listeners.append(listener)

    def _set(self, key: K, new: V | None) -> bool:
        """Take over a value, or None for no value any more. Whether that is news."""
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
            self._wake(self._readers.get(_ALL))
        for listener in self._listeners:
            listener(key, old, new)

    def _wake(self, readers: _Readers | None) -> None:
        """Have cells worked out anew."""
        if isinstance(readers, _Cell):
            readers.derived.stale[readers.key] = None
        elif readers is not None:
            for cell in readers:
                cell.derived.stale[cell.key] = None

    def subscribe(self, key: K | _All, cell: _Cell) -> None:
        """A cell reads a key from now on."""
        readers = self._readers.get(key)
        if readers is None:
            self._readers[key] = cell
        elif isinstance(readers, dict):
            readers[cell] = None
        else:
            few = (readers,) if isinstance(readers, _Cell) else readers
            self._readers[key] = (*few, cell) if len(few) < FEW else dict.fromkeys((*few, cell))

    def unsubscribe(self, key: K | _All, cell: _Cell) -> None:
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
        """These are all values there are."""
        for key in [key for key in self.values if key not in values]:
            self.drop(key)
        for key, value in values.items():
            self.put(key, value)


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
        """The groups as the source alone says they are."""
        groups: dict[G, dict[K, V]] = {}
        for key, value in self.of.values.items():
            for group, part in self._parts(key, value).items():
                groups.setdefault(group, {})[key] = part
        return groups


class Read:
    """How a derivation reads: each value it is given is recorded as read by the cell that is worked out."""

    __slots__ = ("_level", "_log", "_shuffled")

    def __init__(self, *, shuffled: bool = False) -> None:
        """`shuffled`: hand out copies of groups in another order, so that a function that depends on the order, or
        keeps or changes a group, is found.
        """
        self._level = 0
        self._log: list[Any] = []
        self._shuffled = shuffled

    def begin(self, level: int) -> None:
        """Begin with a cell of this level: it can read what is of a lower one."""
        self._level = level
        self._log = []

    def taken(self) -> tuple[Any, ...]:
        """What was read since the cell was begun: a source and a key in turn."""
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
        """All values of a source, for what is small. Their order means nothing."""
        self._record(source, _ALL)
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
        self._cells: dict[K, _Cell] = {}  # of those that have read something
        source.listen(self._follow)

    def _follow(self, key: K, old: S | None, new: S | None) -> None:
        self.stale[key] = None

    @property
    def is_behind(self) -> bool:
        """Whether something is to be worked out."""
        return bool(self.stale)

    def settle(self) -> bool:
        """Work out what is stale. Whether anything was."""
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
        """What the cell of a key has read: sources and keys."""
        flat = self._cells[key].reads if key in self._cells else ()
        return tuple(zip(flat[::2], flat[1::2], strict=True))

    def _keep_reads(self, key: K, reads: tuple[Any, ...]) -> None:
        cell = self._cells.get(key)
        if cell is None:
            if not reads:
                return
            cell = self._cells[key] = _Cell(self, key)
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


class News:
    """The keys that changed since a step was called last."""

    def __init__(self, sources: Iterable[Source[Any, Any]]) -> None:
        self._keys: dict[Source[Any, Any], dict[Any, None]] = {source: {} for source in sources}

    def of(self, source: Source[K, V]) -> AbstractSet[K]:
        """The keys of one source, those that went among them."""
        return self._keys[source].keys()

    def add(self, source: Source[K, V], key: K) -> None:
        self._keys[source][key] = None

    def __bool__(self) -> bool:
        return any(self._keys.values())


class Step:
    """What has a memory. `work` is called in its place in the order when an input changed, and puts values into
    collections; what those hold is for the graph an input like any other.
    """

    def __init__(self, name: str, inputs: Sequence[Source[Any, Any]], work: Callable[[News], None]) -> None:
        self.name, self._inputs, self._work = name, inputs, work
        self._news = News(inputs)
        for source in inputs:
            source.listen(self._follow(source))
            for key in source.values:
                self._news.add(source, key)

    def _follow(self, source: Source[Any, Any]) -> _Listener:
        def follow(key: Any, old: Any, new: Any) -> None:
            self._news.add(source, key)

        return follow

    @property
    def is_behind(self) -> bool:
        """Whether an input changed since the function was called."""
        return bool(self._news)

    def settle(self) -> bool:
        """Call the function if an input changed. Whether one has."""
        if not self._news:
            return False
        news, self._news = self._news, News(self._inputs)
        self._work(news)
        return True


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
        self._parts: list[Derived[Any, Any, Any] | Step] = []
        self._indexes: list[Index[Any, Any, Any]] = []
        self._left: list[tuple[Derived[Any, Any, Any], Any]] = []  # cells that `verify_some` has still to look at
        self.stale_cells = 0
        """Stale cells that `verify_some` has found so far."""

    @property
    def derivations(self) -> list[Derived[Any, Any, Any]]:
        return [part for part in self._parts if isinstance(part, Derived)]

    def collection(self, name: str, key: type[K], value: type[V]) -> Collection[K, V]:
        """An input, or what a step is to put values into. The types are for the reader and the type checker alone."""
        return Collection(name, self._next())

    def index(self, name: str, of: Source[K, V], by: Callable[[K, V], Iterable[G]]) -> Index[G, K, V]:
        """Each value in the groups that `by` names."""
        return self._index(name, of, lambda key, value: dict.fromkeys(by(key, value), value), cutoff=False)

    def split(self, name: str, of: Source[K, S], parts: Callable[[K, S], Mapping[G, V]]) -> Index[G, K, V]:
        """Of each value the parts that `parts` names, each in a group. What reads a group is worked out anew only when
        a part in it changes: for values that are much to many, of which little changes at a time.
        """
        return self._index(name, of, parts, cutoff=True)

    def _index(
        self, name: str, of: Source[K, S], parts: Callable[[K, S], Mapping[G, V]], *, cutoff: bool
    ) -> Index[G, K, V]:
        made = Index(name, self._next(), of, parts, cutoff=cutoff)
        self._indexes.append(made)
        return made

    def derive(self, name: str, source: Source[K, S], work: Callable[[Read, K, S], V | None]) -> Derived[K, S, V]:
        made = Derived(name, self._next(), source, work, self._read)
        self._parts.append(made)
        return made

    def step(self, name: str, inputs: Sequence[Source[Any, Any]], work: Callable[[News], None]) -> Step:
        made = Step(name, inputs, work)
        self._parts.append(made)
        return made

    def settle(self) -> list[str]:
        """Bring everything up to date: rounds in the order of definition, until one finds nothing to do.

        Returns the names of what was at work in the last of `MOST_ROUNDS` rounds: none, unless steps and derivations
        change one another without end, which is a fault of the program. The next call goes on from there.
        """
        busy: list[str] = []
        for _ in range(MOST_ROUNDS):
            busy = [part.name for part in self._parts if part.settle()]
            if not busy:
                break
        return busy

    def verify(self) -> list[StaleCell]:
        """Work everything out anew and compare. Call it when all is settled."""
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

    def verify_some(self, most: int) -> list[StaleCell]:
        """Work out a few more cells anew, for when there is time: all of them in turn, over many calls. What is found
        stale is worked out again by the next `settle`.
        """
        found: list[StaleCell] = []
        if any(part.is_behind for part in self._parts):
            return found  # what is to be worked out anyway is not stale
        for _ in range(most):
            if not self._left:
                self._left = [(derived, key) for derived in self.derivations for key in derived.source.values]
                if not self._left:
                    break
            derived, key = self._left.pop()
            for cell in self._verify(derived, key):
                derived.stale[key] = None
                found.append(cell)
        self.stale_cells += len(found)
        return found

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
                if name is _ALL:
                    because.append(Explanation(each.name, _ALL, f"{len(each.values)} values"))
                else:
                    because.append(self.explain(each, name, depth - 1))
        return Explanation(source.name, key, source.values.get(key), tuple(because))

    def _next(self) -> int:
        self._level += 1
        return self._level
