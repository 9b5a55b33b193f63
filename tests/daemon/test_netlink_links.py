"""Links, addresses and routes against the real kernel, in network namespaces of the test's own. Needs root."""

import asyncio
import ctypes
import errno
import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from kube_ovn.daemon import plumbing
from kube_ovn.daemon.wait import Broadcast
from kube_ovn.host.egress import render_table
from kube_ovn.host.node import LinkKey
from kube_ovn.host.subnet import NodeSubnet
from kube_ovn.linux import icmp, links, netlink, nft, notify, policy
from kube_ovn.linux.netlink import NetlinkError, Socket
from kube_ovn.model import names
from kube_ovn.model.crd import NatRule, NatRuleMatch
from kube_ovn.model.gateway import parse_nat_rule
from kube_ovn.model.host import (
    Detour,
    DetourEnd,
    DetourRoute,
    DetourRule,
    InterfaceAddress,
    PodNetwork,
    Route,
    Sandbox,
)

V4 = InterfaceAddress(address=ip_address("10.16.0.5"), prefix=16)
V6 = InterfaceAddress(address=ip_address("fd00:10:16::5"), prefix=112)
JOIN = InterfaceAddress(address=ip_address("100.64.0.2"), prefix=16)
JOIN_V6 = InterfaceAddress(address=ip_address("fd00:100:64::2"), prefix=112)
ROUTES = (
    Route(to=ip_network("0.0.0.0/0"), via=ip_address("10.16.0.1")),
    Route(to=ip_network("::/0"), via=ip_address("fd00:10:16::1")),
    Route(to=ip_network("192.168.7.0/24"), via=ip_address("10.16.0.9")),
)
NETWORK = PodNetwork(
    uid="u",
    mac="0a:00:00:00:00:05",
    interfaces=(V4, V6),
    gateways=(ip_address("10.16.0.1"), ip_address("fd00:10:16::1")),
    routes=ROUTES,
)


def make_netns() -> str:
    name = f"kot-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    return f"/run/netns/{name}"


def remove_netns(path: str) -> None:
    subprocess.run(["ip", "netns", "delete", os.path.basename(path)], check=True)


@pytest.fixture
def netns() -> Iterator[str]:
    path = make_netns()
    yield path
    remove_netns(path)


@pytest.fixture
def sandbox(netns: str) -> Iterator[Sandbox]:
    made = Sandbox(container=uuid.uuid4().hex, interface="eth0", netns=netns, namespace="ns", pod="p", uid="u")
    yield made
    plumbing.disconnect(made.link)


def link_names() -> set[str]:
    return {link.name for link in plumbing.list_links()}


