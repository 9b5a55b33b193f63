"""Kubernetes' own cases for Services, DNS and the rest of its network, run against the sandbox one after the other.

The program is the test binary of Kubernetes itself, unchanged, in the version the sandbox's control plane is built
from. Each case is a run of its own, so that a case that hangs costs only its own time and each outcome is seen at once.
conformance.toml lists which cases are run and which are known to fail.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sandbox import cluster, conformance_images, demo, programs, rights
from sandbox.command import attempt, run
from sandbox.control_plane import ADMIN_KUBECONFIG
from sandbox.layout import Cluster, IpFamily
from sandbox.paths import PROJECT, SandboxError, venv_bin
from sandbox.progress import say, step

PLAN = PROJECT / "sandbox" / "conformance.toml"
RESULTS = PROJECT / "dist" / "conformance"
CASE_TIMEOUT = 300.0
DEADLINE = 7200.0
_SIG = "[sig-network] "
_GRACE = 20.0
# Seconds beyond its own deadline and grace after which a run counts as hung.
_KILL_AFTER = 60.0
_CLEANUP_DEADLINE = 180.0
_MESSAGE_LENGTH = 600
_COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow", "not run": "red"}


class State(StrEnum):
    """How a case ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Cases that belong together; without families it is for clusters of all of them."""

    name: str
    select: str
    families: Sequence[str] = tuple(IpFamily)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Cases that are not run, by a pattern, and why."""

    cases: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFailure:
    """A case that is known to fail, by its full name without the [sig-network] in front, and why."""

    case: str
    reason: str
    families: Sequence[str] = tuple(IpFamily)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The content of conformance.toml."""

    groups: Sequence[Group]
    left_out: Sequence[LeftOut]
    known_failures: Sequence[KnownFailure]

    def reason_to_fail(self, case: str, family: IpFamily) -> str | None:
        """Why this case is known to fail on a cluster of this family; None when it has to pass."""
        found = [known.reason for known in self.known_failures if known.case == case and family in known.families]
        return found[0] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case by its name without the [sig-network] in front, and the group it is counted in."""

    name: str
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of a case, and its message if it did not pass."""

    case: Case
    state: State
    seconds: float = 0.0
    message: str = ""
    known: str | None = None
    log: str = ""

    @property
    def is_acceptable(self) -> bool:
        """Whether the whole run may count as a success with this result in it."""
        return self.state in (State.PASSED, State.SKIPPED) or (self.state is State.FAILED and self.known is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The cases that the caller wants: groups (none means all), a pattern of names, and how long one case may take.
    After the deadline no case is begun.
    """

    groups: Sequence[str] = ()
    focus: str = ""
    case_timeout: float = CASE_TIMEOUT
    deadline: float = DEADLINE


def read_plan(text: str) -> Plan:
    """The plan, from the text of conformance.toml."""
    tables = tomllib.loads(text)
    return Plan(
        groups=[Group(**table) for table in tables["group"]],
        left_out=[LeftOut(**table) for table in tables.get("left_out", [])],
        known_failures=[KnownFailure(**table) for table in tables.get("known_failure", [])],
    )


def parse_list(text: str) -> list[str]:
    """The names of the network's cases in the answer to `--list-tests`, in its order."""
    parts = [line.partition(f": {_SIG}") for line in text.splitlines()]
    return [name for _, found, name in parts if found]


def select_cases(names: Sequence[str], plan: Plan, family: IpFamily, wishes: Wishes) -> list[Case]:
    """The cases to run: each in the first group that selects it, and group after group."""
    unknown = sorted(set(wishes.groups) - {group.name for group in plan.groups})
    if unknown:
        known = ", ".join(group.name for group in plan.groups)
        raise SandboxError(f"there is no group {unknown[0]}; there are {known}")
    try:
        focus = re.compile(wishes.focus)
    except re.error as error:
        raise SandboxError(f"{wishes.focus!r} is not a regular expression: {error}") from error
    rest = [name for name in names if not any(re.search(each.cases, name) for each in plan.left_out)]
    chosen: list[Case] = []
    for group in plan.groups:
        mine = [name for name in rest if re.search(group.select, name)]
        rest = [name for name in rest if name not in mine]
        if family in group.families and (not wishes.groups or group.name in wishes.groups):
            chosen += [Case(name=name, group=group.name) for name in mine if focus.search(name)]
    return chosen


def parse_report(document: Any) -> tuple[State, float, str]:
    """State, seconds and message of the one case in a report; a failed preparation is a failure of the case."""
    specs = [spec for suite in document for spec in suite["SpecReports"]]
    # Thousands of cases that were not asked for are skipped without a word.
    told = [spec for spec in specs if spec["State"] != "skipped" or spec.get("Failure", {}).get("Message")]
    cases = [spec for spec in told if spec["LeafNodeType"] == "It"]
    if not cases:
        broken = [spec for spec in told if spec["State"] != "passed"]
        return State.FAILED, 0.0, _message(broken[0]) if broken else "the test program knows no such case"
    state = {"passed": State.PASSED, "skipped": State.SKIPPED}.get(cases[0]["State"], State.FAILED)
    return state, cases[0]["RunTime"] / 1e9, "" if state is State.PASSED else _message(cases[0])


