"""Addresses at which no Service is reached, for the controller and for nodes; and ports that a node keeps."""

import sys
import tracemalloc
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.config import parse_flags
from kube_ovn.controller import settings as controller_settings
from kube_ovn.daemon.settings import Settings
from kube_ovn.daemon.view import View
from kube_ovn.discovery.endpoints import parse_slices, read_address
from kube_ovn.discovery.external import Spot, host_spots, node_addresses, refusal, server_spots
from kube_ovn.discovery.special import special
from kube_ovn.host.node import DUMMY
from kube_ovn.host.own_ports import find_own_ports, find_taken, find_wishes
from kube_ovn.host.service import NodeService
from kube_ovn.host.service_table import render_services
from kube_ovn.linux import listeners
from kube_ovn.linux.netlink import NetlinkError
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.host import Front
from kube_ovn.model.kube import (
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    NodeAddress,
    Service,
    ServicePort,
    ServiceStatus,
)
from kube_ovn.model.nb import LoadBalancer
from kube_ovn.topology.gateways import groups
from kube_ovn.topology.graph import Topology
from tests.node_view import OWN, node, view
from tests.small_clusters import Api, fabric, gateway, namespace, service, settle, settled, slice_of

API_SERVER, NODE, PEER = "172.30.0.1", "172.30.0.11", "172.30.0.12"
WEB = "10.96.0.20"
NEVER = (
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.0.1",
    "169.254.1.1",
    "169.254.169.254",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "fe80::1",
    "ff02::1",
    "192.0.0.8",
    "fd6b:7562:656f:766e::5",
    "10.96.0.1",
    "10.16.0.1",
    "10.16.0.7",
    "100.64.0.1",
    "100.64.3.4",
)
ALLOWED = ("192.0.2.1", "8.8.8.8", NODE, "172.30.0.1", "128.0.0.1", "223.255.255.255", "170.0.0.1", "2001:db8::1")


def web(*external: str, balanced: tuple[str, ...] = (), port: int = 80, name: str = "web", own: str = WEB) -> Service:
    """A Service of both families with some addresses outside, and addresses of its load balancer."""
    made = service(
        name,
        own,
        own.replace("10.96.0.", "fd00:10:96::"),
        external_ips=external,
        type="LoadBalancer",
        ports=(ServicePort(port=port),),
    )
    ingress = tuple(LoadBalancerIngress(ip=each) for each in balanced)
    return msgspec.structs.replace(made, status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)))


def api_slice(*addresses: str, port: int = 6443) -> EndpointSlice:
    return slice_of("kubernetes", *addresses, uid="api", port=port)


def fronts(topology: Topology, name: str = "web") -> set[str]:
    """The fronts of a Service in OVN that are none of its own addresses."""
    rows = (row for row in topology.state.values() if isinstance(row, LoadBalancer))
    return {
        vip
        for row in rows
        if row.name.startswith(f"default/{name}/")
        for vip in row.vips
        if not vip.startswith(("10.96.", "[fd00:10:96:"))
    }


def parsed(known: View, name: str = "web") -> NodeService:
    (found,) = (each for each in known.node_services or () if each.name == name)
    return found


def at_node(known: View) -> set[str]:
    """The external fronts of all Services that a node may lead to them."""
    asked = find_wishes(known.node_services or ()).asked
    return {f"{Spot(front.address, front.port, 'TCP')}" for _, front in asked if front.address is not None}


