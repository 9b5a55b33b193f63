"""The steps of a history, as values: what users, the API server, other programs and the controller do next."""

from dataclasses import dataclass
from typing import Any

from tests.histories.fields import Edit


@dataclass(frozen=True, slots=True)
class Make:
    """An object comes, unless one of its kind has its name."""

    name: str
    age: int = 0


@dataclass(frozen=True, slots=True)
class Remove:
    """A user deletes an object; finalizers are respected."""

    kind: type[Any]
    number: int

    def __repr__(self) -> str:
        return f"Remove({self.kind.__name__}, {self.number})"


@dataclass(frozen=True, slots=True)
class Replace:
    """An object goes, whatever holds it, and one like it that has its name comes, before the controller looks."""

    kind: type[Any]
    number: int

    def __repr__(self) -> str:
        return f"Replace({self.kind.__name__}, {self.number})"


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass of the controller, and which of its writes are carried out at once: those whose bit is set. The others may
    arrive late; with `twice` all may, once more.
    """

    carried: int = -1
    deaf: tuple[type[Any], ...] = ()
    """Kinds whose watch has nothing to tell yet."""
    resync: bool = False
    twice: bool = False
    backwards: bool = False

    def __repr__(self) -> str:
        deaf = ", ".join(kind.__name__ for kind in self.deaf)
        trailing = "," if len(self.deaf) == 1 else ""
        return f"Pass({self.carried}, ({deaf}{trailing}), {self.resync}, {self.twice}, {self.backwards})"


@dataclass(frozen=True, slots=True)
class Land:
    """A write of an earlier pass arrives."""

    number: int


@dataclass(frozen=True, slots=True)
class Foreign:
    """A row that is not ours comes or, if it is there, goes. Where it has the name of ours, ours lost its mark."""

    number: int


@dataclass(frozen=True, slots=True)
class Restart:
    """A controller starts with what the database has; `lost`: it has nothing any more."""

    lost: bool = False


@dataclass(frozen=True, slots=True)
class Calm:
    """Nothing happens until nothing is left to write: then the outcome is compared with that of a fresh controller."""


NOTHING = Pass(0)
"""A pass of whose writes none is carried out."""
Step = Make | Remove | Replace | Edit | Pass | Land | Foreign | Restart | Calm
