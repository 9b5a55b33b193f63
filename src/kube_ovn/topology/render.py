"""The controller's decision as a whole: from a snapshot of Kubernetes to the desired Northbound state.

`Topology.render` is synchronous and free of I/O, time and randomness. It keeps each unit's result as long as the
unit's inputs are the same, and looks only at units that may have changed, so a pass costs what changed; a new
`Topology` fed the same snapshot ends in the same state (`tests/properties` hold it to that). What it decides goes three
ways: rows to `plan.diff`, writes to the Kubernetes API to be sent after the commit, and problems to be told to users.
"""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType

from kube_ovn.model.addr import Address, is_within
from kube_ovn.model.crd import IP, IPPool, StatefulSet, Subnet, Vpc
from kube_ovn.model.kube import EndpointSlice, Namespace, Node, Object, Pod, Service
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.network import Grant, Notice, Problem
from kube_ovn.model.row import RowKey
from kube_ovn.model.writes import Write, WriteKey
from kube_ovn.topology.assembly import Assembly
from kube_ovn.topology.checks import Checks
from kube_ovn.topology.gateways import Gateways
from kube_ovn.topology.ipam import Ledger
from kube_ovn.topology.network import Fabric, NetworkState, Objects, Settled
from kube_ovn.topology.outbox import Outbox
from kube_ovn.topology.ports import Living, Ports
from kube_ovn.topology.records import Records
from kube_ovn.topology.services import Services
from kube_ovn.topology.switches import Switches


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Kubernetes as the controller sees it now: objects by UID."""

    pods: Mapping[str, Pod]
    nodes: Mapping[str, Node]
    namespaces: Mapping[str, Namespace]
    subnets: Mapping[str, Subnet]
    ips: Mapping[str, IP]
    pools: Mapping[str, IPPool]
    vpcs: Mapping[str, Vpc]
    sets: Mapping[str, StatefulSet]
    services: Mapping[str, Service]
    slices: Mapping[str, EndpointSlice]
    changed: Collection[str] | None = None
    """UIDs that came, changed or left since the snapshot before; None when any may have."""
    foreign: AbstractSet[RowKey] = frozenset()
    """Rows in the Northbound database that are not ours, whose names we cannot have."""

    def has(self, uid: str) -> bool:
        """Whether there is an object with this UID."""
        kinds: tuple[Mapping[str, Object], ...] = (
            self.pods,
            self.ips,
            self.nodes,
            self.namespaces,
            self.subnets,
            self.pools,
            self.vpcs,
            self.sets,
            self.services,
            self.slices,
        )
        return any(uid in objects for objects in kinds)


class Topology:
    """Desired state, writes and problems, kept up to date pass by pass.

    `confirmed` are the grants found in the Northbound database, by UID, for the first pass (`topology.memory`);
    `released` the addresses that were somebody's before, by subnet, in the order of their release.
    """

    def __init__(
        self,
        fabric: Fabric,
        confirmed: Mapping[str, Grant] = MappingProxyType({}),
        released: Mapping[str, Iterable[Address]] = MappingProxyType({}),
    ) -> None:
        self.assembly = Assembly()
        self.ledger = Ledger(fabric.router)
        self._outbox = Outbox()
        self._foreign: AbstractSet[RowKey] = frozenset()
        self.network = NetworkState(fabric, self.ledger, self._outbox, self._is_taken)
        self.records = Records(self.ledger, self._outbox)
        self._ports = Ports(self.network, self.records, self.ledger, self.assembly, self._outbox, confirmed)
        self._gateways = Gateways(self.network, self.ledger, self.assembly)
        self._switches = Switches(self.network, self.ledger, self.assembly, self._outbox, self._gateways.exit)
        checks = Checks(self.network, self.records, self.ledger)
        self._services = Services(self.assembly, self._outbox, fabric, self._inside, self._own, checks)
        self._released = released
        self._touched: set[str] = set()
        self._started = False
        self.standing = False
        """Whether the subnets that nodes and Pods fall to are in effect. Before, nothing is known of who has what, and
        what is in the Northbound database must stay as it is.
        """

    @property
    def writes(self) -> Mapping[WriteKey, Write]:
        return self._outbox.writes

    @property
    def problems(self) -> Mapping[str, Problem]:
        return self._outbox.problems

    def take_changed_writes(self) -> dict[WriteKey, Write | None]:
        """Writes that came or changed since the last call; None for those that went."""
        return self._outbox.take_changed()

    def take_notices(self) -> list[Notice]:
        """What is to be told once, since the last call."""
        return self._outbox.take_notices()

    def _is_taken(self, port: str) -> bool:
        key = RowKey(LogicalSwitchPort.TABLE, port)
        return key in self.assembly.state or key in self._foreign

    def _own(self, node: Node) -> tuple[Address, ...]:
        """A node's addresses in the fabric."""
        grant = self.ledger.grants.get(node.metadata.uid)
        return () if grant is None else grant.addresses

    def _inside(self, address: Address) -> str:
        """Whose of the fabric an address is, in words; empty for those outside."""
        if is_within(address, self.network.fabric.services):
            return "an address of the cluster's Services"
        for name in self.network.subnets:
            subnet = self.ledger.subnet(name)
            if subnet is not None and subnet.holds(address):
                return f"an address of Subnet {name}"
        return ""

    def render(self, snapshot: Snapshot) -> None:
        """Bring everything up to date with a snapshot."""
        changed = snapshot.changed if self._started else None
        self._foreign = snapshot.foreign
        objects = Objects(
            subnets=snapshot.subnets, pools=snapshot.pools, namespaces=snapshot.namespaces, nodes=snapshot.nodes
        )
        self.standing = self.standing or self.network.stands(snapshot.subnets.values())
        if not self.standing:
            settled = self.network.settle(objects, None, (), standing=False)
            self._switches.render(snapshot.vpcs, None, settled, ())
            self._outbox.keep(snapshot.has)
            return
        if changed is None:
            self._outbox.keep(snapshot.has)
        if not self._started:
            self.network.remember(snapshot.subnets.values())
        living = Living(nodes=snapshot.nodes, pods=snapshot.pods, sets=snapshot.sets, foreign=snapshot.foreign)
        for uid in changed or ():
            if not snapshot.has(uid):
                self._outbox.forget(uid)
        about = self.records.look_at(snapshot.ips, snapshot.sets, changed)
        self._ports.look_at(living, changed, about)
        if not self._started:
            for name, addresses in self._released.items():
                self.ledger.remember_released(name, addresses)
        touched = self.ledger.take_touched()
        settled = self.network.settle(objects, changed, self._touched | touched)
        self._ports.render(about, settled)
        self._touched = touched | self.ledger.take_touched()
        moved = self._gateways.render(snapshot.nodes, changed, settled)
        self._switches.render(snapshot.vpcs, changed, settled, self._touched | moved)
        self._services.render(
            snapshot.services,
            snapshot.slices,
            snapshot.nodes,
            changed,
            self._switches.names - {self.network.fabric.join},
            self._touched,
            about,
            moved=bool(settled.effective),
        )
        if checked := self.ledger.take_touched():  # statuses count what Services took and gave back, too
            self._switches.render(snapshot.vpcs, (), Settled(), checked)
            self._touched |= checked
        self._started = True
