"""The figures of gateways: the cost of a change in the Northbound database and in the host's table, and the packets
that are lost when a Subnet moves to another gateway node or a gateway node fails.
"""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from ipaddress import ip_network
from pathlib import Path

import msgspec

from bench.figure import Anchor, Ask, Figure, median
from kube_ovn.host.egress import render_table
from kube_ovn.host.subnet import NodeSubnet
from kube_ovn.model.crd import Subnet
from kube_ovn.topology.graph import Topology
from sandbox.cluster import recorded_cluster
from sandbox.command import run
from sandbox.progress import say
from tests.cluster.fabric import own_subnet
from tests.cluster.gateways import (
    BFD_INTERVAL,
    RATE,
    active,
    are_watched,
    cordoned,
    cut_off,
    dead,
    hung,
    node4,
    silence,
    streaming,
)
from tests.cluster.lab import Scene, until, wait_until_healthy
from tests.small_clusters import Api, fabric, gateway, namespace, settle, show, step, subnet

SUBNETS, NODES, TABLE_SUBNETS = 100, 50, 200
CIDR4 = "10.80.0.0/24"
RUNS, MOVES = 5, 5
FAILURES = {hung: 5, cut_off: 5, dead: 2}
"""How often each failure is tried."""
NETNS = "kube-ovn-bench"
LEAST_NODES = 3
"""Nodes without which a gateway that fails is not replaced within a second: one that hears no other one stops."""
DETECTION = 4 * BFD_INTERVAL / 1000
"""Seconds after which BFD takes a neighbour for dead: the chart's multiplier times its interval."""


def measure_gateways() -> list[Figure]:
    """The figures that need no cluster."""
    return [*_rows(), _table()]


def _rows() -> list[Figure]:
    """The figures of the decision alone, in this process."""
    centralized = _world(
        lambda n: {"gateway_type": "centralized", "gateway_node": f"node{1 + n % NODES},node{1 + (n + 1) % NODES}"}
    )
    distributed = _world(lambda _: {})
    topology = Topology(fabric())
    settle(topology, centralized)
    topology.take_changed()
    view = centralized.snapshot()
    old = centralized.get(Subnet, "s50")
    spec = msgspec.structs.replace(old.spec, gateway_node="node9,node30")  # no other Subnet has these two
    metadata = msgspec.structs.replace(old.metadata, generation=2)
    centralized.put(msgspec.structs.replace(old, spec=spec, metadata=metadata))
    show(topology, step(view, centralized.snapshot()))
    changed = topology.take_changed()
    rows = len(topology.state) - len(_rendered(distributed).state)
    return [
        Figure(
            name=f"rows and memberships that a new gateway of one of {SUBNETS} subnets touches, {NODES} nodes",
            value=len(changed),
            unit="rows",
            n=1,
            anchor=Anchor(name="all that there are for gateways", value=rows),
            ask=Ask(relation="<=", value=20),
        ),
        Figure(
            name=f"{SUBNETS} centralized subnets on {NODES} nodes, rendered cold",
            value=median([_seconds(lambda: _rendered(centralized)) for _ in range(RUNS)]),
            unit="s",
            n=RUNS,
            anchor=Anchor(name="distributed ones, s", value=_seconds(lambda: _rendered(distributed))),
            ask=Ask(relation="<", value=2),
        ),
    ]


def _world(spec: Callable[[int], dict[str, str]]) -> Api:
    api = Api(
        namespace("default"),
        *(gateway(f"node{n}", n) for n in range(1, NODES + 1)),
        *(subnet(f"s{n}", f"10.{120 + n}.0.0/24", **spec(n)) for n in range(SUBNETS)),
    )
    settle(Topology(fabric()), api)
    return api


def _rendered(api: Api) -> Topology:
    topology = Topology(fabric())
    show(topology, api.snapshot())
    return topology


