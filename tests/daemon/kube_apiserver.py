"""A real kube-apiserver on a real etcd, on loopback.

A test module imports the fixture `kube_apiserver` and lists it in `__all__`. No controller manager and no kubelet:
objects stay as they were written. The token `admin` may do everything.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.cluster import find_etcd
from sandbox.command import run
from sandbox.node import PACKAGES
from sandbox.programs import KUBERNETES, find_programs
from sandbox.rootfs import build_rootfs

DEADLINE = 60.0
ADMIN = "admin"


class KubeApiserver:
    """One etcd and one API server; the latter can be killed and started again on the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._etcd_port, self._etcd_peer, self._port = _free_ports(3)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"https://127.0.0.1:{self._port}"
        self.ca = folder / "certs" / "apiserver.crt"
        (folder / "tokens.csv").write_text(f"{ADMIN},admin,1,system:masters\nnobody,nobody,2\n")
        run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"])
        self.kubeconfig = self.write_kubeconfig(ADMIN)

    def write_kubeconfig(self, token: str) -> Path:
        """A kubeconfig for the user of this token; JSON is YAML too."""
        path = self.folder / f"kubeconfig-{token}"
        config = {
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority": str(self.ca)}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        path.write_text(json.dumps(config))
        return path

    def start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._etcd_peer}"
        options = {
            "data-dir": str(self.folder / "etcd"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "unsafe-no-fsync": "true",
        }
        self._start("etcd", find_etcd(build_rootfs(PACKAGES)), options)

    def start(self) -> None:
        """Start the API server and wait until it is ready."""
        options = {
            "etcd-servers": f"http://127.0.0.1:{self._etcd_port}",
            "bind-address": "127.0.0.1",
            "secure-port": str(self._port),
            "cert-dir": str(self.folder / "certs"),
            "token-auth-file": str(self.folder / "tokens.csv"),
            "authorization-mode": "RBAC",
            "disable-admission-plugins": "ServiceAccount",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": str(self.folder / "sa.key"),
            "service-account-signing-key-file": str(self.folder / "sa.key"),
            "service-cluster-ip-range": "10.96.0.0/12",
        }
        self._start("kube-apiserver", find_programs(KUBERNETES)["kube-apiserver"], options)
        _until("the API server is ready", lambda: self.get("/readyz") == b"ok")
        _until("the default Namespace is there", lambda: b'"name":"default"' in self.get("/api/v1/namespaces/default"))

    def kill(self) -> None:
        """SIGKILL: on SIGTERM it would wait up to a minute for open watches and keep the port."""
        self._stop("kube-apiserver")

    def stop(self) -> None:
        for name in list(self._processes):
            self._stop(name)

    def get(self, path: str) -> bytes:
        """Send a request without the code that is under test."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {ADMIN}"})
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=str(self.ca)), timeout=5) as got:
            body: bytes = got.read()
            return body

    def compact(self) -> None:
        """Make etcd forget all versions before the newest."""
        revision = self._etcd("/v3/kv/range", {"key": "AA=="})["header"]["revision"]
        self._etcd("/v3/kv/compaction", {"revision": revision, "physical": True})

    def _etcd(self, path: str, body: dict[str, object]) -> dict[str, dict[str, str]]:
        url = f"http://127.0.0.1:{self._etcd_port}{path}"
        request = urllib.request.Request(url, data=json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=5) as got:
            answer: dict[str, dict[str, str]] = json.load(got)
            return answer

    def _start(self, name: str, program: Path, options: dict[str, str]) -> None:
        argv = [str(program), *(f"--{key}={value}" for key, value in options.items())]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)

    def _stop(self, name: str) -> None:
        process = self._processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=DEADLINE)


def _until(what: str, probe: Callable[[], bool]) -> None:
    end, why = time.monotonic() + DEADLINE, "not yet"
    while time.monotonic() < end:
        try:
            if probe():
                return
        except OSError as error:
            why = str(error)
        time.sleep(0.05)
    raise TimeoutError(f"gave up waiting: {what}: {why}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


@pytest.fixture(scope="module")
def kube_apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApiserver]:
    server = KubeApiserver(tmp_path_factory.mktemp("kube-apiserver"))
    try:
        server.start_etcd()
        server.start()
        yield server
    finally:
        server.stop()
