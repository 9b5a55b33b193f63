"""A Service as a node sees it: the fronts at which it is reached on the node itself, and where each leads. Pure.

Most fronts lead to the Service's own address, behind which the fabric chooses an endpoint and notices when one goes. A
node chooses an endpoint itself where the fabric cannot: an endpoint outside the fabric, such as a process of a node,
would answer past the fabric; the fabric sees the node instead of clients outside; and `Local` means something else for
these clients. It chooses for UDP as well: what a client sends to the Service's own address a moment before the fabric
knows the Service is a connection to nowhere, and OVN leaves that connection as it is for as long as the client goes on
sending. A node ends such connections when it leads elsewhere itself (`linux.conntrack`).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from kube_ovn.discovery import size
from kube_ovn.discovery.endpoints import (
    LOCAL,
    Backend,
    Place,
    backends,
    balanced_addresses,
    choose_local,
    choose_near,
    cluster_addresses,
    external_addresses,
    keeps_clients,
    parse_slices,
    source_ranges,
)
from kube_ovn.discovery.external import Spot, refusal
from kube_ovn.discovery.seats import by_position
from kube_ovn.model.addr import Address, Network, is_within
from kube_ovn.model.host import Front
from kube_ovn.model.kube import EndpointSlice, Service, ServicePort


@dataclass(frozen=True, slots=True, kw_only=True)
class Through:
    """A target: the Service's own address. The fabric goes on from there."""

    address: Address
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """A target: one of these endpoints. Where there is none, packets are dropped."""

    name: str
    """The name of the target, which is the same for all fronts of a port that lead to the same endpoints."""
    endpoints: tuple[tuple[Address, int], ...]
    """By position. Where clients stay with their endpoint, an endpoint has several positions."""
    sticky: bool
    """Whether a client stays with its endpoint."""
    masquerade: bool
    """Whether the endpoints see the node instead of its client; else they would answer past the node."""


Target: TypeAlias = Through | Direct


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The targets of a front: for clients in the cluster, which are Pods and the node's own processes, and for clients
    outside.
    """

    front: Front
    inside: Target
    outside: Target
    restricted: bool = False
    """Whether clients outside must be in one of the Service's ranges."""
    external: bool = False
    """Whether the address is none of the Service's own. Then it may be that of a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeService:
    """A Service as a node sees it. Two values are equal when nothing changed that matters to the node."""

    created: str
    namespace: str
    name: str
    uid: str
    entries: tuple[Entry, ...]
    ranges: tuple[Network, ...] = ()
    health_port: int = 0
    """The port at which a load balancer outside asks whether this node has an endpoint of the Service; 0: none."""
    local: int = 0
    """The number of endpoints on this node that are ready, in the Service's first IP family."""

    @property
    def age(self) -> tuple[str, str, str]:
        """The rank of the Service: of two Services that ask for the same address and port, the one of the smaller rank
        gets them.
        """
        return (self.created, self.namespace, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The place of a node, and the networks around it."""

    place: Place
    fabric: tuple[Network, ...]
    """The networks of the Subnets in effect."""
    services: tuple[Network, ...] = ()
    """The networks of Services' own addresses."""
    inside: tuple[Network, ...] = ()
    """The networks of Pods, nodes and Services, each family collapsed."""

    def subnet(self, address: Address) -> str:
        """A word for the Subnet that holds an address, the join subnet among them; empty for none."""
        return "of the fabric" if is_within(address, (*self.fabric, *self.inside)) else ""


def has_fronts(service: Service) -> bool:
    """Whether a node has something to do for a Service, wherever its endpoints are."""
    ports = any(port.node_port or _is_udp(port) for port in service.spec.ports)
    return bool(cluster_addresses(service)) and (ports or bool(external_addresses(service)))


def chooses(service: Service) -> bool:
    """Whether a node chooses among the endpoints of a Service that has fronts, wherever the endpoints are."""
    spec = service.spec
    local = LOCAL in (spec.external_traffic_policy, spec.internal_traffic_policy)
    return local or keeps_clients(service) or any(map(_is_udp, spec.ports))


def _is_udp(port: ServicePort) -> bool:
    return port.protocol == "UDP"


def parse_service(
    service: Service, slices: Sequence[EndpointSlice], site: Site, taken: Collection[Spot] = frozenset()
) -> NodeService | None:
    """The Service as the node at a site sees it; None when the node has nothing to do for it.

    `slices` may be left out while no endpoint is outside the fabric and the node does not choose. `taken`: the spots
    of the API servers, and others that the Service does not get.
    """
    if not cluster_addresses(service) or size.refusal(service, slices):
        return None  # of one that is too large the controller tells its user
    entries, parsed = list[Entry](), parse_slices(slices)
    local: dict[int, set[Address]] = {}
    for address in cluster_addresses(service):
        for port in service.spec.ports:
            listed = backends(port, address.version, parsed)
            entries += _entries(service, port, address, listed, site, taken)
            here_too = local.setdefault(address.version, set())
            here_too |= {each.address for each in listed if each.ready and each.node == site.place.node}
    if not entries:
        return None
    meta, spec = service.metadata, service.spec
    checked = spec.type == "LoadBalancer" and spec.external_traffic_policy == LOCAL
    return NodeService(
        created=meta.creation_timestamp,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        entries=tuple(entries),
        ranges=tuple(source_ranges(service)[0]),
        health_port=spec.health_check_node_port if checked else 0,
        local=len(next(iter(local.values()))) if checked else 0,
    )


def _entries(
    service: Service,
    port: ServicePort,
    address: Address,
    listed: Sequence[Backend],
    site: Site,
    taken: Collection[Spot],
) -> Iterator[Entry]:
    """The entries of one port in one IP family. `address`: the Service's own in this family."""
    version, protocol = address.version, port.protocol.lower()
    spec, name = service.spec, f"{service.metadata.namespace}/{service.metadata.name}/{protocol}/{port.port}/{version}"
    sticky = keeps_clients(service)
    near, local = choose_near(listed, site.place), choose_local(listed, site.place.node)

    def direct(way: str, chosen: Sequence[Backend], masquerade: bool = True) -> Direct:
        endpoints = tuple((each.address, each.port) for each in by_position(service, chosen))
        return Direct(name=f"{way}/{name}", endpoints=endpoints, sticky=sticky, masquerade=masquerade)

    foreign = any(not is_within(each.address, site.fabric) for each in near)
    only_local = spec.internal_traffic_policy == LOCAL
    inside: Target = Through(address=address, port=port.port)
    if near and (foreign or sticky or only_local or _is_udp(port)):
        inside = direct("any", near)
    if foreign or (_is_udp(port) and (local if only_local else near)):  # where there is none, the fabric refuses
        own = direct("own", local) if only_local else inside
        front = Front(version=version, protocol=protocol, port=port.port, address=address)
        yield Entry(front=front, inside=own, outside=own)
    outside = direct("local", local, masquerade=False) if spec.external_traffic_policy == LOCAL else inside
    if port.node_port:
        front = Front(version=version, protocol=protocol, port=port.node_port)
        yield Entry(front=front, inside=inside, outside=outside)
    balanced = balanced_addresses(service) if spec.load_balancer_source_ranges else []
    for external in external_addresses(service):
        # The controller tells the user of the Service why an address is refused.
        spot = Spot(external, port.port, port.protocol)
        if external.version == version and not refusal(spot, site.services, site.subnet, taken):
            front = Front(version=version, protocol=protocol, port=port.port, address=external)
            yield Entry(front=front, inside=inside, outside=outside, restricted=external in balanced, external=True)
