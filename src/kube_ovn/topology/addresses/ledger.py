"""The ledger: which owner has which address, and which address is granted next.

The memory that lasts is outside, in `IP` objects (`addresses.memory`). A `Ledger` is an index of them, rebuilt when a
process starts. A grant made here is used only after it was written there. Nothing here does I/O or knows the time.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, format_list
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.model.ranges import Ranges, address, host_ranges

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


class RefusedError(Exception):
    """A request for addresses that cannot be met. The message is one sentence for the user and names both parties."""


class ConflictError(RefusedError):
    """Another owner has the address or the MAC address."""


class ExhaustedError(RefusedError):
    """No address is left in the subnet or pool that was asked for."""


@dataclass(slots=True)
class _Span:
    """The addresses of one CIDR. Fresh addresses are granted first, the lowest of them before others; released ones
    only when no fresh one is left.
    """

    subnet: str
    network: Network
    hosts: Ranges  # all but the network's own and the broadcast address
    free: Mapping[str, Ranges]  # by pool: the addresses that may be granted
    owners: dict[int, Owner] = field(default_factory=dict)
    gateways: Counter[int] = field(default_factory=Counter)  # how many owners were given each gateway
    released: dict[int, None] = field(default_factory=dict)  # in order of release
    cursors: dict[str, int] = field(default_factory=dict)  # by pool: every address below was granted once, or skipped

    @property
    def version(self) -> int:
        return self.network.version

    def usable(self, number: int) -> bool:
        return any(number in ranges for ranges in self.free.values())

    def next(self, pool: str) -> int | None:
        """The address to grant next; None when there is none."""
        ranges = self.free.get(pool, Ranges())
        number = ranges.following(self.cursors.get(pool, 0))
        while number is not None and (number in self.owners or number in self.released or number in self.gateways):
            number = ranges.following(number + 1)
        self.cursors[pool] = END if number is None else number
        if number is None:
            number = next((each for each in self.released if each in ranges and each not in self.gateways), None)
        return number

    def take(self, number: int, owner: Owner, gateway: Address | None) -> None:
        self.owners[number] = owner
        self.released.pop(number, None)
        if gateway is not None:
            self.gateways[int(gateway)] += 1

    def release(self, number: int, gateway: Address | None) -> None:
        del self.owners[number]
        self.remember_released(number)
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

    def usage(self, pool: str) -> str:
        ranges = self.free.get(pool, Ranges())
        return f"0 of {ranges.size} addresses in {self.network} are free"


@dataclass(slots=True)
class _Book:
    """One subnet: its CIDRs, and the owners of its addresses and MAC addresses."""

    subnet: Subnet
    spans: tuple[_Span, ...]
    macs: dict[str, Owner] = field(default_factory=dict)
    keys: dict[str, None] = field(default_factory=dict)  # keys of the owners


class Usage(NamedTuple):
    """What of one CIDR is in use and what is available."""

    version: int
    using: Ranges
    available: Ranges


class Ledger:
    """All grants, by the key of their owner, and what is free in each subnet."""

    def __init__(self, router: str = "") -> None:
        """`router`: the router with a port in each subnet. The MAC addresses of these ports cannot be granted."""
        self._router = router
        self.grants: dict[str, Grant] = {}
        self._books: dict[str, _Book] = {}
        self._touched: set[str] = set()
        self._freed: set[str] = set()
        self._changed: set[str] = set()

    @property
    def subnets(self) -> Mapping[str, Subnet]:
        return {name: book.subnet for name, book in self._books.items()}

    def subnet(self, name: str) -> Subnet | None:
        book = self._books.get(name)
        return None if book is None else book.subnet

    def put_subnet(self, subnet: Subnet, pools: Mapping[str, Sequence[Ranges]] | None = None) -> None:
        """Add a subnet, or change its CIDRs, gateways, excluded ranges or pools; owners keep their addresses. `pools`:
        by name, the ranges in the order of the CIDRs. Every address in use must be inside the CIDRs.
        """
        old = self._books.get(subnet.name)
        book = _Book(subnet=subnet, spans=tuple(_span(subnet, at, pools or {}) for at in range(len(subnet.cidrs))))
        if old is not None:
            book.macs, book.keys = old.macs, old.keys
            for before, now in ((b, n) for b in old.spans for n in book.spans if b.version == n.version):
                now.owners, now.released, now.gateways = before.owners, before.released, before.gateways
        self._books[subnet.name] = book
        self._touched.add(subnet.name)
        self._freed.add(subnet.name)

    def drop_subnet(self, name: str) -> list[str]:
        """Forget a subnet and the grants in it. Returns the keys of their owners."""
        book = self._books.pop(name, None)
        if book is None:
            return []
        for key in book.keys:
            del self.grants[key]
        self._changed.update(book.keys)
        self._touched.add(name)
        return list(book.keys)

    def adopt(self, owner: Owner, grant: Grant, *, in_use: bool) -> None:
        """Record a grant that was made before. Raises RefusedError when another owner has it, or when it is not
        possible at all.

        A range that was excluded since is only not granted any more: an owner that has its address `in_use` keeps it.
        """
        book = self._book(grant.subnet)
        self._check_holders(book, owner, grant.addresses, grant.mac)
        if not in_use:
            self._check_free(book, grant.addresses)
            self._check_mac(grant.subnet, grant.mac)
        self._record(book, owner, grant)

    def allocate(
        self,
        owner: Owner,
        name: str,
        versions: Sequence[int] = (),
        addresses: Sequence[Address] = (),
        mac: str | None = None,
        pool: str = REST,
    ) -> Grant:
        """Grant one address of each IP family in `versions` (empty: of all families of the subnet): the one in
        `addresses`, else the next one of the pool. Raises RefusedError.
        """
        book = self._book(name)
        chosen, gateways = [], []
        for version in versions or book.subnet.versions:
            span, gateway = self._family(book, version)
            wanted = next((each for each in addresses if each.version == version), None)
            chosen.append(self._next(span, pool) if wanted is None else wanted)
            gateways.append(gateway)
        for each in addresses:
            self._span_of(book, each)  # an address outside of the CIDRs is refused, not ignored
            if each not in chosen:
                families = format_list(f"IPv{version}" for version in versions)
                raise RefusedError(f"address {each} is wanted, but only addresses of the family {families} are")
        mac = mac or self._unused_mac(book, chosen)
        self._check_holders(book, owner, chosen, mac)
        self._check_free(book, chosen)
        self._check_mac(name, mac)
        grant = Grant(subnet=name, addresses=tuple(chosen), mac=mac, gateways=tuple(gateways))
        self._record(book, owner, grant)
        return grant

    def release(self, key: str) -> None:
        """Release the grant of an owner that is proven gone. An owner without a grant is no error."""
        grant = self.grants.pop(key, None)
        if grant is None:
            return
        book = self._books[grant.subnet]
        for each, gateway in _pairs(grant):
            self._span_of(book, each).release(int(each), gateway)
        del book.macs[grant.mac]
        del book.keys[key]
        self._touched.add(grant.subnet)
        self._freed.add(grant.subnet)
        self._changed.add(key)

    def relabel(self, owner: Owner) -> None:
        """Take over the label of an owner, which may have changed since its grant was recorded."""
        grant = self.grants[owner.key]
        book = self._books[grant.subnet]
        for each in grant.addresses:
            self._span_of(book, each).owners[int(each)] = owner
        book.macs[grant.mac] = owner
        self._changed.add(owner.key)

    def remember_released(self, name: str, addresses: Iterable[Address]) -> None:
        """Remember that these addresses were in use before, as durable records tell: they are not fresh."""
        book = self._books.get(name)
        for each in addresses if book is not None else ():
            for span in book.spans if book is not None else ():
                if each in span.network and int(each) not in span.owners:
                    span.remember_released(int(each))

    def holder(self, name: str, wanted: Address) -> Owner | None:
        """The owner of an address; None when it has none."""
        book = self._books.get(name)
        spans = book.spans if book is not None else ()
        return next((span.owners.get(int(wanted)) for span in spans if span.version == wanted.version), None)

    def keys(self, name: str) -> list[str]:
        """The keys of all owners that have addresses in a subnet."""
        book = self._books.get(name)
        return [] if book is None else list(book.keys)

    def owners(self, name: str) -> list[tuple[Address, Owner]]:
        """The addresses in use in a subnet, in order, each with its owner."""
        book = self._books.get(name)
        spans = book.spans if book is not None else ()
        return [
            (address(span.version, number), span.owners[number]) for span in spans for number in sorted(span.owners)
        ]

    def old_gateways(self, name: str) -> tuple[Address, ...]:
        """Former gateways of a subnet that owners were given. Each serves until these owners are gone."""
        book = self._books.get(name)
        spans = book.spans if book is not None else ()
        used = [address(span.version, number) for span in spans for number in sorted(span.gateways)]
        return tuple(each for each in used if book is not None and each not in book.subnet.gateways)

    def usage(self, name: str, pool: str | None = None) -> list[Usage]:
        """What is in use and what is left, by CIDR, of the whole subnet or of one pool."""
        book, found = self._books.get(name), []
        for span in book.spans if book is not None else ():
            using = Ranges.of_numbers(span.owners)
            if pool is None:
                available = Ranges.of(each for ranges in span.free.values() for each in ranges.spans)
            else:
                available = span.free.get(pool, Ranges())
                using = using & available
            found.append(Usage(span.version, using, available - using))
        return found

    def take_touched(self) -> set[str]:
        """Subnets in which grants or ranges changed since the last call."""
        touched, self._touched = self._touched, set()
        return touched

    def take_freed(self) -> set[str]:
        """Subnets that may have gained a free address since the last call."""
        freed, self._freed = self._freed, set()
        return freed

    def take_changed(self) -> set[str]:
        """The keys of grants that came, went or changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def owner(self, key: str) -> Owner | None:
        """The owner of the grant under a key; None when there is no grant."""
        grant = self.grants.get(key)
        return None if grant is None else self.holder(grant.subnet, grant.addresses[0])

    def _record(self, book: _Book, owner: Owner, grant: Grant) -> None:
        self.release(owner.key)
        self.grants[owner.key] = grant
        book.keys[owner.key] = None
        for each, gateway in _pairs(grant):
            self._span_of(book, each).take(int(each), owner, gateway)
        book.macs[grant.mac] = owner
        self._touched.add(grant.subnet)
        self._changed.add(owner.key)

    def _next(self, span: _Span, pool: str) -> Address:
        number = span.next(pool)
        if number is None:
            what = f"pool {pool} of subnet {span.subnet}" if pool else f"subnet {span.subnet}"
            raise ExhaustedError(f"{what} has no available address: {span.usage(pool)}")
        return address(span.version, number)

    def _check_free(self, book: _Book, addresses: Iterable[Address]) -> None:
        for each in addresses:
            span = self._span_of(book, each)
            if not span.usable(int(each)) or int(each) in span.gateways:
                raise _unusable(book.subnet, each)

    def _check_holders(self, book: _Book, owner: Owner, addresses: Iterable[Address], mac: str) -> None:
        name = book.subnet.name
        for each in addresses:
            span = self._span_of(book, each)
            if int(each) not in span.hosts or each in book.subnet.gateways:
                raise _unusable(book.subnet, each)
            holder = span.owners.get(int(each))
            if holder is not None and holder.key != owner.key:
                raise ConflictError(f"AddressConflict: address {each} of subnet {name} is used by {holder.label}")
        holder = book.macs.get(mac)
        if holder is not None and holder.key != owner.key:
            raise ConflictError(f"AddressConflict: MAC address {mac} in subnet {name} is used by {holder.label}")

    def _check_mac(self, name: str, mac: str) -> None:
        if mac in (names.derived_mac(names.router_port(self._router, name)), names.derived_mac(name, "dhcp")):
            raise RefusedError(f"AddressConflict: MAC address {mac} in subnet {name} is used by its router")

    def _book(self, name: str) -> _Book:
        book = self._books.get(name)
        if book is None:
            raise RefusedError(f"subnet {name} does not exist or is not ready")
        return book

    def _family(self, book: _Book, version: int) -> tuple[_Span, Address]:
        for span, gateway in zip(book.spans, book.subnet.gateways, strict=True):
            if span.version == version:
                return span, gateway
        raise RefusedError(
            f"subnet {book.subnet.name} has no IPv{version} addresses: its CIDR is {format_list(book.subnet.cidrs)}"
        )

    def _span_of(self, book: _Book, wanted: Address) -> _Span:
        for span in book.spans:
            if wanted in span.network:
                return span
        raise RefusedError(
            f"address {wanted} is not in the CIDR {format_list(book.subnet.cidrs)} of subnet {book.subnet.name}"
        )

    def _unused_mac(self, book: _Book, addresses: Sequence[Address]) -> str:
        """A MAC address that follows from the addresses: when these go to another owner, the caches of neighbours stay
        true.
        """
        salt = 0
        while (mac := names.derived_mac(book.subnet.name, format_list(addresses), str(salt))) in book.macs:
            salt += 1
        return mac


