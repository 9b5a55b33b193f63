"""The networks that a node is attached to, as the annotation of its Node tells them: no Subnet is to have their
addresses. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

import msgspec

from kube_ovn.discovery.attached import API_SERVER, GATEWAY, RESOLVER
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, is_within

MOST = 128
"""Networks in the annotation: the addresses that the node talks to come first, then larger networks before others."""
LONGEST = 15
"""Characters of the name of a link (netdevice(7), IFNAMSIZ)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworksText:
    """The value of the annotation, and the number of networks that it has no room for."""

    value: str
    left_out: int


def format_networks(
    on_link: Iterable[tuple[str, Network]],
    gateways: Iterable[Address],
    resolvers: Iterable[Address],
    server: Address | None,
    services: Iterable[Network],
) -> NetworksText:
    """The annotation: a JSON object of labels by network. `on_link`: the networks of the node's links, by the name of
    the link. `services`: the networks of Services' addresses, which other programs may have put on a link.
    """
    found: dict[Network, str] = {}
    single = {GATEWAY: gateways, RESOLVER: resolvers, API_SERVER: [] if server is None else [server]}
    for label, addresses in single.items():
        for address in addresses:
            found.setdefault(ip_network(address), label)
    for link, network in sorted(on_link, key=lambda each: _rank(each[1])):
        if link != "lo" and link not in names.NODE_NICS:
            found.setdefault(network, link[:LONGEST])
    services = tuple(services)
    kept = [network for network in found if _counts(network, services)]
    texts = {str(network): found[network] for network in kept[:MOST]}
    value = msgspec.json.encode(texts, order="sorted").decode()
    return NetworksText(value=value, left_out=max(0, len(kept) - MOST))


def _rank(network: Network) -> tuple[int, int, int]:
    """The order of networks of both families: one with more addresses comes before others."""
    return network.prefixlen - network.max_prefixlen, network.version, int(network.network_address)


def _counts(network: Network, services: tuple[Network, ...]) -> bool:
    """Whether a network is one of the node's: not the loopback's, not every link's, not the fabric's."""
    first = network.network_address
    if first.is_loopback or first.is_link_local or first.is_multicast or not network.prefixlen:
        return False
    return not is_within(first, services)
