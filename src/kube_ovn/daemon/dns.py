"""The node's DNS server, for clusters without one: what is asked of the cluster's names `host.dns` answers, all else
the node's own resolvers.

Reached at the node's own addresses in the fabric, and there by the fabric's own Pods and nodes only: OVN sends here
what they ask of their DNS server's address, as long as none is ready there (`topology.service`).
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
import structlog

from kube_ovn.host.dns import Directory, refusal
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.reconcile import Backoff

log = structlog.get_logger()

WORKERS = 32
"""Questions being answered at a time."""
QUEUE = 512
"""Datagrams that wait; more are dropped, as a full socket would."""
DATAGRAM = 1232
"""Bytes of an answer at most, whatever a client takes: more might be cut in pieces on the way (DNS flag day 2020)."""
PLAIN = 512
"""Bytes a client takes that does not say (RFC 1035, 4.2.1)."""
CONNECTIONS = 64
IDLE = 10.0
"""Seconds a connection may be silent (RFC 7766, 6.2.3)."""
PATIENCE = 2.0
"""Seconds for one of the node's resolvers."""
_FREEBIND = {socket.AF_INET: (socket.IPPROTO_IP, 15), socket.AF_INET6: (socket.IPPROTO_IPV6, 78)}
"""Socket options IP_FREEBIND and IPV6_FREEBIND (ip(7)): ovn0 may not have the address yet, and may lose it."""

_Datagram = tuple[bytes, tuple[str, int], asyncio.DatagramTransport]


class Responder:
    """Answers on UDP and TCP. `addresses` may change while it runs: `moved` is to be set then."""

    def __init__(
        self,
        directory: Directory,
        addresses: Callable[[], Sequence[Address]],
        is_inside: Callable[[str], bool],
        never: Iterable[Address],
        resolv_conf: str = "/etc/resolv.conf",
        port: int = names.DNS_PORT,
    ) -> None:
        """`is_inside`: whether a client is one of the fabric's. `never`: resolvers not to ask, since they lead here;
        `resolv_conf` names the node's.
        """
        self._directory, self._addresses, self._is_inside = directory, addresses, is_inside
        self._never = {str(address) for address in never}
        self._resolv_conf, self._port = resolv_conf, port
        self._queue: asyncio.Queue[_Datagram] = asyncio.Queue(QUEUE)
        self._connections = 0
        self.moved = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())
            await self._listen()

    async def _listen(self) -> None:
        backoff = Backoff(ceiling=5.0)
        while True:
            self.moved.clear()
            addresses = tuple(self._addresses())
            async with contextlib.AsyncExitStack() as stack:
                try:
                    for address in addresses:
                        await self._open(address, stack)
                except OSError as error:
                    log.warning("no DNS server here, trying again", addresses=addresses, error=str(error))
                    await backoff.wait()
                    continue
                backoff.reset()
                while tuple(self._addresses()) == addresses:
                    await self.moved.wait()
                    self.moved.clear()

    async def _open(self, address: Address, stack: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._queue, self._is_inside), sock=_bound(address, self._port, socket.SOCK_DGRAM)
        )
        stack.callback(transport.close)
        server = await asyncio.start_server(self._connected, sock=_bound(address, self._port, socket.SOCK_STREAM))
        stack.callback(server.close)

    async def _work(self) -> None:
        while True:
            wire, client, transport = await self._queue.get()
            answer = await self.answer(wire, stream=False)
            if answer is not None and not transport.is_closing():
                transport.sendto(answer, client)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's questions, one after another, each after its length (RFC 1035, 4.2.2)."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError), contextlib.closing(writer):
            if self._connections >= CONNECTIONS or not self._is_inside(writer.get_extra_info("peername")[0]):
                return
            self._connections += 1
            try:
                while True:
                    async with asyncio.timeout(IDLE):
                        length = int.from_bytes(await reader.readexactly(2))
                        wire = await reader.readexactly(length)
                    answer = await self.answer(wire, stream=True)
                    if answer is None:
                        return
                    writer.write(len(answer).to_bytes(2) + answer)
                    async with asyncio.timeout(IDLE):
                        await writer.drain()
            finally:
                self._connections -= 1

    async def answer(self, wire: bytes, *, stream: bool) -> bytes | None:
        """The reply on the wire; None for what is no question."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return refusal(wire, dns.rcode.FORMERR)
        if query.flags & dns.flags.QR:
            return None
        reply = self._directory.answer(query)
        if reply is None:
            reply = await self._ask_others(query, stream=stream)
        elif reply.answer and reply.answer[-1].rdtype == dns.rdatatype.CNAME:
            await self._follow(query, reply)
        if reply is None:
            return refusal(wire, dns.rcode.SERVFAIL)
        if stream:
            return reply.to_wire(max_size=65535, prefer_truncation=True)
        room = min(DATAGRAM, max(PLAIN, query.payload if query.edns >= 0 else PLAIN))
        return reply.to_wire(max_size=room, prefer_truncation=True)

    async def _follow(self, query: dns.message.Message, reply: dns.message.Message) -> None:
        """Add what the target of a CNAME is, as far as anybody knows."""
        question = query.question[0]
        if question.rdtype == dns.rdatatype.CNAME:
            return
        target = dns.message.make_query(reply.answer[-1][0].target, question.rdtype)
        found = self._directory.answer(target) or await self._ask_others(target, stream=False)
        if found is not None:
            reply.answer += found.answer

    async def _ask_others(self, query: dns.message.Message, *, stream: bool) -> dns.message.Message | None:
        """What the node's own resolvers say; None when none of them answers."""
        ask = dns.asyncquery.tcp if stream else dns.asyncquery.udp
        for resolver in self._resolvers():
            try:
                # Its own number and port for every question: they are all that tells an answer from a forged one.
                asked = dns.message.from_wire(query.to_wire())
                asked.id = dns.message.Message().id
                reply = await ask(asked, resolver, timeout=PATIENCE)
            except (OSError, dns.exception.DNSException) as error:
                log.info("a resolver of this node does not answer", resolver=resolver, error=str(error))
                continue
            reply.id = query.id
            return reply
        return None

    def _resolvers(self) -> list[str]:
        try:
            found = dns.resolver.Resolver(self._resolv_conf).nameservers
        except (OSError, dns.exception.DNSException):
            return []
        return [each for each in found if isinstance(each, str) and each not in self._never]


class _Datagrams(asyncio.DatagramProtocol):
    """Takes questions from the fabric's own clients, as long as there is room."""

    def __init__(self, queue: "asyncio.Queue[_Datagram]", is_inside: Callable[[str], bool]) -> None:
        self._queue, self._is_inside = queue, is_inside
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is not derived from it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and self._is_inside(addr[0]):
            with contextlib.suppress(asyncio.QueueFull):
                self._queue.put_nowait((data, addr, self._transport))


def _bound(address: Address, port: int, kind: socket.SocketKind) -> socket.socket:
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
