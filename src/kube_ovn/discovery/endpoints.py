"""The addresses at which a Service is reached, and the endpoints that its clients are sent to. Pure.

Kubernetes' rules are the same for everything that stands in for kube-proxy: for the controller with addresses in the
fabric, and for each node with its own ports.
"""

import contextlib
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import msgspec

from kube_ovn.discovery.special import special
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network
from kube_ovn.model.kube import Endpoint, EndpointSlice, Service, ServicePort

_HEADLESS = "None"
LOCAL = "Local"
_LEFT_TO_OTHERS = frozenset({names.SERVICE_PROXY_NAME, names.SERVICE_HEADLESS})
_VERSIONS = {"IPv4": 4, "IPv6": 6}
_LONGEST_ADDRESS = 40
"""Characters of the text of an address in a message: more than the longest address has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The node and the zone of a client."""

    node: str
    zone: str = ""
    addresses: tuple[Address, ...] = ()
    """The node's own addresses in the fabric."""


class Backend(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An endpoint that the clients of a Service's port may be sent to.

    There is one for each pair of a port and an endpoint, and a Struct is made in a tenth of the time of a dataclass.
    """

    address: Address
    host: str
    """The address as it is written before a port."""
    port: int
    ready: bool
    leaving: bool
    """Whether the endpoint is terminating and still serves (KEP-1672)."""
    node: str = ""
    """The node of the endpoint; empty when the slice does not say."""
    zones: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    """The zones and nodes in the endpoint's hints: clients there are sent to it."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """An EndpointSlice, parsed."""

    version: int
    """The IP version; 0 for names."""
    ports: Mapping[tuple[str, str], Sequence[int]]
    """The endpoints' port numbers, by the name and protocol of the Service's port."""
    endpoints: Sequence[Backend]
    """Each with port 0."""
    unusable: Sequence[str] = ()
    """Why each endpoint without a usable address is left out."""


def read_address(text: str) -> Address | None:
    """Parse an address as Kubernetes reads it: the API server took leading zeros, and IPv4 in the form of IPv6. None
    for an address to which nothing can be sent.
    """
    with contextlib.suppress(OSError, ValueError):  # the C library reads most of them, in a tenth of the time
        return IPv4Address(socket.inet_pton(socket.AF_INET, text))
    parts = text.split(".")
    if len(parts) == 4 and all(part.isascii() and part.isdecimal() and len(part) < 20 for part in parts):
        text = ".".join(str(int(part)) for part in parts)
    try:
        address = None if "%" in text else ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def is_headless(service: Service) -> bool:
    """Whether a Service has no address, and its name leads to its endpoints."""
    return _HEADLESS in service.spec.cluster_ips and service.spec.type != "ExternalName"


def cluster_addresses(service: Service) -> list[Address]:
    """The Service's own addresses. None for a headless Service, for ExternalName, and for a Service that is left to
    another proxy.
    """
    if service.spec.type == "ExternalName" or not _LEFT_TO_OTHERS.isdisjoint(service.metadata.labels):
        return []
    return [address for text in service.spec.cluster_ips if (address := read_address(text)) is not None]


def external_addresses(service: Service) -> list[Address]:
    """Other addresses at which the Service is reached: `externalIPs`, and addresses of its load balancer, except of one
    that must see the packets itself (`ipMode: Proxy`, KEP-1860). Only of the Service's own families.
    """
    versions = {address.version for address in cluster_addresses(service)}
    own = [address for text in service.spec.external_ips if (address := read_address(text)) is not None]
    return [each for each in dict.fromkeys([*own, *balanced_addresses(service)]) if each.version in versions]


def balanced_addresses(service: Service) -> list[Address]:
    """The addresses of its load balancer. `loadBalancerSourceRanges` restricts the clients of these addresses only."""
    if service.spec.type != "LoadBalancer":
        return []
    ingress = service.status.load_balancer.ingress
    read = [read_address(each.ip) for each in ingress if each.ip_mode == "VIP"]
    return [address for address in read if address is not None]


def source_ranges(service: Service) -> tuple[list[Network], list[str]]:
    """The networks in `loadBalancerSourceRanges`, as kube-proxy masks them; and the entries that are no networks."""
    networks, wrong = [], []
    for text in service.spec.load_balancer_source_ranges:
        head, slash, length = text.strip().partition("/")
        try:
            networks.append(ip_network(f"{read_address(head)}{slash}{length}", strict=False))
        except ValueError:
            wrong.append(text)
    return networks, wrong


def parse_slices(slices: Iterable[EndpointSlice]) -> list[Slice]:
    """Parse the slices of a Service, in the order of their names. A slice may be left to another proxy, as a Service
    may.
    """
    return [
        _parse_slice(item)
        for item in sorted(slices, key=lambda item: item.metadata.name)
        if _LEFT_TO_OTHERS.isdisjoint(item.metadata.labels)
    ]


def backends(port: ServicePort, version: int, slices: Iterable[Slice]) -> list[Backend]:
    """All endpoints of a port in one IP family, each once, in the order of their addresses.

    While a slice is split, the same endpoint may be in two slices; then the better one counts.
    """
    found: dict[tuple[int, int], Backend] = {}
    for item in slices:
        if item.version != version:
            continue
        for number in item.ports.get((port.name, port.protocol), ()):
            for endpoint in item.endpoints:
                key = (int(endpoint.address), number)
                if key not in found or (endpoint.ready, endpoint.leaving) > (found[key].ready, found[key].leaving):
                    found[key] = msgspec.structs.replace(endpoint, port=number)
    return [found[key] for key in sorted(found)]


def _parse_slice(item: EndpointSlice) -> Slice:
    """The ports of a slice have the names of the Service's ports. The API server does not check the numbers."""
    ports: dict[tuple[str, str], list[int]] = {}
    for each in item.ports or ():
        if each.port is not None and 0 < each.port < 1 << 16:
            ports.setdefault((each.name or "", each.protocol or "TCP"), []).append(each.port)
    version, endpoints, unusable = _VERSIONS.get(item.address_type, 0), list[Backend](), list[str]()
    for endpoint in item.endpoints or ():
        if (backend := _backend(item, endpoint)) is not None:
            endpoints.append(backend)
        elif version:  # names are left to clients
            unusable.append(_complain(item, endpoint))
    return Slice(version=version, ports=ports, endpoints=endpoints, unusable=unusable)


def _complain(item: EndpointSlice, endpoint: Endpoint) -> str:
    text = endpoint.addresses[0] if endpoint.addresses else ""
    address = read_address(text)
    is_right = address is not None and address.version == _VERSIONS[item.address_type]
    what = special(address) if address is not None and is_right else f"no {item.address_type} address"
    wrong = f"endpoint {text[:_LONGEST_ADDRESS]!r} is {what}"
    return f"{wrong}, and no client is sent to it; name an address of a Pod or a host"


def _backend(item: EndpointSlice, endpoint: Endpoint) -> Backend | None:
    address, hints = endpoint_address(item, endpoint), endpoint.hints
    if address is None:
        return None
    return Backend(
        address=address,
        host=bracketed(address),
        port=0,
        ready=is_ready(endpoint),
        leaving=is_serving(endpoint) and bool(endpoint.conditions.terminating),
        node=endpoint.node_name or "",
        zones=frozenset(hint.name for hint in hints.for_zones) if hints else frozenset(),
        nodes=frozenset(hint.name for hint in hints.for_nodes) if hints else frozenset(),
    )


def endpoint_address(item: EndpointSlice, endpoint: Endpoint) -> Address | None:
    """The address of an endpoint. Its addresses are interchangeable, and consumers take the first (discovery/v1). None
    when that is no address of the slice's family, or a special one, which leads to no other host.
    """
    address = read_address(endpoint.addresses[0]) if endpoint.addresses else None
    if address is None or address.version != _VERSIONS.get(item.address_type):
        return None
    return None if special(address) else address


def pods(slices: Iterable[EndpointSlice], namespace: str) -> Iterator[tuple[Address, str]]:
    """The addresses of endpoints that are Pods of a Namespace by their slices, each with the name of the Pod."""
    for item in slices:
        for endpoint in item.endpoints or ():
            address, target = endpoint_address(item, endpoint), endpoint.target_ref
            if address is not None and target is not None and (target.kind, target.namespace) == ("Pod", namespace):
                yield address, target.name


def keeps_clients(service: Service) -> bool:
    """Whether a client is to stay with its endpoint."""
    return service.spec.session_affinity == "ClientIP"


def is_ready(endpoint: Endpoint) -> bool:
    """Whether an endpoint is ready, which it is where nothing is set (discovery/v1)."""
    return endpoint.conditions.ready is not False


def is_serving(endpoint: Endpoint) -> bool:
    """Whether an endpoint serves. Where `serving` is not set, `ready` decides (discovery/v1)."""
    serving = endpoint.conditions.serving
    return is_ready(endpoint) if serving is None else serving


def choose(listed: Collection[Backend]) -> list[Backend]:
    """The endpoints that are ready; where none is, those that are terminating and still serve (KEP-1669)."""
    return [each for each in listed if each.ready] or [each for each in listed if each.leaving]


def choose_local(listed: Iterable[Backend], node: str) -> list[Backend]:
    """The endpoints on one node, chosen as by `choose`, for a traffic policy `Local` (KEP-2086)."""
    return choose([each for each in listed if each.node == node])


def choose_near(listed: Collection[Backend], place: Place) -> list[Backend]:
    """The endpoints meant for a client's node, else for its zone, else all."""
    by_node, by_zone = group_by_hints(listed)
    return by_node.get(place.node) or by_zone.get(place.zone) or choose(listed)


def group_by_hints(listed: Collection[Backend]) -> tuple[dict[str, list[Backend]], dict[str, list[Backend]]]:
    """The endpoints meant for clients on each node and in each zone that hints name. Hints count only where all ready
    endpoints have them (KEP-2433, KEP-3015).
    """
    ready = [each for each in listed if each.ready]
    by_node = _group((each, each.nodes) for each in ready) if all(each.nodes for each in ready) else {}
    by_zone = _group((each, each.zones) for each in ready) if all(each.zones for each in ready) else {}
    return by_node, by_zone


def group_by_node(listed: Iterable[Backend]) -> dict[str, list[Backend]]:
    """The endpoints on each node that slices name."""
    return _group((each, (each.node,)) for each in listed if each.node)


def _group(listed: Iterable[tuple[Backend, Iterable[str]]]) -> dict[str, list[Backend]]:
    groups: dict[str, list[Backend]] = {}
    for each, names_of_groups in listed:
        for name in names_of_groups:
            groups.setdefault(name, []).append(each)
    return groups


def has_hints(listed: Iterable[Backend]) -> bool:
    """Whether the place of a client may matter."""
    ready = [each for each in listed if each.ready]
    return bool(ready) and (all(each.nodes for each in ready) or all(each.zones for each in ready))


def format_endpoint(address: Address, port: int) -> str:
    """`address:port`, with an IPv6 address in brackets."""
    return f"{bracketed(address)}:{port}"


def bracketed(address: Address) -> str:
    """The address as it is written before a port: an IPv6 address in brackets."""
    return f"[{address}]" if address.version == 6 else str(address)
