"""The outside host as a witness: the packets that it saw, and their sources."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from pathlib import Path
from urllib.parse import urlsplit

from sandbox.command import run
from sandbox.layout import OUTSIDE_NETNS
from sandbox.network import netns_path
from tests.cluster.lab import until
from tests.daemon.node import in_netns

PATIENCE = 2.0
"""Seconds for an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A packet that came in."""

    time: float
    """Seconds, on the outside host's clock."""
    source: str
    number: int
    """The sequence number."""
    sender: str
    """The MAC of the node that the packet came from."""


_SNIFF, _TALK = (Path(__file__).with_name(name) for name in ("sniff.py", "talk.py"))


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
def capturing(folder: Path, *addresses: str) -> Iterator[Capture]:
    """Echo requests of both families, as they come in at the outside host: those to some addresses of it, where others
    may be sent at the time. Not those of hosts on its own network that ask for the address it has there.
    """
    file = folder / f"capture-{time.monotonic_ns()}.json"
    argv = [*_inside(), sys.executable, "-P", str(_SNIFF), str(file), *addresses]
    with subprocess.Popen(argv, text=True) as process:
        try:
            until(file.exists, 10, "the outside host listens")
            yield Capture(process, file)
        finally:
            process.terminate()


class Talk:
    """A connection from the outside host to a web server."""

    def __init__(self, process: "subprocess.Popen[str]", file: Path) -> None:
        self._process, self._file = process, file

    def goes_on(self, count: int = 50) -> None:
        """Check that some more requests are answered on the connection."""
        before = self._answers()
        until(lambda: self._is_open() and self._answers() > before + count, 20, "the connection goes on")

    def _answers(self) -> int:
        return self._file.read_text().count("\n") if self._file.exists() else 0

    def _is_open(self) -> bool:
        assert self._process.poll() is None, "the connection broke"
        return True


@contextmanager
def talking(folder: Path, address: str, port: int) -> Iterator[Talk]:
    """One connection to a web server, with one request after another."""
    file = folder / "answers"
    argv = [*_inside(), sys.executable, "-P", str(_TALK), address, str(port), str(file)]
    with subprocess.Popen(argv, text=True) as process:
        try:
            yield Talk(process, file)
        finally:
            process.terminate()


def outside(*command: str) -> str:
    """Run a command on the outside host and return its output."""
    return run([*_inside(), *command], timeout=20)


def fetch(url: str) -> str:
    """The outside host's answer from a web server. Raises OSError when there is none."""
    return in_netns(str(netns_path(OUTSIDE_NETNS)), lambda: _get(url))


def dial(address: str, port: int, source_port: int, netns: str = OUTSIDE_NETNS) -> str:
    """The answer that a host, or a process of a node, gets from a UDP server that it asks for its name. Raises OSError
    when there is none.
    """
    return in_netns(str(netns_path(netns)), lambda: _dial(address, port, source_port))


def _get(url: str) -> str:
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().read().decode()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{url}: {error!r}") from error
    finally:
        connection.close()


def _dial(address: str, port: int, source_port: int) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.bind(("", source_port))
        client.sendto(b"hostname", (address, port))
        return client.recv(99).decode()


@contextmanager
def reachable_at(*addresses: str) -> Iterator[None]:
    """Give the outside host further addresses, far from the nodes, in a `with` block."""
    try:
        for address in addresses:
            outside("ip", "address", "replace", str(ip_interface(address)), "dev", "lo")
        yield
    finally:
        for address in addresses:
            outside("ip", "address", "delete", str(ip_interface(address)), "dev", "lo")


@contextmanager
def routed(*routes: tuple[str, str]) -> Iterator[None]:
    """Give the outside host routes, each a network and its next hop, in a `with` block."""
    try:
        for network, via in routes:
            outside("ip", f"-{ip_address(via).version}", "route", "replace", network, "via", via)
        yield
    finally:
        for network, via in routes:
            outside("ip", f"-{ip_address(via).version}", "route", "delete", network)


def _inside() -> list[str]:
    return ["nsenter", f"--net={netns_path(OUTSIDE_NETNS)}", "--"]
