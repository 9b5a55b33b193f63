"""The figures of Services: the time a controller takes for existing ones, and the cost of a change for the controller,
the Northbound database and northd.

In the isolated world of `bench.world`; endpoints come as EndpointSlices without Pods, for only the slices are read.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bench.decide import Decisions
from bench.figure import Anchor, Ask, Figure, median
from bench.monitor import NORTHBOUND, SOUTHBOUND, Monitor, monitoring
from bench.processes import cpu_seconds, rss
from bench.service_world import (
    DEADLINE,
    ENDPOINTS,
    LARGE,
    NAMESPACE,
    NODES_COUNT,
    SUBNETS_COUNT,
    ServiceWorld,
    addresses,
    cluster_address,
    loaded,
    service_body,
)
from bench.world import World
from kube_ovn.k8s.client import Client
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.model.resource import SERVICES
from kube_ovn.topology.graph import Topology
from sandbox.progress import say
from tests.small_clusters import Api, fabric, namespace, node, settle, slice_of, subnet
from tests.small_clusters import service as service_of

SMALL, SMALL_PORTS, STARTS = 300, 2, 3
CHANGES, HEADLESS_CHANGES, LIVES = 50, 20, 20
"""Single changes: of an endpoint, of one of a headless Service, of a Service that comes and goes."""
HEADLESS = "headless"
QUIET = 1.0
"""Seconds without a transaction after which all work counts as done."""
STAGES = ("render", "diff", "commit")
INCREMENTAL = ("northd", "lflow")
"""Nodes of northd's engine that count how often it worked out everything anew."""


async def measure_services() -> list[Figure]:
    figures = _decision()
    for work in (_few, _many):
        with World() as world:
            async with Client(load_credentials(str(world.kube.kubeconfig))) as client:
                figures += await work(ServiceWorld(world, client))
    return figures


def _decision() -> list[Figure]:
    """The figures of the decision alone, in this process."""
    api = Api(
        *(node(f"node{n}", n) for n in range(1, NODES_COUNT + 1)),
        *(subnet(f"s{n}", f"10.{128 + n}.0.0/16") for n in range(SUBNETS_COUNT)),
        namespace("default"),
    )
    settle(Topology(fabric()), api)
    api.put(*(service_of(f"svc{n}", cluster_address(n)) for n in range(LARGE)), service_of(HEADLESS, "None"))
    api.put(*(slice_of(f"svc{n}", *addresses(n)) for n in range(LARGE)), slice_of(HEADLESS, *addresses(LARGE)))
    decisions = Decisions(api.objects)
    cold = decisions.start()
    spent = {}
    for name, number in (("svc0", 0), (HEADLESS, LARGE)):
        changed = slice_of(name, *addresses(number, variant=1))
        spent[name] = decisions.spend(lambda _, item=changed: decisions.put(item), 0)  # type: ignore[misc]
    anchor = Anchor(name=f"all {LARGE} Services rendered cold, ms", value=cold * 1000)
    return [
        Figure(
            name=f"CPU of rendering one changed endpoint among {LARGE} Services x {ENDPOINTS} endpoints{what}",
            value=spent[name] * 1000,
            unit="ms",
            n=1,
            anchor=anchor,
        )
        for name, what in (("svc0", ""), (HEADLESS, ", of a headless one"))
    ]


async def _few(filled: ServiceWorld) -> list[Figure]:
    await filled.furnish(1, 0)
    floor = [await filled.cold(0) for _ in range(STARTS)]
    running = await _running(filled)
    spent = [await filled.cold(SMALL) for _ in range(STARTS)]
    listed = await filled.listed()
    what = f"{SMALL} Services x {SMALL_PORTS} ports x {ENDPOINTS} endpoints"
    say(f"{what}: cold {spent}, without {floor}, running {running:.2f}, listed {listed:.2f}")
    return [
        Figure(
            name=f"{what}: process start to all in the Northbound database",
            value=median(spent),
            unit="s",
            n=STARTS,
            anchor=Anchor(name="the same start without a Service, s", value=median(floor)),
            ask=Ask(relation="<", value=1),
            note=f"{median(spent) - median(floor):.2f} s more than without",
        ),
        Figure(
            name=f"{what}, made while the controller is stopped: its going on to all in the Northbound database",
            value=running,
            unit="s",
            n=1,
            anchor=Anchor(name="list of the same by one client, s", value=listed),
            ask=Ask(relation="<", value=1),
        ),
    ]


async def _running(filled: ServiceWorld) -> float:
    """The time a running controller takes for new Services, which are left there."""
    filled.world.empty_northbound()
    async with filled.loading() as monitor:
        controller = await filled.world.start_controller()
        await monitor.until("the controller leads", lambda: loaded(monitor, 0))
        await _quiet(monitor)
        controller.pause()
        try:
            await filled.create(SMALL, SMALL_PORTS)
        finally:
            controller.resume()
        resumed = time.perf_counter()
        spent = await monitor.until("all Services", lambda: loaded(monitor, SMALL), DEADLINE) - resumed
    filled.world.stop_controller()
    return spent


