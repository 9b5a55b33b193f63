"""Limits of the Subnets that annotations of Namespaces make."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.addr import parse_networks
from kube_ovn.model.crd import Subnet
from kube_ovn.model.kube import Namespace, Node, Object, Pod
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.graph import Topology
from tests.small_clusters import Api, address, fabric, gateway, namespace, node, pod, settle, subnet

RANGES = parse_networks("10.64.0.0/12")
LABEL: dict[str, Any] = {names.GATEWAY_FOR_NAMESPACES: "true"}


def wishing(name: str, cidr: str, age: str = "2026-01-01T00:00:00Z", **shape: str) -> Namespace:
    made = namespace(name, None, **{names.LOGICAL_SWITCH: f"s-{name}", names.CIDR: cidr}, **shape)
    return msgspec.structs.replace(made, metadata=msgspec.structs.replace(made.metadata, creation_timestamp=age))


class World:
    """A cluster and its controller, which has done all there is to do after each change."""

    def __init__(self, of: Fabric, *objects: Object) -> None:
        self.api, self.topology = Api(node("node1", 1), *objects), Topology(of)
        self.put()

    def put(self, *objects: Object) -> None:
        self.api.put(*objects)
        settle(self.topology, self.api)

    def restart(self, of: Fabric) -> None:
        """Another controller takes over, with other settings."""
        self.topology = Topology(of)
        settle(self.topology, self.api)

    def cidr(self, name: str) -> str:
        """The CIDR in effect of the Subnet of a Namespace; empty when there is none."""
        found = self.api.find(Subnet, f"s-{name}")
        return "" if found is None else found.status.cidr_block

    def told(self, name: str) -> str:
        problem = self.topology.problems.get(f"namespace-uid-{name}")
        return "" if problem is None else problem.message


def test_annotations_make_subnets_in_the_ranges_alone() -> None:
    world = World(replace(fabric(), namespace_ranges=RANGES))
    world.put(wishing("in", "10.66.0.0/24"), wishing("out", "10.20.0.0/24"), wishing("half", "10.67.0.0/24,fd67::/112"))
    world.put(pod("a", namespace="out"))
    assert world.cidr("in") == "10.66.0.0/24"
    assert world.told("out") == (
        "annotation ovn.kubernetes.io/cidr: 10.20.0.0/24 is not in the ranges for Namespaces, 10.64.0.0/12"
    )
    assert "fd67::/112 is not in the ranges" in world.told("half")
    assert (world.cidr("out"), world.cidr("half")) == ("", "")
    assert "is not in the ranges for Namespaces" in world.topology.problems["uid-a"].message
    world.put(wishing("out", "10.68.0.0/24"))
    assert world.cidr("out") == "10.68.0.0/24"
    assert address(world.api.get(Pod, "a", "out")) == "10.68.0.2"


@pytest.mark.parametrize("cidr", ["fd6b:7562:656f:766e::/112", "192.0.0.0/24", "0.0.0.0/8", "240.0.0.0/24"])
def test_annotations_make_no_subnet_of_the_fabrics_links_or_of_reserved_networks(cidr: str) -> None:
    world = World(fabric(), wishing("ns", cidr))
    assert world.cidr("ns") == ""
    assert world.told("ns").startswith(f"the annotations do not make a subnet: CIDR {cidr} holds ")


def test_a_subnet_that_was_there_before_the_ranges_stays_and_does_not_move() -> None:
    world = World(fabric(), wishing("old", "10.20.0.0/24"))
    world.restart(replace(fabric(), namespace_ranges=RANGES))
    world.put(pod("a", namespace="old"))
    assert address(world.api.get(Pod, "a", "old")) == "10.20.0.2"
    assert not world.topology.problems
    world.put(wishing("old", "10.20.0.0/23"))
    assert "10.20.0.0/23 is not in the ranges" in world.told("old")
    assert world.cidr("old") == "10.20.0.0/24"


def test_annotations_make_a_bounded_number_of_subnets() -> None:
    world = World(replace(fabric(), namespace_subnets=2))
    young, old = "2026-01-03T00:00:00Z", "2026-01-02T00:00:00Z"
    world.put(wishing("a", "10.20.0.0/24"), wishing("c", "10.22.0.0/24", young), wishing("b", "10.21.0.0/24", old))
    assert (world.cidr("a"), world.cidr("b"), world.cidr("c")) == ("10.20.0.0/24", "10.21.0.0/24", "")
    assert "there are 2 Subnets that annotations of Namespaces made, which is the most" in world.told("c")
    world.put(wishing("older", "10.23.0.0/24"))
    assert world.cidr("b") == "10.21.0.0/24", "one that is there stays"
    assert world.cidr("older") == ""
    world.api.remove("namespace-uid-a")
    world.put()
    assert (world.cidr("older"), world.cidr("c")) == ("10.23.0.0/24", "")
    world.restart(replace(fabric(), namespace_subnets=0))
    assert world.cidr("b") == "10.21.0.0/24"


def test_annotations_name_gateways_that_are_labelled_for_it() -> None:
    shape = {names.GATEWAY_TYPE: "centralized", names.GATEWAY_NODE: "node1,node2:192.0.2.1"}
    world = World(fabric(), gateway("node1", 1), gateway("node2", 2, **LABEL))
    world.put(wishing("ns", "10.20.0.0/24", **shape), pod("a", namespace="ns"))
    assert "names node1, which is no gateway for Namespaces" in world.told("ns")
    assert "label kubeovn.io/gateway-for-namespaces=true" in world.topology.problems["uid-a"].message
    assert world.cidr("ns") == ""
    world.put(gateway("node1", 1, **LABEL))
    assert not world.told("ns")
    assert world.api.get(Subnet, "s-ns").spec.gateway_node == "node1,node2:192.0.2.1"
    assert address(world.api.get(Pod, "a", "ns")) == "10.20.0.2"
    world.put(gateway("node1", 1), pod("b", namespace="ns"))
    assert not world.told("ns"), "a Subnet keeps the gateways that it has"
    assert address(world.api.get(Pod, "b", "ns")) == "10.20.0.3"


def test_trusted_tenants_name_any_gateway() -> None:
    shape = {names.GATEWAY_TYPE: "centralized", names.GATEWAY_NODE: "node1"}
    world = World(fabric(trusts_tenants=True), gateway("node1", 1))
    world.put(wishing("ns", "10.20.0.0/24", **shape))
    assert world.cidr("ns") == "10.20.0.0/24"
    assert not world.told("ns")


def test_a_limit_says_nothing_of_a_subnet_object() -> None:
    world = World(replace(fabric(), namespace_ranges=RANGES, namespace_subnets=0))
    world.put(
        subnet("s-ns", "10.20.0.0/24", namespaces=("ns",)), wishing("ns", "10.20.0.0/24"), pod("a", namespace="ns")
    )
    assert address(world.api.get(Pod, "a", "ns")) == "10.20.0.2"
    assert not world.topology.problems


def test_one_more_node_costs_no_namespace_a_look() -> None:
    world = World(fabric(), *(wishing(f"n{number}", f"10.20.{number}.0/24") for number in range(8)))
    (wishes,) = (each for each in world.topology.graph.derivations if each.name == "wishes of Namespaces")
    before = wishes.worked
    found: list[Node] = [gateway(f"node{number}", number, **LABEL) for number in range(2, 6)]
    world.put(*found)
    assert wishes.worked == before


def test_one_namespace_holds_a_bounded_number_of_subnets_with_its_old_pods() -> None:
    world = World(fabric())
    for number in range(6):
        made = namespace("ns", None, **{names.LOGICAL_SWITCH: f"s{number}", names.CIDR: f"10.4{number}.0.0/16"})
        world.put(made, pod(f"p{number}", namespace="ns"))
    there = [each.metadata.name for each in world.api.objects.values() if isinstance(each, Subnet)]
    assert sorted(name for name in there if name.startswith("s")) == ["s0", "s1", "s2", "s3"]
    assert "subnets s0,s1,s2,s3 of Namespace ns are still in use" in world.told("ns")
    world.api.remove("uid-p0")
    world.put()
    assert address(world.api.get(Pod, "p4", "ns")) == "10.45.0.2"
    assert not world.told("ns")


def test_wishes_for_subnets_of_users_use_up_no_limit() -> None:
    world = World(replace(fabric(), namespace_subnets=1))
    blue = subnet("s-old", "10.20.0.0/24", namespaces=("old",))
    world.put(blue, wishing("old", "10.20.0.0/24"), wishing("new", "10.21.0.0/24", "2026-01-03T00:00:00Z"))
    assert world.cidr("new") == "10.21.0.0/24"
    assert not world.topology.problems
