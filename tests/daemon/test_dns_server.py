"""The node's DNS server over real sockets: what it answers, what it passes on, and that strangers get nothing."""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
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

from kube_ovn.daemon import dns as server
from kube_ovn.daemon import resolvers
from kube_ovn.daemon.dns import OUTSIDE, Responder
from kube_ovn.host.dns import Directory, is_question
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
    """A port that is free for datagrams and for connections."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, socket.socket() as listener:
        listener.bind((str(HERE), 0))
        port: int = listener.getsockname()[1]
        try:
            probe.bind((str(HERE), port))
        except OSError:
            return free_port()
    return port


@asynccontextmanager
async def serving(
    tmp_path: Path,
    listed: tuple[str, ...] = (),
    inside: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[int]:
    """The port it listens on."""
    config, port = tmp_path / "resolv.conf", free_port()
    config.write_text("".join(f"nameserver {resolver}\n" for resolver in listed))
    moved, networks = asyncio.Event(), [ip_network("10.96.0.0/12")]
    responder = Responder(
        directory(),
        lambda: [HERE],
        lambda _: inside,
        lambda: networks,
        moved,
        resolv_conf=str(config),
        port=port,
        clock=clock,
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


async def insist_on(port: int, name: str) -> dns.message.Message:
    """Ask as a C library does, which asks again: the kernel drops datagrams when the socket's buffer is full."""
    for _ in range(2):
        with contextlib.suppress(dns.exception.Timeout):
            return await ask(port, name)
    return await ask(port, name)


def texts(reply: dns.message.Message) -> list[str]:
    return [str(each) for rrset in reply.answer for each in rrset]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Elsewhere(asyncio.DatagramProtocol):
    """A resolver that knows one address, and is silent about names that begin with `slow`."""

    def __init__(self) -> None:
        self.asked: list[dns.message.Message] = []
        self.slow = asyncio.Semaphore(0)  # released for each question that is not answered
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is not derived from it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.asked.append(query)
        if str(query.question[0].name).startswith("slow"):
            self.slow.release()
            return
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
async def a_silent_resolver() -> AsyncIterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((SILENT, 53))
        silent.setblocking(False)
        yield silent


def heard(silent: socket.socket) -> int:
    """How many questions have come to a silent resolver since it was last looked at."""
    number = 0
    with contextlib.suppress(BlockingIOError):
        while silent.recv(512):
            number += 1
    return number


@asynccontextmanager
async def asking(port: int, source: str, questions: int) -> AsyncIterator[None]:
    """A client that asks many slow questions, again and again, and never waits for an answer."""
    wires = [dns.message.make_query(f"slow-{number}.example.com", "A").to_wire() for number in range(questions)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((source, 0))

        async def insist() -> None:
            while True:
                for wire in wires:
                    client.sendto(wire, (str(HERE), port))
                await asyncio.sleep(0.2)

        task = asyncio.create_task(insist())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


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


async def test_many_questions_in_one_message_are_not_even_read(tmp_path: Path) -> None:
    """Their names, each of which points into another one, would fill a reply that cannot be sent, after seconds."""
    header = bytes.fromhex("00070100")
    labels = b"".join(bytes([63]) + bytes([31]) * 63 for _ in range(3)) + b"\0"
    for count, records in ((10_000, 0), (1, 4_000), (0, 0)):
        questions = (labels + bytes.fromhex("00010001") + bytes.fromhex("c00d00010001") * max(count - 1, 0)) * bool(
            count
        )
        counts = count.to_bytes(2) + bytes(4) + records.to_bytes(2)
        wire = header + counts + questions + bytes.fromhex("0000010001000000000000") * records
        assert not is_question(wire)
        async with serving(tmp_path) as port:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(wire[:65000], (str(HERE), port))
                reply = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sender, 65536), PATIENCE)
            assert reply == header[:2] + bytes.fromhex("8101") + bytes(8)
            assert texts(await ask(port, WEB)) == ["10.96.0.20"]


async def test_one_client_has_a_quarter_of_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvers, "PATIENCE", 60.0)
    async with a_resolver() as elsewhere, serving(tmp_path, (RESOLVER,)) as port, asking(port, "127.0.1.1", 24):
        for _ in range(OUTSIDE // 4):
            await asyncio.wait_for(elsewhere.slow.acquire(), PATIENCE)
        query = dns.message.make_query("slow.example.com", "A")
        refused = await dns.asyncquery.udp(query, str(HERE), port=port, timeout=PATIENCE, source="127.0.1.1")
        assert refused.rcode() == dns.rcode.SERVFAIL
        assert len(elsewhere.asked) == OUTSIDE // 4, "further ones of this client are not passed on"


async def test_many_greedy_clients_do_not_starve_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvers, "PATIENCE", 60.0)
    async with contextlib.AsyncExitStack() as stack:
        elsewhere = await stack.enter_async_context(a_resolver())
        port = await stack.enter_async_context(serving(tmp_path, (RESOLVER,)))
        for number in range(1, 9):
            await stack.enter_async_context(asking(port, f"127.0.1.{number}", 24))
        for _ in range(OUTSIDE):
            await asyncio.wait_for(elsewhere.slow.acquire(), PATIENCE)
        for number in range(20):
            assert texts(await insist_on(port, f"{number}.example.com")) == ["192.0.2.1"]


