"""Nodes and Pods: who gets which grant, and the ports of those whose grant is recorded.

A grant goes three ways, each after the last was done: an `IP` object records it (`topology.records`), the port is
committed, the annotations let the Pod start. Whoever has a port keeps it while its record is made anew.

Two units that want one name would be a fault, so names are settled before anything is rendered: what others have in the
Northbound database stays theirs, and a Pod gives way to a Node.
"""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from kube_ovn.model import names
from kube_ovn.model.crd import StatefulSet, SubnetSpec
from kube_ovn.model.kube import Node, Pod
from kube_ovn.model.nb import LogicalSwitchPort, PortGroup
from kube_ovn.model.network import Grant, Kind, ObjectRef, Problem, Subnet, cluster_ref
from kube_ovn.model.row import RowKey
from kube_ovn.model.writes import Annotate, Aspect, WriteKey
from kube_ovn.topology.adoption import Adoption, Item, age, ip_name
from kube_ovn.topology.assembly import Assembly
from kube_ovn.topology.ipam import ConflictError, ExhaustedError, Ledger, Owner, RefusedError
from kube_ovn.topology.memory import owner_of, owner_of_ip, remembered, stateful_set
from kube_ovn.topology.network import Binding, NetworkState, Settled
from kube_ovn.topology.node import internal_addresses, node_annotations, render_node
from kube_ovn.topology.outbox import Outbox
from kube_ovn.topology.placement import Surroundings, WaitError, place
from kube_ovn.topology.pod import (
    PodInputs,
    Request,
    needs_port,
    ordinal,
    parse_request,
    pod_annotations,
    pod_problem,
    pod_ref,
    render_pod,
)
from kube_ovn.topology.records import Holder, Records


@dataclass(frozen=True, slots=True, kw_only=True)
class Living:
    """Nodes and Pods as the controller sees them now, by UID, and what stands in their way."""

    nodes: Mapping[str, Node]
    pods: Mapping[str, Pod]
    sets: Mapping[str, StatefulSet]
    foreign: AbstractSet[RowKey]
    """Rows in the Northbound database that are not ours, whose names we cannot have."""

    def wanted(self, uid: str) -> Item | None:
        """The Node, or the Pod that is to have a port."""
        if uid in self.nodes:
            return self.nodes[uid]
        pod = self.pods.get(uid)
        return pod if pod is not None and needs_port(pod) else None


