"""What `kubectl ko explain` says against ovn-trace: a thousand random questions on a random cluster."""

import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.addr import parse_address
from kube_ovn.model.kube import Container, ContainerPort, Object, ObjectMeta, Pod, PodSpec
from kube_ovn.model.network import Kind
from kube_ovn.model.policy import NetworkPolicy
from kube_ovn.topology.policy.ends import Known, compile_all
from kube_ovn.topology.policy.verdict import Packet, judge
from tests.daemon.test_topology_trace import RECIRCULATIONS, REQUEST, Traced, output, translated
from tests.small_clusters import Api, fabric, namespace, node, settled, subnet

QUESTIONS = 1000
SPACES = {"a": {"team": "x"}, "b": {"team": "y"}, "c": {}}
PORTS = {"tcp": (80, 81, 443, 8080), "udp": (53, 80, 1000), "icmp": (0,)}
OUTSIDE = ("192.0.2.1", "192.0.2.200", "2001:db8::1", "172.30.0.11")


def _pods(chance: random.Random) -> Iterator[Pod]:
    for number in range(14):
        space = "bcc"[number % 3] if number % 5 else "a"
        labels = {"app": chance.choice("123"), **({"tier": "1"} if number % 2 else {})}
        where = {names.LOGICAL_SWITCH: "secret"} if number in (3, 4) else {}
        listens = ContainerPort(name="http", container_port=chance.choice((80, 8080)))
        yield Pod(
            metadata=ObjectMeta(name=f"p{number}", namespace=space, uid=f"p{number}", labels=labels, annotations=where),
            spec=PodSpec(node_name="node1", containers=(Container(ports=(listens,)),)),
        )


def _policies(chance: random.Random) -> Iterator[NetworkPolicy]:
    def selector() -> dict[str, object]:
        return {"matchLabels": chance.choice(({}, {"app": chance.choice("123")}, {"tier": "1"}))}

    def peer() -> dict[str, Any]:
        spaces = {"matchLabels": chance.choice(({}, {"team": "x"}, {"team": "y"}))}
        block = {"cidr": chance.choice(("10.16.0.0/29", "192.0.2.0/24", "fd00:10:16::/125", "0.0.0.0/0"))}
        whole: dict[str, Any] = chance.choice(
            ({"podSelector": selector()}, {"namespaceSelector": spaces}, {"ipBlock": block})
        )
        return {**whole, "podSelector": selector()} if "namespaceSelector" in whole and chance.random() < 0.5 else whole

    def rule(end: str) -> dict[str, object]:
        ports = [
            chance.choice(
                (
                    {"port": chance.choice((80, 443))},
                    {"port": "http"},
                    {"port": 79, "endPort": 81},
                    {"protocol": "UDP", "port": 53},
                    {"protocol": "UDP"},
                )
            )
            for _ in range(chance.randrange(3))
        ]
        return {end: [peer() for _ in range(chance.randrange(1, 3))], "ports": ports}

    for number in range(9):
        meta = {"name": f"policy{number}", "namespace": chance.choice("abc"), "uid": f"np{number}"}
        types = chance.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
        rules = {"ingress": [rule("from")], "egress": [rule("to") for _ in range(2)]}
        spec = {"podSelector": selector(), "policyTypes": types, **rules}
        yield msgspec.convert({"metadata": meta, "spec": spec}, NetworkPolicy)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    chance = random.Random(16)
    objects: list[Object] = [*_pods(chance), *_policies(chance), node("node1", 1)]
    objects += [namespace(name, {**labels, "kubernetes.io/metadata.name": name}) for name, labels in SPACES.items()]
    objects.append(subnet("secret", "10.50.0.0/24,fd50::/112", private=True, allow_subnets=("10.16.0.4/30",)))
    dual = fabric("10.16.0.0/16,fd00:10:16::/112", "100.64.0.0/16,fd00:100:64::/112")
    with translated(settled(Api(*objects), dual), tmp_path_factory) as made:
        yield made


def test_ovn_says_what_explain_says(traced: Traced) -> None:
    inputs, chance = traced.topology.inputs, random.Random(61)
    pods = [*inputs.pods.values.values()]
    known = Known(
        pods=pods,
        namespaces=[*inputs.namespaces.values.values()],
        nodes=[*inputs.nodes.values.values()],
        subnets=[*inputs.subnets.values.values()],
        policies=compile_all(inputs.policies.values.values()),
    )
    causes, heard = set[tuple[str, str]](), {True: 0, False: 0}
    with traced.ovn.tracer(*[f"--ct={REQUEST}"] * RECIRCULATIONS) as ask:
        for _ in range(QUESTIONS):
            (source, other), version = chance.sample(pods, 2), chance.choice((4, 6))
            outside = [each for each in OUTSIDE if parse_address(each).version == version]
            target = traced.address(other.metadata.uid, version) if chance.random() < 0.9 else chance.choice(outside)
            protocol = chance.choice(("tcp", "tcp", "udp", "icmp"))
            port = chance.choice(PORTS[protocol])
            uid, what = source.metadata.uid, f"{protocol}.dst == {port}" if port else ""
            out = output(ask("--minimal", traced.grant(uid).subnet, traced.packet(uid, target, what=what)))
            ends = [known.end_at(parse_address(each)) for each in (traced.address(uid, version), target)]
            found = judge(Packet(ends[0], ends[1], protocol, port))
            assert found.allows == (out is not None), f"{ends} {protocol} {port} comes out at {out}: {found}"
            heard[found.allows] += 1
            causes |= {(each.kind, each.effect) for turn in (found.egress, found.ingress) for each in turn.causes}
    assert min(heard.values()) > QUESTIONS // 5, "else little was asked"
    assert {kind for kind, _ in causes} == {Kind.NETWORK_POLICY, Kind.SUBNET}
