"""Laws of `topology.render`: the state depends on the objects, not on the way there; no grant is lost or doubled."""

import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kube_ovn.model import names
from kube_ovn.model.kube import Namespace, Node, Pod
from kube_ovn.model.network import Grant
from kube_ovn.model.row import RowKey
from kube_ovn.topology.memory import confirmed
from kube_ovn.topology.render import Snapshot, Topology
from tests.clusters import echoed, granted, namespace, node, pod, snapshot, step, vpc

NODES = [node("node1", 1), node("node2", 2), node("a.default", 3), node("b", 4, **granted("join", "100.64.0.2"))]
NAMESPACES = [namespace("default"), namespace("other", **{names.LOGICAL_SWITCH: "another"})]


def life(name: str, on: str, *, number: int, **fields: Any) -> Pod:
    """A UID has one name for ever, a name may have several UIDs, one after another."""
    return pod(name, on, uid=f"uid-{fields['namespace']}-{name}-{number}", **fields)


pods = st.builds(
    life,
    st.sampled_from(["a", "b", "c", "node-a", "node-node1"]),
    st.sampled_from(["", "node1", "node2", "unknown"]),
    number=st.integers(0, 1),
    namespace=st.sampled_from(["default", "other"]),
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]),
    host_network=st.booleans(),
    annotations=st.sampled_from(
        [
            {},
            {names.IP_ADDRESS: "10.16.0.9"},
            {names.IP_ADDRESS: "10.16.0.1"},
            {names.IP_ADDRESS: "192.0.2.1"},
            {names.IP_ADDRESS: "nonsense"},
            {names.MAC_ADDRESS: "01:00:00:00:00:01"},
            {names.LOGICAL_SWITCH: "missing"},
            granted("ovn-default", "10.16.0.2"),
            granted("ovn-default", "10.16.0.9", "0a:00:00:00:00:08"),
            granted("ovn-default", "10.16.0.1"),
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

snapshots = st.builds(
    lambda chosen, nodes, namespaces, foreign: replace(
        snapshot(*one_of_each_name(chosen), *nodes, *namespaces), foreign=frozenset(foreign)
    ),
    st.lists(pods, max_size=6),
    st.lists(st.sampled_from(NODES), unique_by=id, max_size=4),
    st.lists(st.sampled_from(NAMESPACES), unique_by=id, max_size=2),
    st.lists(st.sampled_from(FOREIGN), unique=True, max_size=1),
)


@given(st.lists(snapshots, min_size=1, max_size=5))
@settings(max_examples=300)
def test_incremental_equals_fresh(history: list[Snapshot]) -> None:
    walked, before = Topology(vpc()), snapshot()
    for each in history:
        walked.render(step(before, each))
        before = each
    last = echoed(walked, before)
    walked.render(step(before, last))
    # Who had to give its name up keeps its address, as if its annotation had been written meanwhile.
    nameless = {uid: grant for uid, grant in walked.ledger.grants.items() if uid in walked.problems}
    fresh = Topology(vpc(), {**nameless, **confirmed(walked.assembly.state)})
    fresh.render(last)
    assert walked.assembly.state == fresh.assembly.state
    assert walked.ledger.grants == fresh.ledger.grants
    assert walked.problems.keys() == fresh.problems.keys()
    assert not fresh.publications


@given(snapshots, st.randoms(use_true_random=False))
def test_the_order_of_objects_does_not_matter(given_: Snapshot, chance: random.Random) -> None:
    objects: list[Pod | Node | Namespace] = [
        *given_.pods.values(),
        *given_.nodes.values(),
        *given_.namespaces.values(),
    ]
    chance.shuffle(objects)
    other = replace(snapshot(*objects), foreign=given_.foreign)
    one, two = Topology(vpc()), Topology(vpc())
    one.render(given_)
    two.render(other)
    assert one.assembly.state == two.assembly.state
    assert one.publications == two.publications


@given(st.lists(snapshots, min_size=1, max_size=5))
def test_no_address_is_shared_or_kept_by_the_gone(history: list[Snapshot]) -> None:
    topology = Topology(vpc())
    for each in history:
        topology.render(each)
        grants: dict[str, Grant] = topology.ledger.grants
        taken = [(grant.subnet, address) for grant in grants.values() for address in grant.addresses]
        assert len(taken) == len(set(taken))
        assert grants.keys() <= each.pods.keys() | each.nodes.keys()


@given(st.lists(snapshots, min_size=1, max_size=4))
def test_the_changed_keys_are_exactly_what_moved(history: list[Snapshot]) -> None:
    topology = Topology(vpc())
    mirror: dict[object, object] = {}
    for each in history:
        topology.render(each)
        for key in topology.assembly.take_changed():
            if key in topology.assembly.state:
                mirror[key] = topology.assembly.state[key]
            else:
                mirror.pop(key, None)
        assert mirror == topology.assembly.state


@given(st.lists(snapshots, min_size=1, max_size=4))
def test_the_changed_publications_are_exactly_what_moved(history: list[Snapshot]) -> None:
    topology, before = Topology(vpc()), snapshot()
    mirror: dict[str, object] = {}
    for each in history:
        topology.render(step(before, each))
        before = each
        for uid, publication in topology.take_changed_publications().items():
            if publication is None:
                del mirror[uid]
            else:
                mirror[uid] = publication
        assert mirror == topology.publications


@given(st.lists(snapshots, min_size=1, max_size=4))
def test_every_membership_has_its_rows(history: list[Snapshot]) -> None:
    """No pass leaves a reference to a row that is not there: the database would refuse the whole transaction."""
    topology = Topology(vpc())
    refers_to = {"ports": ("Logical_Switch_Port", "Logical_Router_Port"), "static_routes": (), "policies": ()}
    for each in history:
        topology.render(each)
        state = topology.assembly.state
        for key in state:
            if len(key) == 4:
                assert (key.table, key.key) in state
                if refers_to[key.column]:
                    assert any((table, key.target) in state for table in refers_to[key.column])
