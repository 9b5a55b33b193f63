"""Services on a node against the real kernel, in a network namespace of the test's own. Needs root."""

import asyncio
import contextlib
import json
import os
import socket
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import msgspec
import pytest

from kube_ovn.daemon import plumbing
from kube_ovn.daemon import proxy as node_proxy
from kube_ovn.daemon.health import HealthPorts
from kube_ovn.daemon.proxy import Proxy, remove_table
from kube_ovn.daemon.view import View
from kube_ovn.host.service import NodeService
from kube_ovn.linux import conntrack, netlink, nft
from kube_ovn.model import names
from kube_ovn.model.kube import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from kube_ovn.serving import EACH, raise_descriptors
from tests.daemon.test_netlink_links import inside, ip, make_netns, netns, remove_netns, run
from tests.node_view import OWN, node, view

__all__ = ["netns"]

NODE, ONE, TWO = "192.0.2.1", "192.0.2.11", "192.0.2.12"
PORT, HEALTH = 30053, 31000
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


def ignore(service: NodeService, message: str) -> None:
    """Where no message is looked for."""


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
        proxy = Proxy(known, ignore)
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
        proxy = Proxy(serving(ONE), ignore)
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


KUBELET, HEALTHZ, FREE = 10250, 10248, 10251
OTHER_NODE = "192.0.2.2"


def greedy(*external: str, balanced: tuple[str, ...] = (), **spec: object) -> View:
    """A node with a Service that asks for the ports of a kubelet at some addresses, and for one that is free."""
    ports = tuple(ServicePort(name=f"p{port}", port=port) for port in (KUBELET, HEALTHZ, FREE))
    udp = ServicePort(name="udp", port=KUBELET, protocol="UDP")
    service = Service(
        metadata=ObjectMeta(name="greedy", namespace="team", uid="uid"),
        spec=ServiceSpec(
            type="LoadBalancer",
            cluster_ips=("10.96.0.81", "fd00:10:96::81"),
            external_ips=external,
            ports=(*ports, udp),
            **spec,  # type: ignore[arg-type]
        ),
        status=ServiceStatus(
            load_balancer=LoadBalancerStatus(ingress=tuple(LoadBalancerIngress(ip=each) for each in balanced))
        ),
    )
    slices = [
        EndpointSlice(
            metadata=ObjectMeta(
                name=f"greedy-{family}", namespace="team", uid=family, labels={names.SERVICE_OF_SLICE: "greedy"}
            ),
            address_type=family,
            endpoints=(Endpoint(addresses=(address,), node_name=OWN),),
            ports=(
                *(EndpointPort(name=each.name, port=SERVED) for each in ports),
                EndpointPort(name="udp", port=SERVED, protocol="UDP"),
            ),
        )
        for family, address in (("IPv4", ONE), ("IPv6", ONE6))
    ]
    return view([service], slices, nodes=[node(OWN, NODE, NODE6), node("node2", OTHER_NODE)])


SERVED, ONE6, NODE6 = 5301, "fd00:192::11", "fd00:192::1"


async def make_links() -> None:
    await ip("link", "set", "lo", "up")
    for address in (NODE, ONE):
        await ip("address", "add", f"{address}/32", "dev", "lo")
    for address in (NODE6, ONE6):
        await ip("address", "add", f"{address}/128", "dev", "lo", "nodad")


def answering(address: str, port: int, name: str, family: int = socket.AF_INET) -> socket.socket:
    """A process of the node that says its name to each client of TCP."""
    made = socket.create_server((address, port), family=family)
    made.settimeout(5)
    answers[made.fileno()] = name
    return made


answers: dict[int, str] = {}


def asked(address: str, port: int, *servers: socket.socket) -> str:
    """The name of the server that a client of an address is led to; empty when it is refused."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect((address, port))
        except ConnectionRefusedError:
            return ""
        for each in servers:
            each.setblocking(False)
            with suppress(BlockingIOError):
                each.accept()[0].close()
                return answers[each.fileno()]
    raise AssertionError("no server has the connection")


def test_a_port_of_the_nodes_own_stays_with_it_as_long_as_it_listens(
    netns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet's, at the node's address in both families, also where it listens at all addresses."""
    monkeypatch.setattr(node_proxy, "LOOK_PAUSE", 0.05)
    told: list[str] = []

    async def scenario() -> None:
        await make_links()
        made = node_proxy.Proxy(greedy(NODE, NODE6), lambda service, message: told.append(message))
        pod, pod6 = answering(ONE, SERVED, "pod"), answering(ONE6, SERVED, "pod", socket.AF_INET6)
        kubelet = socket.create_server(("", KUBELET), family=socket.AF_INET6, dualstack_ipv6=True)
        answers[kubelet.fileno()] = "kubelet"
        watch = asyncio.create_task(made.watch())
        all_of_them = (pod, pod6, kubelet)
        await made.make_pass()
        for address in (NODE, NODE6):
            assert asked(address, KUBELET, *all_of_them) == "kubelet"
            assert asked(address, FREE, *all_of_them) == "pod"
        assert sorted(told) == [
            f"Service team/greedy: the node itself listens at {spot}, and stays so; use another address or port"
            for spot in (f"{NODE}:{KUBELET}/TCP", f"[{NODE6}]:{KUBELET}/TCP")
        ]
        await made.make_pass()
        assert len(told) == 2, "once"
        assert not made.table.dirty._event.is_set()
        kubelet.close()
        await asyncio.wait_for(made.table.dirty.wait(), 5)
        await made.make_pass()
        assert asked(NODE, KUBELET, pod, pod6) == "pod"
        with answering("", KUBELET, "kubelet") as kubelet:
            await asyncio.wait_for(made.table.dirty.wait(), 5)
            await made.make_pass()
            assert asked(NODE, KUBELET, pod, pod6, kubelet) == "kubelet"
            assert asked(NODE6, KUBELET, pod, pod6, kubelet) == "pod", "a socket of IPv4"
        watch.cancel()
        pod.close()
        pod6.close()

    inside(netns, scenario)


