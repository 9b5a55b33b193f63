"""For the tests of all folders."""

from pathlib import Path

import pytest

pytest_plugins = ["tests.lanes"]
DAEMON = Path(__file__).parent / "daemon"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that only compute come first: cluster tests that run side by side leave little of the machine, and real
    daemons have deadlines.
    """
    items.sort(key=lambda item: item.path.is_relative_to(DAEMON))
