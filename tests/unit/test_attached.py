"""No Subnet gets the addresses of a network that a node is attached to."""

import json
from ipaddress import ip_address, ip_network

import msgspec
import pytest

from kube_ovn.host.attached import MOST, format_networks
from kube_ovn.model import names
from kube_ovn.model.crd import Subnet
from kube_ovn.model.kube import Namespace, Node, NodeAddress, NodeStatus, ObjectMeta, Pod
from tests.small_clusters import World, address, aged, namespace, node, pod, subnet

DOCKER = {"172.17.0.0/16": "docker0"}


def attached(name: str, number: int, networks: dict[str, str]) -> Node:
    return node(name, number, **{names.NETWORKS: json.dumps(networks)})


@pytest.mark.parametrize(
    ("cidr", "told"),
    [
        ("172.17.0.0/16", "CIDR 172.17.0.0/16 overlaps 172.17.0.0/16 (docker0) of node node1; choose another"),
        ("172.17.5.0/24", "CIDR 172.17.5.0/24 overlaps 172.17.0.0/16 (docker0) of node node1"),
        ("172.16.0.0/12", "CIDR 172.16.0.0/12 overlaps"),
        ("172.30.0.0/24", "overlaps address 172.30.0.11 of node node1"),
        ("192.0.2.0/24", "overlaps 192.0.2.53/32 (resolver) of node node1"),
        ("fd17::/112", "overlaps fd17::/64 (eth1) of node node1"),
    ],
)
def test_a_new_subnet_is_refused_with_the_other_party(cidr: str, told: str) -> None:
    world = World(attached("node1", 1, {**DOCKER, "192.0.2.53/32": "resolver", "fd17::/64": "eth1"}))
    world.put(subnet("blue", cidr))
    assert told in world.told("subnet-uid-blue")
    assert not world.cidr("blue")
    world.put(msgspec.structs.replace(subnet("blue", "10.20.0.0/24"), metadata=world.api.get(Subnet, "blue").metadata))
    assert world.cidr("blue") == "10.20.0.0/24"
    assert not world.topology.problems


def test_a_subnet_that_annotations_wish_for_is_refused_on_its_namespace_and_pods() -> None:
    world = World(attached("node1", 1, DOCKER))
    world.put(
        namespace("ns", None, **{names.LOGICAL_SWITCH: "own", names.CIDR: "172.17.5.0/24"}), pod("a", namespace="ns")
    )
    for uid in ("namespace-uid-ns", "uid-a"):
        assert "overlaps 172.17.0.0/16 (docker0) of node node1" in world.told(uid)
    now = world.api.get(Namespace, "ns")
    annotations = {**now.metadata.annotations, names.CIDR: "10.20.0.0/24"}
    world.put(msgspec.structs.replace(now, metadata=msgspec.structs.replace(now.metadata, annotations=annotations)))
    assert address(world.api.get(Pod, "a", "ns")) == "10.20.0.2"


def test_a_subnet_stays_when_a_node_with_its_addresses_comes_and_the_node_is_told() -> None:
    world = World(subnet("blue", "172.17.5.0/24"), node("node2", 2))
    world.put(pod("a", "node2", annotations={names.LOGICAL_SWITCH: "blue"}), attached("node1", 1, DOCKER))
    assert world.cidr("blue") == "172.17.5.0/24"
    assert address(world.api.get(Pod, "a", "default")) == "172.17.5.2"
    assert "172.17.0.0/16 (docker0) of node node1 overlaps subnet blue" in world.told("node-uid-node1")
    assert not world.told("subnet-uid-blue")
    world.put(msgspec.structs.replace(subnet("blue", "172.17.0.0/16"), metadata=world.api.get(Subnet, "blue").metadata))
    assert "CIDR 172.17.0.0/16 overlaps 172.17.0.0/16 (docker0) of node node1" in world.told("subnet-uid-blue")
    assert world.cidr("blue") == "172.17.5.0/24"
    world.put(node("node1", 1))
    assert world.cidr("blue") == "172.17.0.0/16"
    assert not world.topology.problems


def test_the_default_subnet_may_lie_in_a_network_of_the_nodes() -> None:
    world = World(attached("node1", 1, {"10.0.0.0/8": "eth0"}))
    world.put(pod("a"))
    assert address(world.api.get(Pod, "a", "default")) == "10.16.0.2"
    assert not world.topology.problems
    world.put(attached("node1", 1, {"10.16.0.0/16": "eth0"}))
    assert "10.16.0.0/16 (eth0) of node node1 overlaps subnet ovn-default" in world.told("node-uid-node1")


def test_a_node_is_told_of_another_subnet_beside_the_default_one() -> None:
    world = World(subnet("blue", "10.80.0.0/16"))
    world.put(attached("node1", 1, {"10.0.0.0/8": "eth0"}))
    assert "10.0.0.0/8 (eth0) of node node1 overlaps subnet blue" in world.told("node-uid-node1")


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", '{"all":"eth0"}', '{"0.0.0.0/0":"eth0"}', '{"::/0":"x"}', '{"10.20.0.0/24":"a\\u0000"}'],
)
def test_what_cannot_be_read_is_in_no_way(text: str) -> None:
    world = World(node("node1", 1, **{names.NETWORKS: text}))
    world.put(subnet("blue", "10.20.0.0/24"))
    assert world.cidr("blue") == "10.20.0.0/24"
    assert not world.topology.problems


