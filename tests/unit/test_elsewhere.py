"""A Pod that gets no address is told where Pods of its Namespace find one, with numbers as of the Event."""

import pytest

from kube_ovn.model import names
from kube_ovn.model.kube import Object
from kube_ovn.topology.graph import Topology
from tests.small_clusters import Api, fabric, namespace, node, pod, pool, reservation, settle, stateful_set, subnet

SMALL = subnet("small", "10.20.0.0/30")
"""It has one address for a Pod."""


class World:
    def __init__(self, *objects: Object) -> None:
        self.api, self.topology = Api(node("node1", 1)), Topology(fabric("10.16.0.0/28"))
        self.put(namespace("default"), namespace("other"), SMALL, *objects)

    def put(self, *objects: Object) -> None:
        self.api.put(*objects)
        settle(self.topology, self.api)

    def told(self, name: str) -> str:
        """The text of the Event on a Pod."""
        (text,) = self.topology.describe([self.topology.problems[f"uid-{name}"]])
        return text


def in_small(name: str, space: str = "default", **wishes: str) -> Object:
    annotations = {f"ovn.kubernetes.io/{key}": text for key, text in wishes.items()}
    return pod(name, namespace=space, annotations={names.LOGICAL_SWITCH: "small", **annotations})


FREE = "; free for Pods of Namespace default: ovn-default 13"


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ([in_small("0first"), in_small("a")], "subnet small has no available address"),
        ([in_small("a", ip_address="10.20.0.1")], "address 10.20.0.1 cannot be used"),
        ([in_small("a", ip_address="192.0.2.1")], "is not in the CIDR of the Pod's subnet small"),
        ([in_small("0first"), in_small("a", ip_address="10.20.0.2")], "AddressConflict: address 10.20.0.2"),
        (
            [subnet("closed", "10.30.0.0/24", namespaces=("other",)), in_small("a", logical_switch="closed")],
            "is for other",
        ),
        ([in_small("a", logical_switch="missing")], "subnet missing does not exist"),
        (
            [in_small("0first"), pool("few", "small", "10.20.0.2"), in_small("a", ip_pool="few")],
            "pool few of subnet small",
        ),
    ],
)
def test_a_refused_pod_is_told_where_there_is_room(objects: list[Object], said: str) -> None:
    world = World()
    for each in objects:
        world.put(each)
    assert said in world.told("a")
    assert FREE in world.told("a")
    assert "join" not in world.told("a").rpartition(";")[2]
    assert "closed" not in world.told("a").rpartition(";")[2]


def test_only_subnets_of_the_namespace_are_named() -> None:
    closed = subnet("closed", "10.30.0.0/24", namespaces=("other",))
    world = World(closed, in_small("0first"), in_small("a"), in_small("b", "other"))
    assert "closed" not in world.told("a")
    assert world.told("b").endswith("; free for Pods of Namespace other: closed 253, ovn-default 13")


def test_addresses_of_pools_are_counted_apart_and_full_subnets_are_not_named() -> None:
    many = [subnet(f"room{number}", f"10.4{number}.0.0/2{number}") for number in range(6)]
    world = World(
        subnet("wide", "fd20::/64"),
        pool("most", "ovn-default", "10.16.0.2..10.16.0.13"),
        in_small("0first"),
        in_small("a"),
    )
    assert world.told("a").endswith(": ovn-default 1, wide over 1000000, IPPool most 12")
    world.put(*many)
    assert world.told("a").count(", ") == 4, "five at most"
    assert "ovn-default" in world.told("a"), "that of the Namespace is always one of them"


def test_both_families_are_counted() -> None:
    world = World(subnet("two", "10.40.0.0/29,fd40::/125"), in_small("0first"), in_small("a"))
    assert "two 5 IPv4 and 6 IPv6" in world.told("a")


def test_a_cluster_without_room_says_so() -> None:
    closed = pool("all", "ovn-default", "10.16.0.2..10.16.0.14", namespaces=("other",))
    world = World(closed, in_small("0first"), in_small("a"))
    assert world.told("a").endswith("; no subnet has a free address for Pods of Namespace default")


def test_pools_of_the_namespace_are_named() -> None:
    ours = pool("ours", "ovn-default", "10.16.0.2..10.16.0.14", namespaces=("default",))
    world = World(ours, in_small("0first"), in_small("a"), in_small("b", "other"))
    assert world.told("a").endswith("; free for Pods of Namespace default: IPPool ours 13")
    assert world.told("b").endswith("; no subnet has a free address for Pods of Namespace other")


def test_pools_that_a_namespace_is_bound_to_come_first() -> None:
    bound = namespace("default", None, **{names.IP_POOL: "few"})
    many = [subnet(f"room{number}", f"10.4{number}.0.0/2{number}") for number in range(6)]
    world = World(*many, pool("few", "room0", "10.40.0.2..10.40.0.3"), bound, in_small("0first"), in_small("a"))
    assert ": IPPool few 2, ovn-default 13, room0 " in world.told("a")
    assert world.told("a").count(", ") == 4, "five at most"


def test_a_grant_elsewhere_neither_tells_again_nor_works_out_anew() -> None:
    world = World(in_small("0first"), *(in_small(f"a{number}") for number in range(20)))
    outcomes = next(each for each in world.topology.graph.derivations if each.name == "outcomes of Pods")
    world.topology.take_changed_told()
    before, worked = world.told("a1"), outcomes.worked
    world.put(pod("new"))
    assert world.topology.take_changed_told() == {}
    assert outcomes.worked - worked < 10, "those of the new Pod alone"
    assert before.endswith("ovn-default 13")
    assert world.told("a1").endswith("ovn-default 12")
    assert world.topology.graph.verify() == []


def test_what_no_other_subnet_helps_names_none() -> None:
    web = stateful_set("web", 1)
    world = World(
        pod("web-0", parent=web, annotations={names.IP_POOL: "10.16.0.7;10.16.0.8"}),
        reservation("a.default", "missing", "10.99.0.5"),
        pod("a"),
        in_small("b", routes='[{"gw": "10.99.0.9"}]'),
        in_small("c", ip_family="both"),
    )
    for name in ("web-0", "a", "b", "c"):
        assert "free for" not in world.told(name)
