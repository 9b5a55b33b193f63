"""Events on a real API server: counted into one, across restarts, within limits, never waiting."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import msgspec
import pytest
from prometheus_client import REGISTRY

from kube_ovn.k8s.client import Client
from kube_ovn.k8s.credentials import Anonymous, Credentials, load_credentials
from kube_ovn.k8s.events import EVENTS, OBJECT_BURST, SERIES, Recorder
from kube_ovn.model.network import Kind, ObjectRef
from kube_ovn.model.resource import NAMESPACES
from tests.daemon.kube_apiserver import KubeApiserver, kube_apiserver

__all__ = ["kube_apiserver"]

DEADLINE = 20.0
REASON, MESSAGE = "AcquireAddressFailed", "subnet ovn-default has 0 of 65533 addresses free"
_numbers = count(1)


class Event(msgspec.Struct, rename="camel"):
    type: str
    reason: str
    message: str
    count: int
    involved_object: dict[str, str]
    source: dict[str, str]


class EventList(msgspec.Struct):
    items: list[Event]


@pytest.fixture
async def client(kube_apiserver: KubeApiserver) -> AsyncIterator[Client]:
    async with Client(load_credentials(str(kube_apiserver.kubeconfig))) as client:
        yield client


@pytest.fixture
async def pod(client: Client) -> ObjectRef:
    namespace = f"events-{next(_numbers)}"
    await client.create(NAMESPACES, "", {"metadata": {"name": namespace}})
    return ObjectRef(kind=Kind.POD, namespace=namespace, name="a", uid=f"uid-{namespace}")


@asynccontextmanager
async def recording(client: Client) -> AsyncIterator[Recorder]:
    recorder = Recorder(client, "kube-ovn-controller", "node1")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(recorder.run())
        yield recorder
        task.cancel()


async def events(client: Client, pod: ObjectRef) -> list[Event]:
    data = await client.request("GET", EVENTS.path(pod.namespace or "default"))
    return [
        event for event in msgspec.json.decode(data, type=EventList).items if event.involved_object["uid"] == pod.uid
    ]


async def told(client: Client, pod: ObjectRef, want: list[int]) -> list[Event]:
    """Wait until the object's Events have these counts."""
    end = time.monotonic() + DEADLINE
    while True:
        found = await events(client, pod)
        if sorted(event.count for event in found) == want:
            return found
        assert time.monotonic() < end, f"gave up waiting for {want}: {found}"


def dropped(cause: str) -> float:
    name = "kube_ovn_kubernetes_event_reports_dropped_total"
    return REGISTRY.get_sample_value(name, {"cause": cause}) or 0.0


async def test_equal_events_are_one_with_a_count(client: Client, pod: ObjectRef) -> None:
    async with recording(client) as recorder:
        for _ in range(5):
            recorder.report(pod, REASON, MESSAGE)
        (event,) = await told(client, pod, [5])
        recorder.report(pod, REASON, MESSAGE)
        recorder.report(pod, "PodNetworkAllocated", "10.16.0.2 on ovn-default", type="Normal")
        await told(client, pod, [1, 6])
    assert (event.type, event.reason, event.message) == ("Warning", REASON, MESSAGE)
    assert event.involved_object == {
        "kind": "Pod",
        "namespace": pod.namespace,
        "name": "a",
        "uid": pod.uid,
        "apiVersion": "v1",
    }
    assert event.source == {"component": "kube-ovn-controller", "host": "node1"}


async def test_a_restarted_process_goes_on_counting(client: Client, pod: ObjectRef) -> None:
    for total in (3, 6):
        async with recording(client) as recorder:
            for _ in range(3):
                recorder.report(pod, REASON, MESSAGE)
            await told(client, pod, [total])


async def test_an_event_the_server_forgot_is_made_again(client: Client, pod: ObjectRef) -> None:
    async with recording(client) as recorder:
        recorder.report(pod, REASON, MESSAGE)
        await told(client, pod, [1])
        await client.request("DELETE", EVENTS.path(pod.namespace))
        recorder.report(pod, REASON, MESSAGE)
        await told(client, pod, [2])


async def test_events_about_a_node_are_in_the_default_namespace(client: Client) -> None:
    node = ObjectRef(kind=Kind.NODE, namespace="", name="node1", uid=f"uid-node-{next(_numbers)}")
    async with recording(client) as recorder:
        recorder.report(node, "NodeAddressConflictWithSubnet", "172.16.0.1 is in subnet ovn-default")
        await told(client, node, [1])


async def test_an_object_that_never_stops_is_slowed_down(client: Client, pod: ObjectRef) -> None:
    other = ObjectRef(kind=Kind.POD, namespace=pod.namespace, name="b", uid=f"{pod.uid}-b")
    before = dropped("rate")
    async with recording(client) as recorder:
        for number in range(100):
            recorder.report(pod, REASON, f"message {number}")
        recorder.report(other, REASON, MESSAGE)
        await told(client, other, [1])
        assert len(await events(client, pod)) == int(OBJECT_BURST)
    assert dropped("rate") - before == 100 - int(OBJECT_BURST)


async def test_what_the_server_refuses_stops_no_other(client: Client, pod: ObjectRef) -> None:
    before = dropped("refused")
    nowhere = ObjectRef(kind=Kind.POD, namespace="no-such-namespace", name="a", uid="x")
    async with recording(client) as recorder:
        recorder.report(nowhere, REASON, MESSAGE)
        recorder.report(pod, REASON, MESSAGE)
        await told(client, pod, [1])
    assert dropped("refused") - before == 1


async def test_without_a_server_reports_are_bounded_and_never_wait() -> None:
    before = dropped("queue")
    credentials = Credentials("http://127.0.0.1:1", None, Anonymous(), "default")
    async with Client(credentials) as nobody, recording(nobody) as recorder:
        for number in range(SERIES + 10):
            pod = ObjectRef(kind=Kind.POD, namespace="n", name="a", uid=str(number))
            recorder.report(pod, REASON, MESSAGE)
    assert dropped("queue") - before == 10


async def test_a_storm_in_one_namespace_keeps_no_other_waiting(client: Client, pod: ObjectRef) -> None:
    storm = [ObjectRef(kind=Kind.POD, namespace="default", name=f"s{n}", uid=f"storm-{n}") for n in range(SERIES)]
    before = dropped("queue")
    async with recording(client) as recorder:
        for each in storm:
            recorder.report(each, REASON, MESSAGE)
        recorder.report(pod, REASON, MESSAGE)
        assert dropped("queue") == before + 1, "one of the storm made room"
        await told(client, pod, [1])
        written = await asyncio.gather(*(events(client, each) for each in (storm[0], storm[SERIES // 2])))
        assert [len(found) for found in written] == [1, 0]