async def test_a_resolver_that_does_not_answer_is_asked_last_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolvers, "PATIENCE", 0.3)
    clock = Clock()
    async with a_resolver(), a_silent_resolver() as silent, serving(tmp_path, (SILENT, RESOLVER), clock=clock) as port:
        for name in ("a", "b", "c"):
            assert texts(await ask(port, f"{name}.example.com")) == ["192.0.2.1"]
        assert heard(silent) == 1
        clock.now += resolvers.SHUNNED - 1
        assert texts(await ask(port, "d.example.com")) == ["192.0.2.1"]
        assert heard(silent) == 0
        clock.now += 2
        found = await asyncio.gather(*(ask(port, f"e{number}.example.com") for number in range(6)))
        assert [texts(reply) for reply in found] == [["192.0.2.1"]] * 6
        assert heard(silent) == 1, "one question tries it, the others do not wait"


async def test_a_resolver_that_answers_again_is_asked_first_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolvers, "PATIENCE", 0.3)
    clock = Clock()
    async with a_silent_resolver() as silent, serving(tmp_path, (RESOLVER, SILENT), clock=clock) as port:
        assert (await ask(port, "a.example.com")).rcode() == dns.rcode.SERVFAIL
        assert heard(silent) == 1
        async with a_resolver() as elsewhere:
            assert texts(await ask(port, "b.example.com")) == ["192.0.2.1"]
            assert texts(await ask(port, "c.example.com")) == ["192.0.2.1"]
            assert (heard(silent), len(elsewhere.asked)) == (0, 2), "all were silent, so the order is as it was"


async def test_an_answer_is_remembered_until_it_is_over(tmp_path: Path) -> None:
    clock = Clock()
    async with a_resolver() as elsewhere, serving(tmp_path, (RESOLVER,), clock=clock) as port:
        for tcp, passed, left in ((False, 0.0, 60), (False, 20.0, 40), (True, 39.0, 1)):
            clock.now += passed
            reply = await ask(port, "www.example.com", tcp=tcp)
            assert (texts(reply), reply.answer[0].ttl) == (["192.0.2.1"], left)
        assert len(elsewhere.asked) == 1
        clock.now += 1
        assert (await ask(port, "www.example.com")).answer[0].ttl == 60
        assert len(elsewhere.asked) == 2
        assert texts(await ask(port, f"there.default.svc.{ZONE}")) == ["www.example.com.", "192.0.2.1"]
        assert len(elsewhere.asked) == 2, "the target of a CNAME is remembered too"


async def test_a_remembered_answer_has_the_number_and_the_letter_case_of_the_question(tmp_path: Path) -> None:
    async with a_resolver() as elsewhere, serving(tmp_path, (RESOLVER,)) as port:
        for spelled in ("www.example.com", "wWw.eXAMPLE.cOm", "WWW.EXAMPLE.COM"):
            query = dns.message.make_query(spelled, "A", id=random.randrange(1 << 16))
            reply = await dns.asyncquery.udp(query, str(HERE), port=port, timeout=PATIENCE)
            assert reply.id == query.id
            assert reply.question[0].name.to_text() == f"{spelled}."
            assert reply.answer[0].name.to_text() == f"{spelled}."
        assert len(elsewhere.asked) == 1


async def test_a_full_queue_of_one_client_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "QUEUE_EACH", 2)
    queue, transport = server.Queue(), cast(asyncio.DatagramTransport, None)
    for number, client in enumerate(["a", "a", "a", "b"]):
        queue.put((bytes([number]), (client, 0), transport))
    assert [(await queue.get())[0] for _ in range(3)] == [b"\0", b"\3", b"\1"]
    queue.put((b"again", ("a", 0), transport))
    assert (await queue.get())[0] == b"again"


async def test_silent_connections_of_others_do_not_keep_a_client_out(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        with contextlib.ExitStack() as stack:
            for number in range(2 * server.CONNECTIONS):
                source = (f"127.0.1.{number % 16}", 0)
                connect = partial(socket.create_connection, (str(HERE), port), PATIENCE, source_address=source)
                stack.enter_context(await asyncio.to_thread(connect))
            assert texts(await ask(port, WEB, tcp=True)) == ["10.96.0.20"]
