"""Laws of `topology.render`: the state depends on the objects, not on the way there; no grant is lost or doubled."""

import random
from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kube_ovn.model import names
from kube_ovn.model.crd import IP, LabelSelector
from kube_ovn.model.kube import Node, Object, Pod, ServicePort
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.row import RowKey
from kube_ovn.topology.addresses.memory import confirmed
from kube_ovn.topology.graph import Topology
from tests.histories.laws import check_references
from tests.small_clusters import (
    Api,
    fabric,
    gateway,
    granted,
    namespace,
    node,
    pod,
    pool,
    reservation,
    service,
    settle,
    show,
    slice_of,
    snapshot,
    stateful_set,
    step,
    subnet,
)

NODES = [
    gateway("node1", 1, egress="true"),
    gateway("node1", 1, ready=False),
    gateway("node1", 1, emptied=True, ipv6=True, egress="true"),
    gateway("node2", 2, ready=False),
    gateway("node2", 2),
    node("a.default", 3),
]
NAMESPACES = [
    namespace("default"),
    namespace("other", None, **{names.LOGICAL_SWITCH: "own", names.CIDR: "10.30.0.0/29"}),
    namespace("third", None, **{names.LOGICAL_SWITCH: "own", names.CIDR: "10.31.0.0/29"}),
]
SETS = [stateful_set("web", 2)]
SERVICES: list[Object] = [
    service("web", "10.96.0.20"),
    service("web", "10.96.0.21", uid="service-uid-web-again"),
    slice_of("web", "10.16.0.2", uid="slice-1"),
    slice_of("web", "10.16.0.2", "10.16.0.3", uid="slice-2"),
    slice_of("other", "10.16.0.2", uid="slice-3"),
    service("near", "10.96.0.22", "fd00:10:96::22", internal_traffic_policy="Local"),
    service("near", "None", uid="service-uid-near-again"),
    slice_of("near", "10.16.0.2", "10.16.0.3", uid="slice-4", nodes=("node1", "node2")),
    slice_of("near", "fd00::2", uid="slice-5", nodes=("node1",)),
    service("out", "10.96.0.23", external_ips=("192.0.2.1", "10.20.0.3")),
    service("dns", "10.96.0.10", ports=(ServicePort(port=53, protocol="UDP"),)),
    slice_of("dns", "10.16.0.2", uid="slice-6", protocol="UDP"),
    service("looked-at", "10.96.0.25", annotations={names.HEALTH_CHECK: "true"}),
    service("looked-at", "10.96.0.26", uid="service-uid-looked-at-again", annotations={names.HEALTH_CHECK: "yes"}),
    slice_of("looked-at", "10.16.0.2", "10.20.0.2", "192.0.2.7", uid="slice-7", pods=("a", "b", "c")),
    service("looked-at-too", "10.96.0.27", annotations={names.HEALTH_CHECK: "true"}),
    slice_of("looked-at-too", "10.20.0.3", uid="slice-8", pods=("c",)),
    service("old-out", "10.96.0.24", external_ips=("192.0.2.1", "10.96.0.20"), session_affinity="ClientIP"),
]
THINGS: list[Object] = [
    *SERVICES,
    subnet("blue", "10.20.0.0/29", namespaces=("third",)),
    subnet("green", "10.20.0.0/24", private=True, allow_subnets=("10.16.0.0/16", "nonsense")),
    subnet("bad", "10.96.0.0/24"),
    subnet("dual", "10.21.0.0/29,fd00:21::/125", enable_dhcp=True, enable_ipv6_ra=True),
    subnet("out", "10.22.0.0/24", gateway_type="centralized", gateway_node="node2,node1", enable_ecmp=True),
    subnet(
        "chosen",
        "10.23.0.0/24",
        gateway_type="centralized",
        gateway_node_selectors=(LabelSelector(match_labels={"egress": "true"}),),
    ),
    pool("few", "ovn-default", "10.16.0.8..10.16.0.9", "10.99.0.1"),
    reservation("a.default", "ovn-default", "10.16.0.20"),
    reservation("kept", "blue", "10.20.0.2"),
    reservation("checks-ovn-default", "ovn-default", "10.16.0.21"),
]


def life(name: str, on: str, *, number: int, **fields: Any) -> Pod:
    """A UID has one name for ever, a name may have several UIDs, one after another."""
    parent = SETS[0] if name.startswith("web") else None
    return pod(name, on, uid=f"uid-{fields['namespace']}-{name}-{number}", parent=parent, **fields)


