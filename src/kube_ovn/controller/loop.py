"""One pass of the controller: snapshot, render, diff, guard, one transaction, publish.

Everything it does goes this way: start-up, normal work, drift repair and clean-up alike.
"""

import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet

import structlog
from prometheus_client import Counter, Gauge, Histogram

from kube_ovn.controller.publish import Publisher
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.network import Notice, Problem
from kube_ovn.model.row import Key, Row, RowKey
from kube_ovn.ovsdb.client import Client
from kube_ovn.plan import Plan, diff, guard
from kube_ovn.topology.render import Snapshot, Topology

log = structlog.get_logger()

PASS_SECONDS = Histogram(
    "kube_ovn_controller_pass_seconds",
    "Duration of one pass by stage",
    ["stage"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
CHANGES = Counter(
    "kube_ovn_controller_nb_changes_total", "Rows and memberships written to the Northbound database", ["change"]
)
PROBLEMS = Gauge("kube_ovn_controller_problems", "Objects that cannot be given what they ask for")

COMMIT_DEADLINE, LONGEST_COMMIT_DEADLINE = 5.0, 30.0
"""Seconds a Northbound transaction may take before the pass is made again: a small one and any."""
SLOW = 200
"""Changes a second: no server is as slow."""


class Loop:
    """Holds the renderer and the Northbound session of one leadership."""

    def __init__(
        self,
        snapshot: Callable[[AbstractSet[RowKey]], Snapshot],
        topology: Topology,
        nb: Client,
        publisher: Publisher,
        report: Callable[[Problem], None],
        announce: Callable[[Notice], None],
    ) -> None:
        self._snapshot = snapshot
        self._topology = topology
        self._nb = nb
        self._publisher = publisher
        self._report, self._announce = report, announce
        self._reported: dict[str, Problem] = {}
        self._agreed = False  # whether everything but the changed keys is known to agree
        self._pending: set[Key] = set()

    async def make_pass(self) -> None:
        """Bring the Northbound database and what Kubernetes is told up to date. Raises OvsdbError, AbsurdPlanError."""
        started = time.perf_counter()
        self._topology.render(self._snapshot(self._nb.replica.foreign))
        rendered = time.perf_counter()
        plan: Plan[Key, Row | None] = Plan() if not self._topology.standing else self._plan()
        planned = time.perf_counter()
        if plan:
            deadline = max(COMMIT_DEADLINE, min(LONGEST_COMMIT_DEADLINE, len(plan) / SLOW))
            await self._nb.commit(plan, deadline)
            for change in ("create", "update", "delete"):
                CHANGES.labels(change).inc(len(getattr(plan, change)))
        if self._topology.standing:
            self._agreed, self._pending = True, set()
        self._publisher.offer(self._topology.take_changed_writes())
        self._tell()
        for notice in self._topology.take_notices():
            self._announce(notice)
        PASS_SECONDS.labels("render").observe(rendered - started)
        PASS_SECONDS.labels("diff").observe(planned - rendered)
        PASS_SECONDS.labels("commit").observe(time.perf_counter() - planned)

    def _plan(self) -> Plan[Key, Row | None]:
        """Compare what changed on either side since the two last agreed; everything, when that is not known."""
        assembly, replica = self._topology.assembly, self._nb.replica
        theirs = replica.take_changed()
        ours = assembly.take_changed()
        if theirs is None:
            self._agreed = False
        else:
            self._pending |= theirs
        self._pending |= ours
        plan = diff(assembly.state, replica.owned, self._pending if self._agreed else None)
        guard(plan, replica.owned, is_node_port)
        return plan

    def _tell(self) -> None:
        """Report each problem once, when it appears or changes."""
        problems = self._topology.problems
        PROBLEMS.set(len(problems))
        for uid in [uid for uid in self._reported if uid not in problems]:
            del self._reported[uid]
        for uid, problem in problems.items():
            if self._reported.get(uid) != problem:
                self._reported[uid] = problem
                self._report(problem)


def is_node_port(key: Key, row: Row | None) -> bool:
    """The anchors of the guard: losing the port of every node at once is never meant."""
    return isinstance(key, RowKey) and isinstance(row, LogicalSwitchPort) and "node" in row.external_ids
