"""Networks that are no place for Pods and Services. Pure.

A node would send packets to the special ones to itself, or to all hosts of a link. The API server takes no Endpoints or
EndpointSlices with most of them, but it takes all of them in the status of a load balancer. The others are reserved, or
the fabric has them for its own links; an endpoint outside may have such an address.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

from kube_ovn.model.addr import Address, Network

GATEWAY_LINKS = (IPv4Network("169.254.128.0/17"), IPv6Network("fd6b:7562:656f:766e::/112"))
"""The links between the router and gateway nodes (`topology.gateways.groups`), which are not seen outside of it."""


class _Span(NamedTuple):
    """A network as numbers, and the words for an address of it."""

    version: int
    low: int
    high: int
    what: str


def _spans(networks: Iterable[tuple[Network, str]]) -> tuple[_Span, ...]:
    return tuple(
        _Span(network.version, int(network.network_address), int(network.broadcast_address), what)
        for network, what in networks
    )


_SPECIAL = _spans(
    (
        (ip_network("0.0.0.0/32"), "the unspecified address"),
        (ip_network("127.0.0.0/8"), "a loopback address"),
        (ip_network("169.254.0.0/16"), "a link-local address"),
        (ip_network("224.0.0.0/4"), "a multicast address"),
        (ip_network("255.255.255.255/32"), "the broadcast address"),
        (ip_network("::/128"), "the unspecified address"),
        (ip_network("::1/128"), "a loopback address"),
        (ip_network("fe80::/10"), "a link-local address"),
        (ip_network("ff00::/8"), "a multicast address"),
    )
)
_BARRED = _SPECIAL + _spans(
    (
        (ip_network("0.0.0.0/8"), "an unspecified address"),
        (ip_network("240.0.0.0/4"), "a reserved address"),
        (ip_network("::/96"), "a reserved address"),
        (ip_network("::ffff:0:0/96"), "an IPv4 address in the form of an IPv6 address"),
        (ip_network("192.0.0.8/32"), "an address of the fabric's links"),  # ovngw0 (`host.node`)
        (GATEWAY_LINKS[1], "an address of the fabric's links"),
    )
)


def special(address: Address) -> str:
    """The words for an address that never leads from one host to another, such as `a loopback address`; empty for any
    other address.
    """
    return _find(_SPECIAL, address.version, int(address), int(address))


def barred(address: Address) -> str:
    """The words for an address that no Pod and no Service may have; empty for any other address."""
    return _find(_BARRED, address.version, int(address), int(address))


def special_part(network: Network) -> str:
    """The words for addresses of a network that no Pod and no Service may have; empty when it holds none."""
    return _find(_BARRED, network.version, int(network.network_address), int(network.broadcast_address))


def _find(spans: Iterable[_Span], version: int, first: int, last: int) -> str:
    for found, low, high, what in spans:
        if low <= last and first <= high and version == found:
            return what
    return ""
