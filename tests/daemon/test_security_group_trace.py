"""What the rows of SecurityGroups mean to OVN: random questions to ovn-trace, against a second reading of them."""

import random
from collections.abc import Iterator
from typing import TypeVar

import msgspec
import pytest

from kube_ovn.model.kube import Namespace, Pod
from kube_ovn.model.policy import NetworkPolicy
from kube_ovn.model.security import SecurityGroup
from tests.daemon.test_topology_trace import REPLY, Traced, network
from tests.golden.scenario import FOLDER
from tests.oracle.network_policy import Cluster, End
from tests.oracle.security_group import Groups, Packet, allows

SCENARIO = "security-groups"
T = TypeVar("T")
QUESTIONS = 120
PORTS = {"TCP": (22, 80, 81, 82, 443), "UDP": (53, 1000), "ICMP": (0,)}
UNREADABLE = "odd"
"""The group with values that mean nothing; no Pod is in it."""


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with network(SCENARIO, tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def cluster() -> Groups:
    policies = Cluster(namespaces=_read("Namespace", Namespace), policies=_read("NetworkPolicy", NetworkPolicy))
    groups = [each for each in _read("SecurityGroup", SecurityGroup) if each.metadata.name != UNREADABLE]
    return Groups(groups=groups, policies=policies)


def _read(kind: str, type: type[T]) -> list[T]:
    documents = msgspec.yaml.decode((FOLDER / SCENARIO / "cluster.yaml").read_text(), type=list[dict[str, object]])
    return [msgspec.convert(each, type) for each in documents if each["kind"] == kind]


def _questions(traced: Traced) -> Iterator[tuple[Pod, Packet]]:
    """Random packets between Pods that have ports, with the Pod that each comes from."""
    chance, pods = random.Random(16), [each for each in _read("Pod", Pod) if not each.spec.host_network]
    for _ in range(QUESTIONS):
        (source, target), version = chance.sample(pods, 2), chance.choice((4, 6))
        protocol = chance.choice(("TCP", "TCP", "UDP", "ICMP"))
        ends = [End(address=traced.address(each.metadata.uid, version), pods=(each,)) for each in (source, target)]
        ports = chance.choice(PORTS[protocol]), chance.choice((500, 5000))
        yield source, Packet(source=ends[0], target=ends[1], protocol=protocol, port=ports[0], source_port=ports[1])


def test_ovn_says_what_the_groups_say(traced: Traced, cluster: Groups) -> None:
    heard = set()
    for source, packet in _questions(traced):
        field = packet.protocol.lower()
        what = f"{field}.dst == {packet.port} && {field}.src == {packet.source_port}" if packet.port else ""
        out = traced.trace(source.metadata.uid, packet.target.address, what=what)
        expected = allows(cluster, packet)
        assert (out is not None) == expected, f"{packet} comes out at {out}"
        heard.add(expected)
    assert heard == {True, False}, "else nothing was asked"


def test_an_answer_passes_whatever_groups_say(traced: Traced) -> None:
    """As the connection was allowed when it began."""
    free = traced.address("p5")
    assert traced.trace("p1", free, what="tcp.dst == 33333", state=REPLY) == "free.shop"
    assert traced.trace("p1", free, what="tcp.dst == 33333") is None


def test_a_node_reaches_the_pods_on_it(traced: Traced) -> None:
    """Also one that names a missing group."""
    for uid, port in (("p1", "web.shop"), ("p3", "late.shop"), ("p4", "lost.shop")):
        for version in (4, 6):
            assert traced.trace("n1", traced.address(uid, version), what="udp.dst == 999") == port


def test_what_a_node_forwards_is_judged(traced: Traced) -> None:
    inside = traced.address("p1")
    assert traced.trace("n1", inside, src="192.0.2.1", what="tcp.dst == 80") == "web.shop"
    assert traced.trace("n1", inside, src="192.0.2.1", what="tcp.dst == 82") is None
    assert traced.trace("n1", traced.address("p4"), src="192.0.2.1", what="tcp.dst == 80") is None


def test_what_passes_is_left_to_network_policies(traced: Traced) -> None:
    """There is none for this Pod; that of another one stops what it does not allow."""
    assert traced.trace("p1", "192.0.2.1", what="udp.dst == 4000") == "node-node1"
    assert traced.trace("p1", "203.0.113.1", what="udp.dst == 4000") is None
    assert traced.trace("p3", "203.0.113.1", what="tcp.dst == 443") == "node-node1"
    assert traced.trace("p3", "203.0.113.1", what="tcp.dst == 444") is None


def test_pods_in_groups_find_their_neighbours(traced: Traced) -> None:
    """Even one that is closed: ARP and neighbour discovery are not judged."""
    for uid in ("p1", "p4"):
        own, asked = traced.address(uid), traced.address("p5")
        mac = traced.grant(uid).mac
        question = f"arp.op == 1 && arp.sha == {mac} && arp.spa == {own} && arp.tpa == {asked}"
        assert traced.is_heard(uid, question)
        nd = f"nd_ns && ip6.src == {traced.address(uid, 6)} && ip6.dst == ff02::1:ff00:3 && nd.target == fd00:10:16::3"
        assert traced.is_heard(uid, f"{nd} && nd.sll == {mac} && ip.ttl == 255")


def test_addresses_that_pods_share_can_move(traced: Traced) -> None:
    """VRRP; but nothing at all leaves a Pod that names a missing group."""
    free = traced.address("p5")
    assert traced.trace("p1", free, what="ip.proto == 112") == "free.shop"
    assert traced.trace("p4", free, what="ip.proto == 112") is None
