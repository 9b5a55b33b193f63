"""CNI requests carried out: ADD, DEL, CHECK and GC; and the removal of sandboxes that are over without a DEL.

Each attachment is worked on by one request at a time; requests for different ones run side by side. When an ADD does
not succeed, whatever it made is removed. `host.pod` reads the network of a Pod, `plumbing` does the kernel's part, and
`ports` that of Open vSwitch.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import structlog
from prometheus_client import Histogram

from kube_ovn.daemon import plumbing
from kube_ovn.daemon.cni import CniError, Code, NetConf, Request, format_result, host_ports, parse_previous
from kube_ovn.daemon.node import NodeNetwork
from kube_ovn.daemon.ports import PortError, Ports
from kube_ovn.daemon.view import View
from kube_ovn.daemon.wait import Broadcast
from kube_ovn.discovery.external import Spot
from kube_ovn.host.own_ports import find_taken, find_wishes
from kube_ovn.host.pod import (
    is_recorded,
    parse_network,
    pod_mtu,
    render_lost,
    render_sandbox,
    runtime_uids,
    select_over,
)
from kube_ovn.linux.listeners import list_listeners
from kube_ovn.linux.netlink import NetlinkError, is_netns
from kube_ovn.model import names
from kube_ovn.model.host import PodNetwork, Sandbox
from kube_ovn.model.kube import Pod

log = structlog.get_logger()

STAGE_SECONDS = Histogram(
    "kube_ovn_cni_add_seconds",
    "Duration of the stages of CNI ADD: wait (for the Pod's address), node (for the node's routes and rules), netlink, "
    "ovsdb, ovn_installed, total",
    ["stage"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120),
)

ADD_DEADLINE = 60.0
"""Seconds for an ADD. The kubelet gives up after 120 s at the earliest and tells nothing until then, so the error comes
before.
"""
REMOVE_DEADLINE, REPAIR_DEADLINE = 10.0, 30.0
"""Seconds to remove a port, and to make one anew."""


class Pods:
    """The attachments of the Pods on this node."""

    def __init__(self, view: View, node: NodeNetwork, ports: Ports) -> None:
        self._view, self._node, self._ports = view, node, ports
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._news = Broadcast()
        view.wake(self._news.notify, view.pods.objects, view.ips.objects)

    async def add(self, request: Request) -> bytes:
        """Connect a sandbox. Returns the CNI result. Raises CniError."""
        sandbox = _sandbox(request)
        started = time.perf_counter()
        async with self._alone(sandbox.link):
            stage = _Stages(sandbox)
            try:
                async with asyncio.timeout(ADD_DEADLINE):
                    network, mtu = await self._connect(sandbox, host_ports(request.conf), stage)
            except TimeoutError:
                raise stage.give_up() from None
        STAGE_SECONDS.labels("total").observe(time.perf_counter() - started)
        return format_result(request.conf.cni_version, sandbox, network, mtu)

    async def delete(self, request: Request) -> bytes:
        """Disconnect a sandbox, whatever is left of it. Raises CniError, NetlinkError."""
        sandbox = _sandbox(request)
        async with self._alone(sandbox.link):
            await self._remove(sandbox.link)
        return b""

    async def check(self, request: Request) -> bytes:
        """Compare a sandbox with the result of its ADD. Raises CniError."""
        sandbox = _sandbox(request)
        mac, addresses = parse_previous(request.conf, sandbox)
        if sandbox.link not in self._ports.sandboxes():
            raise CniError(Code.DIFFERENT, f"Pod {sandbox.label} has no port on Open vSwitch")
        try:
            differences = await plumbing.run(plumbing.compare, sandbox, mac, addresses)
        except NetlinkError as error:
            raise CniError(Code.NETWORK_NAMESPACE, f"Pod {sandbox.label}: {error}") from None
        if differences:
            raise CniError(Code.DIFFERENT, f"Pod {sandbox.label}: {'; '.join(differences)}")
        return b""

    async def collect(self, conf: NetConf) -> bytes:
        """GC: remove the attachments that the runtime does not list. Raises CniError, NetlinkError."""
        if conf.valid_attachments is None:
            raise CniError(Code.INVALID_CONFIG, "cni.dev/valid-attachments is missing from the GC request")
        valid = {(attachment.container_id, attachment.ifname) for attachment in conf.valid_attachments}
        for link, sandbox in self._ports.sandboxes().items():
            if (sandbox.container, sandbox.interface) not in valid and not self.is_busy(link):
                async with self._alone(link):
                    await self._remove(link)
        return b""

    def is_busy(self, link: str) -> bool:
        """Whether a request is at work on a link."""
        return link in self._locks

    async def repair(self) -> None:
        """Remove what is left of sandboxes that ended without a DEL that arrived here, and make ports anew that Open
        vSwitch has lost. Raises NetlinkError.
        """
        store = self._view.pods.store
        uids = frozenset(store.objects) if store.synced.is_set() else None
        pods = {
            uid: pod
            for uid, pod in store.objects.items()
            if not self._view.is_node_port(names.pod_port(pod.metadata.name, pod.metadata.namespace))
        }
        links = await plumbing.run(plumbing.list_links)
        known = self._ports.sandboxes()
        for link in select_over(known, is_netns, {link.name for link in links}, uids):
            if not self.is_busy(link):
                log.info("sandbox is gone, removing its port", pod=known[link].label, link=link)
                async with self._alone(link):
                    await self._remove(link)
        for link, rows in render_lost(links, known, pods).items():
            if not self.is_busy(link):
                log.info("port is missing, making it anew", link=link)
                try:
                    async with self._alone(link), asyncio.timeout(REPAIR_DEADLINE):
                        await self._ports.put(link, rows)
                except PortError as error:
                    log.error("port cannot be made anew", link=link, error=str(error))

    async def _connect(self, sandbox: Sandbox, wanted: Sequence[Spot], stage: "_Stages") -> tuple[PodNetwork, int]:
        with stage("wait"):
            pod, network = await self._news.until(lambda: self._granted(sandbox))
        with stage("node"):
            await self._node.covering([interface.address for interface in network.interfaces])
        subnet = pod.metadata.annotations.get(names.LOGICAL_SWITCH, "")
        mtu, hears_routers = self._mtu(sandbox, subnet), self._view.hears_routers(subnet)
        port = names.pod_port(sandbox.pod, sandbox.namespace)
        if self._view.is_node_port(port):  # the Nodes are known: the node has its routes
            raise CniError(
                Code.INVALID_CONFIG, f"Pod {sandbox.label}: {port} is the name of a node's port; rename the Pod"
            )
        for link, holder in self._ports.sandboxes().items():
            _refuse_clash(sandbox, link, holder)
        await self._refuse_taken(sandbox, wanted)
        try:
            with stage("netlink"):
                await plumbing.run(plumbing.connect, sandbox, network, mtu, hears_routers=hears_routers)
            with stage("ovsdb"):
                await self._ports.put(sandbox.link, render_sandbox(sandbox, network))
            with stage("ovn_installed"):
                await self._ports.installed(sandbox.link)
            await self._announce(sandbox, network)
        except BaseException as error:
            await self._remove(sandbox.link)
            if isinstance(error, NetlinkError):
                raise CniError(Code.NETWORK_NAMESPACE, f"Pod {sandbox.label}: {error}") from None
            if isinstance(error, PortError):
                raise CniError(Code.SWITCH, f"Pod {sandbox.label}: Open vSwitch: {error}") from None
            raise
        return network, mtu

    async def _announce(self, sandbox: Sandbox, network: PodNetwork) -> None:
        """Tell the neighbours of a Pod its addresses: an earlier owner may have had another MAC address."""
        try:
            await plumbing.run(plumbing.announce, sandbox, network)
        except NetlinkError as error:  # they find out by themselves, if later
            log.warning("neighbours are not told", pod=sandbox.label, error=str(error))

    async def _refuse_taken(self, sandbox: Sandbox, wanted: Sequence[Spot]) -> None:
        """Refuse a Pod that asks for a port of the node's own, or for a node port. Raises CniError."""
        if not wanted:
            return
        try:
            listeners = await plumbing.run(list_listeners)
        except NetlinkError as error:
            raise CniError(Code.TRY_AGAIN_LATER, f"Pod {sandbox.label}: {error}") from None
        node_ports = find_wishes(self._view.node_services or ()).ports
        if taken := find_taken(wanted, listeners, node_ports):
            raise CniError(Code.INVALID_CONFIG, f"Pod {sandbox.label}: {taken}")

    def _granted(self, sandbox: Sandbox) -> tuple[Pod, PodNetwork] | None:
        """The Pod of a sandbox, and the network that the controller has granted it: its annotations tell the network,
        and its IP object records the addresses. None while it has none, and for another Pod of the same name. Raises
        CniError.
        """
        pod = self._view.pods.objects.values.get((sandbox.namespace, sandbox.pod))
        if pod is None or (sandbox.uid and sandbox.uid not in runtime_uids(pod)):
            return None
        ip = self._view.ips.objects.values.get(("", names.ip_object(names.pod_port(sandbox.pod, sandbox.namespace))))
        try:
            network = parse_network(pod)
        except ValueError as error:
            raise CniError(Code.TRY_AGAIN_LATER, f"Pod {sandbox.label}: {error}") from None
        if network is not None and ip is not None and is_recorded(pod, network, ip):
            return pod, network
        if pod.metadata.deletion_timestamp:
            # The Pod is not removed before ADD has answered, so an ADD must not wait for an address that does not come.
            raise CniError(Code.TRY_AGAIN_LATER, f"Pod {sandbox.label} is being deleted and has no address")
        return None

    def _mtu(self, sandbox: Sandbox, subnet: str) -> int:
        """The MTU that the Pod's Subnet wants, or the largest that this node's tunnels carry. Raises CniError."""
        most, wanted = self._node.mtu, self._view.mtu(subnet)
        if most is None:
            raise CniError(
                Code.TRY_AGAIN_LATER, f"Pod {sandbox.label}: the NIC of this node's tunnels is not known yet"
            )
        mtu = pod_mtu(most, wanted)
        if mtu < wanted:
            log.warning("MTU is more than the tunnels carry", pod=sandbox.label, subnet=subnet, wanted=wanted, mtu=mtu)
        return mtu

    async def _remove(self, link: str) -> None:
        """Remove a port and its links. The port is first, so that Open vSwitch does not look for a link that is gone.
        What is missing is no error. Raises NetlinkError.
        """
        try:
            async with asyncio.timeout(REMOVE_DEADLINE):
                await self._ports.drop([link])
        except TimeoutError:
            log.warning("Open vSwitch does not answer; the port is removed when it does", link=link)
        await plumbing.run(plumbing.disconnect, link)

    @contextlib.asynccontextmanager
    async def _alone(self, link: str) -> AsyncIterator[None]:
        """Keep other requests from a link; first wait for those that came before."""
        lock, users = self._locks.get(link, (asyncio.Lock(), 0))
        self._locks[link] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(link)
            if users > 1:
                self._locks[link] = lock, users - 1


