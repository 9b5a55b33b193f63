"""Pods for measuring: made, changed and removed many at a time, and followed by one watch that notes the times.

The client is the project's own; the floors of the figures go through the very same functions.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from bench.news import News
from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.k8s.decode import Changed, Deleted
from kube_ovn.model import names
from kube_ovn.model.resource import IPS, Resource

T = TypeVar("T")

IN_FLIGHT = 32
ACCOUNT_DEADLINE = 90.0
IMAGE = "docker.io/kubeovn/sandbox-tools:v0.1.0"
FLOOR_LABEL = "bench.kube-ovn.invalid"
FLOOR_KEY = "bench.kube-ovn.invalid/"
"""Prefix of the annotations that the floors write: as many and as long as the controller's, which it does not read."""


class Meta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    uid: str = ""
    namespace: str = ""
    annotations: dict[str, str] = {}


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    status: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a Pod that the figures need."""

    metadata: Meta
    status: Status = Status()

    @property
    def annotated(self) -> bool:
        return self.metadata.annotations.get(names.ALLOCATED) == "true"

    @property
    def floored(self) -> bool:
        return f"{FLOOR_KEY}allocated" in self.metadata.annotations

    @property
    def ready(self) -> bool:
        return any(condition.type == "Ready" and condition.status == "True" for condition in self.status.conditions)


PODS = Resource(name="Pod", version="v1", plural="pods", type=Pod)
NAMESPACES = Resource(name="Namespace", version="v1", plural="namespaces", type=Pod, namespaced=False)


def pod_body(name: str, node: str, *, host_network: bool = False) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "hostNetwork": host_network,
            "terminationGracePeriodSeconds": 1,
            "tolerations": [{"operator": "Exists"}],
            "automountServiceAccountToken": False,
            "containers": [
                {"name": "c", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "100000"]},
            ],
        },
    }


class Sights:
    """The times at which each Pod of one Namespace was first seen, annotated and Ready."""

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        self.seen: dict[str, float] = {}
        self.annotated: dict[str, float] = {}
        self.floored: dict[str, float] = {}
        self.ready: dict[str, float] = {}
        self._news = News()

    def note(self, pod: Pod) -> None:
        now, name = time.perf_counter(), pod.metadata.name
        self.pods[name] = pod
        self.seen.setdefault(name, now)
        for mark, times in (
            (pod.annotated, self.annotated),
            (pod.floored, self.floored),
            (pod.ready, self.ready),
        ):
            if mark:
                times.setdefault(name, now)
        self._news.tell()

    def forget(self, name: str) -> None:
        self.pods.pop(name, None)
        self._news.tell()

    async def until_annotated(self, name: str, deadline: float) -> float:
        """Wait until a Pod is annotated, at most `deadline` seconds. Returns the time at which that was seen.
        Raises TimeoutError.
        """
        await self.until(f"Pod {name} is annotated", deadline, lambda: name in self.annotated)
        return self.annotated[name]

    async def until(self, what: str, deadline: float, done: Callable[[], bool]) -> None:
        """Wait until `done`, at most `deadline` seconds. Raises TimeoutError with a sentence that names `what`."""
        await self._news.until(what, done, deadline)


@asynccontextmanager
async def watching(client: Client, namespace: str) -> AsyncIterator[Sights]:
    """See the Pods of a Namespace from now on. An error of the watch is raised in a group."""
    sights = Sights()
    listing = await client.list(PODS, namespace=namespace)

    async def follow(version: str) -> None:
        while True:
            async for event in client.watch(PODS, version, namespace=namespace, seconds=1500):
                if isinstance(event, Changed):
                    sights.note(event.object)
                elif isinstance(event, Deleted):
                    sights.forget(event.name)
            anew = await client.list(PODS, namespace=namespace)  # a server that has just begun ends watches early
            version = anew.version
            for name in sights.pods.keys() - {pod.metadata.name for pod in anew.items}:
                sights.forget(name)
            for pod in anew.items:
                sights.note(pod)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(follow(listing.version))
        try:
            yield sights
        finally:
            task.cancel()


async def each(items: Iterable[T], work: Callable[[T], Awaitable[object]]) -> float:
    """Do the work for all items, 32 in flight. Returns the seconds it took."""
    waiting = iter(list(items))

    async def worker() -> None:
        for item in waiting:
            await work(item)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(worker())
    return time.perf_counter() - started


async def create(client: Client, namespace: str, body: dict[str, Any]) -> None:
    await client.request("POST", PODS.path(namespace), body=body)


async def time_to_annotated(
    client: Client, sights: Sights, namespace: str, body: dict[str, Any], deadline: float
) -> float:
    """Create a Pod. Returns the seconds until it is seen annotated. Raises TimeoutError."""
    started = time.perf_counter()
    await create(client, namespace, body)
    return await sights.until_annotated(body["metadata"]["name"], deadline) - started


async def floor_patch(client: Client, namespace: str, pod: Pod) -> None:
    """Send the patch that the controller sends for each Pod, with other annotations."""
    annotations = {
        "allocated": "true",
        "ip_address": "10.16.100.100",
        "mac_address": "0a:00:00:00:00:00",
        "cidr": "10.16.0.0/16",
        "gateway": "10.16.0.1",
        "logical_switch": "ovn-default",
        "logical_router": "ovn-cluster",
        "pod_nic_type": "veth-pair",
        "routed": "true",
    }
    named = {f"{FLOOR_KEY}{key}": value for key, value in annotations.items()}
    await client.annotate(PODS, namespace, pod.metadata.name, named, pod.metadata.uid)


async def floor_record(client: Client, namespace: str, pod: Pod) -> None:
    """Send the other request for each Pod: an object like the controller's IP objects, with a label to find it by."""
    body = {
        "apiVersion": IPS.version,
        "kind": IPS.name,
        "metadata": {
            "name": f"{pod.metadata.name}.{namespace}",
            "labels": {FLOOR_LABEL: "true", "ovn.kubernetes.io/subnet": "floor", "ovn.kubernetes.io/node-name": "node"},
            "finalizers": [],
        },
        "spec": {
            "subnet": "floor",
            "ipAddress": "10.16.100.100",
            "v4IpAddress": "10.16.100.100",
            "macAddress": "0a:00:00:00:00:02",
            "gateway": "10.16.0.1",
            "podName": pod.metadata.name,
            "namespace": namespace,
            "nodeName": "node",
            "ownerUID": pod.metadata.uid,
        },
    }
    await client.request("POST", IPS.path(), body=body)


