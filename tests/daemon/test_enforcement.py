"""On how many nodes policies are enforced, asked of real databases. The records of nodes are written by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from kube_ovn.controller import enforcement
from kube_ovn.controller.enforcement import Enforcement
from kube_ovn.model import nb
from kube_ovn.model.policy import Enforced, Version
from kube_ovn.model.sb import ChassisPrivate
from kube_ovn.ovsdb.client import Client
from tests.daemon.ovn import Ovn, ovn

__all__ = ["ovn"]

DEADLINE = 10.0
NODES = {"chassis1": "node1", "chassis2": "node2"}
FIRST, SECOND = Version("uid1", 1), Version("uid2", 7)


class World:
    """What is known of enforcement, and the nodes' records."""

    def __init__(self, ovn: Ovn, northbound: Client, southbound: Client) -> None:
        self.ovn = ovn
        self.nodes = dict(NODES)
        self.changed = asyncio.Event()
        self.enforcement = Enforcement(northbound, southbound, lambda: self.nodes, self.changed.set)

    def reach(self, chassis: str, number: int) -> None:
        self.ovn.sbctl("set", "Chassis_Private", chassis, f"nb_cfg={number}")

    def asked(self) -> int:
        return int(self.ovn.nbctl("get", "NB_Global", ".", "nb_cfg"))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():  # noqa: ASYNC110 - what is waited for is in other processes
                await asyncio.sleep(0.02)

    async def known(self, version: Version) -> Enforced:
        await self.until(lambda: version.uid in self.enforcement.known)
        return self.enforcement.known[version.uid]


@pytest.fixture
async def world(ovn: Ovn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(enforcement, "PATIENCE", 1.0)
    for name in NODES:
        ovn.sbctl("create", "Chassis_Private", f"name={name}")
    northbound = Client([ovn.endpoint("nb")], "OVN_Northbound", nb.TABLES)
    southbound = Client(
        [ovn.endpoint("sb")], "OVN_Southbound", [ChassisPrivate], on_change=lambda: made.enforcement.moved()
    )
    made = World(ovn, northbound, southbound)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.run()) for each in (northbound, southbound, made.enforcement)]
        await northbound.synced(DEADLINE)
        await southbound.synced(DEADLINE)
        yield made
        for task in tasks:
            task.cancel()


async def test_a_policy_is_enforced_when_all_nodes_have_followed(world: World) -> None:
    world.enforcement.committed([FIRST])
    await world.until(lambda: world.asked() == 1)
    assert not world.enforcement.known
    world.reach("chassis1", 1)
    world.reach("chassis2", 1)
    assert await world.known(FIRST) == Enforced(generation=1, nodes=2, of=2)
    world.enforcement.committed([FIRST, SECOND])
    await world.until(lambda: world.asked() == 2)
    assert world.enforcement.known == {"uid1": Enforced(generation=1, nodes=2, of=2)}, "the first is not asked again"
    world.enforcement.committed([])
    await world.until(lambda: not world.enforcement.known)


async def test_a_node_that_does_not_follow_is_named(world: World) -> None:
    world.enforcement.committed([FIRST])
    await world.until(lambda: world.asked() == 1)
    world.reach("chassis1", 1)
    assert await world.known(FIRST) == Enforced(generation=1, nodes=1, of=2, missing=("node2",))
    del world.nodes["chassis2"]
    await world.until(lambda: world.enforcement.known["uid1"].everywhere)


async def test_a_change_of_a_policy_is_asked_anew(world: World) -> None:
    world.enforcement.committed([FIRST])
    await world.until(lambda: world.asked() == 1)
    changed = FIRST._replace(generation=2)
    world.enforcement.committed([changed])
    await world.until(lambda: world.asked() == 2)
    world.reach("chassis1", 1)
    world.reach("chassis2", 1)
    assert not (await world.known(changed)).everywhere, "that was the older generation"
    world.reach("chassis1", 2)
    world.reach("chassis2", 2)
    await world.until(lambda: world.enforcement.known["uid1"] == Enforced(generation=2, nodes=2, of=2))


async def test_nothing_is_written_while_nothing_waits(world: World) -> None:
    world.enforcement.committed([])
    world.reach("chassis1", 5)
    await asyncio.sleep(3 * enforcement.PAUSE)
    assert world.asked() == 0
