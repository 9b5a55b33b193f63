"""The figures of NetworkPolicies on the sandbox: how soon nodes enforce one among many, seen by packets.

The many Pods are objects on Nodes without a kubelet: they have addresses, ports and memberships like any other, and
no process. A Pod asks another for echoes all the time; a policy takes effect with the last echo that is answered, or
with the first one.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bench.figure import Anchor, Ask, Figure, median, quantile
from bench.pods import NAMESPACES, await_account, create, delete_all, each, ensure_namespace, pod_body, watching
from bench.policies import EXCEPT, create_policy, spec
from kube_ovn.k8s.client import Client
from kube_ovn.model.resource import NETWORK_POLICIES, NODES
from sandbox.demo import SYSTEM
from sandbox.progress import say
from tests.cluster.lab import Scene, execute, manifest, system_pod, until
from tests.cluster.northbound import until_nodes_follow

PODS, POLICIES, SEATS, APPS = 1_000, 1_000, 4, 10
_SPACES = [f"kube-ovn-bench-crowd-{number}" for number in range(10)]
ROUNDS = 40
INTERVAL = 0.003
"""Seconds between two echoes."""
QUIET = 0.15
"""Seconds without an answer after which none is coming."""
DEADLINE = 120.0


async def measure_enforcement(client: Client) -> list[Figure]:
    scene = Scene(f"kube-ovn-bench-policies-{os.urandom(2).hex()}")
    await asyncio.to_thread(scene.open)
    try:
        async with _crowd(client):
            probe = await asyncio.to_thread(_Probe, scene)
            empty, flows = await _latencies(client, probe), await _flows()
            await _fill(client, EXCEPT[:1])
            full, many = await _latencies(client, probe), await _flows()
            await _clear(client)
            await _fill(client, EXCEPT)
            excepts = await _latencies(client, probe)
    finally:
        await asyncio.to_thread(scene.close)
    return _figures(empty, full, excepts, (many - flows) / POLICIES, flows)


def _figures(empty: list[float], full: list[float], excepts: list[float], flows: float, before: float) -> list[Figure]:
    figures = []
    for share, q, limit in (("p50", 0.5, None), ("p99", 0.99, 0.3)):
        value, floor = quantile(full, q), quantile(empty, q)
        figures.append(
            Figure(
                name=f"a policy among {POLICIES} and {PODS} Pods: request to the last or first packet, {share}",
                value=value,
                unit="s",
                n=len(full),
                anchor=Anchor(name="without the other policies, s", value=floor),
                ask=None if limit is None else Ask(relation="<", value=limit),
            )
        )
    figures.append(
        Figure(
            name=f"the same with {len(EXCEPT)} `except` blocks in each policy, p99",
            value=quantile(excepts, 0.99),
            unit="s",
            n=len(excepts),
            anchor=Anchor(name="with one, s", value=quantile(full, 0.99)),
            ask=Ask(relation="<", value=1.2 * quantile(full, 0.99)),
        )
    )
    figures.append(
        Figure(
            name=f"OpenFlow flows of a node for each of {POLICIES} policies",
            value=flows,
            unit="flows",
            n=1,
            anchor=Anchor(name="flows without them", value=before),
        )
    )
    return figures


class _Probe:
    """A Pod that asks another one for echoes all the time."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.server, self._client = scene.start(manifest("server", "node1"), manifest("client", "node2"))
        self._log = "/tmp/echoes"
        asked = f"stdbuf -oL ping -D -n -i {INTERVAL} {self.server.ip} >{self._log}"
        scene.shell(self._client, f"setsid sh -c '{asked}' </dev/null >/dev/null 2>&1 &")
        until(lambda: self.answers(1), 10, "echoes are answered")

    @property
    def namespace(self) -> str:
        return self._scene.namespace

    def answers(self, last: int = 1) -> list[float]:
        """The times of the last answers, by the clock of this machine."""
        lines = self._scene.shell(self._client, f"tail -n {last + 1} {self._log}").splitlines()
        return [float(line[1 : line.index("]")]) for line in lines if "bytes from" in line and "]" in line]

    def until_answered(self, since: float) -> float:
        """Wait until answers come again; the time of the first one."""

        def first() -> float | None:
            seen = [each for each in self.answers(int(2 * QUIET / INTERVAL)) if each > since]
            return seen[0] if seen else None

        return until(first, 10, "answers again")

    def until_silent(self) -> float:
        """Wait until answers do not come any more; the time of the last one."""

        def last() -> float | None:
            found = self.answers()[-1]
            return found if time.time() - found > QUIET else None

        return until(last, 10, "no more answers")


async def _latencies(client: Client, probe: _Probe) -> list[float]:
    """Seconds from the request for a policy to the last answer, and from its removal to the first one, in turn."""
    spent = []
    deny = {"podSelector": {}, "policyTypes": ["Ingress"]}
    for number in range(ROUNDS):
        began = time.time()
        await create_policy(client, probe.namespace, f"deny{number}", deny)
        spent.append(await asyncio.to_thread(probe.until_silent) - began)
        silent = time.time()
        await client.request("DELETE", NETWORK_POLICIES.path(probe.namespace, f"deny{number}"))
        spent.append(await asyncio.to_thread(probe.until_answered, silent) - silent)
    say(f"p50 {median(spent):.3f} s, p99 {quantile(spent, 0.99):.3f} s of {len(spent)}")
    return spent


@asynccontextmanager
async def _crowd(client: Client) -> AsyncIterator[None]:
    """Many Pods on Nodes that are nowhere."""
    seats = [f"bench-seat-{number}" for number in range(SEATS)]
    try:
        for name in seats:
            await client.request(
                "POST", NODES.path(), body={"metadata": {"name": name}, "spec": {"unschedulable": True}}
            )
        for name in _SPACES:
            await ensure_namespace(client, name)
            await await_account(client, name)
        async with watching(client, "") as sights:
            await each(range(PODS), lambda n: create(client, _SPACES[n % len(_SPACES)], _body(n, seats[n % SEATS])))
            names = {f"crowd{number}" for number in range(PODS)}
            await sights.until("all are annotated", DEADLINE, lambda: names <= sights.annotated.keys())
        yield
    finally:
        for name in _SPACES:
            await delete_all(client, name, DEADLINE)
            await client.request("DELETE", NAMESPACES.path(name=name))
        for name in seats:
            await client.request("DELETE", NODES.path(name=name))


def _body(number: int, node: str) -> dict[str, Any]:
    made = pod_body(f"crowd{number}", node)
    return {**made, "metadata": {"name": f"crowd{number}", "labels": {"app": f"a{number // len(_SPACES) % APPS}"}}}


async def _fill(client: Client, excepts: tuple[str, ...]) -> None:
    """Make many policies in the Namespaces of the many Pods, and wait until nodes have followed."""

    def make(number: int) -> Any:
        name = _SPACES[number % len(_SPACES)]
        return create_policy(client, name, f"np{number}", spec(number // len(_SPACES), excepts=excepts))

    spent = await each(range(POLICIES), make)
    say(f"{POLICIES} policies made in {spent:.1f} s")
    await asyncio.to_thread(until_nodes_follow, DEADLINE)


async def _clear(client: Client) -> None:
    await each(_SPACES, lambda name: client.request("DELETE", NETWORK_POLICIES.path(name), body={}))


async def _flows() -> float:
    """The OpenFlow flows of a node."""
    pod = system_pod("ovs", "node1").name
    text = await asyncio.to_thread(execute, pod, SYSTEM, "ovs-ofctl", "dump-aggregate", "br-int")
    return float(text.partition("flow_count=")[2].split()[0])
