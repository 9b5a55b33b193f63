"""The guard of the databases against the real kernel, in two network namespaces of the test's own. Needs root."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from kube_ovn.host.guard import render_guard
from kube_ovn.linux import nft
from kube_ovn.model import names
from sandbox.command import attempt
from tests.daemon.test_netlink_links import inside, ip, make_netns, netns, remove_netns, run

__all__ = ["netns"]

HERE, NODE, OTHER = "192.0.2.1", "192.0.2.2", "192.0.2.3"
HERE6, NODE6, OTHER6 = "2001:db8::1", "2001:db8::2", "2001:db8::3"
INSIDE = "100.64.0.2"
DATABASE, ELSE, PUBLISHED = names.DATABASE_PORTS[0], 8080, 9090
REFUSED = "refused"
ASK = (
    "import socket, sys\n"
    "try: socket.create_connection((sys.argv[2], int(sys.argv[3])), 2, (sys.argv[1], 0))\n"
    "except ConnectionRefusedError: print('refused')\n"
    "else: print('connected')\n"
)


@pytest.fixture
def peer() -> Iterator[str]:
    """Another host."""
    path = make_netns()
    yield path
    remove_netns(path)


def ask(peer: str, source: str, address: str, port: int) -> str:
    """What the other host hears when it connects from one of its addresses."""
    code, out, err = attempt(["nsenter", f"--net={peer}", "python3", "-c", ASK, source, address, str(port)], timeout=10)
    assert code == 0, err
    return out.strip()


async def connect(peer: str, link: str, near: list[str], far: list[str]) -> None:
    """A link to the other host, with addresses at both ends."""
    await ip("link", "add", link, "type", "veth", "peer", "name", link, "netns", peer)
    await ip("link", "set", link, "up")
    for address in near:
        await ip("address", "add", address, "dev", link, *(["nodad"] if ":" in address else []))
    for address in far:
        words = ["address", "add", address, "dev", link, *(["nodad"] if ":" in address else [])]
        await run("nsenter", f"--net={peer}", "ip", *words)
    await run("nsenter", f"--net={peer}", "ip", "link", "set", link, "up")


def test_only_nodes_reach_the_databases(netns: str, peer: str) -> None:
    async def scenario() -> None:
        await ip("link", "set", "lo", "up")
        far = [f"{NODE}/24", f"{OTHER}/24", f"{NODE6}/64", f"{OTHER6}/64"]
        await connect(peer, "eth0", [f"{HERE}/24", f"{HERE6}/64"], far)
        await connect(peer, names.NODE_NIC, [f"{INSIDE}/16"], ["100.64.0.9/16"])
        publish = f"tcp dport {PUBLISHED} dnat ip to {HERE}:{DATABASE}"
        hook = "type nat hook prerouting priority dstnat;"
        await nft.apply(f"table inet portmap {{\nchain prerouting {{\n{hook}\n{publish}\n}}\n}}\n")
        await nft.apply(render_guard([ip_address(each) for each in (HERE, HERE6, NODE, NODE6, "100.64.0.9")]).text)
        with ExitStack() as stack:
            for port in (DATABASE, ELSE):
                stack.enter_context(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True))
            for source, address in ((NODE, HERE), (NODE6, HERE6)):
                assert ask(peer, source, address, DATABASE) == "connected"
            for source, address in ((OTHER, HERE), (OTHER6, HERE6)):
                assert ask(peer, source, address, DATABASE) == REFUSED
                assert ask(peer, source, address, ELSE) == "connected"
            assert ask(peer, "100.64.0.9", INSIDE, DATABASE) == REFUSED, "it came out of the fabric"
            assert ask(peer, "100.64.0.9", INSIDE, ELSE) == "connected"
            assert ask(peer, NODE, HERE, PUBLISHED) == REFUSED, "it was led here"
            for address in (HERE, HERE6, "127.0.0.1"):
                socket.create_connection((address, DATABASE), 2).close()

    inside(netns, scenario)
