"""Laws of `plan.diff`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.plan import AbsurdPlanError, Plan, diff, guard

State = dict[str, int | None]
states = st.dictionaries(st.text(max_size=3), st.one_of(st.none(), st.integers(0, 3)))


def apply(plan: Plan[str, int | None], actual: State) -> State:
    kept = {key: value for key, value in actual.items() if key not in plan.delete}
    return kept | plan.create | {key: want for key, (_, want) in plan.update.items()}


@given(states, states)
def test_applying_the_plan_gives_the_desired_state(desired: State, actual: State) -> None:
    assert apply(diff(desired, actual), actual) == desired


@given(states)
def test_equal_states_need_nothing(state: State) -> None:
    assert not diff(state, dict(reversed(state.items())))


@given(states, states)
def test_the_reverse_plan_swaps_create_and_delete(desired: State, actual: State) -> None:
    there, back = diff(desired, actual), diff(actual, desired)
    assert there.create == back.delete
    assert there.delete == back.create
    assert there.update == {key: (want, have) for key, (have, want) in back.update.items()}


@given(states, states)
def test_the_keys_that_changed_are_enough(desired: State, actual: State) -> None:
    changed = [key for key in desired | actual if desired.get(key, -1) != actual.get(key, -1)]
    assert diff(desired, actual, changed) == diff(desired, actual)


def test_guard_refuses_to_delete_every_anchor_but_not_one_of_them() -> None:
    actual: State = {"node-a": 1, "node-b": 1, "pod": 1}
    anchor = "node-".__eq__

    def is_anchor(key: str, _: object) -> bool:
        return anchor(key[:5])

    guard(diff({"node-a": 1}, actual), actual, is_anchor)
    guard(diff({"node-c": 1}, actual), actual, is_anchor)
    with pytest.raises(AbsurdPlanError, match="node-a"):
        guard(diff({}, actual), actual, is_anchor)
