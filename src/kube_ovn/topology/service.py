"""A Service: what its load balancers send where. Pure.

A row a Service and protocol, so that one changed endpoint costs one row, and `ct_flush` ends the connections of that
Service only. Every switch has all of them through one Load_Balancer_Group (ovn-nb(5), "Load_Balancer_Group"): the
address is exchanged where a packet comes in, at the port of the Pod or node that sent it.

Where the endpoints depend on where the client is, a further row a family has variables for them, whose values each node
has in its Chassis_Template_Var (ovn-nb(5), "options:template").
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import EndpointSlice, ObjectMeta, Service, ServicePort, ServiceSpec
from kube_ovn.model.nb import ChassisTemplateVar, LoadBalancer, LoadBalancerGroup, LoadBalancerHealthCheck
from kube_ovn.model.row import Key, Member, Row, facts, owned
from kube_ovn.service.endpoints import (
    LOCAL,
    Backend,
    Place,
    backends,
    choose,
    choose_local,
    choose_near,
    cluster_addresses,
    format_endpoint,
    has_hints,
    keeps_clients,
)
from kube_ovn.service.seats import by_position

PROTOCOLS = ("TCP", "UDP", "SCTP")
_CHECKED = ("TCP", "UDP")
_CHECK = {"interval": "2", "timeout": "3", "success_count": "1", "failure_count": "2"}
"""Seconds, and how often in a row: who does not answer is left out after 5 to 7 s."""
_BY_SOURCE = {4: "ip_src", 6: "ipv6_src"}
_LONGEST_TIMEOUT = 65535
"""Seconds that OVN's `affinity_timeout` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """One address and port that a Service is reached at."""

    address: Address
    port: ServicePort

    @property
    def vip(self) -> str:
        """As a key of `vips`."""
        return format_endpoint(self.address, self.port.port)

    def __str__(self) -> str:
        return f"{self.vip}/{self.port.protocol}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What of the cluster matters for the load balancers of a Service."""

    places: Sequence[Place] = ()
    """The nodes."""
    dns: frozenset[Address] = frozenset()
    """Where Pods look for a DNS server. Where none is ready, each node answers (`host.dns`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How an endpoint is looked at: through its port, as if from an address of its subnet."""

    port: str
    source: Address


@dataclass(slots=True)
class Probes:
    """How the endpoints of a Service are looked at."""

    found: dict[Address, Probe] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    """Why some are not, in a sentence each."""
    waiting: bool = False
    """Whether more are in a moment."""


@dataclass(slots=True)
class Rendered:
    """Rows, and what their variables mean on each node."""

    facts: dict[Key, Row | None] = field(default_factory=dict)
    variables: dict[str, dict[str, str]] = field(default_factory=dict)
    """By node and name."""
    by_place: bool = False
    """Whether the endpoints depend on the node, also where there is none."""
    probes: Probes = field(default_factory=Probes)
    unchecked: list[Front] = field(default_factory=list)
    """Where there are endpoints of which none is checked."""


def render_services() -> dict[Key, Row | None]:
    """What all Services share."""
    return facts(LoadBalancerGroup(name=names.SERVICE_LBS))


def render_variables(chassis: str, variables: Mapping[str, str]) -> dict[Key, Row | None]:
    """What the variables of all Services mean on one node."""
    return facts(ChassisTemplateVar(chassis=chassis, variables=dict(variables), external_ids=owned()))


def dns_service(addresses: Iterable[Address]) -> Service:
    """What the nodes' own answers are reached at where nobody has made a Service for a DNS server."""
    return Service(
        metadata=ObjectMeta(name=names.DNS_SERVICE, namespace=names.FABRIC, uid=""),
        spec=ServiceSpec(
            cluster_ips=tuple(map(str, addresses)),
            ports=tuple(ServicePort(port=names.DNS_PORT, protocol=protocol) for protocol in ("TCP", "UDP")),
        ),
    )


def render_service(
    service: Service,
    slices: Iterable[EndpointSlice],
    around: Surroundings,
    outside: Collection[Front] = (),
    find_probes: Callable[[Collection[Address]], Probes] | None = None,
) -> Rendered:
    """The load balancers of a Service with an address of its own; nothing for others.

    `outside`: what else it is reached at, besides its own addresses. `find_probes`: how endpoints are to be checked, if
    they are; it is asked once, for all those that can be.
    """
    slices, rendered, rows = list(slices), Rendered(), []
    addresses = cluster_addresses(service)
    own = dict.fromkeys(Front(address=address, port=port) for port in service.spec.ports for address in addresses)
    plain: dict[str, dict[Front, Sequence[Backend]]] = {}
    for protocol in PROTOCOLS:
        local: dict[int, dict[str, str]] = {}
        for front in (front for front in (*own, *outside) if front.port.protocol == protocol):
            listed = backends(front.port, front.address.version, slices)
            pick = _pick(service, front, listed, around) if front in own else _pick_near(service, listed)
            if pick is None:
                plain.setdefault(protocol, {})[front] = choose(listed)
                continue
            key, value = _place(service, front, pick, around.places, rendered.variables)
            local.setdefault(front.address.version, {})[key] = value
            rendered.unchecked += [front] if choose(listed) else []
        rendered.by_place |= bool(local)
        rows += [_load_balancer(service, protocol, vips, version) for version, vips in sorted(local.items())]
    if find_probes is not None:
        checkable = (those for protocol in _CHECKED for those in plain.get(protocol, {}).values())
        rendered.probes = find_probes({each.address for those in checkable for each in those})
    checks: dict[Key, Row | None] = {}
    for protocol, fronts in plain.items():
        checked = _checked(fronts, rendered.probes.found if protocol in _CHECKED else {})
        rendered.unchecked += [front for front, chosen in fronts.items() if chosen and front not in checked]
        vips = {front.vip: _format(service, those) for front, those in fronts.items()}
        row = _load_balancer(service, protocol, vips, mappings=_mappings(checked.values(), rendered.probes.found))
        rows.append(row)
        checks |= _checks(row.name, [front.vip for front in checked])
    members = tuple(Member(LoadBalancerGroup.TABLE, names.SERVICE_LBS, "load_balancer", row.name) for row in rows)
    rendered.facts = facts(*rows, members=members) | checks
    return rendered


