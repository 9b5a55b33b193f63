"""What was given stays given: a running Pod keeps its port and addresses, and what is reserved stays reserved, whatever
comes later, also when a controller starts anew.

No comparison with a controller that starts later shows these faults, because that one forgets alike.
"""

from typing import Any

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.crd import IP, Subnet
from kube_ovn.model.kube import Object, OwnerReference, Pod
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.row import RowKey
from kube_ovn.model.writes import Annotate, ApplyStatus, Create
from tests.histories.controller import complaints, grants, rows, writes
from tests.histories.fields import Edit
from tests.histories.steps import NOTHING, Pass, Restart
from tests.histories.world import World
from tests.small_clusters import fabric, gateway, namespace, pod, reservation, stateful_set, subnet

LISTED = {names.IP_POOL: "10.16.0.11;10.16.0.12"}
RESTARTS = pytest.mark.parametrize(
    "again", [None, Restart(), Restart(lost=True)], ids=["goes on", "anew", "anew, empty"]
)
"""The controller goes on, or another starts, with the database or without."""


def world(*objects: Object) -> World:
    """A cluster with a node that is calm with these objects in it."""
    made = World(fabric(), [gateway("node1", 1), namespace("default"), *objects])
    made.calm()
    return made


def put(where: World, *objects: Object) -> None:
    where.server.put(*objects)
    where.calm()


def edit(where: World, item: Object, *path: str, value: object, entry: str = "") -> None:
    now = where.server.objects[item.metadata.uid]
    where.server.edit(now, Edit(kind=type(item), number=0, path=path, value=value, entry=entry))


def annotate(where: World, item: Object, key: str, text: str) -> None:
    edit(where, item, "metadata", "annotations", value=text, entry=key)


def told_about(where: World, item: Object) -> str:
    return complaints(where.topology).get(item.metadata.uid, "")


def addresses(where: World, item: Pod) -> str:
    """What a Pod was told."""
    return where.server.objects[item.metadata.uid].metadata.annotations.get(names.IP_ADDRESS, "")


def port(where: World, name: str) -> LogicalSwitchPort:
    row = rows(where.topology).get(RowKey(LogicalSwitchPort.TABLE, name))
    assert isinstance(row, LogicalSwitchPort)
    return row


# --- 8: a Subnet that is refused cuts off nothing ---


@RESTARTS
def test_a_pod_keeps_its_port_when_a_subnet_comes_whose_joint_would_have_its_name(again: Restart | None) -> None:
    runs, joint = pod("a", namespace="default-ovn-cluster"), subnet("a.default", "10.20.0.0/24")
    where = world(namespace("default-ovn-cluster", {names.PERMIT_SPOOFING: "true"}), runs)
    found = port(where, "a.default-ovn-cluster")
    put(where, joint)
    assert "a.default-ovn-cluster" in told_about(where, joint)
    if again is not None:
        where.take(again)
        where.make_pass(Pass())
        assert port(where, "a.default-ovn-cluster") == found
    annotate(where, runs, names.PORT_SECURITY, "false")
    where.calm()
    now = port(where, "a.default-ovn-cluster")
    assert (now.addresses, now.external_ids) == (found.addresses, found.external_ids)
    assert not now.port_security, "and what its user changed is done"
    assert not told_about(where, runs)
    assert "a.default-ovn-cluster" in told_about(where, joint)


@pytest.mark.parametrize("lost", [False, True])
def test_a_pod_keeps_its_port_when_such_a_subnet_comes_before_a_controller_starts(lost: bool) -> None:
    runs, joint = pod("a", namespace="default-ovn-cluster"), subnet("a.default", "10.20.0.0/24")
    where = world(namespace("default-ovn-cluster"), runs)
    found = port(where, "a.default-ovn-cluster")
    where.server.put(joint)
    where.take(Restart(lost))
    where.make_pass(Pass())
    assert port(where, "a.default-ovn-cluster") == found
    where.calm()
    assert port(where, "a.default-ovn-cluster") == found
    assert "a.default-ovn-cluster" in told_about(where, joint)


def test_a_node_keeps_its_port_when_a_subnet_comes_whose_joint_would_have_its_name() -> None:
    where, joint = world(gateway("x-ovn-cluster", 2)), subnet("node-x", "10.20.0.0/24")
    found = port(where, "node-x-ovn-cluster")
    put(where, joint)
    assert "node-x-ovn-cluster" in told_about(where, joint)
    where.take(Restart())
    where.calm()
    annotate(where, gateway("x-ovn-cluster", 2), names.CHASSIS, "another")
    where.calm()
    assert port(where, "node-x-ovn-cluster") == found


