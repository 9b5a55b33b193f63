"""Each scenario renders to exactly the text beside it."""

import pytest

from tests.golden.scenario import FOLDER, SCENARIOS, outcome


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_renders_as_reviewed(scenario: str) -> None:
    assert outcome(scenario) == (FOLDER / scenario / "nb.txt").read_text()
