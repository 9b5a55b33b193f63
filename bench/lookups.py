"""The figures of Services as Pods meet them, on the sandbox: their names, and which endpoint a client stays with.

Questions are asked from inside a Pod's network, by `bench.dns_client`.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from bench.figure import Anchor, Ask, Figure, median, quantile
from kube_ovn.model import names
from kube_ovn.model.resource import SERVICES
from sandbox import node
from sandbox.command import run
from sandbox.layout import parse_node
from sandbox.progress import say
from tests.cluster.lab import Pod, Scene, interfaces_of, manifest, ovs, until
from tests.cluster.test_dns import CLUSTER_DNS, NOBODY, ZONE
from tests.cluster.test_services import UDP, backend, create, slice_of

SCENE = "kube-ovn-bench-services"
QUESTIONS, RUNS = 10_000, 20
ECHO = 9
NODE, OTHER = "node1", "node2"
BACKENDS, CLIENTS = 5, 200
SCRIPT = str(Path(__file__).with_name("dns_client.py"))
DEADLINE = 120.0
SERVERS = {NOBODY: "of a server that does not exist", CLUSTER_DNS: "of the cluster's DNS address"}
"""The addresses that Pods ask. The answer comes from their own port, for the second one through a load balancer."""


async def measure_lookups(who: str) -> list[Figure]:
    """`who`: one of SERVERS."""
    return await asyncio.to_thread(_lookups, who)


def _lookups(who: str) -> list[Figure]:
    with _scene() as scene:
        client, server = scene.start(manifest("client", NODE), manifest("server", NODE))
        address = create(scene, "web")
        asked = _questions(client, server, who, f"web.{scene.namespace}.svc.{ZONE}", address)
        return [*asked, _first(scene, client, who)]


@contextmanager
def _scene() -> Iterator[Scene]:
    scene = Scene(f"{SCENE}-{os.urandom(2).hex()}")
    scene.open()
    try:
        yield scene
    finally:
        scene.close()


def _questions(client: Pod, echo: Pod, who: str, name: str, address: str) -> list[Figure]:
    """The times of a question for a name's address, and of an echo of the same length on the same node."""
    place, payload = _network(client), _query(name)
    _started(["first", who, "53", payload.hex()], place).communicate(timeout=DEADLINE)  # the name is known now
    with _echoing(_network(echo), echo.ip):
        floor = _rounds(place, echo.ip, ECHO, payload)
        spent = _rounds(place, who, 53, payload)
        again = _rounds(place, echo.ip, ECHO, payload)
    if not bytes.fromhex(spent["last"]).endswith(bytes(map(int, address.split(".")))):
        raise RuntimeError(f"{name} is not {address}: {spent['last']}")
    figures = []
    for share, q, limit in (("p50", 0.5, None), ("p99", 0.99, 1.0)):
        value, floors = _quantile(spent, q), [_quantile(each, q) for each in (floor, again)]
        figures.append(
            Figure(
                name=f"a Service's address asked {SERVERS[who]}, {share}",
                value=value,
                unit="ms",
                n=QUESTIONS,
                anchor=Anchor(name=f"UDP echo from Pod to Pod on the same node, {share}, ms", value=median(floors)),
                ask=None if limit is None else Ask(relation="<=", value=limit),
                note=f"{spent['seconds'].count(None)} lost; echo before {floors[0]:.3f} ms, after {floors[1]:.3f} ms",
            )
        )
    return figures


def _quantile(found: Mapping[str, Any], q: float) -> float:
    """A quantile of the rounds' times in ms; a lost round counts as infinite."""
    return quantile([float("inf") if each is None else each * 1000 for each in found["seconds"]], q)


def _first(scene: Scene, client: Pod, who: str) -> Figure:
    """The time from the creation of a Service until its name has an address."""
    place, spent, floor = _network(client), [], []
    for number in range(RUNS):
        name = f"new{number}"
        asking = _started(["first", who, "53", _query(f"{name}.{scene.namespace}.svc.{ZONE}").hex()], place)
        assert asking.stdout is not None
        asking.stdout.readline()
        started = time.monotonic()
        _post(scene, name)
        floor.append(time.monotonic() - started)
        spent.append(json.loads(asking.communicate(timeout=DEADLINE)[0]) - started)
        scene.kubectl("delete", "service", name)
    say(f"first answer, asked {SERVERS[who]}: {sorted(round(value * 1000) for value in spent)} ms")
    return Figure(
        name=f"creation of a Service to the first answer, asked {SERVERS[who]}, at most",
        value=max(spent) * 1000,
        unit="ms",
        n=RUNS,
        anchor=Anchor(name="kubectl that creates it, median, ms", value=median(floor) * 1000),
        ask=Ask(relation="<=", value=500),
        note=f"median {median(spent) * 1000:.0f} ms",
    )