# --- 9: two watches race ---


def test_a_pod_that_is_seen_before_its_stateful_set_waits_for_its_own_number() -> None:
    web = stateful_set("web", 2, 1)
    first, second = (pod(name, parent=web, annotations=LISTED) for name in ("web-1", "web-2"))
    where = world(second)
    assert "waits for StatefulSet web" in told_about(where, second)
    assert where.server.find(IP, "web-2.default") is None
    assert not addresses(where, second)
    put(where, web)
    assert addresses(where, second) == "10.16.0.12"
    assert not told_about(where, second)
    put(where, first)
    assert addresses(where, first) == "10.16.0.11"
    assert not told_about(where, first)


def test_a_pod_that_is_seen_before_its_stateful_set_waits_also_in_a_race() -> None:
    """Both are there, and one of the watches is late; nothing that was decided meanwhile may be on its way."""
    web = stateful_set("web", 2, 1)
    both = [pod(name, parent=web, annotations=LISTED) for name in ("web-1", "web-2")]
    where = world()
    where.server.put(web, *both)
    where.make_pass(Pass(-1, (type(web),)))
    assert not [write for write in writes(where.topology).values() if write.object.name.startswith("web")]
    where.calm()
    assert not any(told_about(where, each) for each in both)
    assert [addresses(where, each) for each in both] == ["10.16.0.11", "10.16.0.12"]


@RESTARTS
def test_a_pod_that_runs_does_not_lose_its_address_with_its_stateful_set(again: Restart | None) -> None:
    """As with `kubectl delete --cascade=orphan`: only a Pod without an address waits."""
    web = stateful_set("web", 2, 1)
    first = pod("web-2", parent=web, annotations=LISTED)
    where = world(web, first)
    found = port(where, "web-2.default")
    where.server.remove(web.metadata.uid)
    where.calm()
    if again is not None:
        where.take(again)
        where.calm()
    assert port(where, "web-2.default") == found
    assert not told_about(where, first)


@pytest.mark.parametrize(("version", "waits"), [("apps.example.com/v1", False), ("apps/v1", True), ("", False)])
def test_only_a_stateful_set_that_is_followed_is_waited_for(version: str, waits: bool) -> None:
    """Those of another API group are not, so their Pods get an address of the list."""
    reference = {"kind": "StatefulSet", "name": "web", "uid": "another-uid", "apiVersion": version, "controller": True}
    owner = msgspec.convert(reference, OwnerReference)
    bare = pod("web-1", annotations=LISTED)
    made = msgspec.structs.replace(bare, metadata=msgspec.structs.replace(bare.metadata, owner_references=(owner,)))
    where = world(made)
    assert addresses(where, made) in ([""] if waits else ["10.16.0.11", "10.16.0.12"])
    assert ("waits for StatefulSet web" in told_about(where, made)) == waits


# --- 10: what is reserved stays reserved ---


@RESTARTS
def test_a_reservation_holds_when_its_address_is_excluded_later(again: Restart | None) -> None:
    kept, blue = reservation("kept", "blue", "10.20.0.5"), subnet("blue", "10.20.0.0/29")
    where = world(blue, kept)
    made = where.server.get(IP, "kept")
    assert made.spec.mac_address, "it is complete"
    edit(where, blue, "spec", "exclude_ips", value=("10.20.0.4..10.20.0.6",))
    where.calm()
    if again is not None:
        where.take(again)
        where.calm()
    assert not told_about(where, kept)
    assert where.server.get(IP, "kept") == made
    assert "10.20.0.5" in where.server.get(Subnet, "blue").status.v4_using_ip_range
    meant = pod("kept", annotations={names.LOGICAL_SWITCH: "blue"})
    thief = pod("b", annotations={names.LOGICAL_SWITCH: "blue", names.IP_ADDRESS: "10.20.0.5"})
    put(where, meant, thief)
    assert "10.20.0.5" in told_about(where, thief)


