"""In the end: what the tests made is gone."""

import pytest

from sandbox.layout import IpFamily
from tests.cluster import kube
from tests.cluster.fixtures import no_namespace_left

FAMILY = IpFamily.IPV6
"""That of the last tests of a run."""


@pytest.mark.alone
def test_no_namespace_of_a_test_is_left(cluster: dict[str, str]) -> None:
    kube.when(no_namespace_left, 120, "the Namespaces of all tests removed", "namespace")