def _message(spec: Mapping[str, Any]) -> str:
    text = " ".join(str(spec.get("Failure", {}).get("Message", "")).split())
    return f"{spec['State']}: {text}"[:_MESSAGE_LENGTH]


def case_arguments(program: Path, case: Case, target: Cluster, place: Path, timeout: float) -> list[str]:
    """The command line that runs one case."""
    options = {
        # The text that is matched begins with the name of the whole suite, so only the end can be anchored.
        "ginkgo.focus": f"{re.escape(_SIG + case.name)}$",
        "ginkgo.timeout": f"{timeout:.0f}s",
        "ginkgo.grace-period": f"{_GRACE:.0f}s",
        "ginkgo.json-report": str(place / "report.json"),
        "ginkgo.no-color": "true",
        "ginkgo.silence-skips": "true",
        "ginkgo.v": "true",
        "kubeconfig": str(ADMIN_KUBECONFIG),
        "kubectl-path": str(venv_bin() / "kubectl"),
        "provider": "skeleton",
        "num-nodes": str(target.node_count),
        "allowed-not-ready-nodes": "0",
        "node-schedulable-timeout": "60s",
        "system-pods-startup-timeout": "60s",
        "system-daemonsets-startup-timeout": "60s",
        "e2e-output-dir": str(place),
        "dns-domain": "cluster.local",
        "disable-log-dump": "true",
    }
    return [str(program), *(f"--{name}={value}" for name, value in options.items())]


def conformance(wishes: Wishes, *, install: tuple[int, IpFamily] | None) -> list[Result]:
    """Run the cases on the sandbox. With `install`, first make one of so many nodes with this checkout, if need be."""
    rights.check_root()
    found = programs.find_programs(programs.E2E, programs.KUBERNETES)
    if install is not None:
        demo.install(*install)
    # A command that would change the sandbox waits meanwhile, and so does a second run.
    with rights.only_one(), tempfile.TemporaryDirectory(prefix="kube-ovn-conformance-") as scratch:
        bench = _make_bench(found["e2e.test"], Path(scratch))
        plan = read_plan(PLAN.read_text())
        names = parse_list(run([bench.program, "--list-tests"], env=bench.environment))
        cases = select_cases(names, plan, bench.target.family, wishes)
        if not cases:
            raise SandboxError("no case is asked for")
        listed = run([bench.program, "--list-images"], env=bench.environment)
        conformance_images.load(listed, found, found["agnhost"], bench.target.nodes)
        _remove_namespaces()
        try:
            return _run_all(bench, cases, plan, wishes)
        finally:
            _remove_namespaces()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """The program and settings that every case is run with; files in `scratch` are removed at the end."""

    program: Path
    target: Cluster
    environment: Mapping[str, str]
    scratch: Path


def _make_bench(program: Path, scratch: Path) -> _Bench:
    RESULTS.mkdir(parents=True, exist_ok=True)
    for old in RESULTS.glob("*.log"):
        old.unlink()
    repositories = scratch / "repositories.json"
    repositories.write_text(conformance_images.repository_list())
    # Each run of the program leaves a directory in TMPDIR.
    environment = {**os.environ, "KUBE_TEST_REPO_LIST": str(repositories), "TMPDIR": str(scratch)}
    return _Bench(program=program, target=cluster.recorded_cluster(), environment=environment, scratch=scratch)


def _run_all(bench: _Bench, cases: Sequence[Case], plan: Plan, wishes: Wishes) -> list[Result]:
    end = time.monotonic() + wishes.deadline
    results: list[Result] = []
    for number, case in enumerate(cases, start=1):
        # A case that was begun has all of its own time: it must not fail because the others were slow.
        if time.monotonic() > end:
            say(f"the deadline of all cases has passed; {len(cases) - len(results)} are not run")
            break
        log = RESULTS / f"{number:03}.log"
        state, seconds, message = _run_case(bench, case, log, wishes.case_timeout)
        known = plan.reason_to_fail(case.name, bench.target.family) if state is State.FAILED else None
        result = Result(case=case, state=state, seconds=seconds, message=message, known=known, log=log.name)
        results.append(result)
        say(f"{number:3}/{len(cases)}  {_outcome(result)} {result.seconds:5.1f} s  {case.name}")
    late = "the deadline of all cases had passed"
    return results + [Result(case=case, state=State.NOT_RUN, message=late) for case in cases[len(results) :]]


