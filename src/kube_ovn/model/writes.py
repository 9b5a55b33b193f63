"""The writes to the Kubernetes API that the controller wants, as values. `topology` decides, `controller.send` sends.

Each is the difference between what an object should be and what it is. So it goes when the watch has shown the change,
and a new leader works out the missing writes anew: no write needs to survive a crash.
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
    """The object and the part of it that are written. `identity`: the UID of an object; kind and name of an object that
    the controller makes.
    """

    identity: str
    aspect: Aspect
    part: str = ""
    """The name of a part of the aspect that is written on its own, by a derivation of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotate:
    """Annotations that an object is to have; None removes one."""

    object: ObjectRef
    annotations: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """An object to make, unless an object has its name already."""

    object: ObjectRef
    body: Body
    maker: ObjectRef | None = None
    """The object that it is made for: its user is told when the API server refuses to make it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A merge patch of the object with this UID."""

    object: ObjectRef
    body: Body
    maker: ObjectRef | None = None
    """As of `Create`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """The fields of an object that the controller owns (server-side apply). A field that is left out is given up."""

    object: ObjectRef
    body: Body
    part: str = ""
    """A name for these fields: each part keeps and gives up its fields apart from the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyStatus:
    """The status of an object. The sender fills in the times: a condition that keeps its status keeps its time, too,
    which is in `before`.
    """

    object: ObjectRef
    version: str
    """The resourceVersion of the object that the status was decided for: the API server refuses it for a later one, as
    after the decision of a dead controller.
    """
    status: Body
    conditions: tuple[Condition, ...]
    before: tuple[Condition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """An object to remove, with the controller's finalizer if it has one. Before that, `record` goes into the
    history.
    """

    object: ObjectRef
    finalizer: str = ""
    position: int = 0
    """The index of the finalizer among those of the object."""
    record: Record | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Let:
    """An object that is being deleted and waits for the controller: the controller's finalizer is to be removed."""

    object: ObjectRef
    finalizer: str
    position: int


Write: TypeAlias = Annotate | Create | Patch | Apply | ApplyStatus | Delete | Let
