"""Kubernetes objects, only the fields this project reads. Nouns only; `k8s.decode` makes them from bytes."""

import msgspec


class OwnerReference(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    name: str
    uid: str


class ObjectMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    uid: str
    namespace: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()


class PodSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    node_name: str = ""
    host_network: bool = False


class PodStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    phase: str = ""


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class NodeAddress(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    address: str


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    addresses: tuple[NodeAddress, ...] = ()


class Node(msgspec.Struct, frozen=True, kw_only=True):
    metadata: ObjectMeta
    status: NodeStatus = NodeStatus()


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    metadata: ObjectMeta
