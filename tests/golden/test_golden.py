"""Each scenario renders to exactly the text beside it."""

import pytest

from tests.golden.scenario import FOLDER, SCENARIOS, load, outcome


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_renders_as_reviewed(scenario: str) -> None:
    assert outcome(scenario) == (FOLDER / scenario / "nb.txt").read_text()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_of_a_scenario_is_stale_or_depends_on_an_order(scenario: str) -> None:
    topology, _ = load(scenario)
    assert topology.graph.verify() == []
