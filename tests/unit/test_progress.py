"""What is said of passes that fail: counted, complained about after a minute, and whether another should lead."""

import pytest
from prometheus_client import REGISTRY

from kube_ovn.controller.progress import Progress, UnsettledError
from kube_ovn.ovsdb.errors import (
    ConflictError,
    FencedError,
    OvsdbError,
    RejectedError,
    SessionEndedError,
    UnableError,
)
from kube_ovn.plan import AbsurdPlanError


class World:
    def __init__(self) -> None:
        self.now = 1000.0
        self.progress = Progress(lambda: self.now)

    def fail(self, error: Exception) -> None:
        with pytest.raises(type(error)), self.progress.watch():
            raise error

    def succeed(self) -> None:
        with self.progress.watch():
            pass


def failures(reason: str) -> float:
    return REGISTRY.get_sample_value("kube_ovn_controller_pass_failures_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize(
    ("error", "reason", "ours"),
    [
        (AbsurdPlanError("no"), "guard", False),
        (RejectedError("no"), "rejected", False),
        (UnableError("no"), "unable", False),
        (ConflictError("no"), "conflict", True),
        (SessionEndedError("no"), "session", True),
        (OvsdbError("no"), "connection", True),
        (FencedError("no"), "fenced", False),
        (UnsettledError("no"), "unsettled", False),
    ],
)
def test_after_a_minute_it_is_said_and_the_lease_goes_where_another_may_do_better(
    error: Exception, reason: str, ours: bool
) -> None:
    world, before = World(), failures(reason)
    world.fail(error)
    world.now += 59
    world.fail(error)
    assert (world.progress.complaint(), world.progress.incapacity()) == (None, None)
    world.now += 2
    said = world.progress.complaint()
    assert said == f"no pass completed for 61 s: {type(error).__name__}: no"
    assert (world.progress.incapacity() is not None) == ours
    assert failures(reason) == before + 2
    world.succeed()
    assert (world.progress.complaint(), world.progress.incapacity()) == (None, None)


def test_reasons_of_ours_in_a_row_count_together_and_others_begin_anew() -> None:
    world = World()
    world.fail(OvsdbError("no"))
    world.now += 40
    world.fail(UnableError("no"))
    world.now += 30
    world.fail(SessionEndedError("no"))
    world.now += 40
    world.fail(ConflictError("no"))
    assert world.progress.complaint() is not None
    assert world.progress.incapacity() is None, "for 40 s only"
    world.now += 21
    assert world.progress.incapacity() == "passes have failed for 61 s: ConflictError: no"


def test_an_idle_leader_is_ready() -> None:
    world = World()
    world.succeed()
    world.now += 10_000
    assert world.progress.complaint() is None


def test_a_pass_that_never_ends_is_said() -> None:
    world = World()
    with world.progress.watch():
        world.now += 61
        assert world.progress.complaint() == "a pass has been under way for 61 s"
    assert world.progress.complaint() is None


def test_a_leadership_begins_without_the_failures_of_the_last() -> None:
    world = World()
    world.fail(OvsdbError("no"))
    world.now += 61
    world.progress.forget()
    assert (world.progress.complaint(), world.progress.incapacity()) == (None, None)