pods = st.builds(
    life,
    st.sampled_from(["a", "b", "c", "node-a", "node-node1", "web-0", "web-1", "web-7"]),
    st.sampled_from(["", "node1", "node2", "unknown"]),
    number=st.integers(0, 1),
    namespace=st.sampled_from(["default", "other", "third"]),
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]),
    host_network=st.booleans(),
    reported=st.sampled_from(["", "10.16.0.2", "10.16.0.9", "100.64.0.3"]),
    annotations=st.sampled_from(
        [
            {},
            {names.IP_ADDRESS: "10.16.0.9"},
            {names.IP_ADDRESS: "10.16.0.1"},
            {names.IP_ADDRESS: "192.0.2.1"},
            {names.IP_ADDRESS: "nonsense"},
            {names.MAC_ADDRESS: "01:00:00:00:00:01"},
            {names.LOGICAL_SWITCH: "missing"},
            {names.LOGICAL_SWITCH: "dual"},
            {names.LOGICAL_SWITCH: "dual", names.IP_FAMILY: "ipv6"},
            {names.IP_POOL: "few"},
            {names.IP_POOL: "10.16.0.30;10.16.0.31"},
            {names.PORT_SECURITY: "false"},
            granted("ovn-default", "10.16.0.2"),
            granted("ovn-default", "10.16.0.9", "0a:00:00:00:00:08"),
            granted("join", "100.64.0.3"),
            granted("missing", "10.16.0.2"),
        ]
    ),
)


def one_of_each_name(objects: list[Pod]) -> list[Pod]:
    """The API server never shows two objects of one name, nor two of one UID."""
    named = {(item.metadata.namespace, item.metadata.name): item for item in objects}
    return list({item.metadata.uid: item for item in named.values()}.values())


FOREIGN = [
    RowKey("Logical_Switch_Port", "a.default"),
    RowKey("Logical_Switch_Port", "node-node1"),
    RowKey("Port_Group", "node.node2"),
]

contents = st.builds(
    lambda chosen, nodes, namespaces, things, sets: [*one_of_each_name(chosen), *nodes, *namespaces, *things, *sets],
    st.lists(pods, max_size=6),
    st.lists(st.sampled_from(NODES), unique_by=lambda item: item.metadata.uid, max_size=3),
    st.lists(st.sampled_from(NAMESPACES), unique_by=id, max_size=3),
    st.lists(st.sampled_from(THINGS), unique_by=lambda item: (type(item), *name(item)), max_size=5),
    st.lists(st.sampled_from(SETS), unique_by=id, max_size=1),
)


def live(history: list[list[Object]]) -> tuple[Topology, Api]:
    """A controller that lived through a history: objects come, change and go between its passes, and its writes are
    carried out before, between or after.
    """
    topology, api = Topology(fabric()), Api()
    before = snapshot()
    for objects in history:
        wanted = {item.metadata.uid for item in objects}
        for uid, item in list(api.objects.items()):
            mine = item.metadata.uid in wanted or is_ours(item)
            if not mine:
                api.remove(uid)
        api.put(*(as_now(item, api) for item in objects if isinstance(item, Node) and item.metadata.uid in api.objects))
        api.put(
            *(
                item
                for item in objects
                if item.metadata.uid not in api.objects and api.find(type(item), *name(item)) is None
            )
        )
        for _ in range(2):
            view = api.snapshot()
            show(topology, step(before, view))
            before = view
            for write in list(topology.writes.values()):
                api.write(write)
    settle(topology, api, before)
    return topology, api


def as_now(item: Node, api: Api) -> Node:
    """A Node that became another, and kept what the controller wrote on it."""
    here = api.objects[item.metadata.uid]
    annotations = {**here.metadata.annotations, **item.metadata.annotations}
    return msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, annotations=annotations))


def name(item: Object) -> tuple[str, str]:
    return item.metadata.name, item.metadata.namespace


def is_ours(item: Object) -> bool:
    """Made by the controller, not by this test's users."""
    return "-uid-" not in item.metadata.uid and not item.metadata.uid.startswith("uid-")


@given(st.lists(contents, min_size=1, max_size=4))
@settings(max_examples=300)
def test_incremental_equals_fresh(history: list[list[Object]]) -> None:
    walked, api = live(history)
    fresh = Topology(fabric(), confirmed(walked.state))
    show(fresh, api.snapshot())
    assert walked.state == fresh.state
    assert walked.grants == fresh.grants
    assert walked.told == fresh.told
    assert not fresh.writes
    assert walked.graph.verify() == []


@given(contents, st.sampled_from([frozenset(), *({each} for each in FOREIGN)]), st.randoms(use_true_random=False))
def test_the_order_of_objects_does_not_matter(objects: list[Object], foreign: Any, chance: random.Random) -> None:
    api = Api(*objects)
    settle(Topology(fabric()), api)
    for item in [item for item in api.objects.values() if isinstance(item, IP)]:
        if chance.random() < 0.5:
            api.objects.pop(item.metadata.uid)
    one, two = Topology(fabric()), Topology(fabric())
    view = replace(api.snapshot(), foreign=frozenset(foreign))
    shuffled = list(view.objects.values())
    chance.shuffle(shuffled)
    show(one, view)
    show(two, replace(snapshot(*shuffled), foreign=frozenset(foreign)))
    assert one.state == two.state
    assert one.writes == two.writes


