"""The controller's decision as a whole: from a snapshot of Kubernetes to the desired Northbound state.

`Topology.render` is synchronous and free of I/O, time and randomness. It keeps each unit's result as long as the
unit's inputs are the same objects, and looks only at units that may have changed, so a pass costs what changed; a new
`Topology` fed the same snapshot ends in the same state (`tests/properties` hold it to that). What it decides goes three
ways: rows to `plan.diff`, annotations to be published after the commit, and problems to be told to users.

Two units that want one name would be a fault, so names are settled before anything is rendered: what others have in the
Northbound database stays theirs, and a Pod gives way to a Node.
"""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType

from kube_ovn.model import names
from kube_ovn.model.kube import Namespace, Node, Pod
from kube_ovn.model.nb import LogicalSwitchPort, PortGroup
from kube_ovn.model.network import Grant, Kind, ObjectRef, Problem, Subnet
from kube_ovn.model.row import RowKey
from kube_ovn.topology.assembly import Assembly
from kube_ovn.topology.ipam import Ledger, Owner, RefusedError
from kube_ovn.topology.memory import remembered
from kube_ovn.topology.namespace import namespace_annotations
from kube_ovn.topology.node import internal_addresses, node_annotations, render_node
from kube_ovn.topology.pod import (
    needs_port,
    parse_request,
    pod_annotations,
    pod_problem,
    pod_ref,
    render_pod,
)
from kube_ovn.topology.subnet import render_subnet
from kube_ovn.topology.vpc import render_vpc


