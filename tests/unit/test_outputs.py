"""The sinks: rows that several cells say, rows that change hands, and writes that are offered again."""

import msgspec
import pytest

from kube_ovn.derive import Collection, Graph
from kube_ovn.model.kube import Namespace, Pod
from kube_ovn.model.nb import LogicalSwitch
from kube_ovn.model.network import Kind, ObjectRef, Told, cluster_ref
from kube_ovn.model.row import RowKey, State, facts, owned
from kube_ovn.model.writes import Annotate, Aspect, WriteKey
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.outputs import Rows, Telling, ToldKey, Wanted, Writes
from tests.small_clusters import Api, fabric, namespace, node, pod, settle, show, step

SWITCH = RowKey(LogicalSwitch.TABLE, "s")


def switch(**ids: str) -> State:
    return facts(LogicalSwitch(name="s", external_ids=owned(**ids)))


def said() -> tuple[Rows, Collection[str, State]]:
    rows, source = Rows(), Graph().collection("said", str, dict)
    rows.follow(source, lambda cell: cluster_ref(Kind.SUBNET, cell))
    return rows, source  # type: ignore[return-value]  # a State is what this test puts in


def test_a_row_that_two_cells_say_stays_until_neither_does() -> None:
    rows, source = said()
    source.put("a", switch())
    source.put("b", switch())
    assert rows.take_changed() == {SWITCH}
    source.drop("a")
    rows.take_changed()
    assert SWITCH in rows.state
    source.drop("b")
    assert rows.take_changed() == {SWITCH}
    assert not rows.state


@pytest.mark.parametrize("new_first", [True, False])
def test_a_row_changes_hands_within_a_pass(new_first: bool) -> None:
    rows, source = said()
    source.put("a", switch(by="a"))
    rows.take_changed()
    if new_first:
        source.put("b", switch(by="b"))
        source.drop("a")
    else:
        source.drop("a")
        source.put("b", switch(by="b"))
    assert rows.take_changed() == {SWITCH}
    assert rows.state == switch(by="b")


def test_two_cells_that_disagree_about_a_row_are_a_fault() -> None:
    rows, source = said()
    source.put("a", switch(by="a"))
    source.put("b", switch(by="b"))
    with pytest.raises(ValueError, match="is said to be different things"):
        rows.take_changed()


def test_the_owner_of_a_row_is_the_object_of_the_cell_that_says_it() -> None:
    rows, source = said()
    source.put("a", switch())
    unknown = RowKey(LogicalSwitch.TABLE, "other")
    assert rows.owners([SWITCH, unknown]) == {SWITCH: cluster_ref(Kind.SUBNET, "a")}


def test_one_write_of_an_equal_cell_replaces_that_of_another() -> None:
    writes, source = Writes(), Graph().collection("asked", str, Wanted)
    writes.follow(source)
    ref = ObjectRef(kind=Kind.POD, namespace="default", name="a", uid="u")
    key = WriteKey("u", Aspect.ANNOTATIONS)
    first, second = (Annotate(object=ref, annotations={"a": text}) for text in "12")
    source.put("x", Wanted(key, first))
    source.put("y", Wanted(key, second))
    source.drop("x")
    assert writes.take_changed() == {key: second}
    source.drop("y")
    assert writes.take_changed() == {key: None}


def test_what_is_told_goes_with_its_cell() -> None:
    telling, source = Telling(), Graph().collection("told", str, Told)
    telling.follow(source)
    told = Told(object=cluster_ref(Kind.SUBNET, "s"), reason="R", message="m")
    source.put("a", told)
    key = ToldKey("told", "a")
    assert telling.told == telling.take_changed() == {key: told}
    assert telling.take_changed() == {}
    source.drop("a")
    assert not telling.told
    assert telling.take_changed() == {key: None}


def test_a_write_that_was_undone_before_the_watch_told_of_it_is_sent_again() -> None:
    """The annotation is written and removed again between two passes: the Pod is as it was, and still needs it."""
    api = Api(node("node1", 1), namespace("default"), pod("a"))
    topology, before = Topology(fabric()), api.snapshot()
    settle(topology, api)
    there = api.get(Pod, "a", "default")
    bare = msgspec.structs.replace(there, metadata=msgspec.structs.replace(there.metadata, annotations={}))
    before = api.snapshot()
    api.put(bare)
    show(topology, step(before, api.snapshot()))
    key = WriteKey("uid-a", Aspect.ANNOTATIONS)
    assert topology.take_changed_writes()[key] is not None
    again = api.snapshot()
    api.put(msgspec.structs.replace(bare))  # an equal object, and yet another version of it
    show(topology, step(again, api.snapshot()))
    assert key in topology.take_changed_writes()
    show(topology, step(api.snapshot(), api.snapshot()))
    assert not topology.take_changed_writes()
    assert api.find(Namespace, "default") is not None
