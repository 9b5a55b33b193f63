"""What the rendered rows mean to OVN: a golden scenario committed, translated by northd, and asked with ovn-trace."""

import asyncio
import re
import time

import pytest

from kube_ovn.model import names
from kube_ovn.topology.render import Topology
from tests.daemon.ovn import Ovn, ovn
from tests.daemon.test_ovsdb_client import converge, rendered, session

__all__ = ["ovn"]

DEADLINE = 20.0


@pytest.fixture
def topology(ovn: Ovn) -> Topology:
    """The scenario `two-nodes` in the Southbound database."""
    made = rendered("two-nodes")

    async def commit() -> None:
        async with session(ovn) as client:
            await converge(client, made.assembly.state)

    asyncio.run(commit())
    ovn.start_northd()
    ovn.run("ovn-nbctl", f"--db={ovn.endpoint('nb')}", "--timeout=15", "--wait=sb", "sync")
    return made


def lrp_mac(topology: Topology, switch: str) -> str:
    return names.derived_mac(names.router_port(topology.network.fabric.router, switch))


def trace(ovn: Ovn, topology: Topology, source: str, destination: str) -> str:
    """Where a packet from a Pod to an address comes out."""
    grant = topology.ledger.grants[source]
    port = {"p1": "client.default", "p2": "server-0.shop"}[source]
    packet = (
        f'inport == "{port}" && eth.src == {grant.mac} && eth.dst == {lrp_mac(topology, "ovn-default")} '
        f"&& ip4.src == {grant.addresses[0]} && ip4.dst == {destination} && ip.ttl == 64 && icmp4"
    )
    deadline = time.monotonic() + DEADLINE
    while True:
        said = ovn.run("ovn-trace", f"--db={ovn.endpoint('sb')}", "--minimal", grant.subnet, packet)
        if found := re.findall(r'output\("([^"]+)"\)', said):
            return str(found[-1])
        assert time.monotonic() < deadline, said


def test_a_pod_reaches_a_pod_of_another_node(ovn: Ovn, topology: Topology) -> None:
    (server,) = topology.ledger.grants["p2"].addresses
    assert trace(ovn, topology, "p1", str(server)) == "server-0.shop"


def test_the_outside_is_reached_through_the_own_node(ovn: Ovn, topology: Topology) -> None:
    assert trace(ovn, topology, "p1", "203.0.113.1") == "node-node1"
    assert trace(ovn, topology, "p2", "203.0.113.1") == "node-node-2.example"


def test_a_node_is_reached_at_its_own_port(ovn: Ovn, topology: Topology) -> None:
    assert trace(ovn, topology, "p1", "172.30.0.12") == "node-node-2.example"
    assert trace(ovn, topology, "p1", "172.30.0.11") == "node-node1"
