"""Fixtures of people without an administrator's rights. The sandbox itself is in tests/cluster/fixtures.py."""

from pathlib import Path

import pytest

from tests.cluster.lab import Scene
from tests.tenant.tenant import OWNS, Tenant, make_tenant


@pytest.fixture
def tenant(scene: Scene, tmp_path: Path) -> Tenant:
    """A tenant of this test's Namespace: may create Pods, Services and ConfigMaps there."""
    return make_tenant(scene, tmp_path)


@pytest.fixture
def owner(scene: Scene, tmp_path: Path) -> Tenant:
    """The owner of this test's Namespace: a tenant who may also annotate it."""
    return make_tenant(scene, tmp_path, [OWNS])
