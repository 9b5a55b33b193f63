"""The controller's figures, in an isolated world: throughput, one Pod among many, restart, memory, idle cost.

Throughput is measured in two ways. `waiting`: the controller process is stopped while the Pods are created and then let
go, and the clock runs from there to the last Pod seen annotated; this shows its own speed, decoding of the watch
included, and its floor is the bare rate at which this program makes the same IP objects and patches the same
annotations, one after the other for each Pod. `created`: the Pods are created, 32 in flight, while the controller
works, and the clock runs from the first Pod seen; its floor is this program's rate of creating each Pod as well.
"""

import asyncio
import time
from typing import Any

from bench.figure import Anchor, Ask, Figure, median
from bench.monitor import NORTHBOUND, Monitor, monitoring
from bench.pods import PODS as BENCH_PODS
from bench.pods import Pod as BenchPod
from bench.pods import (
    Sights,
    create,
    delete_all,
    delete_floor_records,
    each,
    ensure_namespace,
    floor_patch,
    floor_record,
    pod_body,
    time_to_annotated,
    watching,
)
from bench.processes import bare_python_rss, cpu_seconds, rss
from bench.world import NODE, World
from kube_ovn.k8s.client import Client
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.model.resource import NODES, PODS
from sandbox.progress import say

FEW, MANY, SINGLE = 1000, 3000, 20
PAIRS = 5
"""Measurements with few and with many Pods, in turn: the machine is never the same for two minutes."""
WHAT = {"waiting": "bare POST of an IP object, then PATCH,", "created": "bare POST of a Pod, its IP object, PATCH,"}
DEADLINE = 300.0
IDLE_SECONDS = 20.0
NAMESPACE = "default"


async def measure_controller() -> list[Figure]:
    with World() as world:
        async with Client(load_credentials(str(world.kube.kubeconfig))) as client:
            return await _Run(world, client).figures()


