"""kube-ovn-cniserver: one process a node, one TaskGroup. Puts the parts together and decides nothing."""

import asyncio
import os
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path

import structlog
from prometheus_client import REGISTRY

from kube_ovn.config import parse_flags
from kube_ovn.daemon.announce import announce
from kube_ovn.daemon.conflist import render_conflist, write_conflist
from kube_ovn.daemon.health import HealthPorts
from kube_ovn.daemon.names import NameService
from kube_ovn.daemon.node import NodeNetwork
from kube_ovn.daemon.nodes import Nodes
from kube_ovn.daemon.pods import Pods
from kube_ovn.daemon.ports import PortError, Ports
from kube_ovn.daemon.proxy import Proxy, remove_table
from kube_ovn.daemon.server import Server
from kube_ovn.daemon.services import Services
from kube_ovn.daemon.settings import ALL_SERVICES, Settings
from kube_ovn.daemon.subnets import Subnets
from kube_ovn.discovery.endpoints import Place
from kube_ovn.host.node import parse_encaps
from kube_ovn.host.service import NodeService, Surroundings
from kube_ovn.k8s.client import Client as Kube
from kube_ovn.k8s.client import KubeError
from kube_ovn.k8s.credentials import CredentialsError, load_credentials
from kube_ovn.k8s.events import Recorder
from kube_ovn.k8s.watch import Store, follow
from kube_ovn.linux.netlink import NetlinkError
from kube_ovn.linux.nft import NftError
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.host import Sandbox
from kube_ovn.model.kube import Pod
from kube_ovn.model.network import Kind, ObjectRef, cluster_ref
from kube_ovn.model.resource import ENDPOINT_SLICES, NODES, PODS, SERVICES, SUBNETS
from kube_ovn.model.vswitch import TABLES, OpenVSwitch
from kube_ovn.ovsdb.client import Client as Ovs
from kube_ovn.reconcile import Dirty, reconcile, until_told
from kube_ovn.telemetry import serve_health, start_logging

log = structlog.get_logger()

CONFLIST_PERIOD = 5.0
"""Seconds between two looks at the runtime's configuration."""


def main() -> None:
    settings = parse_flags(Settings, names.CNISERVER, sys.argv[1:], os.environ)
    start_logging(settings.log_level)
    if not settings.node_name:
        sys.exit("--node-name or NODE_NAME must name this Node")
    try:
        asyncio.run(until_told(_run(settings)))
    except CredentialsError as error:
        sys.exit(str(error))


async def _run(settings: Settings) -> None:
    async with Kube(load_credentials(settings.kubeconfig)) as kube:
        await Daemon(settings, kube).run()


