"""Client and stores against a real API server: many objects, expired versions, servers that die, names that recur."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeVar

import pytest
from prometheus_client import REGISTRY

from kube_ovn.k8s import client, watch
from kube_ovn.k8s.client import Client, KubeError, Listing
from kube_ovn.k8s.credentials import Credentials, load_credentials
from kube_ovn.k8s.watch import Store, follow
from kube_ovn.model.kube import Pod
from kube_ovn.model.resource import NAMESPACES, PODS, Resource
from kube_ovn.reconcile import Dirty
from tests.daemon.kube_apiserver import ADMIN, KubeApiserver, kube_apiserver
from tests.fakes.proxy import Proxy

__all__ = ["kube_apiserver"]

T = TypeVar("T")
V = TypeVar("V")
DEADLINE = 60.0
ADDRESS = "ovn.kubernetes.io/ip_address"
_numbers = count(1)


class Watched(Store[Pod]):
    """A Store one can wait for."""

    def __init__(self) -> None:
        self._dirty = Dirty()
        super().__init__(self._dirty.mark)

    async def told(self, want: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not want():
                await self._dirty.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A Namespace of its own on the API server."""

    server: KubeApiserver
    client: Client
    namespace: str

    @property
    def selector(self) -> dict[str, str]:
        return {"fieldSelector": f"metadata.namespace={self.namespace}"}

    async def create(self, name: str) -> Pod:
        value = {"metadata": {"name": name}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}}
        return await self.client.create(PODS, self.namespace, value)

    async def delete(self, name: str) -> None:
        path = PODS.path(self.namespace, name)
        await self.client.request("DELETE", path, query={"gracePeriodSeconds": "0"})

    @asynccontextmanager
    async def following(self, client: Client | None = None) -> AsyncIterator[Watched]:
        store = Watched()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(follow(client or self.client, PODS, store, self.selector))
            async with asyncio.timeout(DEADLINE):
                await store.synced.wait()
            yield store
            task.cancel()


@pytest.fixture
async def cluster(kube_apiserver: KubeApiserver) -> AsyncIterator[Cluster]:
    async with Client(load_credentials(str(kube_apiserver.kubeconfig))) as client:
        namespace = f"watch-{next(_numbers)}"
        await client.create(NAMESPACES, "", {"metadata": {"name": namespace}})
        yield Cluster(server=kube_apiserver, client=client, namespace=namespace)


async def each(items: Iterable[T], work: Callable[[T], Awaitable[object]], in_flight: int = 16) -> None:
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(worker())


def lists() -> float:
    return REGISTRY.get_sample_value("kube_ovn_kubernetes_lists_total", {"kind": "Pod"}) or 0.0


async def test_two_thousand_pods(cluster: Cluster) -> None:
    names = [f"p{i}" for i in range(2000)]
    await each(names, cluster.create)
    async with cluster.following() as store:
        assert {pod.metadata.name for pod in store.objects.values()} == set(names), "listed in parts"
        pods = list(store.objects.values())

        async def annotate(pod: Pod) -> None:
            await cluster.client.annotate(
                PODS, cluster.namespace, pod.metadata.name, {ADDRESS: pod.metadata.name}, pod.metadata.uid
            )

        await each(pods[:300], annotate)
        await each([pod.metadata.name for pod in pods[-300:]], cluster.delete)
        gone = {pod.metadata.uid for pod in pods[-300:]}
        await store.told(lambda: not gone & store.objects.keys())
        await store.told(lambda: all(address_of(store.objects[pod.metadata.uid]) for pod in pods[:300]))
        assert len(store.objects) == 1700
        untouched = pods[1000]
        assert store.objects[untouched.metadata.uid] is untouched
        listing = await cluster.client.list(PODS, selector=cluster.selector)
        assert {pod.metadata.uid: pod for pod in listing.items} == dict(store.objects)


async def test_an_old_version_has_expired(cluster: Cluster) -> None:
    before = await cluster.create("a")
    listing = await cluster.client.list(PODS, selector=cluster.selector)
    await cluster.create("b")
    cluster.server.compact()
    cluster.server.kill()
    await asyncio.to_thread(cluster.server.start)
    with pytest.raises(KubeError) as old:
        async for _ in cluster.client.watch(PODS, "1", selector=cluster.selector):
            pass
    assert old.value.expired
    assert before.metadata.uid in {pod.metadata.uid for pod in listing.items}


async def test_a_store_cut_off_sees_what_became_of_its_objects(cluster: Cluster) -> None:
    async with through_proxy(cluster) as (proxy, client), cluster.following(client) as store:
        kept, removed, renewed = [await cluster.create(name) for name in ("kept", "removed", "renewed")]
        await store.told(lambda: len(store.objects) == 3)
        store.take_changed_names()
        known = store.objects[kept.metadata.uid]
        listed = lists()
        await proxy.refuse()
        await cluster.delete("removed")
        await cluster.delete("renewed")
        again, added = await cluster.create("renewed"), await cluster.create("added")
        cluster.server.compact()
        cluster.server.kill()
        await asyncio.to_thread(cluster.server.start)
        await proxy.restore()
        want = {pod.metadata.uid for pod in (kept, again, added)}
        await store.told(lambda: store.objects.keys() == want)
        assert lists() > listed, "the version had expired, so it was listed anew"
        assert store.objects[kept.metadata.uid] is known
        assert store.take_changed_names() == {
            (pod.metadata.namespace, pod.metadata.name) for pod in (removed, renewed, added)
        }


