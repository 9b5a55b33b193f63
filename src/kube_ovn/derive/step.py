"""Steps: the parts of a graph that have a memory."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

from kube_ovn.derive.sources import Listener, Source

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class News:
    """The keys that changed since a step was called last."""

    def __init__(self, sources: Iterable[Source[Any, Any]]) -> None:
        self._keys: dict[Source[Any, Any], dict[Any, None]] = {source: {} for source in sources}

    def of(self, source: Source[K, V]) -> AbstractSet[K]:
        """The keys of one source that changed, removed keys among them."""
        return self._keys[source].keys()

    def add(self, source: Source[K, V], key: K) -> None:
        self._keys[source][key] = None

    def __bool__(self) -> bool:
        return any(self._keys.values())


class Step:
    """A part of the graph that has a memory. `work` is called in its place in the order when an input changed, and puts
    values into collections; for the graph these are inputs like any other.
    """

    def __init__(self, name: str, inputs: Sequence[Source[Any, Any]], work: Callable[[News], None]) -> None:
        self.name, self._inputs, self._work = name, inputs, work
        self._news = News(inputs)
        for source in inputs:
            source.listen(self._follow(source))
            for key in source.values:
                self._news.add(source, key)

    def _follow(self, source: Source[Any, Any]) -> Listener:
        def follow(key: Any, old: Any, new: Any) -> None:
            self._news.add(source, key)

        return follow

    @property
    def is_behind(self) -> bool:
        """Whether an input changed since the function was called."""
        return bool(self._news)

    def settle(self) -> bool:
        """Call the function if an input changed. Returns whether one had."""
        if not self._news:
            return False
        news, self._news = self._news, News(self._inputs)
        self._work(news)
        return True
