"""Where Services' endpoints are checked from: asked for, recorded, given back."""

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.crd import IP
from kube_ovn.model.kube import Object, Service
from kube_ovn.model.nb import LoadBalancer, LoadBalancerHealthCheck
from kube_ovn.model.row import RowKey
from kube_ovn.topology.render import Topology
from tests.clusters import (
    Api,
    fabric,
    gateway,
    namespace,
    pod,
    reservation,
    service,
    settle,
    settled,
    slice_of,
    step,
    subnet,
)

WANTED = {names.HEALTH_CHECK: "true"}
RECORD = "checks-ovn-default"


def cluster(*more: Object) -> Api:
    """A Service with one Pod that is to be checked."""
    return Api(
        namespace("default"),
        gateway("node1", 1),
        pod("a", "node1"),
        service("web", "10.96.0.20", annotations=WANTED),
        slice_of("web", "10.16.0.2", pods=("a",)),
        *more,
    )


def mappings(topology: Topology) -> dict[str, str]:
    row = topology.assembly.state[RowKey("Load_Balancer", "default/web/tcp")]
    assert isinstance(row, LoadBalancer)
    checks = [each.vip for each in topology.assembly.state.values() if isinstance(each, LoadBalancerHealthCheck)]
    assert checks == (["10.96.0.20:80"] if row.ip_port_mappings else [])
    return row.ip_port_mappings


def record(api: Api) -> IP | None:
    return api.find(IP, RECORD)


def test_the_address_is_recorded_before_it_is_used_and_nobody_elses() -> None:
    api, topology = cluster(), Topology(fabric())
    while not api.find(IP, RECORD):
        topology.render(api.snapshot())
        if RowKey("Load_Balancer", "default/web/tcp") in topology.assembly.state:
            assert mappings(topology) == {}
        for write in list(topology.writes.values()):
            api.write(write)
    settle(topology, api)
    made = record(api)
    assert made is not None
    assert (made.spec.pod_type, made.spec.subnet) == (names.CHECKS_TYPE, "ovn-default")
    assert mappings(topology) == {"10.16.0.2": f"a.default:{made.spec.v4_ip_address}"}
    granted = [ip.spec.v4_ip_address for ip in api.objects.values() if isinstance(ip, IP)]
    assert len(granted) == len(set(granted)) == 3  # the node's, the Pod's, this one


def test_a_new_controller_finds_it_and_writes_nothing() -> None:
    api = cluster()
    before = settled(api)
    again = Topology(fabric())
    again.render(api.snapshot())
    assert again.assembly.state == before.assembly.state
    assert not again.writes


@pytest.mark.parametrize("how", ["annotation", "service", "endpoint"])
def test_it_is_given_back_when_nobody_asks_for_it(how: str) -> None:
    api = cluster()
    topology, view = settled(api), api.snapshot()
    web = api.objects["service-uid-web"]
    assert isinstance(web, Service)
    match how:
        case "annotation":
            api.put(msgspec.structs.replace(web, metadata=msgspec.structs.replace(web.metadata, annotations={})))
        case "service":
            api.remove(web.metadata.uid)
        case "endpoint":
            api.remove("slice-uid-web")
    settle(topology, api, view)
    assert record(api) is None
    assert not [row for row in topology.assembly.state.values() if isinstance(row, LoadBalancerHealthCheck)]
    assert topology.assembly.state == settled(api).assembly.state


def test_two_services_share_it_until_the_last_goes() -> None:
    more = service("too", "10.96.0.21", annotations=WANTED), slice_of("too", "10.16.0.2", pods=("a",), uid="t")
    api = cluster(*more)
    topology, view = settled(api), api.snapshot()
    api.remove("service-uid-web")
    settle(topology, api, view)
    assert record(api) is not None
    view = api.snapshot()
    api.remove("service-uid-too")
    settle(topology, api, view)
    assert record(api) is None


def test_a_user_may_choose_it() -> None:
    api = cluster(reservation(RECORD, "ovn-default", "10.16.0.77"))
    topology, view = settled(api), api.snapshot()
    assert mappings(topology) == {"10.16.0.2": "a.default:10.16.0.77"}
    api.remove("service-uid-web")
    settle(topology, api, view)
    assert record(api) is not None, "it is its user's"


def test_where_no_address_is_left_its_user_is_told_and_the_next_free_one_is_taken() -> None:
    full = subnet("full", "10.20.0.0/30", namespaces=("default",))
    holder = pod("a", "node1")
    api = Api(namespace("default"), full, gateway("node1", 1), holder)
    topology, view = settled(api), api.snapshot()
    api.put(service("web", "10.96.0.20", annotations=WANTED), slice_of("web", "10.20.0.2", pods=("a",)))
    settle(topology, api, view)
    assert "full" in topology.problems["service-uid-web"].message
    assert mappings(topology) == {}
    view = api.snapshot()
    api.put(reservation("checks-full", "full", "10.20.0.2"))
    settle(topology, api, view)
    assert "IP checks-full" in topology.problems["service-uid-web"].message
    view = api.snapshot()
    api.remove(next(uid for uid, item in api.objects.items() if item.metadata.name == "checks-full"))
    api.remove(holder.metadata.uid)
    settle(topology, api, view)
    assert "service-uid-web" not in topology.problems
    made = api.find(IP, "checks-full")
    assert made is not None
    assert made.spec.v4_ip_address == "10.20.0.2"


def test_a_subnet_that_goes_takes_it_along() -> None:
    blue = subnet("blue", "10.20.0.0/24")
    api = Api(namespace("default"), blue, service("web", "10.96.0.20", annotations=WANTED))
    api.put(slice_of("web", "10.20.0.9", pods=("a",)))
    topology, view = settled(api), api.snapshot()
    assert api.find(IP, "checks-blue") is not None
    made = api.objects[blue.metadata.uid]
    leaving = msgspec.structs.replace(made.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    api.put(msgspec.structs.replace(made, metadata=leaving))  # type: ignore[type-var]
    settle(topology, api, view)
    assert api.find(IP, "checks-blue") is None
    assert "blue" not in topology.ledger.subnets or not topology.ledger.keys("blue")


def test_step_by_step_is_as_from_the_start() -> None:
    api = cluster()
    topology = Topology(fabric())
    before = api.snapshot()
    topology.render(before)
    for _ in range(6):
        for write in list(topology.writes.values()):
            api.write(write)
        view = api.snapshot()
        topology.render(step(before, view))
        before = view
    assert topology.assembly.state == settled(api).assembly.state
