"""The figures of many subnets: 10,000 Pods over 100 subnets, a cold start among them, and 100 new subnets at once.

In the isolated world of `bench.world`, like the controller's other figures.
"""

import asyncio
import time
from typing import Any

from bench.figure import Anchor, Ask, Figure, median
from bench.pods import Sights, create, each, ensure_namespace, pod_body, time_to_annotated, watching
from bench.processes import cpu_seconds
from bench.world import NODE, World
from kube_ovn.k8s.client import Client
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.model.resource import NODES, PODS, SUBNETS
from kube_ovn.topology.graph import Topology
from sandbox.progress import say
from tests.small_clusters import Api, fabric, namespace, node, pod, settle, show, step, subnet

SUBNETS_COUNT, PODS_COUNT = 100, 10_000
DEADLINE = 600.0
CALM = 10
"""Single Pods measured before the storm, for comparison."""


async def measure_subnets() -> list[Figure]:
    figures = [_allocation()]
    with World() as world:
        async with Client(load_credentials(str(world.kube.kubeconfig))) as client:
            return figures + await _Run(world, client).figures()


def _allocation() -> Figure:
    """The figure of the decision alone, in this process; its floor is the same pass over as many known Pods."""
    subnets = [subnet(f"s{n}", f"10.{128 + n}.0.0/16", namespaces=(f"n{n}",)) for n in range(SUBNETS_COUNT)]
    api = Api(node(NODE, 1), *subnets, *(namespace(f"n{n}") for n in range(SUBNETS_COUNT)))
    topology = Topology(fabric())
    settle(topology, api)
    before = api.snapshot()
    show(topology, before)
    api.put(*(pod(f"p{n}", NODE, namespace=f"n{n % SUBNETS_COUNT}") for n in range(PODS_COUNT)))
    after = step(before, api.snapshot())
    started = time.process_time()
    show(topology, after)
    spent = time.process_time() - started
    started = time.process_time()
    show(topology, step(after, after))
    idle = time.process_time() - started
    return Figure(
        name=f"CPU of allocating for one of {PODS_COUNT} Pods over {SUBNETS_COUNT} subnets",
        value=spent / PODS_COUNT * 1000,
        unit="ms",
        n=PODS_COUNT,
        anchor=Anchor(name="a pass in which nothing changed, ms a Pod", value=idle / PODS_COUNT * 1000),
        ask=Ask(relation="<", value=1),
    )


class _Run:
    def __init__(self, world: World, client: Client) -> None:
        self._world, self._client = world, client

    async def figures(self) -> list[Figure]:
        await self._client.request("POST", NODES.path(), body={"metadata": {"name": NODE}})
        controller = await self._world.start_controller()
        await controller.until_passed()
        async with watching(self._client, "default") as sights:
            storm = await self._storm(sights)
        await self._fill()
        return [storm, *await self._cold_start()]

    async def _storm(self, sights: Sights) -> Figure:
        """The time that unrelated Pods take while 100 subnets come at once."""
        calm = [await self._single(sights, f"calm{number}") for number in range(CALM)]
        bodies = [_subnet(number) for number in range(SUBNETS_COUNT)]
        for number in range(SUBNETS_COUNT):
            await ensure_namespace(self._client, f"n{number}")
        storm = asyncio.ensure_future(each(bodies, lambda body: self._client.create(SUBNETS, "", body)))
        spent: list[float] = []
        while not storm.done() or not await self._all_in_effect():
            spent.append(await self._single(sights, f"storm{len(spent)}"))
        await storm
        say(f"Pods meanwhile: {sorted(round(value * 1000) for value in spent)} ms")
        return Figure(
            name=f"an unrelated Pod while {SUBNETS_COUNT} subnets are made at once, the slowest",
            value=max(spent),
            unit="s",
            n=len(spent),
            anchor=Anchor(name="a Pod just before, median, s", value=median(calm)),
            ask=Ask(relation="<=", value=median(calm) + 1),
        )

    async def _all_in_effect(self) -> bool:
        listed = (await self._client.list(SUBNETS)).items
        return sum(bool(item.status.cidr_block) for item in listed) == SUBNETS_COUNT + 2

    async def _single(self, sights: Sights, name: str) -> float:
        return await time_to_annotated(self._client, sights, "default", pod_body(name, NODE), DEADLINE)

    async def _fill(self) -> None:
        controller, cpu = self._world.running, cpu_seconds(self._world.running.pid)
        async with watching(self._client, "") as sights:
            started = time.perf_counter()
            numbers = range(PODS_COUNT)
            await each(numbers, lambda n: create(self._client, f"n{n % SUBNETS_COUNT}", pod_body(f"p{n}", NODE)))
            await sights.until("all are annotated", DEADLINE, lambda: len(sights.annotated) >= PODS_COUNT)
            spent = time.perf_counter() - started
        each_ms = (cpu_seconds(controller.pid) - cpu) / PODS_COUNT * 1000
        say(f"{PODS_COUNT} Pods: {PODS_COUNT / spent:.0f}/s, {each_ms:.2f} ms of the controller's CPU each")

    async def _cold_start(self) -> list[Figure]:
        started = time.perf_counter()
        count = len((await self._client.list(PODS)).items)
        listed = time.perf_counter() - started
        self._world.stop_controller()
        async with watching(self._client, "default") as sights:
            controller = await self._world.start_controller()
            first = asyncio.ensure_future(self._single(sights, "first"))
            ready = await controller.until_passed()
            served = await first
        say(f"cold start: ready {ready:.2f} s, first Pod {served:.2f} s")
        anchor = Anchor(name=f"list of {count} Pods by the same client, s", value=listed)
        return [
            Figure(
                name=f"cold start with {count} Pods: process start to first pass",
                value=ready,
                unit="s",
                n=1,
                anchor=anchor,
                ask=Ask(relation="<", value=15),
            ),
            Figure(
                name="the first new Pod of that start: creation to annotation seen",
                value=served,
                unit="s",
                n=1,
                anchor=anchor,
                ask=Ask(relation="<", value=3),
            ),
        ]


def _subnet(number: int) -> dict[str, Any]:
    return {
        "apiVersion": SUBNETS.version,
        "kind": SUBNETS.name,
        "metadata": {"name": f"s{number}"},
        "spec": {"cidrBlock": f"10.{128 + number}.0.0/16", "namespaces": [f"n{number}"]},
    }
