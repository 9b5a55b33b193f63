"""What is set aside, for how long, and which units are suspected or wait."""

from kube_ovn.controller.aside import Aside, Unit, chunks, format_unit, group, halves, suspects, waiting
from kube_ovn.model.nb import LogicalSwitch
from kube_ovn.model.network import Kind, ObjectRef
from kube_ovn.model.row import Key, Member, Row, RowKey, facts, owned
from kube_ovn.plan import diff

A = ObjectRef(kind=Kind.POD, namespace="n", name="a", uid="u")
B = ObjectRef(kind=Kind.SUBNET, namespace="", name="b", uid="v")
ROW, OTHER = RowKey("Logical_Switch", "s"), RowKey("Logical_Switch_Port", "p")
JOINT = Member("Logical_Switch", "s", "ports", "p")
PLAIN = Member("Address_Set", "a", "addresses", "10.0.0.1")


def target_of(member: Member) -> RowKey | None:
    return RowKey("Logical_Switch_Port", member.target) if member.column == "ports" else None


def switch(**config: str) -> dict[Key, Row | None]:
    return facts(LogicalSwitch(name="s", other_config=config, external_ids=owned()))


def test_a_unit_is_left_out_until_what_is_wanted_of_it_changes() -> None:
    aside, desired = Aside(), {**switch(bad="1"), JOINT: None}
    plan = diff(desired, {})
    aside.put(A, [ROW, JOINT], desired, "no good", until=100.0)
    assert aside.reasons() == {A: "no good"}
    assert aside.sort(plan, desired, 99.0) == ({ROW, JOINT}, {})
    assert aside.sort(diff({**desired, OTHER: None}, {}), {**desired, OTHER: None}, 99.0) == ({ROW, JOINT}, {})
    mended = {**switch(bad="2"), JOINT: None}
    assert aside.sort(diff(mended, {}), mended, 99.0) == (set(), {A: {ROW, JOINT}})
    assert aside.reasons() == {A: "no good"}, "until it is taken"
    less = switch(bad="1")
    assert aside.sort(diff(less, {}), less, 99.0) == (set(), {A: {ROW}})
    assert aside.sort(diff({}, {}), {}, 99.0) == (set(), {})
    assert (aside.reasons(), aside.due) == ({}, None)


def test_a_key_that_is_not_wanted_any_more_does_not_have_its_unit_tried_on_every_pass() -> None:
    aside, desired = Aside(), {**switch(bad="1"), JOINT: None}
    aside.put(A, [ROW, JOINT], desired, "no good", until=100.0)
    less = switch(bad="1")
    plan = diff(less, {})
    assert aside.sort(plan, less, 99.0) == (set(), {A: {ROW}})
    aside.put(A, [ROW], less, "no good", until=100.0)
    assert aside.sort(plan, less, 99.0) == ({ROW}, {})


def test_a_further_row_of_a_unit_that_is_refused_later_leaves_the_first_one_out() -> None:
    aside, desired = Aside(), {**switch(bad="1"), OTHER: None}
    aside.put(A, [ROW], desired, "no good", until=100.0)
    aside.put(A, [OTHER], desired, "no good either", until=100.0)
    assert aside.sort(diff(desired, {}), desired, 99.0) == ({ROW, OTHER}, {})


def test_a_unit_is_tried_again_in_its_time() -> None:
    aside, desired = Aside(), switch()
    aside.put(A, [ROW], desired, "no good", until=100.0)
    aside.put(B, [OTHER], desired, "no good", until=90.0)
    assert aside.due == 90.0
    assert aside.sort(diff({**desired, OTHER: None}, {}), {**desired, OTHER: None}, 100.0)[1].keys() == {A, B}


def test_a_removal_that_is_refused_is_one_unit_with_its_memberships() -> None:
    assert group([ROW, OTHER, JOINT, PLAIN], {ROW: A, PLAIN: None}, target_of) == {
        A: {ROW},
        OTHER: {OTHER, JOINT},
        RowKey("Address_Set", "a"): {PLAIN},
    }


def test_the_units_of_the_rows_that_are_named_are_suspected_first() -> None:
    units: dict[Unit, set[Key]] = {A: {ROW}, B: {JOINT, OTHER}}
    assert suspects(units, [ROW, JOINT]) == {A: {ROW}}
    assert suspects(units, [JOINT]) == {B: {JOINT, OTHER}}
    assert suspects(units, []) == {}


def test_halves_and_portions() -> None:
    units: dict[Unit, set[Key]] = {RowKey("t", str(number)): {ROW} for number in range(7)}
    first, second = halves(units)
    assert first | second == units
    assert {len(first), len(second)} == {3, 4}
    assert [len(each) for each in chunks(units, 3)] == [3, 3, 1]


def test_which_unit_waits_for_which() -> None:
    group_row, in_group = RowKey("Port_Group", "g"), Member("Port_Group", "g", "ports", "p")
    left: dict[Key, Unit] = {group_row: B, in_group: A, OTHER: A, JOINT: A, PLAIN: A}
    assert waiting(left, {B}, target_of) == {A: B}, "for the row that has the set"
    left = {in_group: B, OTHER: A}
    assert waiting(left, {B}, target_of) == {A: B}, "for the membership in which it is"
    assert waiting({group_row: B}, {B}, target_of) == {}


def test_units_have_names() -> None:
    assert [format_unit(each) for each in (A, B, ROW)] == ["Pod n/a", "Subnet b", "Logical_Switch s"]