class _Run:
    """The measurements in their order; each leaves the world as the next needs it."""

    def __init__(self, world: World, client: Client) -> None:
        self._world, self._client = world, client

    async def figures(self) -> list[Figure]:
        await self._client.request("POST", NODES.path(), body={"metadata": {"name": NODE}})
        found = [await self._growth()]
        found += await self._throughput(FEW, keep=False) + await self._throughput(MANY, keep=True)
        found.append(await self._one_pod())
        found += await self._cost()
        found += await self._restart()
        return found

    async def _measure_floors(self, count: int) -> dict[str, float]:
        namespace = "floor"
        await ensure_namespace(self._client, namespace)
        bodies = [pod_body(f"p{number}", NODE, host_network=True) for number in range(count)]

        async def record_and_patch(pod: BenchPod) -> None:
            await floor_record(self._client, namespace, pod)
            await floor_patch(self._client, namespace, pod)

        async def create_and_patch(body: dict[str, Any]) -> None:
            pod = await self._client.create(BENCH_PODS, namespace, body)
            await record_and_patch(pod)

        async with watching(self._client, namespace) as sights:
            both = await each(bodies, create_and_patch)
            await sights.until("all Pods are seen", DEADLINE, lambda: len(sights.pods) == count)
            await delete_all(self._client, namespace, DEADLINE)
            await sights.until("no Pod is left", DEADLINE, lambda: not sights.pods)
            await delete_floor_records(self._client)
            spent = await each(bodies, lambda body: create(self._client, namespace, body))
            say(f"bare POST rate {count / spent:.0f}/s")
            await sights.until("all Pods are seen", DEADLINE, lambda: len(sights.pods) == count)
            patches = await each(list(sights.pods.values()), record_and_patch)
        await delete_all(self._client, namespace, DEADLINE)
        await delete_floor_records(self._client)
        return {"waiting": count / patches, "created": count / both}

    async def _throughput(self, count: int, *, keep: bool) -> list[Figure]:
        """The throughput in both ways, one after the other; with `keep` the Pods of the second stay."""
        self._world.stop_controller()
        floors = await self._measure_floors(count)
        say(f"floors: { {way: round(rate) for way, rate in floors.items()} }")
        controller = await self._world.start_controller()
        await controller.until_passed()
        rates, costs = {}, {}
        for way in ("created", "waiting"):
            before, cpu = await controller.metrics(), cpu_seconds(controller.pid)
            rates[way] = await self._rate(count, way)
            await controller.until_settled(count)
            after, cpu = await controller.metrics(), cpu_seconds(controller.pid) - cpu
            costs[way] = cpu / count * 1000
            passes = {key: round(after[key] - before.get(key, 0), 2) for key in ("passes", "render", "diff", "commit")}
            say(f"{count} Pods, {way}: {rates[way]:.0f}/s; cpu {cpu:.1f} s, {passes}")
            if way == "created" or not keep:
                await delete_all(self._client, NAMESPACE, DEADLINE)
                await controller.until_settled(0)
        return [
            Figure(
                name=f"Pods/s to annotated, {count} Pods, {way}",
                value=rate,
                unit="1/s",
                n=count,
                anchor=Anchor(name=f"{WHAT[way]} of the same by one client, 32 in flight, 1/s", value=floors[way]),
                ask=Ask(relation=">=", value=200),
                note=f"{rate / floors[way]:.2f} x the anchor; {costs[way]:.2f} ms of the controller's CPU a Pod",
            )
            for way, rate in rates.items()
        ]

    async def _growth(self) -> Figure:
        """How much slower many Pods are than few. Two runs with the same number differ by more than five percent."""
        controller = await self._world.start_controller()
        await controller.until_passed()
        pairs, costs = [], []
        for _ in range(PAIRS):
            rates, cpu = [], []
            for count in (FEW, MANY):
                before = cpu_seconds(controller.pid)
                rates.append(await self._rate(count, "waiting"))
                cpu.append((cpu_seconds(controller.pid) - before) / count)
                await delete_all(self._client, NAMESPACE, DEADLINE)
                await controller.until_settled(0)
            say(f"{FEW} Pods: {rates[0]:.0f}/s, {MANY} Pods: {rates[1]:.0f}/s")
            pairs.append(rates)
            costs.append(cpu[1] / cpu[0])
        return Figure(
            name=f"Pods/s at {MANY} Pods over that at {FEW} just before, waiting",
            value=median([many / few for few, many in pairs]),
            unit="ratio",
            n=PAIRS,
            anchor=Anchor(name="the same ratio of the controller's CPU a Pod", value=median(costs)),
            ask=Ask(relation=">=", value=0.95),
            note="; ".join(f"{few:.0f}/s and {many:.0f}/s" for few, many in pairs),
        )

    async def _rate(self, count: int, way: str) -> float:
        controller = self._world.running
        bodies = [pod_body(f"p{number}", NODE) for number in range(count)]
        async with watching(self._client, NAMESPACE) as sights:
            if way == "waiting":
                controller.pause()
            try:
                await each(bodies, lambda body: create(self._client, NAMESPACE, body))
            finally:
                controller.resume()
            resumed = time.perf_counter()
            await sights.until("all Pods are annotated", DEADLINE, lambda: len(sights.annotated) == count)
            first = min(sights.seen.values()) if way == "created" else resumed
            return count / (max(sights.annotated.values()) - first)

    async def _one_pod(self) -> Figure:
        spent, floor = [], []
        async with watching(self._client, NAMESPACE) as sights:
            for number in range(SINGLE):
                spent.append(await self._single(sights, f"one{number}"))
                floor.append(await self._single_floor(sights, f"floor{number}"))
        say(f"one Pod: {sorted(round(value * 1000) for value in spent)} ms")
        return Figure(
            name=f"one new Pod among {MANY}: creation to annotation seen",
            value=median(spent) * 1000,
            unit="ms",
            n=SINGLE,
            anchor=Anchor(
                name="the same POST, sight, PATCH and sight without a controller, ms", value=median(floor) * 1000
            ),
            ask=Ask(relation="<", value=50),
        )

    async def _single(self, sights: Sights, name: str) -> float:
        await asyncio.sleep(0.1)
        return await time_to_annotated(self._client, sights, NAMESPACE, pod_body(name, NODE), DEADLINE)

    async def _single_floor(self, sights: Sights, name: str) -> float:
        await asyncio.sleep(0.1)
        started = time.perf_counter()
        await create(self._client, NAMESPACE, pod_body(name, NODE, host_network=True))
        await sights.until("the Pod is seen", DEADLINE, lambda: name in sights.pods)
        await floor_patch(self._client, NAMESPACE, sights.pods[name])
        await sights.until("the annotation is seen", DEADLINE, lambda: name in sights.floored)
        return sights.floored[name] - started

    async def _cost(self) -> list[Figure]:
        controller = self._world.running
        await controller.until_settled(MANY + 2 * SINGLE)
        busy, size = cpu_seconds(controller.pid), rss(controller.pid)
        await asyncio.sleep(IDLE_SECONDS)
        idle = (cpu_seconds(controller.pid) - busy) / IDLE_SECONDS * 100
        python = Anchor(name="bare Python interpreter, MB", value=bare_python_rss())
        name = f"controller RSS at {MANY} Pods, after as many went"
        return [
            Figure(name=name, value=size, unit="MB", n=1, anchor=python, ask=Ask(relation="<", value=150)),
            Figure(
                name=f"controller idle at {MANY} Pods",
                value=idle,
                unit="% of a core",
                n=1,
                anchor=Anchor(name="a process that does nothing, % of a core", value=0),
                note=f"over {IDLE_SECONDS:g} s",
            ),
        ]

    async def _restart(self) -> list[Figure]:
        started = time.perf_counter()
        listing = await self._client.list(PODS)
        read = Anchor(
            name=f"list of {len(listing.items)} Pods by the same client, s", value=time.perf_counter() - started
        )
        async with monitoring(self._world.ovn.endpoint("nb"), NORTHBOUND) as monitor:
            control = await self._count_one(monitor)
            self._world.stop_controller()
            before = len(monitor.told)
            controller = await self._world.start_controller()
            ready = await controller.until_passed()
            await controller.until_settled(len(listing.items) + 1)
            await asyncio.sleep(1)
            writes = len(monitor.told) - before
        say(f"restart: {ready:.2f} s, {writes} transactions")
        python = Anchor(name="bare Python interpreter, MB", value=bare_python_rss())
        return [
            Figure(
                name=f"restart with {MANY} Pods, process start to ready and first pass made",
                value=ready,
                unit="s",
                n=1,
                anchor=read,
                ask=Ask(relation="<=", value=3),
            ),
            Figure(
                name="Northbound transactions of that restart",
                value=writes,
                unit="transactions",
                n=1,
                anchor=Anchor(name="the same monitor while one Pod is created, transactions", value=control),
                ask=Ask(relation="==", value=0),
            ),
            Figure(
                name=f"controller RSS at {MANY} Pods, after a restart",
                value=rss(controller.pid),
                unit="MB",
                n=1,
                anchor=python,
                ask=Ask(relation="<", value=150),
            ),
        ]

    async def _count_one(self, monitor: Monitor) -> int:
        """Prove that the monitor counts: one more Pod is at least one transaction."""
        async with watching(self._client, NAMESPACE) as sights:
            await self._single(sights, "control")
        await monitor.more("the monitor sees something of a new Pod", 0)
        await self._world.running.until_settled(MANY + 2 * SINGLE + 1)
        return len(monitor.told)
