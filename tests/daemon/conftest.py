"""For the tests of real daemons: the stage of theirs in a run side by side (tests/lanes.py)."""

from pathlib import Path

import pytest

from tests.lanes import PLACE, Place

AFTER_THE_CLUSTERS = 10


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Daemons have deadlines, so they do not get by with the processor time that others leave."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.stash[PLACE] = Place(stage=AFTER_THE_CLUSTERS, alone=False, group=str(item.path))
