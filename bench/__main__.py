"""`python -m bench`: measure everything and print one JSON document; progress goes to standard error."""

import argparse
import asyncio
import json
import signal
import sys

from bench.cluster import measure_cluster
from bench.controller import measure_controller
from bench.decide import measure_decisions
from bench.faults import measure_faults
from bench.figure import Figure
from bench.gateways import measure_gateways
from bench.policies import measure_policies
from bench.services import measure_services
from bench.subnets import measure_subnets
from sandbox.progress import say

PARTS = ["decisions", "controller", "faults", "subnets", "gateways", "services", "policies", "cluster"]


async def _measure(parts: list[str]) -> tuple[list[Figure], list[str]]:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # so that what was made is removed
    figures: list[Figure] = []
    missing: list[str] = []
    if "decisions" in parts:
        figures += measure_decisions()
    if "controller" in parts:
        figures += await measure_controller()
    if "faults" in parts:
        figures += await measure_faults()
    if "subnets" in parts:
        figures += await measure_subnets()
    if "gateways" in parts:
        figures += measure_gateways()
    if "services" in parts:
        figures += await measure_services()
    if "policies" in parts:
        figures += await measure_policies()
    if "cluster" in parts:
        found, missing = await measure_cluster()
        figures += found
    return figures, missing


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; all when none is named")
    parts = parser.parse_args().parts or PARTS
    figures, missing = asyncio.run(_measure(parts))
    for figure in figures:
        say(figure.line())
    json.dump({"figures": [figure.document() for figure in figures], "missing": missing}, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
