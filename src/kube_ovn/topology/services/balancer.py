"""A Service: where its load balancers send packets. Pure.

There is one row for each Service and protocol, so that a changed endpoint costs one row, and `ct_flush` ends the
connections of that Service only. Every switch has all rows through one Load_Balancer_Group (ovn-nb(5),
"Load_Balancer_Group"): the address is exchanged where a packet comes in, at the port of the Pod or node that sent it.

Where the endpoints depend on the client's place, one further row for each IP family has variables instead. Each node
has their values in its Chassis_Template_Var (ovn-nb(5), "options:template").
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kube_ovn.discovery.endpoints import (
    LOCAL,
    Backend,
    backends,
    bracketed,
    choose,
    cluster_addresses,
    format_endpoint,
    group_by_hints,
    group_by_node,
    has_hints,
    keeps_clients,
    parse_slices,
)
from kube_ovn.discovery.external import Spot
from kube_ovn.discovery.seats import by_position
from kube_ovn.discovery.size import MOST_PLACED
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import EndpointSlice, ObjectMeta, Service, ServicePort, ServiceSpec
from kube_ovn.model.nb import ChassisTemplateVar, LoadBalancer, LoadBalancerGroup, LoadBalancerHealthCheck
from kube_ovn.model.row import Key, Member, Row, facts, owned

PROTOCOLS = ("TCP", "UDP", "SCTP")
_CHECKED = ("TCP", "UDP")
_CHECK = {"interval": "2", "timeout": "3", "success_count": "1", "failure_count": "2"}
"""Seconds, and numbers of results in a row: an endpoint that does not answer is left out after 5 to 7 s."""
_BY_SOURCE = {4: "ip_src", 6: "ipv6_src"}
_LONGEST_TIMEOUT = 65535
"""The most seconds that OVN's `affinity_timeout` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """One address and port that a Service is reached at."""

    address: Address
    port: ServicePort

    @property
    def vip(self) -> str:
        """The key of the front in `vips`."""
        return format_endpoint(self.address, self.port.port)

    @property
    def spot(self) -> Spot:
        return Spot(self.address, self.port.port, self.port.protocol)

    def __str__(self) -> str:
        return str(self.spot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The endpoints of a front for clients on each node, where they depend on the node. `by_node` counts first, then
    `by_zone`, then `otherwise`, or `own_port`, a port of the node itself.
    """

    backend: str
    """The name of the variable that holds the endpoints."""
    vip: str
    """The name of the variable that holds the address; empty where the row holds the address itself."""
    address: Address
    by_node: Mapping[str, str] = field(default_factory=dict)
    by_zone: Mapping[str, str] = field(default_factory=dict)
    otherwise: str = ""
    own_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The check of an endpoint: the logical port of its Pod, and the address in its subnet that the check comes
    from.
    """

    port: str
    source: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """The checks of the endpoints of a Service."""

    found: Mapping[Address, Probe] = field(default_factory=dict)
    refusals: tuple[str, ...] = ()
    """Why some endpoints are not checked, one sentence each."""
    waiting: bool = False
    """Whether more endpoints will be checked in a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The endpoints that the clients of a Service are sent to."""

    plain: Mapping[str, Mapping[Front, Sequence[Backend]]]
    """By protocol and front, the endpoints where they are the same for all clients."""
    placed: Mapping[Front, Placed]
    unchecked: tuple[Front, ...]
    """The fronts among `placed` that have endpoints."""
    unusable: tuple[str, ...] = ()
    """Why endpoints without a usable address are left out, one sentence each."""

    @property
    def checkable(self) -> set[Address]:
        """The addresses of the endpoints that OVN can check."""
        listed = (those for protocol in _CHECKED for those in self.plain.get(protocol, {}).values())
        return {each.address for those in listed for each in those}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Rows, and the fronts with endpoints of which none is checked."""

    rows: dict[Key, Row | None]
    unchecked: tuple[Front, ...]


def render_services() -> dict[Key, Row | None]:
    """The row that all Services share."""
    return facts(LoadBalancerGroup(name=names.SERVICE_LBS))


def render_variables(chassis: str, variables: Mapping[str, str]) -> dict[Key, Row | None]:
    """The row with the values of all Services' variables on one node."""
    return facts(ChassisTemplateVar(chassis=chassis, variables=dict(variables), external_ids=owned()))


def dns_service(addresses: Iterable[Address]) -> Service:
    """The Service for the nodes' own DNS answers, where the cluster has none for a DNS server."""
    return Service(
        metadata=ObjectMeta(name=names.DNS_SERVICE, namespace=names.FABRIC, uid=""),
        spec=ServiceSpec(
            cluster_ips=tuple(map(str, addresses)),
            ports=tuple(ServicePort(port=names.DNS_PORT, protocol=protocol) for protocol in ("TCP", "UDP")),
        ),
    )


def plan_service(
    service: Service,
    slices: Iterable[EndpointSlice],
    dns: Collection[Address] = (),
    outside: Collection[Front] = (),
) -> Plan:
    """The endpoints that the clients of a Service are sent to, at its own addresses and at the fronts `outside` that
    lead to it too.

    `dns`: the addresses at which Pods look for a DNS server; where no server is ready, each node answers (`host.dns`).
    """
    addresses = cluster_addresses(service)
    own = dict.fromkeys(Front(address=address, port=port) for port in service.spec.ports for address in addresses)
    parsed = parse_slices(slices) if own or outside else []
    plain: dict[str, dict[Front, Sequence[Backend]]] = {}
    placed: dict[Front, Placed] = {}
    unchecked: list[Front] = []
    known: dict[tuple[ServicePort, int], list[Backend]] = {}
    hinted = len(own) + len(outside) <= MOST_PLACED  # hints are no promise
    for front in (*own, *outside):
        which = (front.port, front.address.version)
        listed = known[which] if which in known else known.setdefault(which, backends(*which, parsed))
        found = _place(service, front, listed, dns) if front in own else None
        if found is None and hinted:
            found = _place_near(service, front, listed)
        if found is None:
            plain.setdefault(front.port.protocol, {})[front] = choose(listed)
            continue
        placed[front] = found
        unchecked += [front] if choose(listed) else []
    unusable = dict.fromkeys(why for each in parsed for why in each.unusable)
    return Plan(plain=plain, placed=placed, unchecked=tuple(unchecked), unusable=tuple(unusable))


def render_service(service: Service, plan: Plan, probes: Probes | None = None) -> Rendered:
    """The load balancers of a Service that has an address; no rows for any other. `probes`: the checks of its
    endpoints; None when they are not to be checked.
    """
    rows, checks, unchecked = [], dict[Key, Row | None](), list(plan.unchecked)
    found = probes.found if probes is not None else {}
    for protocol in PROTOCOLS:
        local: dict[int, dict[str, str]] = {}
        for front, each in plan.placed.items():
            if front.port.protocol == protocol:
                key = f"^{each.vip}:{front.port.port}" if each.vip else front.vip
                local.setdefault(front.address.version, {})[key] = f"^{each.backend}"
        rows += [_load_balancer(service, protocol, vips, version) for version, vips in sorted(local.items())]
    for protocol, fronts in plan.plain.items():
        checked = _checked(fronts, found if protocol in _CHECKED else {})
        unchecked += [front for front, chosen in fronts.items() if chosen and front not in checked]
        vips = {front.vip: _format(service, those) for front, those in fronts.items()}
        row = _load_balancer(service, protocol, vips, mappings=_mappings(checked.values(), found))
        rows.append(row)
        checks |= _checks(row.name, [front.vip for front in checked])
    members = tuple(Member(LoadBalancerGroup.TABLE, names.SERVICE_LBS, "load_balancer", row.name) for row in rows)
    return Rendered(rows=facts(*rows, members=members) | checks, unchecked=tuple(unchecked))


def affinity_timeout(service: Service) -> tuple[int, str]:
    """The seconds for which OVN is to remember a client, 0 for not at all; and the fault of the annotation, empty when
    it has none.
    """
    text = service.metadata.annotations.get(names.AFFINITY_TIMEOUT, "")
    if not text:
        return 0, ""
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) <= _LONGEST_TIMEOUT:
        return int(text), ""
    return 0, (
        f"{names.AFFINITY_TIMEOUT}: {text[:40]!r} is no number of seconds from 1 to {_LONGEST_TIMEOUT}; "
        "clients are sent to an endpoint by their address, and not remembered"
    )


