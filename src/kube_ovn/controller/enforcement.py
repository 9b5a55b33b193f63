"""Which policies are enforced, and on how many nodes.

After a commit with new policies the controller counts up `nb_cfg` in the Northbound database. Each node's
ovn-controller writes the number to its own record when the node's flows are those of that moment (ovn-nb(5), `nb_cfg`;
ovn-sb(5), Chassis_Private). Nothing needs to survive a crash: the policy's annotation says what was told.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import structlog

from kube_ovn.model.nb import NbGlobal
from kube_ovn.model.policy import Enforced, Version
from kube_ovn.model.sb import ChassisPrivate
from kube_ovn.ovsdb.client import Client, OvsdbError

log = structlog.get_logger()

PATIENCE = 2.0
"""Seconds that nodes have until users are told how many of them enforce a policy; before that only all of them are
told, so a policy costs one write.
"""
PAUSE = 0.2
"""Seconds between two numbers at least: each costs every node a write."""
DEADLINE = 5.0
MOST_NAMED = 3
"""Names of nodes that a user is told."""


class _Asked(NamedTuple):
    """A question to the nodes: the number that they are to reach, and the loop time at which it was asked."""

    number: int
    at: float


class Enforcement:
    """Follows how far the nodes are, for the policies that wait for it."""

    def __init__(
        self, nb: Client, sb: Client | None, nodes: Callable[[], Mapping[str, str]], changed: Callable[[], None]
    ) -> None:
        """`sb`: None where the nodes' records are not followed, and nothing is told. `nodes`: the names of all Nodes,
        by the names of their chassis. `changed` is called when `known` has changed.
        """
        self._nb, self._sb, self._nodes, self._changed = nb, sb, nodes, changed
        self._asked: dict[Version, _Asked | None] = {}
        self._told_partly = -PATIENCE  # loop time at which partial answers were taken over last
        self._wake = asyncio.Event()
        self.known: Mapping[str, Enforced] = {}
        """How far each policy is enforced, by its UID, as far as it is to be told."""

    def committed(self, waiting: Collection[Version]) -> None:
        """Take over the policies that are in the Northbound database and wait."""
        if self._sb is not None and (waiting or self._asked):
            self._asked = {each: self._asked.get(each) for each in waiting}
            self._wake.set()

    def moved(self) -> None:
        """Note that nodes have reached a number, came or went."""
        if self._asked:
            self._wake.set()

    async def run(self) -> None:
        """Ask the nodes and see their behind_at, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._ask()
            except OvsdbError as error:
                log.warning("the nodes are not asked what they enforce", error=str(error))
                self._wake_later()
            self._look()
            await asyncio.sleep(PAUSE)

    async def _ask(self) -> None:
        new = [each for each, asked in self._asked.items() if asked is None]
        if not new:
            return
        number = await self._nb.count_up(NbGlobal.TABLE, "nb_cfg", DEADLINE)
        asked = _Asked(number, asyncio.get_running_loop().time())
        self._asked |= {each: asked for each in new if each in self._asked}
        self._wake_later()

    def _wake_later(self) -> None:
        asyncio.get_running_loop().call_later(PATIENCE, self._wake.set)

    def _look(self) -> None:
        """Compare what was asked with what the nodes have reached."""
        if self._sb is None or not self._sb.connected:
            return
        nodes = self._nodes()
        reached = {row["name"]: row["nb_cfg"] for row in self._sb.replica.rows(ChassisPrivate.TABLE)}
        behind_at = {
            number: _behind(number, nodes, reached)
            for number in {asked.number for asked in self._asked.values() if asked is not None}
        }
        now, known = asyncio.get_running_loop().time(), dict[str, Enforced]()
        is_due = now - self._told_partly >= PATIENCE
        for version, asked in self._asked.items():
            if asked is None:
                continue
            behind, before = behind_at[asked.number], self.known.get(version.uid)
            if not behind or (is_due and now - asked.at >= PATIENCE):
                known[version.uid] = Enforced(
                    generation=version.generation,
                    nodes=len(nodes) - len(behind),
                    of=len(nodes),
                    missing=tuple(behind[:MOST_NAMED]),
                )
            elif before is not None and before.generation == version.generation:
                known[version.uid] = before
        if is_due and not all(each.everywhere for each in known.values()):
            self._told_partly = now
            self._wake_later()
        if known != self.known:
            self.known = known
            self._changed()


def _behind(number: int, nodes: Mapping[str, str], reached: Mapping[str, int]) -> list[str]:
    """The names of the Nodes that have not reached a number."""
    return sorted(name for chassis, name in nodes.items() if reached.get(chassis, -1) < number)
