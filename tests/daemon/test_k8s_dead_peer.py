"""An API server whose machine vanishes while a watch is open and silent: nothing is sent, so only probes can tell."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.k8s.credentials import Anonymous, Credentials
from kube_ovn.model.resource import PODS
from sandbox.command import run

NETNS, LINK, HERE, THERE = "ko-test-dead", "ko-test-dead", "198.51.100.1", "198.51.100.2"
PORT = 8080
SILENT_SERVER = f"""
import socket
server = socket.create_server(("{THERE}", {PORT}))
print("ready", flush=True)
connection, _ = server.accept()
connection.recv(65536)
connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
connection.recv(65536)
"""


@pytest.fixture
def machine() -> Iterator[None]:
    """A server behind a wire, in a network namespace."""
    run(["ip", "netns", "add", NETNS])
    inside = ["nsenter", f"--net=/run/netns/{NETNS}"]
    server: subprocess.Popen[str] | None = None
    try:
        run(["ip", "link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", NETNS])
        run(["ip", "addr", "add", f"{HERE}/30", "dev", LINK])
        run(["ip", "link", "set", LINK, "up"])
        run([*inside, "ip", "addr", "add", f"{THERE}/30", "dev", "eth0"])
        run([*inside, "ip", "link", "set", "eth0", "up"])
        argv = [*inside, sys.executable, "-c", SILENT_SERVER]
        server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield
    finally:
        if server is not None:
            server.kill()
            server.communicate(timeout=10)
        run(["ip", "netns", "del", NETNS])


async def test_a_silent_watch_notices(machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kube_ovn.k8s.client.DEAD_PEER", 4)
    async with Client(Credentials(f"http://{THERE}:{PORT}", None, Anonymous(), "default")) as client:
        loop = asyncio.get_running_loop()

        async def watch() -> None:
            async for _ in client.watch(PODS, "1"):
                pass

        task = asyncio.create_task(watch())
        await asyncio.sleep(3)
        assert not task.done(), "silence alone is no reason while the peer is there"
        started = loop.time()
        run(["nsenter", f"--net=/run/netns/{NETNS}", "nft", "-f", "-"], text=DROP)
        with pytest.raises(KubeError) as gone:
            async with asyncio.timeout(30):
                await task
        assert gone.value.status == 0
        assert loop.time() - started < 10


DROP = """
table inet vanish {
    chain input {
        type filter hook input priority 0; policy drop;
    }
}
"""
