"""A figure: one measured number beside the floor or anchor of the same run. Only its form lives here."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The value to compare a figure with: measured by the same client, on the same machine, in the same run."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The bound that the project sets for a figure."""

    relation: Literal["<", "<=", ">=", "=="]
    value: float

    def met(self, value: float) -> bool:
        match self.relation:
            case "<":
                return value < self.value
            case "<=":
                return value <= self.value
            case ">=":
                return value >= self.value
            case "==":
                return value == self.value

    def __str__(self) -> str:
        return f"{self.relation} {_rounded(self.value):g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """`n` is the number of single measurements behind the value."""

    name: str
    value: float
    unit: str
    n: int
    anchor: Anchor
    ask: Ask | None = None
    note: str = ""

    @property
    def ok(self) -> bool | None:
        """Whether the figure keeps its bound; None when it has none."""
        return None if self.ask is None else self.ask.met(self.value)

    def line(self) -> str:
        """The figure as a line of text."""
        mark = {True: "ok", False: "MISSED", None: ""}[self.ok]
        asked = "" if self.ask is None else f", asked {self.ask}"
        return f"{mark:7}{self.name}: {self.value:.4g} {self.unit} ({self.anchor.name}: {self.anchor.value:.4g}{asked})"

    def document(self) -> dict[str, object]:
        """The figure as the JSON document has it."""
        return {
            "name": self.name,
            "value": _rounded(self.value),
            "unit": self.unit,
            "n": self.n,
            "anchor": {"name": self.anchor.name, "value": _rounded(self.anchor.value)},
            "ask": None if self.ask is None else str(self.ask),
            "ok": self.ok,
            **({"note": self.note} if self.note else {}),
        }


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(q * 1000) * len(ordered) // 1000) - 1))]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
