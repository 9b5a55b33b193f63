"""The engine under watch: a few cells are worked out anew while there is time, and metrics count the work.

A stale cell is a fault of the program: a function that is not pure. It is logged with what it read, counted, and worked
out again.
"""

import asyncio
from collections.abc import Callable, Iterator
from time import perf_counter

import structlog
from prometheus_client import REGISTRY, Counter
from prometheus_client.core import CounterMetricFamily, Metric

from kube_ovn.derive import Graph

log = structlog.get_logger()

STALE = Counter("kube_ovn_controller_stale_cells_total", "Cells that were not what they would be if worked out anew")

PERIOD = 1.0
"""The least seconds between two verifications."""
MOST, LONGEST = 40, 0.001
"""The most cells in one verification, and the seconds after which no further one is begun."""
SHARE = 0.0002
"""The part of a core that verification may take: an idle controller is to stay idle. At 3,000 Pods all cells are looked
at in about two hours.
"""
MOST_OF_A_VALUE = 500
"""Characters of a value in the log."""


class Work:
    """A collector of metrics, in a `with` block: the numbers of one graph's cells, by derivation."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __enter__(self) -> "Work":
        REGISTRY.register(self)
        return self

    def __exit__(self, *_: object) -> None:
        REGISTRY.unregister(self)

    def collect(self) -> Iterator[Metric]:
        """The metrics (the method that prometheus-client calls)."""
        worked = CounterMetricFamily(
            "kube_ovn_controller_cells_worked", "Cells worked out, by derivation", labels=["derivation"]
        )
        unchanged = CounterMetricFamily(
            "kube_ovn_controller_cells_unchanged", "Cells worked out to the value they had", labels=["derivation"]
        )
        for derived in self._graph.derivations:
            worked.add_metric([derived.name], derived.worked)
            unchanged.add_metric([derived.name], derived.unchanged)
        yield worked
        yield unchanged


async def verify(graph: Graph, repair: Callable[[], None]) -> None:
    """Look for stale cells, until cancelled. `repair` asks for a pass, which works them out again."""
    spent = 0.0
    while True:
        await asyncio.sleep(max(PERIOD, spent / SHARE))
        started = perf_counter()
        for cell in graph.verify_some(MOST, LONGEST):
            STALE.inc()
            log.error(
                "stale cell, worked out again",
                derivation=cell.derivation,
                key=str(cell.key),
                value=str(cell.value)[:MOST_OF_A_VALUE],
                anew=str(cell.anew)[:MOST_OF_A_VALUE],
                reads=[f"{source} {key}" for source, key in cell.reads],
            )
            repair()
        spent = perf_counter() - started
