"""What of a Service concerns a node: what it is reached at on the node itself, and where that leads. Pure.

Most of it leads to the Service's own address, behind which the fabric chooses an endpoint and notices when one goes. A
node chooses itself where the fabric cannot: an endpoint outside of it, such as a process of a node, would answer past
it; what the fabric sees of clients outside is the node; and `Local` means something else for them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

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
    source_ranges,
)
from kube_ovn.discovery.seats import by_position
from kube_ovn.model.addr import Address, Network, is_within
from kube_ovn.model.host import Front
from kube_ovn.model.kube import EndpointSlice, Service, ServicePort


@dataclass(frozen=True, slots=True, kw_only=True)
class Through:
    """To the Service's own address: the fabric goes on from there."""

    address: Address
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """To one of these endpoints; where there is none, nobody is answered."""

    name: str
    """The same for all fronts of a port that lead to the same endpoints."""
    endpoints: tuple[tuple[Address, int], ...]
    """By position: where clients stay, an endpoint has several."""
    sticky: bool
    """A client stays with its endpoint."""
    masquerade: bool
    """The endpoints see the node instead of its client: they would answer past the node."""


Target: TypeAlias = Through | Direct


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where a front leads: clients in the cluster, which are Pods and the node's own processes, and those outside."""

    front: Front
    inside: Target
    outside: Target
    restricted: bool = False
    """Clients outside must be in one of the Service's ranges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeService:
    """A Service as a node sees it. Two of them are equal when nothing changed that it has to do something about."""

    created: str
    namespace: str
    name: str
    uid: str
    entries: tuple[Entry, ...]
    ranges: tuple[Network, ...] = ()
    health_port: int = 0
    """Where a load balancer outside asks whether this node has an endpoint of the Service."""
    local: int = 0
    """How many it has that are ready, in the Service's first family."""

    @property
    def age(self) -> tuple[str, str, str]:
        """Of two that want the same address and port the one of less has it."""
        return (self.created, self.namespace, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What else decides where a Service leads."""

    place: Place
    fabric: tuple[Network, ...]
    """Its subnets."""
    services: tuple[Network, ...] = ()
    """Where Services have their own addresses."""


def has_fronts(service: Service) -> bool:
    """Whether it is reached at more than its own addresses."""
    ports = any(port.node_port for port in service.spec.ports)
    return bool(cluster_addresses(service)) and (ports or bool(external_addresses(service)))


def chooses(service: Service) -> bool:
    """Whether the node chooses among endpoints of a Service that has fronts, wherever those are."""
    spec = service.spec
    return LOCAL in (spec.external_traffic_policy, spec.internal_traffic_policy) or keeps_clients(service)


def parse_service(service: Service, slices: Sequence[EndpointSlice], here: Surroundings) -> NodeService | None:
    """The Service as this node sees it; None when the node has nothing to do for it.

    `slices` may be left out while no endpoint is outside the fabric and the node does not choose.
    """
    entries: list[Entry] = []
    local: dict[int, set[Address]] = {}
    for address in cluster_addresses(service):
        for port in service.spec.ports:
            listed = backends(port, address.version, slices)
            entries += _entries(service, port, address, listed, here)
            here_too = local.setdefault(address.version, set())
            here_too |= {each.address for each in listed if each.ready and each.node == here.place.node}
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
    service: Service, port: ServicePort, address: Address, listed: Sequence[Backend], here: Surroundings
) -> Iterator[Entry]:
    """Of one port in one family."""
    version, protocol = address.version, port.protocol.lower()
    spec, name = service.spec, f"{service.metadata.namespace}/{service.metadata.name}/{protocol}/{port.port}/{version}"
    sticky = keeps_clients(service)
    near, local = choose_near(listed, here.place), choose_local(listed, here.place.node)

    def direct(way: str, chosen: Sequence[Backend], masquerade: bool = True) -> Direct:
        endpoints = tuple((each.address, each.port) for each in by_position(service, chosen))
        return Direct(name=f"{way}/{name}", endpoints=endpoints, sticky=sticky, masquerade=masquerade)

    foreign = any(not is_within(each.address, here.fabric) for each in near)
    inside: Target = Through(address=address, port=port.port)
    if near and (foreign or sticky or spec.internal_traffic_policy == LOCAL):
        inside = direct("any", near)
    if foreign:
        own = direct("own", local) if spec.internal_traffic_policy == LOCAL else inside
        front = Front(version=version, protocol=protocol, port=port.port, address=address)
        yield Entry(front=front, inside=own, outside=own)
    outside = direct("local", local, masquerade=False) if spec.external_traffic_policy == LOCAL else inside
    if port.node_port:
        front = Front(version=version, protocol=protocol, port=port.node_port)
        yield Entry(front=front, inside=inside, outside=outside)
    balanced = balanced_addresses(service) if spec.load_balancer_source_ranges else []
    for external in external_addresses(service):
        # The fabric's own addresses stay whose they are; the controller tells of it.
        if external.version == version and not is_within(external, (*here.fabric, *here.services)):
            front = Front(version=version, protocol=protocol, port=port.port, address=external)
            yield Entry(front=front, inside=inside, outside=outside, restricted=external in balanced)
