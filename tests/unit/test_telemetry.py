"""Logs whose level changes while the program runs, health that asks its checks."""

import asyncio
import json
import subprocess
import sys

import aiohttp
import pytest

from kube_ovn import telemetry

PROGRAM = """
import logging, os, signal, structlog
from kube_ovn import telemetry
log = structlog.get_logger()
telemetry.start_logging("info")
log.debug("hidden"); log.info("shown", pod="n/a")
os.kill(os.getpid(), signal.SIGUSR1)
log.debug("shown after SIGUSR1")
os.kill(os.getpid(), signal.SIGUSR2); os.kill(os.getpid(), signal.SIGUSR2)
log.info("hidden again"); log.warning("a warning")
logging.getLogger("library").warning("of a %s", "library")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken")
"""


def test_logs_are_json_and_the_level_follows_signals() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["shown", "shown after SIGUSR1", "a warning", "of a library", "broken"]
    assert lines[0]["pod"] == "n/a"
    assert lines[0]["level"] == "info"
    assert "timestamp" in lines[3]
    assert "ZeroDivisionError" in lines[4]["exception"]


def test_an_unknown_level_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="'loud' is none of debug, info, warning, error"):
        telemetry.parse_level("loud")


async def test_a_port_is_waited_for_as_long_as_a_process_may_take_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with telemetry.serve_health(0, {}, {}) as port:
        monkeypatch.setattr(telemetry, "PORT_DEADLINE", 0.0)
        with pytest.raises(OSError, match="in use"):
            async with telemetry.serve_health(port, {}, {}):
                pass
        monkeypatch.undo()
        successor = telemetry.serve_health(port, {}, {})
        waiting = asyncio.create_task(successor.__aenter__())
        await asyncio.sleep(3 * telemetry.PORT_PERIOD)
        assert not waiting.done()
    assert await waiting == port
    await successor.__aexit__(None, None, None)


async def test_health() -> None:
    complaints: dict[str, str | None] = {"nb": None}
    live = {"loop": lambda: None}
    ready = {"northbound": lambda: complaints["nb"]}
    async with telemetry.serve_health(0, live, ready) as port, aiohttp.ClientSession() as session:

        async def get(path: str) -> tuple[int, str]:
            async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                return response.status, await response.text()

        assert await get("/readyz") == (200, "ok\n")
        complaints["nb"] = "not connected"
        assert await get("/readyz") == (503, "northbound: not connected\n")
        assert await get("/livez") == (200, "ok\n")
        status, metrics = await get("/metrics")
        assert status == 200
        assert "process_resident_memory_bytes" in metrics
