"""A gateway is left on purpose, dies, hangs or is cut off: who carries then, and what is lost until then."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from sandbox import cluster as sandbox_cluster
from sandbox import process
from sandbox.command import run
from sandbox.demo import kubectl
from sandbox.layout import TUNNEL_BRIDGE, IpFamily, parse_node
from tests.cluster.fabric import apply, subnet
from tests.cluster.gateways import (
    CIDR4,
    RATE,
    Stream,
    active,
    are_watched,
    centralized,
    change,
    cordoned,
    hung,
    node4,
    sees,
    silence,
    streaming,
)
from tests.cluster.lab import HTTP, SERVER, Scene, manifest, node_exec, until, wait_until_healthy
from tests.cluster.outside import Seen, capturing, routed, talking

FAMILY, NODE_COUNT = IpFamily.DUAL, 3


@pytest.fixture(scope="module")
def watched(cluster: dict[str, str]) -> Iterator[None]:
    """A centralized subnet nobody is in: as long as there is one, BFD runs between all nodes. It begins slowly."""
    apply(subnet("watched", "10.83.0.0/24", gatewayType="centralized", gatewayNode="node1"))
    try:
        until(lambda: are_watched("node1", "node2", "node3"), 20, "BFD runs between all nodes")
        yield
    finally:
        kubectl("delete", "subnet", "watched", "--timeout=60s", timeout=70)


@pytest.fixture
def place(scene: Scene, watched: None) -> Iterator[str]:
    with centralized(scene) as name:
        yield name


@contextmanager
def labelled(label: str, *nodes: str) -> Iterator[None]:
    for name in nodes:
        kubectl("label", "node", name, label)
    try:
        yield
    finally:
        for name in nodes:
            kubectl("label", "node", name, label.partition("=")[0] + "-")


def test_a_cordoned_gateway_is_left_without_loss(scene: Scene, place: str, tmp_path: Path) -> None:
    with streaming(scene, tmp_path) as (stream, capture):
        with cordoned("node2"):
            until(lambda: active(place) == "node1", 10, "node1 is the gateway")
            until(lambda: capture.seen()[-1].source == node4(1), 10, "the stream moved")
        until(lambda: capture.seen()[-1].source == node4(2), 10, "the stream came back")
        _, lost = stream.lost()
    assert len(lost) <= 2, "one for each of two moves"


def test_a_gateway_that_loses_its_label_is_left_without_loss(scene: Scene, place: str, tmp_path: Path) -> None:
    key = f"{scene.namespace}/egress"
    with labelled(f"{key}=true", "node1", "node2"):
        selectors = [{"matchLabels": {key: "true"}}]
        change(place, gatewayNode="", gatewayNodeSelectors=selectors)
        until(lambda: active(place) == "node1", 10, "the first by name is the gateway")
        kubectl("label", "node", "node1", f"{key}-")
        until(lambda: active(place) == "node2", 10, "node2 is the gateway")
        with streaming(scene, tmp_path) as (stream, capture):
            kubectl("label", "node", "node1", f"{key}=true")
            until(lambda: capture.seen()[-1].source == node4(1), 10, "the stream moved")
            kubectl("label", "node", "node1", f"{key}-")
            until(lambda: capture.seen()[-1].source == node4(2), 10, "the stream came back")
            _, lost = stream.lost()
        kubectl("label", "node", "node1", f"{key}=true")
    assert len(lost) <= 2, "one for each of two moves"


@contextmanager
def dead() -> Iterator[None]:
    """Every process of node2 is killed at once; it boots again afterwards."""
    process.kill(["node2"])
    try:
        yield
    finally:
        sandbox_cluster.up(NODE_COUNT, FAMILY)


@contextmanager
def cut_off() -> Iterator[None]:
    """Somebody pulled the plug of node2's tunnels at the other end."""
    link = parse_node("node2").tunnel_link
    run(["ip", "link", "set", link, "nomaster"])
    try:
        yield
    finally:
        run(["ip", "link", "set", link, "master", TUNNEL_BRIDGE])


