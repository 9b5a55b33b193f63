"""Where Services' endpoints are checked from: asked for, recorded, given back."""

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.crd import IP, Subnet
from kube_ovn.model.kube import Object, Service, ServicePort
from kube_ovn.model.nb import LoadBalancer, LoadBalancerHealthCheck
from kube_ovn.model.row import RowKey
from kube_ovn.topology.graph import Topology
from tests.small_clusters import (
    Api,
    fabric,
    gateway,
    namespace,
    pod,
    reservation,
    service,
    settle,
    settled,
    show,
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
    row = topology.state[RowKey("Load_Balancer", "default/web/tcp")]
    assert isinstance(row, LoadBalancer)
    checks = [each.vip for each in topology.state.values() if isinstance(each, LoadBalancerHealthCheck)]
    assert checks == (["10.96.0.20:80"] if row.ip_port_mappings else [])
    return row.ip_port_mappings


def record(api: Api) -> IP | None:
    return api.find(IP, RECORD)


def test_the_address_is_recorded_before_it_is_used_and_nobody_elses() -> None:
    api, topology = cluster(), Topology(fabric())
    while not api.find(IP, RECORD):
        show(topology, api.snapshot())
        if RowKey("Load_Balancer", "default/web/tcp") in topology.state:
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
    show(again, api.snapshot())
    assert again.state == before.state
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
    assert not [row for row in topology.state.values() if isinstance(row, LoadBalancerHealthCheck)]
    assert topology.state == settled(api).state


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


def test_a_reservation_of_its_name_is_not_in_the_way() -> None:
    api = cluster()
    topology, view = settled(api), api.snapshot()
    made = record(api)
    assert made is not None
    del api.objects[made.metadata.uid]  # by somebody who took its finalizer away
    api.put(reservation(RECORD, "ovn-default", "10.16.0.77"))
    settle(topology, api, view)
    assert list(mappings(topology)) == ["10.16.0.2"]
    assert topology.problems.keys() == {f"ip-uid-{RECORD}"}
    assert topology.state == settled(api).state
    theirs, view = record(api), api.snapshot()
    assert theirs is not None
    api.remove(theirs.metadata.uid)
    settle(topology, api, view)
    assert list(mappings(topology)) == ["10.16.0.2"]
    assert not topology.problems
    assert sum(grant.subnet == "ovn-default" for grant in topology.grants.values()) == 2  # the Pod's and this one


def test_where_no_address_is_left_its_user_is_told_and_the_next_free_one_is_taken() -> None:
    full = subnet("full", "10.20.0.0/29", namespaces=("default",))
    held = [pod(name, "node1", annotations={names.IP_ADDRESS: f"10.20.0.{n}"}) for n, name in enumerate("abcde", 2)]
    api = Api(namespace("default"), full, gateway("node1", 1), *held)
    topology, view = settled(api), api.snapshot()
    api.put(service("web", "10.96.0.20", annotations=WANTED), slice_of("web", "10.20.0.2", pods=("a",)))
    settle(topology, api, view)
    assert "subnet full has no available address" in topology.problems["service-uid-web"].message
    assert mappings(topology) == {}
    view = api.snapshot()
    api.remove(held[-1].metadata.uid)
    settle(topology, api, view)
    assert "service-uid-web" not in topology.problems
    assert mappings(topology) == {"10.20.0.2": "a.default:10.20.0.6"}


def test_a_pod_whose_record_has_a_shorter_name_than_its_port_is_checked_too() -> None:
    name = "a" * 250
    api = cluster(pod(name, "node1", annotations={names.IP_ADDRESS: "10.16.0.9"}))
    api.put(slice_of("web", "10.16.0.9", pods=(name,)))
    assert mappings(settled(api)) == {"10.16.0.9": f"{name}.default:10.16.0.3"}


def test_all_endpoints_of_an_address_are_checked_or_none() -> None:
    """OVN sends nothing to one that it is not to check where it checks another."""
    api = cluster()
    api.put(slice_of("web", "10.16.0.2", "192.0.2.7", pods=("a", "a")))
    topology, view = settled(api), api.snapshot()
    assert mappings(topology) == {}
    assert "10.96.0.20:80/TCP are not checked" in topology.problems["service-uid-web"].message
    api.put(slice_of("web", "10.16.0.2", pods=("a",)))
    settle(topology, api, view)
    assert list(mappings(topology)) == ["10.16.0.2"]
    assert not topology.problems


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_an_address_is_that_of_the_pod_whose_record_says_so(order: tuple[str, str]) -> None:
    api = cluster()
    slices = {"old": slice_of("web", "10.16.0.2", uid="old", pods=("gone",)), "new": api.objects["slice-uid-web"]}
    api.remove("slice-uid-web")
    topology, view = settled(api), api.snapshot()
    for name in order:
        api.put(slices[name])
        settle(topology, api, view)
        view = api.snapshot()
    assert mappings(topology)["10.16.0.2"].startswith("a.default:")


@pytest.mark.parametrize(
    "made",
    [
        service("web", "10.96.0.20", annotations=WANTED, internal_traffic_policy="Local"),
        service("web", "10.96.0.20", annotations=WANTED, ports=(ServicePort(port=80, protocol="SCTP"),)),
        service("web", "None", annotations=WANTED),
        service("web", "10.96.0.20", annotations={names.HEALTH_CHECK: "yes"}),
    ],
)
def test_no_address_is_taken_where_nothing_can_be_checked(made: Service) -> None:
    api = cluster()
    topology, view = settled(api), api.snapshot()
    api.put(made, slice_of("web", "10.16.0.2", pods=("a",), protocol=made.spec.ports[0].protocol))
    settle(topology, api, view)
    assert record(api) is None


def test_a_subnet_that_goes_takes_it_along() -> None:
    """Also while there is a Pod in it: the address is nobody's any more, and nobody is checked from it."""
    blue = subnet("blue", "10.20.0.0/24", namespaces=("default",))
    inside = pod("a", "node1")
    api = Api(namespace("default"), gateway("node1", 1), blue, inside)
    api.put(service("web", "10.96.0.20", annotations=WANTED), slice_of("web", "10.20.0.2", pods=("a",)))
    topology, view = settled(api), api.snapshot()
    assert api.find(IP, "checks-blue") is not None
    made = api.objects[blue.metadata.uid]
    leaving = msgspec.structs.replace(made.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    api.put(msgspec.structs.replace(made, metadata=leaving))  # type: ignore[type-var]
    settle(topology, api, view)
    assert api.find(IP, "checks-blue") is None
    assert mappings(topology) == {}
    view = api.snapshot()
    api.remove(inside.metadata.uid)
    api.remove("slice-uid-web")
    settle(topology, api, view)
    assert api.find(Subnet, "blue") is None


def test_step_by_step_is_as_from_the_start() -> None:
    api = cluster()
    topology = Topology(fabric())
    before = api.snapshot()
    show(topology, before)
    for _ in range(6):
        for write in list(topology.writes.values()):
            api.write(write)
        view = api.snapshot()
        show(topology, step(before, view))
        before = view
    assert topology.state == settled(api).state
