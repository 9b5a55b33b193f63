"""Services as derivations: rows of load balancers, names in DNS, and messages for the users of Services.

Reads Services, EndpointSlices, effective subnets, and the checks of endpoints.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kube_ovn.derive import Graph, Index, Read, Source
from kube_ovn.discovery import size
from kube_ovn.discovery.attached import Named
from kube_ovn.discovery.dns import Names, service_names
from kube_ovn.discovery.endpoints import (
    balanced_addresses,
    cluster_addresses,
    external_addresses,
    is_headless,
    parse_slices,
    read_address,
    source_ranges,
)
from kube_ovn.discovery.external import API_SERVICE, Spot, node_addresses, refusal, server_spots
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.addr import Network as Prefix
from kube_ovn.model.kube import EndpointSlice, Node, Service
from kube_ovn.model.nb import LogicalSwitch
from kube_ovn.model.network import Kind, ObjectRef, Told
from kube_ovn.model.row import Member, State, facts
from kube_ovn.topology.addresses.grants import Grants
from kube_ovn.topology.addresses.holders import Holders
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.inputs import ONE, Inputs, Name
from kube_ovn.topology.outputs import Outputs
from kube_ovn.topology.services import variables
from kube_ovn.topology.services.balancer import (
    Front,
    Placed,
    Probes,
    affinity_timeout,
    dns_service,
    plan_service,
    render_service,
    render_services,
    wants_checks,
)
from kube_ovn.topology.services.checks import Checks
from kube_ovn.topology.services.dns import render_dns, shard
from kube_ovn.topology.subnets.network import Network
from kube_ovn.topology.subnets.places import Places

_NODES_DNS = Name(names.FABRIC, names.DNS_SERVICE)
_MOST_NAMED = 5
"""The most endpoints in a message."""


@dataclass(frozen=True, slots=True)
class _Claims:
    """The fronts that a Service asks for, as texts. `own`: at its own addresses, which the API server gives to no other
    Service. `others`: at any other address.
    """

    age: str
    own: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The rows of a Service, its placed fronts, and the message for its user."""

    rows: State
    placed: tuple[Placed, ...]
    told: Told | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The sources and settings that the rows of Services are derived from."""

    inputs: Inputs
    fabric: Fabric
    ranges: Source[str, tuple[Prefix, ...]]
    """The networks of Services' own addresses, under the one key `ONE`."""
    slices: Index[Name, Name, EndpointSlice]
    holders: Holders
    grants: Grants
    network: Network
    places: Places[str, tuple[Named, ...]]
    """The subnets, by the places of their CIDRs."""
    checks: Checks


def index_slices(graph: Graph, inputs: Inputs) -> Index[Name, Name, EndpointSlice]:
    """EndpointSlices by the Service that they belong to."""

    def service(name: Name, each: EndpointSlice) -> tuple[Name, ...]:
        owner = each.metadata.labels.get(names.SERVICE_OF_SLICE)
        return (Name(name.namespace, owner),) if owner else ()

    return graph.index("slices by Service", inputs.slices, service)


def define(graph: Graph, outputs: Outputs, on: Reads) -> None:
    """Derive the rows, the names and the Events of Services."""
    inputs, fabric = on.inputs, on.fabric
    dns = frozenset(fabric.dns if fabric.domain else ())
    balancing = _Balancing(graph, on, dns)
    outcomes = graph.derive("outcomes of Services", inputs.services, balancing.outcome)
    outputs.rows.follow(graph.derive("rows of all Services", inputs.one, lambda read, key, value: render_services()))
    outputs.rows.follow(outcomes, lambda name: _ref(inputs.services.values[name]), lambda each: each.rows)
    outputs.telling.follow(outcomes, lambda each: each.told)
    nodes_dns = graph.derive("DNS of the nodes", inputs.one, balancing.nodes_dns)
    outputs.rows.follow(nodes_dns, pick=lambda each: each.rows)
    placed = graph.derive("placed fronts", outcomes, lambda read, name, each: each.placed or None)
    placed_dns = graph.derive("placed fronts of the nodes' DNS", nodes_dns, lambda read, key, each: each.placed or None)
    variables.define(graph, inputs, outputs, on.holders, on.grants, placed, placed_dns)
    if fabric.domain:
        _define_names(graph, outputs, on)