def _table() -> Figure:
    """The time to render and replace the table, in a namespace of its own, as the daemon does it."""
    subnets = [
        NodeSubnet(
            name=f"s{n}",
            networks=(ip_network(f"10.{n}.0.0/16"), ip_network(f"fd00:{n:x}::/112")),
            nat=bool(n % 2),
            centralized=bool(n % 3),
        )
        for n in range(TABLE_SUBNETS)
    ]
    with _netns():
        floor = [_seconds(lambda: _replace(())) for _ in range(RUNS)]
        spent = [_seconds(lambda: _replace(subnets)) for _ in range(RUNS)]
    return Figure(
        name=f"a node's table for {TABLE_SUBNETS} dual-stack subnets, rendered and replaced",
        value=median(spent) * 1000,
        unit="ms",
        n=RUNS,
        anchor=Anchor(name="a table without subnets, ms", value=median(floor) * 1000),
        ask=Ask(relation="<", value=100),
    )


@contextmanager
def _netns() -> Iterator[None]:
    run(["ip", "netns", "add", NETNS])
    try:
        yield
    finally:
        run(["ip", "netns", "delete", NETNS])


def _replace(subnets: tuple[NodeSubnet, ...] | list[NodeSubnet]) -> None:
    argv = ["nsenter", f"--net=/run/netns/{NETNS}", "--", "nft", "-f", "-"]
    subprocess.run(argv, input=render_table(subnets).text.encode(), check=True)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


async def measure_failover() -> list[Figure]:
    """The figures of moves and failures on the sandbox, as the outside host sees them."""
    return await asyncio.to_thread(_failover)


def _failover() -> list[Figure]:
    if len(recorded_cluster().nodes) < LEAST_NODES:
        raise RuntimeError(f"another node takes over within a second among {LEAST_NODES} nodes: make demo NODES=3")
    scene = Scene("kube-ovn-bench-gateways")
    scene.open()
    spec = {"gatewayType": "centralized", "gatewayNode": "node2,node1", "natOutgoing": True}
    try:
        with tempfile.TemporaryDirectory() as folder, own_subnet(scene, CIDR4, **spec) as place:
            nodes = [each.name for each in recorded_cluster().nodes]
            until(lambda: are_watched(*nodes), 30, "BFD runs")
            lost = _moves(scene, Path(folder), place)
            gaps = {
                failure.__name__: [_gap(scene, Path(folder), nodes, failure) for _ in range(rounds)]
                for failure, rounds in FAILURES.items()
            }
    finally:
        scene.close()
    say(f"lost in each move: {lost}; failovers: {gaps}")
    return [
        Figure(
            name=f"packets lost at {RATE}/s when a gateway is cordoned or uncordoned, at most",
            value=max(lost),
            unit="packets",
            n=len(lost),
            anchor=Anchor(name="on average", value=sum(lost) / len(lost)),
            ask=Ask(relation="<=", value=1),
        ),
        *(
            Figure(
                name=f"a gateway is {failure.replace('_', ' ')}: nothing reaches the outside for at most",
                value=max(found),
                unit="s",
                n=len(found),
                anchor=Anchor(name="BFD's detection time, s", value=DETECTION),
                ask=Ask(relation="<", value=1),
                note=f"median {median(found):.2f} s",
            )
            for failure, found in gaps.items()
        ),
    ]


def _moves(scene: Scene, folder: Path, place: str) -> list[int]:
    """The number of packets lost in each move, there and back in turn."""
    begun = []  # the numbers of the packets at which moves began
    with streaming(scene, folder, "node1") as (stream, capture):
        for _ in range(MOVES):
            begun.append(capture.seen()[-1].number)
            with cordoned("node2"):
                until(lambda: active(place) == "node1" and capture.seen()[-1].source == node4(1), 10, "node1 carries")
                begun.append(capture.seen()[-1].number)
            until(lambda: active(place) == "node2" and capture.seen()[-1].source == node4(2), 10, "node2 carries")
        _, lost = stream.lost()
    scene.delete("pod")
    return [
        sum(first <= number < after for number in lost)
        for first, after in zip(begun, [*begun[1:], 1 << 16], strict=True)
    ]


def _gap(
    scene: Scene, folder: Path, nodes: Sequence[str], failure: Callable[[], AbstractContextManager[None]]
) -> float:
    with streaming(scene, folder, "node1") as (_, capture):
        with failure():
            until(lambda: capture.seen()[-1].source == node4(1), 10, "node1 took over")
        gap = silence(capture, node4(2), node4(1))
    scene.delete("pod")
    wait_until_healthy()
    until(lambda: are_watched(*nodes), 60, "BFD runs again")
    return gap
