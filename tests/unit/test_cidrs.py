"""ServiceCIDRs (KEP-1880): what is in effect of them, for the controller and for a node."""

import dataclasses
import json
import re
from ipaddress import ip_network
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.daemon.settings import Settings
from kube_ovn.daemon.view import View
from kube_ovn.discovery.cidrs import Judged, join_networks
from kube_ovn.model import names
from kube_ovn.model.addr import Network
from kube_ovn.model.crd import Subnet
from kube_ovn.model.kube import Node, ServiceCIDR
from kube_ovn.model.nb import Acl
from tests.small_clusters import World, aged, node, pod, service, service_cidr, settle, show, subnet

T = TypeVar("T")
FLAG = "10.96.0.0/12", "fd00:10:96::/112"


class CidrWorld(World):
    """A cluster with ServiceCIDRs."""

    def remove(self, uid: str) -> None:
        self.api.remove(uid)
        settle(self.topology, self.api)

    def of(self, kind: type[T]) -> list[T]:
        return [item for item in self.api.objects.values() if isinstance(item, kind)]

    def refused(self) -> set[str]:
        """The networks in which the default Subnet's switch refuses addresses that no Service has."""
        (match,) = [
            row.match
            for row in self.topology.state.values()
            if isinstance(row, Acl) and row.external_ids.get("key") == "subnet ovn-default services"
        ]
        return set(re.findall(r"ip[46]\.dst == ([^ )]+)", match))


# --- The controller ---


@pytest.mark.parametrize(
    ("cidr", "told"),
    [
        ("172.20.5.0/24", "CIDR 172.20.5.0/24 overlaps the ServiceCIDR 'extra' (172.20.0.0/16); choose another"),
        ("172.16.0.0/12", "CIDR 172.16.0.0/12 overlaps the ServiceCIDR 'extra'"),
        ("fd00:20::/64", "overlaps the ServiceCIDR 'extra' (fd00:20::/112)"),
    ],
)
def test_a_new_subnet_gets_no_address_of_a_service_cidr_until_that_is_gone(cidr: str, told: str) -> None:
    world = CidrWorld(service_cidr("extra", "172.20.0.0/16", "fd00:20::/112"))
    world.put(subnet("blue", cidr))
    assert told in world.told("subnet-uid-blue")
    assert not world.cidr("blue")
    world.remove("cidr-uid-extra")
    assert world.cidr("blue") == cidr
    assert not world.topology.problems


def test_a_subnet_stays_when_a_service_cidr_comes_and_the_user_of_that_is_told() -> None:
    world = CidrWorld(subnet("blue", "172.20.5.0/24"))
    world.put(service_cidr("extra", "172.20.0.0/16", "fd00:20::/112"))
    assert world.cidr("blue") == "172.20.5.0/24"
    assert world.told("cidr-uid-extra") == (
        "ServiceCIDR extra: 172.20.0.0/16 overlaps 172.20.5.0/24 of Subnet blue: nodes do not reach Services there; "
        "remove one of them"
    )
    assert not world.told("subnet-uid-blue")
    assert world.refused() == {*FLAG, "fd00:20::/112"}, "the other family is in nothing's way"
    world.put(subnet("green", "172.20.6.0/24"))
    assert "overlaps the ServiceCIDR 'extra'" in world.told("subnet-uid-green"), "it is claimed all the same"
    world.remove("subnet-uid-green")
    world.remove("subnet-uid-blue")
    assert world.refused() == {*FLAG, "172.20.0.0/16", "fd00:20::/112"}
    assert not world.topology.problems


def test_the_packets_for_no_service_are_refused_in_every_range_and_the_object_is_forgotten() -> None:
    world = CidrWorld(service_cidr("kubernetes", *FLAG))
    assert world.refused() == {*FLAG}
    world.put(service_cidr("extra", "172.20.0.0/16"), service_cidr("part", "172.20.5.0/24"))
    assert world.refused() == {*FLAG, "172.20.0.0/16"}
    world.remove("cidr-uid-extra")
    assert world.refused() == {*FLAG, "172.20.5.0/24"}
    world.remove("cidr-uid-part")
    world.remove("cidr-uid-kubernetes")
    assert world.refused() == {*FLAG}, "the flag's count without an object"


