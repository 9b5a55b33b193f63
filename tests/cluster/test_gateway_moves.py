"""A gateway is left on purpose, dies, hangs or is cut off: who carries then, and what is lost until then."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from sandbox.demo import SYSTEM, kubectl
from sandbox.layout import IpFamily
from tests.cluster import kube
from tests.cluster.fabric import Block, change, subnet
from tests.cluster.gateways import (
    BFD_INTERVAL,
    FAR4,
    RATE,
    Stream,
    are_watched,
    centralized,
    cordoned,
    cut_off,
    dead,
    hung,
    leaves_through,
    node4,
    node6,
    sees,
    silence,
    streaming,
)
from tests.cluster.lab import (
    HTTP,
    SERVER,
    Scene,
    execute,
    manifest,
    node_exec,
    scaled_down,
    system_pod,
    until,
    wait_until_healthy,
)
from tests.cluster.outside import Seen, capturing, routed, talking

pytestmark = pytest.mark.alone
FAMILY, NODE_COUNT = IpFamily.DUAL, 3
FEW = RATE // 10
"""Packets that a planned move may lose on a busy machine; one that is not prepared loses a second's. `make bench` says
how many it loses on a quiet one.
"""
Away = Callable[[str], AbstractContextManager[None]]
Failure = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def watched(cluster: dict[str, str]) -> Iterator[None]:
    """A centralized subnet nobody is in: as long as there is one, BFD runs between all nodes. It begins slowly."""
    kube.apply(subnet("watched", "10.83.0.0/24", gatewayType="centralized", gatewayNode="node1"))
    try:
        until(lambda: are_watched("node1", "node2", "node3"), 20, "BFD runs between all nodes")
        yield
    finally:
        kube.remove("subnet", "watched")


@pytest.fixture
def place(scene: Scene, watched: None, block: Block) -> Iterator[str]:
    with centralized(scene, block) as name:
        yield name


def label(node: str, key: str, value: str | None) -> None:
    kube.patch("node", node, {"metadata": {"labels": {key: value}}})


@contextmanager
def labelled(key: str, *nodes: str) -> Iterator[None]:
    for name in nodes:
        label(name, key, "true")
    try:
        yield
    finally:
        for name in nodes:
            label(name, key, None)


@contextmanager
def drained(name: str) -> Iterator[None]:
    kubectl("drain", name, "--ignore-daemonsets", "--force", "--delete-emptydir-data", timeout=90)
    try:
        yield
    finally:
        kubectl("uncordon", name)


@pytest.mark.parametrize(
    ("away", "seen_as"), [(drained, node4), (cordoned, node6)], ids=["drained, IPv4", "cordoned, IPv6"]
)
def test_a_gateway_is_left_on_purpose(
    scene: Scene, place: str, tmp_path: Path, away: Away, seen_as: Callable[[int], str]
) -> None:
    with streaming(scene, tmp_path, seen_as=seen_as) as (stream, capture):
        with away("node2"):
            leaves_through(place, "node1")
            until(lambda: capture.seen()[-1].source == seen_as(1), 10, "the stream moved")
        until(lambda: capture.seen()[-1].source == seen_as(2), 10, "the stream came back")
        _, lost = stream.lost()
    assert len(lost) <= 2 * FEW


def test_a_gateway_that_loses_its_label_is_left_without_loss(scene: Scene, place: str, tmp_path: Path) -> None:
    key = f"{scene.namespace}/egress"
    with labelled(key, "node1", "node2"):
        selectors = [{"matchLabels": {key: "true"}}]
        change(place, gatewayNode="", gatewayNodeSelectors=selectors)
        leaves_through(place, "node1")  # the first by name
        label("node1", key, None)
        leaves_through(place, "node2")
        with streaming(scene, tmp_path) as (stream, capture):
            label("node1", key, "true")
            until(lambda: capture.seen()[-1].source == node4(1), 10, "the stream moved")
            label("node1", key, None)
            until(lambda: capture.seen()[-1].source == node4(2), 10, "the stream came back")
            _, lost = stream.lost()
        label("node1", key, "true")
    assert len(lost) <= 2 * FEW


@pytest.mark.parametrize(
    ("failure", "seen_as"),
    [(hung, node4), (dead, node4), (cut_off, node4), (cut_off, node6)],
    ids=["hung, IPv4", "dead, IPv4", "cut off, IPv4", "cut off, IPv6"],
)
def test_another_node_takes_over(
    scene: Scene, place: str, tmp_path: Path, failure: Failure, seen_as: Callable[[int], str]
) -> None:
    one, two = seen_as(1), seen_as(2)
    with streaming(scene, tmp_path, seen_as=seen_as) as (stream, capture):
        with failure():
            until(lambda: capture.seen()[-1].source == one, 10, "node1 took over")
            begun = len(capture.seen())
            until(lambda: len(capture.seen()) > begun + RATE, 10, "it goes on")
            assert {each.source for each in capture.seen()[begun:]} == {one}
            newest = capture.seen()[-1]
        until(lambda: came_back(capture.seen(), two, newest), 60, "node2 is back")
        wait_until_healthy()
        sent, lost = stream.lost()
        seen, gap = capture.seen(), silence(capture, two, one)
    first = next(each for each in seen if each.source == one)
    late = [each for each in seen if each.source == two and each.number < newest.number and each.time > newest.time]
    print(f"{failure.__name__}: nothing came for {gap:.2f} s, {len(lost)} of {sent} packets lost, {len(late)} late")
    assert gap < 2
    # What had come to node2 before others took over, and waited there.
    assert not [each for each in late if each.number >= first.number]


def came_back(seen: list[Seen], address: str, newest: Seen) -> bool:
    """Whether a node sent something that was not on its way before."""
    return any(each.source == address and each.number > newest.number for each in seen)


def test_two_gateways_never_carry_at_a_time(scene: Scene, place: str, tmp_path: Path) -> None:
    """node2 is cut off: it stops for its own Pods when node1 begins for the others, each by its own clock of BFD."""
    near, far = scene.start(manifest("near", "node2"), manifest("far", "node3"))
    for pod in (near, far):
        sees(scene, pod, node4(2))
    with capturing(tmp_path) as capture:
        streams = [Stream(scene, pod) for pod in (near, far)]
        until(lambda: len(capture.seen()) > 2 * RATE, 10, "both arrive")
        with cut_off():
            until(lambda: capture.seen()[-1].source == node4(1), 10, "node1 took over")
            begun = next(each.time for each in capture.seen() if each.source == node4(1))
            until(lambda: capture.seen()[-1].time > begun + 2, 10, "it goes on")
            overlap = max(each.time for each in capture.seen() if each.source == node4(2)) - begun
        print(f"the old gateway's last packet came {overlap:.2f} s after the new one's first")
        assert overlap < 2 * BFD_INTERVAL / 1000
        until(lambda: {each.source for each in capture.seen()[-RATE:]} == {node4(2)}, 20, "node2 has both again")
        for stream in streams:
            stream.lost()


def test_the_host_stops_what_the_fabric_sends_another_way(
    scene: Scene, place: str, block: Block, tmp_path: Path
) -> None:
    """Somebody removes the policy while no controller runs."""
    (pod,) = scene.start(manifest("pod", "node1"))
    sees(scene, pod, node4(2))
    central = system_pod("ovn-central").name
    with scaled_down("kube-ovn-controller"):
        remove = ("ovn-nbctl", "lr-policy-del", "ovn-cluster", "29010", f"ip4.src == {block.cidr4()}")
        execute(central, SYSTEM, *remove)
        with capturing(tmp_path) as capture:
            scene.shell(pod, f"ping -c 20 -i 0.05 -W 1 {FAR4} || true")
            assert not capture.seen()
        assert guarded("node1") > 0, "they came to the host"
    sees(scene, pod, node4(2), within=60)


def guarded(node: str) -> int:
    """Packets a node dropped because they came past the gateway."""
    text = node_exec(node, "nft", "list", "chain", "inet", "kube-ovn", "past_gateway")
    found = re.search(r"counter packets (\d+) bytes \d+ drop", text)
    assert found is not None
    return int(found[1])


def test_with_ecmp_only_the_share_of_the_lost_gateway_moves(
    scene: Scene, place: str, block: Block, tmp_path: Path
) -> None:
    """Without NAT, so that each Pod can be told by its address and its gateway by its MAC."""
    change(place, natOutgoing=False, enableEcmp=True)
    leaves_through(place, "node2,node1")
    pods = scene.start(*(manifest(f"p{n}", "node3") for n in range(12)))
    macs = {name: node_exec(name, "cat", "/sys/class/net/eth0/address").strip() for name in ("node1", "node2")}
    with routed((block.cidr4(), node4(1))), capturing(tmp_path) as capture:
        streams = {pod.ip: Stream(scene, pod) for pod in pods}
        until(lambda: capture.sources() == streams.keys(), 10, "all arrive")
        newest = {each.source: each.sender for each in capture.seen()}
        moving = {source for source, sender in newest.items() if sender == macs["node2"]}
        with cut_off():
            until(lambda: {each.sender for each in capture.seen()[-RATE:]} == {macs["node1"]}, 10, "node1 has all")
            until(lambda: {each.source for each in capture.seen()[-RATE:]} == streams.keys(), 10, "all go on")
        lost = {address: len(stream.lost()[1]) for address, stream in streams.items()}
    print(f"of {len(pods)} streams {len(moving)} moved; lost {lost}")
    assert 0 < len(moving) < len(pods)
    assert {address for address, count in lost.items() if count > 2} == moving
    assert max(lost.values()) < 2 * RATE


def test_a_connection_lives_through_moves_without_nat(scene: Scene, place: str, block: Block, tmp_path: Path) -> None:
    """From outside, over node3, whoever is the gateway."""
    change(place, natOutgoing=False)
    (pod,) = scene.start(manifest("pod", "node1", command=SERVER))
    with routed((block.cidr4(), node4(3))):
        sees(scene, pod, pod.ip)
        with talking(tmp_path, pod.ip, HTTP) as talk:
            talk.goes_on()
            for spec, gateway in (
                ({"gatewayNode": "node3"}, "node3"),
                ({"gatewayType": "distributed"}, ""),
                ({"gatewayType": "centralized", "gatewayNode": "node2"}, "node2"),
            ):
                change(place, **spec)
                leaves_through(place, gateway)
                talk.goes_on()