def _pairs(grant: Grant) -> Iterator[tuple[Address, Address | None]]:
    """Each address and the gateway that was given with it."""
    for each in grant.addresses:
        yield each, next((gateway for gateway in grant.gateways if gateway.version == each.version), None)


def _unusable(subnet: Subnet, wanted: Address) -> RefusedError:
    return RefusedError(
        f"address {wanted} cannot be used: it is a gateway, the network or broadcast address, "
        f"or excluded in subnet {subnet.name}"
    )


def free_ranges(subnet: Subnet, at: int) -> Ranges:
    """The addresses of one CIDR that may be granted: those of hosts, without the gateway and the excluded ranges."""
    network, gateway = subnet.cidrs[at], subnet.gateways[at]
    reserved = [(int(gateway), int(gateway))]
    reserved += [(int(low), int(high)) for low, high in subnet.exclude if low.version == network.version]
    return host_ranges(network) - Ranges.of(reserved)


def _span(subnet: Subnet, at: int, pools: Mapping[str, Sequence[Ranges]]) -> _Span:
    free = free_ranges(subnet, at)
    parts = {name: ranges[at] & free for name, ranges in pools.items()}
    for part in parts.values():
        free = free - part
    return _Span(
        subnet=subnet.name,
        network=subnet.cidrs[at],
        hosts=host_ranges(subnet.cidrs[at]),
        free={REST: free, **parts},
    )
