"""The node's own network: ovn0, its routes and the nftables table; the subnets that they cover, and whether they work.

One pass compares everything and writes the difference, at the start as after a change by an administrator or a restart
of Open vSwitch. `host.node` renders the desired state.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from kube_ovn.daemon import plumbing
from kube_ovn.daemon.ports import Ports
from kube_ovn.daemon.settings import ALL_SERVICES, Settings
from kube_ovn.daemon.table import KeptTable
from kube_ovn.daemon.traffic import Traffic
from kube_ovn.daemon.view import View
from kube_ovn.daemon.wait import Broadcast
from kube_ovn.host.egress import Table
from kube_ovn.host.node import NodeState, render_node, tunnel_overhead
from kube_ovn.host.sysctl import find_uplinks
from kube_ovn.linux.icmp import echo
from kube_ovn.linux.notify import LinkWatch
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, is_within
from kube_ovn.model.host import Way

log = structlog.get_logger()

PORT_DEADLINE = 15.0
"""Seconds to get the ports of the NICs into the database of Open vSwitch."""
UNPROVEN_WAIT, PROVEN_WAIT = 0.3, 2.0
"""Seconds for an answer of the join gateway. Until it has answered they are few, because flows that are half installed
often lose the first questions.
"""
UNPROVEN_PAUSE, PROVEN_PAUSE = 0.1, 5.0
"""Seconds between two questions to the join gateway."""
FRAGILE_PAUSE = 5.0
"""Seconds between two passes for what the kernel does not notify of. A pass writes nothing when nothing changed."""


class NodeNetwork:
    """Keeps this node on the network."""

    def __init__(
        self,
        settings: Settings,
        view: View,
        encaps: Callable[[], Collection[Address]],
        ports: Ports,
        tell: Callable[[str, str], None],
    ) -> None:
        """`encaps`: returns the addresses of this node's tunnels. `tell`: gives the user of a Subnet, by its name, a
        sentence.
        """
        self._settings, self._view, self._encaps, self._ports = settings, view, encaps, ports
        self._tell = tell
        self._stopped: Mapping[str, str] = {}  # by Subnet, as their users were told
        self._again: asyncio.TimerHandle | None = None
        self._state: NodeState | None = None
        self._covered: frozenset[Network] = frozenset()
        self._passed = Broadcast()
        self._built = asyncio.Event()
        self.proven = asyncio.Event()
        """Set when the join gateway has answered for the first time."""
        self._unanswered: str | None = "the node's network is not built yet"
        self._refused = ""  # the settings that the kernel did not take
        self.mtu: int | None = None
        """The largest MTU Pods can have; None until it is known."""
        self.traffic = Traffic(settings.node_name)
        self.table: KeptTable[Table] = KeptTable(names.NFT_TABLE, self.traffic.replace)
        self.dirty = self.table.dirty
        self.links = LinkWatch(names.NODE_NICS, names.ROUTE_PROTOCOL, self.dirty.mark)

    @property
    def complaint(self) -> str | None:
        """Why the node's network does not work; None when it does."""
        return self._unanswered or self._refused or None

    async def make_pass(self) -> None:
        """Bring the node to its desired state. Raises NetlinkError, NftError, PortError, TimeoutError."""
        self.mtu = self._settings.mtu or await self._derive_mtu()
        around = await plumbing.run(plumbing.look_around)
        near = [way.to for way in around.ways if way.via is None and way.link not in names.NODE_NICS]
        state = self._render(self.mtu, around.addresses, near) if self.mtu else None
        if state is None:
            return  # the node stays as it is
        async with asyncio.timeout(PORT_DEADLINE):
            for name, nic in state.nics.items():
                await self._ports.put(name, nic.rows)
        # The table is there before a packet can come in: a connection that leaves without translation once does so to
        # its end. A detour is there before the table lets a first packet through to it, and until the table stops them.
        complaints = await plumbing.run(plumbing.add_detours, state.detours)
        await self.table.put(state.table)
        await plumbing.run(plumbing.delete_detours, state.detours)
        for name, nic in state.nics.items():
            self.links.indices[name] = await plumbing.run(plumbing.apply, name, nic.link)
        versions = {gateway.version for gateway in state.gateways}
        await self._keep_sysctls(versions, around.ways)
        self._complain(state.stopped, complaints)
        taught = 6 in versions and any(way.taught for way in around.ways)  # of accept_ra the kernel does not notify
        self._look_again(state.fragile or taught or bool(self._refused))
        self._state = state
        self._covered = frozenset() if None in self.links.indices.values() else state.networks
        if self._covered:
            self._built.set()
            self._passed.notify()

    async def _keep_sysctls(self, versions: Collection[int], ways: Collection[Way]) -> None:
        """Have the kernel forward packets of these IP families. What it refuses is a complaint."""
        self.links.uplinks = frozenset(index for version in versions for index in find_uplinks(ways, version).values())
        nics = [name for name, index in self.links.indices.items() if index is not None]
        refused = "; ".join(await plumbing.run(plumbing.apply_sysctls, versions, nics, ways))
        if refused and refused != self._refused:
            log.error("a setting of the kernel is refused", error=refused)
        self._refused = refused

    def _complain(self, stopped: Mapping[str, str], refused: Sequence[str]) -> None:
        """Tell the user of each Subnet once why packets of the Subnet are stopped here."""
        for name, reason in stopped.items():
            if self._stopped.get(name) != reason:
                self._tell(name, f"packets to the outside are stopped on node {self._settings.node_name}: {reason}")
        self._stopped = stopped
        if refused:
            log.error("packets of a subnet with externalEgressGateway are stopped here", errors=refused)

    def _look_again(self, fragile: bool) -> None:
        """Make another pass in a while if something may change that the kernel does not notify of."""
        if self._again is not None:
            self._again.cancel()
        self._again = asyncio.get_running_loop().call_later(FRAGILE_PAUSE, self.dirty.mark) if fragile else None

    def _render(self, mtu: int, local: Collection[Address], near: Collection[Network]) -> NodeState | None:
        """The desired state; None when it cannot be known now."""
        node, subnets, name = self._view.own, self._view.node_subnets, self._settings.node_name
        nodes, services = self._view.all_addresses, self._view.service_networks
        if node is None or nodes is None or subnets is None or services is None:
            return None  # the Node is not registered yet or removed, or Subnets or ServiceCIDRs are not known yet
        if not subnets:
            # There is always the default Subnet. A list without it comes from an API server that lost its data, or from
            # a time before the controller's first pass, and must not take the network from running Pods.
            log.warning("no Subnet is in effect; the node stays as it is", node=name)
            return None
        try:
            settings = self._settings
            serves, dns = settings.services == ALL_SERVICES, settings.dns_servers() if settings.dns else ()
            state = render_node(node, subnets, mtu, local, near, services, serves, dns, nodes)
        except ValueError as error:
            log.error("the Node's annotations are wrong; it stays as it is", node=name, error=str(error))
            return None
        if state is None:
            log.info("the controller has given this node no address yet", node=name)
        return state

    async def covering(self, addresses: Collection[Address]) -> None:
        """Wait until this node has routes and rules for the subnets of some addresses. The caller sets a deadline."""

        def check() -> bool | None:
            return all(is_within(address, self._covered) for address in addresses) or None

        await self._passed.until(check)

    async def follow_gateway(self) -> None:
        """Ask the join gateway again and again whether it answers: often until it does, and seldom from then on."""
        await self._built.wait()
        while True:
            complaint = await self._ask()
            if complaint != self._unanswered:
                log.info("join gateway", complaint=complaint)
                self._unanswered = complaint
                if complaint is None:
                    self.proven.set()
            await asyncio.sleep(PROVEN_PAUSE if complaint is None else UNPROVEN_PAUSE)

    async def _ask(self) -> str | None:
        """The join gateway that does not answer, and the reason; None when all of them answer."""
        for gateway in self._state.gateways if self._state else ():
            try:
                await echo(gateway, names.NODE_NIC, UNPROVEN_WAIT if self._unanswered else PROVEN_WAIT)
            except OSError as error:  # TimeoutError is one
                return f"the join gateway {gateway} does not answer: {str(error) or 'no reply'}"
        return None

    async def _derive_mtu(self) -> int | None:
        """The largest MTU of Pods; None while it was never known. It depends on the family of the tunnels' addresses:
        while these are unknown, it stays as it was known.
        """
        settings, encaps = self._settings, self._encaps()
        if not encaps:
            return self.mtu
        overhead = tunnel_overhead(settings.network_type, encaps)
        return await plumbing.run(plumbing.pod_mtu, settings.iface, settings.pod_ip, overhead)
