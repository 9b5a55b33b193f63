"""The outcome for each Node and Pod: its rows, the annotations that let it start, and the message for its user.

Each stage waits for the one before: an IP object records the grant, the port is committed, the annotations are
published. A holder that has a port keeps it while its record is made anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from kube_ovn.derive import Derived, Graph, Read, Source
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.crd import SubnetSpec
from kube_ovn.model.kube import Node, Pod
from kube_ovn.model.network import Kind, ObjectRef, Subnet, Told, cluster_ref
from kube_ovn.model.row import State
from kube_ovn.model.writes import Annotate, Aspect, WriteKey
from kube_ovn.topology.addresses.ask import Asked
from kube_ovn.topology.addresses.grants import Grants, Held, Refusal
from kube_ovn.topology.addresses.holders import Holder, Holders
from kube_ovn.topology.addresses.records import find_kept
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.outputs import Outputs, Wanted
from kube_ovn.topology.ports.node import node_annotations, render_node
from kube_ovn.topology.ports.obstacles import Obstacles, gives_way
from kube_ovn.topology.ports.pod import PodInputs, dhcp_faults, needs_port, pod_annotations, pod_ref, render_pod
from kube_ovn.topology.ports.spoofing import Spoofing
from kube_ovn.topology.ports.wishes import has_wish, wish_faults
from kube_ovn.topology.subnets.addressing import Addressing
from kube_ovn.topology.subnets.features import Features
from kube_ovn.topology.subnets.near import NodesNear


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """A port that a Pod has, and the addresses that others see it at."""

    port: str
    subnet: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The rows of one Node or Pod, the write of its annotations, and the message for its user."""

    rows: State = field(default_factory=dict)
    write: Wanted | None = None
    told: Told | None = None
    end: End | None = None
    """The port of a Pod, if it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The sources and settings that outcomes are derived from."""

    inputs: Inputs
    fabric: Fabric
    holders: Holders
    grants: Grants
    obstacles: Obstacles
    addressing: Addressing
    features: Source[str, Features]
    nodes: NodesNear
    spoofing: Spoofing
    pod_requests: Derived[str, Holder, Asked]
    node_requests: Derived[str, Holder, Asked]


@dataclass(frozen=True, slots=True)
class _Traits:
    """The part of a subnet that the rows of its Pods depend on."""

    subnet: Subnet
    spec: SubnetSpec


def define(graph: Graph, outputs: Outputs, on: Reads) -> Source[str, Outcome]:
    """Derive the outcomes for Nodes and Pods: rows, annotations and Events. Returns those for Pods."""
    node_outcome = _nodes(on)
    nodes = graph.derive("outcomes of Nodes", on.inputs.nodes, node_outcome)
    connected = graph.derive("connected nodes", nodes, lambda read, name, outcome: True if outcome.rows else None)

    def traits(read: Read, name: str, subnet: Subnet) -> _Traits:
        each = read.get(on.features, name)
        spec = each.spec if each is not None else SubnetSpec()
        return _Traits(replace(subnet, exclude=()), SubnetSpec(enable_dhcp=spec.enable_dhcp, mtu=spec.mtu))

    pods = _Pods(on, graph.derive("traits of subnets", on.addressing.effective, traits), connected)
    _follow(outputs, nodes, lambda name: _node_ref(on.inputs.nodes.values[name]))
    made = graph.derive("outcomes of Pods", on.inputs.pods, pods.outcome)
    _follow(outputs, made, lambda record: pod_ref(on.inputs.pods.values[record]))
    return made


def _follow(
    outputs: Outputs,
    made: Source[str, Outcome],
    owner: Callable[[str], ObjectRef],
) -> None:
    outputs.rows.follow(made, owner, lambda outcome: outcome.rows)
    outputs.writes.follow(made, lambda outcome: outcome.write)
    outputs.telling.follow(made, lambda outcome: outcome.told)


def _nodes(on: Reads) -> Callable[[Read, str, Node], Outcome]:
    def outcome(read: Read, name: str, node: Node) -> Outcome:
        ref, holder = _node_ref(node), read.get(on.holders.nodes, name)
        assert holder is not None, "every Node is a holder"
        if obstacle := on.obstacles.of_node(read, holder):
            return Outcome(told=Told(object=ref, reason=names.CREATE_OVN_PORT_FAILED, message=obstacle))
        if refusal := _refusal(read, on, holder, read.get(on.node_requests, name)):
            return Outcome(told=Told(object=ref, reason=refusal.reason, message=refusal.message))
        told = _conflict(read, on, ref)
        held, join = _usable(read, on, holder), read.get(on.addressing.effective, on.fabric.join)
        if held is None or join is None:
            return Outcome(told=told)
        write = _publish(node, node_annotations(node, held.grant, join))
        return Outcome(rows=render_node(on.fabric.router, node, held.grant), write=write, told=told)

    return outcome


