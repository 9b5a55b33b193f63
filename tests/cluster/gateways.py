"""What the gateway tests do and see: a centralized subnet, who carries it, and streams of packets through it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox import cluster, process
from sandbox.command import run
from sandbox.demo import SYSTEM
from sandbox.layout import (
    OUTSIDE_FAR_V4,
    OUTSIDE_FAR_V6,
    TUNNEL_BRIDGE,
    management_v4,
    management_v6,
    parse_node,
)
from tests.cluster import kube
from tests.cluster.fabric import Block, becomes, own_subnet
from tests.cluster.kube import Json
from tests.cluster.lab import Pod, Scene, execute, manifest, node_exec, system_pod, until
from tests.cluster.outside import Capture, capturing

FAR4, FAR6 = str(OUTSIDE_FAR_V4.ip), str(OUTSIDE_FAR_V6.ip)
RATE = 100
"""Pings a second of a stream."""
BFD_INTERVAL = 200
"""Milliseconds, as the chart has it."""


def node4(number: int) -> str:
    return str(management_v4(10 + number).ip)


def node6(number: int) -> str:
    return str(management_v6(10 + number).ip)


@contextmanager
def centralized(scene: Scene, block: Block, gateways: str = "node2,node1") -> Iterator[str]:
    """A subnet of both families that leaves through node2, and through node1 where that cannot: `gateways` in order."""
    spec = {"gatewayType": "centralized", "gatewayNode": gateways, "natOutgoing": True}
    with own_subnet(scene, block.both(), **spec) as name:
        leaves_through(name, "node2", within=20)
        yield name


def leaves_through(name: str, gateways: str, within: float = 10) -> None:
    """Wait until a Subnet's status says that its Pods leave through these nodes."""
    what = f"{name} leaves through {gateways or 'the nodes of its Pods'}"
    becomes("subnet", name, lambda item: _carriers(item) == gateways, within, what)


def active(name: str) -> str:
    """The nodes that a Subnet's Pods leave through, as its status has them; empty where each Pod leaves by its own."""
    return _carriers(kube.read("subnet", name))


def _carriers(item: Json) -> str:
    return str(item["status"].get("activateGateway", ""))


def visit(scene: Scene, pod: Pod, address: str) -> str:
    """The client address that the outside host sees when a Pod asks it; `nobody` when there is no answer."""
    host = f"[{address}]" if ":" in address else address
    return scene.shell(pod, f"curl -sS --max-time 3 'http://{host}/' || echo nobody").strip()


def sees(scene: Scene, pod: Pod, *expected: str, within: float = 20) -> None:
    """Wait until the outside host sees these addresses."""
    for address in expected:
        far = FAR6 if ":" in address else FAR4
        until(lambda address=address, far=far: visit(scene, pod, far) == address, within, f"{pod.name} is {address}")  # type: ignore[misc]


@contextmanager
def cordoned(name: str) -> Iterator[None]:
    kube.patch("node", name, {"spec": {"unschedulable": True}})
    try:
        yield
    finally:
        kube.patch("node", name, {"spec": {"unschedulable": None}})


@contextmanager
def hung() -> Iterator[None]:
    """Stop node2's Open vSwitch without ending it."""
    node_exec("node2", "pkill", "-STOP", "ovs-vswitchd")
    try:
        yield
    finally:
        node_exec("node2", "pkill", "-CONT", "ovs-vswitchd")


@contextmanager
def dead() -> Iterator[None]:
    """Kill every process of node2 at once; the node boots again afterwards."""
    process.kill(["node2"])
    try:
        yield
    finally:
        here = cluster.recorded_cluster()
        cluster.up(here.node_count, here.family)


@contextmanager
def cut_off() -> Iterator[None]:
    """Take node2's tunnel link out of its bridge, as when its cable is pulled at the far end."""
    link = parse_node("node2").tunnel_link
    run(["ip", "link", "set", link, "nomaster"])
    try:
        yield
    finally:
        run(["ip", "link", "set", link, "master", TUNNEL_BRIDGE])


def are_watched(*nodes: str) -> bool:
    """Whether BFD runs between all of them, and no longer at the pace it begins with."""
    said = [execute(system_pod("ovs", node).name, SYSTEM, "ovs-appctl", "bfd/show") for node in nodes]
    return all(text.count(f"Remote Minimum TX Interval: {BFD_INTERVAL}ms") >= len(nodes) - 1 for text in said)


class Stream:
    """Pings from a Pod to the outside, RATE a second, until told to stop."""

    def __init__(self, scene: Scene, pod: Pod, far: str = FAR4) -> None:
        self._scene, self._pod = scene, pod
        self._scene.shell(pod, f"ping -i {1 / RATE} {far} </dev/null >/tmp/stream 2>&1 &")

    def lost(self) -> tuple[int, list[int]]:
        """End the stream. Returns how many pings have an answer or a later one that has, and the numbers of those that
        have none. A stream that is not answered any more is a failure.
        """
        newest = max(self._answered(), default=0)
        until(lambda: max(self._answered(), default=0) > newest, 10, f"{self._pod.name} is answered")
        self._scene.shell(self._pod, "pkill -INT ping")
        answered = self._answered()
        sent = max(answered)
        return sent, sorted(set(range(1, sent)) - answered)

    def _answered(self) -> set[int]:
        text = self._scene.shell(self._pod, "cat /tmp/stream")
        return {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl=", text)}


@contextmanager
def streaming(
    scene: Scene, folder: Path, on: str = "node3", seen_as: Callable[[int], str] = node4
) -> Iterator[tuple[Stream, Capture]]:
    """A stream from a node that arrives through node2, and what the outside host sees of it: never another address than
    the gateways'. `seen_as`: of which family.
    """
    (pod,) = scene.start(manifest("pod", on))
    sees(scene, pod, seen_as(2))
    with capturing(folder) as capture:
        stream = Stream(scene, pod, FAR6 if seen_as is node6 else FAR4)
        until(lambda: capture.sources() == {seen_as(2)}, 10, "the stream arrives")
        yield stream, capture
        assert capture.sources() <= {seen_as(1), seen_as(2)}


def silence(capture: Capture, first: str, second: str) -> float:
    """Seconds between the last packet of one gateway and the first of the next."""
    seen = capture.seen()
    at = next(number for number, each in enumerate(seen) if each.source == second)
    assert seen[at - 1].source == first
    return seen[at].time - seen[at - 1].time
