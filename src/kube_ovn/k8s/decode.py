"""Bytes of the Kubernetes API -> typed structs. The only place where JSON is untyped.

No I/O. What we do not read is dropped here: unknown fields by msgspec, foreign annotations by `_kept`, so that a change
there is no change for us. An object that does not fit its struct becomes `Unreadable`; the others are read all the
same.
"""

import sys
from dataclasses import dataclass
from functools import lru_cache
from types import GenericAlias
from typing import Any, Generic, TypeVar

import msgspec

from kube_ovn.model.annotations import OURS
from kube_ovn.model.kube import ObjectMeta
from kube_ovn.model.names import CONFIG_HASH
from kube_ovn.model.resource import Resource

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


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    field: str = ""
    message: str = ""


class Details(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    causes: tuple[Cause, ...] = ()
    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an answer by which the API server refuses a request (meta/v1 Status)."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: Details = Details()


class _ListMeta(msgspec.Struct, frozen=True, rename={"resource_version": "resourceVersion", "next": "continue"}):
    resource_version: str = ""
    next: str = ""


class _Items(msgspec.Struct, Generic[T], frozen=True):
    """Part of a list, as the server sends it."""

    metadata: _ListMeta
    items: list[T]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object that does not fit what we read, as far as its metadata can be read; `error` says what is wrong."""

    version: str
    namespace: str
    name: str
    uid: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Part of a list: its objects, and the token of the next part ("" = none)."""

    items: list[T]
    version: str
    next: str
    unreadable: list[Unreadable]


class _Kind(msgspec.Struct, frozen=True):
    name: str


class _Kinds(msgspec.Struct, frozen=True):
    """The kinds of one group and version, as the server lists them."""

    resources: list[_Kind]


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    group_version: str


class _Group(msgspec.Struct, frozen=True):
    versions: list[_Version]


class _Groups(msgspec.Struct, frozen=True):
    """The groups that the server has."""

    groups: list[_Group]


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Identity(msgspec.Struct, frozen=True, rename="camel"):
    """The part of an object that tells which one it is."""

    resource_version: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class _Identified(msgspec.Struct, frozen=True):
    metadata: _Identity


@dataclass(frozen=True, slots=True)
class Changed(Generic[T]):
    """The object is new, or differs from before."""

    version: str
    object: T


@dataclass(frozen=True, slots=True)
class Deleted:
    """The object is gone."""

    version: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Bookmark:
    """The server has sent all changes up to this version."""

    version: str


WatchEvent = Changed[T] | Deleted | Bookmark | Unreadable

NOT_UNDERSTOOD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors of decoding: for a wrong form, for bytes that are no UTF-8, for too deep a nesting."""


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def _decoder(form: Any) -> msgspec.json.Decoder[Any]:
    """The decoder of a type; making one costs more than using it."""
    decoder = _decoders.get(form)
    if decoder is None:
        decoder = _decoders[form] = msgspec.json.Decoder(form)
    return decoder


def decode_object(kind: Resource[T], data: bytes) -> T:
    """One object. Raises one of NOT_UNDERSTOOD, as all functions here do."""
    item: T = _strip(_decoder(kind.type).decode(data))
    return item


def decode_version(data: bytes) -> str:
    """The version of one object."""
    return _identity(data).resource_version


def decode_page(kind: Resource[T], data: bytes) -> Page[T]:
    """One part of a list."""
    unreadable: list[Unreadable] = []
    try:
        page: _Items[Any] = _decoder(GenericAlias(_Items, (kind.type,))).decode(data)
        items: list[T] = [_strip(item) for item in page.items]
    except NOT_UNDERSTOOD:
        page, items = _decoder(GenericAlias(_Items, (msgspec.Raw,))).decode(data), []
        for raw in page.items:
            item = _decode_or_give_up(kind, raw)
            if isinstance(item, Unreadable):
                unreadable.append(item)
            else:
                items.append(item)
    meta = page.metadata
    return Page(items=items, version=meta.resource_version, next=meta.next, unreadable=unreadable)


def decode_plurals(data: bytes) -> set[str]:
    """The plurals of the kinds in a list of kinds (meta/v1 APIResourceList), with those of their subresources."""
    found: _Kinds = _decoder(_Kinds).decode(data)
    return {each.name for each in found.resources}


def decode_versions(data: bytes) -> set[str]:
    """The versions of all groups, as `<group>/<version>`, in a list of groups (meta/v1 APIGroupList)."""
    found: _Groups = _decoder(_Groups).decode(data)
    return {version.group_version for group in found.groups for version in group.versions}


def decode_event(kind: Resource[T], line: bytes) -> WatchEvent[T] | Status:
    """One line of a watch."""
    event: _Event = _decoder(_Event).decode(line)
    if event.type == "ERROR":
        return decode_status(bytes(event.object))
    identity = _identity(event.object)
    version = identity.resource_version
    if event.type == "BOOKMARK":
        return Bookmark(version)
    if event.type == "DELETED":
        return Deleted(version, identity.namespace, identity.name, identity.uid)
    item = _decode_or_identify(kind, event.object)
    return item if isinstance(item, Unreadable) else Changed(version, item)


def _decode_or_identify(kind: Resource[T], data: msgspec.Raw) -> T | Unreadable:
    """An object, or its metadata when it cannot be read. Raises one of NOT_UNDERSTOOD when neither can be read."""
    try:
        item: T = _strip(_decoder(kind.type).decode(data))
        return item
    except NOT_UNDERSTOOD as error:
        said = str(error)
    identity = _identity(data)
    if not identity.name:
        raise msgspec.DecodeError(f"an object without a name: {said}")
    return Unreadable(identity.resource_version, identity.namespace, identity.name, identity.uid, said)


def _decode_or_give_up(kind: Resource[T], data: msgspec.Raw) -> T | Unreadable:
    """As `_decode_or_identify`, but an object without readable metadata becomes an Unreadable without a name."""
    try:
        return _decode_or_identify(kind, data)
    except NOT_UNDERSTOOD as error:
        return Unreadable("", "", "", "", str(error))


def _identity(data: bytes | msgspec.Raw) -> _Identity:
    decoded: _Identified = _decoder(_Identified).decode(data)
    return decoded.metadata


def decode_status(data: bytes) -> Status:
    """Read the body of a refused request; one that is no Status (a proxy's, say) becomes the message as it is."""
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
    """The annotation's name when it has a provider's form `<provider>.kubernetes.io/<key>`, or is one that we read or
    that can be meant for us, else empty.
    """
    if name == CONFIG_HASH:
        return CONFIG_HASH
    domain, slash, _ = name.partition("/")
    provider = domain.removesuffix(".kubernetes.io")
    is_ours = domain in OURS or (provider != domain and provider not in FOREIGN)
    return sys.intern(name) if slash and is_ours else ""
