"""The output of a running program for its operators: JSON logs, metrics, health.

Metrics are declared beside the code that they measure, and served here. A program's `main` hands over the checks that
decide whether the program is alive and ready; this module only asks them.
"""

import asyncio
import errno
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

PORT_DEADLINE = 30.0
"""Seconds, as long as the kubelet waits for a process to end."""
PORT_PERIOD = 0.1
"""Seconds between attempts to bind a port; the kernel does not tell when it becomes free."""
LEVELS = ("debug", "info", "warning", "error")

Check = Callable[[], str | None]
"""A check of the program's health: None when all is well, else a sentence that names what is wrong."""

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def start_logging(level: str) -> None:
    """Log one JSON object a line on standard error, for messages of the program and of libraries.

    SIGUSR1 makes the program log one level more, SIGUSR2 one level less.
    """
    handler = logging.StreamHandler(sys.stderr)
    renderer = structlog.processors.JSONRenderer()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], force=True)
    structlog.configure(
        processors=[*_SHARED, renderer],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,  # or a change of the level would not reach loggers in use
    )
    set_log_level(level)
    signal.signal(signal.SIGUSR1, lambda *_: _shift(-1))
    signal.signal(signal.SIGUSR2, lambda *_: _shift(+1))


def set_log_level(level: str) -> None:
    """Log messages of this level (one of LEVELS) and above from now on."""
    number = getattr(logging, level.upper())
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    logging.getLogger().setLevel(number)


def parse_level(text: str) -> str:
    """Parse the name of a level. Raises ValueError when there is no such level."""
    if text not in LEVELS:
        raise ValueError(f"{text!r} is none of {', '.join(LEVELS)}")
    return text


def log_level() -> str:
    """The name of the present level."""
    return logging.getLevelName(logging.getLogger().level).lower()


def _shift(steps: int) -> None:
    # Logs nothing: the signal may have come in the middle of writing a line.
    set_log_level(LEVELS[min(max(LEVELS.index(log_level()) + steps, 0), len(LEVELS) - 1)])


@asynccontextmanager
async def serve_health(
    port: int,
    live: Mapping[str, Check],
    ready: Mapping[str, Check],
    refresh: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[int]:
    """Serve /livez, /readyz and /metrics on all addresses while in the context; yields the port (0 = any free).

    The port is the node's: when a Pod is deleted by force, its process has the port for some seconds more. Raises
    OSError when the port is not free within PORT_DEADLINE. `refresh` updates metrics that are looked at only when a
    client asks for them.
    """
    app = web.Application()
    app.router.add_get("/livez", _answer(live))
    app.router.add_get("/readyz", _answer(ready))
    app.router.add_get("/metrics", _metrics(refresh))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    listener = await _listen(port)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield listener.getsockname()[1]
    finally:
        await runner.cleanup()


async def _listen(port: int) -> socket.socket:
    """Bind a port as soon as no other process has it. Raises OSError after PORT_DEADLINE."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    loop = asyncio.get_running_loop()
    end = loop.time() + PORT_DEADLINE
    while True:
        try:
            return socket.create_server(("", port), family=family, dualstack_ipv6=family == socket.AF_INET6)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or loop.time() > end:
                raise
        await asyncio.sleep(PORT_PERIOD)


def _answer(checks: Mapping[str, Check]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.Response:
        complaints = [f"{name}: {complaint}" for name, check in checks.items() if (complaint := check()) is not None]
        return web.Response(status=503 if complaints else 200, text="\n".join(complaints or ["ok"]) + "\n")

    return answer


def _metrics(refresh: Callable[[], Awaitable[None]] | None) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.Response:
        if refresh is not None:
            await refresh()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return answer
