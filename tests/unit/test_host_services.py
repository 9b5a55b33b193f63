"""Services on a node itself: where each front leads, and the table that says so."""

import shutil
import subprocess
from collections.abc import Mapping
from ipaddress import ip_address, ip_network

import msgspec
import pytest

from kube_ovn.discovery.endpoints import Place
from kube_ovn.host.service import Direct, Entry, NodeService, Site, Through, parse_service
from kube_ovn.host.service_table import render_services
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.host import Front
from kube_ovn.model.kube import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)

NETWORKS = (ip_network("10.96.0.0/12"), ip_network("fd00:10:96::/112"))
HERE = Site(place=Place(node="node1"), fabric=(ip_network("10.16.0.0/16"), ip_network("fd00:10:16::/112")))
HTTP = ServicePort(port=80, name="http", node_port=30080)
VIP = Through(address=ip_address("10.96.0.80"), port=80)
NODE_PORT = Front(version=4, protocol="tcp", port=30080)


def service(
    name: str = "web",
    *,
    created: str = "2026-01-01T00:00:00Z",
    balanced: tuple[str, ...] = (),
    ports: tuple[ServicePort, ...] = (HTTP,),
    ips: tuple[str, ...] = ("10.96.0.80",),
    type: str = "NodePort",
    **spec: object,
) -> Service:
    return Service(
        metadata=ObjectMeta(name=name, namespace="team", uid=f"uid-{name}", creation_timestamp=created),
        spec=ServiceSpec(cluster_ips=ips, ports=ports, type=type, **spec),  # type: ignore[arg-type]
        status=ServiceStatus(
            load_balancer=LoadBalancerStatus(ingress=tuple(LoadBalancerIngress(ip=each) for each in balanced))
        ),
    )


def slice_of(listed: Mapping[str, str], family: str = "IPv4", **conditions: bool) -> EndpointSlice:
    """Addresses of endpoints, and the node of each."""
    return EndpointSlice(
        metadata=ObjectMeta(name=f"web-{family}", namespace="team", uid="uid-slice"),
        address_type=family,
        endpoints=tuple(
            Endpoint(addresses=(address,), node_name=node, conditions=EndpointConditions(**conditions))
            for address, node in listed.items()
        ),
        ports=(EndpointPort(name="http", protocol="TCP", port=8080),),
    )


PODS = slice_of({"10.16.0.5": "node1", "10.16.0.6": "node2"})


def parse(wanted: Service, *slices: EndpointSlice) -> NodeService:
    found = parse_service(wanted, slices, HERE)
    assert found is not None
    return found


def only(wanted: Service, *slices: EndpointSlice) -> Entry:
    (entry,) = parse(wanted, *slices).entries
    return entry


def direct(way: str, *endpoints: str, sticky: bool = False, masquerade: bool = True) -> Direct:
    return Direct(
        name=f"{way}/team/web/tcp/80/4",
        endpoints=tuple((ip_address(each), 8080) for each in endpoints),
        sticky=sticky,
        masquerade=masquerade,
    )


def test_a_node_port_leads_to_the_services_own_address() -> None:
    assert only(service()) == Entry(front=NODE_PORT, inside=VIP, outside=VIP)
    both = parse(service(ips=("10.96.0.80", "fd00:10:96::80"))).entries
    assert [entry.front.version for entry in both] == [4, 6]


@pytest.mark.parametrize(
    "left",
    [
        service(ports=(ServicePort(port=80),), type="ClusterIP"),
        service(ips=("None",)),
        service(type="ExternalName", external_ips=("192.0.2.1",)),
    ],
)
def test_what_is_reached_in_the_fabric_alone_is_not_the_nodes_business(left: Service) -> None:
    assert parse_service(left, [PODS], HERE) is None


def test_outside_and_inside_differ_where_the_policy_is_local() -> None:
    entry = only(service(external_traffic_policy="Local"), PODS)
    assert entry == Entry(front=NODE_PORT, inside=VIP, outside=direct("local", "10.16.0.5", masquerade=False))
    nobody = only(service(external_traffic_policy="Local"), slice_of({"10.16.0.6": "node2"}))
    assert nobody.outside == direct("local", masquerade=False)


def test_the_node_chooses_where_the_fabric_would_choose_otherwise() -> None:
    """For clients inside one's own node alone, or for the node instead of its client."""
    everybody = direct("any", "10.16.0.5", "10.16.0.6")
    assert only(service(internal_traffic_policy="Local"), PODS).inside == everybody
    sticky = only(service(session_affinity="ClientIP"), PODS).outside
    assert isinstance(sticky, Direct)
    assert sticky.sticky
    positions = [sticky.endpoints.count((ip_address(each), 8080)) for each in ("10.16.0.5", "10.16.0.6")]
    assert sorted(positions) == [30, 31], "of an endpoint that goes the other's clients know nothing"
    assert only(service(session_affinity="ClientIP")).outside == VIP, "the fabric refuses at once"


