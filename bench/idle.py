"""The figures of a quiet node: the cost of its parts when nothing happens, and the time the plugin takes to start."""

import asyncio
import os

from bench.figure import Anchor, Ask, Figure, median
from bench.processes import bare_python_rss, cpu_seconds, find_by_program, rss, run_time
from kube_ovn.model import names
from sandbox.paths import STATE
from sandbox.progress import say
from tests.cluster.lab import node_exec

WINDOW, WINDOWS = 20.0, 3
NODE, QUIET = "node1", 60
MONITORS = ("ip monitor link address route rule", "nft monitor")
RUNS = 50
IDLE = 0.5
PLUGIN = STATE / "nodes" / "node1" / "upper" / "opt" / "cni" / "bin" / "kube-ovn"
"""The plugin as the chart installed it on the first node."""


async def measure_idle() -> list[Figure]:
    """The cost of the parts on a node when nothing happens: on the node where it is greater."""
    pids = find_by_program(f"/usr/local/bin/{names.CNISERVER}")
    if not pids:
        raise RuntimeError(f"no {names.CNISERVER} runs on this machine's sandbox")
    costs: list[float] = []
    for _ in range(WINDOWS):
        before = {pid: cpu_seconds(pid) for pid in pids}
        await asyncio.sleep(WINDOW)
        costs.append(max(cpu_seconds(pid) - before[pid] for pid in pids) / WINDOW * 100)
    sizes = [rss(pid) for pid in pids]
    say(f"idle daemons: {[round(cost, 2) for cost in costs]} %, {[round(size) for size in sizes]} MB")
    return [
        Figure(
            name="idle daemon, processor time",
            value=median(costs),
            unit="% of a core",
            n=len(costs),
            anchor=Anchor(name="one tick of the clock that counts it, % of a core", value=_tick()),
            ask=Ask(relation="<", value=IDLE),
            note=f"median of {len(costs)} windows of {WINDOW:g} s, the busier of {len(pids)} daemons in each",
        ),
        Figure(
            name="idle daemon, RSS",
            value=max(sizes),
            unit="MB",
            n=len(sizes),
            anchor=Anchor(name="bare Python interpreter, MB", value=bare_python_rss()),
            ask=Ask(relation="<", value=60),
        ),
    ]


async def measure_quiet() -> list[Figure]:
    """The changes on a node that the kernel reports while nothing happens; and a proof that it reports a real one."""
    made = "ip address add 192.0.2.1/32 dev lo; nft add table inet bench"
    undone = "ip address delete 192.0.2.1/32 dev lo; nft delete table inet bench"
    proof = await asyncio.to_thread(_changes, 3, f"sleep 1; {made}; {undone}")
    for part in ("192.0.2.1", "add table inet bench"):
        if not any(part in line for line in proof):
            raise RuntimeError(f"the kernel's monitors do not tell of {part}: {proof}")
    found = await asyncio.to_thread(_changes, QUIET, "true")
    say(f"changes on an idle node: {found or 'none'}")
    return [
        Figure(
            name=f"idle node over {QUIET} s: changes of links, addresses, routes, rules and nftables",
            value=len(found),
            unit="changes",
            n=1,
            anchor=Anchor(name="told of an address and a table that come and go", value=len(proof)),
            ask=Ask(relation="==", value=0),
        )
    ]


def _changes(seconds: int, meanwhile: str) -> list[str]:
    """The changes that the kernel reports in this many seconds."""
    monitors = " & ".join(f"timeout {seconds} {monitor}" for monitor in MONITORS)
    return node_exec(NODE, "sh", "-c", f"{monitors} & {meanwhile}; wait", timeout=seconds + 20).splitlines()


async def measure_plugin() -> list[Figure]:
    environment = {"CNI_COMMAND": "VERSION"}
    plugin, floor = [], []
    for _ in range(RUNS):
        floor.append(run_time("/bin/true", environment))
        plugin.append(run_time(str(PLUGIN), environment))
    return [
        Figure(
            name="plugin, start to end of VERSION",
            value=median(plugin) * 1000,
            unit="ms",
            n=RUNS,
            anchor=Anchor(name="/bin/true, ms", value=median(floor) * 1000),
            ask=Ask(relation="<", value=3),
        )
    ]


def _tick() -> float:
    return 100 / os.sysconf("SC_CLK_TCK") / WINDOW
