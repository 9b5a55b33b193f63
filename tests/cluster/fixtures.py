"""Fixtures of the tests on the sandbox (tests/cluster, tests/tenant): the sandbox with the fabric, a Namespace and
addresses for each test.

Tests run side by side (tests/lanes.py): one family after another, and in each those marked `alone` last.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from sandbox.cluster import recorded_cluster
from sandbox.demo import reinstall
from sandbox.layout import IpFamily
from sandbox.paths import SandboxError
from tests.cluster.fabric import Block
from tests.cluster.kube import Objects
from tests.cluster.lab import Scene, wait_until_healthy
from tests.lanes import PLACE, Place

FOLDERS = (Path(__file__).parent, Path(__file__).parent.parent / "tenant")
"""The tests that need the sandbox."""
PREFIX = "test-"
ORDER = [IpFamily.IPV4, IpFamily.DUAL, IpFamily.IPV6]
NUMBER = pytest.StashKey[int]()
NODES = pytest.StashKey[dict[IpFamily, int]]()
_STANDING = os.memfd_create("sandbox")
"""The address family of the sandbox that this run has made; all lanes share the file."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests. A module names another family than IPv4 in FAMILY, more than two nodes in NODE_COUNT; TOGETHER
    says that its tests share a Namespace. Modules of one family come one after another, so that the sandbox is made
    anew once a family.
    """
    ours = [item for item in items if any(item.path.is_relative_to(folder) for folder in FOLDERS)]
    nodes = config.stash[NODES] = dict.fromkeys(IpFamily, 2)
    for number, item in enumerate(ours):
        family, alone = _family(item), item.get_closest_marker("alone") is not None
        nodes[family] = max(nodes[family], getattr(_module(item), "NODE_COUNT", 2))
        group = str(item.path) if alone or getattr(_module(item), "TOGETHER", False) else item.nodeid
        item.stash[PLACE] = Place(stage=ORDER.index(family), alone=alone, group=group)
        item.stash[NUMBER] = number
    items.sort(key=lambda item: item.stash[PLACE].stage if PLACE in item.stash else 0)


def _family(item: pytest.Item) -> IpFamily:
    family = getattr(_module(item), "FAMILY", IpFamily.IPV4)
    assert isinstance(family, IpFamily)
    return family


def _module(item: pytest.Item) -> ModuleType:
    assert isinstance(item, pytest.Function)
    module: ModuleType = item.module
    return module


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> dict[str, str]:
    """A running sandbox of the module's family with this checkout as its network; the address of each node by name."""
    family = getattr(request.module, "FAMILY", IpFamily.IPV4)
    _stand(family, request.config.stash[NODES][family], request.session.testsfailed)
    wait_until_healthy()
    return {node.name: str(node.v6.ip if family is IpFamily.IPV6 else node.v4.ip) for node in recorded_cluster().nodes}


def _stand(family: IpFamily, nodes: int, failures: int) -> None:
    """Make the sandbox once a family, and repair it when tests have failed since. Other lanes wait for the one that
    does it, and fail when it fails.
    """
    wanted = f"{family} after {failures} failures"
    fcntl.lockf(_STANDING, fcntl.LOCK_EX)  # a process that ends gives it back
    try:
        stands, _, complaint = os.pread(_STANDING, 10000, 0).decode().partition(": ")
        if stands != wanted:
            complaint = _make(family, nodes)
            os.ftruncate(_STANDING, 0)
            os.pwrite(_STANDING, f"{wanted}: {complaint}".encode(), 0)
    finally:
        fcntl.lockf(_STANDING, fcntl.LOCK_UN)
    if complaint:
        raise SandboxError(complaint)


def _make(family: IpFamily, nodes: int) -> str:
    """Make the sandbox; returns the error, or "" when there is none."""
    try:
        reinstall(nodes, family)
    except SandboxError as error:
        return str(error)
    return ""


def no_namespace_left(seen: Objects, except_for: str = "") -> bool:
    return not [name for name in seen if name.startswith(PREFIX) and name != except_for]


@contextmanager
def opened(name: str) -> Iterator[Scene]:
    """A Namespace that is removed in the end."""
    scene = Scene(name)
    scene.open()
    try:
        yield scene
    finally:
        scene.close()


@pytest.fixture
def scene(cluster: dict[str, str]) -> Iterator[Scene]:
    """A Namespace of this test's own, in a fabric that is whole."""
    wait_until_healthy()
    with opened(f"{PREFIX}{secrets.token_hex(3)}") as scene:
        yield scene


@pytest.fixture
def other(cluster: dict[str, str]) -> Iterator[Scene]:
    """A second Namespace."""
    with opened(f"{PREFIX}other-{secrets.token_hex(3)}") as scene:
        yield scene


@pytest.fixture(scope="module")
def shared_scene(cluster: dict[str, str]) -> Iterator[Scene]:
    """A Namespace for tests that change nothing; their module has TOGETHER."""
    with opened(f"{PREFIX}{secrets.token_hex(3)}") as scene:
        yield scene


@pytest.fixture
def block(request: pytest.FixtureRequest) -> Block:
    """Addresses that no other test has."""
    return Block(number=request.node.stash[NUMBER])
