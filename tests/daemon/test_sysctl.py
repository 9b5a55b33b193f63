"""Settings of the kernel in network namespaces, against the real kernel. Needs root."""

import json
import os
import socket
import struct
import subprocess
import time
from ipaddress import ip_address

import pytest

from kube_ovn.daemon import plumbing
from kube_ovn.linux import sysctl
from kube_ovn.linux.netlink import NetlinkError
from kube_ovn.model.host import Sandbox
from tests.daemon.test_netlink_links import NETWORK, make_netns, netns, remove_netns, sandbox

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
