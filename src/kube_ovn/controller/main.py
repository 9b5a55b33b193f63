"""kube-ovn-controller: one process, one TaskGroup. Puts the parts together and decides nothing.

Standing by, it already follows Kubernetes and the Northbound database; with the Lease it makes passes. A leader that
cannot prove that it sees both as they are does not renew the Lease, and another takes over.
"""

import asyncio
import gc
import os
import socket
import ssl
import sys
from collections.abc import Coroutine
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace

import structlog

from kube_ovn.config import parse_flags
from kube_ovn.controller.loop import Loop
from kube_ovn.controller.publish import Publisher
from kube_ovn.controller.send import AnyTarget, Sender, Target
from kube_ovn.controller.settings import Settings
from kube_ovn.k8s.client import Client as Kube
from kube_ovn.k8s.client import KubeError
from kube_ovn.k8s.credentials import CredentialsError, load_credentials
from kube_ovn.k8s.decode import (
    ENDPOINT_SLICES,
    IPPOOLS,
    IPS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    STATEFULSETS,
    SUBNETS,
    VPCS,
)
from kube_ovn.k8s.domain import read_domain
from kube_ovn.k8s.events import Recorder
from kube_ovn.k8s.history import History
from kube_ovn.k8s.lease import Election, LeaseLostError, Timing
from kube_ovn.k8s.watch import Store, follow
from kube_ovn.model import names
from kube_ovn.model.crd import IP, IPPool, StatefulSet, Subnet, Vpc
from kube_ovn.model.kube import EndpointSlice, Namespace, Node, Pod, Service
from kube_ovn.model.nb import TABLES, NbGlobal
from kube_ovn.model.network import Kind, Notice, Problem
from kube_ovn.model.row import RowKey
from kube_ovn.model.writes import Write
from kube_ovn.ovsdb.client import Client as Northbound
from kube_ovn.ovsdb.client import FencedError, OvsdbError
from kube_ovn.ovsdb.tls import load_tls
from kube_ovn.plan import AbsurdPlanError
from kube_ovn.reconcile import Dirty, reconcile, until_told
from kube_ovn.telemetry import serve_health, start_logging
from kube_ovn.topology.memory import confirmed, released
from kube_ovn.topology.network import Fabric
from kube_ovn.topology.render import Snapshot, Topology

log = structlog.get_logger()

LOOK_DEADLINE = 60.0
"""Seconds for a new leader to see everything as it is."""
PROBE_PERIOD = 5.0
RETRY_PERIOD = 0.1
FRESHNESS = 600.0
"""Seconds after which a watch that proved nothing is not believed; a healthy one ends and is begun anew before that.

A dead connection is noticed much earlier by its keep-alive, a dead API server by the renewal of the Lease.
"""


def main() -> None:
    gc.disable()  # until the cluster is loaded: see `_collect_later`
    settings = parse_flags(Settings, names.CONTROLLER, sys.argv[1:], os.environ)
    start_logging(settings.log_level)
    try:
        fabric, timing, tls = settings.fabric(), settings.timing(), load_tls(settings.northbound())
    except (ValueError, OvsdbError) as error:
        sys.exit(str(error))
    try:
        asyncio.run(until_told(_run(settings, fabric, timing, tls)))
    except CredentialsError as error:
        sys.exit(str(error))


async def _run(settings: Settings, fabric: Fabric, timing: Timing, tls: ssl.SSLContext | None) -> None:
    async with Kube(load_credentials(settings.kubeconfig)) as kube:
        await Controller(settings, fabric, timing, kube, tls).run()