async def delete_floor_records(client: Client) -> None:
    await client.request("DELETE", IPS.path(), query={"labelSelector": f"{FLOOR_LABEL}=true"}, deadline=120)


async def ensure_namespace(client: Client, namespace: str) -> None:
    try:
        await client.request("POST", NAMESPACES.path(), body={"metadata": {"name": namespace}})
    except KubeError as error:
        if error.status != 409:
            raise


async def await_account(client: Client, namespace: str) -> None:
    """Wait for the default ServiceAccount of a Namespace, without which no Pod is accepted. Raises KubeError."""
    end = time.monotonic() + ACCOUNT_DEADLINE
    while True:
        try:
            await client.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
            return
        except KubeError as error:
            if error.status != 404 or time.monotonic() > end:
                raise
        await asyncio.sleep(0.1)


async def delete_all(client: Client, namespace: str, deadline: float, *, grace: int = 0) -> None:
    """Remove the Pods of a Namespace and wait until they are gone."""
    path = PODS.path(namespace)
    await client.request("DELETE", path, body={"gracePeriodSeconds": grace}, deadline=60)
    end = time.monotonic() + deadline
    while (await client.list(PODS, namespace=namespace)).items:
        if time.monotonic() > end:
            raise TimeoutError(f"Pods of Namespace {namespace} are not gone within {deadline:g} s")
        await asyncio.sleep(0.1)
