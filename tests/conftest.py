"""For the tests of all folders."""

from hypothesis import settings

pytest_plugins = ["tests.lanes", "tests.cluster.fixtures"]

# What computes gets the processor time that others leave (tests/lanes.py), so the time of an example says nothing.
settings.register_profile("beside others", deadline=None)
settings.load_profile("beside others")