@dataclass(frozen=True, slots=True, kw_only=True)
class Vpc:
    """The configured network: one router, the subnet Pods fall to, and the subnet that joins the nodes."""

    router: str
    default: Subnet
    join: Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Kubernetes as the controller sees it now: objects by UID."""

    pods: Mapping[str, Pod]
    nodes: Mapping[str, Node]
    namespaces: Mapping[str, Namespace]
    changed: Collection[str] | None = None
    """UIDs that came, changed or left since the snapshot before; None when any may have."""
    foreign: AbstractSet[RowKey] = frozenset()
    """Rows in the Northbound database that are not ours, whose names we cannot have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Annotations an object is to have. Sent only after the rows they speak of are committed."""

    object: ObjectRef
    annotations: Mapping[str, str]


class Topology:
    """Desired state, publications and problems, by UID, kept up to date pass by pass.

    `confirmed` are the grants found in the Northbound database, for the first pass (`topology.memory`).
    """

    def __init__(self, vpc: Vpc, confirmed: Mapping[str, Grant] = MappingProxyType({})) -> None:
        self.vpc = vpc
        self.assembly = Assembly()
        self.ledger = Ledger((vpc.default, vpc.join))
        self.publications: dict[str, Publication] = {}
        self.problems: dict[str, Problem] = {}
        self._confirmed = confirmed
        self._inputs: dict[str, tuple[object, ...]] = {}
        self._obstacles: dict[str, str] = {}  # why a unit cannot have its names, by UID
        self._changed_publications: set[str] = set()  # UIDs whose publication came, changed or went
        self._foreign: AbstractSet[RowKey] = frozenset()
        self._nodes: set[str] = set()  # names of all there are
        self._connected: set[str] = set()  # names of those that have their rows
        self.assembly.put(f"vpc {vpc.router}", render_vpc(vpc.router, vpc.join))
        for subnet in (vpc.default, vpc.join):
            self.assembly.put(f"subnet {subnet.name}", render_subnet(vpc.router, subnet))

    def render(self, snapshot: Snapshot) -> None:
        """Bring everything up to date with a snapshot."""
        uids = self._to_look_at(snapshot)
        for uid in sorted(uid for uid in uids if uid in self._inputs and not _is_wanted(snapshot, uid)):
            self._forget(uid)
        self._settle_names(snapshot, uids)
        self._render_namespaces(namespace for uid in uids if (namespace := snapshot.namespaces.get(uid)) is not None)
        self._render_nodes(node for uid in uids if (node := snapshot.nodes.get(uid)) is not None)
        before = self._connected
        self._connected = {node.metadata.name for uid, node in snapshot.nodes.items() if self.assembly.has(uid)}
        if self._connected != before:  # Pods depend on their nodes
            uids = snapshot.pods.keys()
        self._render_pods(pod for uid in uids if (pod := _wanted_pod(snapshot, uid)) is not None)
        self._confirmed = {}

    def take_changed_publications(self) -> dict[str, Publication | None]:
        """Publications that came or changed since the last call, by UID; None for those that went."""
        changed, self._changed_publications = self._changed_publications, set()
        return {uid: self.publications.get(uid) for uid in changed}

    def _to_look_at(self, snapshot: Snapshot) -> Collection[str]:
        """UIDs whose unit may have to be rendered or forgotten: those that changed and those that failed before. All of
        them at first, when nodes came or went, and when another came to have a name of ours.
        """
        nodes, foreign = self._nodes, self._foreign
        self._nodes, self._foreign = {node.metadata.name for node in snapshot.nodes.values()}, snapshot.foreign
        came = () if self._foreign is foreign else self._foreign - foreign
        same = nodes == self._nodes and not any(key in self.assembly.state for key in came)
        if self._inputs and snapshot.changed is not None and same:
            return {*snapshot.changed, *self.problems}
        return {*self._inputs, *snapshot.nodes, *snapshot.namespaces, *snapshot.pods}

    def _is_news(self, uid: str, *inputs: object) -> bool:
        """Whether a unit must be rendered: its inputs are new, or it failed before and may now succeed."""
        failed = uid in self.problems and not self.assembly.has(uid)
        if self._inputs.get(uid) == inputs and not failed:
            return False
        self._inputs[uid] = inputs
        return True

    def _forget(self, uid: str) -> None:
        del self._inputs[uid]
        self._obstacles.pop(uid, None)
        self.ledger.release(uid)
        self.assembly.drop(uid)
        self._withdraw(uid)
        self.problems.pop(uid, None)

    def _settle_names(self, snapshot: Snapshot, uids: Iterable[str]) -> None:
        """Find who cannot have its names, and take its rows back before those who have them are rendered."""
        for uid in uids:
            item = snapshot.nodes.get(uid) or _wanted_pod(snapshot, uid)
            obstacle = None if item is None else self._obstacle(item)
            if obstacle is None:
                self._obstacles.pop(uid, None)
            else:
                self._obstacles[uid] = obstacle
                self.assembly.drop(uid)

    def _render_namespaces(self, namespaces: Iterable[Namespace]) -> None:
        for namespace in namespaces:
            meta = namespace.metadata
            if self._is_news(meta.uid, namespace):
                ref = ObjectRef(kind=Kind.NAMESPACE, namespace="", name=meta.name, uid=meta.uid)
                self._publish(meta.uid, ref, meta.annotations, namespace_annotations(self.vpc.default))

    def _render_nodes(self, nodes: Iterable[Node]) -> None:
        news = [
            node for node in nodes if self._is_news(node.metadata.uid, node, self._obstacles.get(node.metadata.uid))
        ]
        self._adopt(news)
        for node in sorted(news, key=_age):
            self._render_node(node)

    def _render_pods(self, pods: Iterable[Pod]) -> None:
        news = [
            pod
            for pod in pods
            if self._is_news(
                pod.metadata.uid,
                pod,
                pod.spec.node_name in self._connected,
                self._obstacles.get(pod.metadata.uid),
            )
        ]
        self._adopt(news)
        # Fixed addresses first, so that no other Pod of this pass is given one of them.
        for pod in sorted(news, key=lambda pod: (names.IP_ADDRESS not in pod.metadata.annotations, *_age(pod))):
            self._render_pod(pod)

    def _adopt(self, items: Iterable[Node | Pod]) -> None:
        """Take over what earlier passes granted, before anything new is handed out.

        First those whose ports and annotations agree, then the other ports, then who has annotations alone. What cannot
        be taken over is reported when the object itself is rendered.
        """
        claims = []
        for item in items:
            uid = item.metadata.uid
            port, annotated = self._confirmed.get(uid), remembered(item.metadata.annotations)
            grants = [grant for grant in (port, annotated) if grant is not None and self._may_have(item, grant)]
            if grants and uid not in self.ledger.grants:
                claims.append(((port is None, port != annotated), _age(item), _owner(item), grants))
        for _, _, owner, grants in sorted(claims, key=lambda claim: claim[:3]):
            for grant in grants:
                try:
                    self.ledger.adopt(owner, grant, in_use=grant == self._confirmed.get(owner.uid))
                    break
                except RefusedError:
                    continue

    def _may_have(self, item: Node | Pod, grant: Grant) -> bool:
        return (grant.subnet == self.vpc.join.name) == isinstance(item, Node)

    def _render_node(self, node: Node) -> None:
        uid = node.metadata.uid
        ref = ObjectRef(kind=Kind.NODE, namespace="", name=node.metadata.name, uid=uid)
        if obstacle := self._obstacles.get(uid):
            self._fail(node, Problem(object=ref, reason=names.CREATE_OVN_PORT_FAILED, message=obstacle))
            return
        try:
            grant = self.ledger.grants.get(uid) or self.ledger.allocate(_owner(node), self.vpc.join.name)
        except RefusedError as error:
            self._fail(node, Problem(object=ref, reason=names.ACQUIRE_ADDRESS_FAILED, message=str(error)))
            return
        self.assembly.put(uid, render_node(self.vpc.router, node, grant))
        self._publish(uid, ref, node.metadata.annotations, node_annotations(node, grant, self.vpc.join))
        self.problems.pop(uid, None)
        for address in internal_addresses(node):
            for cidr in (*self.vpc.default.cidrs, *self.vpc.join.cidrs):
                if address in cidr:
                    message = (
                        f"address {address} of node {ref.name} lies in the fabric's CIDR {cidr}; change one of them"
                    )
                    self.problems[uid] = Problem(object=ref, reason=names.NODE_ADDRESS_CONFLICT, message=message)

    def _render_pod(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        grant = self._grant(pod)
        if isinstance(grant, Problem):
            self._fail(pod, grant)
            return
        self.assembly.put(uid, render_pod(pod, grant, pod.spec.node_name in self._connected))
        annotations = pod_annotations(self.vpc.router, grant, self.ledger.subnets[grant.subnet])
        self._publish(uid, pod_ref(pod), pod.metadata.annotations, annotations)
        self.problems.pop(uid, None)

    def _grant(self, pod: Pod) -> Grant | Problem:
        if obstacle := self._obstacles.get(pod.metadata.uid):
            return pod_problem(pod, names.CREATE_OVN_PORT_FAILED, obstacle)
        if pod.metadata.uid in self.ledger.grants:
            return self.ledger.grants[pod.metadata.uid]
        request = parse_request(pod, self.vpc.default.name)
        if isinstance(request, Problem):
            return request
        if request.subnet == self.vpc.join.name:
            message = f"subnet {request.subnet} joins the nodes and is not for Pods; choose another"
            return pod_problem(pod, names.VALIDATE_POD_NETWORK_FAILED, message)
        try:
            return self.ledger.allocate(_owner(pod), request.subnet, request.addresses, request.mac)
        except RefusedError as error:
            return pod_problem(pod, names.ACQUIRE_ADDRESS_FAILED, str(error))

    def _obstacle(self, item: Node | Pod) -> str | None:
        """Why an object's rows cannot have their names."""
        name = item.metadata.name
        if isinstance(item, Node):
            return self._taken(RowKey(LogicalSwitchPort.TABLE, names.node_port(name))) or self._taken(
                RowKey(PortGroup.TABLE, names.node_port_group(name))
            )
        port = names.pod_port(name, item.metadata.namespace)
        node = port.removeprefix(names.node_port(""))
        if node != port and node in self._nodes:
            return f"its port would be named {port}, like the port of node {node}; rename the Pod"
        return self._taken(RowKey(LogicalSwitchPort.TABLE, port))

    def _taken(self, key: RowKey) -> str | None:
        if key not in self._foreign:
            return None
        return (
            f"the Northbound database has a {key.table} {key.key} that is not kube-ovn's; "
            "remove it with ovn-nbctl, or rename the object"
        )

    def _fail(self, item: Node | Pod, problem: Problem) -> None:
        """An object without rows. It keeps its address: the annotation that tells it may be under way."""
        uid = item.metadata.uid
        self.assembly.drop(uid)
        self._withdraw(uid)
        self.problems[uid] = problem

    def _publish(self, uid: str, ref: ObjectRef, actual: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        missing = {key: value for key, value in wanted.items() if actual.get(key) != value}
        if missing:
            self.publications[uid] = Publication(object=ref, annotations=missing)
            self._changed_publications.add(uid)
        else:
            self._withdraw(uid)

    def _withdraw(self, uid: str) -> None:
        if self.publications.pop(uid, None) is not None:
            self._changed_publications.add(uid)


def _wanted_pod(snapshot: Snapshot, uid: str) -> Pod | None:
    pod = snapshot.pods.get(uid)
    return pod if pod is not None and needs_port(pod) else None


def _is_wanted(snapshot: Snapshot, uid: str) -> bool:
    return uid in snapshot.nodes or uid in snapshot.namespaces or _wanted_pod(snapshot, uid) is not None


def _owner(item: Node | Pod) -> Owner:
    meta = item.metadata
    return Owner(meta.uid, f"Pod {meta.namespace}/{meta.name}" if isinstance(item, Pod) else f"node {meta.name}")


def _age(item: Node | Pod) -> tuple[str, str, str]:
    meta = item.metadata
    return (meta.creation_timestamp, meta.namespace, meta.name)
