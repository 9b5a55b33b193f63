"""The node's DNS server, for clusters without one. Questions for the cluster's names are answered by `host.dns`, all
others by the node's own resolvers.

It listens at the node's own addresses in the fabric and answers only Pods and nodes of the fabric. OVN sends it what
these ask at the address of the cluster's DNS server, as long as no such server is ready (`topology.services`).
"""

import asyncio
import contextlib
import math
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import structlog

from kube_ovn.host.dns import Directory, make_reply, refusal
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, format_list, is_within
from kube_ovn.reconcile import Backoff
from kube_ovn.serving import bind

log = structlog.get_logger()

WORKERS = 32
"""Questions that are answered at a time."""
QUEUE = 512
"""Datagrams that wait. Further ones are dropped, as by a full socket."""
DATAGRAM = 1232
"""The most bytes of an answer, even if a client takes more: a larger datagram may be fragmented (DNS flag day 2020)."""
PLAIN = 512
"""Bytes that a client takes if it states no size (RFC 1035, 4.2.1)."""
OUTSIDE, OUTSIDE_EACH = 24, 8
"""Questions that wait for the node's resolvers: of all clients, and of one. Further ones are refused (SERVFAIL). They
are fewer than the workers, so that questions for the cluster's own names never wait for resolvers.
"""
CONNECTIONS, CONNECTIONS_EACH = 64, 8
"""Connections at a time: of all clients, and of one. Further ones are closed."""
IDLE = 10.0
"""Seconds for which a connection may be silent (RFC 7766, 6.2.3)."""
CHAIN = 8
"""The most CNAMEs of one answer that are followed."""
REMEMBERED = 5.0
"""Seconds for which the node's list of resolvers is remembered."""
PATIENCE = 2.0
"""Seconds in which a resolver of the node has to answer."""

_Datagram = tuple[bytes, tuple[str, int], asyncio.DatagramTransport]