def wants_checks(service: Service) -> tuple[bool, str]:
    """Whether the endpoints of a Service are to be checked; and the fault of the annotation, empty when it has none."""
    text = service.metadata.annotations.get(names.HEALTH_CHECK, "")
    if text in ("", "true", "false"):
        return text == "true", ""
    return False, f"{names.HEALTH_CHECK}: {text[:40]!r} is neither true nor false; endpoints are not checked"


def _place(service: Service, front: Front, listed: Collection[Backend], dns: Collection[Address]) -> Placed | None:
    """The endpoints by node, where the Service says that they depend on the node; None where it does not. A Service
    without any endpoint refuses its clients on every node.
    """
    if not choose(listed):
        if front.address not in dns or front.port.port != names.DNS_PORT:
            return None
        return _placed(service, front, own_port=names.DNS_PORT)
    if service.spec.internal_traffic_policy != LOCAL:
        return None
    # A node without an endpoint refuses its clients at `own_port`. If its variable had no value, OVN would let their
    # packets pass, and a client that goes on sending from one port (UDP) would keep that connection for good, whatever
    # comes later.
    chosen = {node: _format(service, choose(those)) for node, those in group_by_node(listed).items()}
    by_node = {node: text for node, text in chosen.items() if text}
    return _placed(service, front, by_node=by_node, own_port=names.CLOSED_PORT)


