"""What the rows of policies mean to OVN: random questions to ovn-trace, against a second reading of the API."""

import random
from collections.abc import Iterator
from typing import TypeVar

import msgspec
import pytest

from kube_ovn.model.kube import Namespace, Pod
from kube_ovn.model.policy import NetworkPolicy
from tests.daemon.test_topology_trace import REPLY, Traced, network
from tests.golden.scenario import FOLDER
from tests.oracle.network_policy import Cluster, End, Packet, allows

SCENARIO = "policies"
T = TypeVar("T")
QUESTIONS = 80
PORTS = {"TCP": (80, 443, 8080, 9090, 1500), "UDP": (53, 999, 1000, 1024, 2000), "ICMP": (0,)}


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with network(SCENARIO, tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster(namespaces=_read("Namespace", Namespace), policies=_read("NetworkPolicy", NetworkPolicy))


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
        port = chance.choice(PORTS[protocol])
        yield source, Packet(source=ends[0], target=ends[1], protocol=protocol, port=port)


def test_ovn_says_what_the_api_says(traced: Traced, cluster: Cluster) -> None:
    heard = set()
    for source, packet in _questions(traced):
        what = f"{packet.protocol.lower()}.dst == {packet.port}" if packet.port else ""
        out = traced.trace(source.metadata.uid, packet.target.address, what=what)
        expected = allows(cluster, packet)
        assert (out is not None) == expected, f"{packet} comes out at {out}"
        heard.add(expected)
    assert heard == {True, False}, "else nothing was asked"


def test_an_answer_passes_whatever_policies_say(traced: Traced, cluster: Cluster) -> None:
    """As the connection was allowed when it began."""
    assert traced.trace("p2", traced.address("p1"), what="tcp.dst == 33333", state=REPLY) == "web.shop"
    assert traced.trace("p2", traced.address("p1"), what="tcp.dst == 33333") is None