class _Balancing:
    """The derivations that lead to the rows of a Service."""

    def __init__(self, graph: Graph, on: Reads, dns: frozenset[Address]) -> None:
        self._on, self._dns = on, dns
        self._dns_fronts = frozenset(map(str, _fronts(dns_service(dns), dns)))
        claims = graph.derive("claims of Services", on.inputs.services, _claim)
        self._owners = graph.index("owners by front", claims, lambda name, each: each.own)
        others = graph.index("claims by front", claims, lambda name, each: each.others)
        holders = graph.derive("holders of fronts", others, self._hold)
        self._held = graph.index("fronts by holder", holders, lambda front, holder: (holder,))
        self._servers = graph.derive("spots of the API servers", on.inputs.one, self._find_servers)
        nodes = graph.derive("all addresses of nodes", on.inputs.nodes, _addresses)
        self._nodes: Index[Address, str, tuple[Address, ...]] = graph.index(
            "nodes by address", nodes, lambda name, own: own
        )

    def outcome(self, read: Read, name: Name, service: Service) -> _Outcome:
        slices = list(read.select(self._on.slices, name).values())
        if too_large := size.refusal(service, slices):
            return _Outcome({}, (), _told(service, [too_large]))
        outside, complaints = self._judge(read, name, service)
        if self._on.fabric.domain and (nameless := size.names_refusal(service, slices)):
            complaints.append(nameless)
        plan = plan_service(service, slices, self._dns, outside)
        complaints += plan.unusable[:_MOST_NAMED]
        wanted, complaint = wants_checks(service)
        probes = self._on.checks.probes(read, name) if wanted else Probes()
        rendered = render_service(service, plan, probes)
        if complaint:
            complaints.append(complaint)
        elif wanted:
            complaints += _unchecked(rendered.unchecked, probes)
        return _Outcome(rendered.rows, tuple(plan.placed.values()), _told(service, complaints))

    def nodes_dns(self, read: Read, key: str, value: bool) -> _Outcome | None:
        """The answers of the nodes at the addresses where Pods look for a DNS server, as far as no Service has them."""
        free = [
            address
            for address in sorted(self._dns, key=lambda address: address.version)
            if not any(read.select(self._owners, str(front)) for front in _fronts(dns_service([address]), [address]))
        ]
        plan = plan_service(dns_service(free), [], self._dns)
        return _Outcome(render_service(dns_service(free), plan).rows, tuple(plan.placed.values()), None)

    def _hold(self, read: Read, front: str, claims: Mapping[Name, _Claims]) -> Name:
        """The Service that has a front which others ask for: the one with this address as its own, else the oldest one
        that asks for it.
        """
        owners = read.select(self._owners, front)
        if not owners and front in self._dns_fronts:
            return _NODES_DNS
        return min((each.age, name) for name, each in (owners or claims).items())[1]

    def _judge(self, read: Read, name: Name, service: Service) -> tuple[list[Front], list[str]]:
        """The fronts of a Service besides those at its own addresses, for clients inside the fabric; and the sentences
        for its user on what it asks for and does not get.
        """
        # Services of other Namespaces are not named: their names are not for this user, and they change.
        fronts, complaints, held = [], [], read.select(self._held, name)
        restricted = balanced_addresses(service) if service.spec.load_balancer_source_ranges else []
        for front in _fronts(service, external_addresses(service)):
            if refused := self._refuse(read, front):
                complaints.append(refused)
            elif str(front) not in held:
                complaints.append(f"{front} is that of another Service; use another address or port")
            elif front.address not in restricted and not read.select(self._nodes, front.address):
                # Where clients are restricted, a node filters them. What a node itself listens at, the node knows.
                fronts.append(front)
        complaints += [
            f"externalIPs: {text!r} is no address" for text in service.spec.external_ips if read_address(text) is None
        ]
        complaints += [f"loadBalancerSourceRanges: {text!r} is no CIDR" for text in source_ranges(service)[1]]
        complaints.append(affinity_timeout(service)[1])
        return fronts, list(dict.fromkeys(filter(None, complaints)))

    def _refuse(self, read: Read, front: Front) -> str:
        """Why the Service is not reached at a front, in one sentence; empty where it may be."""
        servers = read.get(self._servers, ONE) or frozenset()
        ranges = read.get(self._on.ranges, ONE)
        return refusal(front.spot, ranges or (), lambda each: self._on.places.holding(read, each) or "", servers)

    def _find_servers(self, read: Read, key: str, value: bool) -> frozenset[Spot] | None:
        slices = read.select(self._on.slices, Name(*API_SERVICE)).values()
        return self._on.fabric.servers | server_spots(parse_slices(slices)) or None