def refuse(text: str, port: int = 80, protocol: str = "TCP") -> str:
    address = read_address(text)
    assert address is not None
    own, servers = (ip_network("10.96.0.0/12"),), {Spot(ip_address(API_SERVER), 6443, "TCP")}
    subnets = {ip_network("10.16.0.0/16"): "blue", ip_network("100.64.0.0/16"): "join"}

    def subnet(address: Address) -> str:
        return next((name for network, name in subnets.items() if address in network), "")

    return refusal(Spot(address, port, protocol), own, subnet, servers)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "0.0.0.0",
            "0.0.0.0 is the unspecified address, at which no Service is reached; use an address that is routed",
        ),
        ("127.0.0.1", "127.0.0.1 is a loopback address, at which no Service is reached; use an address"),
        ("::ffff:127.0.0.1", "127.0.0.1 is a loopback address"),
        ("169.254.169.254", "169.254.169.254 is a link-local address"),
        ("239.1.1.1", "239.1.1.1 is a multicast address"),
        ("255.255.255.255", "255.255.255.255 is the broadcast address"),
        ("250.0.0.1", "250.0.0.1 is a reserved address"),
        ("::1", "::1 is a loopback address"),
        (
            "10.96.0.1",
            "10.96.0.1 is an address of the cluster's Services, and stays so; use an address outside the fab",
        ),
        ("100.64.0.1", "100.64.0.1 is an address of Subnet join, and stays so; use an address outside the fabric"),
        ("192.0.0.8", "192.0.0.8 is an address of the fabric's links, at which no Service is reached; use an address"),
    ],
)
def test_the_reason_is_one_sentence(text: str, why: str) -> None:
    assert refuse(text).startswith(why)


def test_a_mapped_address_is_refused_in_its_own_form_as_well() -> None:
    assert refusal(Spot(ip_address("::ffff:192.0.2.1"), 80, "TCP"), (), lambda address: "", ())


def test_the_port_of_an_api_server_is_its_own_and_no_other() -> None:
    assert refuse(API_SERVER, 6443) == (
        f"{API_SERVER}:6443/TCP is that of the API server, and stays so; use another address or port"
    )
    assert refuse(API_SERVER, 6443, "UDP") == refuse(API_SERVER, 443) == ""


@pytest.mark.parametrize("text", ALLOWED)
def test_any_other_address_may_be_asked_for(text: str) -> None:
    assert refuse(text) == ""


def test_the_links_of_the_fabric_are_those_that_it_uses() -> None:
    for address in (DUMMY.address, groups._link4(0, 0), groups._link6(0, 1), groups._link6(8191, 3)):
        assert refuse(str(address))