async def _quiet(*monitors: Monitor) -> None:
    while True:
        before = [len(monitor.told) for monitor in monitors]
        await asyncio.sleep(QUIET)
        if before == [len(monitor.told) for monitor in monitors]:
            return


async def _many(filled: ServiceWorld) -> list[Figure]:
    await filled.furnish(NODES_COUNT, SUBNETS_COUNT)
    without = median([await filled.cold(0) for _ in range(STARTS)])
    await filled.create(LARGE, 1)
    await filled.client.request("POST", SERVICES.path(NAMESPACE), body=service_body(HEADLESS, 1, clusterIP="None"))
    await filled.create_slice(LARGE, 1, of=HEADLESS)
    figures = [await _load(filled, without)]
    ovn = filled.world.ovn
    tables = {"Load_Balancer": ["name", "vips"], "Logical_Flow": ["pipeline"], "DNS": ["records"]}
    async with (
        monitoring(ovn.endpoint("nb"), NORTHBOUND) as north,
        monitoring(ovn.endpoint("sb"), SOUTHBOUND, tables) as south,
    ):
        return figures + await _changes(filled, _Seen(filled.world, north, south))


async def _load(filled: ServiceWorld, without: float) -> Figure:
    """The time of all Services at once, through northd; both programs are left running."""
    world, listed = filled.world, await filled.listed()
    world.empty_northbound()
    world.ovn.start_database("sb")
    world.ovn.start_northd()
    async with filled.loading() as monitor, monitoring(world.ovn.endpoint("sb"), SOUTHBOUND, {}) as south:
        controller = await world.start_controller()
        committed = await monitor.until("all Services", lambda: loaded(monitor, LARGE), DEADLINE)
        ready, passed = await asyncio.gather(_northd_done(monitor), controller.until_passed())
        page = await controller.metrics()
        balancers, flows = await south.count("Load_Balancer"), await south.count("Logical_Flow")
        if balancers < LARGE:
            raise RuntimeError(f"northd made {balancers} load balancers of {LARGE}")
    stages = {stage: page[stage] for stage in STAGES}
    first = committed - controller.started
    split = ", ".join(f"{stage} {spent:.2f} s" for stage, spent in stages.items())
    read = passed - without - sum(stages.values())
    say(f"cold: {first:.2f} s to the Northbound database, {ready - controller.started:.2f} s in all; {split}")
    return Figure(
        name=f"{LARGE} Services x {ENDPOINTS} endpoints: process start until northd is done",
        value=ready - controller.started,
        unit="s",
        n=1,
        anchor=Anchor(name="list of the same by one client, s", value=listed),
        ask=Ask(relation="<", value=15),
        note=(
            f"in the Northbound database after {first:.2f} s, northd {ready - committed:.2f} s later "
            f"({balancers} load balancers, {flows} flows). The controller's pass ends after {passed:.2f} s: "
            f"start without Services {without:.2f} s, list and decode {read:.2f} s, {split} until it is confirmed. "
            f"Controller RSS {rss(controller.pid):.0f} MB"
        ),
    )


async def _northd_done(monitor: Monitor) -> float:
    """Wait until northd has worked off the Northbound database; returns the time of that."""
    await monitor.transact({"op": "mutate", "table": "NB_Global", "where": [], "mutations": [["nb_cfg", "+=", 1]]})

    def done() -> bool:
        return any("modify" in change for told in monitor.told for change in told.rows.get("NB_Global", {}).values())

    return await monitor.until("northd is done", done, DEADLINE)


@dataclass(slots=True)
class _Cost:
    """The cost of changes of one kind: means, and single times."""

    controller: float = 0.0
    northd: float = 0.0
    """CPU seconds."""
    rows: dict[str, float] = field(default_factory=dict)
    """The number of changed rows, by Northbound table."""
    told: list[float] = field(default_factory=list)
    """Seconds from the request to the Northbound database."""
    flows: list[float] = field(default_factory=list)
    """Seconds from there to the Southbound database."""
    anew: dict[str, int] = field(default_factory=dict)
    """How often northd worked out everything anew, by node of its engine."""

    def note(self) -> str:
        anew = ", ".join(f"{name} {count}" for name, count in self.anew.items())
        rows = ", ".join(f"{table} {count:.3g}" for table, count in sorted(self.rows.items()))
        return (
            f"request to Northbound database {median(self.told) * 1000:.0f} ms; rows: {rows}; "
            f"northd {self.northd * 1000:.1f} ms of CPU, Southbound after {median(self.flows) * 1000:.0f} ms; "
            f"northd worked everything out anew: {anew}"
        )


