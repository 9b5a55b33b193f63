"""Processes by /proc (proc(5)): memory, processor time, the one that runs a program. And the time a program takes to
run.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def rss(pid: int) -> float:
    """Resident memory in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"process {pid} has no memory")


def cpu_seconds(pid: int) -> float:
    """User and system time so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def find_by_program(program: str) -> list[int]:
    """The pids of processes with this program's path among the first words of the command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue  # the process ended meanwhile
        if program.encode() in words[:4]:
            found.append(int(folder.name))
    return sorted(found)


def bare_python_rss() -> float:
    """Resident memory of a Python interpreter that has nothing to do, in MB."""
    with subprocess.Popen(
        [sys.executable, "-I", "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        size = rss(process.pid)
        process.communicate(b"\n", timeout=10)
    return size


def run_time(program: str, environment: Mapping[str, str]) -> float:
    """Seconds from starting a program to its end; it reads an empty input and its output is dropped."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
        started = time.perf_counter()
        pid = os.posix_spawn(program, [program], environment, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        spent = time.perf_counter() - started
    finally:
        os.close(null)
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"{program} failed with {os.waitstatus_to_exitcode(status)}")
    return spent


def veth_time() -> float:
    """Seconds that `ip` takes to make a veth pair; it is removed again."""
    names = [f"kobench{os.getpid() % 10000}{end}" for end in "ab"]
    started = time.perf_counter()
    subprocess.run(["ip", "link", "add", names[0], "type", "veth", "peer", "name", names[1]], check=True, timeout=10)
    spent = time.perf_counter() - started
    subprocess.run(["ip", "link", "del", names[0]], check=True, timeout=10)
    return spent
