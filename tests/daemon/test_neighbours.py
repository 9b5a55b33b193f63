"""Announcements of addresses, as the neighbour table of a real kernel takes them. Needs root."""

import json
import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from kube_ovn.linux.neighbours import tell_neighbours
from kube_ovn.linux.netlink import NetlinkError
from kube_ovn.model.addr import Address
from tests.daemon.node import until
from tests.daemon.test_netlink_links import make_netns, remove_netns

OLD, NEW = "0a:00:00:00:00:0a", "0a:00:00:00:00:0b"
ADDRESSES: list[Address] = [ip_address("10.16.0.5"), ip_address("fd00:10:16::5")]


def inside(netns: str, *command: str) -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", os.path.basename(netns), *command], check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture
def pair() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a link between them, `eth0` at both ends."""
    first, second = make_netns(), make_netns()
    names = [os.path.basename(path) for path in (first, second)]
    ends = ["netns", names[0], "address", NEW, "type", "veth", "peer", "name", "eth0", "netns", names[1]]
    subprocess.run(["ip", "link", "add", "eth0", *ends], check=True)
    for path in (first, second):
        inside(path, "ip", "link", "set", "eth0", "up")
    inside(second, "ip", "address", "add", "10.16.0.9/16", "dev", "eth0")
    inside(second, "ip", "address", "add", "fd00:10:16::9/112", "dev", "eth0", "nodad")
    yield first, second
    remove_netns(first)
    remove_netns(second)


def known(netns: str) -> dict[str, str]:
    found = json.loads(inside(netns, "ip", "-json", "neighbour", "show", "dev", "eth0"))
    return {entry["dst"]: entry["lladdr"] for entry in found if "lladdr" in entry}


def test_a_neighbour_takes_over_the_new_mac_address_at_once(pair: tuple[str, str]) -> None:
    pod, neighbour = pair
    for address in ADDRESSES:
        inside(neighbour, "ip", "neighbour", "add", str(address), "lladdr", OLD, "dev", "eth0", "nud", "reachable")
    tell_neighbours(pod, "eth0", NEW, ADDRESSES)
    until("the neighbour knows", lambda: set(known(neighbour).values()) == {NEW})
    assert set(known(neighbour)) == set(map(str, ADDRESSES))


def test_a_neighbour_that_does_not_know_an_address_does_not_learn_it(pair: tuple[str, str]) -> None:
    pod, neighbour = pair
    last: Address = ip_address("10.16.0.7")
    inside(neighbour, "ip", "neighbour", "add", str(last), "lladdr", OLD, "dev", "eth0", "nud", "reachable")
    tell_neighbours(pod, "eth0", NEW, [*ADDRESSES, last])
    until("the neighbour knows", lambda: known(neighbour)[str(last)] == NEW)
    assert set(known(neighbour)) == {str(last)}


def test_a_namespace_that_is_gone_is_an_error() -> None:
    with pytest.raises(NetlinkError, match="network namespace"):
        tell_neighbours("/run/netns/kot-none", "eth0", NEW, ADDRESSES)