class _Stages:
    """The stage that an ADD is in, for the metrics, and for the error when its time is over."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._stage = "wait"

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._stage = stage
        with STAGE_SECONDS.labels(stage).time():
            yield

    def give_up(self) -> CniError:
        sandbox = self._sandbox
        look = f"`kubectl describe pod -n {sandbox.namespace} {sandbox.pod}` says why"
        reason = {
            "wait": f"the controller has given it no address yet; {look}",
            "node": "its node has no routes and rules for its subnet yet; the log of kube-ovn-cniserver there says why",
            "netlink": "the kernel did not make its interface",
            "ovsdb": "the database of Open vSwitch on this node did not take its port",
            "ovn_installed": "ovn-controller on this node did not install its flows; is ovn-central reachable?",
        }[self._stage]
        return CniError(Code.TRY_AGAIN_LATER, f"Pod {sandbox.label}: {reason} (waited {ADD_DEADLINE:g} s)")


def _refuse_clash(sandbox: Sandbox, link: str, holder: Sandbox) -> None:
    """Raise CniError when a sandbox would take over the link or the port of a different one: `holder`, which has
    `link`.
    """
    if link == sandbox.link and holder.container != sandbox.container:
        raise CniError(Code.NETWORK_NAMESPACE, f"Pod {sandbox.label}: link {link} is Pod {holder.label}'s")
    if holder.container == sandbox.container and holder.interface != sandbox.interface:
        wanted = f"{sandbox.interface} besides {holder.interface}"
        raise CniError(Code.INVALID_CONFIG, f"Pod {sandbox.label}: it has one port on this network, no {wanted}")


def _sandbox(request: Request) -> Sandbox:
    if request.sandbox is None:
        raise CniError(Code.INVALID_ENVIRONMENT, f"{request.command} is not about a sandbox")
    return request.sandbox
