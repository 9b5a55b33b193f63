"""A configuration that one test makes must not reach the next."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command line that is invoked logs to a stream of its own, which is closed afterwards."""
    yield
    structlog.reset_defaults()
