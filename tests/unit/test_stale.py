"""What was decided is decided anew when what it was decided from changes: a controller that saw a change ends with what
one that starts afterwards makes of the outcome.

Each of these was wrong once: the controller had kept what it knew. `World.calm` compares rows, writes and what users
are told with those of a controller that starts then.
"""

from ipaddress import ip_address

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.crd import IP, IPPool, IPSpec, Subnet
from kube_ovn.model.kube import Node, NodeAddress, NodeStatus, Object, ObjectMeta, Pod
from kube_ovn.model.nb import LoadBalancer
from kube_ovn.model.row import RowKey
from kube_ovn.model.writes import Create
from kube_ovn.topology.graph import Topology
from tests.histories.controller import complaints, grants, rows
from tests.histories.fields import Edit
from tests.histories.steps import NOTHING
from tests.histories.world import World
from tests.small_clusters import (
    Api,
    Snapshot,
    fabric,
    gateway,
    namespace,
    pod,
    pool,
    reservation,
    service,
    show,
    slice_of,
    stateful_set,
    subnet,
)

MAC, OTHER_MAC = "0a:00:00:00:00:07", "0a:00:00:00:00:08"
FIXED = {names.IP_ADDRESS: "10.16.0.50"}
LISTED = {names.IP_POOL: "10.16.0.11;10.16.0.12"}


def world(*objects: Object) -> World:
    """A cluster with a node that is calm with these objects in it."""
    made = World(fabric(), [gateway("node1", 1), namespace("default"), *objects])
    made.calm()
    return made


def put(where: World, *objects: Object) -> None:
    where.server.put(*objects)
    where.calm()


def go(where: World, item: Object) -> None:
    """An object goes at once, whatever finalizers it has."""
    del where.server.objects[item.metadata.uid]
    where.calm()


def edit(where: World, item: Object, *path: str, value: object, entry: str = "") -> None:
    now = where.server.objects[item.metadata.uid]
    where.server.edit(now, Edit(kind=type(item), number=0, path=path, value=value, entry=entry))
    where.calm()


def told_about(where: World, item: Object) -> str:
    return complaints(where.topology).get(item.metadata.uid, "")


def addresses(where: World, item: Pod) -> str:
    """What a Pod was told."""
    return where.server.objects[item.metadata.uid].metadata.annotations.get(names.IP_ADDRESS, "")


def change_mac(where: World, held: IP, mac: str) -> None:
    """A reservation is made anew with another MAC address before the controller looks: no address comes or goes."""
    del where.server.objects[held.metadata.uid]
    metadata = msgspec.structs.replace(held.metadata, uid="another")
    spec = msgspec.structs.replace(held.spec, mac_address=mac)
    put(where, msgspec.structs.replace(held, metadata=metadata, spec=spec))


def test_a_node_with_an_address_in_a_subnet_comes_after_it_and_the_subnet_goes() -> None:
    inside = Node(
        metadata=gateway("node2", 2).metadata,
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address="10.20.0.3"),)),
    )
    blue = subnet("blue", "10.20.0.0/24")
    where = world(blue)
    assert not told_about(where, blue)
    put(where, inside)
    assert "10.20.0.3" in told_about(where, inside)
    assert "node2" in told_about(where, blue)
    where.server.remove(blue.metadata.uid)
    where.calm()
    assert not told_about(where, inside)


def test_a_subnet_changes_its_cidr_and_holds_a_nodes_address_no_more() -> None:
    inside = Node(
        metadata=gateway("node2", 2).metadata,
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address="10.20.0.3"),)),
    )
    blue = subnet("blue", "10.20.0.0/24")
    where = world(blue)
    put(where, inside)
    assert told_about(where, inside)
    edit(where, blue, "spec", "cidr_block", value="10.20.0.0/31")
    assert told_about(where, inside), "nothing fits in that, so nothing changes"
    edit(where, blue, "spec", "cidr_block", value="10.20.1.0/24")
    assert not told_about(where, inside)


def test_a_pod_whose_port_would_be_named_like_a_subnets_joint_comes_in_when_the_subnet_goes() -> None:
    late = pod("a", namespace="default-ovn-cluster")
    joint = subnet("a.default", "10.20.0.0/24")
    where = world(namespace("default-ovn-cluster"), joint)
    put(where, late)
    assert "a.default" in told_about(where, late)
    assert not addresses(where, late)
    where.server.remove(joint.metadata.uid)
    where.calm()
    assert not told_about(where, late)
    assert addresses(where, late)