@pytest.mark.parametrize("failure", [hung, dead, cut_off])
def test_another_node_takes_over(
    scene: Scene, place: str, tmp_path: Path, failure: Callable[[], AbstractContextManager[None]]
) -> None:
    with streaming(scene, tmp_path) as (stream, capture):
        with failure():
            until(lambda: capture.seen()[-1].source == node4(1), 10, "node1 took over")
            begun = len(capture.seen())
            until(lambda: len(capture.seen()) > begun + RATE, 10, "it goes on")
            assert {each.source for each in capture.seen()[begun:]} == {node4(1)}
            newest = capture.seen()[-1]
        until(lambda: [each for each in capture.seen() if came_back(each, newest)], 60, "node2 is back")
        wait_until_healthy()
        sent, lost = stream.lost()
        gap = silence(capture, node4(2), node4(1))
    first = next(each for each in capture.seen() if each.source == node4(1))
    late = [
        each
        for each in capture.seen()
        if each.source == node4(2) and each.number < newest.number and each.time > newest.time
    ]
    print(f"{failure.__name__}: nothing came for {gap:.2f} s, {len(lost)} of {sent} packets lost, {len(late)} late")
    assert gap < 2
    # What had come to node2 before others took over, and waited there.
    assert not [each for each in late if each.number >= first.number]


def came_back(packet: Seen, newest: Seen) -> bool:
    """Whether node2 sent something that was not on its way before."""
    return packet.source == node4(2) and packet.number > newest.number


def test_a_gateway_that_is_cut_off_stops_for_its_own_pods_too(scene: Scene, place: str, tmp_path: Path) -> None:
    """No two nodes are the gateway at a time, not even for Pods that only the old one can hear."""
    (pod,) = scene.start(manifest("pod", "node2"))
    sees(scene, pod, node4(2))
    with capturing(tmp_path) as capture:
        stream = Stream(scene, pod)
        until(lambda: capture.sources() == {node4(2)}, 10, "the stream arrives")
        with cut_off():
            begun = time.monotonic()
            until(lambda: time.monotonic() - capture.seen()[-1].time > 2, 10, "it stopped")
            print(f"its own Pods went on for {capture.seen()[-1].time - begun:.2f} s")
        newest = capture.seen()[-1]
        until(lambda: came_back(capture.seen()[-1], newest), 20, "node2 is back")
        stream.lost()


def test_with_ecmp_only_the_share_of_the_lost_gateway_moves(scene: Scene, place: str, tmp_path: Path) -> None:
    """Without NAT, so that each Pod can be told by its address and its gateway by its MAC."""
    change(place, natOutgoing=False, enableEcmp=True)
    pods = scene.start(*(manifest(f"p{n}", "node3") for n in range(12)))
    macs = {name: node_exec(name, "cat", "/sys/class/net/eth0/address").strip() for name in ("node1", "node2")}
    with routed((CIDR4, node4(1))), capturing(tmp_path) as capture:
        streams = {pod.ip: Stream(scene, pod) for pod in pods}
        until(lambda: capture.sources() == streams.keys(), 10, "all arrive")
        moving = {each.source for each in capture.seen() if each.sender == macs["node2"]}
        with cut_off():
            until(lambda: {each.sender for each in capture.seen()[-RATE:]} == {macs["node1"]}, 10, "node1 has all")
            until(lambda: {each.source for each in capture.seen()[-RATE:]} == streams.keys(), 10, "all go on")
        lost = {address: len(stream.lost()[1]) for address, stream in streams.items()}
    print(f"of {len(pods)} streams {len(moving)} moved; lost {lost}")
    assert 0 < len(moving) < len(pods)
    assert {address for address, count in lost.items() if count > 2} == moving
    assert max(lost.values()) < 2 * RATE


def test_a_connection_lives_through_moves_without_nat(scene: Scene, place: str, tmp_path: Path) -> None:
    """From outside, over node3, whoever is the gateway."""
    change(place, natOutgoing=False)
    (pod,) = scene.start(manifest("pod", "node1", command=SERVER))
    with routed((CIDR4, node4(3))):
        sees(scene, pod, pod.ip)
        with talking(tmp_path, pod.ip, HTTP) as talk:
            talk.goes_on()
            for spec, gateway in (
                ({"gatewayNode": "node3"}, "node3"),
                ({"gatewayType": "distributed"}, ""),
                ({"gatewayType": "centralized", "gatewayNode": "node2"}, "node2"),
            ):
                change(place, **spec)
                until(lambda gateway=gateway: active(place) == gateway, 10, f"{spec} is in effect")  # type: ignore[misc]
                talk.goes_on()
