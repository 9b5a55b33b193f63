"""The outcomes of passes: whether the network follows the cluster, and whether another replica could do better.

A leader is not ready when its passes fail for a minute, for whatever reason. It gives the Lease up only if the reason
may lie with this process or its connection: the session with the database, or a view of the rows that is always out of
date. It leads on where another replica would fail as well: the database refuses or can write nothing, the guard
refuses the plan, or derivations do not come to rest.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge

from kube_ovn.ovsdb.client import ConflictError, FencedError, OvsdbError, RejectedError, SessionEndedError, UnableError
from kube_ovn.plan import AbsurdPlanError

FAILURES = Counter("kube_ovn_controller_pass_failures_total", "Passes that were not completed", ["reason"])
LAST_SUCCESS = Gauge("kube_ovn_controller_last_success_timestamp_seconds", "When the last pass was completed")

PATIENCE = 60.0
"""Seconds without a completed pass after which the leader is not ready."""


class UnsettledError(Exception):
    """Derivations still changed one another at the end of a pass that was committed: a fault of the program."""


REASONS: tuple[tuple[type[Exception], str], ...] = (
    (AbsurdPlanError, "guard"),
    (FencedError, "fenced"),
    (UnableError, "unable"),
    (RejectedError, "rejected"),
    (ConflictError, "conflict"),
    (SessionEndedError, "session"),
    (OvsdbError, "connection"),
    (UnsettledError, "unsettled"),
    (Exception, "bug"),
)
"""Classes of errors and their reasons in the metric; the first class that fits counts."""
OURS = frozenset({"conflict", "session", "connection"})
"""Reasons that may lie with this process."""


class Progress:
    """The outcomes of one process's passes. `clock` returns seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun: float | None = None
        self._failing: float | None = None  # the time since which no pass was completed
        self._ours: float | None = None  # the time since which all failures may lie with this process
        self._said = ""

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch one pass, which is the body of the `with` statement."""
        self._begun = self._clock()
        try:
            yield
        except Exception as error:
            self._fail(error)
            raise
        else:
            self._failing = self._ours = None
            LAST_SUCCESS.set_to_current_time()
        finally:
            self._begun = None

    def forget(self) -> None:
        """Forget earlier failures, when a leadership begins or ends."""
        self._failing = self._ours = None

    def complaint(self) -> str | None:
        """Why this leader is not ready; None when it is."""
        now = self._clock()
        if self._failing is not None and now - self._failing > PATIENCE:
            return f"no pass completed for {now - self._failing:.0f} s: {self._said}"
        if self._begun is not None and now - self._begun > PATIENCE:
            return f"a pass has been under way for {now - self._begun:.0f} s"
        return None

    def incapacity(self) -> str | None:
        """Why another replica might do better; None when it would not."""
        if self._ours is None or self._clock() - self._ours <= PATIENCE:
            return None
        return f"passes have failed for {self._clock() - self._ours:.0f} s: {self._said}"

    def _fail(self, error: Exception) -> None:
        assert self._begun is not None
        reason = next(reason for kind, reason in REASONS if isinstance(error, kind))
        FAILURES.labels(reason).inc()
        self._said = f"{type(error).__name__}: {error}"
        self._failing = self._begun if self._failing is None else self._failing
        self._ours = (self._begun if self._ours is None else self._ours) if reason in OURS else None