def _place_near(service: Service, front: Front, listed: Collection[Backend]) -> Placed | None:
    """The endpoints by hints: clients in places with the same hints are sent to the same endpoints."""
    if not has_hints(listed):
        return None
    by_node, by_zone = group_by_hints(listed)
    return _placed(
        service,
        front,
        by_node={node: _format(service, those) for node, those in by_node.items()},
        by_zone={zone: _format(service, those) for zone, those in by_zone.items()},
        otherwise=_format(service, choose(listed)),
    )


def _placed(
    service: Service,
    front: Front,
    by_node: Mapping[str, str] | None = None,
    by_zone: Mapping[str, str] | None = None,
    otherwise: str = "",
    own_port: int = 0,
) -> Placed:
    meta, port, address = service.metadata, front.port, front.address
    what = f"{meta.namespace}/{meta.name} {port.protocol} {port.port} {address}"
    return Placed(
        backend=names.service_variable(what),
        # In a row with variables OVN does not read an IPv6 address, unless a variable holds it.
        vip=names.service_variable(f"{what} address") if address.version == 6 else "",
        address=address,
        by_node=by_node or {},
        by_zone=by_zone or {},
        otherwise=otherwise,
        own_port=own_port,
    )


def _load_balancer(
    service: Service,
    protocol: str,
    vips: dict[str, str],
    version: int | None = None,
    mappings: dict[str, str] | None = None,
) -> LoadBalancer:
    """`version`: the IP family of a row with endpoints that depend on the node. `mappings`: the checks of its
    endpoints.
    """
    meta, options = service.metadata, _options(service, protocol)
    name = names.service_lb(meta.namespace, meta.name, protocol)
    versions: set[int] = {address.version for address in cluster_addresses(service)}
    if version is not None:
        name, versions = names.local_service_lb(meta.namespace, meta.name, protocol, version), {version}
        options |= {"template": "true", "address-family": f"ipv{version}"}
    return LoadBalancer(
        name=name,
        protocol=protocol.lower(),
        vips=vips,
        selection_fields=frozenset(_BY_SOURCE[each] for each in versions if keeps_clients(service)),
        ip_port_mappings=mappings or {},
        options=options,
        external_ids=owned(service=f"{meta.namespace}/{meta.name}"),
    )


def _checked(
    fronts: Mapping[Front, Sequence[Backend]], probes: Mapping[Address, Probe]
) -> dict[Front, Sequence[Backend]]:
    """The fronts with endpoints that are checked: all of a front's endpoints or none, because where OVN checks one
    endpoint it sends nothing to those that it does not check (`build_lb_vip_actions` in northd).
    """
    return {front: those for front, those in fronts.items() if those and all(each.address in probes for each in those)}


def _mappings(checked: Iterable[Sequence[Backend]], probes: Mapping[Address, Probe]) -> dict[str, str]:
    """The entries of `ip_port_mappings`."""
    those = {each.address: probes[each.address] for listed in checked for each in listed}
    return {bracketed(address): f"{probe.port}:{bracketed(probe.source)}" for address, probe in those.items()}


def _checks(lb: str, vips: Collection[str]) -> dict[Key, Row | None]:
    keys = {vip: f"{lb} {vip}" for vip in vips}
    return facts(
        *(
            LoadBalancerHealthCheck(vip=vip, options=_CHECK, external_ids=owned(key=key, parent=lb))
            for vip, key in keys.items()
        ),
        members=tuple(Member(LoadBalancer.TABLE, lb, "health_check", key) for key in keys.values()),
    )


def _options(service: Service, protocol: str) -> dict[str, str]:
    # Without an endpoint a client is refused at once. UDP connections have no end, so they are flushed: an endpoint
    # that is gone loses them.
    options = {"reject": "true", **({"ct_flush": "true"} if protocol == "UDP" else {})}
    seconds, _ = affinity_timeout(service)
    if seconds and keeps_clients(service):
        options["affinity_timeout"] = str(seconds)
    return options


def _format(service: Service, chosen: Sequence[Backend]) -> str:
    return ",".join(map(str, by_position(service, chosen)))
