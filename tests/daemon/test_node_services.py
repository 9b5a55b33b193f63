"""Services on a node against the real kernel, in a network namespace of the test's own. Needs root."""

import asyncio
import contextlib
import json
import socket
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import ip_network

import msgspec
import pytest

from kube_ovn.daemon import plumbing
from kube_ovn.daemon.health import HealthPorts
from kube_ovn.daemon.proxy import Proxy, remove_table
from kube_ovn.daemon.view import View
from kube_ovn.host.service import NodeService
from kube_ovn.linux import conntrack, nft
from kube_ovn.model import names
from kube_ovn.model.kube import Endpoint, EndpointPort, EndpointSlice, ObjectMeta, Service, ServicePort, ServiceSpec
from kube_ovn.serving import EACH, raise_descriptors
from tests.daemon.test_netlink_links import inside, ip, netns, run
from tests.node_view import OWN, node, view

__all__ = ["netns"]

NODE, ONE, TWO = "192.0.2.1", "192.0.2.11", "192.0.2.12"
PORT, HEALTH = 30053, 31000
NETWORKS = (ip_network("10.96.0.0/12"),)
SERVICE = Service(
    metadata=ObjectMeta(name="dns", namespace="team", uid="uid"),
    spec=ServiceSpec(
        type="LoadBalancer",
        cluster_ips=("10.96.0.80",),
        ports=(ServicePort(port=53, node_port=PORT, protocol="UDP"),),
        external_traffic_policy="Local",
        health_check_node_port=HEALTH,
    ),
)


def slice_of(*addresses: str) -> EndpointSlice:
    """Processes of nodes, so that the node chooses among them."""
    return EndpointSlice(
        metadata=ObjectMeta(name="dns", namespace="team", uid="slice", labels={names.SERVICE_OF_SLICE: "dns"}),
        address_type="IPv4",
        endpoints=tuple(Endpoint(addresses=(address,), node_name=OWN) for address in addresses),
        ports=(EndpointPort(port=5300, protocol="UDP"),),
    )


@pytest.fixture(autouse=True)
def _own_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread stays in the namespace it was made in."""
    monkeypatch.setattr(plumbing, "_workers", ThreadPoolExecutor(1))


def serving(*endpoints: str) -> View:
    return view([SERVICE], [slice_of(*endpoints)], nodes=[node(OWN, NODE)])


def listener(address: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, 5300))
    made.setblocking(False)
    return made


@pytest.mark.parametrize("few", [0, 16])
def test_udp_goes_where_the_service_is_now(netns: str, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends from one port all the time, for the kernel the same connection."""
    monkeypatch.setattr(conntrack, "_FEW", few)

    async def scenario() -> None:
        await ip("link", "set", "lo", "up")
        for address in (NODE, ONE, TWO):
            await ip("address", "add", f"{address}/32", "dev", "lo")
        one, two = listener(ONE), listener(TWO)
        known = serving()
        proxy = Proxy(NETWORKS, known)
        with one, two, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((NODE, 40000))

            def heard() -> list[str]:
                with suppress(ConnectionRefusedError):  # told of the one before
                    client.sendto(b"?", (NODE, PORT))
                found = []
                for name, server in (("one", one), ("two", two)):
                    with suppress(BlockingIOError):
                        server.recv(9)
                        found.append(name)
                return found

            assert heard() == []
            for endpoints, expected in (((ONE,), "one"), ((TWO,), "two"), ((ONE, TWO), "two"), ((ONE,), "one")):
                known.slices.store.put(slice_of(*endpoints))
                await proxy.make_pass()
                assert [heard() for _ in range(3)] == [[expected]] * 3, endpoints
            known.services.store.remove("uid")
            await proxy.make_pass()
            assert heard() == []

    inside(netns, scenario)


def test_the_table_comes_back_and_goes_when_it_is_not_wanted(netns: str) -> None:
    async def scenario() -> None:
        proxy = Proxy(NETWORKS, serving(ONE))
        watch = asyncio.create_task(proxy.table.run())
        await proxy.table.dirty.wait()  # what was before it watched is unknown
        await proxy.make_pass()
        assert b"goto local/team/dns/udp/53/4" in await listing()
        await run("nft", f"flush chain inet {names.SERVICES_TABLE} prerouting")
        await asyncio.wait_for(proxy.table.dirty.wait(), 5)
        await proxy.make_pass()
        assert b"goto local/team/dns/udp/53/4" in await listing()
        watch.cancel()
        await remove_table()
        assert names.SERVICES_TABLE.encode() not in await listing()
        await remove_table()

    inside(netns, scenario)


async def listing() -> bytes:
    return await nft._run("list", "ruleset", deadline=5)


def test_a_load_balancer_hears_whether_there_is_an_endpoint_here(netns: str) -> None:
    told: list[str] = []

    def tell(service: NodeService, message: str) -> None:
        told.append(f"{service.namespace}/{service.name}: {message}")

    async def scenario() -> None:
        await ip("link", "set", "lo", "up")
        known = serving(ONE, TWO)
        ports = HealthPorts(known, tell)
        with socket.create_server(("", HEALTH)):
            await ports.make_pass()
            await ports.make_pass()
        assert told == [f"team/dns: health check port {HEALTH} of this node: Address already in use"]
        await ports.make_pass()
        assert await ask() == (200, 2)
        known.slices.store.put(slice_of())
        await ports.make_pass()
        assert await ask() == (503, 0)
        known.services.store.put(
            msgspec.structs.replace(SERVICE, spec=msgspec.structs.replace(SERVICE.spec, type="NodePort"))
        )
        await ports.make_pass()
        assert await ask() == (0, 0)
        await ports.close()

    inside(netns, scenario)


def test_silent_clients_of_that_port_cost_the_load_balancer_nothing(netns: str) -> None:
    async def scenario() -> None:
        raise_descriptors()
        await ip("link", "set", "lo", "up")
        ports = HealthPorts(serving(ONE, TWO), lambda service, message: None)
        await ports.make_pass()
        with contextlib.ExitStack() as stack:
            for _ in range(EACH + 50):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                await asyncio.wait_for(asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", HEALTH)), 5)
            assert await ask() == (200, 2)
            assert len(ports.shares) <= EACH
        await ports.close()

    inside(netns, scenario)


async def ask() -> tuple[int, int]:
    """Status, and the number of endpoints; zeros when nobody answers."""
    return await asyncio.to_thread(_ask_inside)


def _ask_inside() -> tuple[int, int]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{HEALTH}/healthz", timeout=5) as answer:
            return answer.status, json.load(answer)["localEndpoints"]
    except urllib.error.HTTPError as error:
        return error.code, int(error.headers["X-Load-Balancing-Endpoint-Weight"])
    except urllib.error.URLError:
        return 0, 0
