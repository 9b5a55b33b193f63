"""The process kube-ovn-cniserver: one on each node, with one TaskGroup. Puts the parts together and decides nothing."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path

import structlog
from prometheus_client import REGISTRY

from kube_ovn.config import parse_flags
from kube_ovn.daemon import plumbing
from kube_ovn.daemon.announce import announce
from kube_ovn.daemon.attach import Pods
from kube_ovn.daemon.attached import NodeNetworks
from kube_ovn.daemon.conflist import render_conflist, write_conflist
from kube_ovn.daemon.decisions import Decisions
from kube_ovn.daemon.guard import Guard
from kube_ovn.daemon.health import HealthPorts
from kube_ovn.daemon.name_service import NameService
from kube_ovn.daemon.node import NodeNetwork
from kube_ovn.daemon.ports import PortError, Ports
from kube_ovn.daemon.proxy import Proxy, remove_table
from kube_ovn.daemon.server import Server
from kube_ovn.daemon.settings import ALL_SERVICES, Settings
from kube_ovn.daemon.view import Name, View
from kube_ovn.host.node import parse_encaps
from kube_ovn.host.service import NodeService
from kube_ovn.k8s.client import Client as Kube
from kube_ovn.k8s.client import KubeError
from kube_ovn.k8s.credentials import CredentialsError, load_credentials
from kube_ovn.k8s.events import Recorder
from kube_ovn.k8s.watch import follow
from kube_ovn.linux.netlink import NetlinkError
from kube_ovn.linux.nft import NftError
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.host import Sandbox
from kube_ovn.model.kube import Pod
from kube_ovn.model.network import Kind, ObjectRef, cluster_ref
from kube_ovn.model.resource import ENDPOINT_SLICES, IPS, NODES, PODS, SERVICE_CIDRS, SERVICES, SUBNETS
from kube_ovn.model.vswitch import TABLES, OpenVSwitch
from kube_ovn.ovsdb.client import Client as Ovs
from kube_ovn.reconcile import Dirty, Underway, reconcile, until_told
from kube_ovn.serving import raise_descriptors
from kube_ovn.telemetry import serve_health, start_logging

log = structlog.get_logger()

CONFLIST_PERIOD = 5.0
"""Seconds between two looks at the runtime's configuration."""


def main() -> None:
    settings = parse_flags(Settings, names.CNISERVER, sys.argv[1:], os.environ)
    start_logging(settings.log_level)
    raise_descriptors()
    if not settings.node_name:
        sys.exit("--node-name or NODE_NAME must name this Node")
    try:
        asyncio.run(until_told(_run(settings)))  # uvloop sends nothing through raw sockets
    except CredentialsError as error:
        sys.exit(str(error))


async def _run(settings: Settings) -> None:
    async with Kube(load_credentials(settings.kubeconfig)) as kube:
        await Daemon(settings, kube).run()


