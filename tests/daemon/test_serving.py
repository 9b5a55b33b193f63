"""Servers for clients that are not trusted, over real sockets: what a client costs the others, and for how long."""

import asyncio
import contextlib
import select
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import cast

import aiohttp
import pytest
import uvloop
from aiohttp import web

from kube_ovn import serving, telemetry
from kube_ovn.daemon import server as cni
from kube_ovn.daemon.attach import Pods
from kube_ovn.serving import EACH, TOTAL, HttpServer, listen
from kube_ovn.shares import Shares

HERE, STRANGER = "127.0.0.1", "127.0.0.2"
PATIENCE = 10.0
FLOOD = 600
REQUEST = b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n"


def connect(port: int, source: str = HERE) -> socket.socket:
    return socket.create_connection((HERE, port), PATIENCE, source_address=(source, 0))


async def get(port: int, source: str = HERE, path: str = "/livez") -> int:
    """The status of an answer."""
    connector = aiohttp.TCPConnector(local_addr=(source, 0))
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    session = aiohttp.ClientSession(connector=connector, timeout=timeout)
    async with session, session.get(f"http://{HERE}:{port}{path}") as answer:
        await answer.read()
        return answer.status


def rest(client: socket.socket) -> bytes:
    """All that comes until the connection ends, in whichever way."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while data := client.recv(65536):
            found += data
    return found


@pytest.fixture
def flood() -> Iterator[Callable[[int, str], list[socket.socket]]]:
    serving.raise_descriptors()
    with contextlib.ExitStack() as stack:

        def make(port: int, source: str = STRANGER) -> list[socket.socket]:
            return [stack.enter_context(connect(port, source)) for _ in range(FLOOD)]

        yield make


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("source", [HERE, STRANGER])
def test_a_flood_of_silent_connections_costs_nothing(
    factory: Callable[[], asyncio.AbstractEventLoop], source: str, flood: Callable[[int, str], list[socket.socket]]
) -> None:
    async def scenario() -> None:
        async with telemetry.serve_health(0, {}, {}) as port:
            clients = await asyncio.to_thread(flood, port, source)
            assert await get(port) == 200
            assert await asyncio.to_thread(count_ended, clients, FLOOD - EACH) >= FLOOD - EACH

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario())


def count_ended(clients: list[socket.socket], wanted: int) -> int:
    """How many connections the server has ended, the oldest first; waits for so many."""
    for client in clients[:wanted]:
        assert rest(client) == b""
    return wanted


async def test_one_byte_at_a_time_buys_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "FIRST", 0.3)
    async with telemetry.serve_health(0, {}, {}) as port:

        def dribble() -> int:
            with connect(port) as client, contextlib.suppress(ConnectionError):
                client.sendall(b"GET /livez HTTP/1.1\r\nX: ")
                client.settimeout(0.02)
                for sent in range(500):
                    client.send(b"x")
                    with contextlib.suppress(TimeoutError):
                        if client.recv(1) == b"":
                            return sent
                return 500
            return sent

        assert 1 < await asyncio.to_thread(dribble) < 500
        assert await get(port) == 200


async def test_a_connection_carries_one_request() -> None:
    async with telemetry.serve_health(0, {}, {}) as port:

        def ask_twice() -> bytes:
            with connect(port) as client:
                client.sendall(REQUEST * 2)
                return rest(client)

        answer = await asyncio.to_thread(ask_twice)
        assert answer.count(b"HTTP/1.1 200") == 1
        assert b"Connection: close" in answer
        assert await get(port, path="/none") == 404


async def test_a_request_has_a_bounded_size() -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 4000) for number in range(100))

    def shout(port: int) -> bytes:
        with connect(port) as client:
            with contextlib.suppress(ConnectionError):
                client.sendall(b"GET /livez HTTP/1.1\r\n" + lines + b"\r\n")
            return rest(client)

    async with telemetry.serve_health(0, {}, {}) as port:
        assert await asyncio.to_thread(shout, port) == b""
        assert await get(port) == 200


@asynccontextmanager
async def serving_one(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], answer: float = serving.ANSWER
) -> AsyncIterator[tuple[HttpServer, int]]:
    app = web.Application()
    app.router.add_get("/livez", handler)
    listener = listen(ip_address(HERE), 0)
    server = HttpServer(app, listener, Shares(3, 2), answer=answer)
    await server.start()
    try:
        yield server, listener.getsockname()[1]
    finally:
        await server.close()


def until_ended(client: socket.socket) -> bool:
    """Wait until the server has ended a connection; what has come until then is not read."""
    poll = select.poll()
    poll.register(client, 0)  # of the end it tells in any case
    return bool(poll.poll(PATIENCE * 1000))


async def test_a_client_that_does_not_read_its_answer_is_let_go() -> None:
    async def much(request: web.Request) -> web.Response:
        return web.Response(body=bytes(50_000_000))

    async with serving_one(much, answer=0.3) as (server, port):
        with connect(port) as client:
            client.sendall(REQUEST)
            assert await asyncio.to_thread(until_ended, client)
            assert (len(server.shares), server.connections) == (0, {})


async def test_what_is_answered_does_not_give_way_to_silence() -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    cancelled = []

    async def slow(request: web.Request) -> web.Response:
        begun.set()
        try:
            await go.wait()
        except asyncio.CancelledError:
            cancelled.append(request)
            raise
        return web.Response()

    async with serving_one(slow) as (server, port):
        asking = asyncio.create_task(get(port))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(connect(port)) for _ in range(5)]
            for client in silent[:4]:
                assert await asyncio.to_thread(rest, client) == b""
            assert len(server.shares) == 2
            go.set()
            assert await asking == 200
    assert cancelled == []


async def test_what_is_done_for_a_client_that_went_away_is_given_up() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return web.Response()

    async with serving_one(slow) as (_, port):
        with connect(port) as client:
            client.sendall(REQUEST)
            await asyncio.wait_for(begun.wait(), PATIENCE)
        await asyncio.wait_for(ended.wait(), PATIENCE)


@pytest.mark.parametrize(("address", "other"), [(STRANGER, HERE), ("::1", HERE), ("127.0.0.1", STRANGER)])
async def test_health_is_served_at_one_address(address: str, other: str) -> None:
    async with telemetry.serve_health(0, {}, {}, address=address) as port:
        with socket.create_connection((address, port), PATIENCE):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((other, port), PATIENCE)


async def test_an_address_that_is_not_there_yet_may_be_served() -> None:
    async with telemetry.serve_health(0, {}, {}, address="192.0.2.77") as port:
        assert port


async def test_pages_of_metrics_are_new_and_made_for_many() -> None:
    made = 0

    async def refresh() -> None:
        nonlocal made
        made += 1

    async with telemetry.serve_health(0, {}, {}, refresh) as port:
        assert await asyncio.gather(*(get(port, path="/metrics") for _ in range(40))) == [200] * 40
        assert 1 <= made <= 5
        before = made
        assert await get(port, path="/metrics") == 200
        assert made == before + 1


async def test_clients_that_go_away_do_not_have_pages_made_any_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "PAGE_PERIOD", 0.5)
    begun, times = asyncio.Semaphore(0), list[float]()

    async def refresh() -> None:
        times.append(asyncio.get_running_loop().time())
        begun.release()
        await asyncio.Event().wait()

    async with telemetry.serve_health(0, {}, {}, refresh) as port:
        for _ in range(3):
            with connect(port) as client:
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
                await asyncio.wait_for(begun.acquire(), PATIENCE)
    assert min(after - before for before, after in pairwise(times)) >= 0.49


async def test_a_page_that_cannot_be_made_is_one_error() -> None:
    fails = True

    async def refresh() -> None:
        if fails:
            raise OSError("no counters")

    async with telemetry.serve_health(0, {}, {}, refresh) as port:
        assert await get(port, path="/metrics") == 500
        fails = False
        assert await get(port, path="/metrics") == 200


# --- The plugin's server ---


@asynccontextmanager
async def plugin_server(folder: Path) -> AsyncIterator[str]:
    path = str(folder / "cni.sock")
    server = cni.Server("node1", cast(Pods, None), lambda: None, lambda sandbox, message: None)
    served = await server.serve(path)
    try:
        yield path
    finally:
        await served.close()


def plugin(path: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(PATIENCE)
    client.connect(path)
    return client


def post(length: int, body: bytes) -> bytes:
    return b"POST /api/v1/cni HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % length + body


STATUS = b'{"env": {"CNI_COMMAND": "STATUS"}, "stdin": "{\\"cniVersion\\": \\"1.1.0\\"}"}'


def status(path: str) -> bytes:
    with plugin(path) as client:
        client.sendall(post(len(STATUS), STATUS))
        return rest(client)


async def test_silent_plugins_do_not_hold_up_others(tmp_path: Path) -> None:
    async with plugin_server(tmp_path) as path:
        with contextlib.ExitStack() as stack:
            silent = [await asyncio.to_thread(stack.enter_context, plugin(path)) for _ in range(cni.CONNECTIONS + 50)]
            assert b" 200 " in await asyncio.to_thread(status, path)
            for client in silent[:50]:
                assert await asyncio.to_thread(rest, client) == b""


async def test_a_request_that_does_not_arrive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cni, "ARRIVAL", 0.2)
    async with plugin_server(tmp_path) as path:

        def begin() -> bytes:
            with plugin(path) as client:
                client.sendall(post(len(STATUS), STATUS[:-1]))
                return rest(client)

        answer = await asyncio.to_thread(begin)
        assert b'"code":11' in answer
        assert b"was not there within 0.2 s" in answer
        assert b" 200 " in await asyncio.to_thread(status, path)


async def test_a_request_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with plugin_server(tmp_path) as path:

        def shout() -> bytes:
            with plugin(path) as client:
                with contextlib.suppress(ConnectionError):
                    client.sendall(post(100 * cni.LARGEST, b""))
                    for _ in range(100):
                        client.sendall(b" " * cni.LARGEST)
                return rest(client)

        assert b" 200 " not in await asyncio.to_thread(shout)
        assert b" 200 " in await asyncio.to_thread(status, path)


# --- Descriptors ---

PROGRAM = """
import resource, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
from kube_ovn.{program}.main import main
sys.argv[1:] = []
try:
    main()
except SystemExit as ended:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    print(soft > 200 and soft == hard, ended)
"""


@pytest.mark.parametrize(("program", "said"), [("controller", "--ovn-nb-addr"), ("daemon", "--node-name")])
def test_both_programs_may_have_all_the_descriptors_that_they_can(program: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(program=program)], capture_output=True, text=True, timeout=60, env={}
    )
    assert done.stdout.startswith(f"True {said}"), done.stderr


def test_places_are_more_than_what_is_accepted_at_once() -> None:
    assert EACH > 3 * serving.BACKLOG
    assert TOTAL >= 2 * EACH
