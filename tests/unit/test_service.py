"""What a Service's load balancers send where."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import dns.message
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.discovery import size
from kube_ovn.discovery.dns import service_names
from kube_ovn.discovery.endpoints import Place, backends, choose, parse_slices, source_ranges
from kube_ovn.host.service import Site, parse_service
from kube_ovn.model import names
from kube_ovn.model.kube import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    Hint,
    Hints,
    Service,
    ServicePort,
)
from kube_ovn.model.nb import ChassisTemplateVar, Dns, LoadBalancer
from kube_ovn.model.network import Kind, ObjectRef
from kube_ovn.model.row import Key, Row, RowKey
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.services.balancer import plan_service, render_service
from kube_ovn.topology.services.dns import shard
from tests.node_view import view as node_view
from tests.small_clusters import Api, fabric, gateway, namespace, service, settle, settled, slice_of

PORT = ServicePort(port=80)


def endpoint(address: str, **conditions: bool) -> Endpoint:
    return Endpoint(addresses=(address,), conditions=EndpointConditions(**conditions))


def holding(*endpoints: Endpoint, uid: str = "slice") -> EndpointSlice:
    return msgspec.structs.replace(slice_of("web", "10.16.0.2", uid=uid), endpoints=endpoints)


def chosen(*slices: EndpointSlice, port: ServicePort = PORT) -> list[str]:
    return [str(each.address) for each in choose(backends(port, 4, parse_slices(slices)))]


def rows(facts: Mapping[Key, Row | None]) -> list[LoadBalancer]:
    return [row for row in facts.values() if isinstance(row, LoadBalancer)]


def rendered(item: Service, *slices: EndpointSlice) -> Mapping[Key, Row | None]:
    return render_service(item, plan_service(item, slices)).rows


READY, UNKNOWN = endpoint("10.16.0.2", ready=True), endpoint("10.16.0.3")
LEAVING = endpoint("10.16.0.4", ready=False, serving=True, terminating=True)
LEFT, BROKEN = endpoint("10.16.0.5", ready=False, serving=False, terminating=True), endpoint("10.16.0.6", ready=False)


def test_those_that_are_ready_are_asked_and_unknown_means_ready() -> None:
    assert chosen(holding(READY, UNKNOWN, LEAVING, LEFT, BROKEN)) == ["10.16.0.2", "10.16.0.3"]


def test_where_none_is_ready_those_that_leave_and_serve_still_are() -> None:
    assert chosen(holding(LEAVING, LEFT, BROKEN)) == ["10.16.0.4"]
    assert chosen(holding(LEFT, BROKEN)) == []


def test_an_endpoint_in_two_slices_is_one_and_what_the_better_of_them_says() -> None:
    broken = endpoint("10.16.0.2", ready=False)
    for slices in ((holding(broken, uid="a"), holding(READY, uid="b")), (holding(READY), holding(broken, uid="z"))):
        assert chosen(*slices) == ["10.16.0.2"]


def test_a_port_is_found_by_its_name_and_protocol() -> None:
    two = msgspec.structs.replace(
        holding(READY), ports=(EndpointPort(name="http", port=8080), EndpointPort(name="dns", port=53, protocol="UDP"))
    )
    assert chosen(two, port=ServicePort(port=80, name="http")) == ["10.16.0.2"]
    assert chosen(two, port=ServicePort(port=80, name="dns")) == []
    assert chosen(msgspec.structs.replace(two, ports=None), port=ServicePort(port=80, name="http")) == []


@pytest.mark.parametrize("label", [names.SERVICE_PROXY_NAME, names.SERVICE_HEADLESS])
def test_a_slice_may_be_left_to_others(label: str) -> None:
    item = holding(READY)
    labels = {**item.metadata.labels, label: ""}
    others = msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, labels=labels))
    assert chosen(others) == []
    assert chosen(others, holding(UNKNOWN, uid="ours")) == ["10.16.0.3"]


def test_a_thousand_endpoints_in_the_order_of_their_addresses() -> None:
    addresses = [f"10.16.{n // 250}.{n % 250 + 1}" for n in range(1000)]
    slices = [slice_of("web", *addresses[at : at + 100], uid=f"s{at}") for at in range(0, 1000, 100)]
    (row,) = rows(rendered(service("web", "10.96.0.20"), *reversed(slices)))
    assert row.vips == {"10.96.0.20:80": ",".join(f"{address}:8080" for address in addresses)}


@pytest.mark.parametrize(
    ("addresses", "spec"),
    [(("None",), {}), ((), {"type": "ExternalName"}), (("10.96.0.20",), {"type": "ExternalName"})],
)
def test_without_an_address_of_its_own_there_is_no_load_balancer(
    addresses: tuple[str, ...], spec: dict[str, str]
) -> None:
    assert not rendered(service("web", *addresses, **spec), slice_of("web", "10.16.0.2"))


def test_one_endpoint_changes_one_row() -> None:
    api = Api(namespace("default"), service("web", "10.96.0.20"), service("other", "10.96.0.21"))
    api.put(slice_of("web", "10.16.0.2"), slice_of("other", "10.16.0.2"))
    topology = settled(api)
    topology.take_changed()
    view = api.snapshot()
    api.put(slice_of("web", "10.16.0.2", "10.16.0.3"))
    settle(topology, api, view)
    assert [key.key for key in topology.take_changed()] == ["default/web/tcp"]
    view = api.snapshot()
    api.remove("service-uid-web")
    settle(topology, api, view)
    gone = {(key.table, key.key if len(key) == 2 else key.column) for key in topology.take_changed()}
    row = shard("default", "web")
    assert gone == {
        ("Load_Balancer", "default/web/tcp"),
        ("Load_Balancer_Group", "load_balancer"),
        ("DNS", row),
        ("Logical_Switch", "dns_records"),
    }


DNS_PORTS = (ServicePort(port=53, protocol="UDP"), ServicePort(port=53, protocol="TCP"))


def vips(topology: Topology) -> dict[str, dict[str, str]]:
    return {row.name: row.vips for row in topology.state.values() if isinstance(row, LoadBalancer)}


def variables(topology: Topology, chassis: str) -> set[str]:
    row = topology.state.get(RowKey(ChassisTemplateVar.TABLE, chassis))
    return set(row.variables.values()) if isinstance(row, ChassisTemplateVar) else set()


def dns_names(topology: Topology) -> set[str]:
    return {name for row in topology.state.values() if isinstance(row, Dns) for name in row.records}


def test_the_nodes_answer_for_names_as_long_as_no_dns_server_is_ready() -> None:
    api = Api(namespace("kube-system"), gateway("node1", 1))
    topology = settled(api)
    assert variables(topology, "chassis-node1") == {"100.64.0.2:53"}, "without a Service for a DNS server"

    def now() -> dict[str, dict[str, str]]:
        settle(topology, api, view)
        return {name: each for name, each in vips(topology).items() if "10.96.0.10:53" in each}

    view = api.snapshot()
    api.put(service("dns", "10.96.0.10", namespace="kube-system", ports=DNS_PORTS))
    assert set(now()) == {"kube-system/dns/tcp/ipv4", "kube-system/dns/udp/ipv4"}
    assert variables(topology, "chassis-node1") == {"100.64.0.2:53"}, "with one that nobody is behind"
    view = api.snapshot()
    api.put(
        slice_of("dns", "10.16.0.9", namespace="kube-system", uid="u", port=53, protocol="UDP"),
        slice_of("dns", "10.16.0.9", namespace="kube-system", uid="t", port=53),
    )
    assert now() == {
        "kube-system/dns/tcp": {"10.96.0.10:53": "10.16.0.9:53"},
        "kube-system/dns/udp": {"10.96.0.10:53": "10.16.0.9:53"},
    }
    assert not variables(topology, "chassis-node1")
    view = api.snapshot()
    api.remove("service-uid-dns")
    assert set(now()) == {"@fabric/dns/tcp/ipv4", "@fabric/dns/udp/ipv4"}
    assert variables(topology, "chassis-node1") == {"100.64.0.2:53"}


def test_where_names_are_left_to_others_there_are_none() -> None:
    api = Api(namespace("default"), gateway("node1", 1), service("web", "10.96.0.20"))
    topology = settled(api, replace(fabric(), domain=""))
    assert set(vips(topology)) == {"default/web/tcp"}
    assert not [row for row in topology.state.values() if isinstance(row, Dns | ChassisTemplateVar)]


def test_an_address_that_two_want_goes_to_the_other_when_the_older_leaves() -> None:
    old = service("old", "10.96.0.20", external_ips=("192.0.2.1",))
    young = service("young", "10.96.0.21", external_ips=("192.0.2.1",))
    young = msgspec.structs.replace(
        young, metadata=msgspec.structs.replace(young.metadata, creation_timestamp="2026-01-02T00:00:00Z")
    )
    api = Api(namespace("default"), young, old)
    topology = settled(api)
    assert "192.0.2.1:80" in vips(topology)["default/old/tcp"]
    assert "192.0.2.1:80/TCP is that of another Service" in topology.problems["service-uid-young"].message
    view = api.snapshot()
    api.remove("service-uid-old")
    settle(topology, api, view)
    assert "192.0.2.1:80" in vips(topology)["default/young/tcp"]
    assert not topology.problems


def test_a_service_is_worked_out_anew_only_when_an_address_it_asks_for_changes_hands() -> None:
    asking = [
        service(f"s{number}", f"10.96.0.{number + 20}", external_ips=("192.0.2.1", "10.97.0.9")) for number in range(20)
    ]
    api = Api(namespace("default"), *asking)
    topology = settled(api, replace(fabric(), services=()))
    outcomes = next(each for each in topology.graph.derivations if each.name == "outcomes of Services")

    def cost(*more: Service, without: str = "") -> int:
        before, view = outcomes.worked, api.snapshot()
        api.put(*more)
        if without:
            api.remove(f"service-uid-{without}")
        settle(topology, api, view)
        return outcomes.worked - before

    assert cost(service("t", "10.96.0.90", external_ips=("192.0.2.1",))) == 1, "one more, younger than the holder"
    assert cost(without="t") == 0
    assert cost(without="s19") == 0
    assert cost(without="s0") == 1, "the one that has its addresses now"
    assert cost(service("own", "10.97.0.9")) == 2, "one whose own address it is, and the one that lost it"
    assert "10.97.0.9:80/TCP is that of another Service" in topology.problems["service-uid-s1"].message
    assert "192.0.2.1:80" in vips(topology)["default/s1/tcp"]
    assert cost(without="own") == 1
    assert "10.97.0.9:80" in vips(topology)["default/s1/tcp"]


def test_two_nodes_that_claim_one_chassis_harm_nobody_else() -> None:
    liar = gateway("node2", 2)
    liar.metadata.annotations[names.CHASSIS] = "chassis-node1"
    api = Api(namespace("default"), gateway("node1", 1), liar, gateway("node3", 3))
    topology = settled(api)
    assert variables(topology, "chassis-node1") == {"100.64.0.2:53"}
    assert variables(topology, "chassis-node3") == {"100.64.0.4:53"}


def test_an_endpoint_costs_the_nodes_that_it_serves() -> None:
    places, addresses = [f"node{number}" for number in range(6)], [f"10.16.0.{number + 2}" for number in range(6)]
    zones = ["east", "east", "west", "west", "west", "west"]
    api = Api(namespace("default"))
    for number, (place, zone) in enumerate(zip(places, zones, strict=True)):
        made = gateway(place, number)
        api.put(
            msgspec.structs.replace(made, metadata=msgspec.structs.replace(made.metadata, labels={names.ZONE: zone}))
        )
    api.put(service("near", "10.96.0.20", internal_traffic_policy="Local"), service("zoned", "10.96.0.21"))
    near, zoned = slice_of("near", *addresses, nodes=places), slice_of("zoned", *addresses, nodes=places, zones=zones)
    api.put(near, zoned)
    topology = settled(api)
    cells = {each.name: each for each in topology.graph.derivations}
    nodes, at_chassis = cells["variables of nodes"], cells["rows of variables"]

    def cost(item: EndpointSlice, *unready: int) -> tuple[int, int, int]:
        """Cells of nodes and of rows, and rows that changed, with these endpoints not ready."""
        before, view = (nodes.worked, at_chassis.worked), api.snapshot()
        topology.take_changed()
        gone = EndpointConditions(ready=False, serving=False)
        api.put(
            msgspec.structs.replace(
                item,
                endpoints=tuple(
                    msgspec.structs.replace(each, conditions=gone) if number in unready else each
                    for number, each in enumerate(item.endpoints or ())
                ),
            )
        )
        settle(topology, api, view)
        changed = [key for key in topology.take_changed() if key.table == ChassisTemplateVar.TABLE]
        return nodes.worked - before[0], at_chassis.worked - before[1], len(changed)

    assert cost(near, 3) == (1, 1, 1), "the one of a node"
    assert cost(near) == (1, 1, 1), "which comes back"
    assert cost(zoned, 0) == (2, 2, 2), "one of a zone with two nodes"
    assert cost(near, *range(6)) == (6, 6, 6), "the last one: every node had a value, and has none"


def many(ports: int, endpoints: int, *addresses: str, **spec: Any) -> tuple[Service, EndpointSlice]:
    """A Service `big` with so many ports, and a slice that has them all."""
    numbers = range(1, ports + 1)
    of_service = tuple(ServicePort(name=f"p{number}", port=number) for number in numbers)
    made = slice_of("big", *(f"10.16.{number // 200}.{number % 200 + 1}" for number in range(endpoints)))
    of_slice = tuple(EndpointPort(name=f"p{number}", port=number) for number in numbers)
    item = service("big", *(addresses or ("10.96.0.20",)), ports=of_service, **spec)
    return item, msgspec.structs.replace(made, ports=of_slice)


LARGEST = [
    (10_000, 10, {}),
    (1_000, 100, {}),
    (1_000, 2, {"internal_traffic_policy": "Local"}),
    (398, 50, {"session_affinity": "ClientIP"}),
    (5_000, 2, {"external_ips": ("192.0.2.1",)}),
]


@pytest.mark.parametrize(("ports", "endpoints", "spec"), LARGEST)
def test_the_largest_service_is_served(ports: int, endpoints: int, spec: dict[str, Any]) -> None:
    item, made = many(ports, endpoints, **spec)
    assert size.refusal(item, [made]) == ""
    larger, its_slice = many(ports + 1, endpoints, **spec)
    assert size.refusal(larger, [its_slice]) != ""
    entries = [each for row in rows(rendered(item, made)) for value in row.vips.values() for each in value.split(",")]
    assert len(entries) <= size.MOST_ENTRIES


@pytest.mark.parametrize(
    ("item", "made", "why"),
    [
        (
            *many(101, 1_000),
            "the endpoints of 101 ports at 1 address are more than 100000 entries of load balancers",
        ),
        (*many(5_001, 1, external_ips=("192.0.2.1",)), "5001 ports at 2 addresses are more than 10000 pairs"),
        (
            *many(1_001, 1, internal_traffic_policy="Local"),
            "1001 ports at 1 address are more than 1000 pairs with internalTrafficPolicy Local",
        ),
    ],
    ids=["endpoints", "addresses", "Local"],
)
def test_a_service_that_is_too_large_is_refused_alone(item: Service, made: EndpointSlice, why: str) -> None:
    other = service("other", "10.96.0.21", external_ips=("192.0.2.1",), ports=item.spec.ports[:2])
    api = Api(namespace("default"), gateway("node1", 1), item, made, other)
    topology = settled(api)
    (told,) = (each for each in topology.told.values() if each.object.name == "big")
    assert told.reason == names.SERVICE_REFUSED
    assert told.message == (
        f"Service default/big: {why}, so that none of its clients is served; use fewer, or several Services"
    )
    assert {name for name in vips(topology) if name.startswith("default")} == {"default/other/tcp"}
    assert len(topology.problems) == 1
    assert parse_service(item, [made], Site(place=Place(node="node1"), fabric=())) is None
    view = api.snapshot()
    api.put(*many(2, 1))
    settle(topology, api, view)
    assert set(vips(topology)) >= {"default/big/tcp", "default/other/tcp"}
    assert not topology.problems


def crowd(number: int) -> EndpointSlice:
    return slice_of("crowd", *(f"10.16.{each // 200}.{each % 200 + 1}" for each in range(number)))


def test_names_of_a_headless_service_with_too_many_endpoints_are_left_to_a_dns_server() -> None:
    item, own = service("crowd", "None"), "crowd.default.svc.cluster.local"
    api = Api(namespace("default"), gateway("node1", 1), item, crowd(size.MOST_NAMED + 1), service("web", "10.96.0.20"))
    topology = settled(api)
    assert dns_names(topology) == {"20.0.96.10.in-addr.arpa", "web.default.svc.cluster.local"}
    (told,) = topology.problems.values()
    assert told.reason == names.SERVICE_REFUSED
    assert told.message == (
        "Service default/crowd: it is headless and has more than 1000 endpoints, so that its name and theirs are left "
        "to the cluster's DNS server; where there is none, use fewer endpoints, or several Services"
    )
    directory = node_view([item], [crowd(size.MOST_NAMED + 1)]).directory("cluster.local")
    for name in (own, f"10-16-0-1.{own}", "1.0.16.10.in-addr.arpa"):
        reply = directory.answer(dns.message.make_query(name, "ANY"))
        assert reply is None or not reply.answer
    view = api.snapshot()
    api.put(crowd(size.MOST_NAMED))
    settle(topology, api, view)
    assert len(dns_names(topology)) == 2 + 2 * size.MOST_NAMED
    assert not topology.problems


def test_where_names_are_left_to_others_a_headless_service_may_be_of_any_size() -> None:
    api = Api(namespace("default"), service("crowd", "None"), crowd(size.MOST_NAMED + 1))
    assert not settled(api, replace(fabric(), domain="")).problems


def test_endpoints_are_not_read_where_no_client_is_sent_to_them() -> None:
    def unread() -> Iterator[EndpointSlice]:
        pytest.fail("a headless Service has no load balancer")
        yield

    assert not plan_service(service("crowd", "None"), unread()).checkable


def test_an_endpoint_of_a_service_with_an_address_changes_no_name() -> None:
    api = Api(namespace("default"), service("web", "10.96.0.20"), service("db", "None"), slice_of("web", "10.16.0.7"))
    topology = settled(api)
    known = next(each for each in topology.graph.derivations if each.name == "names of Services")
    for name, worked in (("web", 0), ("db", 1)):
        before, view = known.worked, api.snapshot()
        api.put(slice_of(name, "10.16.0.8"))
        settle(topology, api, view)
        assert known.worked - before == worked


def test_hints_of_a_service_with_many_ports_are_not_followed() -> None:
    for ports, follows in ((1_000, True), (1_001, False)):
        item, made = many(ports, 2)
        hinted = tuple(
            msgspec.structs.replace(each, hints=Hints(for_zones=(Hint(name="east"),))) for each in made.endpoints or ()
        )
        plan = plan_service(item, [msgspec.structs.replace(made, endpoints=hinted)])
        assert (bool(plan.placed), bool(plan.plain)) == (follows, not follows)


def test_the_reason_of_refused_rows_is_one_of_a_service() -> None:
    api = Api(namespace("default"), service("web", "10.96.0.20"))
    topology = settled(api)
    topology.set_aside(
        {ObjectRef(kind=Kind.SERVICE, namespace="default", name="web", uid="service-uid-web"): "constraint violation"}
    )
    topology.settle()
    (told,) = topology.problems.values()
    assert (told.reason, told.object.name) == (names.SERVICE_REFUSED, "web")
    assert "Service web makes: constraint violation" in told.message


ODD = ["010.0.0.1", "::ffff:192.0.2.9", "fe80::1%eth0", "nonsense", "", "1.2.3", "999.1.1.1", "1" * 5000 + ".1.1.1"]


@given(st.lists(st.sampled_from(ODD) | st.text(max_size=12), max_size=4), st.integers(-(2**31), 2**31 - 1))
def test_odd_addresses_and_ports_harm_nobody(texts: list[str], number: int) -> None:
    odd = service("odd", "None", *texts, external_ips=tuple(texts), load_balancer_source_ranges=tuple(texts))
    plain = service("plain", "10.96.0.20", *texts, uid="plain", external_ips=tuple(texts))
    slices = [
        msgspec.structs.replace(
            slice_of(name, "10.16.0.2", port=number, uid=f"{name}-{kind}"),
            address_type=kind,
            endpoints=tuple(Endpoint(addresses=(text,)) for text in texts),
        )
        for name in ("odd", "plain")
        for kind in ("IPv4", "IPv6", "FQDN")
    ]
    api = Api(namespace("default"), gateway("node1", 1), odd, plain, service("web", "10.96.0.21", uid="web"), *slices)
    topology = settled(api)
    assert "10.96.0.21:80" in vips(topology)["default/web/tcp"]
    for each in vips(topology).values():
        for front, ends in each.items():
            for end in filter(None, ends.split(",")):
                assert end.startswith("^") or end.startswith("[") == front.startswith("[")
    node_view([odd], slices).directory("cluster.local")
    parse_service(plain, slices, Site(place=Place(node="node1"), fabric=()))


def test_an_endpoint_is_read_as_the_api_server_read_it() -> None:
    slices = [holding(endpoint("010.016.0.2"), endpoint("::ffff:10.16.0.3"), endpoint("fd00::2"))]
    assert chosen(*slices) == ["10.16.0.2", "10.16.0.3"]
    assert not backends(PORT, 4, parse_slices([slice_of("web", "10.16.0.2", port=70000)]))
    networks, wrong = source_ranges(service("web", load_balancer_source_ranges=("198.51.100.7/24", "x", "010.0.0.0/8")))
    assert list(map(str, networks)) == ["198.51.100.0/24", "10.0.0.0/8"]
    assert wrong == ["x"]


def test_nobody_elses_name_is_told_for_an_address_of_a_service() -> None:
    thief = service("a", "None", namespace="attacker")
    known = service_names(thief, [slice_of("a", "10.96.0.1", "10.16.0.9")], "cluster.local", fabric().services)
    assert list(map(str, known.pointers)) == ["10.16.0.9"]
