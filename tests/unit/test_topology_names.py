"""Names that two objects want, or that others have: settled before anything is rendered, and told to who gives way."""

from dataclasses import replace

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.kube import Node, NodeAddress, NodeStatus, Pod
from kube_ovn.model.nb import LogicalRouterPolicy, LogicalSwitchPort
from kube_ovn.model.row import Row, RowKey, facts, owned
from kube_ovn.topology.graph import Topology
from tests.small_clusters import Api, fabric, granted, namespace, node, pod, show, step


class World:
    """A cluster and its controller; `become` changes the objects and lets everything settle."""

    def __init__(self, cidr: str = "10.16.0.0/16") -> None:
        self.api, self.topology = Api(namespace("default")), Topology(fabric(cidr))
        self._before = self.api.snapshot()
        show(self.topology, self._before)

    def become(self, *objects: Node | Pod, foreign: frozenset[RowKey] = frozenset()) -> Topology:
        """These Nodes and Pods are all there are."""
        wanted = {item.metadata.uid for item in objects}
        for uid, item in list(self.api.objects.items()):
            if isinstance(item, Node | Pod) and uid not in wanted:
                self.api.remove(uid)
        self.api.put(*(item for item in objects if item.metadata.uid not in self.api.objects))
        for _ in range(12):
            view = replace(step(self._before, self.api.snapshot()), foreign=foreign)
            self._before = view
            show(self.topology, view)
            for write in list(self.topology.writes.values()):
                self.api.write(write)
        assert not self.topology.writes
        return self.topology


def port(topology: Topology, name: str) -> Row | None:
    return topology.state.get(RowKey(LogicalSwitchPort.TABLE, name))


@pytest.mark.parametrize("annotations", [{}, granted("ovn-default", "10.16.0.9")])
def test_a_pod_gives_way_to_a_node_that_joins_and_comes_back_when_it_leaves(annotations: dict[str, str]) -> None:
    one, rival, world = node("node1", 1), pod("node-x", annotations=annotations), World()
    before = port(world.become(one, rival), "node-x.default")
    assert before is not None
    topology = world.become(one, rival, node("x.default", 2))
    there = port(topology, "node-x.default")
    assert isinstance(there, LogicalSwitchPort)
    assert there.external_ids["node"] == "x.default"
    assert "rename the Pod" in topology.problems[rival.metadata.uid].message
    world.become(one, rival)
    assert not topology.problems
    assert port(topology, "node-x.default") == before


def test_a_row_of_others_with_a_name_of_ours_is_seen_though_no_object_changed() -> None:
    world, objects = World(), (node("node1", 1), pod("a"))
    topology = world.become(*objects)
    mine, other = RowKey(LogicalSwitchPort.TABLE, "a.default"), RowKey(LogicalSwitchPort.TABLE, "else")
    world.become(*objects, foreign=frozenset({mine, other}))
    assert topology.problems.keys() == {"uid-a"}
    world.become(*objects, foreign=frozenset({other}))
    assert not topology.problems
    assert port(topology, "a.default") is not None


def test_a_node_whose_names_are_taken_has_no_rows_and_its_pods_are_in_no_group() -> None:
    world, objects = World(), (node("node1", 1), pod("a"))
    group = RowKey("Port_Group", names.node_port_group("node1"))
    topology = world.become(*objects, foreign=frozenset({group}))
    assert "remove it with ovn-nbctl" in topology.problems["node-uid-node1"].message
    assert port(topology, "a.default") is not None
    assert not [key for key in topology.state if key[:2] == group]
    world.become(*objects)
    assert [key for key in topology.state if key[:2] == group and len(key) == 4]


def test_two_addresses_of_a_node_have_a_policy_each_and_one_said_twice_has_one() -> None:
    made = node("node1", 1)
    addresses = [*made.status.addresses] * 2 + [NodeAddress(type="InternalIP", address="172.31.0.1")]
    topology = World().become(msgspec.structs.replace(made, status=NodeStatus(addresses=tuple(addresses))))
    matches = sorted(
        row.match
        for row in topology.state.values()
        if isinstance(row, LogicalRouterPolicy) and row.priority == names.POLICY_NODE
    )
    assert matches == ["ip4.dst == 172.30.0.11", "ip4.dst == 172.31.0.1"]


def test_two_facts_with_one_key_are_a_fault() -> None:
    one, other = (LogicalSwitchPort(name="p", external_ids=owned(n=number)) for number in "12")
    with pytest.raises(ValueError, match="two facts with one key"):
        facts(one, other)
