"""One pass of the controller: snapshot, render, diff, guard, one transaction, publish.

Start-up, normal work, drift repair and clean-up are all the same pass.
"""

import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from prometheus_client import Gauge, Histogram

from kube_ovn.controller.aside import Owners
from kube_ovn.controller.commit import Committer
from kube_ovn.controller.enforcement import Enforcement
from kube_ovn.controller.optional import kept
from kube_ovn.controller.parts import NorthboundPlan
from kube_ovn.controller.publish import Publisher
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.network import Told
from kube_ovn.model.policy import Version
from kube_ovn.model.row import Key, Row, RowKey, State
from kube_ovn.model.writes import Aspect, Delete, Let, Write, WriteKey
from kube_ovn.ovsdb.client import Client
from kube_ovn.plan import Plan, diff, guard

K = TypeVar("K", bound=Hashable)

PASS_SECONDS = Histogram(
    "kube_ovn_controller_pass_seconds",
    "Duration of one pass by stage",
    ["stage"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
PROBLEMS = Gauge("kube_ovn_controller_problems", "Objects that cannot be given what they ask for")


class Decisions(Owners, Protocol[K]):
    """The decisions of the topology on the objects that it saw last."""

    @property
    def standing(self) -> bool:
        """Whether the subnets of nodes and of Pods without a wish are in effect; until then no row is written."""
        ...

    @property
    def unenforced(self) -> Collection[Version]:
        """The policies that are not yet known to be enforced on all nodes."""
        ...

    @property
    def state(self) -> State:
        """The desired rows and memberships."""
        ...

    def take_changed(self) -> set[Key]:
        """Keys of `state` that changed since the last call."""
        ...

    def take_changed_writes(self) -> Mapping[WriteKey, Write | None]:
        """Writes that came or changed since the last call; None for those that went."""
        ...

    def take_changed_told(self) -> Mapping[K, Told | None]:
        """The messages for the users of objects, each under a key of its own, that came or changed since the last call;
        None for those that went.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """The part of the cluster that could not be seen."""

    kinds: Collection[str] = ()
    """The names of the kinds that were never listed."""
    absent: Collection[str] = ()
    """Those of them that the API server does not have."""
    objects: bool = False
    """Whether objects could not be read since the process started: what an earlier process made for them is unknown."""


class Loop(Generic[K]):
    """Holds the decisions and the Northbound session of one leadership."""

    def __init__(
        self,
        observe: Callable[[AbstractSet[RowKey]], Unseen],
        decisions: Decisions[K],
        nb: Client,
        publisher: Publisher,
        report: Callable[[Sequence[Told]], None],
        again: Callable[[], None],
        enforcement: Enforcement,
    ) -> None:
        """`observe` brings the decisions up to date, given the keys of the rows of others; `again` asks for a further
        pass.
        """
        self._observe, self._decisions, self._nb = observe, decisions, nb
        self._publisher, self._report = publisher, report
        self._committer, self._enforcement = Committer(nb, decisions, again), enforcement
        self._reported: dict[K, Told] = {}
        self._agreed = False  # whether everything but the changed keys is known to agree
        self._pending: set[Key] = set()
        self._withheld: dict[WriteKey, Write] = {}
        self._orphans: set[Key] | None = None  # rows that were there and not desired at the first pass
        self._leaving: set[WriteKey] | None = None  # removals of objects that were wanted at the first pass

    def close(self) -> None:
        """End the work: the leadership is over."""
        self._committer.close()

    async def make_pass(self) -> None:
        """Bring the Northbound database and Kubernetes' objects up to date. Raises OvsdbError, AbsurdPlanError."""
        started = time.perf_counter()
        unseen = self._observe(self._nb.replica.foreign)
        rendered = time.perf_counter()
        standing = self._decisions.standing
        plan: NorthboundPlan = self._plan() if standing else Plan()
        replica = self._nb.replica
        still = kept(plan, unseen.kinds, replica.owned, replica.target, unseen.absent)
        if standing and self._orphans is None:
            self._orphans = set(plan.delete)
        if unseen.objects and self._orphans:
            still |= plan.delete.keys() & self._orphans
        planned = time.perf_counter()
        await self._committer.commit(plan.without(still), self._decisions.state)
        if standing:
            self._agreed, self._pending = True, still.union(self._committer.left)
            incomplete = self._committer.incomplete
            self._enforcement.committed([each for each in self._decisions.unenforced if each.uid not in incomplete])
        self._publish(unseen)
        self._tell()
        PASS_SECONDS.labels("render").observe(rendered - started)
        PASS_SECONDS.labels("diff").observe(planned - rendered)
        PASS_SECONDS.labels("commit").observe(time.perf_counter() - planned)

    def _plan(self) -> NorthboundPlan:
        """Compare the keys that changed on either side since both sides agreed; all keys, when that is not known."""
        replica, desired = self._nb.replica, self._decisions.state
        theirs = replica.take_changed()
        ours = self._decisions.take_changed()
        if theirs is None:
            self._agreed = False
        else:
            self._pending |= theirs
        self._pending |= ours
        plan = diff(desired, replica.owned, self._pending if self._agreed else None)
        guard(plan, replica.owned, is_node_port, lambda key: f"{key.table} {key.key}")
        return plan

    def _publish(self, unseen: Unseen) -> None:
        """Offer the writes. An annotation that lets a Pod start waits until all of the Pod is in the database. Removals
        of before the first pass wait until all objects can be read.
        """
        incomplete = self._committer.incomplete
        writes = {**self._withheld, **self._decisions.take_changed_writes()}
        if self._leaving is None:
            self._leaving = {key for key, write in writes.items() if isinstance(write, Delete | Let)}
        leaving = self._leaving if unseen.objects else frozenset[WriteKey]()
        self._withheld = {
            key: write
            for key, write in writes.items()
            if (key.aspect is Aspect.ANNOTATIONS and write is not None and write.object.uid in incomplete)
            or (key in leaving and isinstance(write, Delete | Let))
        }
        self._publisher.offer({key: write for key, write in writes.items() if key not in self._withheld})

    def _tell(self) -> None:
        """Report each message once when it comes or changes."""
        changed, news = self._decisions.take_changed_told(), list[Told]()
        for key, each in changed.items():
            if each is None:
                self._reported.pop(key, None)
            elif self._reported.get(key) != each:
                self._reported[key] = each
                news.append(each)
        self._report(news)
        if changed:
            PROBLEMS.set(sum(not each.normal for each in self._reported.values()))


def is_node_port(key: Key, row: Row | None) -> bool:
    """Whether a key is an anchor of the guard: to lose the port of every node at once is never meant."""
    return isinstance(key, RowKey) and isinstance(row, LogicalSwitchPort) and "node" in row.external_ids
