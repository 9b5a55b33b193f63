"""Addresses over whole lives of a cluster: what is reserved, moved, followed and forged."""

from itertools import combinations

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.addr import parse_networks
from kube_ovn.model.crd import IP, Subnet
from kube_ovn.model.kube import Namespace, Node, Pod
from kube_ovn.topology.addresses.memory import confirmed
from kube_ovn.topology.graph import Topology
from tests.small_clusters import (
    Api,
    address,
    fabric,
    namespace,
    node,
    pod,
    reservation,
    settle,
    settled,
    show,
    stateful_set,
    step,
    subnet,
)


def test_a_move_that_was_taken_back_does_not_leave_two_subnets_with_one_cidr() -> None:
    api, topology = Api(subnet("s", "10.20.0.0/24")), Topology(fabric())
    settle(topology, api)
    held = api.get(Subnet, "s")
    moved = msgspec.structs.replace(held, spec=msgspec.structs.replace(held.spec, cidr_block="10.21.0.0/24"))
    api.put(moved, subnet("t", "10.20.0.0/24", age="2026-01-02T00:00:00Z"))
    show(topology, api.snapshot())
    writes = list(topology.writes.values())
    api.put(msgspec.structs.replace(api.get(Subnet, "s"), spec=held.spec))  # that of its status is refused now
    for write in writes:
        api.write(write)
    settle(topology, api)
    cidrs = [
        cidr
        for each in api.objects.values()
        if isinstance(each, Subnet) and each.status.cidr_block
        for cidr in parse_networks(each.status.cidr_block)
    ]
    assert not any(one.overlaps(other) for one, other in combinations(cidrs, 2))


def test_a_node_keeps_its_address_over_a_restart_beside_a_reservation_of_its_name() -> None:
    api = Api(node("node1", 1), node("node2", 2), reservation("node-node1", "join", "100.64.0.9"))
    topology = settled(api)
    api.remove("node-uid-node2")
    settle(topology, api)
    before = address(api.get(Node, "node1"))
    fresh = Topology(fabric(), confirmed(topology.state))
    settle(fresh, api)
    assert address(api.get(Node, "node1")) == before
    assert topology.state == fresh.state


def test_no_pod_gets_the_mac_of_the_router() -> None:
    router = names.derived_mac(names.router_port("ovn-cluster", "ovn-default"))
    api = Api(namespace("default"), node("node1", 1), pod("thief", annotations={names.MAC_ADDRESS: router}))
    assert "used by its router" in settled(api).problems["uid-thief"].message


@pytest.mark.parametrize("fixed", [{names.IP_ADDRESS: "10.16.0.9"}, {names.MAC_ADDRESS: "0a:00:00:00:00:01"}])
def test_who_follows_a_pod_that_is_leaving_waits_without_a_word(fixed: dict[str, str]) -> None:
    api = Api(namespace("default"), node("node1", 1), pod("a", annotations=fixed))
    topology = settled(api)
    api.remove("uid-a")
    api.put(pod("a", uid="uid-a-2", annotations=fixed))
    before, told = None, []
    for _ in range(12):
        view = api.snapshot()
        show(topology, view if before is None else step(before, view))
        before = view
        told += [problem.message for problem in topology.problems.values()]
        for write in list(topology.writes.values()):
            api.write(write)
    assert told == []


def test_ports_of_a_version_without_objects_are_taken_over() -> None:
    """An upgrade: Pods run with ports and annotations, and there is no Subnet and no IP object yet."""
    api = Api(namespace("default"), node("node1", 1), node("node2", 2), pod("a"), pod("b"), pod("c"))
    old = settled(api)
    before = {uid: address(api.objects[uid]) for uid in ("uid-a", "uid-b", "uid-c", "node-uid-node1", "node-uid-node2")}
    api.objects = {uid: item for uid, item in api.objects.items() if isinstance(item, Node | Pod | Namespace)}
    api.remove("uid-a")  # so that the others would come to lie otherwise
    before.pop("uid-a")
    topology = Topology(fabric(), confirmed(old.state))
    show(topology, api.snapshot())
    assert not topology.standing, "nothing is known yet, so nothing may be removed"
    settle(topology, api)
    assert topology.standing
    assert {uid: address(api.objects[uid]) for uid in before} == before
    records = {item.spec.ip_address for item in api.objects.values() if isinstance(item, IP)}
    assert records == set(before.values())


def test_the_record_of_a_living_owner_says_what_its_deletion_waits_for() -> None:
    web = stateful_set("web", 1)
    api, topology = Api(node("node1", 1), namespace("default"), web), Topology(fabric())
    api.put(pod("a"), pod("web-0", parent=web))
    settle(topology, api)
    for name, words in (
        ("a.default", "IP a.default records the address of Pod default/a, which keeps it: the IP goes when it does"),
        ("web-0.default", "the IP goes when it does, or when its StatefulSet has no place for it"),
        ("node-node1", "the address of node node1, which keeps it"),
    ):
        record = api.get(IP, name)
        api.remove(record.metadata.uid)
        settle(topology, api)
        assert api.get(IP, name).metadata.deletion_timestamp
        (told,) = [each for each in topology.told.values() if each.object.uid == record.metadata.uid]
        assert words in told.message
        assert told.normal
    api.remove("uid-a")
    settle(topology, api)
    assert api.find(IP, "a.default") is None
    assert not [each for each in topology.told.values() if "a.default" in each.message]
