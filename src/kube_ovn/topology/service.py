"""A Service: what its load balancers send where. Pure.

A row a Service and protocol, so that one changed endpoint costs one row, and `ct_flush` ends the connections of that
Service only. Every switch has all of them through one Load_Balancer_Group (ovn-nb(5), "Load_Balancer_Group"): the
address is exchanged where a packet comes in, at the port of the Pod or node that sent it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import Endpoint, EndpointSlice, Service, ServicePort
from kube_ovn.model.nb import LoadBalancer, LoadBalancerGroup
from kube_ovn.model.row import Key, Member, Row, facts, owned

PROTOCOLS = ("TCP", "UDP", "SCTP")
HEADLESS = "None"
_VERSIONS = {"IPv4": 4, "IPv6": 6}
_BY_SOURCE = {4: "ip_src", 6: "ipv6_src"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """An endpoint that a port of a Service may be sent to."""

    address: Address
    port: int
    ready: bool
    leaving: bool
    """Terminating, and serving still."""


def render_services() -> dict[Key, Row | None]:
    """What all Services share."""
    return facts(LoadBalancerGroup(name=names.SERVICE_LBS))


def render_service(service: Service, slices: Iterable[EndpointSlice]) -> dict[Key, Row | None]:
    """The load balancers of a Service with an address of its own; nothing for others."""
    addresses = cluster_addresses(service)
    if not addresses:
        return {}
    slices = sorted(slices, key=lambda item: item.metadata.name)
    rows = [
        _load_balancer(service, protocol, vips)
        for protocol in PROTOCOLS
        if (vips := dict(_vips(service, protocol, addresses, slices)))
    ]
    members = tuple(Member(LoadBalancerGroup.TABLE, names.SERVICE_LBS, "load_balancer", row.name) for row in rows)
    return facts(*rows, members=members)


def cluster_addresses(service: Service) -> list[Address]:
    """The Service's own addresses; none for headless ones and for names of others (ExternalName)."""
    if service.spec.type == "ExternalName":
        return []
    return [ip_address(text) for text in service.spec.cluster_ips if text and text != HEADLESS]


def _load_balancer(service: Service, protocol: str, vips: dict[str, str]) -> LoadBalancer:
    name, namespace = service.metadata.name, service.metadata.namespace
    # Without a backend a client is refused at once. Connections of UDP have no end: a backend that went loses them so.
    options = {"reject": "true", **({"ct_flush": "true"} if protocol == "UDP" else {})}
    versions = sorted({address.version for address in cluster_addresses(service)})
    by_source = frozenset(_BY_SOURCE[version] for version in versions)
    return LoadBalancer(
        name=names.service_lb(namespace, name, protocol),
        protocol=protocol.lower(),
        vips=vips,
        selection_fields=by_source if service.spec.session_affinity == "ClientIP" else frozenset(),
        options=options,
        external_ids=owned(service=f"{namespace}/{name}"),
    )


def _vips(
    service: Service, protocol: str, addresses: Iterable[Address], slices: Iterable[EndpointSlice]
) -> Iterator[tuple[str, str]]:
    for port in service.spec.ports:
        if port.protocol == protocol:
            for address in addresses:
                chosen = choose(backends(port, address.version, slices))
                yield _endpoint(address, port.port), ",".join(_endpoint(each.address, each.port) for each in chosen)


def backends(port: ServicePort, version: int, slices: Iterable[EndpointSlice]) -> list[Backend]:
    """All endpoints of a port in one IP family, each once, in the order of their addresses.

    While a slice is split the same endpoint may be in two: it is what the better one says.
    """
    found: dict[tuple[Address, int], Backend] = {}
    for item in slices:
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
    conditions = endpoint.conditions
    ready = conditions.ready is not False
    serving = ready if conditions.serving is None else conditions.serving
    for text in endpoint.addresses[:1]:
        yield Backend(
            address=ip_address(text), port=number, ready=ready, leaving=serving and bool(conditions.terminating)
        )


def choose(all_of_them: Iterable[Backend]) -> list[Backend]:
    """Those that are ready; where none is, those that are leaving and serve still (KEP-1669)."""
    listed = list(all_of_them)
    return [each for each in listed if each.ready] or [each for each in listed if each.leaving]


def _endpoint(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
