"""NetworkPolicies as rules: what is understood, and what becomes of the rest."""

from typing import Any

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.nb import PortGroup
from kube_ovn.model.policy import NetworkPolicy
from kube_ovn.model.row import RowKey
from kube_ovn.topology.policy.compile import compile_policy
from kube_ovn.topology.policy.rules import Compiled, Direction, Selection, Service, Span
from kube_ovn.topology.policy.selector import Requirement, anchors
from tests.small_clusters import Api, World, fabric, namespace, node, pod, settled


def compiled(**spec: Any) -> Compiled:
    meta = {"name": "p", "namespace": "shop", "uid": "u"}
    return compile_policy(msgspec.convert({"metadata": meta, "spec": spec}, NetworkPolicy))


def blocks(*peers: dict[str, Any]) -> list[str]:
    (rule,) = compiled(ingress=[{"from": [{"ipBlock": each} for each in peers]}]).rules
    return [str(each) for each in rule.blocks]


def ports(*listed: dict[str, Any]) -> tuple[Service, ...] | None:
    (rule,) = compiled(ingress=[{"ports": list(listed)}]).rules
    return rule.services


def test_without_types_a_policy_with_egress_rules_is_of_both() -> None:
    assert compiled(podSelector={}).isolated == (Direction.INGRESS,)
    assert compiled(egress=[{}]).isolated == (Direction.INGRESS, Direction.EGRESS)
    assert compiled(policyTypes=["Egress"], ingress=[{}]).rules == ()


def test_blocks_are_the_fewest_cidrs_and_an_exception_counts_for_its_block_alone() -> None:
    assert blocks({"cidr": "10.0.0.0/24", "except": ["10.0.0.0/25"]}) == ["10.0.0.128/25"]
    assert blocks({"cidr": "10.0.0.0/24", "except": ["10.0.0.0/25"]}, {"cidr": "10.0.0.0/26"}) == [
        "10.0.0.0/26",
        "10.0.0.128/25",
    ]
    assert blocks({"cidr": "10.0.0.0/25"}, {"cidr": "10.0.0.128/25"}) == ["10.0.0.0/24"]
    assert blocks({"cidr": "10.0.0.7/24", "except": ["192.0.2.0/24"]}) == ["10.0.0.0/24"]
    assert blocks({"cidr": "10.0.0.0/24", "except": ["10.0.0.0/8"]}) == []
    assert blocks({"cidr": "fd00::/126", "except": ["fd00::1/128"]}) == ["fd00::/128", "fd00::2/127"]


def test_ports_are_merged_by_protocol() -> None:
    assert ports({"port": 80}, {"port": 81}, {"port": 79, "endPort": 80}, {"protocol": "UDP"}, {"port": "http"}) == (
        Service(protocol="tcp", spans=(Span(79, 81),), named=("http",)),
        Service(protocol="udp", spans=(Span(0, 65535),)),
    )
    assert ports() is None


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({"ports": [{"port": 70000}]}, "spec.ingress[0].ports[0]: ports 70000 to 70000 are not from 1 to 65535"),
        ({"ports": [{"port": 80, "endPort": 79}]}, "ports 80 to 79 are not"),
        ({"ports": [{"port": "http", "endPort": 79}]}, "endPort needs a number"),
        ({"ports": [{"protocol": "QUIC", "port": 1}]}, "protocol 'QUIC' is none of TCP, UDP, SCTP"),
        ({"from": [{"ipBlock": {"cidr": "10.0.0.0/99"}}]}, "spec.ingress[0].from[0].ipBlock: '10.0.0.0/99'"),
        ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["x"]}}]}, "from[0].ipBlock: 'x'"),
        ({"from": [{}]}, "from[0]: it says neither podSelector, nor namespaceSelector, nor ipBlock"),
        (
            {"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}]},
            "operator 'Near' of label a is unknown",
        ),
        (
            {"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]},
            "operator In of label a has 0 values",
        ),
    ],
)
def test_what_is_not_understood_allows_nothing_and_is_told(rule: dict[str, Any], fault: str) -> None:
    found = compiled(ingress=[rule])
    assert fault in "; ".join(found.faults)
    (kept,) = found.rules
    assert kept.services == () if "ports" in rule else not (kept.anywhere or kept.blocks or kept.selections)


def test_a_selector_of_its_own_pods_that_is_not_understood_selects_all() -> None:
    found = compiled(podSelector={"matchExpressions": [{"key": "a", "operator": "Near"}]})
    assert found.subject == Selection("shop", (), ())
    assert "all Pods of the Namespace are taken for selected" in "; ".join(found.faults)


def test_selectors_that_say_the_same_are_equal() -> None:
    def selector(**fields: Any) -> Any:
        (rule,) = compiled(ingress=[{"from": [{"podSelector": fields}]}]).rules
        return rule.selections[0].pods

    one = selector(matchLabels={"a": "1"})
    assert one == selector(matchExpressions=[{"key": "a", "operator": "In", "values": ["1", "1"]}])
    assert selector(matchLabels={"b": "2", "a": "1"}) == selector(matchLabels={"a": "1", "b": "2"})
    assert one == (Requirement("a", "In", ("1",)),)


def test_a_selector_is_filed_under_the_requirement_with_the_fewest_values() -> None:
    found = compiled(
        podSelector={
            "matchLabels": {"z": "1"},
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["1", "2"]},
                {"key": "b", "operator": "Exists"},
            ],
        }
    ).subject.pods
    assert list(anchors(found)) == [("z", "1")]


def test_of_two_ports_with_one_name_the_first_counts() -> None:
    listed = [{"name": "http", "containerPort": 80}, {"name": "http", "containerPort": 81}]
    plain = pod("web", namespace="shop")
    web = msgspec.convert(
        {**msgspec.to_builtins(plain), "spec": {"nodeName": "node1", "containers": [{"ports": listed}]}}, type(plain)
    )
    policy = {
        "metadata": {"name": "p", "namespace": "shop", "uid": "u"},
        "spec": {"ingress": [{"ports": [{"port": "http"}]}]},
    }
    topology = settled(Api(namespace("shop"), node("node1", 1), web, msgspec.convert(policy, NetworkPolicy)), fabric())
    matches = [row.match for row in topology.state.values() if row is not None and row.TABLE == "ACL"]  # type: ignore[attr-defined]
    assert [each for each in matches if "tcp.dst == 80" in each]
    assert not [each for each in matches if "tcp.dst == 81" in each]


def test_a_policy_that_is_made_anew_is_told_of_as_itself() -> None:
    def odd(uid: str) -> NetworkPolicy:
        spec: dict[str, Any] = {"ingress": [{"from": [{}]}]}
        return msgspec.convert(
            {"metadata": {"name": "p", "namespace": "default", "uid": uid}, "spec": spec}, NetworkPolicy
        )

    world = World(node("node1", 1), odd("first"))
    assert world.told("first")
    world.api.remove("first")
    world.put(odd("second"))
    assert not world.told("first")
    assert "it says neither podSelector" in world.told("second")


def test_restricted_pods_have_their_group_when_there_is_no_node() -> None:
    world = World(node("node1", 1), pod("a"), msgspec.convert({"metadata": META}, NetworkPolicy))
    world.api.remove(node("node1", 1).metadata.uid)
    world.put()
    group = RowKey(PortGroup.TABLE, names.POLICY_PORTS)
    assert {key.target for key in world.topology.state if len(key) == 4 and key[:2] == group} == {"a.default"}
    assert group in world.topology.state


META = {"name": "p", "namespace": "default", "uid": "u"}
