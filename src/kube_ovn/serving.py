"""HTTP servers and listening sockets for clients that are not trusted: each connection is counted, carries one request
of bounded size, and ends at a deadline, whatever its client does.
"""

import asyncio
import contextlib
import resource
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Middleware

from kube_ovn.model.addr import Address
from kube_ovn.shares import Place, Shares

FIRST = 10.0
"""Seconds until the head of the request is there."""
ANSWER = 30.0
"""Seconds from then on until the client has the whole answer."""
LARGEST = 16384
"""Bytes of a request, head included."""
BACKLOG = 128
"""Connections that the kernel keeps until they are accepted. These are accepted at once: far fewer than the places, so
that a client which sends its request at once is heard before a flood of others takes its place.
"""
TOTAL, EACH = 1024, 512
"""Connections of all clients, and of one."""
_FREEBIND = {socket.AF_INET: (socket.IPPROTO_IP, 15), socket.AF_INET6: (socket.IPPROTO_IPV6, 78)}
"""Socket options IP_FREEBIND and IPV6_FREEBIND (ip(7)): a server may listen at an address that the node does not have
yet, or loses.
"""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def raise_descriptors() -> None:
    """Let this process have as many descriptors as its hard limit says. The soft limit is 1024 in many places."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def bind(address: Address, port: int, kind: socket.SocketKind) -> socket.socket:
    """A socket that does not block, at one address that need not be there yet. Raises OSError."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(*_FREEBIND[family], 1)
        made.bind((str(address), port))
    except OSError:
        made.close()
        raise
    return made


def listen(address: Address | None, port: int) -> socket.socket:
    """A listening socket at one address, or at all addresses of the node. Raises OSError."""
    if address is None:
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        dualstack = family == socket.AF_INET6
        return socket.create_server(("", port), family=family, backlog=BACKLOG, dualstack_ipv6=dualstack)
    made = bind(address, port, socket.SOCK_STREAM)
    try:
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


class HttpServer:
    """Serves an application on a listening socket. Several servers may share the places for connections."""

    def __init__(
        self,
        app: web.Application,
        listener: socket.socket,
        shares: Shares,
        *,
        answer: float = ANSWER,
        largest: int = LARGEST,
        backlog: int = BACKLOG,
    ) -> None:
        app.middlewares.append(self._marking())
        # What is done for a client that goes away is given up.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0, lingering_time=0.0
        )
        self._listener, self._backlog = listener, backlog
        self.shares, self.answer, self.largest = shares, answer, largest
        self.connections: dict[asyncio.BaseProtocol, _Connection] = {}
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, sock=self._listener, backlog=self._backlog)

    async def close(self) -> None:
        """Accept no more connections, and end those there are, after a second for requests under way."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

    def _connect(self) -> "_Connection":
        assert self._runner.server is not None
        return _Connection(self, self._runner.server())

    def _marking(self) -> Middleware:
        @web.middleware
        async def mark(request: web.Request, handler: _Handler) -> web.StreamResponse:
            connection = self.connections.get(request.protocol)
            if connection is not None:
                connection.asked()
            try:
                answer = await handler(request)
            except web.HTTPException as refusal:
                refusal.force_close()
                raise
            answer.force_close()
            return answer

        return mark


class _Connection(asyncio.Protocol):
    """A connection in front of aiohttp's own protocol, which knows no bounds."""

    def __init__(self, server: HttpServer, inner: web.RequestHandler) -> None:
        self._server, self._inner = server, inner
        self._place: Place | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # that of uvloop is not derived from it
        peer = transport.get_extra_info("peername")
        self._place = self._server.shares.take(peer[0] if peer else "", self._abort, spare=True)
        if self._place is None:
            self._abort()
            return
        self._end_in(FIRST)
        self._server.connections[self._inner] = self
        self._inner.connection_made(transport)

    def asked(self) -> None:
        """The head of the request is there."""
        if self._place is not None:
            self._place.spare = False
            self._end_in(self._server.answer)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self._server.largest:
            self._abort()
        elif self._place is not None:
            self._inner.data_received(data)

    def eof_received(self) -> None:
        if self._place is not None:
            self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._place is not None:
            self._server.shares.leave(self._place)
            self._server.connections.pop(self._inner, None)
            self._inner.connection_lost(exc)
            self._place = None

    def _end_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._abort)

    def _abort(self) -> None:
        """End the connection at once. The kernel forgets what a client has not read; else it would offer that on."""
        assert self._transport is not None
        with contextlib.suppress(OSError):  # closed already
            kernels = self._transport.get_extra_info("socket")
            kernels.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
