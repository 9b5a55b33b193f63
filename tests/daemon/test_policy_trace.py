"""What the rows of policies mean to OVN: random questions to ovn-trace, against a second reading of the API."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import pytest

from kube_ovn.model.admin_policy import AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy
from kube_ovn.model.kube import Namespace, Node, Pod
from kube_ovn.model.policy import NetworkPolicy
from tests.daemon.test_topology_trace import REPLY, Traced, network
from tests.golden.scenario import FOLDER
from tests.oracle.network_policy import Cluster, End, Packet, allows

SCENARIOS = ("policies", "admin-policies")
T = TypeVar("T")
QUESTIONS = 80
PORTS = {"TCP": (53, 80, 443, 5432, 8080, 9090, 1500), "UDP": (53, 999, 1000, 1024, 2000), "ICMP": (0,)}

OTHERS = (
    End(address="172.30.0.11", node="node1"),
    End(address="203.0.113.1"),
    End(address="192.0.2.1"),
    End(address="10.1.2.3"),
    End(address="10.1.9.9"),
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A scenario in OVN, and its objects for the second reading."""

    scenario: str
    traced: Traced
    cluster: Cluster

    @property
    def pods(self) -> list[Pod]:
        """The Pods that have ports."""
        return [each for each in _read(self.scenario, Pod) if not each.spec.host_network]


@pytest.fixture(scope="module", params=SCENARIOS)
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    scenario: str = request.param
    cluster = Cluster(
        namespaces=_read(scenario, Namespace),
        policies=_read(scenario, NetworkPolicy),
        nodes=_read(scenario, Node),
        wide=[
            *_read(scenario, AdminNetworkPolicy),
            *_read(scenario, BaselineAdminNetworkPolicy),
            *_read(scenario, ClusterNetworkPolicy),
        ],
    )
    with network(scenario, tmp_path_factory) as made:
        yield Asked(scenario=scenario, traced=made, cluster=cluster)


def _read(scenario: str, type: type[T]) -> list[T]:
    documents = msgspec.yaml.decode((FOLDER / scenario / "cluster.yaml").read_text(), type=list[dict[str, object]])
    return [msgspec.convert(each, type) for each in documents if each["kind"] == type.__name__]


def _questions(asked: Asked) -> Iterator[tuple[Pod, Packet]]:
    """Random packets from Pods that have ports, with the Pod that each comes from: to another one, or now and then to
    the node or to an address of no Pod.
    """
    chance, traced = random.Random(16), asked.traced
    for _ in range(QUESTIONS):
        (source, target), version = chance.sample(asked.pods, 2), chance.choice((4, 6))
        protocol = chance.choice(("TCP", "TCP", "UDP", "ICMP"))
        ends = [End(address=traced.address(each.metadata.uid, version), pods=(each,)) for each in (source, target)]
        if version == 4 and chance.random() < 0.25:
            ends[1] = chance.choice(OTHERS)
        port = chance.choice((6443, *PORTS[protocol])) if ends[1].node else chance.choice(PORTS[protocol])
        yield source, Packet(source=ends[0], target=ends[1], protocol=protocol, port=port if protocol != "ICMP" else 0)


def test_ovn_says_what_the_api_says(asked: Asked) -> None:
    heard = set()
    for source, packet in _questions(asked):
        what = f"{packet.protocol.lower()}.dst == {packet.port}" if packet.port else ""
        out = asked.traced.trace(source.metadata.uid, packet.target.address, what=what)
        expected = allows(asked.cluster, packet)
        assert (out is not None) == expected, f"{packet} comes out at {out}"
        heard.add(expected)
    assert heard == {True, False}, "else nothing was asked"


def test_an_answer_passes_whatever_policies_say(asked: Asked) -> None:
    """As the connection was allowed when it began."""
    source, target = ("p2", "p1") if asked.scenario == "policies" else ("p3", "p1")
    name = f"{asked.pods[0].metadata.name}.{asked.pods[0].metadata.namespace}"
    traced = asked.traced
    assert traced.trace(source, traced.address(target), what="tcp.dst == 33333", state=REPLY) == name
    assert traced.trace(source, traced.address(target), what="tcp.dst == 33333") is None


def test_a_node_reaches_its_pods_whatever_policies_say(asked: Asked) -> None:
    assert asked.traced.trace("n1", asked.traced.address("p1"), what="tcp.dst == 8080") == "web.shop"
