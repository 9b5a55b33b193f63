"""Places: the networks of a source, in groups, so that those which overlap a network are found without a look at all
others, and what looks for them is worked out anew only when something near by changes.

A place is a network with a prefix of one of a few lengths. A network lies in a place of each length that is not longer
than its own prefix; the last one of these is its home.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Generic, TypeVar

from kube_ovn.derive import Graph, Index, Read, Source
from kube_ovn.model.addr import Address, Network, is_part

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

LENGTHS = 4
"""Lengths of places beside the length 0: every 8 bits of IPv4, every 32 bits of IPv6."""
Place = tuple[int, int, int]
"""IP version, length of the prefix, and the address without the bits behind the prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places(Generic[K, V]):
    """The values of a source by the places of their networks."""

    networks: Callable[[K, V], Iterable[Network]]
    """The networks of a value."""
    inside: Index[Place, K, V]
    """Each value in all places in which one of its networks lies."""
    homes: Index[Place, K, V]
    """Each value in the homes of its networks."""

    def overlapping(self, read: Read, network: Network) -> Iterator[tuple[Network, K, V]]:
        """The networks that overlap a network, each with the key and the value that it belongs to, in no order."""
        *outer, home = places(network)
        groups = [read.select(self.inside, home), *(read.select(self.homes, each) for each in outer)]
        near = {key: value for group in groups for key, value in group.items()}
        for key, value in near.items():
            for each in self.networks(key, value):
                if is_part(each, network) or is_part(network, each):
                    yield each, key, value

    def holding(self, read: Read, address: Address) -> K | None:
        """The key of the value with a network that holds an address, the least of several; None when there is none."""
        return min((key for _, key, _ in self.overlapping(read, ip_network(address))), key=str, default=None)


def define(graph: Graph, name: str, of: Source[K, V], networks: Callable[[K, V], Iterable[Network]]) -> Places[K, V]:
    """Group the values of a source by the places of their networks. `networks`: returns those of a value, which do not
    overlap one another.
    """

    def all_places(key: K, value: V) -> Iterator[Place]:
        return (place for each in networks(key, value) for place in places(each))

    return Places(
        networks=networks,
        inside=graph.index(f"places of {name}", of, all_places),
        homes=graph.index(
            f"homes of {name}", of, lambda key, value: (places(each)[-1] for each in networks(key, value))
        ),
    )


def places(network: Network) -> list[Place]:
    """The places in which a network lies, the largest first; the last one is its home."""
    bits, number = network.max_prefixlen, int(network.network_address)
    return [
        (network.version, length, number >> (bits - length))
        for length in range(0, network.prefixlen + 1, bits // LENGTHS)
    ]
