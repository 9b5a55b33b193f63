"""Which changes of Services and endpoints a node hears of, and what it knows of them."""

from ipaddress import ip_network

import msgspec

from kube_ovn.daemon.services import Services
from kube_ovn.discovery.endpoints import Place
from kube_ovn.host.service import Direct, NodeService, Surroundings
from kube_ovn.model import names
from kube_ovn.model.kube import Endpoint, EndpointPort, EndpointSlice, ObjectMeta, Service, ServicePort, ServiceSpec

FABRIC = (ip_network("10.16.0.0/16"),)
HERE = Surroundings(place=Place(node="node1"), fabric=FABRIC)


class Heard:
    """Services, and how often they told of a change since the last question."""

    def __init__(self) -> None:
        self._count = 0
        self.services = Services(self._hear)

    def _hear(self) -> None:
        self._count += 1

    def something(self) -> bool:
        count, self._count = self._count, 0
        return count > 0

    def names(self) -> list[str]:
        return sorted(service.name for service in self.services.effective or ())

    def only(self) -> NodeService:
        (service,) = self.services.effective or ()
        return service


def service(name: str, *, node_port: int = 0, uid: str = "", policy: str = "Cluster") -> Service:
    return Service(
        metadata=ObjectMeta(name=name, namespace="team", uid=uid or f"uid-{name}"),
        spec=ServiceSpec(
            cluster_ips=("10.96.0.80",),
            ports=(ServicePort(port=80, node_port=node_port),),
            external_traffic_policy=policy,
        ),
    )


def slice_of(of: str, *addresses: str, uid: str = "uid-slice") -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(name=uid, namespace="team", uid=uid, labels={names.SERVICE_OF_SLICE: of} if of else {}),
        address_type="IPv4",
        endpoints=tuple(Endpoint(addresses=(address,), node_name="node1") for address in addresses),
        ports=(EndpointPort(port=8080),),
    )


def known(*services: Service, slices: tuple[EndpointSlice, ...] = ()) -> Heard:
    heard = Heard()
    heard.services.look_around(HERE)
    heard.services.slices.replace(slices, 0.0)
    heard.services.store.replace(services, 0.0)
    assert heard.something()
    return heard


def local(heard: Heard) -> list[str]:
    """Where clients outside are led."""
    target = heard.only().entries[-1].outside
    assert isinstance(target, Direct)
    return [str(address) for address, _ in target.endpoints]


def test_nothing_is_known_before_all_of_it_is() -> None:
    heard = Heard()
    heard.services.store.replace([service("web", node_port=30080)], 0.0)
    heard.services.slices.replace([], 0.0)
    assert heard.services.effective is None
    assert not heard.something()
    heard.services.look_around(HERE)
    assert heard.something()
    assert heard.names() == ["web"]


def test_services_with_nothing_for_the_node_are_not_heard_of() -> None:
    heard = known(service("web"), slices=(slice_of("web", "10.16.0.5"),))
    assert heard.names() == []
    heard.services.store.put(service("other"))
    heard.services.slices.put(slice_of("web", "10.16.0.6"))
    assert not heard.something()


def test_endpoints_behind_the_services_own_address_are_not_heard_of() -> None:
    heard = known(service("web", node_port=30080))
    heard.services.slices.put(slice_of("web", "10.16.0.5"))
    assert not heard.something()


def test_endpoints_among_which_the_node_chooses() -> None:
    heard = known(service("web", node_port=30080, policy="Local"))
    assert local(heard) == []
    heard.services.slices.put(slice_of("web", "10.16.0.5"))
    assert heard.something()
    assert local(heard) == ["10.16.0.5"]
    heard.services.slices.put(slice_of("web", "10.16.0.7", uid="second"))
    assert local(heard) == ["10.16.0.5", "10.16.0.7"]
    heard.services.slices.put(slice_of("other", "10.16.0.7", uid="second"))
    assert local(heard) == ["10.16.0.5"], "a slice may become another's"
    heard.services.slices.remove("uid-slice")
    assert local(heard) == []


def test_a_slice_may_come_before_its_service() -> None:
    heard = known(slices=(slice_of("web", "10.16.0.5"), slice_of("", "10.16.0.6", uid="nobodys")))
    heard.services.store.put(service("web", node_port=30080, policy="Local"))
    assert heard.something()
    assert local(heard) == ["10.16.0.5"]


def test_a_service_with_an_endpoint_outside_the_fabric_is_the_nodes_business() -> None:
    heard = known(service("web"), slices=(slice_of("web", "172.30.0.1"),))
    assert local(heard) == ["172.30.0.1"]
    heard.services.look_around(Surroundings(place=HERE.place, fabric=(*FABRIC, ip_network("172.30.0.0/24"))))
    assert heard.something()
    assert heard.names() == [], "a subnet has it now"
    heard.services.look_around(HERE)
    heard.services.slices.put(slice_of("web", "10.16.0.5"))
    assert heard.names() == []


def test_one_made_anew_under_its_name() -> None:
    heard = known(service("web", node_port=30080))
    heard.services.store.put(service("web", node_port=30081, uid="another"))
    assert heard.only().entries[0].front.port == 30081
    heard.services.store.remove("another")
    assert heard.names() == []


def test_a_wrong_address_stops_nothing_else() -> None:
    heard = known(service("web", node_port=30080))
    wrong = service("other", node_port=30081)
    broken = msgspec.structs.replace(wrong, spec=msgspec.structs.replace(wrong.spec, external_ips=("nonsense",)))
    heard.services.store.put(broken)
    heard.services.slices.put(slice_of("web", "nonsense"))
    assert heard.names() == ["other", "web"]


def test_health_checks_count_what_is_here() -> None:
    made = service("web", node_port=30080, policy="Local")
    spec = msgspec.structs.replace(made.spec, type="LoadBalancer", health_check_node_port=31000)
    heard = known(msgspec.structs.replace(made, spec=spec), slices=(slice_of("web", "10.16.0.5", "10.16.0.6"),))
    assert (heard.only().health_port, heard.only().local) == (31000, 2)
