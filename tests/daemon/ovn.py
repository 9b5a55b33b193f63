"""Real OVN databases and northd on unix sockets, from the image's own root file system: import the fixture `ovn`.

The programs run through that root's own loader, so nothing is mounted and this machine's libraries do not matter.
"""

import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from images.build import PACKAGES
from sandbox.command import run
from sandbox.rootfs import build_rootfs

DEADLINE = 10.0
SCHEMAS = {
    "nb": "usr/share/ovn/ovn-nb.ovsschema",
    "sb": "usr/share/ovn/ovn-sb.ovsschema",
    "vswitch": "usr/share/openvswitch/vswitch.ovsschema",
}


class Ovn:
    """Database servers by name (`nb`, `sb`, `vswitch`) and northd; each can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, build_rootfs(PACKAGES)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in SCHEMAS:
            self.create_database(name)

    def create_database(self, name: str) -> None:
        """Make an empty database in place of an older one."""
        (self.folder / f"{name}.db").unlink(missing_ok=True)
        self.run("ovsdb-tool", "create", f"{self.folder}/{name}.db", f"{self.root}/{SCHEMAS[name]}")

    def endpoint(self, name: str) -> str:
        return f"unix:{self.folder}/{name}.sock"

    def argv(self, program: str, *args: str) -> list[str]:
        places = [self.root / place / program for place in ("usr/bin", "usr/sbin")]
        loader = f"{self.root}/lib64/ld-linux-x86-64.so.2"
        libraries = f"{self.root}/usr/lib/x86_64-linux-gnu"
        return [loader, "--library-path", libraries, str(next(path for path in places if path.exists())), *args]

    def run(self, program: str, *args: str) -> str:
        return run(self.argv(program, *args), timeout=DEADLINE, env=self._env())

    def nbctl(self, *args: str) -> str:
        return self.run("ovn-nbctl", f"--db={self.endpoint('nb')}", *args)

    def sbctl(self, *args: str) -> str:
        return self.run("ovn-sbctl", f"--db={self.endpoint('sb')}", *args)

    def start_database(self, name: str) -> None:
        remote = f"--remote=p{self.endpoint(name)}"
        control = f"--unixctl={self.folder}/{name}.ctl"
        self._start(name, self.argv("ovsdb-server", remote, control, f"{self.folder}/{name}.db"))
        self._await(lambda: (self.folder / f"{name}.sock").is_socket(), f"{name} database")

    def start_northd(self) -> None:
        remotes = [f"--ovnnb-db={self.endpoint('nb')}", f"--ovnsb-db={self.endpoint('sb')}"]
        self._start("northd", self.argv("ovn-northd", *remotes, f"--unixctl={self.folder}/northd.ctl"))

    @contextmanager
    def tracer(self, *options: str) -> Iterator[Callable[..., str]]:
        """An ovn-trace that stays, with the Southbound database as it is now: ask it with the parameters of its command
        `trace` (ovn-trace(8)). It answers in a hundredth of the time that another process takes to start.
        """
        control = f"{self.folder}/trace.ctl"
        self.run("ovn-trace", f"--db={self.endpoint('sb')}", f"--unixctl={control}", *options, "--detach", "--no-chdir")
        try:
            yield lambda *words: _command(control, "trace", *words)
        finally:
            _command(control, "exit")

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """End a process without a warning."""
        process = self._processes.pop(name)
        process.kill()
        process.wait(DEADLINE)
        (self.folder / f"{name}.sock").unlink(missing_ok=True)

    def pause(self, name: str) -> None:
        """Stop a process without ending it, as if it was busy."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._processes[name].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        for name in list(self._processes):
            self.kill(name)

    def _start(self, name: str, argv: list[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(argv, stdout=log, stderr=log, env=self._env())

    def _await(self, ready: object, what: str) -> None:
        assert callable(ready)
        deadline = time.monotonic() + DEADLINE
        while not ready():
            assert time.monotonic() < deadline, f"{what} did not start within {DEADLINE} s"
            time.sleep(0.01)

    def _env(self) -> dict[str, str]:
        run_dir = str(self.folder)
        return {"OVS_RUNDIR": run_dir, "OVN_RUNDIR": run_dir, "OVS_LOGDIR": run_dir, "OVN_LOGDIR": run_dir}


def _command(control: str, method: str, *params: str) -> str:
    """One command to a daemon of Open vSwitch, and its answer (ovs-appctl(8))."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(DEADLINE)
        link.connect(control)
        link.sendall(json.dumps({"method": method, "params": params, "id": 0}).encode())
        said = b""
        while chunk := link.recv(1 << 16):
            said += chunk
            with contextlib.suppress(ValueError):
                answer = json.loads(said)
                assert answer["error"] is None, answer
                return str(answer["result"])
    raise AssertionError(f"no answer to {method}, only {said!r}")


@pytest.fixture
def ovn(tmp_path: Path) -> Iterator[Ovn]:
    """Empty databases, all running; northd only where a test starts it."""
    daemons = Ovn(tmp_path)
    try:
        for name in SCHEMAS:
            daemons.start_database(name)
        yield daemons
    finally:
        daemons.stop()