def test_a_subnet_whose_joint_is_named_like_a_pods_port_is_accepted_when_the_pod_goes() -> None:
    early = pod("a", namespace="default-ovn-cluster")
    joint = subnet("a.default", "10.20.0.0/24")
    where = world(namespace("default-ovn-cluster"), early)
    put(where, joint)
    assert "a.default-ovn-cluster" in told_about(where, joint)
    go(where, early)
    assert not told_about(where, joint)
    assert where.server.get(Subnet, "a.default").status.cidr_block == "10.20.0.0/24"


def test_a_subnet_that_a_foreign_row_kept_out_comes_in_when_the_row_goes() -> None:
    where, blue = world(), subnet("blue", "10.20.0.0/24")
    where.toggle(RowKey("Logical_Switch_Port", "blue-ovn-cluster"))
    put(where, blue)
    assert "blue-ovn-cluster" in told_about(where, blue)
    where.toggle(RowKey("Logical_Switch_Port", "blue-ovn-cluster"))
    where.calm()
    assert not told_about(where, blue)
    assert RowKey("Logical_Switch", "blue") in rows(where.topology)


def test_a_pod_that_waits_in_a_full_subnet_is_given_what_another_had_and_was_never_recorded() -> None:
    """No write is carried out meanwhile: the echo of a status must not be needed."""
    first, second = (
        pod("a", annotations={names.LOGICAL_SWITCH: "one"}),
        pod("b", annotations={names.LOGICAL_SWITCH: "one"}),
    )
    where = world(subnet("one", "10.20.0.0/30"))
    where.server.put(first)
    where.make_pass(NOTHING)
    where.server.put(second)
    where.make_pass(NOTHING)
    assert "no available address" in told_about(where, second)
    where.server.remove(first.metadata.uid)
    where.make_pass(NOTHING)
    assert not told_about(where, second)
    assert [str(grants(where.topology)[second.metadata.uid].addresses[0])] == ["10.20.0.2"]
    where.agree()


def test_a_pod_that_was_next_for_an_address_is_told_again_when_another_comes_before_it() -> None:
    """A Pod that fixes the address comes first. The record of the Pod that leaves is there all the while."""
    first, second = (pod(name, annotations={names.LOGICAL_SWITCH: "one"}) for name in "ab")
    where = world(subnet("one", "10.20.0.0/30"), first)
    put(where, second)
    assert "no available address" in told_about(where, second)
    where.server.remove(first.metadata.uid)
    where.make_pass(NOTHING)
    assert not told_about(where, second)
    third = pod("c", annotations={names.LOGICAL_SWITCH: "one", names.IP_ADDRESS: "10.20.0.2"})
    where.server.put(third)
    where.make_pass(NOTHING)
    assert "no available address" in told_about(where, second)
    assert not told_about(where, third)
    where.calm()
    assert addresses(where, third) == "10.20.0.2"


def test_a_node_takes_the_name_of_a_pod_that_waits() -> None:
    """Node a.default and Pod node-a have ports, and records, of one name."""
    waits = pod("node-a", "node1", annotations={names.IP_ADDRESS: "10.16.0.1"})
    where = world(waits)
    assert "gateway" in told_about(where, waits)
    put(where, gateway("a.default", 2))
    assert "node-a.default" in told_about(where, waits)
    assert "node-a.default" in {key.key for key in rows(where.topology)}


def test_a_pod_has_another_number_when_its_stateful_set_begins_elsewhere() -> None:
    web = stateful_set("web", 3)
    third = pod("web-2", parent=web, annotations=LISTED)
    where = world(web, third)
    assert "is number 3" in told_about(where, third)
    edit(where, web, "spec", "ordinals", "start", value=1)
    assert not told_about(where, third)
    assert addresses(where, third) == "10.16.0.12"


def test_health_checks_go_and_come_back_with_a_pod_whose_record_and_slice_stay() -> None:
    web = stateful_set("web", 1)
    first = pod("web-0", parent=web)
    where = world(web, first, service("checked", "10.96.0.20", annotations={names.HEALTH_CHECK: "true"}))
    found = addresses(where, first)
    put(where, slice_of("checked", found, pods=("web-0",)))
    assert checked(where) == {found}
    go(where, first)
    assert where.server.find(IP, "web-0.default") is not None, "its record stays"
    assert checked(where) == set()
    put(where, pod("web-0", uid="another", parent=web))
    assert checked(where) == {found}