def test_special_addresses_are_told_apart_at_their_bounds() -> None:
    for text in ("126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "223.255.255.255", "240.0.0.0"):
        assert special(ip_address(text)) == "", text
    for text in ("::2", "fe7f::", "fec0::", "feff::ffff"):
        assert special(ip_address(text)) == "", text


# The controller


@pytest.mark.parametrize("text", NEVER)
def test_what_belongs_to_others_is_not_given_away_and_told(text: str) -> None:
    """In `spec.externalIPs`, and in the status of a load balancer, which the API server does not look at."""
    for item in (web(text, "192.0.2.1"), web("192.0.2.1", balanced=(text,))):
        topology = settled(Api(namespace("default"), item, slice_of("web", "10.16.0.9")))
        assert fronts(topology) == {"192.0.2.1:80"}, "the other address works"
        (told,) = topology.problems.values()
        assert told.reason == names.SERVICE_REFUSED
        assert told.message.startswith(f"Service default/web: {read_address(text)} is ")
        assert not at_node(view([item])) - {"192.0.2.1:80/TCP"}


@given(
    st.lists(st.sampled_from([*NEVER, *ALLOWED]) | st.ip_addresses().map(str), max_size=5),
    st.lists(st.sampled_from([*NEVER, *ALLOWED]) | st.ip_addresses().map(str), max_size=3),
    st.sampled_from([80, 6443]),
)
def test_the_controller_and_nodes_agree(external: list[str], balanced: list[str], port: int) -> None:
    """While no address is one of a node, which that node alone leads to a Service."""
    item, servers = web(*external, balanced=tuple(balanced), port=port), api_slice(API_SERVER)
    topology = settled(Api(namespace("default"), item, servers))
    known = view([item], [servers], nodes=[node(OWN, "203.0.113.1", address="100.64.0.2")])
    assert {f"{each}/TCP" for each in fronts(topology)} == at_node(known)


def test_the_api_servers_are_followed() -> None:
    item = web(API_SERVER, "172.30.0.2", port=6443)
    api = Api(namespace("default"), item)
    topology, known = settled(api), view([item])
    assert fronts(topology) == {"172.30.0.1:6443", "172.30.0.2:6443"}
    for servers in ((API_SERVER,), ("172.30.0.2",), (API_SERVER, "172.30.0.2")):
        before = api.snapshot()
        api.put(api_slice(*servers))
        settle(topology, api, before)
        known.slices.store.put(api_slice(*servers))
        expected = {f"{each}:6443" for each in (API_SERVER, "172.30.0.2") if each not in servers}
        assert fronts(topology) == expected
        assert at_node(known) == {f"{each}/TCP" for each in expected}
        (told,) = topology.problems.values()
        assert [f"{each}:6443/TCP is that of the API server" in told.message for each in servers] == [True] * len(
            servers
        )
    before = api.snapshot()
    api.remove("api")
    settle(topology, api, before)
    known.slices.store.remove("api")
    assert len(fronts(topology)) == len(at_node(known)) == 2
    assert not topology.problems


def test_the_address_that_kube_ovn_itself_asks_is_an_api_servers() -> None:
    """Such as one that moves between the nodes of the control plane: no slice has it."""
    environ = {"KUBERNETES_SERVICE_HOST": "192.0.2.66", "KUBERNETES_SERVICE_PORT": "6443"}
    item = web("192.0.2.66", "192.0.2.1", port=6443)
    controller = parse_flags(controller_settings.Settings, "x", (), environ).fabric()
    topology = settled(Api(namespace("default"), item), replace(fabric(), servers=controller.servers))
    assert fronts(topology) == {"192.0.2.1:6443"}
    known = View(parse_flags(Settings, "x", (f"--node-name={OWN}",), environ))
    template = view([item])
    for kind in ("nodes", "subnets", "services", "slices", "cidrs"):
        getattr(known, kind).store.replace(getattr(template, kind).store.objects.values(), 0.0)
    assert at_node(known) == {"192.0.2.1:6443/TCP"}
    assert host_spots("api.example.com", 443) == host_spots("", 443) == frozenset()


def test_endpoints_of_other_services_are_no_api_servers() -> None:
    known = view([web(API_SERVER, port=6443)], [slice_of("kubernetes", API_SERVER, namespace="team", port=6443)])
    assert at_node(known) == {"172.30.0.1:6443/TCP"}


def test_an_api_server_that_is_not_ready_keeps_its_port() -> None:
    made = api_slice(API_SERVER)
    gone = tuple(
        msgspec.structs.replace(each, conditions=msgspec.structs.replace(each.conditions, ready=False))
        for each in made.endpoints or ()
    )
    made = msgspec.structs.replace(made, endpoints=gone)
    assert server_spots(parse_slices([made])) == {Spot(ip_address(API_SERVER), 6443, "TCP")}


def test_an_address_of_a_node_is_left_to_the_node() -> None:
    """OVN would lead Pods that ask for a port of the node itself, such as the kubelet's, to the Service."""
    item = web(NODE, "203.0.113.7", "192.0.2.1", port=10250)
    made = gateway("node1", 1)
    api = Api(namespace("default"), item, slice_of("web", "10.16.0.9"))
    topology = settled(api)
    assert fronts(topology) == {f"{NODE}:10250", "203.0.113.7:10250", "192.0.2.1:10250"}
    before = api.snapshot()
    listed = (NodeAddress(type="InternalIP", address=NODE), NodeAddress(type="ExternalIP", address="203.0.113.7"))
    api.put(msgspec.structs.replace(made, status=msgspec.structs.replace(made.status, addresses=listed)))
    settle(topology, api, before)
    assert fronts(topology) == {"192.0.2.1:10250"}
    assert not topology.problems, "it is served, by the node"
    before = api.snapshot()
    api.remove(made.metadata.uid)
    settle(topology, api, before)
    assert fronts(topology) == {f"{NODE}:10250", "203.0.113.7:10250", "192.0.2.1:10250"}


def test_of_many_services_only_those_with_the_address_are_worked_out_when_a_node_comes() -> None:
    others = [web(f"192.0.2.{number}", name=f"s{number}", own=f"10.96.0.{number + 30}") for number in range(1, 20)]
    others = [
        msgspec.structs.replace(each, metadata=msgspec.structs.replace(each.metadata, uid=each.metadata.name))
        for each in others
    ]
    api = Api(namespace("default"), web(NODE), *others)
    topology = settled(api)
    outcomes = next(each for each in topology.graph.derivations if each.name == "outcomes of Services")
    worked, before, made = outcomes.worked, api.snapshot(), gateway("node1", 1)
    listed = (NodeAddress(type="InternalIP", address=NODE),)
    api.put(msgspec.structs.replace(made, status=msgspec.structs.replace(made.status, addresses=listed)))
    settle(topology, api, before)
    assert outcomes.worked - worked == 1


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("127.0.0.1", "'127.0.0.1' is a loopback address"),
        ("169.254.169.254", "'169.254.169.254' is a link-local address"),
        ("::ffff:127.0.0.1", "'::ffff:127.0.0.1' is a loopback address"),
        ("239.0.0.1", "'239.0.0.1' is a multicast address"),
        ("0.0.0.0", "'0.0.0.0' is the unspecified address"),
        ("fd00::1", "'fd00::1' is no IPv4 address"),
        ("nonsense", "'nonsense' is no IPv4 address"),
    ],
)
def test_an_endpoint_that_leads_to_no_host_is_left_out_and_told(address: str, what: str) -> None:
    item, made = web("192.0.2.1"), slice_of("web", "10.16.0.9", address)
    topology = settled(Api(namespace("default"), item, made))
    (row,) = (row for row in topology.state.values() if isinstance(row, LoadBalancer) and "web" in row.name)
    assert row.vips[f"{WEB}:80"] == row.vips["192.0.2.1:80"] == "10.16.0.9:8080"
    (told,) = topology.problems.values()
    assert told.message == (
        f"Service default/web: endpoint {what}, and no client is sent to it; name an address of a Pod or a host"
    )
    for entry in parsed(view([item], [made])).entries:
        assert address not in str(entry)