def test_a_service_gets_no_external_address_in_a_service_cidr() -> None:
    world = CidrWorld(service("web", "10.96.0.20", external_ips=("172.20.0.9",)))
    assert not world.topology.problems
    world.put(service_cidr("extra", "172.20.0.0/16"))
    assert "172.20.0.9 is an address of the cluster's Services" in world.told("service-uid-web")
    world.remove("cidr-uid-extra")
    assert not world.topology.problems


@pytest.mark.parametrize(
    ("cidr", "rival"),
    [
        ("172.30.0.0/24", "address 172.30.0.11 of node node1"),
        ("172.16.0.0/14", "172.17.0.0/16 (docker0) of node node1"),
        ("192.0.2.0/24", "192.0.2.6/32 (API server) of node node1"),
        ("10.16.0.0/24", "10.16.0.0/16 of Subnet ovn-default"),
        ("100.0.0.0/8", "100.64.0.0/16 of Subnet join"),
        ("127.0.0.0/16", "a loopback address"),
        ("0.0.0.0/0", "the unspecified address"),
    ],
)
def test_what_nodes_and_subnets_have_stays_with_them(cidr: str, rival: str) -> None:
    near = {"172.17.0.0/16": "docker0", "192.0.2.6/32": "API server", "10.0.0.0/8": "eth0"}
    world = CidrWorld(node("node1", 1, **{names.NETWORKS: json.dumps(near)}))
    world.put(service_cidr("extra", cidr))
    assert f"{cidr} overlaps {rival}: nodes do not reach" in world.told("cidr-uid-extra")
    assert world.refused() == {*FLAG}


OLDER, YOUNGER = "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"
EXTRA = service_cidr("extra", "172.20.0.0/16", "172.30.0.0/16", age="2026-01-02T00:00:00Z")


@pytest.mark.parametrize("node_first", [True, False])
def test_a_service_cidr_stays_when_a_node_with_its_addresses_comes_later_and_the_node_is_told(
    *, node_first: bool
) -> None:
    near = {"172.20.1.0/24": "docker0"}
    later = aged(node("node1", 1, **{names.NETWORKS: json.dumps(near)}), YOUNGER)
    world = CidrWorld()
    for each in (later, EXTRA) if node_first else (EXTRA, later):
        world.put(each)
    assert world.refused() == {*FLAG, "172.20.0.0/16", "172.30.0.0/16"}
    assert not world.told("cidr-uid-extra")
    assert world.told("node-uid-node1") == (
        "address 172.30.0.11 of node node1 lies in the Service CIDR 172.30.0.0/16: from this node only one of them is "
        "reached; change one"
    )
    world.put(aged(node("node2", 2), OLDER))
    assert world.refused() == {*FLAG, "172.20.0.0/16"}
    assert "172.30.0.0/16 overlaps address 172.30.0.12 of node node2" in world.told("cidr-uid-extra")
    assert "172.20.1.0/24 (docker0) of node node1 lies in the Service CIDR 172.20.0.0/16" in world.told(
        "node-uid-node1"
    )
    world.remove("cidr-uid-extra")
    assert not world.topology.problems


def test_a_new_subnet_waits_while_service_cidrs_may_exist_unseen() -> None:
    world = CidrWorld(subnet("blue", "10.20.0.0/24"))
    unseen = frozenset({"ServiceCIDR"})
    world.api.put(subnet("green", "10.112.7.0/24"), subnet_again(world, "blue", "10.20.0.0/23"))
    for _ in range(5):
        show(world.topology, dataclasses.replace(world.api.snapshot(), unknown=unseen))
        for write in list(world.topology.writes.values()):
            world.api.write(write)
    assert not world.cidr("green")
    assert world.told("subnet-uid-green") == (
        "Subnet green: CIDR 10.112.7.0/24 waits: a ServiceCIDR may have it, and kube-ovn-controller cannot list "
        "servicecidrs; its log says why"
    )
    assert world.cidr("blue") == "10.20.0.0/24", "what is in effect stays"
    assert world.cidr("ovn-default"), "without the first Subnets there is no network"
    world.put(service_cidr("extra", "10.112.0.0/16"))
    assert "overlaps the ServiceCIDR 'extra'" in world.told("subnet-uid-green")
    assert world.cidr("blue") == "10.20.0.0/23"
    assert {*FLAG, "10.112.0.0/16"} == world.refused()


