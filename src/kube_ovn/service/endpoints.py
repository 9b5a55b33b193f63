"""What a Service is reached at, and the endpoints its clients are sent to, as Kubernetes means it. Pure.

Kubernetes asks the same of whoever plays kube-proxy's part: of the controller for addresses in the fabric, of each node
for its own ports.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import Endpoint, EndpointSlice, Service, ServicePort

HEADLESS = "None"
LOCAL = "Local"
_LEFT_TO_OTHERS = frozenset({names.SERVICE_PROXY_NAME, names.SERVICE_HEADLESS})
_VERSIONS = {"IPv4": 4, "IPv6": 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a client is."""

    node: str
    zone: str = ""
    addresses: tuple[Address, ...] = ()
    """The node's own, in the fabric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """An endpoint that a port of a Service may be sent to."""

    address: Address
    port: int
    ready: bool
    leaving: bool
    """Terminating, and serving still."""
    node: str = ""
    """Where it is; empty when nobody said."""
    zones: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    """Whose clients it is for, by its hints."""


def cluster_addresses(service: Service) -> list[Address]:
    """The Service's own addresses; none for headless ones, for names of others (ExternalName), and where others answer
    for them.
    """
    if service.spec.type == "ExternalName" or not _LEFT_TO_OTHERS.isdisjoint(service.metadata.labels):
        return []
    return [ip_address(text) for text in service.spec.cluster_ips if text and text != HEADLESS]


def external_addresses(service: Service) -> list[Address]:
    """Addresses outside the cluster's own that the Service is reached at: `externalIPs`, and those a load balancer has
    been given, unless that one wants to see the packets itself (`ipMode: Proxy`).
    """
    if not cluster_addresses(service):
        return []
    return list(dict.fromkeys([*map(ip_address, service.spec.external_ips), *balanced_addresses(service)]))


def balanced_addresses(service: Service) -> list[Address]:
    """Those of type LoadBalancer alone, whose clients `loadBalancerSourceRanges` restricts."""
    if service.spec.type != "LoadBalancer":
        return []
    ingress = service.status.load_balancer.ingress
    return [ip_address(each.ip) for each in ingress if each.ip and each.ip_mode == "VIP"]


def backends(port: ServicePort, version: int, slices: Iterable[EndpointSlice]) -> list[Backend]:
    """All endpoints of a port in one IP family, each once, in the order of their addresses.

    While a slice is split the same endpoint may be in two: it is what the better one says.
    """
    found: dict[tuple[Address, int], Backend] = {}
    for item in sorted(slices, key=lambda item: item.metadata.name):
        if _VERSIONS.get(item.address_type) != version:
            continue
        for number in _numbers(port, item):
            for endpoint in item.endpoints or ():
                for backend in _backends(endpoint, number):
                    key = (backend.address, number)
                    if key not in found or (backend.ready, backend.leaving) > (found[key].ready, found[key].leaving):
                        found[key] = backend
    return [found[key] for key in sorted(found, key=lambda key: (int(key[0]), key[1]))]


def _numbers(port: ServicePort, item: EndpointSlice) -> list[int]:
    """The endpoints' numbers for a port of the Service: the slice's ports have the Service's names."""
    return [
        each.port
        for each in item.ports or ()
        if each.port is not None and (each.name or "") == port.name and (each.protocol or "TCP") == port.protocol
    ]


def _backends(endpoint: Endpoint, number: int) -> Iterator[Backend]:
    """Addresses of one endpoint are interchangeable, and consumers take the first (discovery/v1)."""
    ready, serving = is_ready(endpoint), is_serving(endpoint)
    hints = endpoint.hints
    for text in endpoint.addresses[:1]:
        yield Backend(
            address=ip_address(text),
            port=number,
            ready=ready,
            leaving=serving and bool(endpoint.conditions.terminating),
            node=endpoint.node_name or "",
            zones=frozenset(hint.name for hint in hints.for_zones) if hints else frozenset(),
            nodes=frozenset(hint.name for hint in hints.for_nodes) if hints else frozenset(),
        )


def is_ready(endpoint: Endpoint) -> bool:
    return endpoint.conditions.ready is not False


def is_serving(endpoint: Endpoint) -> bool:
    """Unset, it is what `ready` says (discovery/v1)."""
    serving = endpoint.conditions.serving
    return is_ready(endpoint) if serving is None else serving


def choose(listed: Collection[Backend]) -> list[Backend]:
    """Those that are ready; where none is, those that are leaving and serve still (KEP-1669)."""
    return [each for each in listed if each.ready] or [each for each in listed if each.leaving]


def choose_local(listed: Iterable[Backend], node: str) -> list[Backend]:
    """The same of one node's own: what a traffic policy `Local` wants (KEP-2086)."""
    return choose([each for each in listed if each.node == node])


def choose_near(listed: Collection[Backend], place: Place) -> list[Backend]:
    """Those meant for a client's node, else for its zone, else all. Hints count only where all endpoints that are ready
    have them, and one is meant for this place (KEP-2433, KEP-3015).
    """
    ready = [each for each in listed if each.ready]
    if all(each.nodes for each in ready) and (near := [each for each in ready if place.node in each.nodes]):
        return near
    if all(each.zones for each in ready) and (near := [each for each in ready if place.zone in each.zones]):
        return near
    return choose(listed)


def has_hints(listed: Iterable[Backend]) -> bool:
    """Whether where a client is may matter."""
    ready = [each for each in listed if each.ready]
    return bool(ready) and (all(each.nodes for each in ready) or all(each.zones for each in ready))


def format_endpoint(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
