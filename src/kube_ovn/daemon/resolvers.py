"""The node's own resolvers, as resolv.conf(5) names them: they are asked in turn, those that were silent last."""

import asyncio
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dns.exception
import dns.message
import structlog

from kube_ovn.host.resolv_conf import parse_resolvers, to_address
from kube_ovn.model import names
from kube_ovn.model.addr import Network, is_within

log = structlog.get_logger()

REMEMBERED = 5.0
"""Seconds for which the node's list of resolvers is remembered."""
PATIENCE = 2.0
"""Seconds in which a resolver of the node has to answer."""
SHUNNED = 10.0
"""Seconds for which a resolver that did not answer is asked after all others. Then one question tries it."""


class Resolvers:
    """Asks the resolvers."""

    def __init__(self, resolv_conf: str, never: Callable[[], Sequence[Network]], clock: Callable[[], float]) -> None:
        """`never` returns the networks in which no resolver is asked. `clock` returns seconds and never goes back."""
        self._resolv_conf, self._never, self._clock = resolv_conf, never, clock
        self._read = (-math.inf, list[str]())  # when the list was read, and the list
        self._shunned: dict[str, float] = {}  # resolvers that did not answer, and until when each is asked last

    async def ask(self, query: dns.message.Message, *, stream: bool) -> dns.message.Message | None:
        """The answer of the first resolver that gives one; None when none does."""
        # Only its number and port tell an answer from a forged one, so every question has a number and port of its own.
        number = secrets.randbelow(1 << 16)
        wire = number.to_bytes(2) + query.to_wire()[2:]
        for resolver in self._in_order():
            if resolver in self._shunned:
                self._shun(resolver)  # until it answers; other questions do not wait for it meanwhile
            try:
                async with asyncio.timeout(PATIENCE):
                    said = await (_ask_stream if stream else _ask_datagram)(resolver, wire)
                reply = dns.message.from_wire(said)
            except (OSError, asyncio.IncompleteReadError, dns.exception.DNSException) as error:
                log.info("a resolver of this node does not answer", resolver=resolver, error=repr(error))
                self._shun(resolver)
                continue
            if reply.id == number and reply.question == query.question:
                self._shunned.pop(resolver, None)
                reply.id = query.id
                return reply
        return None

    def _shun(self, resolver: str) -> None:
        self._shunned[resolver] = self._clock() + SHUNNED

    def _in_order(self) -> list[str]:
        now = self._clock()
        if now - self._read[0] > REMEMBERED:
            self._read = (now, list(self._read_list()))
            self._shunned = {each: until for each, until in self._shunned.items() if each in self._read[1]}
        return sorted(self._read[1], key=lambda resolver: self._shunned.get(resolver, now) > now)

    def _read_list(self) -> Iterator[str]:
        try:
            text = Path(self._resolv_conf).read_text(errors="replace")
        except OSError:
            return
        for resolver in parse_resolvers(text):
            address = to_address(resolver)
            if address is not None and not is_within(address, self._never()):
                yield resolver


async def _ask_stream(resolver: str, wire: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(resolver, names.DNS_PORT)
    try:
        writer.write(len(wire).to_bytes(2) + wire)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    finally:
        writer.close()


async def _ask_datagram(resolver: str, wire: bytes) -> bytes:
    """The first answer that has the number of the question."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Answer(wire[:2], found), remote_addr=(resolver, names.DNS_PORT)
    )
    try:
        transport.sendto(wire)
        return await found
    finally:
        transport.close()


class _Answer(asyncio.DatagramProtocol):
    def __init__(self, number: bytes, found: "asyncio.Future[bytes]") -> None:
        self._number, self._found = number, found

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[:2] == self._number and not self._found.done():
            self._found.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._found.done():
            self._found.set_exception(exc)