def test_endpoints_outside_the_fabric_are_reached_right_from_the_node() -> None:
    api = slice_of({"172.30.0.1": "", "10.16.0.6": "node2"})
    whole = parse(service(), api)
    chosen = direct("any", "10.16.0.6", "172.30.0.1")
    own = Front(version=4, protocol="tcp", port=80, address=ip_address("10.96.0.80"))
    assert whole.entries == (
        Entry(front=own, inside=chosen, outside=chosen),
        Entry(front=NODE_PORT, inside=chosen, outside=chosen),
    )
    plain = service(ports=(ServicePort(port=80, name="http"),), type="ClusterIP")
    assert [entry.front for entry in parse(plain, api).entries] == [own]
    local = service(internal_traffic_policy="Local")
    assert parse(local, api).entries[0].inside == direct("own"), "none of them is here"


def test_the_node_chooses_for_udp_wherever_there_is_an_endpoint() -> None:
    """OVN would leave the connection of a client that asked too early as it is; a node ends such connections."""
    dns = (ServicePort(port=53, name="http", protocol="UDP", node_port=30053),)
    own = Front(version=4, protocol="udp", port=53, address=ip_address("10.96.0.80"))
    node_port, vip = Front(version=4, protocol="udp", port=30053), Through(address=ip_address("10.96.0.80"), port=53)
    pods = msgspec.structs.replace(PODS, ports=(EndpointPort(name="http", protocol="UDP", port=5353),))
    every, here = ({(ip_address(each), 5353) for each in some} for some in (("10.16.0.5", "10.16.0.6"), ("10.16.0.5",)))
    assert _led(parse(service(ports=dns), pods)) == {own: every, node_port: every}
    local = service(ports=dns, internal_traffic_policy="Local")
    assert _led(parse(local, pods)) == {own: here, node_port: every}
    elsewhere = msgspec.structs.replace(pods, endpoints=(pods.endpoints or ())[1:])
    assert _led(parse(local, elsewhere)).keys() == {node_port}, "the fabric refuses"
    assert [entry.inside for entry in parse(service(ports=dns)).entries] == [vip], "the fabric refuses"


def _led(found: NodeService) -> dict[Front, set[tuple[Address, int]]]:
    """The endpoints that each front leads to."""
    return {each.front: set(each.inside.endpoints) for each in found.entries if isinstance(each.inside, Direct)}


def test_the_health_check_port_counts_what_is_here() -> None:
    balanced = service(type="LoadBalancer", external_traffic_policy="Local", health_check_node_port=31000)
    assert (parse(balanced, PODS).health_port, parse(balanced, PODS).local) == (31000, 1)
    leaving = slice_of({"10.16.0.5": "node1"}, ready=False, serving=True, terminating=True)
    assert parse(balanced, leaving).local == 0, "who leaves is to get no new clients (KEP-1669)"
    assert parse(service(type="LoadBalancer", health_check_node_port=31000)).health_port == 0


def text(*services: NodeService, nodes: tuple[str, ...] = ()) -> str:
    return render_services(services, NETWORKS, [ip_address(node) for node in nodes]).text


def elements(table: str, name: str) -> str:
    return table.partition(f"map {name} {{")[2].partition("    }")[0].partition("elements = ")[2].strip()


def chain(table: str, name: str) -> list[str]:
    return [line.strip() for line in table.partition(f"chain {name} {{\n")[2].partition("    }")[0].splitlines()]


def test_the_table_of_a_node_port() -> None:
    table = text(parse(service()))
    assert elements(table, "ports4") == '{ tcp . 30080 comment "team/web" : 10.96.0.80 . 80 }'
    for name in ("ports6", "through4", "direct4", "outside4", "restricted4", "direct_ports4", "outside_ports4"):
        assert elements(table, name) == "", name


def test_the_table_of_a_local_policy() -> None:
    wanted = service(external_traffic_policy="Local", external_ips=("192.0.2.1",), session_affinity="ClientIP")
    table = text(parse(wanted, PODS))
    assert elements(table, "outside_ports4") == '{ tcp . 30080 comment "team/web" : goto local/team/web/tcp/80/4 }'
    assert elements(table, "outside4") == '{ 192.0.2.1 . tcp . 80 comment "team/web" : goto local/team/web/tcp/80/4 }'
    assert chain(table, "local/team/web/tcp/80/4") == [
        "meta l4proto tcp dnat ip to jhash ip saddr mod 1 seed 0x6b6f map { 0 : 10.16.0.5 . 8080 }"
    ]
    assert chain(table, "any/team/web/tcp/80/4")[0] == "meta mark set meta mark | 0x00004000"
    empty = text(parse(service(external_traffic_policy="Local")))
    assert elements(empty, "outside_ports4") == '{ tcp . 30080 comment "team/web" : drop }'
    assert "chain local/" not in empty


