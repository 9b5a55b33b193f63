"""What a Service's load balancers send where."""

from collections.abc import Mapping

import msgspec
import pytest

from kube_ovn.model.kube import Endpoint, EndpointConditions, EndpointPort, EndpointSlice, ServicePort
from kube_ovn.model.nb import LoadBalancer
from kube_ovn.model.row import Key, Row
from kube_ovn.service.endpoints import backends, choose
from kube_ovn.topology.dns import shard
from kube_ovn.topology.service import Surroundings, render_service
from tests.clusters import Api, namespace, service, settle, settled, slice_of

PORT = ServicePort(port=80)


def endpoint(address: str, **conditions: bool) -> Endpoint:
    return Endpoint(addresses=(address,), conditions=EndpointConditions(**conditions))


def holding(*endpoints: Endpoint, uid: str = "slice") -> EndpointSlice:
    return msgspec.structs.replace(slice_of("web", "10.16.0.2", uid=uid), endpoints=endpoints)


def chosen(*slices: EndpointSlice, port: ServicePort = PORT) -> list[str]:
    return [str(each.address) for each in choose(backends(port, 4, slices))]


def rows(facts: Mapping[Key, Row | None]) -> list[LoadBalancer]:
    return [row for row in facts.values() if isinstance(row, LoadBalancer)]


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


def test_a_thousand_endpoints_in_the_order_of_their_addresses() -> None:
    addresses = [f"10.16.{n // 250}.{n % 250 + 1}" for n in range(1000)]
    slices = [slice_of("web", *addresses[at : at + 100], uid=f"s{at}") for at in range(0, 1000, 100)]
    (row,) = rows(render_service(service("web", "10.96.0.20"), reversed(slices), Surroundings()).facts)
    assert row.vips == {"10.96.0.20:80": ",".join(f"{address}:8080" for address in addresses)}


@pytest.mark.parametrize(
    ("addresses", "spec"),
    [(("None",), {}), ((), {"type": "ExternalName"}), (("10.96.0.20",), {"type": "ExternalName"})],
)
def test_without_an_address_of_its_own_there_is_no_load_balancer(
    addresses: tuple[str, ...], spec: dict[str, str]
) -> None:
    assert not render_service(service("web", *addresses, **spec), [slice_of("web", "10.16.0.2")], Surroundings()).facts


def test_one_endpoint_changes_one_row() -> None:
    api = Api(namespace("default"), service("web", "10.96.0.20"), service("other", "10.96.0.21"))
    api.put(slice_of("web", "10.16.0.2"), slice_of("other", "10.16.0.2"))
    topology = settled(api)
    topology.assembly.take_changed()
    view = api.snapshot()
    api.put(slice_of("web", "10.16.0.2", "10.16.0.3"))
    settle(topology, api, view)
    assert [key.key for key in topology.assembly.take_changed()] == ["default/web/tcp"]
    view = api.snapshot()
    api.remove("service-uid-web")
    settle(topology, api, view)
    gone = {(key.table, key.key if len(key) == 2 else key.column) for key in topology.assembly.take_changed()}
    row = shard("default", "web")
    assert gone == {
        ("Load_Balancer", "default/web/tcp"),
        ("Load_Balancer_Group", "load_balancer"),
        ("DNS", row),
        ("Logical_Switch", "dns_records"),
    }