REFUSED = tuple(subnet(f"s{number}", f"172.17.{number}.0/24") for number in range(8))


def worked(world: World, name: str) -> int:
    """The number of cells of a derivation that were worked out so far."""
    return next(each.worked for each in world.topology.graph.derivations if each.name == name)


def test_one_more_node_with_the_networks_of_others_costs_no_refused_subnet_a_look() -> None:
    world = World(*(aged(attached(f"node{number}", number, DOCKER), f"2026-01-0{number}") for number in range(1, 9)))
    world.put(*REFUSED)
    told = {each.metadata.uid: world.told(each.metadata.uid) for each in REFUSED}
    assert all("172.17.0.0/16 (docker0) of node node1" in words for words in told.values())
    before = worked(world, "objections to subnets")
    world.put(aged(attached("a-node", 9, {**DOCKER, "172.18.0.0/16": "br0"}), "2026-01-09"))
    assert worked(world, "objections to subnets") == before
    assert told == {each.metadata.uid: world.told(each.metadata.uid) for each in REFUSED}, "the oldest is named"


def test_a_subnet_that_comes_costs_only_the_nodes_around_it_a_look() -> None:
    networks = {number: {f"10.{number}.0.0/16": "br0"} for number in range(40, 48)}
    world = World(*(attached(f"node{number}", number, near) for number, near in networks.items()))
    before = [worked(world, name) for name in ("clashes of nodes", "conflicts of nodes")]
    world.put(subnet("blue", "10.20.0.0/24"))
    assert world.cidr("blue")
    assert [worked(world, name) for name in ("clashes of nodes", "conflicts of nodes")] == before


def test_a_network_of_one_node_and_the_address_of_another_one_is_told_to_both() -> None:
    world = World(subnet("blue", "10.80.0.0/16"))
    own = NodeStatus(addresses=(NodeAddress(type="InternalIP", address="10.80.0.9"),))
    other = Node(metadata=ObjectMeta(name="a-node", uid="node-uid-a-node"), status=own)
    world.put(attached("node1", 1, {"10.80.0.9/32": "API server"}), other)
    assert "10.80.0.9/32 (API server) of node node1 overlaps subnet blue" in world.told("node-uid-node1")
    assert "address 10.80.0.9 of node a-node lies in the CIDR of subnet blue" in world.told("node-uid-a-node")


# --- What a node tells ---


def test_a_node_tells_its_networks_and_whom_it_talks_to() -> None:
    links = {
        "lo": "127.0.0.0/8 10.9.9.9/32",
        "eth0": "172.30.0.0/24 172.30.0.11/32 fe80::/64 fd30::/64 169.254.0.0/16 0.0.0.0/0",
        "docker0": "172.17.0.0/16",
        names.NODE_NIC: "100.64.0.0/16",
        "kube-ipvs0": "10.96.0.1/32",
    }
    resolvers = [ip_address(text) for text in ("192.0.2.53", "fe80::1", "127.0.0.53")]
    text = format_networks(
        [(link, ip_network(network)) for link, networks in links.items() for network in networks.split()],
        [ip_address("172.30.0.1")],
        resolvers,
        ip_address("192.0.2.6"),
        [ip_network("10.96.0.0/12")],
    )
    assert json.loads(text.value) == {
        "172.30.0.0/24": "eth0",
        "172.30.0.11/32": "eth0",
        "172.17.0.0/16": "docker0",
        "fd30::/64": "eth0",
        "172.30.0.1/32": "default gateway",
        "192.0.2.53/32": "resolver",
        "192.0.2.6/32": "API server",
    }


def test_a_node_with_very_many_networks_tells_the_largest() -> None:
    many = [("eth0", ip_network(f"10.{number // 256}.{number % 256}.0/24")) for number in range(2 * MOST)]
    text = format_networks([*many, ("eth1", ip_network("172.16.0.0/12"))], [], [], None, [])
    told = json.loads(text.value)
    assert len(told) == MOST
    assert "172.16.0.0/12" in told
    assert text.left_out == MOST + 1


def test_whom_a_node_talks_to_and_its_large_ipv6_networks_are_told_before_many_single_addresses() -> None:
    many = [("eth0", ip_network(f"10.0.0.{number}")) for number in range(MOST + 2)]
    large = [("eth1", ip_network("fd00:30::/64")), ("eth0", ip_network("172.30.0.0/24"))]
    text = format_networks(
        [*many, *large],
        [ip_address("172.30.0.1")],
        [ip_address("192.0.2.53")],
        ip_address("fd00:30::6"),
        [],
    )
    assert json.loads(text.value) == {
        "172.30.0.1/32": "default gateway",
        "192.0.2.53/32": "resolver",
        "fd00:30::6/128": "API server",
        "fd00:30::/64": "eth1",
        "172.30.0.0/24": "eth0",
        **{str(network): link for link, network in many[: MOST - 5]},
    }
    assert text.left_out == 7


def test_an_address_that_a_node_talks_to_is_told_as_such_also_where_a_link_leads_to_it() -> None:
    """A Service may have a single address of a link, but none that a node talks to."""
    text = format_networks([("eth0", ip_network("192.0.2.1"))], [ip_address("192.0.2.1")], [], None, [])
    assert json.loads(text.value) == {"192.0.2.1/32": "default gateway"}
