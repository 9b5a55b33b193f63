"""The figures of bad input: how long healthy Pods wait while objects beside them cannot be brought about.

In the isolated world of `bench.world`. Among 1,000 Pods that come and go, users write what no database can hold, what
the Northbound database refuses, and what is far too long. The anchor is the same coming and going just before.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench.figure import Anchor, Ask, Figure, median
from bench.pods import Sights, create, each, pod_body, time_to_annotated, watching
from bench.world import NODE, World
from kube_ovn.k8s.client import MERGE, Client
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.k8s.events import EVENTS
from kube_ovn.model import names
from kube_ovn.model.resource import NODES, PODS, SUBNETS
from sandbox.progress import say

HEALTHY, COMING = 1000, 300
"""Healthy Pods that are there, and those that come while as many go."""
DEADLINE = 60.0
MAC = "0a:00:00:00:00:01"
SUBNET = "refused"
"""A Subnet whose router port has the name of a row of others."""
LONGEST = 250_000
"""Bytes of an annotation: all of an object's together may have 256 KiB (Kubernetes API, ObjectMeta)."""
BAD: Mapping[str, Mapping[str, str]] = {
    **{f"nul-{number}": {names.DHCP_V4_OPTIONS: f"hostname=a\0{number}"} for number in range(10)},
    "long": {names.DHCP_V4_OPTIONS: "hostname=" + "x" * LONGEST},
    "address": {names.IP_ADDRESS: "10.16.\0.7"},
}
"""The annotations of Pods that cannot have what they ask for, by the name of the Pod."""


async def measure_faults() -> list[Figure]:
    with World() as world:
        async with Client(load_credentials(str(world.kube.kubeconfig))) as client:
            return await _Run(world, client).figures()


class _Run:
    def __init__(self, world: World, client: Client) -> None:
        self._world, self._client, self._next = world, client, HEALTHY

    async def figures(self) -> list[Figure]:
        await self._client.request("POST", NODES.path(), body={"metadata": {"name": NODE}})
        self._world.ovn.nbctl("lr-add", "others", "--", "lrp-add", "others", "ovn-cluster-refused", MAC, "10.1.0.1/24")
        controller = await self._world.start_controller()
        await controller.until_passed()
        async with watching(self._client, "default") as sights:
            bodies = [pod_body(f"p{number}", NODE) for number in range(HEALTHY)]
            await each(bodies, lambda body: create(self._client, "default", body))
            await sights.until("all Pods are annotated", DEADLINE, lambda: len(sights.annotated) == HEALTHY)
            calm = await self._come_and_go(sights)
            told = asyncio.ensure_future(self._break())
            among = await self._come_and_go(sights)
            told_after = await told
            healed = await self._mend(sights)
        return [
            _figure("the longest wait of a healthy Pod among bad ones", max(among), max(calm) + 1, calm, among),
            _figure("bad object written to its Event, the longest", max(told_after), 10, calm, told_after),
            _figure("bad object mended to brought about, the longest", max(healed), 2, calm, healed),
        ]

    async def _come_and_go(self, sights: Sights) -> list[float]:
        """A Pod goes as another comes. Returns the seconds that each new one waits for its address."""
        waits = []
        for _ in range(COMING):
            name, leaving = f"p{self._next}", f"p{self._next - HEALTHY}"
            self._next += 1
            query = {"gracePeriodSeconds": "0"}
            await self._client.request("DELETE", PODS.path("default", leaving), query=query)
            waits.append(await time_to_annotated(self._client, sights, "default", pod_body(name, NODE), DEADLINE))
        say(f"{len(waits)} Pods come and go: median {median(waits) * 1000:.0f} ms, longest {max(waits) * 1000:.0f} ms")
        return waits

    async def _break(self) -> list[float]:
        """Write all bad objects, one after another. Returns the seconds until each has a Warning."""
        written = {}
        spec = {"cidrBlock": "10.66.0.0/16"}
        body = {"apiVersion": SUBNETS.version, "kind": SUBNETS.name, "metadata": {"name": SUBNET}, "spec": spec}
        await self._client.create(SUBNETS, "", body)
        written[SUBNET] = time.perf_counter()
        for name, annotations in BAD.items():
            pod = pod_body(name, NODE)
            pod["metadata"]["annotations"] = annotations
            await create(self._client, "default", pod)
            written[name] = time.perf_counter()
        spent: dict[str, float] = {}
        while missing := written.keys() - spent.keys():
            warned = await self._warnings()
            now = time.perf_counter()
            spent |= {name: now - written[name] for name in missing & warned.keys()}
            if now > max(written.values()) + DEADLINE:
                raise TimeoutError(f"these have no Event within {DEADLINE:g} s: {', '.join(sorted(missing))}")
            await asyncio.sleep(0.1)
        for name, message in sorted((await self._warnings()).items()):
            say(f"{name}: {message[:160]}")
        return list(spent.values())

    async def _warnings(self) -> dict[str, str]:
        """The message of a Warning by the name of its object."""
        listing = json.loads(await self._client.request("GET", EVENTS.path("default"), query={"limit": "1000"}))
        items: list[dict[str, Any]] = listing["items"]
        return {each["involvedObject"].get("name", ""): each["message"] for each in items if each["type"] == "Warning"}

    async def _mend(self, sights: Sights) -> list[float]:
        """Mend the bad Pods, one after another. Returns the seconds until each has its address."""
        spent = []
        for name, annotations in BAD.items():
            body = {"metadata": {"annotations": dict.fromkeys(annotations)}}
            started = time.perf_counter()
            await self._client.request("PATCH", PODS.path("default", name), body=body, form=MERGE)
            spent.append(max(0.0, await sights.until_annotated(name, DEADLINE) - started))
        return spent


def _figure(name: str, value: float, most: float, calm: Sequence[float], found: Sequence[float]) -> Figure:
    return Figure(
        name=f"{name}, {HEALTHY} Pods",
        value=value,
        unit="s",
        n=len(found),
        anchor=Anchor(name="the longest wait of a healthy Pod before there were bad ones, s", value=max(calm)),
        ask=Ask(relation="<", value=most),
        note=f"median {median(found):.3f} s; before there were bad ones {median(calm):.3f} s",
    )
