"""The outside host as a witness: which packets it saw, and from whom."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from sandbox.command import run
from sandbox.layout import OUTSIDE_NETNS
from sandbox.network import netns_path
from tests.cluster.lab import until


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A packet that came in: when, from whom, and a number its sender gave it."""

    time: float
    source: str
    number: int


_PROGRAM = Path(__file__).with_name("sniff.py")


class Capture:
    """Pings that the outside host received, since the beginning."""

    def __init__(self, process: "subprocess.Popen[str]", file: Path) -> None:
        self._process, self._file = process, file

    def seen(self) -> list[Seen]:
        lines = self._file.read_text().splitlines(keepends=True)
        return [Seen(**json.loads(line)) for line in lines if line.endswith("\n")]

    def sources(self) -> set[str]:
        return {each.source for each in self.seen()}


@contextmanager
def capturing(folder: Path) -> Iterator[Capture]:
    """Echo requests of both families, as they come in at the outside host; not those of hosts on its own network that
    ask for the address it has there.
    """
    file = folder / f"capture-{time.monotonic_ns()}.json"
    argv = [*_inside(), sys.executable, "-P", str(_PROGRAM), str(file)]
    with subprocess.Popen(argv, text=True) as process:
        try:
            until(file.exists, 10, "the outside host listens")
            yield Capture(process, file)
        finally:
            process.terminate()


def outside(*command: str) -> str:
    """What a command on the outside host prints."""
    return run([*_inside(), *command], timeout=20)


def fetch(url: str) -> str:
    """What the outside host gets from a web server."""
    program = (
        "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode(), end='')"
    )
    return outside(sys.executable, "-c", program, url)


@contextmanager
def routed(*routes: tuple[str, str]) -> Iterator[None]:
    """The outside host sends what is for some networks to some addresses."""
    try:
        for network, via in routes:
            outside("ip", f"-{ip_address(via).version}", "route", "replace", network, "via", via)
        yield
    finally:
        for network, via in routes:
            outside("ip", f"-{ip_address(via).version}", "route", "delete", network)


def _inside() -> list[str]:
    return ["nsenter", f"--net={netns_path(OUTSIDE_NETNS)}", "--"]
