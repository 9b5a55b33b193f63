"""The ledger: the owner of each address, and the address that is granted next.

The memory that lasts is outside, in `IP` objects (`addresses.memory`). A `Ledger` is an index of them, rebuilt when a
process starts. A grant made here is used only after an `IP` object records it. Nothing here does I/O or reads a clock.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kube_ovn.model import names
from kube_ovn.model.addr import Address, format_list
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.model.ranges import Ranges, address
from kube_ovn.topology.addresses.span import REST, Owner, Span, Usage, make_span


class Need(NamedTuple):
    """A part of a subnet without which a request cannot be met: an address, a MAC address, or any address of a pool,
    given as the name of the pool and an IP version.
    """

    subnet: str
    what: Address | str | tuple[str, int]


class RefusedError(Exception):
    """A request for addresses that cannot be met. The message is one sentence for the user.

    `needs`: pools that are full; when an address of one is free, the request may be met. The addresses that the request
    itself names are not among them. `elsewhere`: whether the user may get an address in another subnet instead.
    """

    def __init__(self, message: str, needs: Iterable[Need] = (), *, elsewhere: bool = True) -> None:
        super().__init__(message)
        self.needs, self.elsewhere = frozenset(needs), elsewhere


class ConflictError(RefusedError):
    """Another owner has the address or the MAC address. The message names this owner."""


class ExhaustedError(RefusedError):
    """No address is left in the subnet or pool that was asked for."""


@dataclass(slots=True)
class _Book:
    """One subnet: its CIDRs, and the owners of its addresses and MAC addresses."""

    subnet: Subnet
    spans: tuple[Span, ...]
    macs: dict[str, Owner] = field(default_factory=dict)
    keys: dict[str, None] = field(default_factory=dict)  # keys of the owners


class Ledger:
    """All grants, by the key of their owner, and the free addresses of each subnet."""

    def __init__(self, router: str = "") -> None:
        """`router`: the router with a port in each subnet. The MAC addresses of these ports cannot be granted."""
        self._router = router
        self.grants: dict[str, Grant] = {}
        self._books: dict[str, _Book] = {}
        self._touched: set[str] = set()
        self._freed: set[Need] = set()
        self._granted: set[Need] = set()
        self._reshaped: set[str] = set()
        self._changed: set[str] = set()

    def subnet(self, name: str) -> Subnet | None:
        book = self._books.get(name)
        return None if book is None else book.subnet

    def put_subnet(self, subnet: Subnet, pools: Mapping[str, Sequence[Ranges]] | None = None) -> None:
        """Add a subnet, or change its CIDRs, gateways, excluded ranges or pools; owners keep their addresses. `pools`:
        by name, the ranges in the order of the CIDRs. Every address in use must be inside the CIDRs.
        """
        old = self._books.get(subnet.name)
        book = _Book(subnet=subnet, spans=tuple(make_span(subnet, at, pools or {}) for at in range(len(subnet.cidrs))))
        if old is not None:
            book.macs, book.keys = old.macs, old.keys
            for before, now in ((b, n) for b in old.spans for n in book.spans if b.version == n.version):
                now.take_over(before)
        self._books[subnet.name] = book
        self._touched.add(subnet.name)
        self._reshaped.add(subnet.name)

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
        """Record a grant that was made before. Raises RefusedError when another owner has one of its addresses, or when
        the subnet has no such address for owners.

        An owner keeps an address that is `in_use`, also when the subnet excludes the address now.
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
        families = [self._family(book, version) for version in versions or book.subnet.versions]
        # Named addresses are checked first: then a refusal does not depend on whether the subnet is full.
        self._check_holders(book, owner, addresses, mac)
        self._check_free(book, addresses)
        self._check_mac(name, mac)
        fixed: dict[int, Address] = {each.version: each for each in addresses}
        unasked = fixed.keys() - {span.version for span, _ in families}
        if unasked:
            each, text = fixed[min(unasked)], format_list(f"IPv{version}" for version in versions)
            raise RefusedError(f"address {each} is wanted, but only addresses of the family {text} are")
        chosen = tuple(fixed.get(span.version) or self._next(span, pool) for span, _ in families)
        mac = mac or self._unused_mac(book, chosen)
        grant = Grant(subnet=name, addresses=chosen, mac=mac, gateways=tuple(gateway for _, gateway in families))
        self._record(book, owner, grant)
        return grant

    def release(self, key: str) -> None:
        """Release the grant of an owner that is proven gone. An owner without a grant is no error."""
        grant = self.grants.pop(key, None)
        if grant is None:
            return
        book = self._books[grant.subnet]
        self._freed |= self.needs_met(grant)
        self._freed.update(Need(grant.subnet, gateway) for gateway in grant.gateways)
        for each, gateway in _pairs(grant):
            self._span_of(book, each).release(int(each), gateway)
        del book.macs[grant.mac]
        del book.keys[key]
        self._touched.add(grant.subnet)
        self._changed.add(key)

    def relabel(self, owner: Owner) -> None:
        """Take over the label of an owner, which may have changed since its grant was recorded."""
        grant = self.grants[owner.key]
        book = self._books[grant.subnet]
        for each in grant.addresses:
            self._span_of(book, each).owners[int(each)] = owner
        book.macs[grant.mac] = owner
        self._granted.update(_named(grant))
        self._changed.add(owner.key)

    def remember_released(self, name: str, addresses: Iterable[Address]) -> None:
        """Remember that these addresses were in use before, as durable records say: they are not fresh."""
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

    def count(self, name: str) -> int:
        """The number of owners that have addresses in a subnet."""
        book = self._books.get(name)
        return 0 if book is None else len(book.keys)

    def needs_met(self, grant: Grant) -> set[Need]:
        """The needs that are met when this grant ends."""
        book, met = self._books[grant.subnet], {Need(grant.subnet, grant.mac)}
        for each in grant.addresses:
            met.add(Need(grant.subnet, each))
            pool = self._span_of(book, each).pool_of(int(each))
            if pool is not None:
                met.add(Need(grant.subnet, (pool, each.version)))
        return met

    def old_gateways(self, name: str) -> tuple[Address, ...]:
        """Former gateways of a subnet that owners were given. Each serves until these owners are gone."""
        book = self._books.get(name)
        spans = book.spans if book is not None else ()
        used = [address(span.version, number) for span in spans for number in sorted(span.gateways)]
        return tuple(each for each in used if book is not None and each not in book.subnet.gateways)

    def pools(self, name: str) -> list[str]:
        """The names of a subnet's pools."""
        book = self._books.get(name)
        return [] if book is None or not book.spans else [pool for pool in book.spans[0].free if pool != REST]

    def usage(self, name: str, pool: str | None = None) -> tuple[Usage, ...]:
        """The addresses in use and those that are left, by CIDR, of the whole subnet or of one pool."""
        book = self._books.get(name)
        return () if book is None else tuple(span.usage[pool] for span in book.spans)

    def take_touched(self) -> set[str]:
        """Subnets in which grants or ranges changed since the last call."""
        touched, self._touched = self._touched, set()
        return touched

    def take_freed(self) -> set[Need]:
        """The addresses, MAC addresses and pools that became free since the last call."""
        freed, self._freed = self._freed, set()
        return freed

    def take_granted(self) -> set[Need]:
        """The addresses and MAC addresses that got another owner, or another label of it, since the last call."""
        granted, self._granted = self._granted, set()
        return granted

    def take_reshaped(self) -> set[str]:
        """Subnets with other ranges than at the last call: any address in them may be free."""
        reshaped, self._reshaped = self._reshaped, set()
        return reshaped

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
        self._granted.update(_named(grant))
        self._touched.add(grant.subnet)
        self._changed.add(owner.key)

    def _next(self, span: Span, pool: str) -> Address:
        number = span.next(pool)
        if number is None:
            what = f"pool {pool} of subnet {span.subnet}" if pool else f"subnet {span.subnet}"
            need = Need(span.subnet, (pool, span.version))
            raise ExhaustedError(f"{what} has no available address: {span.describe_full(pool)}", [need])
        return address(span.version, number)

    def _check_free(self, book: _Book, addresses: Iterable[Address]) -> None:
        for each in addresses:
            span = self._span_of(book, each)
            if span.pool_of(int(each)) is None or int(each) in span.gateways:
                raise _unusable(book.subnet, each)

    def _check_holders(self, book: _Book, owner: Owner, addresses: Iterable[Address], mac: str | None) -> None:
        name = book.subnet.name
        for each in addresses:
            span = self._span_of(book, each)
            if int(each) not in span.hosts or each in book.subnet.gateways:
                raise _unusable(book.subnet, each)
            holder = span.owners.get(int(each))
            if holder is not None and holder.key != owner.key:
                raise ConflictError(f"AddressConflict: address {each} of subnet {name} is used by {holder.label}")
        holder = book.macs.get(mac) if mac is not None else None
        if mac is not None and holder is not None and holder.key != owner.key:
            raise ConflictError(f"AddressConflict: MAC address {mac} in subnet {name} is used by {holder.label}")

    def _check_mac(self, name: str, mac: str | None) -> None:
        if mac in (names.derived_mac(names.router_port(self._router, name)), names.derived_mac(name, "dhcp")):
            raise RefusedError(f"AddressConflict: MAC address {mac} in subnet {name} is used by its router")

    def _book(self, name: str) -> _Book:
        book = self._books.get(name)
        if book is None:
            raise RefusedError(f"subnet {name} does not exist or is not ready")
        return book

    def _family(self, book: _Book, version: int) -> tuple[Span, Address]:
        for span, gateway in zip(book.spans, book.subnet.gateways, strict=True):
            if span.version == version:
                return span, gateway
        raise RefusedError(
            f"subnet {book.subnet.name} has no IPv{version} addresses: its CIDR is {format_list(book.subnet.cidrs)}"
        )

    def _span_of(self, book: _Book, wanted: Address) -> Span:
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


def _named(grant: Grant) -> Iterator[Need]:
    """The addresses and the MAC address of a grant."""
    return (Need(grant.subnet, each) for each in (*grant.addresses, grant.mac))


def _unusable(subnet: Subnet, wanted: Address) -> RefusedError:
    return RefusedError(
        f"address {wanted} cannot be used: it is a gateway, the network or broadcast address, "
        f"or excluded in subnet {subnet.name}"
    )
