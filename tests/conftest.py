"""For the tests of all folders."""

from pathlib import Path

import pytest

from tests.lanes import PLACE, Place

pytest_plugins = ["tests.lanes"]
DAEMON = Path(__file__).parent / "daemon"
AFTER_THE_CLUSTERS = 10


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real daemons have deadlines, so they have a stage of their own; what only computes runs in the time that others
    leave.
    """
    for item in items:
        if item.path.is_relative_to(DAEMON):
            item.stash[PLACE] = Place(stage=AFTER_THE_CLUSTERS, alone=False, group=str(item.path))