def test_a_reservation_holds_again_when_its_subnet_is_made_anew() -> None:
    blue, kept = subnet("blue", "10.20.0.0/29"), reservation("kept", "blue", "10.20.0.2")
    where = world(blue, kept)
    assert where.server.get(IP, "kept").spec.mac_address
    go(where, where.server.get(Subnet, "blue"))
    assert "subnet blue does not exist" in told_about(where, kept)
    put(where, subnet("blue", "10.20.0.0/29", uid="another"))
    assert not told_about(where, kept)
    other = pod("a", annotations={names.LOGICAL_SWITCH: "blue"})
    put(where, other)
    assert addresses(where, other) == "10.20.0.3"


def test_a_reservation_that_was_never_completed_is_completed_when_its_subnet_is_made_anew() -> None:
    kept = reservation("kept", "blue", "10.20.0.2")
    where = world(kept)
    assert "subnet blue does not exist" in told_about(where, kept)
    put(where, subnet("blue", "10.20.0.0/29"))
    assert not told_about(where, kept)
    assert where.server.get(IP, "kept").spec.ip_address == "10.20.0.2"


def test_a_pod_of_a_pool_waits_for_the_pool_and_then_for_its_addresses() -> None:
    """Found by histories beside the others: a pool comes, changes and goes in place."""
    few = pool("few", "ovn-default", "10.16.0.40")
    one, two = (pod(name, annotations={names.IP_POOL: "few"}) for name in "ab")
    where = world(one, two)
    assert "few does not exist" in told_about(where, one)
    put(where, few)
    assert {addresses(where, one), addresses(where, two)} == {"10.16.0.40", ""}
    edit(where, where.server.get(IPPool, "few"), "spec", "ips", value=("10.16.0.40..10.16.0.41",))
    assert {addresses(where, one), addresses(where, two)} == {"10.16.0.40", "10.16.0.41"}


def test_a_message_names_the_owner_of_an_address_as_its_record_does_now() -> None:
    """Found by histories: whose address it is was said in the words of an earlier version of the record."""
    where = world(pod("a", annotations={names.IP_ADDRESS: "10.16.0.40"}))
    late = pod("b", annotations={names.IP_ADDRESS: "10.16.0.40"})
    put(where, late)
    assert "Pod default/a" in told_about(where, late)
    edit(where, where.server.get(IP, "a.default"), "spec", "pod_name", value="other")
    assert told_about(where, late)


def test_a_pod_that_waits_for_a_mac_address_gets_it_when_only_that_is_free() -> None:
    held = reservation("held", "ovn-default", "10.16.0.50", MAC)
    where, waits = world(held), pod("a", annotations={names.MAC_ADDRESS: MAC})
    put(where, waits)
    assert "reservation held" in told_about(where, waits)
    change_mac(where, held, OTHER_MAC)
    assert not told_about(where, waits)
    assert addresses(where, waits)


def test_a_reservation_that_waits_for_a_mac_address_holds_when_only_that_is_free() -> None:
    held = reservation("held", "ovn-default", "10.16.0.50", MAC)
    where, waits = world(held), reservation("late", "ovn-default", "10.16.0.51", MAC)
    put(where, waits)
    assert "reservation held" in told_about(where, waits)
    change_mac(where, held, OTHER_MAC)
    assert not told_about(where, waits)
    assert where.server.get(IP, "late").spec.ip_address == "10.16.0.51"


def test_a_reservation_is_told_of_the_pod_that_was_given_its_address_since() -> None:
    where, late = (
        world(pod("x", annotations={names.MAC_ADDRESS: MAC})),
        reservation("kept", "ovn-default", "10.16.0.50", MAC),
    )
    put(where, late)
    assert "is used by Pod default/x" in told_about(where, late)
    put(where, pod("y", annotations=FIXED))
    assert "is used by Pod default/y" in told_about(where, late)


def test_a_message_names_the_pod_that_has_an_address_when_its_reservation_goes() -> None:
    held, late = reservation("a.default", "ovn-default", "10.16.0.50"), pod("b", annotations=FIXED)
    where = world(held, pod("a"))
    put(where, late)
    assert "reservation a.default" in told_about(where, late)
    go(where, held)
    assert "Pod default/a" in told_about(where, late)


def test_a_message_names_a_pod_as_it_is_when_it_comes_to_the_address_that_a_record_has() -> None:
    """A record may come before the Pod that it names is on a node, and name it wrongly."""
    early, late = pod("a", ""), pod("b", annotations=FIXED)
    spec = IPSpec(
        subnet="ovn-default",
        v4_ip_address="10.16.0.50",
        ip_address="10.16.0.50",
        mac_address=MAC,
        owner_uid=early.metadata.uid,
        namespace="default",
        pod_name="other",
    )
    where = world()
    where.server.put(early, late, IP(metadata=ObjectMeta(name="a.default", uid="ip-uid"), spec=spec))
    where.make_pass(NOTHING)
    assert not told_about(where, late), "the record is to go, and then the address is free"
    where.server.put(pod("a"))
    where.make_pass(NOTHING)
    assert "Pod default/a" in told_about(where, late)
    where.calm()