def test_endpoints_that_are_nodes_pods_of_others_or_services_follow_kubernetes_rules() -> None:
    listed = ("10.16.0.9", NODE, "192.0.2.7", "10.96.0.1", "240.0.0.5")
    topology = settled(Api(namespace("default"), web(), slice_of("web", *listed)))
    (row,) = (row for row in topology.state.values() if isinstance(row, LoadBalancer) and "web" in row.name)
    assert {each.removesuffix(":8080") for each in row.vips[f"{WEB}:80"].split(",")} == set(listed)
    assert not topology.problems


def test_of_many_endpoints_without_a_usable_address_some_are_named() -> None:
    made = slice_of("web", *(f"127.0.0.{number}" for number in range(1, 60)))
    (told,) = settled(Api(namespace("default"), web(), made)).problems.values()
    assert told.message.count("endpoint") == 5


# A node


def test_the_join_subnet_is_of_the_fabric_on_a_node_as_well() -> None:
    assert at_node(view([web("100.64.0.1", "192.0.2.1")])) == {"192.0.2.1:80/TCP"}


def test_an_address_of_another_service_outside_the_networks_of_these_stays_with_it() -> None:
    owner = web(name="owner", own="10.200.0.1")
    owner = msgspec.structs.replace(
        owner,
        metadata=msgspec.structs.replace(owner.metadata, uid="owner"),
        spec=msgspec.structs.replace(owner.spec, cluster_ips=("198.51.100.1",)),
    )
    item = web("198.51.100.1", "192.0.2.1")
    known, api = view([item, owner]), Api(namespace("default"), item, owner)
    topology = settled(api)
    assert at_node(known) == {"192.0.2.1:80/TCP"}
    assert fronts(topology) == {"192.0.2.1:80"}
    known.services.store.remove("owner")
    assert at_node(known) == {"192.0.2.1:80/TCP", "198.51.100.1:80/TCP"}


