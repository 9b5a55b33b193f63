"""The output of a running program for its operators: JSON logs, metrics, health.

Metrics are declared beside the code that they measure, and served here. A program's `main` hands over the checks that
decide whether the program is alive and ready; this module only asks them.
"""

import asyncio
import errno
import logging
import math
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from kube_ovn.model.addr import Address
from kube_ovn.serving import EACH, TOTAL, HttpServer, listen
from kube_ovn.shares import Shares

PORT_DEADLINE = 30.0
"""Seconds, as long as the kubelet waits for a process to end."""
PORT_PERIOD = 0.1
"""Seconds between attempts to bind a port; the kernel does not tell when it becomes free."""
PAGE_PERIOD = 0.1
"""Seconds from one page of metrics to the next. Clients that ask meanwhile get the next one together."""
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


def parse_metrics_address(text: str) -> str:
    """Check the address of a server; an empty text stands for all addresses. Raises ValueError."""
    return str(ip_address(text)) if text else ""


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
    address: str = "",
) -> AsyncIterator[int]:
    """Serve /livez, /readyz and /metrics at one address of the node while in the context, at all if `address` is empty;
    yields the port (0 = any free).

    The port is the node's: when a Pod is deleted by force, its process has the port for some seconds more. Raises
    OSError when the port is not free within PORT_DEADLINE. `refresh` updates metrics that are looked at only when a
    client asks for them.

    The checks of `live` are for what only a new process can mend. While the API server or a database is away, they must
    say that all is well.
    """
    app = web.Application()
    app.router.add_get("/livez", _answer(live))
    app.router.add_get("/readyz", _answer(ready))
    app.router.add_get("/metrics", _Metrics(refresh).answer)
    listener = await _listen(ip_address(address) if address else None, port)
    server = HttpServer(app, listener, Shares(TOTAL, EACH))
    try:
        await server.start()
        yield listener.getsockname()[1]
    finally:
        await server.close()


async def _listen(address: Address | None, port: int) -> socket.socket:
    """Listen as soon as no other process has the port. Raises OSError after PORT_DEADLINE."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PORT_DEADLINE
    while True:
        try:
            return listen(address, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or loop.time() > end:
                raise
        await asyncio.sleep(PORT_PERIOD)


def _answer(checks: Mapping[str, Check]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.Response:
        complaints = [f"{name}: {complaint}" for name, check in checks.items() if (complaint := check()) is not None]
        return web.Response(status=503 if complaints else 200, text="\n".join(complaints or ["ok"]) + "\n")

    return answer


class _Metrics:
    """The page of metrics. It is never older than the request; requests that come together share one."""

    def __init__(self, refresh: Callable[[], Awaitable[None]] | None) -> None:
        self._refresh = refresh
        self._making = asyncio.Lock()
        self._tried = -math.inf  # loop time at which a page was last begun, also one that was given up
        self._begun, self._page = -math.inf, b""  # loop time at which the page was begun

    async def answer(self, request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with self._making:
            if self._begun < asked:
                await asyncio.sleep(self._tried + PAGE_PERIOD - loop.time())
                begun = self._tried = loop.time()
                if self._refresh is not None:
                    await self._refresh()
                self._page, self._begun = generate_latest(), begun
        return web.Response(body=self._page, headers={"Content-Type": CONTENT_TYPE_LATEST})
