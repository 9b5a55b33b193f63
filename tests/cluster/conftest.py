"""Fixtures of the cluster tests: the sandbox with the fabric, and a Namespace for each test."""

import secrets
from collections.abc import Iterator

import pytest

from sandbox.cluster import recorded_cluster, recorded_family
from sandbox.demo import reinstall
from sandbox.layout import IpFamily
from tests.cluster.lab import Scene, get, until, wait_until_healthy

PREFIX = "test-"


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> dict[str, str]:
    """A running sandbox whose network is this checkout's; the address of each node by name. A module whose tests need
    other than IPv4 says so in FAMILY; those come last, so that the sandbox is made anew once a family. One that needs
    more than two nodes says so in NODE_COUNT; further nodes stay.
    """
    family = _family(request.module)
    reinstall(getattr(request.module, "NODE_COUNT", 2), family)
    wait_until_healthy()
    return {node.name: str(node.v6.ip if family is IpFamily.IPV6 else node.v4.ip) for node in recorded_cluster().nodes}


@pytest.fixture(scope="session", autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    if recorded_family() is not None:
        until(no_namespace_left, 120, "the tests' Namespaces removed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules of one family after another: IPv4, dual, IPv6. Others keep their place before them."""
    order = [IpFamily.IPV4, IpFamily.DUAL, IpFamily.IPV6]
    items.sort(key=lambda item: order.index(_family(getattr(item, "module", None))))


def _family(module: object) -> IpFamily:
    family = getattr(module, "FAMILY", IpFamily.IPV4)
    assert isinstance(family, IpFamily)
    return family


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
