"""Bytes of the Kubernetes API -> typed structs, and how each kind is addressed. The only place where JSON is untyped.

Nothing here talks to anybody. What we do not read is dropped here: unknown fields by msgspec, foreign annotations by
`_kept`, so that a change of theirs is no change for us.
"""

import sys
from dataclasses import dataclass
from functools import lru_cache
from types import GenericAlias
from typing import Any, Generic, TypeVar

import msgspec

from kube_ovn.model.crd import IP, IPPool, StatefulSet, Subnet, Vpc
from kube_ovn.model.kube import EndpointSlice, Namespace, Node, ObjectMeta, Pod, Service

T = TypeVar("T")

FOREIGN = frozenset(
    {"kubectl", "deployment", "node", "node.alpha", "volumes", "volume.beta", "csi.volume", "pv", "scheduler.alpha"}
    | {
        "container.apparmor.security.beta",
        "autoscaling.alpha",
        "cluster-autoscaler",
        "endpoints",
        "control-plane.alpha",
    }
)
"""Prefixes `<x>.kubernetes.io/` that are Kubernetes' own and no provider's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[T]):
    """How one kind of object is addressed and read."""

    name: str
    version: str
    """`v1` or `<group>/<version>`."""
    plural: str
    type: type[T]
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of one object, or of the collection (of all Namespaces when none is given)."""
        root = "/api" if "/" not in self.version else "/apis"
        parts = [root, self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


PODS = Kind(name="Pod", version="v1", plural="pods", type=Pod)
NODES = Kind(name="Node", version="v1", plural="nodes", type=Node, namespaced=False)
NAMESPACES = Kind(name="Namespace", version="v1", plural="namespaces", type=Namespace, namespaced=False)
STATEFULSETS = Kind(name="StatefulSet", version="apps/v1", plural="statefulsets", type=StatefulSet)
SERVICES = Kind(name="Service", version="v1", plural="services", type=Service)
ENDPOINT_SLICES = Kind(name="EndpointSlice", version="discovery.k8s.io/v1", plural="endpointslices", type=EndpointSlice)
SUBNETS = Kind(name="Subnet", version="kubeovn.io/v1", plural="subnets", type=Subnet, namespaced=False)
IPS = Kind(name="IP", version="kubeovn.io/v1", plural="ips", type=IP, namespaced=False)
IPPOOLS = Kind(name="IPPool", version="kubeovn.io/v1", plural="ippools", type=IPPool, namespaced=False)
VPCS = Kind(name="Vpc", version="kubeovn.io/v1", plural="vpcs", type=Vpc, namespaced=False)


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    field: str = ""
    message: str = ""


class Details(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    causes: tuple[Cause, ...] = ()
    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The API server's refusal (meta/v1 Status)."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: Details = Details()


class _ListMeta(msgspec.Struct, frozen=True, rename={"resource_version": "resourceVersion", "next": "continue"}):
    resource_version: str = ""
    next: str = ""


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Part of a list: its objects, and the token of the next part ("" = none)."""

    metadata: _ListMeta
    items: list[T]


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _VersionMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str


class _Version(msgspec.Struct, frozen=True):
    metadata: _VersionMeta


@dataclass(frozen=True, slots=True)
class Changed(Generic[T]):
    """The object is new, or differs from before."""

    version: str
    object: T


@dataclass(frozen=True, slots=True)
class Deleted(Generic[T]):
    """The object is gone; this was its last state."""

    version: str
    object: T


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to this version has been told."""

    version: str


WatchEvent = Changed[T] | Deleted[T] | Bookmark


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def _decoder(form: Any) -> msgspec.json.Decoder[Any]:
    """The decoder of a type; making one costs more than using it."""
    decoder = _decoders.get(form)
    if decoder is None:
        decoder = _decoders[form] = msgspec.json.Decoder(form)
    return decoder


def decode_object(kind: Kind[T], data: bytes) -> T:
    """One object. Raises msgspec.DecodeError, as all functions here do."""
    item: T = _strip(_decoder(kind.type).decode(data))
    return item


def decode_version(data: bytes) -> str:
    """The version of one object."""
    decoded: _Version = _decoder(_Version).decode(data)
    return decoded.metadata.resource_version


def decode_page(kind: Kind[T], data: bytes) -> Page[T]:
    """One part of a list."""
    page: Page[T] = _decoder(GenericAlias(Page, (kind.type,))).decode(data)
    for item in page.items:
        _strip(item)
    return page


def decode_event(kind: Kind[T], line: bytes) -> WatchEvent[T] | Status:
    """One line of a watch."""
    event: _Event = _decoder(_Event).decode(line)
    if event.type == "ERROR":
        return decode_status(bytes(event.object))
    version = _decoder(_Version).decode(event.object).metadata.resource_version
    if event.type == "BOOKMARK":
        return Bookmark(version)
    item: T = _strip(_decoder(kind.type).decode(event.object))
    return Deleted(version, item) if event.type == "DELETED" else Changed(version, item)


def decode_status(data: bytes) -> Status:
    """The body of a refusal; a body that is none (of a proxy, say) becomes the message."""
    try:
        status: Status = _decoder(Status).decode(data)
        return status
    except msgspec.DecodeError:
        return Status(message=data[:300].decode(errors="replace"))


def _strip(item: Any) -> Any:
    """Drop annotations that are not ours; those kept share their keys."""
    metadata = getattr(item, "metadata", None)
    if isinstance(metadata, ObjectMeta) and metadata.annotations:
        kept = {key: value for name, value in metadata.annotations.items() if (key := _kept(name))}
        metadata.annotations.clear()
        metadata.annotations.update(kept)
    return item


@lru_cache(maxsize=4096)
def _kept(name: str) -> str:
    """The annotation's name when it has a provider's form `<provider>.kubernetes.io/<key>`, else ""."""
    domain, slash, _ = name.partition("/")
    provider = domain.removesuffix(".kubernetes.io")
    return sys.intern(name) if slash and provider != domain and provider not in FOREIGN else ""
