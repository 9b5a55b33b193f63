"""The figures of the whole fabric, on the sandbox: how long Pods take to be Ready, and where the time of CNI ADD goes.

The floor is the same Pods with hostNetwork, measured in turn with ours, so that a busy machine slows both. What is
created is in one Namespace, which is removed in the end whatever happens.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import aiohttp

from bench.adds import measure_adds
from bench.enforced import measure_enforcement
from bench.figure import Anchor, Ask, Figure, median
from bench.gateways import measure_failover
from bench.idle import measure_idle, measure_plugin, measure_quiet
from bench.lookups import SERVERS, measure_affinity, measure_lookups
from bench.pods import NAMESPACES, PODS, await_account, create, delete_all, ensure_namespace, pod_body, watching
from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.k8s.credentials import CredentialsError, load_credentials
from kube_ovn.model.resource import NODES
from sandbox.paths import STATE
from sandbox.progress import say

NAMESPACE = "kube-ovn-bench"
BATCH, BATCHES, SINGLE = 30, 7, 5
DEADLINE = 90.0
SETTLE = 2.0
"""Seconds between two measurements: the kubelet tears sandboxes down after their Pods are gone from the API."""


Step = Callable[[], Awaitable[list[Figure]]]


async def measure_cluster() -> tuple[list[Figure], list[str]]:
    """The figures, and a sentence for each group that could not be measured."""
    try:
        async with Client(load_credentials(str(STATE / "admin.kubeconfig"))) as client:
            nodes = await _nodes(client)
            if len(nodes) < 2:
                return [], ["figures of the cluster: the sandbox has fewer than two nodes"]
            return await _measure(client, nodes)
    except (CredentialsError, KubeError) as error:
        return [], [f"figures of the cluster: no sandbox answers ({error}); `make demo` brings it up"]


async def _measure(client: Client, nodes: Mapping[str, str]) -> tuple[list[Figure], list[str]]:
    figures: list[Figure] = []
    missing: list[str] = []
    names = list(nodes)
    steps: dict[str, Step] = {
        "plugin": measure_plugin,
        "one Pod": lambda: _single(client, names[-1]),
        "Pods at once": lambda: _batches(client, names),
        "CNI ADD": lambda: measure_adds(client, NAMESPACE, nodes),
        "idle daemon": measure_idle,
        "idle node": measure_quiet,
        "gateways": measure_failover,
        **{f"names asked {what}": partial(measure_lookups, who) for who, what in SERVERS.items()},
        "session affinity": measure_affinity,
        "policies": lambda: measure_enforcement(client),
    }
    await ensure_namespace(client, NAMESPACE)
    try:
        await await_account(client, NAMESPACE)
        for what, step in steps.items():
            try:
                await _clear(client)
                figures += await step()
            except (KubeError, TimeoutError, aiohttp.ClientError, OSError, RuntimeError, AssertionError) as error:
                missing.append(f"{what}: {error}")
                say(f"not measured: {missing[-1]}")
    finally:
        try:
            await client.request("DELETE", NAMESPACES.path(name=NAMESPACE))
        except KubeError as error:  # the figures measured so far are kept
            missing.append(f"Namespace {NAMESPACE} stays: {error}")
    return figures, missing


async def _nodes(client: Client) -> Mapping[str, str]:
    """Two nodes and their addresses."""
    listing = await client.list(NODES)
    nodes = {
        node.metadata.name: address.address
        for node in sorted(listing.items, key=lambda node: node.metadata.name)
        for address in node.status.addresses
        if address.type == "InternalIP" and ":" not in address.address
    }
    return dict(list(nodes.items())[:2])


async def _clear(client: Client) -> None:
    if (await client.list(PODS, namespace=NAMESPACE)).items:
        await delete_all(client, NAMESPACE, DEADLINE, grace=1)
        await asyncio.sleep(SETTLE)


async def _single(client: Client, node: str) -> list[Figure]:
    """The figure of one Pod alone, measured in turn with its floor."""
    spent: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(SINGLE):
        for host_network in (True, False):
            spent[host_network].append(await _ready(client, [node], 1, host_network=host_network))
    say(f"one Pod: {_seconds(spent[False])} s; hostNetwork: {_seconds(spent[True])} s")
    return [
        Figure(
            name="one Pod alone, creation to Ready",
            value=median(spent[False]),
            unit="s",
            n=SINGLE,
            anchor=Anchor(name="the same with hostNetwork, s", value=median(spent[True])),
            ask=Ask(relation="<", value=0.8),
        )
    ]


async def _batches(client: Client, nodes: list[str]) -> list[Figure]:
    spent: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(BATCHES):
        for host_network in (True, False):
            spent[host_network].append(await _ready(client, nodes, BATCH, host_network=host_network))
    say(f"{BATCH} Pods: {_seconds(spent[False])} s; hostNetwork: {_seconds(spent[True])} s")
    floor = median(spent[True])
    return [
        Figure(
            name=f"{BATCH} Pods on two nodes created at once, to all Ready",
            value=median(spent[False]),
            unit="s",
            n=BATCHES,
            anchor=Anchor(name="the same with hostNetwork, s", value=floor),
            ask=Ask(relation="<=", value=1.25 * floor),
            note=f"{median(spent[False]) / floor:.2f} x the floor",
        )
    ]


async def _ready(client: Client, nodes: list[str], count: int, *, host_network: bool) -> float:
    """Seconds from the first creation to the last Pod seen Ready; the Pods are removed afterwards."""
    bodies = [pod_body(f"p{number}", nodes[number % len(nodes)], host_network=host_network) for number in range(count)]
    async with watching(client, NAMESPACE) as sights:
        started = time.perf_counter()
        await asyncio.gather(*(create(client, NAMESPACE, body) for body in bodies))
        await sights.until(f"{count} Pods are Ready", DEADLINE, lambda: len(sights.ready) == count)
        spent = max(sights.ready.values()) - started
    await _clear(client)
    return spent


def _seconds(values: list[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
