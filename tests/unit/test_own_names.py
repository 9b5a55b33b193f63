"""A reservation with a name that the fabric's own IP objects have reserves nothing, whenever it comes: Nodes and health
checks get their addresses and records beside it.
"""

import pytest

from kube_ovn.model import names
from kube_ovn.model.crd import IP, Subnet
from kube_ovn.model.kube import Node
from kube_ovn.model.nb import LoadBalancer
from tests.histories.controller import grants, rows
from tests.histories.steps import Pass, Restart
from tests.histories.world import World
from tests.small_clusters import gateway, pod, reservation, service, slice_of
from tests.unit.test_memory_faults import RESTARTS, addresses, port, put, told_about, world

WANTED = "100.64.0.9"
NODE = gateway("node2", 2)


def records(where: World, uid: str) -> dict[str, str]:
    """The addresses that IP objects record for an owner, by the name of the object."""
    found = [item for item in where.server.of(IP) if isinstance(item, IP) and item.spec.owner_uid == uid]
    return {item.metadata.name: item.spec.ip_address for item in found}


def node_address(where: World, name: str) -> str:
    return where.server.get(Node, name).metadata.annotations.get(names.IP_ADDRESS, "")


def start_again(where: World, again: Restart | None) -> None:
    if again is not None:
        where.take(again)
    where.calm()


@RESTARTS
def test_a_reservation_before_a_node_leads_it_nowhere(again: Restart | None) -> None:
    named = reservation("node-node2", "join", WANTED)
    where = world(named)
    assert told_about(where, named) == (
        "IP node-node2 reserves nothing: IPs named node-<node> or checks-<subnet> are kube-ovn's own; delete it, and "
        "give a reservation the name of its Pod, <pod>.<namespace>"
    )
    start_again(where, again)
    put(where, NODE)
    found = node_address(where, "node2")
    assert found not in ("", WANTED)
    (record,) = records(where, NODE.metadata.uid).items()
    assert record == (names.spare_ip("node-node2", 1), found)
    assert not told_about(where, NODE)
    assert told_about(where, named)
    start_again(where, again)
    assert node_address(where, "node2") == found
    assert records(where, NODE.metadata.uid) == dict([record])
    assert where.server.get(IP, "node-node2") == named, "what is its user's stays as it is"
    put(where, pod("taker", annotations={names.LOGICAL_SWITCH: "join"}), gateway("node3", 3))
    assert node_address(where, "node3") not in ("", found)


@RESTARTS
def test_a_reservation_after_a_node_changes_nothing(again: Restart | None) -> None:
    """Its name is free while the record is lost, as when a user takes the finalizer away and deletes the IP."""
    where, named = world(NODE), reservation("node-node2", "join", WANTED)
    found, row = node_address(where, "node2"), port(where, "node-node2")
    (record,) = records(where, NODE.metadata.uid)
    assert record == "node-node2"
    del where.server.objects[where.server.get(IP, "node-node2").metadata.uid]
    where.server.put(named)
    if again is not None:
        where.take(again)
    where.make_pass(Pass())
    assert again is not None or port(where, "node-node2") == row, "the port stays meanwhile"
    where.calm()
    assert port(where, "node-node2") == row
    assert node_address(where, "node2") == found
    assert records(where, NODE.metadata.uid) == {names.spare_ip("node-node2", 1): found}
    assert told_about(where, named)
    where.server.remove(named.metadata.uid)
    where.calm()
    assert port(where, "node-node2") == row
    assert records(where, NODE.metadata.uid) == {"node-node2": found}
    assert not told_about(where, NODE)


def test_a_reservation_for_the_spare_name_too_is_passed_by() -> None:
    spare = names.spare_ip("node-node2", 1)
    both = reservation("node-node2", "join", WANTED), reservation(spare, "join", "100.64.0.10")
    where = world(*both, NODE)
    assert list(records(where, NODE.metadata.uid)) == [names.spare_ip("node-node2", 2)]
    assert all("reserves nothing" in told_about(where, each) for each in both)


@RESTARTS
def test_a_node_that_uses_a_reservation_of_former_versions_keeps_its_address(again: Restart | None) -> None:
    where = world(NODE)
    found, old = node_address(where, "node2"), where.server.get(IP, "node-node2")
    del where.server.objects[old.metadata.uid]
    named = reservation("node-node2", "join", found, old.spec.mac_address)
    named.metadata.labels.update({names.IP_RESERVED: "true"})
    where.server.put(named)
    start_again(where, again)
    assert node_address(where, "node2") == found
    assert records(where, NODE.metadata.uid) == {names.spare_ip("node-node2", 1): found}
    assert told_about(where, named)