class Ports:
    """The ports of the desired state, kept up to date pass by pass."""

    def __init__(
        self,
        network: NetworkState,
        records: Records,
        ledger: Ledger,
        assembly: Assembly,
        outbox: Outbox,
        confirmed: Mapping[str, Grant],
    ) -> None:
        self._network, self._records, self._ledger = network, records, ledger
        self._assembly, self._outbox = assembly, outbox
        self._adoption = Adoption(network.fabric.join, records, ledger, confirmed)
        self._names: dict[str, str] = {}  # of the IP object of each living unit, by UID
        self._uids: dict[str, str] = {}  # of living units, by the key of their grant
        self._inputs: dict[str, tuple[object, ...]] = {}
        self._traits: dict[str, tuple[Subnet, SubnetSpec, Subnet, SubnetSpec]] = {}  # see `_traits_of`
        self._uids_now: set[str] = set()  # those this pass looks at
        self._stuck: set[str] = set()  # those without rows, and not because their record is on its way
        self._obstacles: dict[str, str] = {}  # why a unit cannot have its names, by UID
        self._nodes: frozenset[str] = frozenset()  # names of all there are
        self._connected: frozenset[str] = frozenset()  # names of those that have their rows
        self._living = Living(nodes={}, pods={}, sets={}, foreign=frozenset())

    def look_at(self, living: Living, changed: Collection[str] | None, about: set[str]) -> None:
        """Learn who came and who is gone, and take over what earlier passes granted. `about`: names of IP objects that
        changed.
        """
        self._uids_now = set(self._to_look_at(living, changed, about))
        self._living = living
        for uid in sorted(uid for uid in self._uids_now if uid in self._names and living.wanted(uid) is None):
            self._forget(uid)
        self._settle_names(self._uids_now)
        items = self._items(self._uids_now)
        self._introduce(items)
        self._adoption.adopt(items, about, first=changed is None)

    def render(self, about: set[str], settled: Settled) -> None:
        """Bring ports and what is written of them up to date."""
        about |= self._records.retry()
        affected = self._affected(settled, about)
        self._adoption.adopt(self._items(affected & self._stuck), set(), first=False)
        items = self._items(self._uids_now | affected)
        for node in sorted((item for item in items if isinstance(item, Node)), key=age):
            self._render_node(node)
        self._render_pods(items)
        for name in sorted(about):
            self._records.settle(name, again=True)
        self._adoption.confirmed = {}

    def _items(self, uids: Iterable[str]) -> list[Item]:
        return [item for uid in uids if (item := self._living.wanted(uid)) is not None]

    def _affected(self, settled: Settled, about: set[str]) -> set[str]:
        """UIDs of those who wait for something that may have changed, or whose subnet did."""
        uids: set[str] = set()
        if settled.subnets or settled.namespaces or about:
            uids |= self._stuck
        for name in settled.effective:
            uids |= {uid for key in self._ledger.keys(name) if (uid := self._uids.get(key)) is not None}
        if settled.lost:
            uids |= self._names.keys()
        return uids

    def _to_look_at(self, living: Living, changed: Collection[str] | None, about: set[str]) -> Collection[str]:
        """UIDs whose unit may have to be rendered or forgotten. All of them at first, when nodes came or went, and when
        another came to have a name of ours.
        """
        nodes, foreign = self._nodes, self._living.foreign
        self._nodes = frozenset(node.metadata.name for node in living.nodes.values())
        came = () if foreign is living.foreign else living.foreign - foreign
        if changed is None or nodes != self._nodes or any(key in self._assembly.state for key in came):
            return {*self._names, *living.nodes, *living.pods}
        uids = {uid for uid in changed if uid in self._names or uid in living.pods or uid in living.nodes}
        uids |= {holder.uid for name in about if (holder := self._records.holders.get(name)) is not None}
        if foreign is not living.foreign:
            uids |= self._stuck
        return uids

    def _forget(self, uid: str) -> None:
        name = self._names.pop(uid)
        if (holder := self._records.holders.get(name)) is not None and holder.uid == uid:
            self._uids.pop(holder.owner.key, None)
        self._inputs.pop(uid, None)
        self._stuck.discard(uid)
        self._obstacles.pop(uid, None)
        self._records.leave(name, uid)
        self._assembly.drop(uid)
        self._outbox.put(WriteKey(uid, Aspect.ANNOTATIONS), None)
        self._outbox.tell(uid, None)

    def _settle_names(self, uids: Collection[str]) -> None:
        """Find who cannot have its names, and take its rows back before those who have them are rendered."""
        for uid in uids:
            item = self._living.wanted(uid)
            obstacle = None if item is None else self._obstacle(item)
            if obstacle is None:
                self._obstacles.pop(uid, None)
            else:
                self._obstacles[uid] = obstacle
                self._assembly.drop(uid)

    def _introduce(self, items: Iterable[Item]) -> None:
        """Say who holds which name, before anything is worked out from it."""
        for item in items:
            uid, name = item.metadata.uid, ip_name(item)
            before = self._records.holders.get(name)
            if uid in self._obstacles and before is not None and before.uid != uid:
                continue  # a Pod that gave its name up to a Node
            owner = self._owner(item, name)
            if before is not None and before.uid == uid and before.owner.key != owner.key:
                self._change_owner(before.owner, owner)
            self._names[uid], self._uids[owner.key] = name, uid
            self._records.hold(name, _holder(item, owner))

    def _owner(self, item: Item, name: str) -> Owner:
        """Whose grant a unit has: a reservation's, if its user made one of its name."""
        reservation = self._records.reservation(name)
        return owner_of(item) if reservation is None else owner_of_ip(reservation)

    def _change_owner(self, old: Owner, new: Owner) -> None:
        """A reservation came or went under a living Pod: what it has stays its."""
        grant = self._ledger.grants.get(old.key)
        self._uids.pop(old.key, None)
        self._ledger.release(old.key)
        if grant is not None and new.key not in self._ledger.grants:
            self._adoption.take(new, grant, in_use=True)

    def _render_node(self, node: Node) -> None:
        uid, name, join = node.metadata.uid, node.metadata.name, self._network.fabric.join
        ref = cluster_ref(Kind.NODE, name, uid)
        if obstacle := self._obstacles.get(uid):
            self._fail(node, Problem(object=ref, reason=names.CREATE_OVN_PORT_FAILED, message=obstacle))
            return
        subnet, owner = self._ledger.subnet(join), self._records.holders[ip_name(node)].owner
        if subnet is None:
            self._fail(node, None)
            return
        try:
            grant = self._ledger.grants.get(owner.key) or self._ledger.allocate(owner, join)
        except RefusedError as error:
            self._fail(node, Problem(object=ref, reason=names.ACQUIRE_ADDRESS_FAILED, message=str(error)))
            return
        if not self._may_have_rows(node):
            return
        if self._is_news(uid, node, grant, subnet):
            self._assembly.put(uid, render_node(self._network.fabric.router, node, grant))
            self._publish(node, ref, node_annotations(node, grant, subnet))
        self._outbox.tell(uid, self._node_conflict(node, ref))

    def _node_conflict(self, node: Node, ref: ObjectRef) -> Problem | None:
        for address in internal_addresses(node):
            for subnet in self._ledger.subnets.values():
                if subnet.holds(address):
                    where = f"the CIDR of subnet {subnet.name}"
                    message = f"address {address} of node {ref.name} lies in {where}; change one of them"
                    return Problem(object=ref, reason=names.NODE_ADDRESS_CONFLICT, message=message)
        return None

    def _render_pods(self, items: Iterable[Item]) -> None:
        before = self._connected
        self._connected = frozenset(
            node.metadata.name for uid, node in self._living.nodes.items() if self._assembly.has(uid)
        )
        moved = before ^ self._connected  # Pods depend on their nodes
        chosen = {item.metadata.uid: item for item in items if isinstance(item, Pod)}
        if moved:
            for uid in self._names:
                item = self._living.wanted(uid)
                if isinstance(item, Pod) and item.spec.node_name in moved:
                    chosen[uid] = item
        # Fixed addresses first, so that no other Pod of this pass is given one of them.
        for pod in sorted(chosen.values(), key=lambda pod: (_wishes_nothing(pod), *age(pod))):
            self._render_pod(pod)

    def _render_pod(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        try:
            grant = self._grant(pod)
        except WaitError:
            self._fail(pod, None)
            return
        except _PodError as error:
            self._fail(pod, pod_problem(pod, error.reason, str(error)))
            return
        if not self._may_have_rows(pod):
            return
        subnet, spec = self._traits_of(grant.subnet)
        inputs = PodInputs(grant=grant, subnet=subnet, spec=spec, node_known=pod.spec.node_name in self._connected)
        if self._is_news(uid, pod, inputs):
            self._assembly.put(uid, render_pod(pod, inputs))
            self._publish(pod, pod_ref(pod), pod_annotations(self._network.fabric.router, grant, subnet))
        self._outbox.tell(uid, None)

    def _traits_of(self, name: str) -> tuple[Subnet, SubnetSpec]:
        """What of a subnet its Pods' rows depend on: one pair for all of them, made anew when the subnet changes."""
        subnet, spec = self._ledger.subnet(name), self._network.spec(name)
        assert subnet is not None, "who has a grant has its subnet"
        known = self._traits.get(name)
        if known is None or known[0] is not subnet or known[1] is not spec:
            traits = replace(subnet, exclude=()), SubnetSpec(enable_dhcp=spec.enable_dhcp, mtu=spec.mtu)
            known = self._traits[name] = (subnet, spec, *traits)
        return known[2:]

    def _grant(self, pod: Pod) -> Grant:
        """The Pod's addresses. Raises _PodError and WaitError."""
        if obstacle := self._obstacles.get(pod.metadata.uid):
            raise _PodError(names.CREATE_OVN_PORT_FAILED, obstacle)
        name = ip_name(pod)
        owner = self._records.holders[name].owner
        grant = self._ledger.grants.get(owner.key)
        if grant is not None and not self._is_newcomer(pod):
            return grant
        try:
            request = parse_request(pod)
        except ValueError as error:
            raise _PodError(names.VALIDATE_POD_NETWORK_FAILED, str(error)) from None
        binding = self._network.bindings.get(pod.metadata.namespace)
        if binding is None:
            raise WaitError
        if grant is not None and (self._records.reservation(name) or self._still_fits(grant, request, binding, pod)):
            return grant
        if self._records.reservation(name) is not None:
            raise _PodError(
                names.ACQUIRE_ADDRESS_FAILED, f"IP {name} reserves an address for this Pod that it cannot have"
            )
        try:
            return self._place(owner, pod, request, binding, grant)
        except (ExhaustedError, ConflictError) as error:
            if self._records.leaving({*request.subnets, *binding.subnets}):
                raise WaitError from None
            raise _PodError(names.ACQUIRE_ADDRESS_FAILED, str(error)) from None
        except RefusedError as error:
            raise _PodError(names.ACQUIRE_ADDRESS_FAILED, str(error)) from None

    def _place(self, owner: Owner, pod: Pod, request: Request, binding: Binding, former: Grant | None) -> Grant:
        """Place a Pod, in exchange for what the last of its name had. If that fails, the record of that stays, and so
        does what it claims. Raises RefusedError and WaitError.
        """
        self._ledger.release(owner.key)
        try:
            return place(owner, pod, request, binding, self._parent(pod), self._surroundings())
        except (RefusedError, WaitError):
            if former is not None:
                self._adoption.take(owner, former, in_use=True)
            raise

    def _is_newcomer(self, pod: Pod) -> bool:
        """Whether a Pod was never told its addresses: it may yet get others than the last of its name had."""
        uid = pod.metadata.uid
        if stateful_set(pod) is None or self._assembly.has(uid) or uid in self._adoption.confirmed:
            return False
        return remembered(pod.metadata.annotations) is None

    def _still_fits(self, grant: Grant, request: Request, binding: Binding, pod: Pod) -> bool:
        """Whether what outlived a Pod of a StatefulSet is what its successor asks for."""
        if grant.subnet not in (request.subnets or binding.subnets) and not (request.pools or binding.pools):
            return False
        wanted = set(request.addresses)
        if request.choices:
            number = ordinal(pod, self._parent(pod))
            if number is None or not 0 <= number < len(request.choices):
                return False
            wanted = set(request.choices[number])
        versions = tuple(address.version for address in grant.addresses)
        return wanted <= set(grant.addresses) and (not request.versions or request.versions == versions)

    def _parent(self, pod: Pod) -> StatefulSet | None:
        owner = stateful_set(pod)
        return None if owner is None else self._living.sets.get(owner.uid)

    def _surroundings(self) -> Surroundings:
        network = self._network
        return Surroundings(
            ledger=self._ledger,
            join=network.fabric.join,
            usable=network.usable,
            exists=network.subnets.__contains__,
            coming=network.coming,
            pool=network.pools.get,
        )

    def _may_have_rows(self, item: Item) -> bool:
        """Whether a unit's grant is recorded, or in use already. Else its record is asked for, and it waits."""
        uid, name = item.metadata.uid, ip_name(item)
        self._records.settle(name, again=False)
        if self._records.is_recorded(name) or self._assembly.has(uid) or uid in self._adoption.confirmed:
            self._stuck.discard(uid)
            return True
        return False

    def _is_news(self, uid: str, *inputs: object) -> bool:
        if self._inputs.get(uid) == inputs:
            return False
        self._inputs[uid] = inputs
        return True

    def _obstacle(self, item: Item) -> str | None:
        """Why an object's rows cannot have their names."""
        name = item.metadata.name
        port = names.node_port(name) if isinstance(item, Node) else names.pod_port(name, item.metadata.namespace)
        if (subnet := self._network.joins(port)) is not None:
            return f"its port would be named {port}, like that of subnet {subnet} to the router; rename one of them"
        if isinstance(item, Node):
            return self._taken(RowKey(LogicalSwitchPort.TABLE, port)) or self._taken(
                RowKey(PortGroup.TABLE, names.node_port_group(name))
            )
        node = port.removeprefix(names.node_port(""))
        if node != port and node in self._nodes:
            return f"its port would be named {port}, like the port of node {node}; rename the Pod"
        return self._taken(RowKey(LogicalSwitchPort.TABLE, port))

    def _taken(self, key: RowKey) -> str | None:
        if key not in self._living.foreign:
            return None
        return (
            f"the Northbound database has a {key.table} {key.key} that is not kube-ovn's; "
            "remove it with ovn-nbctl, or rename the object"
        )

    def _fail(self, item: Item, problem: Problem | None) -> None:
        """An object without rows, with a word to its user or, while what it needs is on its way, without."""
        uid = item.metadata.uid
        self._stuck.add(uid)
        self._inputs.pop(uid, None)
        self._assembly.drop(uid)
        self._outbox.put(WriteKey(uid, Aspect.ANNOTATIONS), None)
        self._outbox.tell(uid, problem)

    def _publish(self, item: Item, ref: ObjectRef, wanted: Mapping[str, str]) -> None:
        actual = item.metadata.annotations
        missing = {key: value for key, value in wanted.items() if actual.get(key) != value}
        write = Annotate(object=ref, annotations=missing) if missing else None
        self._outbox.put(WriteKey(item.metadata.uid, Aspect.ANNOTATIONS), write)


class _PodError(Exception):
    """Why a Pod gets no port: a reason for its Event and a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _holder(item: Item, owner: Owner) -> Holder:
    meta = item.metadata
    if isinstance(item, Node):
        return Holder(
            uid=meta.uid,
            owner=owner,
            owner_uid=meta.uid,
            pod_type=names.NODE_TYPE,
            pod_name=meta.name,
            namespace="",
            node=meta.name,
        )
    parent = stateful_set(item)
    return Holder(
        uid=meta.uid,
        owner=owner,
        owner_uid=meta.uid if parent is None else parent.uid,
        pod_type="" if parent is None else names.STATEFULSET,
        pod_name=meta.name,
        namespace=meta.namespace,
        node=item.spec.node_name,
    )


def _wishes_nothing(pod: Pod) -> bool:
    annotations = pod.metadata.annotations
    return names.IP_ADDRESS not in annotations and names.IP_POOL not in annotations