class Controller:
    """The parts of the process and how they hear of one another."""

    def __init__(
        self, settings: Settings, fabric: Fabric, timing: Timing, kube: Kube, tls: ssl.SSLContext | None
    ) -> None:
        self._settings, self._fabric, self._kube = settings, fabric, kube
        self._dirty = Dirty()
        mark = self._dirty.mark
        self._pods: Target[Pod] = Target(PODS, Store(mark))
        self._nodes: Target[Node] = Target(NODES, Store(mark))
        self._namespaces: Target[Namespace] = Target(NAMESPACES, Store(mark))
        self._subnets: Target[Subnet] = Target(SUBNETS, Store(mark))
        self._ips: Target[IP] = Target(IPS, Store(mark))
        self._pools: Target[IPPool] = Target(IPPOOLS, Store(mark))
        self._vpcs: Target[Vpc] = Target(VPCS, Store(mark))
        self._sets: Target[StatefulSet] = Target(STATEFULSETS, Store(mark))
        self._services: Target[Service] = Target(SERVICES, Store(mark))
        self._slices: Target[EndpointSlice] = Target(ENDPOINT_SLICES, Store(mark))
        self._nb = Northbound(
            settings.northbound(),
            "OVN_Northbound",
            TABLES,
            on_change=self._dirty.mark,
            tls=tls,
            fence_table=NbGlobal.TABLE,
        )
        self._identity = settings.pod_name or socket.gethostname()
        self._election = Election(kube, settings.pod_namespace, names.CONTROLLER, self._identity, timing)
        self._recorder = Recorder(kube, names.CONTROLLER, socket.gethostname())
        self._fresh = asyncio.Event()
        self._proved = 0.0  # loop time at which the Northbound database last answered
        self._loop: Loop | None = None
        self._unheld: int | None = None  # the epoch that follows, if nobody led when this process began to look
        self._passed = False  # whether a pass was completed since this process started

    async def run(self) -> None:
        self._unheld = await self._election.unheld()
        ready = {"sync": self._complaint, "pass": self._unfinished}
        async with serve_health(self._settings.pprof_port, {}, ready), asyncio.TaskGroup() as group:
            for part in (
                *self._followers(),
                self._nb.run(),
                self._prove(),
                self._recorder.run(),
                self._collect_later(),
                self._serve(),
            ):
                group.create_task(part)

    def _followers(self) -> list[Coroutine[None, None, None]]:
        return [
            follow(self._kube, self._nodes.resource, self._nodes.store),
            follow(self._kube, self._namespaces.resource, self._namespaces.store),
            follow(self._kube, self._subnets.resource, self._subnets.store),
            follow(self._kube, self._ips.resource, self._ips.store),
            follow(self._kube, self._pools.resource, self._pools.store),
            follow(self._kube, self._vpcs.resource, self._vpcs.store),
            follow(self._kube, self._sets.resource, self._sets.store),
            follow(self._kube, self._services.resource, self._services.store),
            follow(self._kube, self._slices.resource, self._slices.store),
            follow(self._kube, self._pods.resource, self._pods.store),
        ]

    async def _collect_later(self) -> None:
        """Begin to look for garbage when everything is listed, and never in what was there by then: a start with 10,000
        Pods is a fifth shorter, and no later pass pays for looking at them again.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_DEADLINE):
                await self._fresh.wait()
        gc.freeze()
        gc.enable()

    async def _serve(self) -> None:
        """Lead, and stand by again after losing the Lease or the fence; never look back at what the last term knew."""
        while True:
            await self._fresh.wait()
            try:
                await self._election.lead(self._lead, self._complaint)
            except* LeaseLostError as errors:
                log.warning("leadership lost", reason=str(errors.exceptions[0]))
            except* FencedError as errors:
                log.warning("leadership lost", reason=str(errors.exceptions[0]))

    async def _lead(self) -> None:
        await self._look_anew()
        self._nb.fence(f"{self._identity}/{self._election.epoch}")
        history = History(self._kube, self._settings.pod_namespace)
        await self._read_history(history)
        sender = Sender(self._kube, self._targets(), history.append)
        publisher = Publisher(sender.send, self._refused)
        fabric = replace(self._fabric, domain=await self._read_domain())
        topology = Topology(fabric, confirmed(self._nb.replica.owned), released(history.records))
        self._loop = Loop(self._snapshot, topology, self._nb, publisher, self._report, self._announce)
        async with asyncio.TaskGroup() as group:
            group.create_task(history.run())
            group.create_task(publisher.run())
            group.create_task(reconcile(self._dirty, self._make_pass, (OvsdbError, AbsurdPlanError), (FencedError,)))

    async def _look_anew(self) -> None:
        """What was followed while another led may lag behind what that one wrote last. Raises LeaseLostError.

        After a start nobody may have led since before the first look, which then is new enough.
        """
        undisturbed, self._unheld = self._election.epoch == self._unheld, None
        if undisturbed:
            return
        try:
            async with asyncio.timeout(LOOK_DEADLINE):
                await self._nb.probe(PROBE_PERIOD)  # first: lists are dear, and for nothing without it
                await asyncio.gather(*(target.store.renew() for target in self._all()))
                await self._nb.probe(PROBE_PERIOD)
        except (OvsdbError, TimeoutError) as error:
            self._fresh.clear()  # no candidate until it sees again
            raise LeaseLostError(f"cannot see how things are: {error or 'no list in time'}") from None

    async def _read_history(self, history: History) -> None:
        """Raises LeaseLostError."""
        try:
            await history.load()
        except KubeError as error:
            raise LeaseLostError(f"cannot read the history of addresses: {error}") from None

    async def _read_domain(self) -> str:
        """Empty where the fabric is not to answer for names. Raises LeaseLostError."""
        settings = self._settings
        if not settings.dns:
            return ""
        try:
            return settings.cluster_domain or await read_domain(self._kube)
        except KubeError as error:
            raise LeaseLostError(f"cannot read the cluster's domain: {error}") from None

    async def _make_pass(self) -> None:
        assert self._loop is not None
        await self._loop.make_pass()
        self._passed = True

    def _all(self) -> tuple[AnyTarget | Target[StatefulSet] | Target[Service] | Target[EndpointSlice], ...]:
        return (*self._targets().values(), self._sets, self._services, self._slices)

    def _targets(self) -> dict[Kind, AnyTarget]:
        """Where writes go."""
        return {
            Kind.POD: self._pods,
            Kind.NODE: self._nodes,
            Kind.NAMESPACE: self._namespaces,
            Kind.SUBNET: self._subnets,
            Kind.IP: self._ips,
            Kind.IPPOOL: self._pools,
            Kind.VPC: self._vpcs,
        }

    def _snapshot(self, foreign: AbstractSet[RowKey]) -> Snapshot:
        changed = [target.store.take_changed() for target in self._all()]
        known = [uids for uids in changed if uids is not None]
        return Snapshot(
            pods=self._pods.store.objects,
            nodes=self._nodes.store.objects,
            namespaces=self._namespaces.store.objects,
            subnets=self._subnets.store.objects,
            ips=self._ips.store.objects,
            pools=self._pools.store.objects,
            vpcs=self._vpcs.store.objects,
            sets=self._sets.store.objects,
            services=self._services.store.objects,
            slices=self._slices.store.objects,
            changed=set().union(*known) if len(known) == len(changed) else None,
            foreign=foreign,
        )

    def _refused(self, write: Write, error: KubeError) -> None:
        message = f"the API server does not take what is to be written: {error.message}"
        self._recorder.report(write.object, names.POD_NETWORK_ALLOCATION_FAILED, message)

    def _report(self, problem: Problem) -> None:
        self._recorder.report(problem.object, problem.reason, problem.message)

    def _announce(self, notice: Notice) -> None:
        self._recorder.report(notice.object, notice.reason, notice.message, type="Normal")

    async def _prove(self) -> None:
        """Ask again and again whether the Northbound database answers, and so whether what is seen is true."""
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
        """Why what this process sees may not be how things are."""
        now = asyncio.get_running_loop().time()
        for target in self._all():
            kind, proved = target.resource.plural, target.store.proved
            if proved is None:
                return f"{kind} not listed yet"
            if now - proved > FRESHNESS:
                return f"nothing heard of {kind} for {now - proved:.0f} s"
        if not self._nb.connected:
            return "not connected to the Northbound database"
        if now - self._proved > 3 * PROBE_PERIOD:
            return "the Northbound database does not answer"
        return None

    def _unfinished(self) -> str | None:
        """A process that stands by is ready; the leader is when it has made its first pass."""
        return "first pass not made yet" if self._election.epoch and not self._passed else None