TCP_FRONT = Front(version=4, protocol="tcp", port=80, address=ip_address(NODE))


def own_ports(known: View, *sockets: str, local: tuple[str, ...] = (NODE,)) -> tuple[set[Front], list[str]]:
    """The fronts that a node does not serve, and what it tells. `sockets`: `address port protocol`."""
    listening = {
        Spot(ip_address(address), int(port), protocol) for address, port, protocol in (each.split() for each in sockets)
    }
    found = find_own_ports(
        find_wishes(known.node_services or ()), known.all_addresses or (), set(map(ip_address, local)), listening
    )
    return {front for _, front in found.left}, [each.why for each in found.here]


@pytest.fixture
def known() -> View:
    nodes = [node(OWN, NODE, address="100.64.0.2"), node("node2", PEER, address="100.64.0.3")]
    return view([web(NODE, PEER, "192.0.2.1")], nodes=nodes)


@pytest.mark.parametrize("socket", [f"{NODE} 80 TCP", "0.0.0.0 80 TCP", ":: 80 TCP"])
def test_a_port_at_which_a_node_listens_stays_its_own(known: View, socket: str) -> None:
    left, told = own_ports(known, socket)
    assert TCP_FRONT in left
    assert told == [
        f"Service default/web: the node itself listens at {NODE}:80/TCP, and stays so; use another address or port"
    ]


@pytest.mark.parametrize("socket", [f"{NODE} 81 TCP", "0.0.0.0 80 UDP", "127.0.0.1 80 TCP", "100.64.0.2 80 TCP"])
def test_any_other_port_of_a_node_may_be_a_services(known: View, socket: str) -> None:
    left, told = own_ports(known, socket)
    assert TCP_FRONT not in left
    assert not told


def test_the_address_of_another_node_is_left_to_that_node(known: View) -> None:
    left, told = own_ports(known)
    assert {str(front.address) for front in left} == {PEER}
    assert not told
    table = render_services(known.node_services or (), (), (), {("service-uid-web", each) for each in left}).text
    assert f"{PEER} . tcp" not in table
    assert f"{NODE} . tcp" in table
    assert "192.0.2.1 . tcp" in table


def test_an_address_that_no_node_tells_of_counts_where_it_is(known: View) -> None:
    """Such as one that moves between nodes."""
    assert len(own_ports(known, "0.0.0.0 80 TCP", local=(NODE, "192.0.2.1"))[1]) == 2


def test_a_node_port_of_another_service_stays_with_it() -> None:
    item, owner = web(NODE, port=30080), web(name="owner", own="10.96.0.30")
    owner = msgspec.structs.replace(
        owner,
        metadata=msgspec.structs.replace(owner.metadata, uid="owner"),
        spec=msgspec.structs.replace(owner.spec, ports=(ServicePort(port=80, node_port=30080),)),
    )
    known = view([item, owner])
    left, told = own_ports(known)
    assert left == {Front(version=4, protocol="tcp", port=30080, address=ip_address(NODE))}
    assert told == [
        f"Service default/web: {NODE}:30080/TCP is a node port of another Service; use another address or port"
    ]
    known.services.store.remove("owner")
    assert own_ports(known) == (set(), [])


def test_its_own_node_port_may_be_a_services_port() -> None:
    item = web(NODE, port=30080)
    ports = (ServicePort(port=30080, node_port=30080),)
    item = msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, ports=ports))
    assert own_ports(view([item])) == (set(), [])


def test_addresses_of_a_node_are_those_that_can_be_read() -> None:
    assert list(map(str, node_addresses(node("a", NODE, "none", "fd00::11")))) == [NODE, "fd00::11"]


# The files of the kernel

TCP = """\
   0: 0100007F:2808 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1 0 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 23 1 0 100 0 0 10 0
   2: 0B001EAC:A412 01001EAC:192B 01 00000000:00000000 00:00000000 00000000     0        0 24 1 0 100 0 0 10 0
"""
TCP6 = """\
   0: 0000000000000000FFFF00000B001EAC:280A 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 0
   1: 000000FD000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 0
"""
UDP = """\
  10: 0B001EAC:9C40 01001EAC:0035 01 00000000:00000000 00:00000000 00000000     0        0 30 2 0000000000000000 0
  11: 00000000:17C1 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 31 2 0000000000000000 0
"""