def _run_case(bench: _Bench, case: Case, log: Path, timeout: float) -> tuple[State, float, str]:
    report = bench.scratch / "report.json"
    report.unlink(missing_ok=True)
    argv = case_arguments(bench.program, case, bench.target, bench.scratch, timeout)
    begun = time.monotonic()
    with log.open("w") as output, _child(argv, bench.environment, output.fileno()) as process:
        try:
            process.wait(timeout + _GRACE + _KILL_AFTER)
        except subprocess.TimeoutExpired:
            return State.FAILED, time.monotonic() - begun, "the test program did not end and was killed"
    try:
        return parse_report(json.loads(report.read_text()))
    except (OSError, ValueError) as error:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        return State.FAILED, time.monotonic() - begun, f"the test program left no report ({error}): {''.join(last)}"


@contextmanager
def _child(argv: Sequence[str], environment: Mapping[str, str], output: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive the block; when it is interrupted, it has a moment to clean up."""
    process = subprocess.Popen(
        argv, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    try:
        yield process
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        with step("removing what the case made"):
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                say("the case does not end by itself")
        raise
    finally:
        if process.poll() is None:
            # The whole group, with a kubectl that the program may be waiting for.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _remove_namespaces() -> None:
    # The Namespaces of a run that was killed; the framework gives each a label with its run.
    argv = [str(venv_bin() / "kubectl"), f"--kubeconfig={ADMIN_KUBECONFIG}", "delete", "namespace", "-l", "e2e-run"]
    code, _, complaint = attempt([*argv, f"--timeout={_CLEANUP_DEADLINE:.0f}s"], timeout=_CLEANUP_DEADLINE + _GRACE)
    if code != 0:
        say(f"namespaces of the tests are left: {complaint.strip()}")


def _outcome(result: Result) -> str:
    return f"{result.state} (known)" if result.known else str(result.state)


def summary(results: Sequence[Result]) -> str:
    """The numbers of outcomes in one line."""
    counts = {state: sum(result.state is state for result in results) for state in State}
    known = sum(result.known is not None for result in results)
    parts = [f"{counts[State.PASSED]} passed", f"{counts[State.FAILED]} failed ({known} known to)"]
    parts += [f"{counts[State.SKIPPED]} skipped"]
    parts += [f"{counts[State.NOT_RUN]} not run"] if counts[State.NOT_RUN] else []
    return f"{', '.join(parts)}; {sum(result.seconds for result in results):.0f} s of cases"


def stale_failures(results: Sequence[Result], plan: Plan, family: IpFamily) -> list[str]:
    """Cases that passed though the plan has them among the known failures."""
    passed = [result.case.name for result in results if result.state is State.PASSED]
    return [name for name in passed if plan.reason_to_fail(name, family) is not None]


def to_json(results: Sequence[Result], family: IpFamily) -> str:
    """The outcome as a JSON document."""
    cases = [
        {
            "name": _SIG + result.case.name,
            "group": result.case.group,
            "state": str(result.state),
            "seconds": round(result.seconds, 1),
            "message": result.message,
            "known_failure": result.known,
            "log": result.log,
        }
        for result in results
    ]
    counts = {str(state): sum(result.state is state for result in results) for state in State}
    head = {"kubernetes": programs.KUBERNETES_VERSION, "family": str(family), "counts": counts}
    return json.dumps({**head, "accepted": all(result.is_acceptable for result in results), "cases": cases}, indent=1)


def show(results: Sequence[Result]) -> None:
    """Print the outcome as text: a table a group, where the logs of failures are, and the summary."""
    console = Console()
    for group in dict.fromkeys(result.case.group for result in results):
        console.print(_table(group, [result for result in results if result.case.group == group]))
    for result in results:
        if not result.is_acceptable and result.log:
            console.print(f"{os.path.relpath(RESULTS / result.log)}: {escape(result.case.name)}", soft_wrap=True)
    console.print(summary(results))


def _table(group: str, results: Sequence[Result]) -> Table:
    table = Table("result", "s", group, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for result in results:
        text = escape(result.case.name)
        if result.state is not State.PASSED:
            text += f"\n[dim]{escape(result.known or result.message)}[/]"
        table.add_row(f"[{_COLOURS[result.state]}]{_outcome(result)}[/]", f"{result.seconds:.0f}", text)
    return table


def main(wishes: Wishes, install: tuple[int, IpFamily] | None, *, as_json: bool) -> int:
    """Run and print; the exit code is 0 when every case that has to pass did."""
    results = conformance(wishes, install=install)
    family = cluster.recorded_cluster().family
    for name in stale_failures(results, read_plan(PLAN.read_text()), family):
        say(f"known to fail, but passed: {name}")
    print(to_json(results, family)) if as_json else show(results)
    return 0 if all(result.is_acceptable for result in results) else 1
