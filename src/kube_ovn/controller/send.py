"""Sending: each kind of write as requests to the Kubernetes API; the objects in the answers go into the Stores.

Nothing is decided here but times: a grant that is over gets the time of its end, a condition that of its last change.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar, assert_never, cast

from msgspec.structs import replace

from kube_ovn.k8s.client import MERGE, Client, KubeError, Written
from kube_ovn.k8s.store import Store
from kube_ovn.model.crd import Condition
from kube_ovn.model.history import Record
from kube_ovn.model.kube import Object
from kube_ovn.model.network import ObjectRef
from kube_ovn.model.resource import Resource
from kube_ovn.model.writes import Annotate, Apply, ApplyStatus, Body, Create, Delete, Let, Patch, Write

T = TypeVar("T", bound=Object)

NOT_FOUND, UNPROCESSABLE = 404, 422


@dataclass(frozen=True, slots=True)
class Target(Generic[T]):
    """One kind of object: how it is written, and the Store that follows it."""

    resource: Resource[T]
    store: Store[T]

    async def make(self, kube: Client, ref: ObjectRef, body: Body) -> None:
        self._anticipate(await kube.make(self.resource, ref.namespace, self._whole(body)))

    async def apply(self, kube: Client, ref: ObjectRef, body: Body, subresource: str = "", part: str = "") -> None:
        value = self._whole(body)
        written = await kube.apply(self.resource, ref.namespace, ref.name, value, subresource=subresource, part=part)
        self._anticipate(written)

    async def annotate(self, kube: Client, ref: ObjectRef, annotations: Mapping[str, str | None]) -> None:
        await kube.annotate(self.resource, ref.namespace, ref.name, annotations, ref.uid)

    async def patch(self, kube: Client, ref: ObjectRef, body: Body) -> None:
        await kube.request("PATCH", self.resource.path(ref.namespace, ref.name), body=_of(ref, body), form=MERGE)

    async def let(self, kube: Client, ref: ObjectRef, finalizer: str, position: int) -> None:
        """Remove a finalizer. When the object is gone or its finalizers changed meanwhile, the watch will show it."""
        try:
            await kube.remove_finalizer(self.resource, ref.namespace, ref.name, ref.uid, finalizer, position)
        except KubeError as error:
            if error.status not in (NOT_FOUND, UNPROCESSABLE):
                raise

    async def delete(self, kube: Client, ref: ObjectRef) -> None:
        try:
            await kube.delete(self.resource, ref.namespace, ref.name, ref.uid)
        except KubeError as error:
            if error.status != NOT_FOUND:
                raise

    def _whole(self, body: Body) -> Body:
        return {"apiVersion": self.resource.version, "kind": self.resource.name, **body}

    def _anticipate(self, written: Written[T]) -> None:
        self.store.anticipate(written.item, written.version)


class Targets:
    """The targets of several kinds of objects, by the name of the kind."""

    def __init__(self, resources: Iterable[Resource[Object]], on_change: Callable[[], None] = lambda: None) -> None:
        self.by_kind = {resource.name: Target(resource, Store(on_change)) for resource in resources}

    def store(self, resource: Resource[T]) -> Store[T]:
        """The Store that follows a kind."""
        return cast(Store[T], self.by_kind[resource.name].store)  # made from this resource


class Sender:
    """Carries writes out. `remember` writes a record into the history, and returns when it is durable."""

    def __init__(
        self, kube: Client, targets: Mapping[str, Target[Object]], remember: Callable[[Record], Awaitable[None]]
    ) -> None:
        """`targets`: by the name of the kind."""
        self._kube, self._targets, self._remember = kube, targets, remember

    async def send(self, write: Write) -> None:
        """Carry out one write. Raises KubeError."""
        ref, target = write.object, self._targets[write.object.kind]
        match write:
            case Annotate():
                await target.annotate(self._kube, ref, write.annotations)
            case Create():
                await target.make(self._kube, ref, write.body)
            case Patch():
                await target.patch(self._kube, ref, write.body)
            case Apply():
                await target.apply(self._kube, ref, write.body, part=write.part)
            case ApplyStatus():
                body = {"metadata": {"resourceVersion": write.version}, "status": _status(write)}
                await target.apply(self._kube, ref, _of(ref, body), "status")
            case Let():
                await target.let(self._kube, ref, write.finalizer, write.position)
            case Delete():
                # In this order: a controller that dies in between writes the same record again, and none is lost.
                if write.record is not None:
                    await self._remember(replace(write.record, until=_now()))
                if write.finalizer:
                    await target.let(self._kube, ref, write.finalizer, write.position)
                await target.delete(self._kube, ref)
            case _:
                assert_never(write)


def _of(ref: ObjectRef, body: Body) -> Body:
    """A body that the API server accepts only for the object with this UID, not for another one of its name."""
    metadata = body.get("metadata", {})
    assert isinstance(metadata, Mapping)
    return {**body, "metadata": {"name": ref.name, "uid": ref.uid, **metadata}}


def _status(write: ApplyStatus) -> Body:
    now, before = _now(), {condition.type: condition for condition in write.before}
    return {**write.status, "conditions": [_condition(each, before.get(each.type), now) for each in write.conditions]}


def _condition(condition: Condition, before: Condition | None, now: str) -> Body:
    same = before is not None and before.status == condition.status and before.last_transition_time
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "observedGeneration": condition.observed_generation,
        "lastTransitionTime": before.last_transition_time if before is not None and same else now,
        "lastUpdateTime": now,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