@pytest.mark.skipif(sys.byteorder == "big", reason="the texts are those of a machine with the other byte order")
def test_sockets_that_wait_for_clients() -> None:
    def read(text: str, protocol: str) -> list[str]:
        return [str(spot) for spot in listeners._parse(text.splitlines(), protocol)]

    assert read(TCP, "TCP") == ["127.0.0.1:10248/TCP", "0.0.0.0:22/TCP"]
    assert read(TCP6, "TCP") == [f"{NODE}:10250/TCP", "[fd00::1]:80/TCP"]
    assert read(UDP, "UDP") == ["0.0.0.0:6081/UDP"]


def test_a_node_that_cannot_tell_its_sockets_does_not_pass_for_one_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_FOLDER", tmp_path)
    with pytest.raises(NetlinkError, match="sockets of tcp: No such file"):
        listeners.list_listeners()
    for name in ("tcp", "udp"):
        (tmp_path / name).write_text("the names of the columns\n")
    assert listeners.list_listeners() == frozenset()


# --- Ports of a node that a Pod asks for ---


def spot(text: str) -> Spot:
    address, port, protocol = text.split()
    return Spot(ip_address(address), int(port), protocol)


@pytest.mark.parametrize(
    ("wanted", "listener", "is_taken"),
    [
        ("0.0.0.0 10250 TCP", ":: 10250 TCP", True),
        ("0.0.0.0 10248 TCP", "127.0.0.1 10248 TCP", True),
        (f"{NODE} 80 TCP", "0.0.0.0 80 TCP", True),
        (f"{NODE} 80 TCP", f"{NODE} 80 TCP", True),
        (f"{NODE} 80 TCP", f"{PEER} 80 TCP", False),
        ("0.0.0.0 80 TCP", "0.0.0.0 80 UDP", False),
        ("0.0.0.0 80 TCP", "0.0.0.0 81 TCP", False),
    ],
)
def test_a_pod_does_not_get_a_port_at_which_the_node_listens(wanted: str, listener: str, is_taken: bool) -> None:
    assert bool(find_taken([spot("0.0.0.0 7 TCP"), spot(wanted)], {spot(listener)}, ())) == is_taken


@pytest.mark.parametrize(
    ("port", "protocol"),
    [(each, "TCP") for each in names.DATABASE_PORTS] + [(each, "UDP") for each in names.TUNNEL_PORTS],
)
def test_a_pod_never_gets_the_port_of_a_database_or_of_tunnels(port: int, protocol: str) -> None:
    said = find_taken([spot(f"0.0.0.0 {port} {protocol}")], (), ())
    assert said == f"hostPort {port}/{protocol} is the node's own; choose another"


def test_a_pod_does_not_get_the_node_port_of_a_service() -> None:
    item = web()
    spec = msgspec.structs.replace(item.spec, ports=(ServicePort(port=80, node_port=30080),))
    ports = find_wishes(view([msgspec.structs.replace(item, spec=spec)]).node_services or ()).ports
    assert (
        find_taken([spot(f"{NODE} 30080 TCP")], (), ports)
        == "hostPort 30080/TCP is a node port of a Service; choose another"
    )
    assert not find_taken([spot(f"{NODE} 30081 TCP")], (), ports)


def test_a_service_that_is_too_large_costs_a_node_nothing() -> None:
    """Its pairs of a port and an address are not even counted out: there may be millions."""
    item = web(*(f"198.51.{number // 250}.{number % 250 + 1}" for number in range(1000)))
    ports = tuple(ServicePort(name=f"p{number}", port=number) for number in range(1, 2001))
    item = msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, ports=ports))
    tracemalloc.start()
    try:
        known = view([item, web(name="other", own="10.96.0.30")])
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [service.name for service in known.node_services or ()] == []
    assert most < 20_000_000
