"""An isolated place for the controller: its own etcd, API server and Northbound database on this machine, no kubelet.

The controller runs as a process of its own, as installed; it is observed through its metrics, a watch and a monitor on
the database.
"""

import asyncio
import re
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import aiohttp

from sandbox.paths import venv_bin
from tests.daemon.crds import install_crds
from tests.daemon.kube_apiserver import KubeApiserver
from tests.daemon.ovn import Ovn

NODE = "bench-node"
DEADLINE = 60.0


class World:
    """The servers and the controller; use as a context manager, which removes everything in the end."""

    def __init__(self) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="kube-ovn-bench-", ignore_cleanup_errors=True)
        folder = Path(self._place.name)
        (folder / "kube").mkdir()
        (folder / "ovn").mkdir()
        self._log = folder / "controller.log"
        self.kube, self.ovn = KubeApiserver(folder / "kube"), Ovn(folder / "ovn")
        self.controller: Controller | None = None

    def __enter__(self) -> Self:
        try:
            self.kube.start_etcd()
            self.kube.start()
            install_crds(self.kube.kubeconfig)
            self.ovn.start_database("nb")
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._clean()

    @property
    def running(self) -> "Controller":
        if self.controller is None:
            raise RuntimeError("the controller was not started")
        return self.controller

    async def start_controller(self, *flags: str) -> "Controller":
        self.controller = Controller(self.kube.kubeconfig, self.ovn.endpoint("nb"), self._log, *flags)
        return self.controller

    def stop_controller(self) -> None:
        if self.controller is not None:
            self.controller.stop()
            self.controller = None

    def empty_northbound(self) -> None:
        """Empty the Northbound database, as before the first start of a controller."""
        self.ovn.kill("nb")
        self.ovn.create_database("nb")
        self.ovn.start_database("nb")

    def _clean(self) -> None:
        try:
            self.stop_controller()
        finally:
            self.kube.stop()
            self.ovn.stop()
            self._place.cleanup()


class Controller:
    """A running kube-ovn-controller."""

    def __init__(self, kubeconfig: Path, northbound: str, log: Path, *flags: str) -> None:
        self.started = time.perf_counter()
        argv = [str(venv_bin() / "kube-ovn-controller"), f"--kubeconfig={kubeconfig}", f"--ovn-nb-addr={northbound}"]
        self._port = _free_port()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*argv, f"--pprof-port={self._port}", *flags], stdout=output, stderr=output
            )
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the controller as Kubernetes does: SIGTERM, and SIGKILL later."""
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(DEADLINE / 4)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(DEADLINE)

    async def until_passed(self) -> float:
        """Wait until the controller is ready and has made its first pass; the seconds since its start."""
        await self._until("the controller is ready", lambda page: page.get("passes", 0) >= 1, ready=True)
        return time.perf_counter() - self.started

    async def until_settled(self, pods: int) -> None:
        """Wait until the controller knows so many Pods (those without a port included) and makes no more passes."""
        last = (-1.0, 0.0)

        def settled(page: dict[str, float]) -> bool:
            nonlocal last
            now = time.monotonic()
            if page.get("pods") != pods or page.get("passes", 0) != last[0]:
                last = (page.get("passes", 0), now)
            return now - last[1] > 0.5

        await self._until(f"the controller settles with {pods} Pods", settled)

    async def metrics(self) -> dict[str, float]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            return await self._page(session)

    async def _page(self, session: aiohttp.ClientSession) -> dict[str, float]:
        async with session.get(f"http://127.0.0.1:{self._port}/metrics") as answer:
            text = await answer.text()
        page = {}
        for key, pattern in _METRICS.items():
            if found := re.search(rf"^{pattern} (\S+)$", text, re.MULTILINE):
                page[key] = float(found[1])
        return page

    async def _until(self, what: str, done: Any, *, ready: bool = False) -> None:
        end = time.monotonic() + DEADLINE
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while True:
                try:
                    if (not ready or await self._ready(session)) and done(await self._page(session)):
                        return
                except (aiohttp.ClientError, TimeoutError):
                    pass  # the controller does not listen yet, or is busy; the deadline below decides
                if self._process.poll() is not None or time.monotonic() > end:
                    raise TimeoutError(f"gave up waiting: {what}: {self._log.read_text()[-2000:]}")
                await asyncio.sleep(0.01)

    async def _ready(self, session: aiohttp.ClientSession) -> bool:
        async with session.get(f"http://127.0.0.1:{self._port}/readyz") as answer:
            return answer.status == 200


_METRICS = {
    "passes": r'kube_ovn_controller_pass_seconds_count\{stage="commit"\}',
    "render": r'kube_ovn_controller_pass_seconds_sum\{stage="render"\}',
    "diff": r'kube_ovn_controller_pass_seconds_sum\{stage="diff"\}',
    "commit": r'kube_ovn_controller_pass_seconds_sum\{stage="commit"\}',
    "pods": r'kube_ovn_kubernetes_objects\{kind="Pod"\}',
}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