async def test_an_api_server_away_for_seconds(cluster: Cluster) -> None:
    async with cluster.following() as store:
        first = await cluster.create("first")
        await store.told(lambda: first.metadata.uid in store.objects)
        cluster.server.kill()
        with pytest.raises(KubeError) as away:
            await cluster.client.get(PODS, cluster.namespace, "first")
        assert away.value.status == 0
        await asyncio.sleep(3)
        assert first.metadata.uid in store.objects, "what was known stays known"
        await asyncio.to_thread(cluster.server.start)
        second = await cluster.create("second")
        await store.told(lambda: second.metadata.uid in store.objects)
        await cluster.delete("first")
        await store.told(lambda: store.objects.keys() == {second.metadata.uid})


async def test_a_network_that_falls_silent(cluster: Cluster) -> None:
    async with through_proxy(cluster) as (proxy, client):
        await client.list(PODS)
        proxy.hang()
        with pytest.raises(KubeError) as silent:
            await client.request("GET", PODS.path(), deadline=0.5)
        assert silent.value.reason == "Timeout"
        await proxy.restore()
        await client.list(PODS)


async def test_the_namesake_is_not_annotated(cluster: Cluster) -> None:
    async with cluster.following() as store:
        old = await cluster.create("twin")
        await cluster.delete("twin")
        new = await cluster.create("twin")
        with pytest.raises(KubeError) as refused:
            await cluster.client.annotate(PODS, cluster.namespace, "twin", {ADDRESS: "10.16.0.2"}, old.metadata.uid)
        assert (refused.value.status, refused.value.reason) == (409, "Conflict")
        await cluster.client.annotate(PODS, cluster.namespace, "twin", {ADDRESS: "10.16.0.3"}, new.metadata.uid)
        await store.told(lambda: address_of(store.named(cluster.namespace, "twin")) == "10.16.0.3")
        assert store.objects.keys() == {new.metadata.uid}
        await cluster.client.annotate(PODS, cluster.namespace, "twin", {ADDRESS: None}, new.metadata.uid)
        await store.told(lambda: not store.objects[new.metadata.uid].metadata.annotations)


async def test_who_may_not_is_told(cluster: Cluster) -> None:
    async with Client(load_credentials(str(cluster.server.write_kubeconfig("nobody")))) as nobody:
        with pytest.raises(KubeError, match=r"nobody.*cannot list resource") as refused:
            await nobody.list(PODS)
    assert (refused.value.status, refused.value.reason) == (403, "Forbidden")


class Counting(Client):
    """A client that counts its lists of each kind."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self.lists: dict[str, int] = {}
        self.dirty = Dirty()

    async def list(
        self, kind: Resource[V], *, namespace: str = "", selector: Mapping[str, str] = client.ALL
    ) -> Listing[V]:
        self.lists[kind.name] = self.lists.get(kind.name, 0) + 1
        self.dirty.mark()
        return await super().list(kind, namespace=namespace, selector=selector)


@pytest.mark.parametrize(("token", "version"), [(ADMIN, "networking.k8s.io/v0"), ("nobody", "v1")])
async def test_a_kind_that_is_missing_or_forbidden_is_done_without_and_seldom_asked_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, token: str, version: str
) -> None:
    monkeypatch.setattr(watch, "FORBIDDEN", 0.0)
    monkeypatch.setattr(watch, "RETRY_CEILING", 0.05)
    needed, wanted = (replace(PODS, name=name, version=version) for name in ("Needed", "Wanted"))
    missed, absent = Watched(), Watched()
    async with Counting(load_credentials(str(cluster.server.write_kubeconfig(token)))) as counting:
        tasks = [
            asyncio.create_task(follow(counting, needed, missed)),
            asyncio.create_task(follow(counting, wanted, absent, optional=True)),
        ]
        await absent.told(absent.synced.is_set)
        async with asyncio.timeout(DEADLINE):
            while counting.lists["Needed"] < 30:
                await counting.dirty.wait()
        assert counting.lists["Wanted"] < 10
        assert not missed.synced.is_set()
        assert not absent.objects
        assert absent.unavailable
        for task in tasks:
            task.cancel()


def address_of(pod: Pod | None) -> str | None:
    return pod.metadata.annotations.get(ADDRESS) if pod else None


@asynccontextmanager
async def through_proxy(cluster: Cluster) -> AsyncIterator[tuple[Proxy, Client]]:
    config = json.loads(cluster.server.kubeconfig.read_text())
    known = load_credentials(str(cluster.server.kubeconfig))
    port = int(config["clusters"][0]["cluster"]["server"].rpartition(":")[2])
    async with Proxy(port) as proxy:
        url = f"https://127.0.0.1:{proxy.port}"
        async with Client(Credentials(url, known.tls, known.authorization, "default")) as client:
            yield proxy, client
