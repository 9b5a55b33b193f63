"""A span: the addresses of one CIDR of a subnet, their owners, the addresses that are left, and the next one to grant.

The addresses in use are kept up to date with each address that is taken or released, because a subnet may have many
thousands of owners.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kube_ovn.model.addr import Address, Network
from kube_ovn.model.network import Subnet
from kube_ovn.model.ranges import Ranges, host_ranges

REST = ""
"""The part of a subnet that belongs to no pool."""
END = 1 << 128
"""A number beyond every address."""
MOST_RELEASED = 1 << 16
"""Released addresses remembered in each CIDR. The list is bounded, because a large CIDR never needs these addresses
again.
"""


class Owner(NamedTuple):
    """The owner of a grant: its key (`addresses.memory`), and its label for messages, such as `Pod default/web-0`."""

    key: str
    label: str


class Usage(NamedTuple):
    """The addresses of one CIDR, or of a pool in it, that are in use, and those that are available."""

    version: int
    using: Ranges
    available: Ranges


@dataclass(slots=True)
class Span:
    """The addresses of one CIDR. Fresh addresses are granted first, the lowest of them before others; released ones
    only when no fresh one is left.
    """

    subnet: str
    network: Network
    hosts: Ranges  # addresses of hosts (`host_ranges`)
    free: Mapping[str, Ranges]  # by pool: the addresses that may be granted
    owners: dict[int, Owner] = field(default_factory=dict)
    gateways: Counter[int] = field(default_factory=Counter)  # number of owners that were given each gateway
    released: dict[int, None] = field(default_factory=dict)  # in order of release
    cursors: dict[str, int] = field(default_factory=dict)  # by pool: every address below was granted once, or skipped
    usage: dict[str | None, Usage] = field(init=False)  # by pool; under None, the usage of the whole CIDR

    def __post_init__(self) -> None:
        self._count_all()

    @property
    def version(self) -> int:
        return self.network.version

    def take_over(self, before: "Span") -> None:
        """Take over owners, gateways and released addresses from the former span of this family, which had other ranges
        or another CIDR.
        """
        self.owners, self.released, self.gateways = before.owners, before.released, before.gateways
        self._count_all()

    def pool_of(self, number: int) -> str | None:
        """The pool, or the rest, that an address may be granted from; None when it may not be granted."""
        return next((pool for pool, ranges in self.free.items() if number in ranges), None)

    def next(self, pool: str) -> int | None:
        """The address to grant next; None when there is none."""
        left = self.usage[pool].available if pool in self.usage else Ranges()
        if not left:
            return None
        number = left.following(self.cursors.get(pool, 0))
        while number is not None and (number in self.released or number in self.gateways):
            number = left.following(number + 1)
        self.cursors[pool] = END if number is None else number
        if number is None:
            number = next((each for each in self.released if each in left and each not in self.gateways), None)
        return number

    def take(self, number: int, owner: Owner, gateway: Address | None) -> None:
        self.owners[number] = owner
        self.released.pop(number, None)
        for pool in {None, self.pool_of(number)}:
            _, using, available = self.usage[pool]
            self.usage[pool] = Usage(self.version, using.including(number), available.excluding(number))
        if gateway is not None:
            self.gateways[int(gateway)] += 1

    def release(self, number: int, gateway: Address | None) -> None:
        del self.owners[number]
        self.remember_released(number)
        home = self.pool_of(number)
        for pool in {None, home}:
            _, using, available = self.usage[pool]
            available = available if home is None else available.including(number)
            self.usage[pool] = Usage(self.version, using.excluding(number), available)
        if gateway is not None:
            self.gateways[int(gateway)] -= 1
            if not self.gateways[int(gateway)]:
                del self.gateways[int(gateway)]
                self.remember_released(int(gateway))

    def remember_released(self, number: int) -> None:
        """Remember that an address was in use: it is granted again only after all fresh ones."""
        self.released.pop(number, None)
        self.released[number] = None
        if len(self.released) > MOST_RELEASED:
            del self.released[next(iter(self.released))]

    def describe_full(self, pool: str) -> str:
        ranges = self.free.get(pool, Ranges())
        return f"0 of {ranges.size} addresses in {self.network} are free"

    def _count_all(self) -> None:
        using = Ranges.of_numbers(self.owners)
        grantable = Ranges.of(each for ranges in self.free.values() for each in ranges.spans)
        self.usage = {None: Usage(self.version, using, grantable - using)}
        for pool, ranges in self.free.items():
            self.usage[pool] = Usage(self.version, using & ranges, ranges - using)


def make_span(subnet: Subnet, at: int, pools: Mapping[str, Sequence[Ranges]]) -> Span:
    """The span of one CIDR of a subnet, without owners. `pools`: by name, the ranges in the order of the CIDRs."""
    network, gateway = subnet.cidrs[at], subnet.gateways[at]
    hosts = host_ranges(network)
    reserved = [(int(gateway), int(gateway))]
    reserved += [(int(low), int(high)) for low, high in subnet.exclude if low.version == network.version]
    free = hosts - Ranges.of(reserved)
    parts = {name: ranges[at] & free for name, ranges in pools.items()}
    for part in parts.values():
        free = free - part
    return Span(subnet=subnet.name, network=network, hosts=hosts, free={REST: free, **parts})
