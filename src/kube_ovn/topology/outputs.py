"""The outputs of the graph: rows, writes, and messages for users.

Three sinks listen to derivations. Each remembers the changes since it was asked last.
"""

from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, TypeVar

from kube_ovn.derive import Source
from kube_ovn.model.network import Kind, ObjectRef, Told, cluster_ref
from kube_ovn.model.row import Key, Row, State
from kube_ovn.model.writes import Write, WriteKey

K = TypeVar("K")
V = TypeVar("V")

_ABSENT = object()
_NO_KEYS: frozenset[WriteKey] = frozenset()


def _itself(value: Any) -> Any:
    return value


def find_owner(objects: Source[str, Any], kind: Kind) -> Callable[[str], ObjectRef | None]:
    """A function for `Rows.follow`: it finds the object of a cluster-wide kind that has the key of the cell as its
    name.
    """

    def find(name: str) -> ObjectRef | None:
        found = objects.values.get(name)
        return None if found is None else cluster_ref(kind, name, found.metadata.uid)

    return find


class Rows:
    """The desired state of the database: the rows and memberships that the cells of all followed derivations hold.

    Two cells may hold the same row. It stays until neither holds it. Within a pass a row may go from one cell to
    another.
    """

    def __init__(self) -> None:
        self.state: dict[Key, Row | None] = {}
        self._shared: dict[Key, list[Row | None]] = {}  # each cell's version of a row that several cells hold
        self._changed: set[Key] = set()
        self._sources: list[tuple[Source[Any, Any], Callable[[Any], ObjectRef | None], Callable[[Any], State]]] = []

    def follow(
        self,
        source: Source[K, V],
        owner: Callable[[K], ObjectRef | None] = lambda _: None,
        pick: Callable[[V], State] = _itself,
    ) -> None:
        """Take in the rows that the cells of a derivation hold. `owner`: finds, for the key of a cell, the object that
        its rows are made for; None for rows of the fabric itself. The object's user is told when the database refuses
        the rows. `pick`: takes the rows out of a cell's value.
        """

        def listen(key: K, old: V | None, new: V | None) -> None:
            self._change({} if old is None else pick(old), {} if new is None else pick(new))

        self._sources.append((source, owner, pick))
        source.listen(listen)

    def _change(self, before: State, now: State) -> None:
        for each, row in before.items():
            if each not in now:
                self._remove(each, row)
        for each, row in now.items():
            was = before.get(each, _ABSENT)
            if was is _ABSENT:
                self._add(each, row)
            elif was != row:
                self._remove(each, before[each])
                self._add(each, row)

    def _add(self, key: Key, row: Row | None) -> None:
        if key in self.state:
            self._shared.setdefault(key, [self.state[key]]).append(row)
        self.state[key] = row
        self._changed.add(key)

    def _remove(self, key: Key, row: Row | None) -> None:
        self._changed.add(key)
        said = self._shared.get(key)
        if said is None:
            del self.state[key]
            return
        said.remove(row)
        self.state[key] = said[0]
        if len(said) == 1:
            del self._shared[key]

    def take_changed(self) -> set[Key]:
        """The keys that changed since the last call. Raises ValueError when two cells hold different rows under one
        key: names must be injective.
        """
        for key, said in self._shared.items():
            if any(row != said[0] for row in said):
                raise ValueError(f"{key} is said to be different things: {said}")
        changed, self._changed = self._changed, set()
        return changed

    def owners(self, keys: Collection[Key]) -> dict[Key, ObjectRef | None]:
        """The object that each of these rows is made for; None for rows of the fabric itself. It looks through every
        cell, so it is only for the case that the database refuses something.
        """
        wanted, found = set(keys), dict[Key, ObjectRef | None]()
        for source, owner, pick in self._sources:
            for cell, value in source.values.items():
                for key in wanted.intersection(pick(value)):
                    found[key] = owner(cell)
        return found


class Wanted(NamedTuple):
    """A write to the Kubernetes API that a cell asks for, and the key of the write."""

    key: WriteKey
    write: Write


class Writes:
    """The writes to the Kubernetes API that are wanted now."""

    def __init__(self) -> None:
        self.wanted: dict[WriteKey, Write] = {}
        self._keys: dict[str, set[WriteKey]] = {}  # keys of `wanted`, by identity
        self._changed: set[WriteKey] = set()

    def follow(self, source: Source[K, V], pick: Callable[[V], Wanted | None] = _itself) -> None:
        """Take in the writes that the cells of a derivation ask for. `pick`: takes the write out of a cell's value."""

        def listen(key: K, old: V | None, new: V | None) -> None:
            before, now = None if old is None else pick(old), None if new is None else pick(new)
            if before != now:
                self._change(before, now)

        source.listen(listen)

    def _change(self, old: Wanted | None, new: Wanted | None) -> None:
        if old is not None and self.wanted.get(old.key) == old.write:
            del self.wanted[old.key]
            self._keys[old.key.identity].discard(old.key)
            if not self._keys[old.key.identity]:
                del self._keys[old.key.identity]
            self._changed.add(old.key)
        if new is not None:
            self.wanted[new.key] = new.write
            self._keys.setdefault(new.key.identity, set()).add(new.key)
            self._changed.add(new.key)

    def offer_again(self, identities: AbstractSet[str]) -> None:
        """Have the writes to these objects sent again. The objects changed, which may have undone what was written
        before.
        """
        for identity in identities:
            self._changed |= self._keys.get(identity, _NO_KEYS)

    def take_changed(self) -> dict[WriteKey, Write | None]:
        """The writes that came or changed since the last call; None for a write that is not wanted any more."""
        changed, self._changed = self._changed, set()
        return {key: self.wanted.get(key) for key in changed}


class ToldKey(NamedTuple):
    """The key of a message: the derivation and the key of the cell that it comes from."""

    source: str
    key: object


class Telling:
    """The messages for users now."""

    def __init__(self) -> None:
        self.told: dict[ToldKey, Told] = {}
        self._changed: set[ToldKey] = set()

    def follow(self, source: Source[K, V], pick: Callable[[V], Told | None] = _itself, part: str = "") -> None:
        """Take in the messages of a derivation's cells. `pick`: takes the message out of a cell's value. `part`: a name
        for the message, where a cell has several.
        """
        name = f"{source.name} {part}".rstrip()

        def listen(key: K, old: V | None, new: V | None) -> None:
            at, now = ToldKey(name, key), None if new is None else pick(new)
            if self.told.get(at) == now:
                return
            self._changed.add(at)
            if now is None:
                del self.told[at]
            else:
                self.told[at] = now

        source.listen(listen)

    def take_changed(self) -> dict[ToldKey, Told | None]:
        """The messages that came or changed since the last call; None for a message that went."""
        changed, self._changed = self._changed, set()
        return {key: self.told.get(key) for key in changed}


class Outputs:
    """The three sinks."""

    def __init__(self) -> None:
        self.rows, self.writes, self.telling = Rows(), Writes(), Telling()


def by_uid(told: Mapping[ToldKey, Told]) -> dict[str, Told]:
    """The problems among the messages, by the UID of the object."""
    return {each.object.uid: each for each in told.values() if not each.normal}