class _Pods:
    """The outcomes of Pods."""

    def __init__(
        self, on: Reads, traits: Derived[str, Subnet, _Traits], connected: Derived[str, Outcome, bool]
    ) -> None:
        self._on, self._traits, self._connected = on, traits, connected

    def outcome(self, read: Read, record: str, pod: Pod) -> Outcome | None:
        on, holder = self._on, read.get(self._on.holders.pods, record)
        if holder is None:
            if not needs_port(pod):
                return None
            port = names.pod_port(pod.metadata.name, pod.metadata.namespace)
            return _fail(pod, names.CREATE_OVN_PORT_FAILED, gives_way(port))
        if obstacle := on.obstacles.of_pod(read, holder):
            return _fail(pod, names.CREATE_OVN_PORT_FAILED, obstacle)
        held = _usable(read, on, holder)
        if held is None:
            refusal = _refusal(read, on, holder, read.get(on.pod_requests, record))
            return None if refusal is None else _refuse(pod, refusal)
        traits = read.get(self._traits, held.grant.subnet)
        if traits is None:
            return None
        node_known = read.get(self._connected, pod.spec.node_name) is not None
        senders, faults = on.spoofing.judge(read, pod, held.grant, traits.subnet)
        inputs = PodInputs(
            grant=held.grant, subnet=traits.subnet, spec=traits.spec, node_known=node_known, senders=senders
        )
        annotations = pod_annotations(on.fabric.router, held.grant, traits.subnet)
        faults += dhcp_faults(pod)
        if has_wish(pod, annotations):
            pools = {} if pod.status.pod_ips else read.get(on.addressing.pool_ranges, held.grant.subnet) or {}
            faults += wish_faults(pod, holder, held.grant, traits.subnet, pools)
        told = Told(object=pod_ref(pod), reason=names.VALIDATE_POD_NETWORK_FAILED, message="; ".join(faults))
        return Outcome(
            rows=render_pod(pod, inputs),
            write=_publish(pod, annotations),
            told=told if faults else None,
            end=End(
                port=names.pod_port(pod.metadata.name, pod.metadata.namespace),
                subnet=held.grant.subnet,
                addresses=held.grant.addresses,
            ),
        )


def _usable(read: Read, on: Reads, holder: Holder) -> Held | None:
    """The grant of a holder, if the holder's port may use it."""
    held = read.get(on.grants.held, holder.owner.key)
    return held if held is not None and held.uid == holder.uid and held.recorded else None


def _refusal(read: Read, on: Reads, holder: Holder, asked: Asked | None) -> Refusal | None:
    """Why a holder gets no address, or cannot use the one it was granted. None when it asks for none, and when an
    address is about to be free for it.
    """
    if isinstance(asked, Refusal):
        return asked
    if asked is None:
        held = read.get(on.grants.held, holder.owner.key)
        is_new = held is not None and held.uid == holder.uid and not held.recorded
        kept = find_kept(read, on.inputs, holder) if is_new else ""
        return Refusal(names.ACQUIRE_ADDRESS_FAILED, kept) if kept else None
    return read.get(on.grants.refusals, holder.record)


def _conflict(read: Read, on: Reads, ref: ObjectRef) -> Told | None:
    found = read.get(on.nodes.conflicts, ref.name)
    if found is not None:
        address, subnet = found[0]
        message = f"address {address} of node {ref.name} lies in the CIDR of subnet {subnet}; change one of them"
    else:
        message = read.get(on.nodes.clashes, ref.name) or ""
    if not message:
        return None
    return Told(object=ref, reason=names.NODE_ADDRESS_CONFLICT, message=message)


def _fail(pod: Pod, reason: str, message: str) -> Outcome:
    return Outcome(told=Told(object=pod_ref(pod), reason=reason, message=message))


def _refuse(pod: Pod, refusal: Refusal) -> Outcome:
    elsewhere = pod.metadata.namespace if refusal.elsewhere else ""
    told = Told(object=pod_ref(pod), reason=refusal.reason, message=refusal.message, elsewhere=elsewhere)
    return Outcome(told=told)


def _node_ref(node: Node) -> ObjectRef:
    return cluster_ref(Kind.NODE, node.metadata.name, node.metadata.uid)


def _publish(item: Node | Pod, wanted: Mapping[str, str]) -> Wanted | None:
    actual, ref = item.metadata.annotations, _node_ref(item) if isinstance(item, Node) else pod_ref(item)
    missing = {key: value for key, value in wanted.items() if actual.get(key) != value}
    if not missing:
        return None
    return Wanted(WriteKey(item.metadata.uid, Aspect.ANNOTATIONS), Annotate(object=ref, annotations=missing))
