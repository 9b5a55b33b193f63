"""The networks of Services' own addresses: those of the flag, and those of ServiceCIDRs (KEP-1880). Pure.

The controller and each node derive them with the same function, so they agree on every network. A ServiceCIDR that is
being deleted counts as long as it is there: it stays while a Service has an address of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from kube_ovn.derive import Derived, Graph, Read, Source
from kube_ovn.discovery.attached import Named, NodeNetworks
from kube_ovn.discovery.special import special_part
from kube_ovn.model.addr import Network, is_part, parse_networks
from kube_ovn.model.kube import ServiceCIDR

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Judged:
    """The networks of a ServiceCIDR that are in effect, and the sentences why others are not."""

    networks: tuple[Network, ...]
    refusals: tuple[str, ...]


class _Rivals(NamedTuple):
    """The networks of one node that may be in the way of a ServiceCIDR, and the creation timestamp of the Node."""

    age: str
    networks: tuple[Named, ...]


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
    nodes: Source[Any, NodeNetworks],
    flag: Sequence[Network],
    subnets: Source[Any, tuple[Named, ...]],
) -> Derived[K, ServiceCIDR, Judged]:
    """Derive what is in effect of each ServiceCIDR. `flag`: the networks that count anyway. `subnets`: the CIDRs of the
    Subnets in effect.

    A Subnet keeps its addresses, and so does a node with what it talks to: a network of Services over them would lead
    their packets elsewhere. A larger network of a node is in no way, for of two routes the longer one counts. Nor is a
    node in the way that came later than the ServiceCIDR: it would take addresses from Services of the whole cluster.
    """
    of_nodes = graph.derive("networks of Nodes without Services", nodes, lambda read, key, each: _rivals(each))

    def find_rival(read: Read, network: Network, age: str) -> str:
        """The words for what is in the way of a network; empty when nothing is."""
        if what := special_part(network):
            return what
        of_subnets = (named for each in read.all(subnets).values() for named in each)
        if found := [words for other, words in of_subnets if is_part(other, network) or is_part(network, other)]:
            return min(found)
        older = (each.networks for each in read.all(of_nodes).values() if each.age <= age)
        return min((words for each in older for other, words in each if is_part(other, network)), default="")

    def judge(read: Read, key: K, item: ServiceCIDR) -> Judged:
        parsed, refusals = parse_cidrs(item)
        networks = list[Network]()
        for network in parsed:
            counts = any(is_part(network, each) for each in flag)
            if rival := "" if counts else find_rival(read, network, item.metadata.creation_timestamp):
                refusals.append(f"{network} overlaps {rival}: nodes do not reach Services there; remove one of them")
            else:
                networks.append(network)
        return Judged(tuple(networks), tuple(refusals))

    return graph.derive("judged ServiceCIDRs", items, judge)


def _rivals(each: NodeNetworks) -> _Rivals | None:
    networks = each.named_without_services
    return _Rivals(each.age, networks) if networks else None


def join_networks(flag: Iterable[Network], judged: Iterable[Judged]) -> tuple[Network, ...]:
    """All networks of Services in effect, IPv4 first. A network that lies in another one is left out."""
    found = dict.fromkeys([*flag, *(network for each in judged for network in each.networks)])
    alone = [each for each in found if not any(each != other and is_part(each, other) for other in found)]
    return tuple(sorted(alone, key=lambda each: (each.version, int(each.network_address))))