def test_a_load_balancers_addresses_are_for_its_ranges() -> None:
    wanted = service(
        type="LoadBalancer",
        balanced=("192.0.2.2", "2001:db8::2"),
        external_ips=("192.0.2.1",),
        ips=("10.96.0.80", "fd00:10:96::80"),
        load_balancer_source_ranges=("198.51.100.0/25", " 198.51.100.128/25", "nonsense"),
    )
    table = text(parse(wanted))
    assert elements(table, "restricted4") == '{ 192.0.2.2 . tcp . 80 comment "team/web" : jump ranges/team/web/4 }'
    assert chain(table, "ranges/team/web/4") == ["ip saddr { 198.51.100.0/24 } return", "counter drop"]
    assert chain(table, "ranges/team/web/6") == ["counter drop"], "none of that family is admitted"


def test_of_two_that_want_the_same_the_older_has_it() -> None:
    young = service("a", created="2026-01-02T00:00:00Z", ips=("10.96.0.81",), external_ips=("192.0.2.1",), ports=PORT)
    old = service("b", external_ips=("192.0.2.1",), ports=PORT)
    twin = service("c", external_ips=("192.0.2.1",), ips=("10.96.0.82",), ports=PORT)
    expected = '{ 192.0.2.1 . tcp . 80 comment "team/b" : 10.96.0.80 . 80 }'
    for order in ((young, old, twin), (twin, old, young), (old, twin, young)):
        assert elements(text(*map(parse, order)), "through4") == expected


PORT = (ServicePort(port=80),)


def test_the_order_of_services_does_not_matter() -> None:
    all_of_them = [parse(each, PODS) for each in every_kind()]
    assert text(*all_of_them) == text(*reversed(all_of_them))


def test_fronts_of_udp_and_where_they_lead() -> None:
    dns = service(ports=(ServicePort(port=53, name="http", protocol="UDP", node_port=30053), HTTP))
    assert render_services([parse(dns, PODS)], NETWORKS, []).fronts == {
        Front(version=4, protocol="udp", port=30053): frozenset({(ip_address("10.96.0.80"), 53)})
    }


def every_kind() -> list[Service]:
    ips = ("10.96.0.80", "fd00:10:96::80")
    longest = "n" * 63
    return [
        service("plain", ips=ips),
        service(longest, ips=ips, external_ips=("192.0.2.9", "2001:db8::9"), external_traffic_policy="Local"),
        service("sticky", ips=ips, ports=(ServicePort(port=53, protocol="SCTP", node_port=30001, name="http"),)),
        service("9.own", ips=ips, session_affinity="ClientIP", ports=(ServicePort(port=8, node_port=3, name="http"),)),
        service("foreign", ips=("10.96.0.99",), ports=(ServicePort(port=1, node_port=2, name="http"),)),
        service(
            "balanced",
            ips=ips,
            type="LoadBalancer",
            balanced=("192.0.2.3", "2001:db8::3"),
            load_balancer_source_ranges=("10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "11.0.0.0/8"),
            internal_traffic_policy="Local",
            ports=(ServicePort(port=81, node_port=30002, name="http"),),
        ),
    ]


@pytest.mark.skipif(shutil.which("nft") is None, reason="there is no nft here")
@pytest.mark.parametrize("networks", [NETWORKS, NETWORKS[:1], ()])
def test_nft_takes_every_table(networks: tuple[object, ...]) -> None:
    slices = [
        PODS,
        slice_of({"fd00:10:16::5": "node1", "fd00:10:16::6": "node1"}, "IPv6"),
        slice_of({"172.30.0.1": "node1"}),
    ]
    services = [parse(each, *slices) for each in every_kind()]
    nodes = [ip_address("172.30.0.11"), ip_address("172.30.0.12"), ip_address("fd00:172:30::11")]
    for some in (services, []):
        table = render_services(some, NETWORKS[: len(networks)], nodes if some else [])
        said = subprocess.run(
            ["unshare", "--net", "nft", "-c", "-f", "-"], input=table.text, text=True, capture_output=True, check=False
        )
        assert (said.returncode, said.stderr) == (0, "")
        assert table.comment in table.text
        assert f"table inet {names.SERVICES_TABLE} {{" in table.text
