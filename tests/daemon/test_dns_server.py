"""The node's DNS server over real sockets: what it answers, what it passes on, and that strangers get nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import cast

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from kube_ovn.daemon.dns import Responder
from kube_ovn.host.dns import Directory
from kube_ovn.model.addr import Address
from tests.node_view import view
from tests.small_clusters import service, slice_of

ZONE = "cluster.local"
WEB = f"web.default.svc.{ZONE}"
HERE: Address = ip_address("127.0.0.1")
RESOLVER, DEAD, SILENT = "127.9.0.53", "127.9.0.54", "127.9.0.55"
PATIENCE = 5.0


def directory() -> Directory:
    many = [f"10.16.{number // 250}.{number % 250 + 1}" for number in range(1000)]
    services = [
        service("web", "10.96.0.20"),
        service("there", type="ExternalName", external_name="www.example.com"),
        service("long", type="ExternalName", external_name="a" * 64 + ".com"),
        service("chain", type="ExternalName", external_name=f"there.default.svc.{ZONE}"),
        service("many", "None"),
    ]
    return view(services, [slice_of("many", *many)]).directory(ZONE)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((str(HERE), 0))
        port: int = probe.getsockname()[1]
    return port


@asynccontextmanager
async def serving(tmp_path: Path, resolvers: tuple[str, ...] = (), inside: bool = True) -> AsyncIterator[int]:
    """The port it listens on."""
    config, port = tmp_path / "resolv.conf", free_port()
    config.write_text("".join(f"nameserver {resolver}\n" for resolver in resolvers))
    moved, never = asyncio.Event(), [ip_network("10.96.0.0/12")]
    responder = Responder(
        directory(), lambda: [HERE], lambda _: inside, never, moved, resolv_conf=str(config), port=port
    )
    running = asyncio.create_task(responder.run())
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    (await asyncio.open_connection(str(HERE), port))[1].close()
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
        yield port
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def ask(port: int, name: str, kind: str = "A", *, tcp: bool = False) -> dns.message.Message:
    how = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await how(dns.message.make_query(name, kind), str(HERE), port=port, timeout=PATIENCE)


def texts(reply: dns.message.Message) -> list[str]:
    return [str(each) for rrset in reply.answer for each in rrset]


class Elsewhere(asyncio.DatagramProtocol):
    """A resolver that knows one name."""

    def __init__(self) -> None:
        self.asked: list[dns.message.Message] = []
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is not derived from it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.asked.append(query)
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.1"))
        assert self.transport is not None
        self.transport.sendto(reply.to_wire(), addr)


@asynccontextmanager
async def a_resolver() -> AsyncIterator[Elsewhere]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Elsewhere, local_addr=(RESOLVER, 53))
    try:
        yield protocol
    finally:
        transport.close()


@asynccontextmanager
async def a_silent_resolver() -> AsyncIterator[None]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((SILENT, 53))
        yield


async def test_the_clusters_names_over_both_transports(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        for tcp in (False, True):
            assert texts(await ask(port, WEB, tcp=tcp)) == ["10.96.0.20"]
            assert (await ask(port, f"none.default.svc.{ZONE}", tcp=tcp)).rcode() == dns.rcode.NXDOMAIN


async def test_too_much_for_a_datagram_is_truncated(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        short = await ask(port, f"many.default.svc.{ZONE}")
        assert short.flags & dns.flags.TC
        assert len(texts(await ask(port, f"many.default.svc.{ZONE}", tcp=True))) == 1000


async def test_other_names_are_asked_of_the_nodes_resolvers_in_turn(tmp_path: Path) -> None:
    async with a_resolver() as elsewhere, serving(tmp_path, ("10.96.0.10", DEAD, RESOLVER)) as port:
        query = dns.message.make_query("www.example.com", "A")
        reply = await dns.asyncquery.udp(query, str(HERE), port=port, timeout=PATIENCE)
        assert texts(reply) == ["192.0.2.1"]
        assert reply.id == query.id
        assert elsewhere.asked[0].id != query.id, "the number it asks with is its own"
        assert texts(await ask(port, f"there.default.svc.{ZONE}")) == ["www.example.com.", "192.0.2.1"]


async def test_a_name_that_leads_to_another_is_followed(tmp_path: Path) -> None:
    async with a_resolver(), serving(tmp_path, (RESOLVER,)) as port:
        wanted = [f"there.default.svc.{ZONE}.", "www.example.com.", "192.0.2.1"]
        assert texts(await ask(port, f"chain.default.svc.{ZONE}")) == wanted


async def test_a_name_that_dns_does_not_take_harms_only_itself(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        for tcp in (False, True):
            assert (await ask(port, f"long.default.svc.{ZONE}", tcp=tcp)).rcode() == dns.rcode.SERVFAIL
            assert texts(await ask(port, WEB, tcp=tcp)) == ["10.96.0.20"]


async def test_silent_resolvers_do_not_hold_up_the_clusters_names(tmp_path: Path) -> None:
    async with serving(tmp_path, (SILENT,)) as port, a_silent_resolver():
        waiting = [asyncio.create_task(ask(port, f"{number}.example.com")) for number in range(100)]
        await asyncio.sleep(0)
        started = asyncio.get_running_loop().time()
        assert texts(await ask(port, WEB)) == ["10.96.0.20"]
        assert asyncio.get_running_loop().time() - started < PATIENCE / 2
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_with_nobody_to_ask_it_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        assert (await ask(port, "www.example.com")).rcode() == dns.rcode.SERVFAIL
        assert texts(await ask(port, f"there.default.svc.{ZONE}")) == ["www.example.com."]


async def test_strangers_are_not_answered(tmp_path: Path) -> None:
    async with serving(tmp_path, inside=False) as port:
        with pytest.raises(dns.exception.Timeout):
            await dns.asyncquery.udp(dns.message.make_query(WEB, "A"), str(HERE), port=port, timeout=0.5)
        with pytest.raises((EOFError, OSError)):
            await ask(port, WEB, tcp=True)


async def test_nonsense_does_it_no_harm(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        whole = dns.message.make_query(WEB, "A", use_edns=True).to_wire()
        for end in range(len(whole)):
            for junk in (b"", b"\xc0\x0c", b"\xff" * 20):
                sender.sendto(whole[:end] + junk, (str(HERE), port))
        sender.close()
        assert texts(await ask(port, WEB)) == ["10.96.0.20"]
