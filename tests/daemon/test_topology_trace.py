"""What the rendered rows mean to OVN: a golden scenario committed, translated by northd, and asked with ovn-trace."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from kube_ovn.model import names
from kube_ovn.model.network import Grant
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.subnets.verdict import in_effect
from tests.daemon.ovn import SCHEMAS, Ovn
from tests.daemon.test_ovsdb_client import converge, rendered, session

REQUEST, REPLY = "new", "est,rpl"
"""What connection tracking finds a packet to be."""
RECIRCULATIONS = 8
"""No packet here goes through connection tracking more often."""


@dataclass(frozen=True, kw_only=True)
class Traced:
    """A scenario in the Southbound database. Pods and nodes are named by UID."""

    ovn: Ovn
    topology: Topology

    def grant(self, uid: str) -> Grant:
        return self.topology.grants[uid]

    def address(self, uid: str, version: int = 4) -> str:
        return next(str(each) for each in self.grant(uid).addresses if each.version == version)

    def port(self, uid: str) -> str:
        (name,) = (
            key.key
            for key, row in self.topology.state.items()
            if row is not None and len(key) == 2 and row.external_ids.get(names.OWNER_UID) == uid
        )
        return name

    def trace(
        self,
        source: str,
        destination: str,
        *,
        src: str = "",
        mac: str = "",
        what: str = "",
        state: str = REQUEST,
    ) -> str | None:
        """The port at which a packet to an address comes out; None when it is dropped. `src` and `mac` forge."""
        grant = self.grant(source)
        packet = self.packet(source, destination, src=src, mac=mac, what=what)
        tracking = [f"--ct={state}"] * RECIRCULATIONS
        database = f"--db={self.ovn.endpoint('sb')}"
        return output(self.ovn.run("ovn-trace", database, "--minimal", *tracking, grant.subnet, packet))

    def packet(self, source: str, destination: str, *, src: str = "", mac: str = "", what: str = "") -> str:
        """A packet to an address, as ovn-trace takes it."""
        grant, version = self.grant(source), ip_address(destination).version
        parts = [
            f'inport == "{self.port(source)}"',
            f"eth.src == {mac or grant.mac}",
            f"eth.dst == {self._next_hop(grant, destination)}",
            f"ip{version}.src == {src or self.address(source, version)}",
            f"ip{version}.dst == {destination}",
            "ip.ttl == 64",
            what or f"icmp{version}",
        ]
        return " && ".join(parts)

    def is_heard(self, source: str, what: str) -> bool:
        """Whether a packet of a Pod to all neighbours, described by an expression, reaches any."""
        grant = self.grant(source)
        packet = f'inport == "{self.port(source)}" && eth.src == {grant.mac} && eth.dst == ff:ff:ff:ff:ff:ff && {what}'
        database, tracking = f"--db={self.ovn.endpoint('sb')}", [f"--ct={REQUEST}"] * RECIRCULATIONS
        return "output(" in self.ovn.run("ovn-trace", database, "--minimal", *tracking, grant.subnet, packet)

    def _next_hop(self, grant: Grant, destination: str) -> str:
        """The MAC of who has an address in the same subnet, else of its router."""
        there = [each.mac for each in self.topology.grants.values() if destination in map(str, each.addresses)]
        subnet = in_effect(self.topology.inputs.subnets.values[grant.subnet])
        assert subnet is not None
        router = names.derived_mac(names.router_port(self.topology.fabric.router, grant.subnet))
        return there[0] if there and subnet.holds(ip_address(destination)) else router


def output(said: str) -> str | None:
    """The port at which a packet comes out, in the words of ovn-trace; None when it is dropped."""
    found = re.findall(r'output\("([^"]+)"\)', said)
    return str(found[-1]) if found else None


def network(scenario: str, factory: pytest.TempPathFactory) -> AbstractContextManager[Traced]:
    return translated(rendered(scenario), factory)


@contextmanager
def translated(topology: Topology, factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """A settled topology, committed and translated by northd."""
    ovn = Ovn(factory.mktemp("ovn"))

    async def commit() -> None:
        async with session(ovn) as client:
            await converge(client, topology.state)

    try:
        for name in SCHEMAS:
            ovn.start_database(name)
        asyncio.run(commit())
        ovn.start_northd()
        ovn.nbctl("--timeout=15", "--wait=sb", "sync")
        yield Traced(ovn=ovn, topology=topology)
    finally:
        ovn.stop()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with network("two-nodes", tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Pods `p1` and `p2` are in the private subnet, `p3` in one it lets in, `p4` in neither, `p5` under raw ACLs, `p6`
    and `p7` in the private one with other port security.
    """
    with network("subnet-private", tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def spoofing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Pods `p1`, `p2` (asks in vain) and `p3` (permitted) in a subnet that permits nothing, `p4` with further addresses
    and `p5` in one that does.
    """
    with network("spoofing", tmp_path_factory) as made:
        yield made


def test_a_pod_reaches_a_pod_of_another_node(nodes: Traced) -> None:
    assert nodes.trace("p1", nodes.address("p2")) == "server-0.shop"


def test_the_outside_is_reached_through_the_own_node(nodes: Traced) -> None:
    assert nodes.trace("p1", "203.0.113.1") == "node-node1"
    assert nodes.trace("p2", "203.0.113.1") == "node-node-2.example"


def test_a_node_is_reached_at_its_own_port(nodes: Traced) -> None:
    assert nodes.trace("p1", "172.30.0.12") == "node-node-2.example"
    assert nodes.trace("p1", "172.30.0.11") == "node-node1"


both_families = pytest.mark.parametrize("version", [4, 6])


@both_families
def test_pods_of_a_private_subnet_reach_each_other(private: Traced, version: int) -> None:
    assert private.trace("p1", private.address("p2", version)) == "secret-b.default"


@both_families
def test_a_private_subnet_and_another_do_not_reach_each_other(private: Traced, version: int) -> None:
    assert private.trace("p4", private.address("p1", version)) is None
    assert private.trace("p1", private.address("p4", version)) is None


@both_families
def test_what_is_not_private_reaches_what_is_not_private(private: Traced, version: int) -> None:
    assert private.trace("p4", private.address("p3", version)) == "friend.default"


@pytest.mark.parametrize("outside", ["203.0.113.1", "2001:db8::1"])
def test_a_private_subnet_does_not_reach_the_outside(private: Traced, outside: str) -> None:
    assert private.trace("p4", outside) == "node-node1"
    assert private.trace("p1", outside) is None


@both_families
def test_an_allowed_subnet_and_a_private_one_reach_each_other(private: Traced, version: int) -> None:
    assert private.trace("p3", private.address("p1", version)) == "secret-a.default"
    assert private.trace("p1", private.address("p3", version)) == "friend.default"


@both_families
def test_nodes_reach_a_private_subnet_from_any_of_their_addresses(private: Traced, version: int) -> None:
    inside, own = private.address("p1", version), {4: "172.30.0.11", 6: "fd00:172:30::11"}[version]
    assert private.trace("n1", inside) == "secret-a.default"
    assert private.trace("n1", inside, src=own) == "secret-a.default"


@both_families
def test_what_a_node_forwards_does_not_reach_a_private_subnet(private: Traced, version: int) -> None:
    outside = {4: "203.0.113.1", 6: "2001:db8::1"}[version]
    assert private.trace("n1", private.address("p4", version), src=outside) == "stranger.default"
    assert private.trace("n1", private.address("p1", version), src=outside) is None


@both_families
def test_a_private_subnet_answers_nodes_and_does_not_ask_them(private: Traced, version: int) -> None:
    node = private.address("n1", version)
    assert private.trace("p1", node, state=REPLY) == "node-node1"
    assert private.trace("p1", node) is None


@both_families
@pytest.mark.parametrize(("uid", "port"), [("p2", "secret-b.default"), ("p3", "friend.default")])
def test_a_forged_source_is_dropped_at_the_port(private: Traced, version: int, uid: str, port: str) -> None:
    destination, other = private.address(uid, version), private.address("p7", version)
    assert private.trace("p1", destination) == port
    assert private.trace("p1", destination, src=other) is None
    assert private.trace("p1", destination, mac="0a:00:00:00:00:99") is None
    assert private.trace("p1", destination, mac=private.grant("p7").mac) is None


def test_a_port_is_not_another_subnets_nor_the_gateways(private: Traced) -> None:
    for forged in ("10.51.0.2", "10.50.0.1", "100.64.0.2", "172.30.0.11"):
        assert private.trace("p1", private.address("p2"), src=forged) is None


def test_a_port_may_send_from_the_addresses_its_user_adds(private: Traced) -> None:
    for version, vip in {4: "10.50.0.200", 6: "fd50::200"}.items():
        destination = private.address("p2", version)
        assert private.trace("p7", destination, src=vip) == "secret-b.default"
        assert private.trace("p7", destination, src=vip, mac="0a:00:00:00:00:99") is None
        assert private.trace("p1", destination, src=vip) is None


def test_a_port_without_security_may_send_from_any(private: Traced) -> None:
    destination = private.address("p2")
    assert private.trace("p6", destination, src="10.50.0.99", mac="0a:00:00:00:00:99") == "secret-b.default"


def test_raw_acls_of_a_user_drop_what_they_say(private: Traced) -> None:
    web, other = "tcp && tcp.dst == 80", "tcp && tcp.dst == 81"
    ruled = private.address("p5")
    assert private.trace("p3", ruled, what=web) is None
    assert private.trace("p3", ruled, what=other) == "ruled.default"
    assert private.trace("p4", ruled, what=web) == "ruled.default"
    assert private.trace("p5", "192.0.2.7", what=other) != "node-node1"
    assert private.trace("p5", "203.0.113.1", what=other) == "node-node1"


def link_local(mac: str) -> str:
    """The IPv6 address that a host makes of its MAC address (RFC 4291, appendix A)."""
    first, *rest = bytes.fromhex(mac.replace(":", ""))
    number = bytes([first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]])
    return str(ip_address(b"\xfe\x80" + bytes(6) + number))


def offer(traced: Traced, uid: str) -> str:
    return f"ip4.src == {traced.address(uid)} && ip4.dst == 255.255.255.255 && udp.src == 67 && udp.dst == 68"


def offer6(traced: Traced, uid: str) -> str:
    source = link_local(traced.grant(uid).mac)
    return f"ip6.src == {source} && ip6.dst == ff02::1 && ip.ttl == 64 && udp.src == 547 && udp.dst == 546"


@pytest.mark.parametrize("what", [offer, offer6])
def test_a_pod_does_not_say_what_dhcp_servers_say(spoofing: Traced, what: Callable[[Traced, str], str]) -> None:
    heard = {uid: spoofing.is_heard(uid, what(spoofing, uid)) for uid in ("p1", "p2", "p3", "p4", "p5")}
    assert heard == {"p1": False, "p2": False, "p3": True, "p4": False, "p5": False}


def test_ovn_lets_router_advertisements_past_every_acl(spoofing: Traced, nodes: Traced) -> None:
    """Why Pods are made deaf to them (`linux.sysctl`), also where they have IPv4 addresses alone. If this fails, an ACL
    can stop them.
    """
    says = "ip6.src == {link} && ip6.dst == ff02::1 && ip.ttl == 255 && icmp6.type == 134 && icmp6.code == 0"
    port = spoofing.port("p1")
    drop = ["acl-add", "closed", "from-lport", "32767", f'inport == "{port}" && icmp6.type == 134', "drop"]
    spoofing.ovn.nbctl("--timeout=15", "--wait=sb", *drop)
    assert spoofing.is_heard("p1", says.format(link=link_local(spoofing.grant("p1").mac)))
    assert nodes.is_heard("p1", says.format(link=link_local(nodes.grant("p1").mac)))


@pytest.mark.parametrize(
    ("family", "asking"),
    [
        (4, "arp.op == 1 && arp.sha == {mac} && arp.spa == {claimed} && arp.tpa == 10.50.0.77"),
        (4, "arp.op == 2 && arp.sha == {mac} && arp.spa == {claimed} && arp.tpa == {claimed}"),
        (
            6,
            "ip6.src == {link} && ip6.dst == ff02::1 && ip.ttl == 255 && icmp6.type == 136 && icmp6.code == 0 && "
            "nd.target == {claimed} && nd.tll == {mac}",
        ),
    ],
)
def test_a_pod_announces_its_own_addresses_alone(spoofing: Traced, family: int, asking: str) -> None:
    grant = spoofing.grant("p1")
    gateway = next(str(each) for each in grant.gateways if each.version == family)

    def announces(claimed: str, uid: str = "p1", mac: str = "") -> bool:
        own = spoofing.grant(uid).mac
        what = asking.format(mac=mac or own, claimed=claimed, link=link_local(own))
        return spoofing.is_heard(uid, what)

    assert announces(spoofing.address("p1", family))
    assert not announces(spoofing.address("p2", family))
    assert not announces(gateway)
    assert not announces(spoofing.address("p1", family), mac="0a:00:00:00:00:99")
    assert not announces(gateway, uid="p2"), "nothing permits it"
    assert announces(gateway, uid="p3")


def test_a_pod_with_further_addresses_sends_from_those_that_nobody_has(spoofing: Traced) -> None:
    destination = spoofing.address("p5")
    for source, sent in {"10.51.0.200": True, "10.51.0.3": False, "10.51.0.1": False, "10.50.0.200": False}.items():
        assert (spoofing.trace("p4", destination, src=source) is not None) is sent, source
    assert spoofing.trace("p4", spoofing.address("p5", 6), src="fd51::200") is not None
