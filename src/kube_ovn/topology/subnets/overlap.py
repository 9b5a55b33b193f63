"""The Subnets that ask for a CIDR which overlaps one of another Subnet. Pure.

It is one decision on all Subnets, since it has an order: a Subnet that has a CIDR keeps it, and of several that ask for
one the oldest gets it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kube_ovn.model.addr import Network

_Place = tuple[int, int, int]
"""A network: its IP version, the length of its prefix, and its address without the bits behind the prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The CIDRs of one Subnet, and all else that the decision depends on."""

    age: str
    """The creation timestamp of the Subnet."""
    held: tuple[Network, ...]
    """The CIDRs in effect; none for a new Subnet."""
    wanted: tuple[Network, ...]
    """The CIDRs that the spec asks for; none when the spec asks for no subnet that is possible."""
    barred: bool
    """Whether the Subnet cannot have the wanted CIDRs anyway: then they are in the way of no other Subnet."""


def find_overlaps(extents: Mapping[str, Extent]) -> dict[str, str]:
    """The sentences for users why Subnets cannot have the CIDRs they ask for. Both mappings are by the name of the
    Subnet.

    A sentence names the first rival: Subnets that had a CIDR come before those that get one, older Subnets before
    others.
    """
    ordered = sorted(extents, key=lambda name: (extents[name].age, name))
    ranked = sorted(ordered, key=lambda name: not extents[name].held)
    ranks = {name: rank for rank, name in enumerate(ranked)}
    networks = {name: extents[name].held for name in ordered}  # no other Subnet can have these
    taken = _Taken(cidr for each in extents.values() for cidr in (*each.held, *each.wanted))
    for name, held in networks.items():
        taken.put(ranks[name], held)
    overlaps: dict[str, str] = {}
    for name in ordered:
        wanted, rank = extents[name].wanted, ranks[name]
        rival = taken.find_rival(rank, wanted)
        if rival is not None:
            overlaps[name] = _describe(wanted, ranked[rival], networks[ranked[rival]])
        elif wanted != networks[name] and not extents[name].barred:
            # A Subnet keeps what it has until its status says otherwise: the user may change the spec back before that.
            networks[name] += wanted
            taken.put(rank, wanted)
    return overlaps


class _Taken:
    """The CIDRs that are taken, with the ranks of their Subnets. The time to put or find one does not depend on the
    number of CIDRs.

    Of two CIDRs that overlap, one lies in the other. So a rival is found by looking up each network that holds a CIDR,
    of the prefix lengths that there are.
    """

    def __init__(self, cidrs: Iterable[Network]) -> None:
        """`cidrs`: all that will be put or looked for, and maybe more."""
        self._lengths = sorted({(cidr.version, cidr.prefixlen) for cidr in cidrs})
        self._at: dict[_Place, tuple[int, ...]] = {}  # the lowest two ranks with exactly this network
        self._within: dict[_Place, tuple[int, ...]] = {}  # the lowest two ranks with this network, or one in it

    def put(self, rank: int, cidrs: Iterable[Network]) -> None:
        for cidr in cidrs:
            around = self._around(cidr)
            for place in around:
                _keep(self._within, place, rank)
            _keep(self._at, around[-1], rank)

    def find_rival(self, rank: int, cidrs: Iterable[Network]) -> int | None:
        """The lowest rank of another Subnet with a network that overlaps one of these; None when there is none."""
        found: set[int] = set()
        for cidr in cidrs:
            around = self._around(cidr)
            found.update(*(self._at.get(place, ()) for place in around), self._within.get(around[-1], ()))
        return min(found - {rank}, default=None)

    def _around(self, cidr: Network) -> list[_Place]:
        """The networks that hold a CIDR; the last one is the CIDR itself."""
        own, last = cidr.version, cidr.prefixlen
        number, bits = int(cidr.network_address), cidr.max_prefixlen
        return [
            (own, length, number >> (bits - length))
            for version, length in self._lengths
            if version == own and length <= last
        ]


def _keep(ranks: dict[_Place, tuple[int, ...]], place: _Place, rank: int) -> None:
    """Keep the lowest two ranks: of two, one is of another Subnet than the one that looks for a rival."""
    there = ranks.get(place, ())
    if rank not in there:
        ranks[place] = tuple(sorted((*there, rank))[:2])


def _describe(wanted: Iterable[Network], rival: str, networks: Iterable[Network]) -> str:
    cidr, theirs = next(
        (cidr, other) for cidr in wanted for other in networks if cidr.version == other.version and cidr.overlaps(other)
    )
    return f"CIDR {cidr} overlaps {theirs} of subnet {rival}; choose another"
