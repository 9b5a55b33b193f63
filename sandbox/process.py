"""Long-lived processes: started once, known again later by pid and start time, ended for sure.

A record is written by the process itself just before it becomes the program, so an interrupted `up` leaves no process
without one. A record counts only while a process with that pid, start time and mark in its environment lives; no other
process is ever signalled.
"""

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.paths import RUN, STATE, SandboxError

MARK = "KUBE_OVN_SANDBOX_PROCESS"
_RECORDS = RUN / "processes"
_LOGS = STATE / "log"
# Becomes the program after noting pid, start time and fingerprint: `exec` keeps all three true.
_LAUNCHER = """
read -r stat < "/proc/$$/stat"
printf '%s\\n%s\\n' "$stat" "$2" > "$1.new" && mv "$1.new" "$1" || exit 70
shift 2
exec "$@"
"""
_START_DEADLINE = 10.0
_KILL_DEADLINE = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process as it should run. A change of any field, or of the inputs it read at start, means a new start."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: str = ""

    @property
    def fingerprint(self) -> str:
        """A digest of all fields: when it stays the same, the process need not be started anew."""
        text = json.dumps([list(self.argv), dict(self.environment), self.inputs], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A living process of the sandbox."""

    name: str
    pid: int
    fingerprint: str


def log_path(name: str) -> Path:
    """The file that a process's output goes to."""
    return _LOGS / f"{name}.log"


def parse_stat(text: str) -> tuple[int, str, str]:
    """Parse /proc/PID/stat (proc_pid_stat(5)): pid, state and start time. The name in brackets can be any text."""
    before, _, after = text.partition(" (")
    fields = after.rpartition(") ")[2].split()
    return int(before), fields[0], fields[19]


def observe(name: str) -> Running | None:
    """The process of this name, if it lives."""
    try:
        stat, fingerprint = (_RECORDS / name).read_text().splitlines()
        pid, _, recorded_start = parse_stat(stat)
        _, state, start = parse_stat(Path(f"/proc/{pid}/stat").read_text())
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    if start != recorded_start or state in "ZX" or f"{MARK}={name}".encode() not in environment:
        return None
    return Running(name=name, pid=pid, fingerprint=fingerprint)


def observe_all() -> list[Running]:
    """All living processes of the sandbox."""
    names = sorted(path.name for path in _RECORDS.iterdir()) if _RECORDS.is_dir() else []
    return [running for name in names if (running := observe(name)) is not None]


def ensure(process: Process) -> bool:
    """Let the process run as described; return whether it had to be started."""
    running = observe(process.name)
    if running is not None and running.fingerprint == process.fingerprint:
        return False
    if running is not None:
        kill([process.name])
    _start(process)
    return True


def _start(process: Process) -> None:
    _RECORDS.mkdir(parents=True, exist_ok=True)
    _LOGS.mkdir(parents=True, exist_ok=True)
    record = _RECORDS / process.name
    record.unlink(missing_ok=True)
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": path, "HOME": "/root", **process.environment, MARK: process.name}
    with log_path(process.name).open("ab") as log:
        # A session of its own, so that Ctrl-C at the terminal that runs `up` does not end it.
        child = subprocess.Popen(
            ["/bin/sh", "-c", _LAUNCHER, "sh", str(record), process.fingerprint, *process.argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_DEADLINE
    while observe(process.name) is None:
        if child.poll() is not None or time.monotonic() > deadline:
            raise SandboxError(f"{process.name} did not start: {last_words(process.name)}")
        time.sleep(0.005)


def last_words(name: str) -> str:
    """The end of a process's log."""
    path = log_path(name)
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return "\n".join(lines[-8:]) or "it said nothing"


def kill(names: Iterable[str]) -> list[str]:
    """End these processes at once, wait until they are gone, and forget them; return those that were alive."""
    victims = [running for name in names if (running := observe(name)) is not None]
    for victim in victims:
        # The API server takes a minute to end on SIGTERM and keeps its port meanwhile; no process has data to save.
        send_signal(victim, signal.SIGKILL)
    deadline = time.monotonic() + _KILL_DEADLINE
    for victim in victims:
        while observe(victim.name) is not None:
            if time.monotonic() > deadline:
                raise SandboxError(f"{victim.name} (pid {victim.pid}) does not end")
            time.sleep(0.005)
        _reap(victim.pid)
        (_RECORDS / victim.name).unlink(missing_ok=True)
    return [victim.name for victim in victims]


def send_signal(running: Running, number: signal.Signals) -> None:
    """Signal the process that was observed, and never one that has taken its pid since."""
    try:
        handle = os.pidfd_open(running.pid)
    except ProcessLookupError:
        return
    try:
        if observe(running.name) == running:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def _reap(pid: int) -> None:
    # Only a process started by this very command is its child; for all others the machine's init does this.
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
