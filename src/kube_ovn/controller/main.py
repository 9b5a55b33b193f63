"""kube-ovn-controller: one process, one TaskGroup. Puts the parts together and decides nothing.

A controller that stands by follows Kubernetes and the Northbound database already; with the Lease it makes passes. A
leader that cannot prove that it sees both as they are does not renew the Lease, and another controller takes over.
"""

import asyncio
import gc
import os
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from functools import partial

import structlog
import uvloop

from kube_ovn.config import parse_flags
from kube_ovn.controller.cells import Work, verify
from kube_ovn.controller.enforcement import Enforcement
from kube_ovn.controller.loop import Loop, Unseen
from kube_ovn.controller.progress import Progress, UnsettledError
from kube_ovn.controller.publish import Publisher
from kube_ovn.controller.send import Sender, Targets
from kube_ovn.controller.settings import Settings
from kube_ovn.k8s.client import NOT_UNDERSTOOD_REASON, KubeError
from kube_ovn.k8s.client import Client as Kube
from kube_ovn.k8s.credentials import CredentialsError, load_credentials
from kube_ovn.k8s.decode import Unreadable
from kube_ovn.k8s.domain import read_domain
from kube_ovn.k8s.events import Recorder
from kube_ovn.k8s.history import History
from kube_ovn.k8s.lease import Election, LeaseLostError, Timing
from kube_ovn.k8s.watch import follow
from kube_ovn.model import names
from kube_ovn.model.kube import Object
from kube_ovn.model.nb import TABLES, NbGlobal
from kube_ovn.model.network import Kind, ObjectRef, Told
from kube_ovn.model.resource import NODES, Resource
from kube_ovn.model.row import RowKey
from kube_ovn.model.sb import ChassisPrivate
from kube_ovn.model.writes import Create, Patch, Write
from kube_ovn.ovsdb.client import Client, FencedError, OvsdbError
from kube_ovn.ovsdb.tls import load_tls
from kube_ovn.plan import AbsurdPlanError
from kube_ovn.reconcile import Dirty, Underway, reconcile, until_told
from kube_ovn.serving import raise_descriptors
from kube_ovn.telemetry import serve_health, start_logging
from kube_ovn.topology.addresses.memory import confirmed, released
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.inputs import FOLLOWED, OPTIONAL
from kube_ovn.topology.outputs import ToldKey

log = structlog.get_logger()

LOOK_DEADLINE = 60.0
"""Seconds for a new leader to see everything as it is."""
PROBE_PERIOD = 5.0
RESTLESS_PERIOD = 1.0
"""Seconds until a further pass when derivations did not come to rest."""
RETRY_PERIOD = 0.1
FRESHNESS = 600.0
"""Seconds after which a watch without any proof is not trusted; a healthy one ends and is begun anew before that.

A dead connection is noticed much earlier by its keep-alive, a dead API server by the renewal of the Lease.
"""
STUCK_PASS = 3600.0
"""Seconds after which a pass never ends. One that narrows down what a slow database refuses may take many minutes."""
LACK = 15.0
"""Seconds for which a required kind may be missing: an API server that was just started may forbid everything."""


def main() -> None:
    gc.disable()  # until the cluster is loaded: see `_collect_later`
    settings = parse_flags(Settings, names.CONTROLLER, sys.argv[1:], os.environ)
    start_logging(settings.log_level)
    raise_descriptors()
    try:
        fabric, timing, tls = settings.fabric(), settings.timing(), load_tls(settings.northbound())
    except (ValueError, OvsdbError) as error:
        sys.exit(str(error))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(until_told(_run(settings, fabric, timing, tls)))
    except CredentialsError as error:
        sys.exit(str(error))


async def _run(settings: Settings, fabric: Fabric, timing: Timing, tls: ssl.SSLContext | None) -> None:
    async with Kube(load_credentials(settings.kubeconfig)) as kube:
        await Controller(settings, fabric, timing, kube, tls).run()


