"""A Service: what its load balancers send where. Pure.

A row a Service and protocol, so that one changed endpoint costs one row, and `ct_flush` ends the connections of that
Service only. Every switch has all of them through one Load_Balancer_Group (ovn-nb(5), "Load_Balancer_Group"): the
address is exchanged where a packet comes in, at the port of the Pod or node that sent it.

Where the endpoints depend on where the client is, a further row a family has variables for them, whose values each node
has in its Chassis_Template_Var (ovn-nb(5), "options:template").
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import EndpointSlice, Service, ServicePort
from kube_ovn.model.nb import ChassisTemplateVar, LoadBalancer, LoadBalancerGroup
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
)

PROTOCOLS = ("TCP", "UDP", "SCTP")
_BY_SOURCE = {4: "ip_src", 6: "ipv6_src"}
_LONGEST_TIMEOUT = 65535
"""Seconds that OVN's `affinity_timeout` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """One address and port that a Service is reached at."""

    address: Address
    port: ServicePort

    def __str__(self) -> str:
        return f"{format_endpoint(self.address, self.port.port)}/{self.port.protocol}"


@dataclass(slots=True)
class Rendered:
    """Rows, and what their variables mean on each node."""

    facts: dict[Key, Row | None] = field(default_factory=dict)
    variables: dict[str, dict[str, str]] = field(default_factory=dict)
    """By node and name."""


def render_services() -> dict[Key, Row | None]:
    """What all Services share."""
    return facts(LoadBalancerGroup(name=names.SERVICE_LBS))


def render_variables(chassis: str, variables: Mapping[str, str]) -> dict[Key, Row | None]:
    """What the variables of all Services mean on one node."""
    return facts(ChassisTemplateVar(chassis=chassis, variables=dict(variables), external_ids=owned()))


def render_service(
    service: Service, slices: Iterable[EndpointSlice], places: Iterable[Place] = (), outside: Collection[Front] = ()
) -> Rendered:
    """The load balancers of a Service with an address of its own; nothing for others.

    `places`: the nodes. `outside`: what else it is reached at, besides its own addresses.
    """
    addresses, slices, rendered = cluster_addresses(service), list(slices), Rendered()
    rows = []
    for protocol in PROTOCOLS if addresses else ():
        plain: dict[str, str] = {}
        local: dict[int, dict[str, str]] = {}
        for port in (port for port in service.spec.ports if port.protocol == protocol):
            for address in addresses:
                front, listed = Front(address=address, port=port), backends(port, address.version, slices)
                if _depends_on_place(service, listed):
                    key, value = _place(service, front, listed, places, rendered.variables)
                    local.setdefault(address.version, {})[key] = value
                else:
                    plain[format_endpoint(address, port.port)] = _format(choose(listed))
        for front in outside:
            if front.port.protocol == protocol:
                listed = backends(front.port, front.address.version, slices)
                plain[format_endpoint(front.address, front.port.port)] = _format(choose(listed))
        if plain:
            rows.append(_load_balancer(service, protocol, plain))
        rows += [_local_load_balancer(service, protocol, version, vips) for version, vips in sorted(local.items())]
    members = tuple(Member(LoadBalancerGroup.TABLE, names.SERVICE_LBS, "load_balancer", row.name) for row in rows)
    rendered.facts = facts(*rows, members=members)
    return rendered


def affinity_timeout(service: Service) -> int:
    """Seconds that OVN is to remember a client for; 0: not at all. Raises ValueError with a sentence."""
    text = service.metadata.annotations.get(names.AFFINITY_TIMEOUT, "")
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= _LONGEST_TIMEOUT):
        raise ValueError(
            f"{names.AFFINITY_TIMEOUT}: {text[:40]!r} is no number of seconds from 1 to {_LONGEST_TIMEOUT}; "
            "clients are sent to an endpoint by their address, and not remembered"
        )
    return int(text)


def _depends_on_place(service: Service, listed: Collection[Backend]) -> bool:
    """A Service without any endpoint refuses its clients everywhere."""
    if service.spec.internal_traffic_policy == LOCAL:
        return bool(choose(listed))
    return has_hints(listed)


def _place(
    service: Service,
    front: Front,
    listed: Collection[Backend],
    places: Iterable[Place],
    variables: dict[str, dict[str, str]],
) -> tuple[str, str]:
    """The entry of `vips` for a front whose endpoints depend on the node; what it means there goes to `variables`.
    A node without an endpoint of its own does not know the variable.
    """
    meta, port, address = service.metadata, front.port, front.address
    what = f"{meta.namespace}/{meta.name} {port.name} {address.version}"
    backend, vip = names.service_variable(what), names.service_variable(f"{what} address")
    local = service.spec.internal_traffic_policy == LOCAL
    for place in places:
        chosen = choose_local(listed, place.node) if local else choose_near(listed, place)
        if chosen:
            mine = variables.setdefault(place.node, {})
            mine[backend] = _format(chosen)
            if address.version == 6:
                mine[vip] = str(address)
    # OVN does not read an IPv6 address in such a row, unless a variable holds it.
    own = f"^{vip}:{port.port}" if address.version == 6 else format_endpoint(address, port.port)
    return own, f"^{backend}"


def _load_balancer(service: Service, protocol: str, vips: dict[str, str]) -> LoadBalancer:
    meta = service.metadata
    return LoadBalancer(
        name=names.service_lb(meta.namespace, meta.name, protocol),
        protocol=protocol.lower(),
        vips=vips,
        selection_fields=_selection(service, {address.version for address in cluster_addresses(service)}),
        options=_options(service, protocol),
        external_ids=owned(service=f"{meta.namespace}/{meta.name}"),
    )


def _local_load_balancer(service: Service, protocol: str, version: int, vips: dict[str, str]) -> LoadBalancer:
    meta = service.metadata
    return LoadBalancer(
        name=names.local_service_lb(meta.namespace, meta.name, protocol, version),
        protocol=protocol.lower(),
        vips=vips,
        selection_fields=_selection(service, {version}),
        options=_options(service, protocol) | {"template": "true", "address-family": f"ipv{version}"},
        external_ids=owned(service=f"{meta.namespace}/{meta.name}"),
    )


def _selection(service: Service, versions: Iterable[int]) -> frozenset[str]:
    if service.spec.session_affinity != "ClientIP":
        return frozenset()
    return frozenset(_BY_SOURCE[version] for version in versions)


def _options(service: Service, protocol: str) -> dict[str, str]:
    # Without a backend a client is refused at once. Connections of UDP have no end: a backend that went loses them so.
    options = {"reject": "true", **({"ct_flush": "true"} if protocol == "UDP" else {})}
    if service.spec.session_affinity == "ClientIP":
        try:
            seconds = affinity_timeout(service)
        except ValueError:
            seconds = 0  # told by who renders all Services
        if seconds:
            options["affinity_timeout"] = str(seconds)
    return options


def _format(chosen: Iterable[Backend]) -> str:
    return ",".join(format_endpoint(each.address, each.port) for each in chosen)
