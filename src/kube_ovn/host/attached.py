"""The networks that a node is attached to, as the annotation of its Node tells them: no Subnet is to have their
addresses. Pure.
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_network

import msgspec

from kube_ovn.discovery.attached import API_SERVER, GATEWAY, RESOLVER
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, is_within

MOST = 128
"""Networks in the annotation, the largest first."""
LONGEST = 15
"""Characters of the name of a link (netdevice(7), IFNAMSIZ)."""


def format_networks(
    on_link: Iterable[tuple[str, Network]],
    gateways: Iterable[Address],
    resolvers: Iterable[Address],
    server: Address | None,
    services: Iterable[Network],
) -> str:
    """The annotation: a JSON object of labels by network. `on_link`: the networks of the node's links, by the name of
    the link. `services`: the networks of Services' addresses, which other programs may have put on a link.
    """
    found: dict[Network, str] = {}
    for link, network in on_link:
        if link != "lo" and link not in names.NODE_NICS:
            found.setdefault(network, link[:LONGEST])
    single = {GATEWAY: gateways, RESOLVER: resolvers, API_SERVER: [] if server is None else [server]}
    for label, addresses in single.items():
        for address in addresses:
            found.setdefault(ip_network(address), label)
    services = tuple(services)
    kept = {network: label for network, label in found.items() if _counts(network, services)}
    first = sorted(kept, key=lambda each: (each.prefixlen, each.version, each.network_address))[:MOST]
    texts: Mapping[str, str] = {str(network): kept[network] for network in first}
    return msgspec.json.encode(texts, order="sorted").decode()


def _counts(network: Network, services: tuple[Network, ...]) -> bool:
    """Whether a network is one of the node's: not the loopback's, not every link's, not the fabric's."""
    first = network.network_address
    if first.is_loopback or first.is_link_local or first.is_multicast or not network.prefixlen:
        return False
    return not is_within(first, services)