def affinity_timeout(service: Service) -> tuple[int, str]:
    """Seconds that OVN is to remember a client for, 0 for not at all; and what is wrong with what is asked for."""
    text = service.metadata.annotations.get(names.AFFINITY_TIMEOUT, "")
    if not text:
        return 0, ""
    if text.isascii() and text.isdecimal() and 0 < int(text) <= _LONGEST_TIMEOUT:
        return int(text), ""
    return 0, (
        f"{names.AFFINITY_TIMEOUT}: {text[:40]!r} is no number of seconds from 1 to {_LONGEST_TIMEOUT}; "
        "clients are sent to an endpoint by their address, and not remembered"
    )


def wants_checks(service: Service) -> tuple[bool, str]:
    """Whether a Service's endpoints are to be checked; and what is wrong with what is asked for."""
    text = service.metadata.annotations.get(names.HEALTH_CHECK, "")
    if text in ("", "true", "false"):
        return text == "true", ""
    return False, f"{names.HEALTH_CHECK}: {text[:40]!r} is neither true nor false; endpoints are not checked"


def _pick(
    service: Service, front: Front, listed: Collection[Backend], around: Surroundings
) -> Callable[[Place], str] | None:
    """The endpoints for clients on a node, where they depend on it; None where they do not. A Service without any
    endpoint refuses its clients everywhere.
    """
    if not choose(listed):
        if front.address not in around.dns or front.port.port != names.DNS_PORT:
            return None
        return lambda place: _own(place, front, names.DNS_PORT)
    if service.spec.internal_traffic_policy == LOCAL:
        # A node without an endpoint refuses its clients. Without a word from it OVN would let their packets pass, and
        # what goes on sending from one port (UDP) would be of that connection for good, whatever comes later.
        return lambda place: (
            _format(service, choose_local(listed, place.node)) or _own(place, front, names.NOBODYS_PORT)
        )
    return _pick_near(service, listed)


def _own(place: Place, front: Front, port: int) -> str:
    """A port of the client's own node."""
    return ",".join(format_endpoint(own, port) for own in place.addresses if own.version == front.address.version)


def _pick_near(service: Service, listed: Collection[Backend]) -> Callable[[Place], str] | None:
    """By hints: clients whose hints are the same are sent to the same endpoints."""
    if not has_hints(listed):
        return None
    named = frozenset(node for each in listed for node in each.nodes)
    known: dict[tuple[str, str], str] = {}

    def pick(place: Place) -> str:
        key = (place.zone, place.node if place.node in named else "")
        if key not in known:
            known[key] = _format(service, choose_near(listed, place))
        return known[key]

    return pick


def _place(
    service: Service,
    front: Front,
    pick: Callable[[Place], str],
    places: Iterable[Place],
    variables: dict[str, dict[str, str]],
) -> tuple[str, str]:
    """The entry of `vips` for a front whose endpoints depend on the node; what it means there goes to `variables`.
    A node without an address of this family does not know the variable.
    """
    meta, port, address = service.metadata, front.port, front.address
    what = f"{meta.namespace}/{meta.name} {port.protocol} {port.port} {address}"
    backend, vip = names.service_variable(what), names.service_variable(f"{what} address")
    for place in places:
        if chosen := pick(place):
            mine = variables.setdefault(place.node, {})
            mine[backend] = chosen
            if address.version == 6:
                mine[vip] = str(address)
    # OVN does not read an IPv6 address in such a row, unless a variable holds it.
    return f"^{vip}:{port.port}" if address.version == 6 else front.vip, f"^{backend}"


def _load_balancer(
    service: Service,
    protocol: str,
    vips: dict[str, str],
    version: int | None = None,
    mappings: dict[str, str] | None = None,
) -> LoadBalancer:
    """`version`: of the family whose endpoints depend on the node. `mappings`: how endpoints are checked."""
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
    """Where endpoints are checked: all of them or none, because OVN sends nothing to one it is not to check where it
    checks another (`build_lb_vip_actions` in northd).
    """
    return {front: those for front, those in fronts.items() if those and all(each.address in probes for each in those)}


def _mappings(checked: Iterable[Sequence[Backend]], probes: Mapping[Address, Probe]) -> dict[str, str]:
    """Entries of `ip_port_mappings`."""
    those = {each.address: probes[each.address] for listed in checked for each in listed}
    return {_bracketed(address): f"{probe.port}:{_bracketed(probe.source)}" for address, probe in those.items()}


def _bracketed(address: Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


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
    # Without a backend a client is refused at once. Connections of UDP have no end: a backend that went loses them so.
    options = {"reject": "true", **({"ct_flush": "true"} if protocol == "UDP" else {})}
    seconds, _ = affinity_timeout(service)
    if seconds and keeps_clients(service):
        options["affinity_timeout"] = str(seconds)
    return options


def _format(service: Service, chosen: Sequence[Backend]) -> str:
    return ",".join(format_endpoint(each.address, each.port) for each in by_position(service, chosen))