class Responder:
    """Answers questions on UDP and TCP."""

    def __init__(
        self,
        directory: Directory,
        addresses: Callable[[], Sequence[Address]],
        is_inside: Callable[[str], bool],
        never: Sequence[Network],
        addresses_changed: asyncio.Event,
        *,
        resolv_conf: str = "/etc/resolv.conf",
        port: int = names.DNS_PORT,
    ) -> None:
        """`addresses`: the addresses to listen at; `addresses_changed` is set when they may have changed. `is_inside`:
        whether the address of a client is in the fabric. `never`: the networks in which no resolver is asked, because
        the question would come back here. `resolv_conf`: the file that names the node's resolvers.
        """
        self._directory, self._addresses, self._is_inside = directory, addresses, is_inside
        self._never, self._addresses_changed = never, addresses_changed
        self._resolv_conf, self._port = resolv_conf, port
        self._queue: asyncio.Queue[_Datagram] = asyncio.Queue(QUEUE)
        self._connections: Counter[str] = Counter()
        self._outside: Counter[str] = Counter()
        self._read = (-math.inf, list[str]())  # loop time, and the resolvers

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())
            await self._listen()

    async def _listen(self) -> None:
        backoff = Backoff(ceiling=5.0)
        while True:
            self._addresses_changed.clear()
            addresses = tuple(self._addresses())
            async with contextlib.AsyncExitStack() as stack:
                try:
                    for address in addresses:
                        await self._open(address, stack)
                except OSError as error:
                    log.warning("no DNS server here, trying again", addresses=format_list(addresses), error=str(error))
                    await backoff.wait()
                    continue
                backoff.reset()
                while tuple(self._addresses()) == addresses:
                    await self._addresses_changed.wait()
                    self._addresses_changed.clear()

    async def _open(self, address: Address, stack: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._queue, self._is_inside), sock=bind(address, self._port, socket.SOCK_DGRAM)
        )
        stack.callback(transport.close)
        server = await asyncio.start_server(self._connected, sock=bind(address, self._port, socket.SOCK_STREAM))
        stack.callback(server.close)

    async def _work(self) -> None:
        while True:
            wire, client, transport = await self._queue.get()
            answer = await self.answer(wire, client[0], stream=False)
            if answer is not None and not transport.is_closing():
                transport.sendto(answer, client)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the questions of one connection in turn. Each follows its length (RFC 1035, 4.2.2)."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError), contextlib.closing(writer):
            client = (writer.get_extra_info("peername") or ("",))[0]
            if not client or not self._is_inside(client):
                return
            if self._connections.total() >= CONNECTIONS or self._connections[client] >= CONNECTIONS_EACH:
                return
            with _counted(self._connections, client):
                while True:
                    async with asyncio.timeout(IDLE):
                        length = int.from_bytes(await reader.readexactly(2))
                        wire = await reader.readexactly(length)
                    answer = await self.answer(wire, client, stream=True)
                    if answer is None:
                        return
                    writer.write(len(answer).to_bytes(2) + answer)
                    async with asyncio.timeout(IDLE):
                        await writer.drain()
                    await asyncio.sleep(0)  # else questions that are there already leave other tasks no time

    async def answer(self, wire: bytes, client: str, *, stream: bool) -> bytes | None:
        """The reply on the wire; None for a message that is no question."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return refusal(wire, dns.rcode.FORMERR)
        if query.flags & dns.flags.QR:
            return None
        try:
            answer = await self._answer(query, client, stream=stream)
        except dns.exception.DNSException as error:  # the API server takes names of Services that DNS does not
            log.info("a question cannot be answered", question=str(query.question), error=repr(error))
            answer = None
        return answer or make_reply(query, dns.rcode.SERVFAIL).to_wire()

    async def _answer(self, query: dns.message.Message, client: str, *, stream: bool) -> bytes | None:
        """The reply on the wire; None when there is none."""
        reply = self._directory.answer(query)
        if reply is None:
            reply = await self._forward(query, client, stream=stream)
        else:
            await self._follow(query, reply, client)
        if reply is None:
            return None
        if stream:
            return reply.to_wire(max_size=65535, prefer_truncation=True)
        room = min(DATAGRAM, max(PLAIN, query.payload if query.edns >= 0 else PLAIN))
        return reply.to_wire(max_size=room, prefer_truncation=True)

    async def _follow(self, query: dns.message.Message, reply: dns.message.Message, client: str) -> None:
        """Add the answer for the target of a CNAME, if there is one (RFC 6604)."""
        kind = query.question[0].rdtype if query.question else dns.rdatatype.CNAME
        for _ in range(CHAIN):
            if kind == dns.rdatatype.CNAME or not reply.answer or reply.answer[-1].rdtype != dns.rdatatype.CNAME:
                return
            target = dns.message.make_query(reply.answer[-1][0].target, kind)
            found = self._directory.answer(target) or await self._forward(target, client, stream=False)
            if found is None:
                return
            reply.answer += found.answer
            reply.set_rcode(found.rcode())
            if not found.answer:
                return

    async def _forward(self, query: dns.message.Message, client: str, *, stream: bool) -> dns.message.Message | None:
        """The answer of the node's own resolvers; None when none answers, or too many questions wait for them."""
        if self._outside.total() >= OUTSIDE or self._outside[client] >= OUTSIDE_EACH:
            return None
        with _counted(self._outside, client):
            return await self._ask_each(query, stream=stream)

    async def _ask_each(self, query: dns.message.Message, *, stream: bool) -> dns.message.Message | None:
        # Only its number and port tell an answer from a forged one, so every question has a number and port of its own.
        number = secrets.randbelow(1 << 16)
        wire = number.to_bytes(2) + query.to_wire()[2:]
        for resolver in self._resolvers():
            try:
                async with asyncio.timeout(PATIENCE):
                    said = await (_ask_stream if stream else _ask_datagram)(resolver, wire)
                reply = dns.message.from_wire(said)
            except (OSError, asyncio.IncompleteReadError, dns.exception.DNSException) as error:
                log.info("a resolver of this node does not answer", resolver=resolver, error=repr(error))
                continue
            if reply.id == number and reply.question == query.question:
                reply.id = query.id
                return reply
        return None

    def _resolvers(self) -> list[str]:
        """The addresses of the node's resolvers (resolv.conf(5)), read at most REMEMBERED seconds ago."""
        now = asyncio.get_running_loop().time()
        if now - self._read[0] > REMEMBERED:
            self._read = (now, list(self._read_resolvers()))
        return self._read[1]

    def _read_resolvers(self) -> Iterator[str]:
        try:
            words = [line.split() for line in Path(self._resolv_conf).read_text().splitlines()]
        except OSError:
            return
        for text in (line[1] for line in words if len(line) > 1 and line[0] == "nameserver"):
            with contextlib.suppress(ValueError):
                if not is_within(ip_address(text.partition("%")[0]), self._never):
                    yield text


@contextlib.contextmanager
def _counted(counter: "Counter[str]", client: str) -> Iterator[None]:
    counter[client] += 1
    try:
        yield
    finally:
        counter[client] -= 1
        if not counter[client]:
            del counter[client]


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


class _Datagrams(asyncio.DatagramProtocol):
    """Takes questions of clients in the fabric, as long as the queue has room."""

    def __init__(self, queue: "asyncio.Queue[_Datagram]", is_inside: Callable[[str], bool]) -> None:
        self._queue, self._is_inside = queue, is_inside
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own transport is not derived from it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and self._is_inside(addr[0]):
            with contextlib.suppress(asyncio.QueueFull):
                self._queue.put_nowait((data, addr, self._transport))
