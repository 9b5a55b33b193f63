"""The node's DNS server, for clusters without one. Questions for the cluster's names are answered by `host.dns`, all
others by the node's own resolvers.

It listens at the node's own addresses in the fabric and answers only Pods and nodes of the fabric. OVN sends it what
these ask at the address of the cluster's DNS server, as long as no such server is ready (`topology.services`).
"""

import asyncio
import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import structlog

from kube_ovn.daemon.answers import Answers
from kube_ovn.daemon.resolvers import Resolvers
from kube_ovn.host.dns import Directory, is_question, make_reply, refusal
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, format_list
from kube_ovn.reconcile import Backoff
from kube_ovn.serving import bind
from kube_ovn.shares import Shares

log = structlog.get_logger()

WORKERS = 32
"""Questions that are answered at a time."""
QUEUE, QUEUE_EACH = 512, 128
"""Datagrams that wait: of all clients, and of one. Further ones are dropped, as by a full socket."""
DATAGRAM = 1232
"""The most bytes of an answer, even if a client takes more: a larger datagram may be fragmented (DNS flag day 2020)."""
PLAIN = 512
"""Bytes that a client takes if it states no size (RFC 1035, 4.2.1)."""
OUTSIDE, OUTSIDE_EACH = 24, 6
"""Questions that wait for the node's resolvers: of all clients, and of one. Further ones are refused (SERVFAIL), and so
is the oldest of the client with the most, when a client with fewer asks. They are fewer than the workers, so that
questions for the cluster's own names never wait for resolvers.
"""
CONNECTIONS, CONNECTIONS_EACH = 64, 8
"""Connections at a time: of all clients, and of one. Silent ones give way to new ones."""
IDLE = 10.0
"""Seconds for which a connection may be silent (RFC 7766, 6.2.3)."""
CHAIN = 8
"""The most CNAMEs of one answer that are followed."""

_Datagram = tuple[bytes, tuple[str, int], asyncio.DatagramTransport]


class Responder:
    """Answers questions on UDP and TCP."""

    def __init__(
        self,
        directory: Directory,
        addresses: Callable[[], Sequence[Address]],
        is_inside: Callable[[str], bool],
        never: Callable[[], Sequence[Network]],
        addresses_changed: asyncio.Event,
        *,
        resolv_conf: str = "/etc/resolv.conf",
        port: int = names.DNS_PORT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`addresses`: the addresses to listen at; `addresses_changed` is set when they may have changed. `is_inside`:
        whether the address of a client is in the fabric. `never` returns the networks in which no resolver is asked,
        because the question would come back here. `resolv_conf`: the file that names the node's resolvers. `clock`
        returns seconds and never goes back.
        """
        self._directory, self._addresses, self._is_inside = directory, addresses, is_inside
        self._addresses_changed, self._port = addresses_changed, port
        self._resolvers, self._answers = Resolvers(resolv_conf, never, clock), Answers(clock)
        self._queue = Queue()
        self._connections = Shares(CONNECTIONS, CONNECTIONS_EACH)
        self._outside = Shares(OUTSIDE, OUTSIDE_EACH)

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
            place = self._connections.take(client, writer.transport.abort, spare=True)
            if place is None:
                return
            try:
                while True:
                    async with asyncio.timeout(IDLE):
                        length = int.from_bytes(await reader.readexactly(2))
                        wire = await reader.readexactly(length)
                    place.spare = False
                    answer = await self.answer(wire, client, stream=True)
                    if answer is None:
                        return
                    writer.write(len(answer).to_bytes(2) + answer)
                    async with asyncio.timeout(IDLE):
                        await writer.drain()
                    place.spare = True
                    await asyncio.sleep(0)  # else questions that are there already leave other tasks no time
            finally:
                self._connections.leave(place)

    async def answer(self, wire: bytes, client: str, *, stream: bool) -> bytes | None:
        """The reply on the wire; None for a message that is no question."""
        try:
            query = dns.message.from_wire(wire) if is_question(wire) else None
        except dns.exception.DNSException:
            query = None
        if query is None or query.flags & dns.flags.QR:
            return refusal(wire, dns.rcode.FORMERR)
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
        known = self._answers.get(query)
        if known is not None:
            return known
        waiting, loop = asyncio.timeout(None), asyncio.get_running_loop()
        place = self._outside.take(client, lambda: waiting.reschedule(loop.time()))
        if place is None:
            return None
        try:
            async with waiting:
                reply = await self._resolvers.ask(query, stream=stream)
        except TimeoutError:  # another client has the place now
            return None
        finally:
            self._outside.leave(place)
        if reply is not None:
            self._answers.put(query, reply)
        return reply


class Queue:
    """Datagrams that wait. Clients are served in turn, one datagram each."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[_Datagram]] = {}  # by client, the one to be served next first
        self._size = 0
        self._there = asyncio.Event()

    def put(self, datagram: _Datagram) -> None:
        """Add a datagram if its client has room. Where there is none at all, the client with the most loses its last,
        if it has more than this one.
        """
        own = self._waiting.get(datagram[1][0], ())
        if len(own) >= QUEUE_EACH:
            return
        if self._size >= QUEUE:
            most = max(self._waiting.values(), key=len)
            if len(most) <= len(own) + 1:
                return
            most.pop()
            self._size -= 1
        self._waiting.setdefault(datagram[1][0], deque()).append(datagram)
        self._size += 1
        self._there.set()

    async def get(self) -> _Datagram:
        while not self._waiting:
            self._there.clear()
            await self._there.wait()
        client = next(iter(self._waiting))
        waiting = self._waiting.pop(client)
        datagram = waiting.popleft()
        if waiting:
            self._waiting[client] = waiting
        self._size -= 1
        return datagram


class _Datagrams(asyncio.DatagramProtocol):
    """Takes questions of clients in the fabric, as long as the queue has room."""

    def __init__(self, queue: Queue, is_inside: Callable[[str], bool]) -> None:
        self._queue, self._is_inside = queue, is_inside
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own transport is not derived from it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and self._is_inside(addr[0]):
            self._queue.put((data, addr, self._transport))
