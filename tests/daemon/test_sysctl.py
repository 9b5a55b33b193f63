"""Settings of the kernel in network namespaces, against the real kernel. Needs root."""

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from kube_ovn.daemon import plumbing
from kube_ovn.host.sysctl import find_uplinks
from kube_ovn.linux import notify, sysctl
from kube_ovn.linux.netlink import NetlinkError
from kube_ovn.model import names
from kube_ovn.model.host import Sandbox
from tests.daemon.node import in_netns, ping
from tests.daemon.test_netlink_links import (
    NETWORK,
    Told,
    carrier,
    inside,
    ip,
    make_netns,
    netns,
    remove_netns,
    run,
    sandbox,
)

__all__ = ["netns", "sandbox"]  # fixtures

LIAR = bytes.fromhex("0a00000000aa")
LIAR_LINK = ip_address("fe80::800:ff:fe00:aa")
ALL_HOSTS = ip_address("ff02::1")


def checksum(source: bytes, destination: bytes, body: bytes) -> int:
    """The checksum of an ICMPv6 message (RFC 4443, section 2.3)."""
    whole = source + destination + struct.pack("!IHBB", len(body), 0, 0, 58) + body
    total: int = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def advertisement() -> bytes:
    """The frame by which a host makes itself a router of all its neighbours for an hour (RFC 4861, section 4.2)."""
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0x08, 3600, 0, 0) + b"\x01\x01" + LIAR
    body = body[:2] + struct.pack("!H", checksum(LIAR_LINK.packed, ALL_HOSTS.packed, body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + LIAR_LINK.packed + ALL_HOSTS.packed
    return bytes.fromhex("333300000001") + LIAR + struct.pack("!H", 0x86DD) + header + body


def routes(made: Sandbox) -> list[str]:
    command = ["ip", "-n", os.path.basename(made.netns), "-6", "-j", "route", "show", "default"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [each["gateway"] for each in found]


def hears(made: Sandbox) -> bool:
    """Whether a Pod takes a neighbour for its router that says so."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as liar:
        liar.bind((made.link, 0))
        for _ in range(20):
            liar.send(advertisement())
            if str(LIAR_LINK) in routes(made):
                return True
            time.sleep(0.05)
    return False


@pytest.mark.parametrize("asked", [False, True])
def test_a_pod_takes_no_neighbour_for_its_router_unless_its_subnet_asks_for_it(sandbox: Sandbox, asked: bool) -> None:
    plumbing.connect(sandbox, NETWORK, 1400, hears_routers=asked)
    assert hears(sandbox) is asked
    assert str(NETWORK.gateways[1]) in routes(sandbox)


def test_a_namespace_or_link_that_is_gone(netns: str) -> None:
    sysctl.ignore_routers(netns, "none")
    path = make_netns()
    remove_netns(path)
    with pytest.raises(NetlinkError, match="network namespace"):
        sysctl.ignore_routers(path, "eth0")


FORWARDING6 = "net.ipv6.conf.all.forwarding"
READ_ONLY = "mount --bind /proc/sys/net /proc/sys/net && mount -o remount,bind,ro /proc/sys/net"


def command(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


class Crossing:
    """A node between a Pod and a host outside, each a network namespace. The links of the node are ovn0 and eth7.5; a
    further one, `idle`, leads nowhere.
    """

    def __init__(self) -> None:
        self.pod, self.node, self.outside = (make_netns() for _ in range(3))
        for other, link, number in ((self.pod, "ovn0", 1), (self.outside, "eth7.5", 2)):
            far = os.path.basename(other)
            self.ip(self.node, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", far)
            for where, name, host in ((other, "eth0", 2), (self.node, link, 1)):
                self.ip(where, "address", "add", f"10.0.{number}.{host}/24", "dev", name)
                self.ip(where, "link", "set", name, "up")
            self.ip(other, "route", "add", "default", "via", f"10.0.{number}.1")
        self.ip(self.node, "link", "add", "idle", "type", "veth", "peer", "name", "nowhere")

    def ip(self, where: str, *arguments: str) -> str:
        return command("ip", "-n", os.path.basename(where), *arguments)

    def get(self, name: str) -> str:
        return command("ip", "netns", "exec", os.path.basename(self.node), "sysctl", "-n", name).strip()

    def set(self, name: str, value: str) -> None:
        command("ip", "netns", "exec", os.path.basename(self.node), "sysctl", "-qw", f"{name}={value}")

    def apply(self, *versions: int, nics: tuple[str, ...] = ("ovn0",)) -> list[str]:
        return in_netns(self.node, lambda: plumbing.apply_sysctls(versions, nics, plumbing.look_around().ways))

    def passes(self) -> bool:
        """Whether packets of the Pod reach the host outside and the answers come back."""
        return ping(self.pod, "10.0.2.2")

    def remove(self) -> None:
        for each in (self.pod, self.node, self.outside):
            remove_netns(each)


@pytest.fixture
def crossing() -> Iterator[Crossing]:
    made = Crossing()
    yield made
    made.remove()


def test_ipv4_is_forwarded_between_the_links_concerned_and_by_no_other(crossing: Crossing) -> None:
    for name, value in (("ip_forward", "1"), ("conf.all.rp_filter", "1")):
        crossing.set(f"net.ipv4.{name}", value)
    assert crossing.apply(4) == []
    assert crossing.passes()
    crossing.set("net.ipv4.ip_forward", "0")
    assert not crossing.passes()
    assert crossing.apply(4) == []
    assert crossing.passes()
    assert [crossing.get(f"net.ipv4.conf.{link}.forwarding") for link in ("ovn0", "eth7/5", "idle")] == ["1", "1", "0"]
    assert [crossing.get(f"net.ipv4.conf.{link}.rp_filter") for link in ("ovn0", "eth7/5")] == ["2", "0"]
    assert crossing.get(FORWARDING6) == "0"


def advertise(crossing: Crossing) -> None:
    """Let the host outside make itself the node's router, and wait until the node has heard it."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as router:
            router.bind(("eth0", 0))
            for _ in range(200):
                router.send(advertisement())
                if routes6(crossing):
                    return
                time.sleep(0.05)
        raise AssertionError("the advertisement is not heard")

    in_netns(crossing.outside, send)


def routes6(crossing: Crossing) -> list[str]:
    return [each["gateway"] for each in json.loads(crossing.ip(crossing.node, "-6", "-j", "route", "show", "default"))]


def test_ipv6_is_forwarded_and_the_node_keeps_its_router(crossing: Crossing) -> None:
    advertise(crossing)
    assert crossing.apply(4, 6) == []
    assert crossing.get(FORWARDING6) == "1"
    assert routes6(crossing) == [str(LIAR_LINK)]
    assert [crossing.get(f"net.ipv6.conf.{link}.accept_ra") for link in ("ovn0", "eth7/5", "idle")] == ["1", "2", "1"]
    crossing.set("net.ipv6.conf.eth7/5.accept_ra", "1")  # the router would go with the end of its lifetime
    assert crossing.apply(6) == []
    assert crossing.get("net.ipv6.conf.eth7/5.accept_ra") == "2"
    crossing.set(FORWARDING6, "0")
    assert crossing.apply(6) == []
    assert (crossing.get(FORWARDING6), routes6(crossing)) == ("1", [str(LIAR_LINK)])


def test_an_ipv6_router_that_comes_later_is_heard_as_before(crossing: Crossing) -> None:
    """It was down while the node, with a fixed address, began to forward."""
    crossing.ip(crossing.node, "address", "add", "fd00:2::1/64", "dev", "eth7.5", "nodad")
    assert crossing.apply(6) == []
    advertise(crossing)


def test_a_node_that_forwards_ipv6_and_hears_no_router_goes_on_so(crossing: Crossing) -> None:
    crossing.ip(crossing.node, "address", "add", "fd00:2::1/64", "dev", "eth7.5", "nodad")
    crossing.set(FORWARDING6, "1")
    assert crossing.apply(6) == []
    assert crossing.get("net.ipv6.conf.eth7/5.accept_ra") == "1"


def test_nothing_is_written_when_all_is_right(crossing: Crossing) -> None:
    """Where nothing can be written, nothing is refused; what is wrong is named, family by family."""
    script = "from kube_ovn.daemon import plumbing as p; "
    script += "print(p.apply_sysctls((4, 6), ['ovn0', 'gone'], p.look_around().ways))"

    def refused() -> str:
        entered = ["nsenter", f"--net={crossing.node}", "unshare", "--mount", "sh", "-ec"]
        return command(*entered, f'{READ_ONLY}; "$0" -c "$1"', sys.executable, script).strip()

    advertise(crossing)
    assert crossing.apply(4, 6) == []
    assert refused() == "[]"
    crossing.set("net.ipv4.conf.eth7/5.forwarding", "0")
    crossing.set("net.ipv6.conf.eth7/5.accept_ra", "1")
    setting = "is {} and cannot be set to {} (Read-only file system): set it on the node, or let kube-ovn-cni write to "
    setting += "/proc/sys/net"
    ipv4 = f"net.ipv4.conf.eth7/5.forwarding {setting.format(0, 1)}"
    ipv6 = f"net.ipv6.conf.eth7/5.accept_ra {setting.format(1, 2)}"
    assert refused() == str([ipv4, ipv6])
    crossing.set("net.ipv4.conf.eth7/5.forwarding", "1")
    assert refused() == str([ipv6])


def test_without_accept_ra_forwarding_is_not_begun(crossing: Crossing) -> None:
    """Else the node would lose its own router."""
    advertise(crossing)
    crossing.set(FORWARDING6, "0")

    def apply() -> str:
        script = "from kube_ovn.daemon import plumbing as p; print(p.apply_sysctls((6,), [], p.look_around().ways))"
        one = "/proc/sys/net/ipv6/conf/eth7.5/accept_ra"
        only = f'mount --bind {one} {one}; mount -o remount,bind,ro {one}; exec "$0" -c "$1"'
        return command(
            "nsenter", f"--net={crossing.node}", "unshare", "--mount", "sh", "-ec", only, sys.executable, script
        )

    assert "net.ipv6.conf.eth7/5.accept_ra is 1 and cannot be set to 2 (Read-only file system)" in apply()
    assert (crossing.get(FORWARDING6), routes6(crossing)) == ("0", [str(LIAR_LINK)])


def test_settings_are_told_of(netns: str) -> None:
    """Of the uplinks and of all links, without a poll; those of other links are not."""

    async def scenario() -> None:
        for name in ("eth7", "idle"):
            await ip("link", "add", name, "type", "veth", "peer", "name", f"far-{name}")
            await ip("link", "set", f"far-{name}", "up")
            await ip("link", "set", name, "up")
            await carrier(name)
        await ip("address", "add", "192.0.2.1/24", "dev", "eth7")
        uplinks = find_uplinks(plumbing.look_around().ways, 4)
        assert list(uplinks) == ["eth7"]
        told = Told()
        watch = notify.LinkWatch([names.NODE_NIC], names.ROUTE_PROTOCOL, told.tell)
        watch.indices[names.NODE_NIC] = 0
        watch.uplinks = frozenset(uplinks.values())
        task = asyncio.create_task(watch.run())
        await told.until(1)
        for number, setting in enumerate(("ipv4.conf.eth7.forwarding", "ipv4.conf.eth7.rp_filter"), 2):
            await run("sysctl", "-qw", "net.ipv4.conf.idle.forwarding=1")
            await run("sysctl", "-qw", "net.ipv4.conf.idle.forwarding=0")
            await run("sysctl", "-qw", f"net.{setting}=1")
            await told.until(number)
            assert told.count == number
        await run("sysctl", "-qw", f"{FORWARDING6}=1")
        await told.until(4)
        task.cancel()

    inside(netns, scenario)


def test_multipath_leads_over_each_of_its_links(netns: str) -> None:
    async def scenario() -> None:
        for name, network in (("up1", "192.0.2"), ("up2", "198.51.100")):
            await ip("link", "add", name, "type", "veth", "peer", "name", f"far-{name}")
            await ip("link", "set", f"far-{name}", "up")
            await ip("link", "set", name, "up")
            await ip("address", "add", f"{network}.1/24", "dev", name)
            await carrier(name)
        hops = ["nexthop", "via", "192.0.2.2", "dev", "up1", "nexthop", "via", "198.51.100.2", "dev", "up2"]
        await ip("route", "add", "default", *hops)
        found = [(way.link, str(way.via)) for way in plumbing.look_around().ways if not way.to.prefixlen]
        assert found == [("up1", "192.0.2.2"), ("up2", "198.51.100.2")]

    inside(netns, scenario)


def test_a_detour_passes_a_strict_check_of_the_way_back(crossing: Crossing) -> None:
    """Pods of a subnet with a router of its own leave over another link than the node does; `rp_filter` stays."""
    node = os.path.basename(crossing.node)
    crossing.ip(crossing.outside, "link", "add", "eth1", "type", "veth", "peer", "name", "eth8", "netns", node)
    for where, link, host in ((crossing.outside, "eth1", 2), (crossing.node, "eth8", 1)):
        crossing.ip(where, "address", "add", f"10.0.3.{host}/24", "dev", link)
        crossing.ip(where, "link", "set", link, "up")
    crossing.ip(crossing.outside, "address", "add", "198.51.100.9/32", "dev", "eth1")
    crossing.ip(crossing.outside, "route", "replace", "default", "via", "10.0.3.1")
    crossing.ip(crossing.node, "route", "add", "default", "via", "10.0.2.2")
    crossing.set("net.ipv4.conf.all.rp_filter", "1")
    assert crossing.apply(4) == []
    assert not ping(crossing.pod, "198.51.100.9")  # the answer comes in at eth8, and the way there leads over eth7.5
    crossing.ip(crossing.node, "rule", "add", "from", "10.0.1.0/24", "table", "1001", "priority", "1001")
    crossing.ip(crossing.node, "route", "add", "default", "via", "10.0.3.2", "table", "1001")
    assert ping(crossing.pod, "198.51.100.9")
