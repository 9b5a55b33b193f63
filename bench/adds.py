"""CNI ADD by stage, from the node daemons' own metrics while Pods come at a steady rate.

The histograms' buckets are coarse, so their sums are read often: between two readings a node usually sees one ADD, and
the growth of the sum is then that ADD's very duration (with two or more it is their mean).
"""

import asyncio
import re
import time
from collections.abc import Mapping

import aiohttp

from bench.figure import Anchor, Ask, Figure, median, quantile
from bench.pods import create, pod_body, watching
from bench.processes import veth_time
from kube_ovn.k8s.client import Client
from sandbox.progress import say

RATE, COUNT = 5.0, 60
READING = 0.1
DEADLINE = 120.0
STAGES = ("wait", "netlink", "ovsdb", "ovn_installed", "total")
PORT = 10665
SERIES = "kube_ovn_cni_add_seconds"


class _Reader:
    """Reads the durations of one node's ADDs, by stage, in seconds."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}:{PORT}/metrics"
        self._last: dict[str, tuple[float, float]] = {}
        self.found: dict[str, list[float]] = {stage: [] for stage in STAGES}

    async def read(self, session: aiohttp.ClientSession) -> None:
        async with session.get(self._url) as answer:
            text = await answer.text()
        for stage in STAGES:
            count, total = (_value(text, f'{SERIES}_{part}{{stage="{stage}"}}') for part in ("count", "sum"))
            if stage in self._last and count > self._last[stage][0]:
                new = round(count - self._last[stage][0])
                self.found[stage] += [(total - self._last[stage][1]) / new] * new
            self._last[stage] = (count, total)


async def measure_adds(client: Client, namespace: str, nodes: Mapping[str, str]) -> list[Figure]:
    """Measure the stages of ADD while Pods come. The caller removes the Pods."""
    readers = [_Reader(address) for address in nodes.values()]
    floor = median([veth_time() for _ in range(20)]) * 1000
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        for reader in readers:
            await reader.read(session)
        await _create_steadily(client, namespace, list(nodes), readers, session)
    figures = []
    for stage in STAGES:
        values = [value * 1000 for reader in readers for value in reader.found[stage]]
        say(f"ADD {stage}: n={len(values)} p50={quantile(values, 0.5):.1f} p99={quantile(values, 0.99):.1f} ms")
        for name, q, limit in (("p50", 0.5, 100), ("p99", 0.99, 500)):
            figures.append(
                Figure(
                    name=f"CNI ADD {stage} {name} at {RATE:g} Pods/s",
                    value=quantile(values, q),
                    unit="ms",
                    n=len(values),
                    anchor=Anchor(name="`ip link add` of one veth pair, ms", value=floor),
                    ask=Ask(relation="<", value=limit) if stage == "total" else None,
                )
            )
    return figures


async def _create_steadily(
    client: Client, namespace: str, nodes: list[str], readers: list[_Reader], session: aiohttp.ClientSession
) -> None:
    """Create the Pods at their rate, and read the metrics until all of their ADDs were seen."""
    async with watching(client, namespace) as sights:
        started = time.monotonic()
        creating = asyncio.ensure_future(_drip(client, namespace, nodes))
        try:
            while len(sights.ready) < COUNT or sum(len(reader.found["total"]) for reader in readers) < COUNT:
                if time.monotonic() - started > DEADLINE:
                    seen = sum(len(reader.found["total"]) for reader in readers)
                    raise TimeoutError(
                        f"{len(sights.ready)} of {COUNT} Pods are Ready and {seen} ADDs were seen after {DEADLINE:g} s"
                    )
                await asyncio.sleep(READING)
                for reader in readers:
                    await reader.read(session)
            await creating
        finally:
            creating.cancel()
            await asyncio.gather(creating, return_exceptions=True)


async def _drip(client: Client, namespace: str, nodes: list[str]) -> None:
    started = time.monotonic()
    for number in range(COUNT):
        await asyncio.sleep(max(0.0, started + number / RATE - time.monotonic()))
        await create(client, namespace, pod_body(f"steady{number}", nodes[number % len(nodes)]))


def _value(text: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0