class Daemon:
    """The parts of the process, and the flags and calls that wake each of them."""

    def __init__(self, settings: Settings, kube: Kube) -> None:
        self._settings, self._kube = settings, kube
        view = self._view = View(settings)
        self._repair, self._announce, self._underway = Dirty(), Dirty(), Underway()
        self._ovs = Ovs((f"unix:{settings.ovs_socket}",), "Open_vSwitch", TABLES, on_change=self._ovs_changed)
        self._ports = Ports(self._ovs)
        self._node = NodeNetwork(settings, view, lambda: self._encaps, self._ports, self._tell_of_subnet)
        self._pods = Pods(view, self._node, self._ports)
        self._guard = Guard(view)
        self._networks = NodeNetworks(kube, view, self._node.dirty.mark)
        self._proxy = Proxy(view, self._tell_of_service)
        self._health = HealthPorts(view, self._tell_of_service)
        self._names = NameService(settings, kube, view)
        self._decisions = Decisions(settings.acl_log, view)
        self._recorder = Recorder(kube, names.CNISERVER, settings.node_name)
        self._chassis: str | None = None
        self._encaps: tuple[Address, ...] = ()
        view.wake(self._repair.mark)
        view.pods.objects.listen(self._pod_changed)
        view.wake(self._node.dirty.mark, view.own_nodes, view.addresses, view.effective, view.ranges)
        view.wake(self._announce.mark, view.own_nodes)
        view.wake(self._guard.table.dirty.mark, view.addresses)
        view.wake(self._proxy.table.dirty.mark, view.handled, view.addresses, view.sites, view.ranges)
        view.wake(self._health.dirty.mark, view.handled, view.sites)

    async def run(self) -> None:
        settings, name, label = self._settings, self._settings.node_name, names.label_value(self._settings.node_name)
        REGISTRY.register(self._node.traffic)
        REGISTRY.register(self._decisions)
        server = Server(name, self._pods, lambda: self._node.complaint, self._report)
        health = serve_health(
            settings.pprof_port,
            {"passes": self._underway.complaint, "kernel": plumbing.underway.complaint},
            {"network": lambda: self._node.complaint},
            self._node.traffic.refresh,
            settings.metrics_address,
        )
        async with health, asyncio.TaskGroup() as group:
            for part in (
                self._ovs.run(),
                self._ports.run(),
                follow(self._kube, PODS, self._view.pods.store, {"fieldSelector": f"spec.nodeName={name}"}),
                follow(self._kube, IPS, self._view.ips.store, {"labelSelector": f"{names.IP_NODE}={label}"}),
                follow(self._kube, SUBNETS, self._view.subnets.store),
                follow(self._kube, NODES, self._view.nodes.store),
                follow(self._kube, SERVICE_CIDRS, self._view.cidrs.store, optional=True),
                self._reconcile(self._guard.table.dirty, self._guard.make_pass, NftError),
                self._guard.table.run(),
                self._networks.run(),
                self._reconcile(
                    self._node.dirty, self._node.make_pass, NetlinkError, NftError, PortError, TimeoutError
                ),
                self._node.links.run(),
                self._node.table.run(),
                self._node.follow_gateway(),
                # A repair may wait for the switch's database at each Pod; that is not taken for a pass that never ends.
                reconcile(self._repair, self._make_repair, (NetlinkError, TimeoutError)),
                self._keep_conflist(),
                self._announce_when_proven(),
                self._recorder.run(),
                self._decisions.run(),
                *self._service_parts(),
            ):
                group.create_task(part)
            served = await server.serve(settings.bind_socket)
            try:
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                await self._health.close()
                await served.close()

    def _service_parts(self) -> Iterator[Coroutine[None, None, None]]:
        settings = self._settings
        if settings.dns:
            yield self._names.run()
        if settings.dns or settings.services == ALL_SERVICES:
            yield follow(self._kube, SERVICES, self._view.services.store)
            yield follow(self._kube, ENDPOINT_SLICES, self._view.slices.store)
        if settings.services != ALL_SERVICES:
            yield self._reconcile(Dirty(), remove_table, NftError)
            return
        yield self._reconcile(self._proxy.table.dirty, self._proxy.make_pass, NetlinkError, NftError)
        yield self._proxy.table.run()
        yield self._proxy.watch()
        yield self._reconcile(self._health.dirty, self._health.make_pass)

    async def _reconcile(self, dirty: Dirty, make_pass: Callable[[], Awaitable[None]], *world: type[Exception]) -> None:
        """Make passes that must end, else the process is not alive. None of them waits for the API server."""
        await reconcile(dirty, make_pass, world, underway=self._underway)

    async def _make_repair(self) -> None:
        if self._ovs.connected:
            await self._pods.repair()

    async def _keep_conflist(self) -> None:
        """Write the CNI configuration when the node's network works, and again when it was removed."""
        await self._node.proven.wait()
        path = Path(self._settings.cni_conf_dir, self._settings.cni_conf_name)
        content = render_conflist(self._settings.bind_socket)
        while True:
            try:
                if write_conflist(path, content):
                    log.info("CNI configuration written", path=str(path))
            except OSError as error:
                log.warning("CNI configuration not written, trying again", path=str(path), error=str(error))
            await asyncio.sleep(CONFLIST_PERIOD)

    async def _announce_when_proven(self) -> None:
        await self._node.proven.wait()
        await reconcile(self._announce, self._make_announcement, (KubeError,))

    async def _make_announcement(self) -> None:
        """Announce to Kubernetes that the node's network works."""
        node = self._view.own
        if node is not None and self._chassis:
            await announce(self._kube, node, self._chassis)

    def _pod_changed(self, name: Name, before: Pod | None, now: Pod | None) -> None:
        """A Pod that is gone may have left a port and links behind."""
        if now is None:
            self._repair.mark()

    def _ovs_changed(self) -> None:
        ids = [row["external_ids"] for row in self._ovs.replica.rows(OpenVSwitch.TABLE)]
        chassis = ids[0].get("system-id") if ids else None
        if chassis != self._chassis:
            self._chassis = chassis
            self._announce.mark()
        encaps = parse_encaps(ids[0].get("ovn-encap-ip", "")) if ids else ()
        if encaps != self._encaps:
            self._encaps = encaps
            self._node.dirty.mark()
        changed = self._ports.take_changed_links()
        if changed is None or names.NODE_NICS & changed:
            self._node.dirty.mark()
        if changed is None or not all(map(self._pods.is_busy, changed - names.NODE_NICS)):
            self._repair.mark()
        self._ports.notify()

    def _tell_of_subnet(self, name: str, message: str) -> None:
        """Report an Event on a Subnet when its packets cannot leave through this node."""
        subnet = self._view.subnets.store.named("", name)
        if subnet is not None:
            ref = cluster_ref(Kind.SUBNET, name, subnet.metadata.uid)
            self._recorder.report(ref, names.GATEWAY_NODE_REFUSED, message)

    def _tell_of_service(self, service: NodeService, message: str) -> None:
        """Report an Event on a Service that this node cannot serve."""
        ref = ObjectRef(kind=Kind.SERVICE, namespace=service.namespace, name=service.name, uid=service.uid)
        self._recorder.report(ref, names.SERVICE_REFUSED, message)

    def _report(self, sandbox: Sandbox, message: str) -> None:
        """Report an Event on the Pod of a sandbox that could not be connected."""
        pod = self._view.pods.store.named(sandbox.namespace, sandbox.pod)
        if pod is not None and sandbox.uid in ("", pod.metadata.uid):
            ref = ObjectRef(kind=Kind.POD, namespace=sandbox.namespace, name=sandbox.pod, uid=pod.metadata.uid)
            self._recorder.report(ref, names.POD_NETWORK_CONFIGURE_FAILED, message)