@RESTARTS
def test_a_pod_gets_what_is_reserved_for_it_also_when_that_is_excluded_later(again: Restart | None) -> None:
    kept, blue = reservation("a.default", "blue", "10.20.0.5"), subnet("blue", "10.20.0.0/29")
    where = world(blue, kept)
    edit(where, blue, "spec", "exclude_ips", value=("10.20.0.5",))
    where.calm()
    if again is not None:
        where.take(again)
        where.calm()
    meant = pod("a", annotations={names.LOGICAL_SWITCH: "blue"})
    put(where, meant)
    assert addresses(where, meant) == "10.20.0.5"


def test_what_is_excluded_already_cannot_be_reserved() -> None:
    kept = reservation("kept", "blue", "10.20.0.5")
    where = world(subnet("blue", "10.20.0.0/29", exclude_ips=("10.20.0.5",)), kept)
    assert "reserves nothing" in told_about(where, kept)
    assert not where.server.get(IP, "kept").spec.mac_address


@RESTARTS
@pytest.mark.parametrize("has_pod", [False, True])
def test_a_reservation_that_its_user_completes_before_the_controller_does(has_pod: bool, again: Restart | None) -> None:
    """Found by histories: the running controller kept the MAC address of its own, and a new one took the user's."""
    kept, first = reservation("a.default", "ovn-default", "10.16.0.40"), pod("a")
    where = world()
    where.server.put(kept, *([first] if has_pod else []))
    where.make_pass(NOTHING)
    edit(where, kept, "spec", "mac_address", value="0a:00:00:00:00:77")
    where.make_pass(NOTHING)
    if again is not None:
        where.take(again)
    where.calm()
    made = where.server.get(IP, "a.default")
    assert made.spec.mac_address == "0a:00:00:00:00:77"
    assert grants(where.topology)[made.metadata.uid].mac == made.spec.mac_address


# --- 11: a reservation that comes while a Pod's first record is on its way ---


@pytest.mark.parametrize("late", [False, True])
def test_a_pod_that_was_told_nothing_yet_takes_what_is_reserved_for_it(late: bool) -> None:
    first, kept = pod("a"), reservation("a.default", "ovn-default", "10.16.0.40")
    where = world()
    where.server.put(first)
    where.make_pass(NOTHING)
    (given,) = grants(where.topology)[first.metadata.uid].addresses
    assert str(given) != "10.16.0.40"
    where.server.put(kept)
    if late:  # the record is decided once more before the controller hears of the reservation
        where.make_pass(Pass(deaf=(IP,)))
    where.calm()
    assert addresses(where, first) == "10.16.0.40"
    spec = where.server.get(IP, "a.default").spec
    assert (spec.ip_address, spec.v4_ip_address) == ("10.16.0.40", "10.16.0.40")
    assert [port(where, "a.default").addresses] == [{f"{spec.mac_address} 10.16.0.40"}]
    assert not told_about(where, kept)
    assert not told_about(where, first)


@RESTARTS
@pytest.mark.parametrize("text", ["10.16.0.41", "10.16.0.1", "nonsense", None])
def test_a_user_cannot_change_what_a_pod_with_a_reservation_was_told(text: str | None, again: Restart | None) -> None:
    """Found by histories: a controller that took the annotation for the Pod's address never came to an end."""
    first, kept = pod("a"), reservation("a.default", "ovn-default", "10.16.0.40")
    where = world(first, kept)
    found = port(where, "a.default")
    edit(where, first, "metadata", "annotations", value=text, entry=names.IP_ADDRESS)
    if again is not None:
        where.take(again)
    where.calm()
    assert port(where, "a.default") == found
    assert addresses(where, first) == "10.16.0.40"
    assert not told_about(where, kept)


def test_what_such_a_pod_had_is_free() -> None:
    first, kept = pod("a"), reservation("a.default", "ovn-default", "10.16.0.40")
    where = world()
    where.server.put(first)
    where.make_pass(NOTHING)
    (given,) = grants(where.topology)[first.metadata.uid].addresses
    put(where, kept)
    other = pod("b", annotations={names.IP_ADDRESS: str(given)})
    put(where, other)
    assert addresses(where, other) == str(given)
    assert not told_about(where, other)