def test_pods_that_ask_a_port_of_a_node_reach_the_node_and_any_other_the_service(netns: str) -> None:
    """What OVN sends to the node: it has no load balancer for the address."""
    pods = make_netns()

    async def scenario() -> None:
        await make_links()
        far = os.path.basename(pods)
        await ip(*f"link add {names.NODE_NIC} type veth peer name eth0 netns {far}".split())
        await ip("link", "set", names.NODE_NIC, "up")
        await ip("address", "add", "10.16.0.1/16", "dev", names.NODE_NIC)
        for words in ("link set eth0 up", "address add 10.16.0.7/16 dev eth0", "route add default via 10.16.0.1"):
            await ip("-n", far, *words.split())
        made = node_proxy.Proxy(greedy(NODE), ignore)
        with answering(ONE, SERVED, "pod") as pod, answering("", KUBELET, "kubelet") as kubelet:
            await made.make_pass()
            for port, expected in ((KUBELET, "kubelet"), (FREE, "pod")):
                assert netlink.run_inside(pods, partial(asked, NODE, port, pod, kubelet)) == expected

    try:
        inside(netns, scenario)
    finally:
        remove_netns(pods)


def test_a_udp_port_of_the_nodes_own_stays_with_it(netns: str) -> None:
    async def scenario() -> None:
        await make_links()
        known = greedy(NODE)
        made = node_proxy.Proxy(known, ignore)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pod,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            own.bind((NODE, KUBELET))
            pod.bind((ONE, SERVED))
            for each in (own, pod):
                each.settimeout(2)
            await made.make_pass()
            client.sendto(b"?", (NODE, KUBELET))
            assert own.recv(9) == b"?"
            own.close()
            await made.make_pass()
            client.sendto(b"!", (NODE, KUBELET))
            assert pod.recv(9) == b"!", "the connection that led elsewhere is forgotten"

    inside(netns, scenario)


def test_a_load_balancer_takes_no_loopback_address_of_a_node(netns: str) -> None:
    """`127.0.0.1` in a status led the probes of the kubelet's own port, which is at this address alone, to a Pod."""

    async def scenario() -> None:
        await make_links()
        made = node_proxy.Proxy(greedy(balanced=("127.0.0.1", "::1", "0.0.0.0", "169.254.0.1")), ignore)
        with answering(ONE, SERVED, "pod") as pod, answering("127.0.0.1", HEALTHZ, "kubelet") as kubelet:
            await made.make_pass()
            assert asked("127.0.0.1", HEALTHZ, pod, kubelet) == "kubelet"
            assert asked("127.0.0.1", FREE, pod, kubelet) == ""
            kubelet.close()
            assert asked("127.0.0.1", HEALTHZ, pod) == "", "also where no process listens"
        assert b"169.254.0.1" not in await listing()

    inside(netns, scenario)


def test_the_port_of_another_node_is_that_nodes(netns: str) -> None:
    """The API server asks a kubelet at its node's address: this node must not lead it to a Service."""

    async def scenario() -> None:
        await make_links()
        known = greedy(OTHER_NODE, "198.51.100.1")
        made = node_proxy.Proxy(known, ignore)
        with answering(ONE, SERVED, "pod") as pod:
            await ip("route", "add", "local", "192.0.2.2/32", "dev", "lo")  # stands for the other node
            await ip("route", "add", "198.51.100.1/32", "dev", "lo")
            with answering(OTHER_NODE, KUBELET, "other kubelet") as other:
                await made.make_pass()
                assert asked(OTHER_NODE, KUBELET, pod, other) == "other kubelet"
                assert asked("198.51.100.1", KUBELET, pod, other) == "pod"
            known.nodes.store.remove("uid-node2")
            await made.make_pass()
            assert asked(OTHER_NODE, KUBELET, pod) == "pod", "an address like any other"

    inside(netns, scenario)


def test_a_node_port_of_another_service_stays_with_it(netns: str) -> None:
    async def scenario() -> None:
        await make_links()
        known = greedy(NODE)
        ports = (ServicePort(name="p", port=80, node_port=FREE),)
        owner = Service(
            metadata=ObjectMeta(name="owner", namespace="other", uid="owner"),
            spec=ServiceSpec(type="NodePort", cluster_ips=("10.96.0.99",), ports=ports),
        )
        behind = EndpointSlice(
            metadata=ObjectMeta(name="o", namespace="other", uid="o", labels={names.SERVICE_OF_SLICE: "owner"}),
            address_type="IPv4",
            endpoints=(Endpoint(addresses=(TWO,), node_name=OWN),),
            ports=(EndpointPort(name="p", port=SERVED),),
        )
        await ip("address", "add", f"{TWO}/32", "dev", "lo")
        told: list[str] = []
        made = node_proxy.Proxy(known, lambda service, message: told.append(message))
        with answering(ONE, SERVED, "pod") as pod, answering(TWO, SERVED, "owner") as other:
            await made.make_pass()
            assert asked(NODE, FREE, pod, other) == "pod"
            known.services.store.put(owner)
            known.slices.store.put(behind)
            await made.make_pass()
            assert asked(NODE, FREE, pod, other) == "owner"
        assert told == [
            f"Service team/greedy: {NODE}:{FREE}/TCP is a node port of another Service; use another address or port"
        ]

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
