"""Fixtures of the cluster tests: the sandbox with the fabric, and a Namespace for each test."""

import secrets
from collections.abc import Iterator

import pytest

from sandbox.cluster import recorded_cluster
from sandbox.demo import install
from sandbox.layout import IpFamily
from tests.cluster.lab import Scene, get, until, wait_until_healthy

PREFIX = "test-"


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    """A running sandbox whose network is this checkout's; the address of each node by name."""
    install(2, IpFamily.IPV4)
    wait_until_healthy()
    yield {node.name: str(node.v4.ip) for node in recorded_cluster().nodes}
    until(no_namespace_left, 120, "the tests' Namespaces removed")


def no_namespace_left(except_for: str = "") -> bool:
    names = [item["metadata"]["name"] for item in get("namespaces")]
    return not [name for name in names if name.startswith(PREFIX) and name != except_for]


def _open() -> Iterator[Scene]:
    scene = Scene(f"{PREFIX}{secrets.token_hex(3)}")
    scene.open()
    try:
        yield scene
    finally:
        scene.close()


@pytest.fixture
def scene(cluster: dict[str, str]) -> Iterator[Scene]:
    """A Namespace of this test's own, in a fabric that is whole."""
    wait_until_healthy()
    yield from _open()


@pytest.fixture(scope="module")
def shared_scene(cluster: dict[str, str]) -> Iterator[Scene]:
    """A Namespace for tests that only look."""
    yield from _open()