@pytest.mark.parametrize("text", ["10.16.0.60", "10.16.0.1,fd00:16::1"])
def test_a_reservation_with_a_gateway_that_its_subnet_has_not_reserves_nothing(text: str) -> None:
    """After a restart the gateway of its Pod was the address of another Pod that runs."""
    kept = with_gateway(reservation("web.default", "ovn-default", "10.16.0.50"), text)
    where = world(kept, pod("web"), pod("other", annotations={names.IP_ADDRESS: "10.16.0.60"}))
    assert told_about(where, kept) == (
        f"IP web.default reserves nothing: its gateway {text} is not that of subnet ovn-default, 10.16.0.1; "
        "delete this IP and make another without a gateway"
    )
    where.take(Restart())
    where.calm()
    assert "ip-uid-web.default" not in grants(where.topology)


def test_a_reservation_may_name_the_gateway_of_its_subnet() -> None:
    kept = with_gateway(reservation("web.default", "ovn-default", "10.16.0.50"), "10.16.0.1")
    where = world(kept, pod("web"))
    assert not complaints(where.topology)
    assert addresses(where, pod("web")) == "10.16.0.50"


def with_gateway(item: IP, text: str) -> IP:
    return msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, gateway=text))


@RESTARTS
def test_a_reservation_that_reserves_nothing_does_not_take_the_address_of_a_pod(again: Restart | None) -> None:
    """It names a MAC address, and was made before the Pod's record."""
    runs, late = pod("a"), reservation("late", "ovn-default", "10.16.0.2", "0a:00:00:00:00:07")
    where = world(runs)
    assert addresses(where, runs) == "10.16.0.2"
    put(where, late)
    assert "is used by Pod default/a" in told_about(where, late)
    if again is not None:
        where.take(again)
        where.make_pass(Pass())
    where.calm()
    assert port(where, "a.default")
    assert "is used by Pod default/a" in told_about(where, late)


# --- a Subnet, and a Pod whose record is on its way ---


def race() -> tuple[World, Pod, Subnet]:
    """A Pod has a grant, and no record yet, when a Subnet comes whose joint has the name of the Pod's port."""
    waits, joint = pod("a", namespace="default-ovn-cluster"), subnet("a.default", "10.20.0.0/24")
    where = world(namespace("default-ovn-cluster"))
    where.server.put(waits)
    where.make_pass(NOTHING)
    where.server.put(joint)
    where.notice_subnets()
    return where, waits, joint


def test_a_subnet_gives_way_to_a_pod_whose_record_is_on_its_way() -> None:
    where, waits, joint = race()
    where.make_pass(NOTHING)
    late = [each for each in writes(where.topology).values() if isinstance(each, ApplyStatus)]
    for kind in (Create, Annotate):
        carry_out(where, kind)
    assert addresses(where, waits)
    for write in late:
        where.carry_out(write)
    where.calm()
    assert port(where, "a.default-ovn-cluster").external_ids[names.OWNER_UID] == waits.metadata.uid
    assert "a.default-ovn-cluster" in told_about(where, joint)


def test_a_pod_gives_way_to_a_subnet_that_was_accepted_before_its_record_came() -> None:
    """The record is one that a controller before this one asked for."""
    where, waits, joint = race()
    late = [each for each in writes(where.topology).values() if isinstance(each, Create)]
    where.take(Restart())
    where.make_pass(NOTHING)
    statuses = [each for each in writes(where.topology).values() if isinstance(each, ApplyStatus)]
    for record in late:
        where.carry_out(record)
    where.make_pass(NOTHING)
    carry_out(where, Annotate)
    assert not addresses(where, waits), "it is told nothing that does not last"
    for status in statuses:
        where.carry_out(status)
    where.calm()
    assert "a.default-ovn-cluster" in told_about(where, waits)
    assert not told_about(where, joint)


def test_a_subnet_gives_way_to_a_pod_whose_record_is_made_anew() -> None:
    runs, joint = pod("a", namespace="default-ovn-cluster"), subnet("a.default", "10.20.0.0/24")
    where = world(namespace("default-ovn-cluster"), runs)
    del where.server.objects[where.server.get(IP, "a.default-ovn-cluster").metadata.uid]
    where.make_pass(NOTHING)
    put(where, joint)
    assert port(where, "a.default-ovn-cluster").external_ids[names.OWNER_UID] == runs.metadata.uid
    assert "a.default-ovn-cluster" in told_about(where, joint)


def carry_out(where: World, kind: type[Any]) -> None:
    """Carry out the writes of one kind, and make a pass without any other."""
    for write in list(writes(where.topology).values()):
        if isinstance(write, kind):
            where.carry_out(write)
    where.make_pass(NOTHING)
