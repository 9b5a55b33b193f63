"""The addresses at which no Service is reached, whatever its user or its load balancer asks for. Pure.

The controller, which has the load balancers of the fabric, and each node, which has its table of nftables, ask the same
function. So they agree on every address.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from kube_ovn.discovery.endpoints import Slice, format_endpoint, read_address
from kube_ovn.discovery.special import barred
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, is_within, parse_addresses
from kube_ovn.model.kube import Node, Service

API_SERVICE = ("default", "kubernetes")
"""The Namespace and name of the Service that has the API servers as endpoints."""


class Spot(NamedTuple):
    """An address, a port and a protocol at which a Service is to be reached."""

    address: Address
    port: int
    protocol: str
    """As Services have it, in capitals."""

    def __str__(self) -> str:
        return f"{format_endpoint(self.address, self.port)}/{self.protocol}"


def refusal(
    spot: Spot, services: Iterable[Network], subnet: Callable[[Address], str], servers: Collection[Spot]
) -> str:
    """Why a Service is not reached at a spot that is none of its own addresses, in one sentence; empty where it may be.

    `services`: the networks of Services' own addresses. `subnet`: returns the name of the Subnet that holds an address,
    empty for none. `servers`: the spots of the API servers.
    """
    address = spot.address
    if what := barred(address):
        return f"{address} is {what}, at which no Service is reached; use an address that is routed to the nodes"
    if what := _inside(address, services, subnet):
        return f"{address} is {what}, and stays so; use an address outside the fabric"
    if spot in servers:
        return f"{spot} is that of the API server, and stays so; use another address or port"
    return ""


def _inside(address: Address, services: Iterable[Network], subnet: Callable[[Address], str]) -> str:
    if is_within(address, services):
        return "an address of the cluster's Services"
    name = subnet(address)
    return f"an address of Subnet {name}" if name else ""


def own_spots(service: Service, addresses: Iterable[Address]) -> list[Spot]:
    """The spots of a Service at some addresses: each of its ports at each of them."""
    return [Spot(address, port.port, port.protocol) for address in addresses for port in service.spec.ports]


def dns_spots(addresses: Iterable[Address]) -> list[Spot]:
    """The spots at which Pods look for a DNS server."""
    return [Spot(address, names.DNS_PORT, protocol) for address in addresses for protocol in ("TCP", "UDP")]


def server_spots(slices: Iterable[Slice]) -> frozenset[Spot]:
    """The spots of the API servers. `slices`: those of the Service `API_SERVICE`, parsed. An API server that is not
    ready keeps its spot: it may be asked all the same.
    """
    return frozenset(
        Spot(endpoint.address, number, protocol)
        for each in slices
        for (_, protocol), numbers in each.ports.items()
        for number in numbers
        for endpoint in each.endpoints
    )


def host_spots(host: str, port: int) -> frozenset[Spot]:
    """The spot of the API server that kube-ovn itself asks, which may be none of those that serve. Empty for a name."""
    address = read_address(host)
    return frozenset() if address is None else frozenset({Spot(address, port, "TCP")})


def node_addresses(node: Node) -> Iterator[Address]:
    """The addresses of a node itself, from which it may send as a client. What is no address is left out."""
    for entry in node.status.addresses:
        if entry.type in ("InternalIP", "ExternalIP"):
            with contextlib.suppress(ValueError):
                yield from parse_addresses(entry.address)