def checked(where: World) -> set[str]:
    """The endpoints that are asked whether they answer."""
    return {
        str(ip_address(endpoint))
        for row in rows(where.topology).values()
        if isinstance(row, LoadBalancer)
        for endpoint in row.ip_port_mappings
    }


def test_what_came_and_went_between_two_passes_is_made_again() -> None:
    api = Api(gateway("node1", 1), namespace("default"))
    topology, before = Topology(fabric()), api.snapshot()
    show(topology, before)
    wanted = {key: write for key, write in topology.take_changed_writes().items() if isinstance(write, Create)}
    (vpc,) = (key for key in wanted if key.identity.startswith("Vpc "))
    show(topology, Snapshot(objects=before.objects, changed={("", "ovn-cluster")}))
    assert topology.take_changed_writes() == {vpc: wanted[vpc]}


@pytest.mark.parametrize("kept", [("example.com/other", names.FINALIZER), (names.FINALIZER, "example.com/other")])
def test_a_pod_that_waits_is_told_when_the_record_of_a_pod_that_is_gone_cannot_go(kept: tuple[str, ...]) -> None:
    first, late = pod("a", annotations=FIXED), pod("b", annotations=FIXED)
    where = world(first)
    edit(where, where.server.get(IP, "a.default"), "metadata", "finalizers", value=kept)
    where.server.remove(first.metadata.uid)
    put(where, late)
    assert "address 10.16.0.50 of subnet ovn-default is used by Pod default/a" in told_about(where, late)
    let_go(where, "a.default")
    assert not told_about(where, late)
    assert addresses(where, late) == "10.16.0.50"


def test_a_pod_made_anew_is_told_when_the_record_of_the_former_one_cannot_go() -> None:
    former, anew = pod("a"), pod("a", uid="second")
    where = world(former)
    edit(where, where.server.get(IP, "a.default"), "metadata", "finalizers", value=("example.com/other",))
    where.server.remove(former.metadata.uid)
    put(where, anew)
    assert told_about(where, anew) == (
        "IP a.default is in the way: it records a former address, and its finalizers keep it; "
        "`kubectl describe ip a.default` shows them, remove them"
    )
    let_go(where, "a.default")
    assert not told_about(where, anew)
    assert addresses(where, anew) == "10.16.0.3"


def test_a_node_made_anew_is_told_when_the_record_of_the_former_one_cannot_go() -> None:
    former = gateway("node2", 2)
    where = world(former)
    edit(where, where.server.get(IP, "node-node2"), "metadata", "finalizers", value=("example.com/other",))
    where.server.remove(former.metadata.uid)
    anew = msgspec.structs.replace(former, metadata=msgspec.structs.replace(former.metadata, uid="second"))
    put(where, anew)
    assert "IP node-node2 is in the way" in told_about(where, anew)
    let_go(where, "node-node2")
    assert not told_about(where, anew)


def test_the_user_of_a_service_is_told_when_the_record_of_a_former_check_cannot_go() -> None:
    """The Subnet is made anew under its name."""
    former = subnet("blue", "10.20.0.0/24", namespaces=("default",))
    checked = service("web", "10.96.0.20", annotations={names.HEALTH_CHECK: "true"})
    where = world(former, pod("a"), checked, slice_of("web", "10.20.0.2", pods=("a",)))
    edit(where, where.server.get(IP, "checks-blue"), "metadata", "finalizers", value=("example.com/other",))
    del where.server.objects[former.metadata.uid]
    where.server.put(subnet("blue", "10.20.0.0/24", namespaces=("default",), uid="second"))
    where.notice_subnets()
    where.settle()
    where.server.put(slice_of("web", where.server.get(IP, "a.default").spec.ip_address, pods=("a",)))
    where.settle()
    assert "IP checks-blue is in the way" in told_about(where, checked)
    let_go(where, "checks-blue")
    assert not told_about(where, checked)


def let_go(where: World, record: str) -> None:
    """Others take their finalizers off an IP object that is deleted."""
    where.server.edit(where.server.get(IP, record), Edit(kind=IP, number=0, path=("metadata", "finalizers"), value=()))
    where.calm()