class _Seen:
    """Both databases as changes come one after another."""

    def __init__(self, world: World, north: Monitor, south: Monitor) -> None:
        self._world, self.north, self.south = world, north, south

    async def cost(self, count: int, change: Callable[[int], Awaitable[object]]) -> _Cost:
        await _quiet(self.north, self.south)
        cost, before, anew, since = _Cost(), self._cpu(), self._anew(), len(self.north.told)
        for number in range(count):
            await self._one(cost, lambda n=number: change(n))  # type: ignore[misc]
        await _quiet(self.north, self.south)
        after = self._cpu()
        cost.controller, cost.northd = ((now - then) / count for then, now in zip(before, after, strict=True))
        cost.rows = {table: rows / count for table, rows in Counter(self.north.touched(since)).items()}
        cost.anew = {name: self._anew()[name] - times for name, times in anew.items()}
        return cost

    async def _one(self, cost: _Cost, change: Callable[[], Awaitable[object]]) -> None:
        north, south, started = len(self.north.told), len(self.south.told), time.perf_counter()
        await change()
        written = await self.north.more("the change is in the Northbound database", north)
        done = await self.south.more("the change is in the Southbound database", south)
        cost.told.append(written - started)
        cost.flows.append(done - written)

    async def nothing(self, count: int, pause: float, change: Callable[[int], Awaitable[object]]) -> float:
        """CPU seconds of the controller for each of `count` changes that mean nothing to it."""
        before, since = self._cpu(), len(self.north.told)
        for number in range(count):
            await change(number)
            await asyncio.sleep(pause)
        await asyncio.sleep(QUIET)
        if len(self.north.told) > since:
            raise RuntimeError(f"changes that are none were written: {self.north.touched(since)}")
        return (self._cpu()[0] - before[0]) / count

    def _cpu(self) -> tuple[float, float]:
        return cpu_seconds(self._world.running.pid), cpu_seconds(self._world.ovn.pid("northd"))

    def _anew(self) -> dict[str, int]:
        ovn = self._world.ovn
        words = ("ovn-appctl", "-t", f"{ovn.folder}/northd.ctl", "inc-engine/show-stats")
        return {name: int(ovn.run(*words, name, "recompute")) for name in INCREMENTAL}


async def _changes(filled: ServiceWorld, seen: _Seen) -> list[Figure]:
    endpoint = await seen.cost(CHANGES, lambda n: filled.change(f"svc{n}", n, 1))
    pause = median(endpoint.told) + median(endpoint.flows)
    idle = await seen.nothing(CHANGES, pause, lambda n: filled.annotate(f"svc{n}", str(n)))
    headless = await seen.cost(HEADLESS_CHANGES, lambda n: filled.change(HEADLESS, LARGE, 1 + n))
    for number in range(LIVES):
        await filled.create_slice(LARGE + 1 + number, 1)
    made, gone = await _lives(filled, seen)
    filled.world.stop_controller()
    await (await filled.world.start_controller("--dns=false")).until_passed()
    nameless = await _lives(filled, seen)
    nothing = Anchor(name="a change of an annotation that it does not read, ms", value=idle * 1000)
    kinds = {
        "an endpoint changes": (endpoint, None, CHANGES, 1),
        "an endpoint of a headless Service changes": (headless, None, HEADLESS_CHANGES, 1),
        "a Service with endpoints comes": (made, nameless[0], LIVES, None),
        "a Service with endpoints goes": (gone, nameless[1], LIVES, None),
    }
    return [
        figure
        for what, (cost, without, count, rows) in kinds.items()
        for figure in _figures(f"{what}, {LARGE} Services", cost, without, count, nothing, rows)
    ]


async def _lives(filled: ServiceWorld, seen: _Seen) -> tuple[_Cost, _Cost]:
    """Create and delete Services that have slices already; returns the costs of both."""
    path, listed = SERVICES.path(NAMESPACE), [f"svc{LARGE + 1 + number}" for number in range(LIVES)]
    made = await seen.cost(LIVES, lambda n: filled.client.request("POST", path, body=service_body(listed[n], 1)))
    gone = await seen.cost(LIVES, lambda n: filled.client.request("DELETE", f"{path}/{listed[n]}"))
    return made, gone


def _figures(
    what: str, cost: _Cost, without: _Cost | None, count: int, nothing: Anchor, rows: int | None
) -> list[Figure]:
    """The figures of a cost. `without`: the cost of the same changes when the fabric does not answer for names."""
    touched = sum(cost.rows.values())
    say(f"{what}: {cost.controller * 1000:.1f} ms of CPU; {cost.note()}")
    return [
        Figure(
            name=f"{what}: the controller's CPU",
            value=cost.controller * 1000,
            unit="ms",
            n=count,
            anchor=nothing,
            ask=Ask(relation="<", value=20),
            note=cost.note(),
        ),
        Figure(
            name=f"{what}: Northbound rows",
            value=touched,
            unit="rows",
            n=count,
            anchor=Anchor(name="Services, each with a row", value=LARGE),
            ask=None if rows is None else Ask(relation="==", value=rows),
        ),
        Figure(
            name=f"{what}: Northbound to Southbound database",
            value=median(cost.flows) * 1000,
            unit="ms",
            n=count,
            anchor=(
                Anchor(name="request to Northbound database, ms", value=median(cost.told) * 1000)
                if without is None
                else Anchor(name="the same without names (--dns=false), ms", value=median(without.flows) * 1000)
            ),
            note=f"at most {max(cost.flows) * 1000:.0f} ms" + ("" if without is None else f"; {without.note()}"),
        ),
    ]
