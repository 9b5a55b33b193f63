"""Small clusters as values, for tests of the pure core: objects, and the steps between them."""

from dataclasses import replace
from ipaddress import ip_network
from typing import TypeVar

import msgspec

from kube_ovn.config import parse_subnet
from kube_ovn.model import names
from kube_ovn.model.kube import Namespace, Node, NodeAddress, NodeStatus, ObjectMeta, Pod, PodSpec, PodStatus
from kube_ovn.topology.render import Snapshot, Topology, Vpc

T = TypeVar("T", Pod, Node, Namespace)


def vpc(cidr: str = "10.16.0.0/16", join: str = "100.64.0.0/16") -> Vpc:
    return Vpc(router="ovn-cluster", default=parse_subnet("ovn-default", cidr), join=parse_subnet("join", join))


def node(name: str, number: int, **annotations: str) -> Node:
    address = str(ip_network("172.30.0.0/24")[10 + number])
    return Node(
        metadata=ObjectMeta(name=name, uid=f"node-uid-{name}", annotations=annotations),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=address),)),
    )


def pod(
    name: str,
    on: str = "node1",
    *,
    uid: str | None = None,
    namespace: str = "default",
    phase: str = "Pending",
    host_network: bool = False,
    annotations: dict[str, str] | None = None,
) -> Pod:
    return Pod(
        metadata=ObjectMeta(name=name, namespace=namespace, uid=uid or f"uid-{name}", annotations=annotations or {}),
        spec=PodSpec(node_name=on, host_network=host_network),
        status=PodStatus(phase=phase),
    )


def namespace(name: str, **annotations: str) -> Namespace:
    return Namespace(metadata=ObjectMeta(name=name, uid=f"namespace-uid-{name}", annotations=annotations))


def snapshot(*objects: Pod | Node | Namespace) -> Snapshot:
    return Snapshot(
        pods={item.metadata.uid: item for item in objects if isinstance(item, Pod)},
        nodes={item.metadata.uid: item for item in objects if isinstance(item, Node)},
        namespaces={item.metadata.uid: item for item in objects if isinstance(item, Namespace)},
    )


def granted(subnet: str, address: str, mac: str = "0a:00:00:00:00:07") -> dict[str, str]:
    """Annotations of an earlier grant, or of a user who imitates one."""
    return {
        names.ALLOCATED: "true",
        names.LOGICAL_SWITCH: subnet,
        names.IP_ADDRESS: address,
        names.MAC_ADDRESS: mac,
    }


def step(before: Snapshot, after: Snapshot) -> Snapshot:
    """The later of two snapshots, with what changed in between named, as a Store tells it."""
    older = {**before.pods, **before.nodes, **before.namespaces}
    newer = {**after.pods, **after.nodes, **after.namespaces}
    changed = {uid for uid in older.keys() | newer.keys() if older.get(uid) is not newer.get(uid)}
    return replace(after, changed=changed)


def echoed(topology: Topology, before: Snapshot) -> Snapshot:
    """The snapshot after the API server took every publication."""
    return replace(
        before,
        pods={uid: _echo(topology, pod) for uid, pod in before.pods.items()},
        nodes={uid: _echo(topology, node) for uid, node in before.nodes.items()},
        namespaces={uid: _echo(topology, namespace) for uid, namespace in before.namespaces.items()},
        changed=None,
    )


def _echo(topology: Topology, item: T) -> T:
    """The object after the API server took what is published about it, if anything is."""
    publication = topology.publications.get(item.metadata.uid)
    if publication is None:
        return item
    annotations = {**item.metadata.annotations, **publication.annotations}
    return msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, annotations=annotations))


def address(item: Pod | Node) -> str:
    return item.metadata.annotations[names.IP_ADDRESS]