@RESTARTS
def test_a_pod_has_what_is_reserved_for_it_until_a_node_has_its_name(again: Restart | None) -> None:
    """A Node's name may have dots: then it may be that of a Pod as well, and the Pod gives way."""
    named = reservation("node-worker.default", "ovn-default", "10.16.0.9")
    both, rival = pod("node-worker"), gateway("worker.default", 2)
    where = world(named, both)
    assert not told_about(where, named)
    assert addresses(where, both) == "10.16.0.9"
    put(where, rival)
    start_again(where, again)
    assert told_about(where, named) == (
        "IP node-worker.default reserves nothing: its name is kept for the IP of node worker.default; delete it, and "
        "give a reservation the name of its Pod, <pod>.<namespace>"
    )
    assert "rename the Pod" in told_about(where, both)
    (address,) = records(where, rival.metadata.uid).values()
    assert address == node_address(where, "worker.default")
    assert named.metadata.uid not in grants(where.topology)
    thief = pod("thief", annotations={names.IP_ADDRESS: "10.16.0.9"})
    put(where, thief)
    assert addresses(where, thief) == "10.16.0.9", "nothing is reserved any more"
    where.server.remove(thief.metadata.uid)
    where.server.remove(rival.metadata.uid)
    where.calm()
    assert not told_about(where, named)
    assert not records(where, rival.metadata.uid)
    again_there = pod("node-worker", uid="next")
    where.server.remove(both.metadata.uid)
    put(where, again_there)
    assert addresses(where, again_there) == "10.16.0.9"


@RESTARTS
def test_a_reservation_for_a_node_with_dots_comes_before_the_node(again: Restart | None) -> None:
    named = reservation("node-worker.default", "join", WANTED)
    where = world(named)
    assert not told_about(where, named), "it may be for a Pod"
    start_again(where, again)
    rival = gateway("worker.default", 2)
    put(where, rival)
    assert node_address(where, "worker.default") not in ("", WANTED)
    assert "kept for the IP of node worker.default" in told_about(where, named)
    assert "node-worker.default" not in records(where, rival.metadata.uid)


def test_a_pod_with_a_name_like_a_nodes_is_as_any_other() -> None:
    both, named = pod("node-a"), reservation("node-b.default", "ovn-default", "10.16.0.9")
    where = world(both, named)
    assert addresses(where, both)
    assert where.server.find(IP, "node-a.default")
    put(where, meant := pod("node-b"))
    assert addresses(where, meant) == "10.16.0.9"


def test_a_reservation_for_a_pod_with_a_long_name_counts() -> None:
    """The name of its IP object is cut, and has no dot."""
    name = "node-" + "a" * 245
    record = names.ip_object(names.pod_port(name, "default"))
    assert "." not in record
    where = world(reservation(record, "ovn-default", "10.16.0.9"), meant := pod(name))
    assert addresses(where, meant) == "10.16.0.9"


@pytest.mark.parametrize("first", [True, False])
@RESTARTS
def test_checks_get_their_address_beside_a_reservation(again: Restart | None, first: bool) -> None:
    named = reservation("checks-ovn-default", "ovn-default", "10.16.0.77")
    checked = service("web", "10.96.0.20", annotations={names.HEALTH_CHECK: "true"})
    where = world(pod("a"), *([named] if first else []))
    put(where, checked, slice_of("web", addresses(where, pod("a")), pods=("a",)))
    if not first:
        del where.server.objects[where.server.get(IP, "checks-ovn-default").metadata.uid]
        put(where, named)
    start_again(where, again)
    assert not told_about(where, checked)
    assert "IP checks-ovn-default reserves nothing" in told_about(where, named)
    subnet_uid = where.server.get(Subnet, "ovn-default").metadata.uid
    ((name, address),) = records(where, subnet_uid).items()
    assert name == names.spare_ip("checks-ovn-default", 1)
    assert address != "10.16.0.77"
    balancers = [row for row in rows(where.topology).values() if isinstance(row, LoadBalancer)]
    assert any(address in text for row in balancers for text in row.ip_port_mappings.values())
    where.server.remove(checked.metadata.uid)
    where.calm()
    assert not records(where, subnet_uid), "it goes with the last Service that wants checks"


def test_a_reservation_with_such_a_name_is_told_though_nothing_has_the_name() -> None:
    where = world(named := reservation("checks-nothing", "ovn-default", "10.16.0.9"), thief := pod("a"))
    assert "reserves nothing" in told_about(where, named)
    assert named.metadata.uid not in grants(where.topology)
    put(where, taker := pod("b", annotations={names.IP_ADDRESS: "10.16.0.9"}))
    assert addresses(where, taker) == "10.16.0.9"
    assert addresses(where, thief)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("node-a", True),
        ("checks-a", True),
        (names.spare_ip("node-a", 1), True),
        (names.spare_ip("checks-a", 2), True),
        ("node-a.default", False),
        ("checks-a.default", False),
        ("kept", False),
        ("nodes", False),
        (names.ip_object("node-" + "a" * 300), False),
    ],
)
def test_which_names_no_pod_can_have(name: str, own: bool) -> None:
    assert names.is_own_ip(name) == own


def test_a_spare_name_is_that_of_no_pod() -> None:
    assert "." not in names.spare_ip("node-worker.default", 1)