def _define_names(graph: Graph, outputs: Outputs, on: Reads) -> None:
    """Derive the few rows with the names of all Services. Each switch of Pods has all of these rows."""

    def names_of(read: Read, name: Name, service: Service) -> Names:
        slices = read.select(on.slices, name).values() if is_headless(service) else ()
        reserved = (read.get(on.ranges, ONE) or ()) if is_headless(service) else ()
        return service_names(service, slices, on.fabric.domain, reserved)

    def render(read: Read, row: str, members: Mapping[Name, Names]) -> State | None:
        return render_dns(row, [known for _, known in sorted(members.items())]) or None

    def attach(read: Read, switch: str, value: bool) -> State | None:
        if switch == on.fabric.join:
            return None
        return facts(members=tuple(Member(LogicalSwitch.TABLE, switch, "dns_records", row) for row in read.all(there)))

    found = graph.derive("names of Services", on.inputs.services, names_of)
    by_row: Index[str, Name, Names] = graph.index("names by row", found, lambda name, known: (shard(*name),))
    rows = graph.derive("rows of names", by_row, render)
    there = graph.derive("names of rows", rows, lambda read, row, state: True)
    outputs.rows.follow(rows)
    outputs.rows.follow(graph.derive("names on switches", on.network.switches, attach))


def _addresses(read: Read, name: str, node: Node) -> tuple[Address, ...] | None:
    return tuple(dict.fromkeys(node_addresses(node))) or None


def _claim(read: Read, name: Name, service: Service) -> _Claims | None:
    if size.refusal(service, ()):
        return None
    own = tuple(map(str, _fronts(service, cluster_addresses(service))))
    others = tuple(map(str, _fronts(service, external_addresses(service))))
    return _Claims(service.metadata.creation_timestamp, own, others) if own or others else None


def _fronts(service: Service, addresses: Iterable[Address]) -> list[Front]:
    return [Front(address=address, port=port) for address in addresses for port in service.spec.ports]


def _unchecked(fronts: Iterable[Front], probes: Probes) -> list[str]:
    """Why endpoints are not checked although their user asks for it; empty while they will be in a moment."""
    where = ", ".join(map(str, fronts))
    if not where or probes.waiting:
        return []
    why = probes.refusals or [
        "all of them must be Pods of its Namespace and of the fabric, be asked by TCP or UDP, and not depend on where "
        "the client is"
    ]
    return [f"{names.HEALTH_CHECK}: endpoints at {where} are not checked: {'; '.join(why)}"]


def _ref(service: Service) -> ObjectRef:
    meta = service.metadata
    return ObjectRef(kind=Kind.SERVICE, namespace=meta.namespace, name=meta.name, uid=meta.uid)


def _told(service: Service, complaints: Collection[str]) -> Told | None:
    if not complaints:
        return None
    message = f"Service {service.metadata.namespace}/{service.metadata.name}: {'; '.join(complaints)}"
    return Told(object=_ref(service), reason=names.SERVICE_REFUSED, message=message)
