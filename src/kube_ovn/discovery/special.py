"""Addresses that never lead from one host to another. Pure.

A node would send their packets to itself, or to all hosts of a link. The API server takes no Endpoints or
EndpointSlices with most of them, but it takes all of them in the status of a load balancer.
"""

from ipaddress import ip_network

from kube_ovn.model.addr import Address, Network

_SPANS = tuple(
    (network.version, int(network.network_address), int(network.broadcast_address), what)
    for network, what in (
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


def special(address: Address) -> str:
    """The words for an address that is special, such as `a loopback address`; empty for any other address."""
    version, number = address.version, int(address)
    for found, low, high, what in _SPANS:
        if low <= number <= high and version == found:
            return what
    return ""


def special_part(network: Network) -> str:
    """The words for special addresses that a network holds, such as `a loopback address`; empty when it holds none."""
    first, last = int(network.network_address), int(network.broadcast_address)
    for found, low, high, what in _SPANS:
        if low <= last and first <= high and network.version == found:
            return what
    return ""
