"""The cluster as this node sees it: the objects that the node follows, and the values that matter to the node.

Most news of the cluster means nothing here: the status of a Subnet changes with every Pod, and the endpoints of the
whole cluster are followed. What matters to this node is derived from the objects, and only a change of that wakes other
parts of the daemon.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import collapse_addresses
from typing import Any, Generic, TypeVar

import structlog

from kube_ovn.daemon.settings import Settings
from kube_ovn.derive import Collection, Graph, News, Read, Source
from kube_ovn.discovery import cidrs, size
from kube_ovn.discovery.attached import Named, parse_networks_of
from kube_ovn.discovery.cidrs import join_networks
from kube_ovn.discovery.endpoints import (
    Place,
    cluster_addresses,
    endpoint_address,
    external_addresses,
    is_serving,
    parse_slices,
)
from kube_ovn.discovery.external import (
    API_SERVICE,
    Spot,
    dns_spots,
    host_spots,
    node_addresses,
    own_spots,
    server_spots,
)
from kube_ovn.host.dns import Directory
from kube_ovn.host.service import NodeService, Site, chooses, has_fronts, parse_service
from kube_ovn.host.subnet import NodeSubnet, parse_exceptions, parse_subnet
from kube_ovn.k8s.store import Store
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, is_within, parse_addresses, parse_networks
from kube_ovn.model.kube import EndpointSlice, Node, Object, Service
from kube_ovn.model.resource import ENDPOINT_SLICES, IPS, NODES, PODS, SERVICE_CIDRS, SERVICES, SUBNETS, Resource

log = structlog.get_logger()

T = TypeVar("T", bound=Object)
Name = tuple[str, str]
"""The Namespace and name of an object. The Namespace is empty for a kind that has none."""
ONE = "one"
"""The key in a collection of one value."""


class Kind(Generic[T]):
    """The objects of one kind. `k8s.watch.follow` keeps `store` up to date; `objects` is the same, once synced."""

    def __init__(self, resource: Resource[T], graph: Graph, synced: Collection[str, bool]) -> None:
        self._resource, self._graph, self._synced = resource, graph, synced
        self.store: Store[T] = Store(self._take)
        self.objects: Collection[Name, T] = graph.collection(resource.plural, tuple, resource.type)

    def _take(self) -> None:
        store = self.store
        if not store.synced.is_set():
            return
        changed = store.take_changed_names()
        if changed is None:
            items = store.objects.values()
            self.objects.replace({(item.metadata.namespace, item.metadata.name): item for item in items})
        for name in changed or ():
            if (item := store.named(*name)) is not None:
                self.objects.put(name, item)
            else:
                self.objects.drop(name)
        self._synced.put(self._resource.name, True)
        self._graph.settle()


class View:
    """All kinds of objects that a node may follow, and the values that are derived from them."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._own_name = settings, ("", settings.node_name)
        self._dns_spots = frozenset(dns_spots(settings.dns_servers()) if settings.dns else ())
        self._host_spots = host_spots(settings.kubernetes_service_host, settings.kubernetes_service_port)
        graph = self.graph = Graph()
        synced = self._synced = graph.collection("kinds that are synced", str, bool)
        self.pods = Kind(PODS, graph, synced)
        """The Pods on this node."""
        self.ips = Kind(IPS, graph, synced)
        """The IP objects of Pods on this node; where its name is no value of a label, those on all such nodes."""
        self.nodes, self.subnets = Kind(NODES, graph, synced), Kind(SUBNETS, graph, synced)
        self.services, self.slices = Kind(SERVICES, graph, synced), Kind(ENDPOINT_SLICES, graph, synced)
        self.cidrs = Kind(SERVICE_CIDRS, graph, synced)
        nodes, services, slices = self.nodes.objects, self.services.objects, self.slices.objects
        self.own_nodes = graph.derive("own Node", nodes, lambda _, name, node: node if name == self._own_name else None)
        self.addresses = graph.derive(
            "addresses of Nodes", nodes, lambda _, name, node: frozenset(node_addresses(node)) or None
        )
        self.effective: Collection[Name, NodeSubnet] = graph.collection("Subnets in effect", tuple, NodeSubnet)
        """The Subnets in effect, except the join subnet."""
        self.sites = graph.collection("own site", str, Site)
        self._fabric: Collection[str, tuple[Network, ...]] = graph.collection("networks of the fabric", str, tuple)
        """As few networks as hold the same addresses: each endpoint of the cluster is looked for in them."""
        subnets = self.subnets.objects
        rules = graph.derive("NAT rules", subnets, lambda _, name, each: each.spec.nat_outgoing_policy_rules or None)
        self._exceptions = graph.derive("NAT exceptions", rules, lambda _, name, each: parse_exceptions(each))
        blocks = graph.derive("CIDRs of Subnets", subnets, lambda _, name, each: each.status.cidr_block or None)
        named = graph.derive("named CIDRs of Subnets", blocks, _name_cidrs)
        attached = graph.derive("networks of Nodes", nodes, lambda _, name, node: parse_networks_of(node))
        flag = settings.service_cluster_ip_range
        self._judged = cidrs.define(graph, self.cidrs.objects, attached, flag, named)
        one: Collection[str, bool] = graph.collection("one", str, bool)
        one.put(ONE, True)
        self.ranges = graph.derive("networks of Services", one, self._join_ranges)
        """The networks of Services' own addresses."""
        graph.step("Subnets in effect", [subnets, self._exceptions], self._parse_subnets)
        graph.step("own site", [self.own_nodes, self.effective, self.ranges], self._parse_site)
        self._slices = graph.index("slices by Service", slices, lambda name, item: _service_of(item))
        self._servers = graph.derive("spots of API servers", slices, lambda _, name, item: _server_spots(item))
        self._own_spots = graph.index("own spots elsewhere", services, self._find_own_spots)
        """The spots of Services' own addresses outside the networks of the flag, each with its Services."""
        foreign = graph.derive("Services of foreign slices", slices, self._foreign)
        self._foreign_slices = graph.index("foreign slices by Service", foreign, lambda name, service: (service,))
        self.handled = graph.derive("Services handled here", services, self._parse_service)
        """The Services that this node does something for."""

    def wake(self, mark: Callable[[], None], *sources: Source[Any, Any]) -> None:
        """Have a function called when a source changes, and when another kind is synced."""
        for source in (*sources, self._synced):
            source.listen(lambda key, before, now: mark())

    @property
    def own(self) -> Node | None:
        """The Node of this node."""
        return self.own_nodes.values.get(self._own_name)

    @property
    def site(self) -> Site | None:
        return self.sites.values.get(ONE)

    @property
    def service_networks(self) -> tuple[Network, ...] | None:
        """The networks of Services' own addresses; None until ServiceCIDRs, and what they may overlap, are known."""
        return self.ranges.values.get(ONE)

    @property
    def all_addresses(self) -> frozenset[Address] | None:
        """The addresses of all nodes; None until they are known."""
        synced = self.nodes.store.synced.is_set()
        return frozenset[Address]().union(*self.addresses.values.values()) if synced else None

    @property
    def node_subnets(self) -> tuple[NodeSubnet, ...] | None:
        """The Subnets in effect, except the join subnet, by name; None until they are known."""
        synced = self.subnets.store.synced.is_set()
        return tuple(subnet for _, subnet in sorted(self.effective.values.items())) if synced else None

    @property
    def node_services(self) -> Iterable[NodeService] | None:
        """The Services that this node does something for; None until they, and the site, are known."""
        synced = self.services.store.synced.is_set() and self.slices.store.synced.is_set()
        return self.handled.values.values() if synced and self.site is not None else None

    def mtu(self, name: str) -> int:
        """The MTU that the Subnet of this name wants for its Pods; 0 when it wants none or does not exist."""
        subnet = self.subnets.store.named("", name)
        return subnet.spec.mtu if subnet else 0

    def hears_routers(self, name: str) -> bool:
        """Whether Pods of the Subnet of this name take router advertisements: where its user asks for them."""
        subnet = self.subnets.store.named("", name)
        return subnet is not None and subnet.spec.enable_ipv6_ra

    def is_node_port(self, port: str) -> bool:
        """Whether a logical port has the name of a Node's port."""
        node = port.removeprefix(names.node_port(""))
        return node != port and ("", node) in self.nodes.objects.values

    def is_inside(self, address: Address) -> bool:
        """Whether an address is one of a Pod, a node or a Service."""
        return self.site is not None and is_within(address, self.site.inside)

    def directory(self, domain: str) -> Directory:
        """The names of all Services, in this domain."""
        made = Directory(domain, self.graph, self.services.objects, self._slices, self._find_reserved, self.is_inside)
        self.graph.settle()
        return made

    def _find_reserved(self, read: Read) -> tuple[Network, ...]:
        return read.get(self.ranges, ONE) or self._settings.service_cluster_ip_range

    def _join_ranges(self, read: Read, key: str, value: bool) -> tuple[Network, ...] | None:
        kinds = (SERVICE_CIDRS, SUBNETS, NODES)
        known = [read.get(self._synced, kind.name) for kind in kinds]
        if not all(known):
            return None
        return join_networks(self._settings.service_cluster_ip_range, read.all(self._judged).values())

    def _parse_subnets(self, news: News) -> None:
        join, node = self._settings.node_switch, self._settings.node_name
        for name in news.of(self.subnets.objects) | news.of(self._exceptions):
            subnet, exceptions = self.subnets.objects.values.get(name), self._exceptions.values.get(name, ())
            try:
                found = parse_subnet(subnet, join, node, exceptions) if subnet else None
            except ValueError as error:
                log.error("the Subnet's status is wrong; what this node has for it stays", error=str(error))
                continue
            if found is None:
                self.effective.drop(name)
            else:
                self.effective.put(name, found)

    def _parse_site(self, news: News) -> None:
        """Put the site of this node. A part of it that is not known, or wrong, stays as it was."""
        own, before, services = self.own, self.site, self.service_networks
        fabric = tuple(network for subnet in self.node_subnets or () for network in subnet.networks)
        if own is None or not fabric or services is None:
            return
        annotations = own.metadata.annotations
        addresses, inside = (before.place.addresses, before.inside) if before else ((), ())
        with suppress(ValueError):  # no address yet; the node's network tells of a wrong one
            join = parse_networks(annotations.get(names.CIDR, ""))
            addresses = parse_addresses(annotations.get(names.IP_ADDRESS, ""))
            inside = tuple(_collapse([*fabric, *join, *services]))
        place = Place(node=own.metadata.name, zone=own.metadata.labels.get(names.ZONE, ""), addresses=addresses)
        self.sites.put(ONE, Site(place=place, fabric=fabric, services=services, inside=inside))
        self._fabric.put(ONE, tuple(_collapse(fabric)))

    def _foreign(self, read: Read, name: Name, item: EndpointSlice) -> Name | None:
        """The Service of a slice, if an endpoint that may be chosen is outside the fabric: it would answer past it."""
        fabric, service = read.get(self._fabric, ONE), _service_of(item)
        if fabric is None or not service:
            return None
        addresses = [endpoint_address(item, each) for each in item.endpoints or () if is_serving(each)]
        inside = all(is_within(address, fabric) for address in addresses if address is not None)
        return None if inside else service[0]

    def _parse_service(self, read: Read, name: Name, service: Service) -> NodeService | None:
        foreign = bool(read.select(self._foreign_slices, name))
        site = read.get(self.sites, ONE) if foreign or has_fronts(service) else None
        if site is None or size.refusal(service, ()):
            return None
        slices = read.select(self._slices, name).values() if foreign or chooses(service) else ()
        return parse_service(service, list(slices), site, self._spots_of_others(read, name, service))

    def _find_own_spots(self, name: Name, service: Service) -> list[Spot]:
        networks = self._settings.service_cluster_ip_range
        own = [each for each in cluster_addresses(service) if not is_within(each, networks)]
        return own_spots(service, own) if own and not size.refusal(service, ()) else []

    def _spots_of_others(self, read: Read, name: Name, service: Service) -> frozenset[Spot]:
        """The spots that a Service asks for and that are those of API servers, of other Services, or of the nodes' own
        DNS.
        """
        asked = own_spots(service, external_addresses(service))
        if not asked:
            return frozenset()
        taken = set(self._host_spots).union(*read.all(self._servers).values())
        for spot in asked:
            owners = read.select(self._own_spots, spot)
            if name not in owners and (owners or spot in self._dns_spots):
                taken.add(spot)
        return frozenset(taken)


def _service_of(item: EndpointSlice) -> tuple[Name, ...]:
    """The Service of a slice; empty for a slice that names none."""
    service = item.metadata.labels.get(names.SERVICE_OF_SLICE)
    return ((item.metadata.namespace, service),) if service else ()


def _name_cidrs(read: Read, name: Name, text: str) -> tuple[Named, ...] | None:
    """The CIDRs in effect of a Subnet; none when they cannot be read."""
    with suppress(ValueError):
        return tuple((network, f"{network} of Subnet {name[1]}") for network in parse_networks(text))
    return None


def _server_spots(item: EndpointSlice) -> frozenset[Spot] | None:
    return server_spots(parse_slices([item])) or None if _service_of(item) == (API_SERVICE,) else None


def _collapse(networks: Sequence[Network]) -> Iterator[Network]:
    for version in (4, 6):
        yield from collapse_addresses([each for each in networks if each.version == version])  # type: ignore[type-var]