def subnet_again(world: World, name: str, cidr: str) -> Subnet:
    """The Subnet as it is, with another CIDR in its spec."""
    item = world.api.get(Subnet, name)
    return msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, cidr_block=cidr))


def test_a_part_of_a_nodes_network_and_an_address_that_kube_proxy_has_are_for_services() -> None:
    near = {"172.16.0.0/12": "eth0", "172.20.0.7/32": "kube-ipvs0"}
    world = CidrWorld(node("node1", 1, **{names.NETWORKS: json.dumps(near)}), service_cidr("extra", "172.20.0.0/16"))
    assert world.refused() == {*FLAG, "172.20.0.0/16"}
    assert not world.topology.problems


def test_a_cidr_that_cannot_be_read_is_told_and_spoils_no_other() -> None:
    world = CidrWorld(service_cidr("extra", "172.20.0.1/16", "fd00:20::/112"), pod("a"), node("node1", 1))
    assert "ServiceCIDR extra: '172.20.0.1/16' is not a CIDR" in world.told("cidr-uid-extra")
    assert world.refused() == {*FLAG, "fd00:20::/112"}


def test_the_networks_of_the_flag_are_in_effect_whatever_is_in_their_way() -> None:
    world = CidrWorld(subnet("blue", "10.97.0.0/24"), service_cidr("kubernetes", *FLAG))
    assert "overlaps the Service CIDR 10.96.0.0/12" in world.told("subnet-uid-blue")
    assert world.refused() == {*FLAG}
    assert not world.told("cidr-uid-kubernetes")


def test_without_a_further_service_cidr_a_node_that_comes_costs_none_a_look() -> None:
    world = CidrWorld(service_cidr("kubernetes", *FLAG), node("node1", 1))
    (judged,) = (each for each in world.topology.graph.derivations if each.name == "judged ServiceCIDRs")
    before = judged.worked
    world.put(node("node2", 2), subnet("blue", "172.20.0.0/16"))
    assert judged.worked == before


# --- The controller and a node ---

TEXTS = (
    "172.20.0.0/16",
    "172.20.5.0/24",
    "172.16.0.0/12",
    "172.30.0.0/24",
    "10.16.5.0/24",
    "100.64.0.0/10",
    "fd00:20::/64",
)
NEAR = ("172.20.0.0/24", "172.20.5.7/32", "172.0.0.0/8", "fd00:20::/64", "nonsense")
LABELS = ("eth0", "resolver")
AGES = (OLDER, YOUNGER)


@given(
    st.lists(st.sampled_from(TEXTS), max_size=3),
    st.lists(st.tuples(st.sampled_from(NEAR), st.sampled_from(LABELS)), max_size=2),
    st.sampled_from(AGES),
    st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(AGES)), max_size=3),
)
def test_a_node_agrees_with_the_controller(
    subnets: list[str], near: list[tuple[str, str]], age: str, cidrs: list[tuple[str, str]]
) -> None:
    world = CidrWorld(*(subnet(f"s{number}", text) for number, text in enumerate(subnets)))
    world.put(aged(node("node1", 1, **{names.NETWORKS: json.dumps(dict(near))}), age))
    world.put(*(service_cidr(f"c{number}", text, age=age) for number, (text, age) in enumerate(cidrs)))
    known = View(Settings(node_name="node1", service_cluster_ip_range=networks(*FLAG)))
    known.nodes.store.replace(world.of(Node), 0.0)
    known.subnets.store.replace(world.of(Subnet), 0.0)
    known.cidrs.store.replace(world.of(ServiceCIDR), 0.0)
    assert known.service_networks is not None
    assert set(map(str, known.service_networks)) == world.refused()


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ip_network, texts))


def test_no_network_of_services_lies_in_another_one() -> None:
    judged = [
        Judged(networks("fd00::/112", "10.112.0.0/16", "10.97.0.0/16"), ()),
        Judged(networks("10.112.0.0/16"), ()),
    ]
    assert join_networks(networks("10.96.0.0/12"), judged) == networks("10.96.0.0/12", "10.112.0.0/16", "fd00::/112")
    assert join_networks(networks("10.96.0.0/12"), [Judged(networks("10.0.0.0/8"), ())]) == networks("10.0.0.0/8")
