"""One connection to one server: requests with deadlines, notifications to a handler, and a pulse.

This module handles JSON-RPC and sockets; the meaning of the messages does not matter here.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Self

from kube_ovn.ovsdb.errors import OvsdbError, SessionEndedError
from kube_ovn.ovsdb.protocol import Framer, format_message

CONNECT_DEADLINE = 3.0
PULSE = 5.0
"""Seconds between echoes. A server that does not answer an echo within as many seconds is gone, unless it is known to
be busy with a request that has a longer deadline.
"""

_LIMIT = 1 << 20

Notify = Callable[[str, list[Any]], None]


class Connection:
    """Made by `connect`; `run` reads until the connection ends, and always ends with OvsdbError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, notify: Notify) -> None:
        self._reader, self._writer, self._notify = reader, writer, notify
        self.closed = False
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._slow = 0  # requests under way that have a longer deadline than a pulse
        self._last_id = 0

    @classmethod
    async def connect(cls, endpoint: str, notify: Notify, tls: ssl.SSLContext | None) -> Self:
        """Connect to `tcp:IP:PORT`, `ssl:IP:PORT` (IPv6 in brackets) or `unix:PATH`. Raises OvsdbError."""
        scheme, _, rest = endpoint.partition(":")
        try:
            async with asyncio.timeout(CONNECT_DEADLINE):
                if scheme == "unix":
                    reader, writer = await asyncio.open_unix_connection(rest, limit=_LIMIT)
                elif scheme in ("tcp", "ssl"):
                    host, _, port = rest.rpartition(":")
                    context = tls if scheme == "ssl" else None
                    if scheme == "ssl" and context is None:
                        raise OvsdbError(f"{endpoint} wants certificates, and there are none")
                    reader, writer = await asyncio.open_connection(
                        host.strip("[]"), int(port), limit=_LIMIT, ssl=context, server_hostname="" if context else None
                    )
                else:
                    raise OvsdbError(f"{endpoint} is no endpoint like tcp:10.0.0.1:6641, ssl:... or unix:/path")
        except (OSError, ValueError) as error:
            raise OvsdbError(f"{endpoint} cannot be reached: {str(error) or type(error).__name__}") from error
        return cls(reader, writer, notify)

    async def run(self) -> None:
        """Read and keep the pulse until the connection ends; then all requests under way fail. Raises OvsdbError."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read())
                group.create_task(self._pulse())
        except* OvsdbError as errors:
            error = OvsdbError(str(errors.exceptions[0]))
            self.close(next((each for each in errors.exceptions if isinstance(each, SessionEndedError)), error))
            raise error from None

    async def request(self, method: str, params: list[Any], deadline: float) -> Any:
        """Send one request and return its result. `deadline` is in seconds. Raises OvsdbError."""
        self._last_id += 1
        number, slow = self._last_id, deadline > PULSE
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        self._slow += slow
        try:
            self._writer.write(format_message(id=number, method=method, params=params))
            async with asyncio.timeout(deadline):
                message = await reply
        except TimeoutError:
            late = OvsdbError(f"no answer to {method} within {deadline:g} s")
            if slow or not self._slow:  # else the server may be busy with the slow request
                self.close(late)  # a new session shows what became of the request
            raise late from None
        finally:
            self._replies.pop(number, None)
            self._slow -= slow
        if message.get("error") is not None:
            raise OvsdbError(f"{method}: {message['error']}")  # "canceled", "unknown database": no fault of its content
        return message["result"]

    def close(self, error: OvsdbError) -> None:
        """End the connection; requests under way fail with the same error."""
        self.closed = True
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(type(error)(str(error)))
        self._writer.transport.abort()

    async def _read(self) -> None:
        framer = Framer()
        while True:
            try:
                data = await self._reader.read(_LIMIT)
                messages = framer.feed(data)
            except (OSError, ValueError) as error:
                raise SessionEndedError(f"connection lost: {error}") from error
            if not data:
                raise SessionEndedError("connection closed by the server")
            for message in messages:
                self._handle(message)

    def _handle(self, message: dict[str, Any]) -> None:
        if message.get("method") is None:
            reply = self._replies.get(message["id"]) if isinstance(message["id"], int) else None
            if reply is not None and not reply.done():
                reply.set_result(message)
        elif message["method"] == "echo":
            self._writer.write(format_message(id=message["id"], result=message["params"], error=None))
        else:
            self._notify(message["method"], message["params"])

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(PULSE)
            try:
                await self.request("echo", [], PULSE)
            except OvsdbError:
                if self.closed or not self._slow:
                    raise
