"""Tests side by side: `pytest --lanes N`.

pytest's own loop runs one test after another, and a test of a cluster mostly waits. With lanes, groups of tests run in
processes that are forked after collection, N at a time; what they report is told as if there were one process. Which
tests go together, and which must be alone, is said at collection by a `Place` of each item; nothing here knows of
clusters. Without the option pytest's own loop runs.

Fixtures of every scope are made anew for each group: a group shares nothing with another one but files.
"""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, zip_longest
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any
from warnings import WarningMessage

import pytest

UNDO = 60.0
"""Seconds that a lane has, when the run is interrupted, to undo what its test did."""
INTERRUPTED = 130
LEAST_URGENT = 19
"""nice(2)."""
AUTOGROUP = Path("/proc/self/autogroup")
FORK = multiprocessing.get_context("fork")
Group = list[pytest.Item]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a run a test belongs. Stages run one after another; in each, the tests that must be alone come last, in
    groups one after another.
    """

    stage: int
    alone: bool
    group: str
    """Tests of one group run one after another, in one process."""


PLACE = pytest.StashKey[Place]()
"""The place of an item. Items without one are fillers: each file is a group, and one at a time runs beside the others,
also beside those that must be alone, because they have nothing in common with them but the machine; and of that they
get what is left over.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lanes", type=int, default=1, metavar="N", help="run N groups of tests side by side")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    options = session.config.option
    if options.lanes < 2 or options.collectonly or session.testsfailed:
        return None
    Run(session, options.lanes).everything()
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A process, and those of its tests that it has not told the end of."""

    process: ForkProcess
    pipe: "Connection[Any, Any]"
    left: Group
    is_filler: bool


class Run:
    """All tests of a session."""

    def __init__(self, session: pytest.Session, count: int) -> None:
        self._session, self._count = session, count
        self._lanes: list[Lane] = []
        self._placed = sorted((item for item in session.items if PLACE in item.stash), key=_stage)
        self._fillers = deque(_grouped((item for item in session.items if PLACE not in item.stash), _file))

    def everything(self) -> None:
        session = self._session
        try:
            for _, stage in groupby(self._placed, _stage):
                items = list(stage)
                self._side_by_side(_grouped((item for item in items if not item.stash[PLACE].alone), _group))
                for group in _grouped((item for item in items if item.stash[PLACE].alone), _group):
                    self._side_by_side([group])
            self._rest()
        except BaseException:
            self._interrupt()
            raise
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)

    def _side_by_side(self, groups: Iterable[Group]) -> None:
        """Run these groups to their end, and beside them one filler after another."""
        waiting = deque(groups)
        while True:
            self._start_from(waiting, self._count, are_fillers=False)
            if self._running(are_fillers=False) == 0:
                return
            self._start_from(self._fillers, 1, are_fillers=True)
            self._listen()

    def _rest(self) -> None:
        """Run the fillers that are left: they compute, so one a core."""
        while self._fillers or self._lanes:
            self._start_from(self._fillers, os.cpu_count() or 1, are_fillers=True)
            self._listen()

    def _start_from(self, waiting: deque[Group], most: int, *, are_fillers: bool) -> None:
        while waiting and self._running(are_fillers=are_fillers) < most:
            if self._session.shouldfail or self._session.shouldstop:
                waiting.clear()
                return
            self._start(waiting.popleft(), is_filler=are_fillers)

    def _running(self, *, are_fillers: bool) -> int:
        return sum(lane.is_filler is are_fillers for lane in self._lanes)

    def _listen(self) -> None:
        for pipe in wait([lane.pipe for lane in self._lanes]):
            self._hear(next(lane for lane in self._lanes if lane.pipe is pipe))

    def _start(self, group: Group, *, is_filler: bool) -> None:
        here, there = FORK.Pipe(duplex=False)
        process = FORK.Process(target=_fill if is_filler else _work, args=(group, there))
        process.start()
        there.close()
        self._lanes.append(Lane(process=process, pipe=here, left=list(group), is_filler=is_filler))

    def _hear(self, lane: Lane) -> None:
        """Tell pytest what a lane tells; or, when the lane has ended, of the tests whose end was not told."""
        config, hook = self._session.config, self._session.config.hook
        try:
            name, told = lane.pipe.recv()
        except EOFError:
            lane.process.join()
            self._lanes.remove(lane)
            for item in lane.left:
                hook.pytest_runtest_logreport(report=_lost(item, lane.process.exitcode))
            return
        if name == "pytest_warning_recorded":
            hook.pytest_warning_recorded.call_historic(kwargs=told)
            return
        if name == "pytest_runtest_logreport":
            told = {"report": hook.pytest_report_from_serializable(config=config, data=told["report"])}
        elif name == "pytest_runtest_logfinish":
            del lane.left[0]
        getattr(hook, name)(**told)

    def _interrupt(self) -> None:
        for lane in self._lanes:
            if lane.process.pid is not None:
                os.kill(lane.process.pid, signal.SIGINT)
        for lane in self._lanes:
            lane.process.join(UNDO)
            lane.process.kill()


def _stage(item: pytest.Item) -> int:
    return item.stash[PLACE].stage


def _group(item: pytest.Item) -> str:
    return item.stash[PLACE].group


def _file(item: pytest.Item) -> str:
    return str(item.path)


def _grouped(items: Iterable[pytest.Item], key: Any) -> list[Group]:
    """Groups in the order of their first tests."""
    groups: dict[str, Group] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def _lost(item: pytest.Item, code: int | None) -> pytest.TestReport:
    text = f"the process of this test ended (exit code {code}) before the test did"
    return pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call")


def _fill(group: Group, pipe: "Connection[Any, Any]") -> None:
    """Run the tests of a group with the processor time that nothing else wants. The kernel compares sessions first, and
    processes within a session (sched(7), autogrouping).
    """
    os.setsid()
    os.nice(LEAST_URGENT)
    if AUTOGROUP.exists():
        AUTOGROUP.write_text(str(LEAST_URGENT))
    _work(group, pipe)


def _work(group: Group, pipe: "Connection[Any, Any]") -> None:
    """Run the tests of a group; the forked process does nothing else."""
    session, manager = group[0].session, group[0].config.pluginmanager
    capture = manager.getplugin("capturemanager")
    if capture is not None:
        # The files it had are those of all lanes.
        capture.stop_global_capturing()
        capture.start_global_capturing()
        capture.suspend_global_capture()
    manager.unregister(name="terminalreporter")
    teller = _Teller(group[0].config, pipe)
    manager.register(teller)
    teller.has_begun = True
    try:
        for item, following in zip_longest(group, group[1:]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    except KeyboardInterrupt:
        session._setupstate.teardown_exact(None)
        sys.exit(INTERRUPTED)


class _Teller:
    """In a lane: sends what pytest says of tests to the process that tells it."""

    def __init__(self, config: pytest.Config, pipe: "Connection[Any, Any]") -> None:
        self._config, self._pipe = config, pipe
        self.has_begun = False
        """Until then it hears the warnings that were before, which the other process has told already."""

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._pipe.send(("pytest_runtest_logstart", {"nodeid": nodeid, "location": location}))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._pipe.send(("pytest_runtest_logreport", {"report": data}))

    def pytest_runtest_logfinish(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._pipe.send(("pytest_runtest_logfinish", {"nodeid": nodeid, "location": location}))

    def pytest_warning_recorded(
        self, warning_message: WarningMessage, when: str, nodeid: str, location: tuple[str, int, str] | None
    ) -> None:
        if not self.has_begun:
            return
        warning_message.source = None  # whatever it is, it may not be sent
        told = {"warning_message": warning_message, "when": when, "nodeid": nodeid, "location": location}
        self._pipe.send(("pytest_warning_recorded", told))
