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
    """An object goes in spite of finalizers, and one like it with its name comes, before the controller looks."""

    kind: type[Any]
    number: int

    def __repr__(self) -> str:
        return f"Replace({self.kind.__name__}, {self.number})"


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass of the controller. The writes with a set bit are carried out at once. The others may arrive late; with
    `twice` all may, once more.
    """

    carried: int = -1
    deaf: tuple[type[Any], ...] = ()
    """Kinds with a watch that is late: the pass sees no changes of them."""
    resync: bool = False
    """All kinds are listed, also those that could not be listed before."""
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
    """A foreign row comes or, if it is there, goes. When it has the name of a row of ours, ours lost its mark."""

    number: int


@dataclass(frozen=True, slots=True)
class Restart:
    """A controller starts with the rows of the database; `lost`: with an empty database."""

    lost: bool = False
    blind: tuple[type[Any], ...] = ()
    """Kinds that cannot be listed, until a resync."""

    def __repr__(self) -> str:
        blind = "".join(f"{kind.__name__}, " for kind in self.blind)
        return f"Restart({self.lost}, ({blind}))"


@dataclass(frozen=True, slots=True)
class Calm:
    """Nothing happens until nothing is left to write: then the outcome is compared with that of a fresh controller."""


NOTHING = Pass(0)
"""A pass without any write carried out."""
Step = Make | Remove | Replace | Edit | Pass | Land | Foreign | Restart | Calm
