"""Names that two objects want, or that others have: settled before anything is rendered, and told to who gives way."""

from dataclasses import replace

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.kube import Node, NodeAddress, NodeStatus, Pod
from kube_ovn.model.nb import LogicalRouterPolicy, LogicalSwitchPort
from kube_ovn.model.row import Row, RowKey, facts, owned
from kube_ovn.topology.render import Topology
from tests.clusters import echoed, granted, node, pod, snapshot, vpc


def rendered(*steps: tuple[object, ...]) -> Topology:
    topology = Topology(vpc())
    for objects in steps:
        topology.render(snapshot(*objects))  # type: ignore[arg-type]
    return topology


def port(topology: Topology, name: str) -> Row | None:
    return topology.assembly.state.get(RowKey(LogicalSwitchPort.TABLE, name))


@pytest.mark.parametrize("annotations", [{}, granted("ovn-default", "10.16.0.9")])
def test_a_pod_gives_way_to_a_node_that_joins_and_comes_back_when_it_leaves(annotations: dict[str, str]) -> None:
    rival = pod("node-x", annotations=annotations)
    topology = rendered((node("node1", 1), rival))
    told = echoed(topology, snapshot(node("node1", 1), rival))
    ours: list[Pod | Node] = [*told.nodes.values(), *told.pods.values()]
    before = port(topology, "node-x.default")
    topology.render(snapshot(*ours, node("x.default", 2)))
    there = port(topology, "node-x.default")
    assert isinstance(there, LogicalSwitchPort)
    assert there.external_ids["node"] == "x.default"
    assert "rename the Pod" in topology.problems[rival.metadata.uid].message
    assert rival.metadata.uid not in topology.publications
    topology.render(snapshot(*ours))
    assert port(topology, "node-x.default") == before
    assert not topology.problems


def test_who_gives_way_keeps_its_address_for_its_annotation_may_be_under_way() -> None:
    small = vpc("10.16.0.0/30")  # one address
    topology = Topology(small)
    rival, other = pod("node-x"), pod("other")
    topology.render(snapshot(node("node1", 1), rival))
    assert rival.metadata.uid in topology.publications
    topology.render(snapshot(node("node1", 1), node("x.default", 2), rival, other))
    assert topology.problems.keys() == {rival.metadata.uid, other.metadata.uid}
    topology.render(snapshot(node("node1", 1), rival, other))
    assert topology.problems.keys() == {other.metadata.uid}


def test_a_row_of_others_with_a_name_of_ours_is_seen_though_no_object_changed() -> None:
    topology = Topology(vpc())
    objects = snapshot(node("node1", 1), pod("a"))
    topology.render(objects)
    taken = frozenset({RowKey(LogicalSwitchPort.TABLE, "a.default"), RowKey(LogicalSwitchPort.TABLE, "else")})
    topology.render(replace(objects, changed=set(), foreign=taken))
    assert topology.problems.keys() == {"uid-a"}
    topology.render(replace(objects, changed=set(), foreign=frozenset({RowKey(LogicalSwitchPort.TABLE, "else")})))
    assert not topology.problems


def test_a_node_whose_names_are_taken_has_no_rows_and_its_pods_are_in_no_group() -> None:
    topology = Topology(vpc())
    objects = snapshot(node("node1", 1), pod("a"))
    group = RowKey("Port_Group", names.node_port_group("node1"))
    topology.render(replace(objects, foreign=frozenset({group})))
    assert "remove it with ovn-nbctl" in topology.problems["node-uid-node1"].message
    assert port(topology, "a.default") is not None
    assert not [key for key in topology.assembly.state if key[:2] == group]
    topology.render(objects)
    assert [key for key in topology.assembly.state if key[:2] == group and len(key) == 4]


def test_two_addresses_of_a_node_have_a_policy_each_and_one_said_twice_has_one() -> None:
    made = node("node1", 1)
    addresses = [*made.status.addresses] * 2 + [NodeAddress(type="InternalIP", address="172.31.0.1")]
    topology = rendered((msgspec.structs.replace(made, status=NodeStatus(addresses=tuple(addresses))),))
    matches = sorted(
        row.match
        for row in topology.assembly.state.values()
        if isinstance(row, LogicalRouterPolicy) and row.priority == names.POLICY_NODE
    )
    assert matches == ["ip4.dst == 172.30.0.11", "ip4.dst == 172.31.0.1"]


def test_two_facts_with_one_key_are_a_fault() -> None:
    one, other = (LogicalSwitchPort(name="p", external_ids=owned(n=number)) for number in "12")
    with pytest.raises(ValueError, match="two facts with one key"):
        facts(one, other)
