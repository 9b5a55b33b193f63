"""For the tests of all folders."""

pytest_plugins = ["tests.lanes"]