class Controller:
    """The parts of the process, and the calls and flags that connect them."""

    def __init__(
        self, settings: Settings, fabric: Fabric, timing: Timing, kube: Kube, tls: ssl.SSLContext | None
    ) -> None:
        self._settings, self._fabric, self._timing, self._kube = settings, fabric, timing, kube
        self._dirty = Dirty()
        self._targets = Targets(FOLLOWED, self._dirty.mark)
        self._nb = Client(
            settings.northbound(),
            "OVN_Northbound",
            TABLES,
            on_change=self._dirty.mark,
            tls=tls,
            fence_table=NbGlobal.TABLE,
        )
        southbound = settings.southbound()
        self._sb = (
            Client(southbound, "OVN_Southbound", [ChassisPrivate], on_change=self._moved, tls=tls)
            if southbound
            else None
        )
        self._identity = settings.pod_name or socket.gethostname()
        self._election = Election(kube, settings.pod_namespace, names.CONTROLLER, self._identity, timing)
        self._recorder = Recorder(kube, names.CONTROLLER, socket.gethostname())
        self._fresh = asyncio.Event()
        self._proved = 0.0  # loop time at which the Northbound database last answered
        self._progress, self._underway = Progress(), Underway(stuck=STUCK_PASS)
        self._loop: Loop[ToldKey] | None = None
        self._enforcement = Enforcement(self._nb, self._sb, self._chassis, self._dirty.mark)
        self._unheld: int | None = None  # the next epoch, if there was no leader when this process began to look
        self._restless: list[str] = []  # the derivations that did not come to rest in the present pass
        self._again: asyncio.TimerHandle | None = None  # asks for a pass after one that did not come to rest
        self._passed = False  # whether a pass was completed since this process started

    async def run(self) -> None:
        self._unheld = await self._election.unheld()
        settings, live = self._settings, {"pass": self._underway.complaint}
        ready = {"sync": self._complaint, "pass": self._unfinished}
        health = serve_health(settings.pprof_port, live, ready, address=settings.metrics_address)
        async with health, asyncio.TaskGroup() as group:
            for target in self._targets.by_kind.values():
                group.create_task(follow(self._kube, target.resource, target.store, report=self._report_unreadable))
            for part in (
                self._nb.run(),
                self._prove(),
                self._recorder.run(),
                self._collect_later(),
                self._serve(),
                *([self._sb.run()] if self._sb else []),
            ):
                group.create_task(part)

    async def _collect_later(self) -> None:
        """Start the garbage collector when everything is listed, and keep the objects of that time out of it: a start
        with 10,000 Pods is a fifth shorter, and no later pass pays for walking through them.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_DEADLINE):
                await self._fresh.wait()
        gc.freeze()
        gc.enable()

    async def _serve(self) -> None:
        """Lead, and stand by again after losing the Lease or the fence. Each leadership begins without any memory."""
        while True:
            await self._fresh.wait()
            try:
                await self._election.lead(self._lead, self._incapacity)
            except* LeaseLostError as errors:
                log.warning("leadership lost", reason=str(errors.exceptions[0]))
            except* FencedError as errors:
                log.warning("leadership lost", reason=str(errors.exceptions[0]))
            if self._progress.incapacity() is not None:
                await asyncio.sleep(self._timing.duration)  # another controller is to take the Lease
            self._progress.forget()

    async def _lead(self) -> None:
        await self._look_anew()
        self._nb.fence(f"{self._identity}/{self._election.epoch}")
        history = History(self._kube, self._settings.pod_namespace)
        await self._read_history(history)
        sender = Sender(self._kube, self._targets.by_kind, history.append)
        publisher = Publisher(sender.send, self._refused)
        fabric = replace(self._fabric, domain=await self._read_domain())
        topology = Topology(fabric, confirmed(self._nb.replica.owned), released(history.records))
        self._loop = Loop(
            partial(self._observe, topology, publisher),
            topology,
            self._nb,
            publisher,
            partial(self._report, topology),
            self._dirty.mark,
            self._enforcement,
        )
        try:
            with Work(topology.graph):
                await self._work(topology, history, publisher)
        finally:
            self._loop.close()

    async def _work(self, topology: Topology, history: History, publisher: Publisher) -> None:
        """Make passes until the leadership is over."""
        for target in self._targets.by_kind.values():
            for item in target.store.unreadable.values():
                self._report_unreadable(target.resource, item)
        world = (OvsdbError, AbsurdPlanError)
        passes = reconcile(self._dirty, self._make_pass, world, (FencedError,), underway=self._underway)
        async with asyncio.TaskGroup() as group:
            for part in (
                history.run(),
                publisher.run(),
                passes,
                self._enforcement.run(),
                verify(topology.graph, self._dirty.mark),
            ):
                group.create_task(part)

    async def _look_anew(self) -> None:
        """Read everything anew: the view of a controller that stood by may lag behind the last writes of the former
        leader. Raises LeaseLostError.

        When there was no leader since before this process began to look, its view is new enough.
        """
        undisturbed, self._unheld = self._election.epoch == self._unheld, None
        if undisturbed:
            return
        try:
            async with asyncio.timeout(LOOK_DEADLINE):
                await self._nb.probe(PROBE_PERIOD)  # first, for lists are slow, and useless without the database
                await asyncio.gather(*(target.store.renew() for target in self._targets.by_kind.values()))
                await self._nb.probe(PROBE_PERIOD)
            reason = self._complaint() or self._lack()
        except (OvsdbError, TimeoutError) as error:
            reason = str(error) or "no list in time"
        if reason is not None:
            self._fresh.clear()  # no candidate until the view is proved again
            raise LeaseLostError(f"cannot see how things are: {reason}")

    def _lack(self) -> str | None:
        """Why a required kind could not be listed at the last attempt; None when all could."""
        for kind, target in self._targets.by_kind.items():
            if target.store.unavailable and kind not in OPTIONAL:
                return f"{target.resource.plural} cannot be listed: {target.store.unavailable}"
        return None

    async def _read_history(self, history: History) -> None:
        """Read the history of addresses. Raises LeaseLostError."""
        try:
            await history.load()
        except KubeError as error:
            raise LeaseLostError(f"cannot read the history of addresses: {error}") from None

    async def _read_domain(self) -> str:
        """The domain of the cluster; empty when the fabric is not to answer for names. Raises LeaseLostError."""
        settings = self._settings
        if not settings.dns:
            return ""
        try:
            return settings.cluster_domain or await read_domain(self._kube)
        except KubeError as error:
            raise LeaseLostError(f"cannot read the cluster's domain: {error}") from None

    async def _make_pass(self) -> None:
        assert self._loop is not None
        try:
            with self._progress.watch():
                await self._loop.make_pass()
                self._passed = True
                if self._restless:
                    raise UnsettledError(f"derivations do not come to rest: {', '.join(self._restless)}")
        except UnsettledError as error:  # the fault of one object: the others do not wait for longer than a pass
            log.error("the decisions contradict themselves", error=str(error))
            if self._again is not None:
                self._again.cancel()
            self._again = asyncio.get_running_loop().call_later(RESTLESS_PERIOD, self._dirty.mark)

    def _observe(self, topology: Topology, publisher: Publisher, foreign: AbstractSet[RowKey]) -> Unseen:
        """Bring the topology up to date."""
        targets = self._targets.by_kind.values()
        unknown = {target.resource.name for target in targets if not target.store.synced.is_set()}
        absent = {name for name in unknown if self._targets.by_kind[name].store.absent}
        unwritten = {key.identity: words for key, words in publisher.refusals.items()}
        stores = {target.resource: target.store for target in targets}
        enforced = self._enforcement.known
        topology.look(stores, foreign, unknown, absent=absent, unwritten=unwritten, enforced=enforced)
        self._restless = topology.settle()
        return Unseen(kinds=unknown, absent=absent, objects=any(target.store.never_read for target in targets))

    def _chassis(self) -> Mapping[str, str]:
        """The names of the Nodes, by the names of their chassis."""
        nodes = self._targets.by_kind[NODES.name].store.objects.values()
        found = {node.metadata.annotations.get(names.CHASSIS): node.metadata.name for node in nodes}
        return {chassis: name for chassis, name in found.items() if chassis}

    def _moved(self) -> None:
        self._enforcement.moved()

    def _refused(self, write: Write, error: KubeError) -> None:
        ref = write.object
        maker = write.maker if isinstance(write, Create | Patch) else None
        message = f"the API server does not take what is to be written to {ref.kind} {ref.name}: {error.message}"
        self._recorder.report(maker or ref, names.POD_NETWORK_ALLOCATION_FAILED, message)
        self._dirty.mark()  # others that wait for the object are told with the next pass

    def _report(self, topology: Topology, told: Sequence[Told]) -> None:
        for each, message in zip(told, topology.describe(told), strict=True):
            self._recorder.report(each.object, each.reason, message, type="Normal" if each.normal else "Warning")

    def _report_unreadable(self, resource: Resource[Object], item: Unreadable) -> None:
        """Tell the user of an object that cannot be read, if Events are made on its kind. A process that stands by does
        not: the leader tells it.
        """
        if self._election.epoch and item.name and resource.name in set(Kind):
            ref = ObjectRef(kind=Kind(resource.name), namespace=item.namespace, name=item.name, uid=item.uid)
            never_read = (item.namespace, item.name) in self._targets.by_kind[resource.name].store.never_read
            meanwhile = "nothing of earlier is removed until it can" if never_read else "counts as it was before"
            message = f"the object cannot be read, and {meanwhile}: {item.error}"
            self._recorder.report(ref, NOT_UNDERSTOOD_REASON, message)

    async def _prove(self) -> None:
        """Probe the Northbound database again and again, and set `_fresh` while the view is proved to be current."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._nb.synced(PROBE_PERIOD)
                await self._nb.probe(PROBE_PERIOD)
                self._proved = loop.time()
            except OvsdbError as error:
                log.warning("the Northbound database does not answer", error=str(error))
            if self._complaint() is None:
                self._fresh.set()
            else:
                self._fresh.clear()
            await asyncio.sleep(PROBE_PERIOD if self._fresh.is_set() else RETRY_PERIOD)

    def _complaint(self) -> str | None:
        """Why the view of this process may not be current; None when it is."""
        now = asyncio.get_running_loop().time()
        for kind, target in self._targets.by_kind.items():
            plural, store = target.resource.plural, target.store
            if store.unavailable and kind in OPTIONAL:
                continue
            if store.unavailable and (store.proved is None or now - store.unavailable_since > LACK):
                return f"{plural} cannot be listed: {store.unavailable}"
            if store.proved is None:
                return f"{plural} not listed yet"
            if now - store.proved > FRESHNESS:
                return f"nothing heard of {plural} for {now - store.proved:.0f} s"
        if not self._nb.connected:
            return "not connected to the Northbound database"
        if now - self._proved > 3 * PROBE_PERIOD:
            return "the Northbound database does not answer"
        return None

    def _incapacity(self) -> str | None:
        """Why another replica should lead instead; None when this one can."""
        return self._complaint() or self._progress.incapacity()

    def _unfinished(self) -> str | None:
        """Why the process is not ready; None when it is: a leader that makes passes, or a process that stands by."""
        if not self._election.epoch:
            return None
        return self._progress.complaint() or (None if self._passed else "first pass not made yet")