@given(st.lists(contents, min_size=1, max_size=4))
def test_no_address_is_shared_or_kept_by_the_gone(history: list[list[Object]]) -> None:
    topology, api = live(history)
    grants = topology.grants
    taken = [(grant.subnet, address) for grant in grants.values() for address in grant.addresses]
    assert len(taken) == len(set(taken))
    ports = {row.name for row in topology.state.values() if isinstance(row, LogicalSwitchPort) and not row.type}
    living = {
        f"{item.metadata.name}.{item.metadata.namespace}" for item in api.objects.values() if isinstance(item, Pod)
    }
    assert ports <= living | {f"node-{item.metadata.name}" for item in NODES}


@given(st.lists(contents, min_size=1, max_size=3))
def test_what_changed_is_exactly_what_moved(history: list[list[Object]]) -> None:
    topology, api, before = Topology(fabric()), Api(), snapshot()
    rows: dict[object, object] = {}
    writes: dict[object, object] = {}
    for objects in history:
        api.put(*(item for item in objects if api.find(type(item), *name(item)) is None))
        view = api.snapshot()
        show(topology, step(before, view))
        before = view
        for key in topology.take_changed():
            if key in topology.state:
                rows[key] = topology.state[key]
            else:
                rows.pop(key, None)
        for write_key, write in topology.take_changed_writes().items():
            if write is None:
                writes.pop(write_key, None)
            else:
                writes[write_key] = write
        assert rows == topology.state
        assert writes == topology.writes
        for write in list(topology.writes.values()):
            api.write(write)


@given(st.lists(contents, min_size=1, max_size=3))
def test_every_membership_has_its_rows(history: list[list[Object]]) -> None:
    """No pass leaves a reference to a row that is not there: the database would refuse the whole transaction."""
    topology, api, before = Topology(fabric()), Api(), snapshot()
    for objects in [*history, history[-1], history[-1]]:
        api.put(*(item for item in objects if api.find(type(item), *name(item)) is None))
        view = api.snapshot()
        show(topology, step(before, view))
        before = view
        check_references(topology.state)
        for write in list(topology.writes.values()):
            api.write(write)


def anew(item: Object) -> Object:
    """Another object of the same name."""
    made = msgspec.structs.replace(item.metadata, uid=f"another {item.metadata.uid}")
    return msgspec.structs.replace(item, metadata=made)  # type: ignore[type-var]


WATCHED = {names.HEALTH_CHECK: "true"}
PLACES: list[Object] = [namespace("default"), namespace("third"), gateway("node1", 1)]
COMING_AND_GOING: list[Object] = [
    service("looked-at", "10.96.0.25", annotations=WATCHED),
    service("looked-at", "10.96.0.25", uid="left alone"),
    service("looked-at-too", "10.96.0.26", namespace="third", annotations=WATCHED),
    slice_of("looked-at", "10.16.0.2", uid="slice-1", pods=("a",)),
    slice_of("looked-at", "10.16.0.2", "10.16.0.3", uid="slice-2", pods=("b", "b")),
    slice_of("looked-at-too", "10.20.0.2", namespace="third", uid="slice-3", pods=("c",)),
    subnet("blue", "10.20.0.0/29", namespaces=("third",)),
    anew(subnet("blue", "10.20.0.0/29", namespaces=("third",))),
    pod("a", "node1", annotations={names.IP_ADDRESS: "10.16.0.2"}),
    pod("b", "node1", annotations={names.IP_ADDRESS: "10.16.0.3"}),
    pod("c", "node1", namespace="third"),
    pod("d", "node1", namespace="third"),
    anew(reservation("checks-blue", "blue", "10.20.0.4")),
    anew(reservation("checks-ovn-default", "ovn-default", "10.16.0.2")),
]


@given(st.lists(st.sampled_from(COMING_AND_GOING), max_size=14))
def test_what_comes_and_goes_in_a_standing_cluster_leaves_no_trace(changes: list[Object]) -> None:
    """Each time an object comes or, if it is there, goes: the outcome is that of a controller that starts now, and that
    one has nothing to write.
    """
    api = Api(*PLACES)
    topology, view = Topology(fabric()), None
    settle(topology, api)
    for item in changes:
        view = api.snapshot()
        before = api.find(type(item), item.metadata.name, item.metadata.namespace)
        if before is None:
            api.put(item)
        else:
            api.remove(before.metadata.uid)
        settle(topology, api, view)
    fresh = Topology(fabric())
    show(fresh, api.snapshot())
    assert not fresh.writes
    assert fresh.state == topology.state
    assert fresh.grants == topology.grants
    assert fresh.problems == topology.problems, (fresh.problems, topology.problems)
