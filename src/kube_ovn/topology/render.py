"""The controller's decision as a whole: from a snapshot of Kubernetes to the desired Northbound state.

`Topology.render` is synchronous and free of I/O, time and randomness. It keeps each unit's result as long as the
unit's inputs are the same objects, and looks only at units that may have changed, so a pass costs what changed; a new
`Topology` fed the same snapshot ends in the same state (`tests/properties` hold it to that). What it decides goes three
ways: rows to `plan.diff`, annotations to be published after the commit, and problems to be told to users.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kube_ovn.model import names
from kube_ovn.model.addr import parse_addresses, parse_mac
from kube_ovn.model.kube import Namespace, Node, Pod
from kube_ovn.model.network import Grant, Kind, ObjectRef, Problem, Subnet
from kube_ovn.topology.assembly import Assembly
from kube_ovn.topology.ipam import Ledger, Owner, RefusedError
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Annotations an object is to have. Sent only after the rows they speak of are committed."""

    object: ObjectRef
    annotations: Mapping[str, str]


class Topology:
    """Desired state, publications and problems, by UID, kept up to date pass by pass."""

    def __init__(self, vpc: Vpc) -> None:
        self.vpc = vpc
        self.assembly = Assembly()
        self.ledger = Ledger((vpc.default, vpc.join))
        self.publications: dict[str, Publication] = {}
        self.problems: dict[str, Problem] = {}
        self._inputs: dict[str, tuple[object, ...]] = {}
        self._nodes: set[str] = set()  # names
        self.assembly.put(f"vpc {vpc.router}", render_vpc(vpc.router, vpc.join))
        for subnet in (vpc.default, vpc.join):
            self.assembly.put(f"subnet {subnet.name}", render_subnet(vpc.router, subnet))

    def render(self, snapshot: Snapshot) -> None:
        """Bring everything up to date with a snapshot."""
        changed_nodes: list[Node] = []
        changed_pods: list[Pod] = []
        gone: list[str] = []
        for uid in self._to_look_at(snapshot):
            if (node := snapshot.nodes.get(uid)) is not None:
                if self._is_news(uid, node):
                    changed_nodes.append(node)
            elif (namespace := snapshot.namespaces.get(uid)) is not None:
                if self._is_news(uid, namespace):
                    self._render_namespace(namespace)
            elif (pod := snapshot.pods.get(uid)) is not None and needs_port(pod):
                if self._is_news(uid, pod, pod.spec.node_name in self._nodes):
                    changed_pods.append(pod)
            elif uid in self._inputs:
                gone.append(uid)
        for uid in sorted(gone):
            self._forget(uid)
        self._adopt(changed_nodes, changed_pods)
        for node in sorted(changed_nodes, key=_age):
            self._render_node(node)
        # Fixed addresses first, so that no other Pod of this pass is given one of them.
        for pod in sorted(changed_pods, key=lambda pod: (names.IP_ADDRESS not in pod.metadata.annotations, *_age(pod))):
            self._render_pod(pod)

    def _to_look_at(self, snapshot: Snapshot) -> Collection[str]:
        """UIDs whose unit may have to be rendered or forgotten: those that changed and those that failed before. All of
        them at first, and when nodes came or went, as Pods depend on their nodes.
        """
        before, self._nodes = self._nodes, {node.metadata.name for node in snapshot.nodes.values()}
        if self._inputs and snapshot.changed is not None and before == self._nodes:
            return {*snapshot.changed, *self.problems}
        return {*self._inputs, *snapshot.nodes, *snapshot.namespaces, *snapshot.pods}

    def _is_news(self, uid: str, *inputs: object) -> bool:
        """Whether a unit must be rendered: its inputs are new, or it failed before and may now succeed."""
        if self._inputs.get(uid) == inputs and uid not in self.problems:
            return False
        self._inputs[uid] = inputs
        return True

    def _forget(self, uid: str) -> None:
        del self._inputs[uid]
        self.ledger.release(uid)
        self.assembly.drop(uid)
        self.publications.pop(uid, None)
        self.problems.pop(uid, None)

    def _adopt(self, nodes: Iterable[Node], pods: Iterable[Pod]) -> None:
        """Take over what earlier passes granted and Kubernetes remembers, before anything new is handed out.

        What cannot be taken over is reported when the object itself is rendered.
        """
        for node in sorted(nodes, key=_age):
            grant = _remembered(node.metadata.annotations)
            if grant is not None and node.metadata.uid not in self.ledger.grants:
                self._try_adopt(_node_owner(node), grant)
        for pod in sorted(pods, key=_age):
            grant = _remembered(pod.metadata.annotations)
            if grant is not None and pod.metadata.uid not in self.ledger.grants:
                self._try_adopt(_pod_owner(pod), grant)

    def _try_adopt(self, owner: Owner, grant: Grant) -> bool:
        try:
            self.ledger.adopt(owner, grant)
        except RefusedError:
            return False
        return True

    def _render_node(self, node: Node) -> None:
        uid = node.metadata.uid
        ref = ObjectRef(kind=Kind.NODE, namespace="", name=node.metadata.name, uid=uid)
        try:
            grant = self.ledger.grants.get(uid) or self.ledger.allocate(_node_owner(node), self.vpc.join.name)
        except RefusedError as error:
            self._fail(uid, Problem(object=ref, reason=names.ACQUIRE_ADDRESS_FAILED, message=str(error)))
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

    def _render_namespace(self, namespace: Namespace) -> None:
        meta = namespace.metadata
        ref = ObjectRef(kind=Kind.NAMESPACE, namespace="", name=meta.name, uid=meta.uid)
        self._publish(meta.uid, ref, meta.annotations, namespace_annotations(self.vpc.default))

    def _render_pod(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        grant = self._grant(pod)
        if isinstance(grant, Problem):
            self._fail(uid, grant)
            return
        self.assembly.put(uid, render_pod(pod, grant, pod.spec.node_name in self._nodes))
        annotations = pod_annotations(self.vpc.router, grant, self.ledger.subnets[grant.subnet])
        self._publish(uid, pod_ref(pod), pod.metadata.annotations, annotations)
        self.problems.pop(uid, None)

    def _grant(self, pod: Pod) -> Grant | Problem:
        if pod.metadata.uid in self.ledger.grants:
            return self.ledger.grants[pod.metadata.uid]
        port = names.pod_port(pod.metadata.name, pod.metadata.namespace)
        if port.removeprefix("node-") in self._nodes and port.startswith("node-"):
            message = (
                f"its port would be named {port}, like the port of node {port.removeprefix('node-')}; rename the Pod"
            )
            return pod_problem(pod, names.VALIDATE_POD_NETWORK_FAILED, message)
        request = parse_request(pod, self.vpc.default.name)
        if isinstance(request, Problem):
            return request
        if request.subnet == self.vpc.join.name:
            message = f"subnet {request.subnet} joins the nodes and is not for Pods; choose another"
            return pod_problem(pod, names.VALIDATE_POD_NETWORK_FAILED, message)
        try:
            return self.ledger.allocate(_pod_owner(pod), request.subnet, request.addresses, request.mac)
        except RefusedError as error:
            return pod_problem(pod, names.ACQUIRE_ADDRESS_FAILED, str(error))

    def _fail(self, uid: str, problem: Problem) -> None:
        self.assembly.drop(uid)
        self.publications.pop(uid, None)
        self.problems[uid] = problem

    def _publish(self, uid: str, ref: ObjectRef, actual: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        missing = {key: value for key, value in wanted.items() if actual.get(key) != value}
        if missing:
            self.publications[uid] = Publication(object=ref, annotations=missing)
        else:
            self.publications.pop(uid, None)


def _remembered(annotations: Mapping[str, str]) -> Grant | None:
    """The grant an object's annotations record; None where there is none or a user has damaged it."""
    if annotations.get(names.ALLOCATED) != "true":
        return None
    try:
        return Grant(
            subnet=annotations[names.LOGICAL_SWITCH],
            addresses=parse_addresses(annotations[names.IP_ADDRESS]),
            mac=parse_mac(annotations[names.MAC_ADDRESS]),
        )
    except (KeyError, ValueError):
        return None


def _pod_owner(pod: Pod) -> Owner:
    return Owner(pod.metadata.uid, f"Pod {pod.metadata.namespace}/{pod.metadata.name}")


def _node_owner(node: Node) -> Owner:
    return Owner(node.metadata.uid, f"node {node.metadata.name}")


def _age(item: Pod | Node) -> tuple[str, str, str]:
    meta = item.metadata
    return (meta.creation_timestamp, meta.namespace, meta.name)