class Daemon:
    """The parts of the process and how they hear of one another."""

    def __init__(self, settings: Settings, kube: Kube) -> None:
        self._settings, self._kube = settings, kube
        self._pod_store: Store[Pod] = Store(self._pods_changed)
        self._nodes = Nodes(settings.node_name, self._own_node_changed, lambda: self._proxy.dirty.mark())
        self._repair, self._announce = Dirty(), Dirty()
        self._ovs = Ovs((f"unix:{settings.ovs_socket}",), "Open_vSwitch", TABLES, on_change=self._ovs_changed)
        self._ports = Ports(self._ovs)
        self._subnets = Subnets(settings.node_switch, settings.node_name, self._subnets_changed)
        self._node = NodeNetwork(
            settings, lambda: self._nodes.own, self._subnets, lambda: self._encaps, self._ports, self._tell_of_subnet
        )
        self._pods = Pods(self._pod_store, self._subnets, self._node, self._ports)
        self._services = Services(self._services_changed)
        self._proxy = Proxy(settings.service_cluster_ip_range, self._services, lambda: self._nodes.addresses)
        self._health = HealthPorts(self._services, self._tell_of_service)
        self._names = NameService(settings, kube, self._services)
        self._recorder = Recorder(kube, names.CNISERVER, settings.node_name)
        self._chassis: str | None = None
        self._encaps: tuple[Address, ...] = ()
        self._pods_known = False

    async def run(self) -> None:
        settings, name = self._settings, self._settings.node_name
        REGISTRY.register(self._node.traffic)
        server = Server(name, self._pods, lambda: self._node.complaint, self._report)
        health = serve_health(
            settings.pprof_port, {}, {"network": lambda: self._node.complaint}, self._node.traffic.refresh
        )
        async with health, asyncio.TaskGroup() as group:
            for part in (
                self._ovs.run(),
                self._ports.run(),
                follow(self._kube, PODS, self._pod_store, f"spec.nodeName={name}"),
                follow(self._kube, SUBNETS, self._subnets.store),
                reconcile(self._node.dirty, self._node.make_pass, (NetlinkError, NftError, PortError, TimeoutError)),
                self._node.links.run(),
                self._node.tables.run(),
                self._node.follow_gateway(),
                reconcile(self._repair, self._make_repair, (NetlinkError, TimeoutError)),
                self._keep_conflist(),
                self._announce_when_proven(),
                self._recorder.run(),
                *self._service_parts(),
            ):
                group.create_task(part)
            runner = await server.serve(settings.bind_socket)
            try:
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                await self._health.close()
                await runner.cleanup()

    def _service_parts(self) -> Iterator[Coroutine[None, None, None]]:
        settings = self._settings
        if settings.dns:
            yield self._names.run()
        if settings.dns or settings.services == ALL_SERVICES:
            yield follow(self._kube, SERVICES, self._services.store)
            yield follow(self._kube, ENDPOINT_SLICES, self._services.slices)
        if settings.services != ALL_SERVICES:
            yield follow(self._kube, NODES, self._nodes.store, f"metadata.name={settings.node_name}")
            yield reconcile(Dirty(), remove_table, (NftError,))
            return
        yield follow(self._kube, NODES, self._nodes.store)
        yield reconcile(self._proxy.dirty, self._proxy.make_pass, (NetlinkError, NftError))
        yield self._proxy.tables.run()
        yield reconcile(self._health.dirty, self._health.make_pass, ())

    async def _make_repair(self) -> None:
        if self._ovs.connected:
            await self._pods.repair()

    async def _keep_conflist(self) -> None:
        """The runtime learns that the node's network works; who removes the file gets it back."""
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
        """Kubernetes learns that the node's network works."""
        node = self._nodes.own
        if node is not None and self._chassis:
            await announce(self._kube, node, self._chassis)

    def _own_node_changed(self) -> None:
        self._node.dirty.mark()
        self._announce.mark()
        self._look_around()

    def _subnets_changed(self) -> None:
        self._node.dirty.mark()
        self._look_around()

    def _look_around(self) -> None:
        own, subnets = self._nodes.own, self._subnets.effective
        if own is not None and subnets:
            place = Place(node=own.metadata.name, zone=own.metadata.labels.get(names.ZONE, ""))
            fabric = tuple(network for subnet in subnets for network in subnet.networks)
            services = self._settings.service_cluster_ip_range
            self._services.look_around(Surroundings(place=place, fabric=fabric, services=services))
            self._names.look_around(own, fabric)

    def _services_changed(self) -> None:
        self._proxy.dirty.mark()
        self._health.dirty.mark()

    def _pods_changed(self) -> None:
        """Pods that left may have left something behind; the first full list tells of all that left meanwhile."""
        changed = self._pod_store.take_changed()
        left = changed is None or any(uid not in self._pod_store.objects for uid in changed)
        if left or self._pod_store.synced.is_set() != self._pods_known:
            self._pods_known = self._pod_store.synced.is_set()
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
        """An Event on a Subnet whose packets cannot leave through this node."""
        subnet = self._subnets.store.named("", name)
        if subnet is not None:
            ref = cluster_ref(Kind.SUBNET, name, subnet.metadata.uid)
            self._recorder.report(ref, names.GATEWAY_NODE_REFUSED, message)

    def _tell_of_service(self, service: NodeService, message: str) -> None:
        ref = ObjectRef(kind=Kind.SERVICE, namespace=service.namespace, name=service.name, uid=service.uid)
        self._recorder.report(ref, names.SERVICE_REFUSED, message)

    def _report(self, sandbox: Sandbox, message: str) -> None:
        """An Event on the Pod a request could not be carried out for."""
        pod = self._pod_store.named(sandbox.namespace, sandbox.pod)
        if pod is not None and sandbox.uid in ("", pod.metadata.uid):
            ref = ObjectRef(kind=Kind.POD, namespace=sandbox.namespace, name=sandbox.pod, uid=pod.metadata.uid)
            self._recorder.report(ref, names.POD_NETWORK_CONFIGURE_FAILED, message)
