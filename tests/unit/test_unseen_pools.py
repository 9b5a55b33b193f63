"""While IPPools cannot be listed, no address is given that may be in a pool for other Namespaces."""

from collections.abc import Set
from dataclasses import replace

import pytest

from kube_ovn.model import names
from kube_ovn.model.crd import IPPool
from kube_ovn.model.kube import Object, Pod
from kube_ovn.topology.graph import Topology
from tests.small_clusters import (
    Api,
    address,
    fabric,
    namespace,
    node,
    pod,
    pool,
    reservation,
    show,
    stateful_set,
)

POOLS = {"IPPool"}
NOT_KNOWN = (
    "it is not known which addresses are in IPPools for other Namespaces: kube-ovn-controller cannot list ippools"
)
NOTHING = frozenset[str]()


class World:
    """Namespaces `default` and `other`, with the pool `theirs` for `other`, and a new controller."""

    def __init__(self, *objects: Object, trusts_tenants: bool = False) -> None:
        self.fabric = replace(fabric(), trusts_tenants=trusts_tenants)
        self.api = Api(
            node("node1", 1),
            namespace("default"),
            namespace("other"),
            pool("theirs", "ovn-default", "10.16.0.2..10.16.0.60", namespaces=("other",)),
            *objects,
        )
        self.topology = Topology(self.fabric)

    def settle(self, unknown: Set[str] = NOTHING, absent: Set[str] = NOTHING) -> None:
        for _ in range(20):
            view = self.api.snapshot()
            there = {uid: item for uid, item in view.objects.items() if not (unknown and isinstance(item, IPPool))}
            show(self.topology, replace(view, objects=there, unknown=unknown, absent=absent))
            if not (writes := list(self.topology.writes.values())):
                return
            for write in writes:
                self.api.write(write)
        raise AssertionError("not settled")

    def given(self, name: str) -> str:
        return address(self.api.get(Pod, name, "default"))

    def told(self, uid: str) -> str:
        (text,) = self.topology.describe([self.topology.problems[uid]])
        return text


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {names.IP_ADDRESS: "10.16.0.50"},
        {names.IP_POOL: "10.16.0.50;10.16.0.51"},
        {names.LOGICAL_SWITCH: "ovn-default"},
        {names.IP_POOL: "theirs"},
    ],
)
def test_a_pod_waits_until_pools_are_listed(wish: dict[str, str]) -> None:
    world = World(pod("a", annotations=wish))
    world.settle(POOLS)
    assert "uid-a" not in world.topology.grants
    assert "cannot list ippools" in world.told("uid-a")
    assert "free for" not in world.told("uid-a")
    world.settle()
    if wish in ({}, {names.LOGICAL_SWITCH: "ovn-default"}):
        assert world.given("a") == "10.16.0.61"
    else:
        assert "is for other Namespaces than default" in world.told("uid-a")


def test_what_is_granted_stays_and_reservations_are_given() -> None:
    world = World(pod("a"), reservation("b.default", "ovn-default", "10.16.0.70"))
    world.settle()
    world.api.put(pod("b"), pod("c"))
    world.topology = Topology(world.fabric)
    world.settle(POOLS)
    assert (world.given("a"), world.given("b")) == ("10.16.0.61", "10.16.0.70")
    assert world.topology.problems.keys() == {"uid-c"}
    assert world.told("uid-c").startswith(NOT_KNOWN)


def test_the_next_pod_of_a_name_waits_and_its_address_is_kept() -> None:
    web = stateful_set("web", 1)
    world = World(web, pod("web-0", parent=web), pod("a"))
    world.settle()
    held = world.given("web-0")
    world.api.remove("uid-web-0")
    world.settle()
    world.api.put(pod("web-0", parent=web, uid="next"))
    world.topology = Topology(world.fabric)
    world.settle(POOLS)
    assert world.told("next").startswith(NOT_KNOWN)
    world.settle()
    assert world.given("web-0") == held
    assert not world.topology.problems


def test_a_kind_that_is_not_installed_has_no_objects() -> None:
    world = World(pod("a"))
    world.settle(POOLS, POOLS)
    assert world.given("a") == "10.16.0.2"
    assert not world.topology.problems


def test_where_tenants_are_trusted_no_pod_waits() -> None:
    world = World(pod("a"), trusts_tenants=True)
    world.settle(POOLS)
    assert world.given("a") == "10.16.0.2"
