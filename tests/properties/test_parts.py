"""Laws of parts of plans: whatever is sent leaves nothing dangling, and nothing without what may guard it."""

from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.controller.parts import NorthboundPlan, Parts, parent_of
from kube_ovn.model.nb import PortGroup
from kube_ovn.model.row import Key, Member, Row, RowKey
from kube_ovn.plan import Plan, diff

State = dict[Key, Row | None]
names = st.sampled_from("abcd")
choices = st.sets(st.integers(0, 20))
"""Places in a plan, of the keys that are left out."""
rows = st.builds(lambda name: RowKey("T", name), names)
members = st.builds(lambda parent, column, target: Member("T", parent, column, target), names, st.just("refs"), names)
values = st.builds(lambda parent, target: Member("T", parent, "plain", target), names, names)


def target_of(member: Member) -> RowKey | None:
    return RowKey("T", member.target) if member.column == "refs" else None


def row(name: str) -> Row:
    return PortGroup(name=name)


def sound(keys: set[Key]) -> State:
    """These rows and memberships, and the rows that the memberships need."""
    state: State = {}
    for key in sorted(keys):
        needed = [key] if isinstance(key, RowKey) else [parent_of(key), target_of(key) or parent_of(key)]
        state.update({each: row(each.key) for each in needed})
        if isinstance(key, Member):
            state[key] = None
    return state


states = st.sets(st.one_of(rows, members, values), max_size=12).map(sound)


def chosen(plan: NorthboundPlan, choice: set[int]) -> set[Key]:
    return {key for place, key in enumerate(plan) if place in choice}


def carried_out(part: NorthboundPlan, actual: State) -> State:
    return {key: value for key, value in actual.items() if key not in part.delete} | part.create


@given(states, states, choices)
def test_a_part_leaves_nothing_dangling_and_no_new_row_unguarded(
    desired: State, actual: State, choice: set[int]
) -> None:
    plan = diff(desired, actual)
    out = chosen(plan, choice)
    sent = Parts(plan, target_of).sendable(plan.without(out), actual, actual.__contains__)
    after = carried_out(sent, actual)
    for key in sent.create:
        if isinstance(key, Member):
            assert parent_of(key) in actual or parent_of(key) in after
            target = target_of(key)
            assert target is None or target in actual or target in after
        else:
            mine = {each for each in desired if isinstance(each, Member) and target_of(each) == key}
            assert mine <= after.keys(), "a new row is in all the sets it is to be in"
    for key in sent.delete:
        left = {each for each in after if isinstance(each, Member) and target_of(each) == key}
        assert left <= desired.keys(), "no reference is left behind to a row that goes"
    assert not out & (sent.create.keys() | sent.update.keys())


@given(states, states)
def test_the_whole_is_sent_whole(desired: State, actual: State) -> None:
    plan = diff(desired, actual)
    assert Parts(plan, target_of).sendable(plan, actual, actual.__contains__) == plan


@given(states, states, st.lists(choices, max_size=3))
def test_parts_after_one_another_end_where_the_whole_ends(
    desired: State, actual: State, picked: list[set[int]]
) -> None:
    plan = diff(desired, actual)
    parts = Parts(plan, target_of)
    for choice in [*picked, *([set[int]()] * 25)]:
        out = chosen(plan, choice)
        part = diff(desired, actual, [key for key in plan if key not in out])
        actual = carried_out(parts.sendable(part, actual, actual.__contains__), actual)
    assert actual == desired


def test_a_membership_of_a_row_that_is_nowhere_waits() -> None:
    plan: NorthboundPlan = Plan(create={Member("T", "a", "refs", "b"): None, RowKey("T", "b"): row("b")})
    assert not Parts(plan, target_of).sendable(plan, {}, lambda key: False)
