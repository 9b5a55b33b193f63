"""The networks of Services' own addresses: those of the flag, and those of ServiceCIDRs (KEP-1880). Pure.

The controller and each node derive them with the same function, so they agree on every network. A ServiceCIDR that is
being deleted counts as long as it is there: it stays while a Service has an address of it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from kube_ovn.derive import Derived, Graph, Read, Source
from kube_ovn.discovery.attached import Named, networks_without_services
from kube_ovn.discovery.special import special_part
from kube_ovn.model.addr import Network, is_part, parse_networks
from kube_ovn.model.kube import Node, ServiceCIDR

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Judged:
    """The networks of a ServiceCIDR that are in effect, and the sentences why others are not."""

    networks: tuple[Network, ...]
    refusals: tuple[str, ...]


def parse_cidrs(item: ServiceCIDR) -> tuple[list[Network], list[str]]:
    """The CIDRs of a ServiceCIDR, and the sentences on those that cannot be read."""
    networks, faults = list[Network](), list[str]()
    for text in item.spec.cidrs:
        try:
            networks += parse_networks(text)
        except ValueError as error:
            faults.append(str(error))
    return networks, faults


def define(
    graph: Graph,
    items: Source[K, ServiceCIDR],
    nodes: Source[Any, Node],
    flag: Sequence[Network],
    subnets: Callable[[Read], Iterable[Named]],
) -> Derived[K, ServiceCIDR, Judged]:
    """Derive what is in effect of each ServiceCIDR. `flag`: the networks that count anyway. `subnets`: the CIDRs of the
    Subnets in effect.

    A Subnet keeps its addresses, and so does a node with what it talks to: a network of Services over them would lead
    their packets elsewhere. A larger network of a node is in no way, for of two routes the longer one counts.
    """
    of_nodes = graph.derive(
        "networks of Nodes without Services", nodes, lambda read, key, node: networks_without_services(node) or None
    )

    def find_rival(read: Read, network: Network) -> str:
        """The words for what is in the way of a network; empty when nothing is."""
        if what := special_part(network):
            return what
        for other, words in subnets(read):
            if other.version == network.version and other.overlaps(network):
                return words
        found = (words for each in read.all(of_nodes).values() for other, words in each if is_part(other, network))
        return min(found, default="")

    def judge(read: Read, key: K, item: ServiceCIDR) -> Judged:
        parsed, refusals = parse_cidrs(item)
        networks = list[Network]()
        for network in parsed:
            counts = any(is_part(network, each) for each in flag)
            if rival := "" if counts else find_rival(read, network):
                refusals.append(f"{network} overlaps {rival}: nodes do not reach Services there; remove one of them")
            else:
                networks.append(network)
        return Judged(tuple(networks), tuple(refusals))

    return graph.derive("judged ServiceCIDRs", items, judge)


def join_networks(flag: Iterable[Network], judged: Iterable[Judged]) -> tuple[Network, ...]:
    """All networks of Services in effect, IPv4 first. A network that lies in another one is left out."""
    found = dict.fromkeys([*flag, *(network for each in judged for network in each.networks)])
    alone = [each for each in found if not any(each != other and is_part(each, other) for other in found)]
    return tuple(sorted(alone, key=lambda each: (each.version, int(each.network_address))))
