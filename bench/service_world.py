"""A world with nodes, subnets, Services and their slices, for the figures of Services."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bench.monitor import NORTHBOUND, Monitor, monitoring
from bench.pods import each, ensure_namespace
from bench.world import NODE, World
from kube_ovn.k8s.client import MERGE, Client
from kube_ovn.model import names
from kube_ovn.model.resource import ENDPOINT_SLICES, NODES, SERVICES, SUBNETS
from sandbox.progress import say

LARGE, ENDPOINTS, SUBNETS_COUNT, NODES_COUNT = 5000, 10, 10, 3
NAMESPACE = "bench"
DEADLINE = 120.0


class ServiceWorld:
    """A world, and the objects that are made in it."""

    def __init__(self, world: World, client: Client) -> None:
        self.world, self.client = world, client

    async def furnish(self, nodes: int, subnets: int) -> None:
        """Make nodes and subnets and wait until they are in effect; no controller runs afterwards."""
        await ensure_namespace(self.client, NAMESPACE)
        for number in range(nodes):
            await self._make_node(f"{NODE}{number}", number)
        for number in range(subnets):
            await self.client.create(SUBNETS, "", _subnet(number))
        controller = await self.world.start_controller()
        await controller.until_passed()
        end = time.monotonic() + DEADLINE
        while sum(bool(each.status.cidr_block) for each in (await self.client.list(SUBNETS)).items) < subnets + 2:
            if time.monotonic() > end:
                raise TimeoutError("the subnets are not in effect")
            await asyncio.sleep(0.1)
        self.world.stop_controller()

    async def _make_node(self, name: str, number: int) -> None:
        annotations = {names.CHASSIS: f"chassis-{name}"}
        await self.client.request("POST", NODES.path(), body={"metadata": {"name": name, "annotations": annotations}})
        status = {
            "addresses": [{"type": "InternalIP", "address": f"172.30.0.{10 + number}"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        path = NODES.path(name=name, subresource="status")
        await self.client.request("PATCH", path, body={"status": status}, form=MERGE)

    async def create(self, count: int, ports: int) -> None:
        spent = await each(range(count), lambda number: self._create_one(number, ports))
        say(f"{count} Services and their slices made in {spent:.1f} s")

    async def _create_one(self, number: int, ports: int) -> None:
        await self.client.request("POST", SERVICES.path(NAMESPACE), body=service_body(f"svc{number}", ports))
        await self.create_slice(number, ports)

    async def create_slice(self, number: int, ports: int, of: str = "") -> None:
        body = _slice(of or f"svc{number}", number, ports)
        await self.client.request("POST", ENDPOINT_SLICES.path(NAMESPACE), body=body)

    async def change(self, name: str, number: int, variant: int) -> None:
        """Replace one endpoint of a slice by another one."""
        await self._patch(name, {"endpoints": _endpoints(number, variant)})

    async def annotate(self, name: str, value: str) -> None:
        """Change an annotation of a slice, which means nothing to the controller."""
        await self._patch(name, {"metadata": {"annotations": {"endpoints.kubernetes.io/bench": value}}})

    async def _patch(self, name: str, body: dict[str, Any]) -> None:
        await self.client.request("PATCH", ENDPOINT_SLICES.path(NAMESPACE, name), body=body, form=MERGE)

    async def listed(self) -> float:
        """Seconds in which this program reads all Services and slices."""
        started = time.perf_counter()
        await self.client.list(SERVICES)
        await self.client.list(ENDPOINT_SLICES)
        return time.perf_counter() - started

    @asynccontextmanager
    async def loading(self) -> AsyncIterator[Monitor]:
        """Monitor only which load balancers and groups come, so that the monitor slows nothing down."""
        tables = {table: ["name"] for table in ("Load_Balancer", "Load_Balancer_Group")}
        async with monitoring(self.world.ovn.endpoint("nb"), NORTHBOUND, tables | {"NB_Global": ["sb_cfg"]}) as monitor:
            yield monitor

    async def cold(self, count: int) -> float:
        """Seconds from the start of a controller until an empty database has these Services."""
        self.world.empty_northbound()
        async with self.loading() as monitor:
            controller = await self.world.start_controller()
            spent = await monitor.until(f"{count} Services", lambda: loaded(monitor, count), DEADLINE)
        self.world.stop_controller()
        return spent - controller.started


def loaded(monitor: Monitor, count: int) -> bool:
    """Whether the rows of `count` Services, and those that all Services share, are in the database."""
    rows = [row["name"] for told in monitor.told for row in told.inserted("Load_Balancer")]
    shared = any(told.inserted("Load_Balancer_Group") for told in monitor.told)
    return shared and sum(name.startswith(f"{NAMESPACE}/") for name in rows) >= count


def cluster_address(number: int) -> str:
    return f"10.96.{1 + number // 250}.{1 + number % 250}"


def addresses(number: int, variant: int = 0) -> list[str]:
    """The endpoints of the Service with this number; the last one differs with `variant`."""
    first = number * ENDPOINTS
    numbers = [first + each for each in range(ENDPOINTS - 1)] + [LARGE * ENDPOINTS * 2 + first + variant]
    return [
        f"10.{128 + each % SUBNETS_COUNT}.{each // SUBNETS_COUNT // 250}.{2 + each // SUBNETS_COUNT % 250}"
        for each in numbers
    ]


def _endpoints(number: int, variant: int = 0) -> list[dict[str, Any]]:
    return [
        {"addresses": [address], "conditions": {"ready": True}, "nodeName": f"{NODE}{index % NODES_COUNT}"}
        for index, address in enumerate(addresses(number, variant))
    ]


def service_body(name: str, ports: int, **spec: Any) -> dict[str, Any]:
    numbers = [{"name": f"p{port}", "port": 80 + port, "targetPort": 8080 + port} for port in range(ports)]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": numbers, **spec}}


def _slice(of: str, number: int, ports: int) -> dict[str, Any]:
    return {
        "apiVersion": ENDPOINT_SLICES.version,
        "kind": ENDPOINT_SLICES.name,
        "metadata": {"name": of, "labels": {names.SERVICE_OF_SLICE: of}},
        "addressType": "IPv4",
        "ports": [{"name": f"p{port}", "port": 8080 + port, "protocol": "TCP"} for port in range(ports)],
        "endpoints": _endpoints(number),
    }


def _subnet(number: int) -> dict[str, Any]:
    return {
        "apiVersion": SUBNETS.version,
        "kind": SUBNETS.name,
        "metadata": {"name": f"s{number}"},
        "spec": {"cidrBlock": f"10.{128 + number}.0.0/16"},
    }
