"""A Service: what its load balancers send where. Pure.

A row a Service and protocol, so that one changed endpoint costs one row, and `ct_flush` ends the connections of that
Service only. Every switch has all of them through one Load_Balancer_Group (ovn-nb(5), "Load_Balancer_Group"): the
address is exchanged where a packet comes in, at the port of the Pod or node that sent it.
"""

from collections.abc import Iterable, Iterator

from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import EndpointSlice, Service
from kube_ovn.model.nb import LoadBalancer, LoadBalancerGroup
from kube_ovn.model.row import Key, Member, Row, facts, owned
from kube_ovn.service.endpoints import backends, choose, cluster_addresses, format_endpoint

PROTOCOLS = ("TCP", "UDP", "SCTP")
_BY_SOURCE = {4: "ip_src", 6: "ipv6_src"}


def render_services() -> dict[Key, Row | None]:
    """What all Services share."""
    return facts(LoadBalancerGroup(name=names.SERVICE_LBS))


def render_service(service: Service, slices: Iterable[EndpointSlice]) -> dict[Key, Row | None]:
    """The load balancers of a Service with an address of its own; nothing for others."""
    addresses = cluster_addresses(service)
    if not addresses:
        return {}
    slices = list(slices)
    rows = [
        _load_balancer(service, protocol, vips)
        for protocol in PROTOCOLS
        if (vips := dict(_vips(service, protocol, addresses, slices)))
    ]
    members = tuple(Member(LoadBalancerGroup.TABLE, names.SERVICE_LBS, "load_balancer", row.name) for row in rows)
    return facts(*rows, members=members)


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
                yield (
                    format_endpoint(address, port.port),
                    ",".join(format_endpoint(each.address, each.port) for each in chosen),
                )