def inside(netns: str, function: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a coroutine in a thread that lives in the namespace."""
    failures: list[BaseException] = []

    def enter() -> None:
        with open(netns) as file:
            assert ctypes.CDLL(None).setns(file.fileno(), 0) == 0
        try:
            asyncio.run(asyncio.wait_for(function(), 20))
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def test_pod_gets_everything(sandbox: Sandbox) -> None:
    plumbing.connect(sandbox, NETWORK, 1400)
    with Socket(sandbox.netns) as pod, Socket() as root:
        link = links.get_link(pod, "eth0")
        assert link is not None
        assert (link.mac, link.mtu, link.up) == (NETWORK.mac, 1400, True)
        assert {address for _, address in links.list_addresses(pod, link.index)} == {V4, V6}
        assert set(ROUTES) <= set(links.list_routes(pod, None))
        host = links.get_link(root, sandbox.link)
        assert host is not None
        assert (host.mtu, host.up) == (1400, True)
        lo = links.get_link(pod, "lo")
        assert lo is not None
        assert lo.up
    assert plumbing.compare(sandbox, NETWORK.mac, [str(V4), str(V6)]) == []


def test_ipv6_address_is_usable_at_once(sandbox: Sandbox) -> None:
    """Without duplicate address detection: a tentative address would cost the Pod a second."""
    plumbing.connect(sandbox, NETWORK, 1400)
    command = ["ip", "-n", os.path.basename(sandbox.netns), "-6", "address", "show", "dev", "eth0", "scope", "global"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert str(V6) in shown
    assert "tentative" not in shown


def test_an_address_that_is_not_usable_yet_is_refused(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were there detection after all, no container may start before its end."""
    monkeypatch.setattr(links, "_IFA_F_NODAD", 0)
    with pytest.raises(NetlinkError, match=r"address fd00:10:16::5/112: .* \(it is still tentative\)"):
        plumbing.connect(sandbox, NETWORK, 1400)


def test_a_duplicate_address_is_named(sandbox: Sandbox) -> None:
    """Somebody on the Pod's network has its address, and its kernel finds out."""
    plumbing.connect(sandbox, NETWORK, 1400)
    subprocess.run(["ip", "link", "set", sandbox.link, "addrgenmode", "eui64"], check=True)
    subprocess.run(["ip", "address", "add", str(V6), "dev", sandbox.link, "nodad"], check=True)
    inside = ["ip", "-n", os.path.basename(sandbox.netns), "address"]
    subprocess.run([*inside, "delete", str(V6), "dev", "eth0"], check=True)
    subprocess.run([*inside, "add", str(V6), "dev", "eth0"], check=True)
    wanted = [f"address {V6} cannot be used: another host on its network has it"]
    end = time.monotonic() + 10
    while plumbing.compare(sandbox, NETWORK.mac, [str(V4), str(V6)]) != wanted:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_pod_without_ipv6_is_silent_in_it(sandbox: Sandbox) -> None:
    """Nothing is sent by itself: no router asked for, no group reported, no address tried."""
    only_v4 = replace(NETWORK, interfaces=(V4,), gateways=NETWORK.gateways[:1], routes=())
    plumbing.connect(sandbox, only_v4, 1400)
    inside = ["ip", "-n", os.path.basename(sandbox.netns)]
    for where, link in ((inside, "eth0"), (["ip"], sandbox.link)):
        command = [*where, "-6", "address", "show", "dev", link]
        assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == ""
    time.sleep(0.5)
    for where, link in ((inside, "eth0"), (["ip"], sandbox.link)):
        command = [*where, "-json", "-statistics", "link", "show", "dev", link]
        (shown,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert shown["stats64"]["tx"]["packets"] == 0


def test_cut_off_request_is_made_again(sandbox: Sandbox) -> None:
    plumbing.connect(sandbox, NETWORK, 1400)
    plumbing.connect(sandbox, NETWORK, 1300)
    with Socket(sandbox.netns) as pod:
        link = links.get_link(pod, "eth0")
        assert link is not None
        assert link.mtu == 1300


def test_names_at_their_limits(netns: str) -> None:
    made = Sandbox(container="a", interface="fifteen-chars-x", netns=netns)
    plumbing.connect(made, NETWORK, 1400)
    with Socket(netns) as pod:
        assert links.get_link(pod, "fifteen-chars-x") is not None
    plumbing.disconnect(made.link)


def test_foreign_interface_is_not_replaced(sandbox: Sandbox) -> None:
    taken = Sandbox(container="other", interface="lo", netns=sandbox.netns)
    with pytest.raises(NetlinkError, match="File exists"):
        plumbing.connect(taken, NETWORK, 1400)


@pytest.mark.parametrize(
    ("path", "number"), [("/nowhere", errno.ENOENT), ("/etc/passwd", errno.EINVAL), ("/", errno.EINVAL)]
)
def test_no_network_namespace(path: str, number: int) -> None:
    with pytest.raises(NetlinkError, match=path) as caught:
        plumbing.connect(Sandbox(container="a", interface="eth0", netns=path), NETWORK, 1400)
    assert caught.value.errno == number
    assert not netlink.is_netns(path)


def test_the_nodes_own_namespace_is_refused() -> None:
    made = Sandbox(container="a", interface="eth0", netns="/proc/self/ns/net")
    with pytest.raises(NetlinkError, match="own network namespace"):
        plumbing.connect(made, NETWORK, 1400)
    assert made.link not in link_names()


def test_disconnect_finds_nothing() -> None:
    plumbing.disconnect("kot-not-there_h")


def test_link_goes_with_the_namespace() -> None:
    path = make_netns()
    made = Sandbox(container=uuid.uuid4().hex, interface="eth0", netns=path)
    plumbing.connect(made, NETWORK, 1400)
    assert netlink.is_netns(path)
    remove_netns(path)
    assert not netlink.is_netns(path)
    plumbing.disconnect(made.link)  # the kernel may still be at it


def test_compare_names_what_differs(sandbox: Sandbox) -> None:
    plumbing.connect(sandbox, NETWORK, 1400)
    with Socket(sandbox.netns) as pod:
        link = links.get_link(pod, "eth0")
        assert link is not None
        links.delete_address(pod, link.index, V4)
    differences = plumbing.compare(sandbox, "0a:00:00:00:00:06", [str(V4), str(V6)])
    assert differences == [
        "address 10.16.0.5/16 is missing",
        "MAC address is 0a:00:00:00:00:05, not 0a:00:00:00:00:06",
    ]


def test_many_sandboxes_side_by_side() -> None:
    paths = [make_netns() for _ in range(8)]
    made = [Sandbox(container=uuid.uuid4().hex, interface="eth0", netns=path) for path in paths]

    async def connect_all() -> None:
        await asyncio.gather(*(plumbing.run(plumbing.connect, sandbox, NETWORK, 1400) for sandbox in made))

    asyncio.run(connect_all())
    assert {sandbox.link for sandbox in made} <= link_names()
    for sandbox in made:
        plumbing.disconnect(sandbox.link)
        remove_netns(sandbox.netns)


def fabric(count: int) -> dict[LinkKey, Route | None]:
    """ovn0 with the routes to so many subnets of both families."""
    state: dict[LinkKey, Route | None] = {JOIN: None, JOIN_V6: None}
    for number in range(count):
        v4, v6 = ip_network(f"10.{number % 256}.{number // 256}.0/24"), ip_network(f"fd00:16:{number:x}::/64")
        state[v4] = Route(to=v4, via=ip_address("100.64.0.1"), source=ip_address("100.64.0.2"))
        state[v6] = Route(to=v6, via=ip_address("fd00:100:64::1"), source=ip_address("fd00:100:64::2"))
    return state


def routes_of(state: dict[LinkKey, Route | None]) -> set[Route]:
    return {route for route in state.values() if route is not None}


def ours() -> set[Route]:
    with Socket() as root:
        return set(links.list_routes(root, names.ROUTE_PROTOCOL))


def ovn0_state(via: str = "100.64.0.1") -> dict[LinkKey, Route | None]:
    pods = ip_network("10.16.0.0/16")
    return {
        JOIN: None,
        pods: Route(to=pods, via=ip_address(via), source=ip_address("100.64.0.2")),
    }


class Told:
    """Counts what a watch tells."""

    def __init__(self) -> None:
        self.count = 0
        self._broadcast = Broadcast()

    def tell(self) -> None:
        self.count += 1
        self._broadcast.notify()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            await self._broadcast.until(lambda: True if self.count >= count else None)


async def ip(*arguments: str) -> None:
    await run("ip", *arguments)


async def run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0


def test_node_settles_and_stays(netns: str) -> None:
    """What is missing is added, what is ours and unwanted removed."""

    async def scenario() -> None:
        assert plumbing.apply(names.NODE_NIC, ovn0_state()) is None
        await ip("link", "add", "ovn0", "type", "veth", "peer", "name", "far")
        await ip("link", "set", "far", "up")
        index = plumbing.apply(names.NODE_NIC, ovn0_state())
        assert index is not None
        assert plumbing.apply(names.NODE_NIC, ovn0_state()) == index
        await ip("link", "set", "ovn0", "down")  # and with it the routes are gone
        await ip("address", "add", "192.0.2.1/32", "dev", "ovn0")
        plumbing.apply(names.NODE_NIC, ovn0_state("100.64.0.3"))
        with Socket() as root:
            assert [address for _, address in links.list_addresses(root, index)] == [JOIN]
            assert [str(route.via) for route in links.list_routes(root, names.ROUTE_PROTOCOL)] == ["100.64.0.3"]
        plumbing.apply(names.NODE_NIC, {})
        with Socket() as root:
            assert links.list_addresses(root, index) == []
            assert links.list_routes(root, names.ROUTE_PROTOCOL) == []

    inside(netns, scenario)


def test_many_subnets_are_settled_at_once_and_then_left_alone(netns: str) -> None:
    async def scenario() -> None:
        await ip("link", "add", "ovn0", "type", "veth", "peer", "name", "far")
        await ip("link", "set", "far", "up")
        plumbing.apply(names.NODE_NIC, fabric(0))
        await carrier("ovn0")
        started = time.monotonic()
        index = plumbing.apply(names.NODE_NIC, fabric(400))
        assert time.monotonic() - started < 1
        assert ours() == routes_of(fabric(400))
        told = Told()
        watch = notify.LinkWatch([names.NODE_NIC], names.ROUTE_PROTOCOL, told.tell)
        watch.indices[names.NODE_NIC] = index
        task = asyncio.create_task(watch.run())
        await told.until(1)
        plumbing.apply(names.NODE_NIC, fabric(400))  # writes nothing
        await ip("route", "delete", "10.7.0.0/24")
        await told.until(2)
        assert told.count == 2
        plumbing.apply(names.NODE_NIC, fabric(2))
        assert ours() == routes_of(fabric(2))
        task.cancel()

    inside(netns, scenario)


def test_a_route_of_another_program_stays_and_is_there_when_ours_goes(netns: str) -> None:
    """Ours comes after it, is changed, and goes; and what the node is attached to is known."""

    async def scenario() -> None:
        for name in ("ovn0", "docker0"):
            await ip("link", "add", name, "type", "veth", "peer", "name", f"far-{name}")
            await ip("link", "set", f"far-{name}", "up")
            await ip("link", "set", name, "up")
        await ip("address", "add", "172.17.0.1/16", "dev", "docker0")
        await ip("address", "add", "fd17::1/64", "dev", "docker0", "nodad")
        await ip("route", "add", "10.7.0.0/24", "via", "172.17.0.9")
        await ip("route", "add", "default", "via", "172.17.0.2")
        await ip("route", "add", "default", "dev", "docker0", "metric", "500")
        await ip("route", "add", "10.9.0.0/24", "via", "inet6", "fd17::9", "dev", "docker0")
        theirs = {"172.17.0.0/16": "", "10.7.0.0/24": "172.17.0.9", "fd17::/64": ""}

        def others() -> dict[str, str]:
            with Socket() as root:
                found = {str(each.to): str(each.via or "") for each in links.list_routes(root, None)}
            return {to: via for to, via in found.items() if to in theirs}

        for router in ("100.64.0.1", "100.64.0.3"):
            wanted: dict[LinkKey, Route | None] = {JOIN: None}
            for to in map(ip_network, ("172.17.0.0/16", "10.7.0.0/24", "10.8.0.0/24")):
                wanted[to] = Route(to=to, via=ip_address(router))
            plumbing.apply(names.NODE_NIC, wanted)
            await carrier("ovn0")
            plumbing.apply(names.NODE_NIC, wanted)
            assert others() == theirs
            assert ours() == {Route(to=ip_network("10.8.0.0/24"), via=ip_address(router))}
        around = plumbing.look_around()
        ways = around.ways
        assert {str(each) for each in around.addresses} >= {"100.64.0.2", "fd17::1"}
        routed = [(way.link, way.to.version) for way in ways if way.via is not None and way.to.prefixlen]
        assert sorted(routed) == [("docker0", 4), ("ovn0", 4)], "two routes through a router tell no more than one"
        on_link = [(way.link, str(way.to)) for way in ways if way.via is None]
        assert ("docker0", "172.17.0.0/16") in on_link
        assert ("docker0", "fd17::/64") in on_link
        assert ("docker0", "10.9.0.0/24") not in on_link
        assert [str(way.via) for way in ways if not way.to.prefixlen] == ["172.17.0.2", "None"]
        plumbing.apply(names.NODE_NIC, {})
        assert others() == theirs

    inside(netns, scenario)


def test_a_route_that_is_refused_keeps_no_other_out(netns: str) -> None:
    async def scenario() -> None:
        await ip("link", "add", "ovn0", "type", "veth", "peer", "name", "far")
        await ip("link", "set", "far", "up")
        bad = ip_network("10.99.0.0/16")
        wanted = {**fabric(1), bad: Route(to=bad, via=ip_address("192.0.2.1")), **fabric(100)}
        with pytest.raises(NetlinkError, match=r"route 10\.99\.0\.0/16 via 192\.0\.2\.1: Network is unreachable"):
            plumbing.apply(names.NODE_NIC, wanted)
        assert ours() == routes_of(fabric(100))

    inside(netns, scenario)


async def carrier(link: str) -> None:
    """Wait until the kernel has noticed that both ends of a pair are up."""
    for _ in range(500):
        process = await asyncio.create_subprocess_exec("ip", "-o", "link", "show", link, stdout=subprocess.PIPE)
        if b"state UP" in (await process.communicate())[0]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{link} has no carrier")


def test_only_what_concerns_the_node_is_told(netns: str) -> None:
    async def scenario() -> None:
        await ip("link", "add", "ovn0", "type", "veth", "peer", "name", "far")
        await ip("link", "set", "ovn0", "addrgenmode", "none")
        await ip("link", "set", "far", "up")
        index, told = plumbing.apply(names.NODE_NIC, ovn0_state()), Told()
        await carrier("ovn0")  # what the kernel tells of it by itself must not come later
        watch = notify.LinkWatch([names.NODE_NIC], names.ROUTE_PROTOCOL, told.tell)
        watch.indices[names.NODE_NIC] = index
        task = asyncio.create_task(watch.run())
        await told.until(1)  # at the start, for what happened before

        plumbing.apply(names.NODE_NIC, ovn0_state())  # nothing to write
        await ip("address", "add", "192.0.2.9/24", "dev", "far")
        await ip("route", "add", "198.51.100.0/24", "via", "192.0.2.1")
        await ip("link", "add", "pod_h", "type", "veth", "peer", "name", "pod_c")
        await ip("route", "delete", "10.16.0.0/16")  # the only one of these that is ours
        await told.until(2)
        assert told.count == 2
        await ip("link", "set", "ovn0", "mtu", "1300")
        await told.until(3)
        task.cancel()

    inside(netns, scenario)


def test_table_is_replaced_and_watched(netns: str) -> None:
    async def scenario() -> None:
        told = Told()
        watch = notify.TableWatch(names.NFT_TABLE, told.tell)
        task = asyncio.create_task(watch.run())
        await told.until(1)
        table = render_table([node_subnet("ovn-default", 0, nat=True)])
        watch.own = table.comment
        await nft.apply(table.text)
        await nft.apply(table.text)
        await run("nft", "add table inet other; delete table inet other")
        await run("nft", "flush chain inet kube-ovn postrouting")  # the only one of these that is about us, not by us
        await told.until(2)
        assert told.count == 2
        await run("nft", "flush ruleset")
        await told.until(3)
        assert told.count == 3
        with pytest.raises(nft.NftError, match="nft refused"):
            await nft.apply("table inet {")
        task.cancel()

    inside(netns, scenario)


def node_subnet(name: str, number: int, *, nat: bool) -> NodeSubnet:
    networks = (ip_network(f"10.{number % 256}.{number // 256}.0/24"), ip_network(f"fd00:16:{number:x}::/64"))
    return NodeSubnet(name=name, networks=networks, nat=nat)


def _leaving(name: str, number: int) -> NodeSubnet:
    """Everything a subnet can say about the way out."""
    rules = (
        ("", "192.0.2.0/24,198.51.100.1", "forward"),
        ("fd00:16::/64", "", "nat"),
        ("10.0.0.9", "10.9.0.0/16", "nat"),
    )
    return replace(
        node_subnet(name, number, nat=True),
        centralized=True,
        sources=(ip_address("192.0.2.9"), ip_address("2001:db8::9")),
        exceptions=tuple(
            parse_nat_rule(NatRule(match=NatRuleMatch(src_ips=source, dst_ips=destination), action=action))
            for source, destination, action in rules
        ),
    )


def test_counters_are_read(netns: str) -> None:
    async def scenario() -> None:
        with pytest.raises(nft.NftError, match="nft refused"):
            await nft.counters(names.NFT_TABLE)
        await nft.apply(render_table([node_subnet("team", 0, nat=True)]).text)
        counted = {count.name: (count.packets, count.bytes) for count in await nft.counters(names.NFT_TABLE)}
        assert counted == {f"{way}{version}-team": (0, 0) for way in ("egress", "ingress") for version in (4, 6)}

    inside(netns, scenario)


def test_detours_settle_and_stay(netns: str) -> None:
    """Rules, routes and ends of both families; what the kernel refuses keeps nothing else out."""
    wanted: set[Detour] = {
        DetourEnd(table=1001, version=4),
        DetourRoute(table=1001, via=ip_address("192.0.2.254")),
        DetourRule(source=ip_network("10.80.0.0/24"), table=1001, priority=1001),
        DetourEnd(table=1002, version=6),
        DetourRoute(table=1002, via=ip_address("2001:db8::fe")),
        DetourRule(source=ip_network("fd80::/112"), table=1002, priority=1002),
    }
    nowhere = DetourRoute(table=1003, via=ip_address("198.51.100.1"))

    def ours_now() -> set[Detour]:
        with Socket() as root:
            return policy.list_detours(root, names.ROUTE_PROTOCOL)

    async def scenario() -> None:
        await ip("link", "add", "near", "type", "veth", "peer", "name", "far")
        for link in ("near", "far"):
            await ip("link", "set", link, "up")
        await ip("address", "add", "192.0.2.1/24", "dev", "near")
        await ip("address", "add", "2001:db8::1/64", "dev", "near", "nodad")
        await ip("rule", "add", "from", "10.99.0.0/16", "table", "1001", "priority", "99")  # somebody's own
        told = Told()
        watch = notify.LinkWatch([names.NODE_NIC], names.ROUTE_PROTOCOL, told.tell)
        watch.indices[names.NODE_NIC] = 0
        task = asyncio.create_task(watch.run())
        await told.until(1)
        (complaint,) = plumbing.add_detours(wanted | {nowhere})
        assert "198.51.100.1" in complaint
        assert ours_now() == wanted
        await told.until(2)
        assert plumbing.add_detours(wanted) == []
        await ip("rule", "delete", "priority", "1001")
        await ip("route", "flush", "table", "1001")
        assert ours_now() != wanted
        plumbing.add_detours(wanted)
        assert ours_now() == wanted
        plumbing.delete_detours(wanted)
        assert ours_now() == wanted
        plumbing.delete_detours(())
        assert not ours_now()
        task.cancel()

    inside(netns, scenario)


def test_nft_takes_every_table(netns: str) -> None:
    async def scenario() -> None:
        inside_one_another = NodeSubnet(name="wide", networks=(ip_network("10.0.0.0/15"),), nat=True)
        many = [node_subnet(f"team-{number}", number, nat=number % 2 == 0) for number in range(200)]
        tables: tuple[list[NodeSubnet], ...] = (
            [node_subnet("no-nat", 0, nat=False)],
            [node_subnet("n" * 253, 0, nat=True), inside_one_another],
            [],
            [_leaving("9.a-b", 1), _leaving("m" * 253, 1), _leaving("m" * 252 + "n", 2)],
            many,
        )
        for subnets in tables:
            await nft.apply(render_table(subnets).text)
        listing = await asyncio.create_subprocess_exec(
            "nft", "list", "table", "inet", "kube-ovn", stdout=subprocess.PIPE
        )
        assert b'fd00:16:c7::/64 comment "team-199"' in (await listing.communicate())[0]

    inside(netns, scenario)


def test_echo(netns: str) -> None:
    async def scenario() -> None:
        await ip("link", "set", "lo", "up")
        await icmp.echo(ip_address("127.0.0.1"), "lo", 2)
        await icmp.echo(ip_address("::1"), "lo", 2)
        with pytest.raises(OSError, match="No such device"):
            await icmp.echo(ip_address("127.0.0.1"), "ovn0", 2)

    inside(netns, scenario)


def test_mtu_of_pods(netns: str) -> None:
    async def scenario() -> None:
        await ip("link", "add", "eth7", "mtu", "1500", "type", "veth", "peer", "name", "far")
        await ip("address", "add", "192.0.2.1/24", "dev", "eth7")
        assert plumbing.pod_mtu(["nic.*", "eth[0-9]"], [], 100) == 1400
        await ip("link", "add", "aeth7", "mtu", "9000", "type", "veth", "peer", "name", "away")
        assert plumbing.pod_mtu(["eth7"], [], 100) == 1400  # and not the one whose name contains it
        assert plumbing.pod_mtu([], [ip_address("192.0.2.1")], 50) == 1450
        with pytest.raises(NetlinkError, match=r"NIC with address 192\.0\.2\.2"):
            plumbing.pod_mtu([], [ip_address("192.0.2.2")], 50)

    inside(netns, scenario)
