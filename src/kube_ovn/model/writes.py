"""What the controller wants written to the Kubernetes API, as values. Decided in `topology`, sent in `controller.send`.

Each is the difference between what an object should be and what it is, so it goes when the watch has told of it, and a
new leader finds what is missing anew: none needs to survive a crash.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from kube_ovn.model.crd import Condition
from kube_ovn.model.history import Record
from kube_ovn.model.network import ObjectRef

Body: TypeAlias = Mapping[str, object]
"""Part of an object as the API has it."""


class Aspect(StrEnum):
    """Parts of an object that are written independently of each other."""

    OBJECT = "object"
    ANNOTATIONS = "annotations"
    STATUS = "status"


class WriteKey(NamedTuple):
    """What is written: `identity` is an object's UID; for objects we make, kind and name."""

    identity: str
    aspect: Aspect
    part: str = ""
    """The name of a part of that aspect that is written on its own, by a derivation of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotate:
    """Annotations an object is to have; None removes one."""

    object: ObjectRef
    annotations: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """An object to make, if none has its name."""

    object: ObjectRef
    body: Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A merge patch of the object with this UID."""

    object: ObjectRef
    body: Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """What of an object is ours (server-side apply): left out is given up."""

    object: ObjectRef
    body: Body
    part: str = ""
    """Parts with names of their own are given up and kept apart from each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyStatus:
    """An object's status. The times of conditions are the writer's: those whose status stays keep that of `before`."""

    object: ObjectRef
    version: str
    """The object's version that this was decided for: a dead controller's decision does not land on a later one."""
    status: Body
    conditions: tuple[Condition, ...]
    before: tuple[Condition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """An object to remove, with our finalizer if it has one; before that, what it was goes into the history."""

    object: ObjectRef
    finalizer: str = ""
    position: int = 0
    """Of the finalizer among the object's."""
    record: Record | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Let:
    """An object whose removal waited for us: our finalizer is to go."""

    object: ObjectRef
    finalizer: str
    position: int


Write: TypeAlias = Annotate | Create | Patch | Apply | ApplyStatus | Delete | Let