def _post(scene: Scene, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}
    scene.kubectl("create", "--raw", SERVICES.path(scene.namespace), "-f", "-", text=json.dumps(body))


def _query(name: str) -> bytes:
    """A question for an address (RFC 1035, 4.1), as a resolver without EDNS asks."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return bytes.fromhex("0000 0100 0001 0000 0000 0000") + labels + bytes.fromhex("00 0001 0001")


def _network(pod: Pod) -> str:
    """The path of a Pod's network namespace on this machine."""
    (nic,) = [nic for port, nic in interfaces_of(pod.node, pod.namespace).items() if port == pod.port]
    netns = json.loads(ovs(pod.node, "get", "Interface", nic, "external_ids:pod_netns"))
    # Not its whole path: the node's /var/run is a link, which this machine would follow to its own /run.
    return f"/proc/{node.init_pid(parse_node(pod.node))}/root/run/netns/{Path(netns).name}"


def _argv(network: str, *words: str) -> list[str]:
    return ["nsenter", f"--net={network}", "--", *words]


def _started(words: Sequence[str], network: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(_argv(network, sys.executable, SCRIPT, *words), stdout=subprocess.PIPE)


def _rounds(network: str, address: str, port: int, payload: bytes) -> dict[str, Any]:
    words = ("rounds", address, str(port), str(QUESTIONS), payload.hex())
    found: dict[str, Any] = json.loads(run(_argv(network, sys.executable, SCRIPT, *words), timeout=DEADLINE))
    return found


@contextmanager
def _echoing(network: str, address: str) -> Iterator[None]:
    process = _started(["echo", address, str(ECHO)], network)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


async def measure_affinity() -> list[Figure]:
    return await asyncio.to_thread(_affinity)


def _affinity() -> list[Figure]:
    """The share of clients that change their endpoint without need. All clients are addresses of one Pod, which may
    send from any of them; the endpoints are listed by hand.
    """
    with _scene() as scene:
        crowd = manifest("crowd", NODE, annotations={names.PORT_SECURITY: "false"})
        client, *pods = scene.start(crowd, *(backend(f"web{n}", (NODE, OTHER)[n % 2]) for n in range(BACKENDS)))
        pods.sort(key=lambda pod: tuple(map(int, pod.ip.split("."))))
        place, sources = _network(client), _crowd(client)
        for source in sources:
            run(_argv(place, "ip", "address", "add", f"{source}/32", "dev", "eth0"))
        return [_moved(scene, place, sources, pods, *which) for which in ((0, "first"), (-1, "last"))]


def _crowd(client: Pod) -> list[str]:
    """The last addresses of a Pod's subnet, which no Pod has."""
    network = ip_network(client.annotations[names.CIDR].split(",")[0])
    return [str(network[-2 - number]) for number in range(CLIENTS)]


def _homes(
    scene: Scene, place: str, service: str, address: str, sources: Sequence[str], pods: Sequence[Pod]
) -> dict[str, str]:
    """The endpoint of each client, once these Pods are the Service's endpoints and each of them has a client."""
    made = slice_of(service, *(pod.ip for pod in pods), port=UDP)
    made["ports"][0]["protocol"] = "UDP"
    scene.kubectl("apply", "-f", "-", text=json.dumps(made))

    def settled() -> dict[str, str] | None:
        argv = _argv(place, sys.executable, SCRIPT, "homes", address, "81", "hostname", *sources)
        found: dict[str, str] = json.loads(run(argv, timeout=DEADLINE))
        return found if set(found.values()) == {pod.name for pod in pods} else None

    return until(settled, DEADLINE, f"clients of {', '.join(pod.name for pod in pods)}")


def _moved(scene: Scene, place: str, sources: Sequence[str], pods: Sequence[Pod], gone: int, which: str) -> Figure:
    """The share of clients, in percent, that are sent elsewhere when another endpoint than theirs goes."""
    name = f"stay-{which}"
    ports = [{"name": "http", "port": 81, "protocol": "UDP"}]
    spec = {"ports": ports, "sessionAffinity": "ClientIP"}
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
    address = json.loads(scene.kubectl("create", "-o", "json", "-f", "-", text=json.dumps(body)))["spec"]["clusterIP"]
    before = _homes(scene, place, name, address, sources, pods)
    after = _homes(scene, place, name, address, sources, [pod for pod in pods if pod is not pods[gone]])
    stayed = [source for source in sources if before[source] != pods[gone].name]
    moved = sum(before[source] != after[source] for source in stayed)
    say(f"without the {which} endpoint: {moved} of {len(stayed)} clients moved")
    return Figure(
        name=f"clients that move though their endpoint stays, when the {which} of {BACKENDS} endpoints goes",
        value=moved / len(stayed) * 100,
        unit="%",
        n=len(stayed),
        anchor=Anchor(name="a hash that counts the endpoints (modulo), %", value=(1 - 1 / BACKENDS) * 100),
    )
