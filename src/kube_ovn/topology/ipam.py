"""Addresses: who has which, and who gets the next. The only decision of the controller with a memory.

The memory that lasts is outside, in ports and annotations (`topology.memory`); a `Ledger` is an index of it, rebuilt at
start. A grant made here is used by nobody before it was written to both. Nothing here does I/O or knows the time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import NamedTuple

from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, format_list
from kube_ovn.model.network import Grant, Subnet


class Owner(NamedTuple):
    """Who holds a grant: a UID, and a label such as `Pod default/web-0` for messages."""

    uid: str
    label: str


class RefusedError(Exception):
    """A request for addresses that cannot be met: one sentence for the user, with both parties named."""


@dataclass(slots=True)
class _Range:
    """The addresses of one CIDR. Fresh ones are given lowest first; released ones only when no fresh one is left."""

    subnet: str
    network: Network
    first: int
    last: int
    reserved: tuple[tuple[int, int], ...]  # sorted, disjoint
    owners: dict[int, Owner] = field(default_factory=dict)
    fresh: int = 0  # every address below was given once, or skipped
    released: dict[int, None] = field(default_factory=dict)  # in order of release

    def lowest_fresh(self) -> int | None:
        while self.fresh <= self.last:
            if (end := self.end_of_reserved(self.fresh)) is not None:
                self.fresh = end + 1
            elif self.fresh in self.owners:
                self.fresh += 1
            else:
                return self.fresh
        return None

    def end_of_reserved(self, number: int) -> int | None:
        """Last address of the reserved range that holds this one, if any."""
        return next((high for low, high in self.reserved if low <= number <= high), None)

    def is_host(self, address: Address) -> bool:
        return self.first <= int(address) <= self.last

    def usable(self, address: Address) -> bool:
        return self.is_host(address) and self.end_of_reserved(int(address)) is None

    def next(self) -> Address:
        number = self.lowest_fresh()
        if number is None:
            number = next(iter(self.released), None)
        if number is None:
            raise RefusedError(f"subnet {self.subnet} has no available address: {self.usage()}")
        return self.address(number)

    def take(self, address: Address, owner: Owner) -> None:
        self.owners[int(address)] = owner
        self.released.pop(int(address), None)
        if int(address) == self.fresh:
            self.fresh += 1  # once given it is never fresh again

    def release(self, address: Address) -> None:
        del self.owners[int(address)]
        if int(address) < self.fresh and self.usable(address):
            self.released[int(address)] = None

    def address(self, number: int) -> Address:
        return IPv4Address(number) if self.network.version == 4 else IPv6Address(number)

    def usage(self) -> str:
        total = self.last - self.first + 1
        total -= sum(max(0, min(high, self.last) - max(low, self.first) + 1) for low, high in self.reserved)
        return f"0 of {total} in {self.network} are free"


class Ledger:
    """All grants, by owner UID, and what is free in each subnet."""

    def __init__(self, subnets: Sequence[Subnet]) -> None:
        self.subnets = {subnet.name: subnet for subnet in subnets}
        self.grants: dict[str, Grant] = {}
        self._ranges = {subnet.name: tuple(_ranges(subnet)) for subnet in subnets}
        self._macs: dict[tuple[str, str], Owner] = {}

    def adopt(self, owner: Owner, grant: Grant, *, in_use: bool) -> None:
        """Record a grant that was made before. Raises RefusedError when it is another's, or not possible at all.

        What was excluded since is only not handed out any more: whoever has it `in_use` keeps it.
        """
        self._check_holders(owner, grant.subnet, grant.addresses, grant.mac)
        if not in_use:
            self._check_excluded(grant.subnet, grant.addresses)
        self._record(owner, grant)

    def allocate(self, owner: Owner, subnet: str, addresses: Sequence[Address] = (), mac: str | None = None) -> Grant:
        """Grant the wanted addresses and MAC, or the next free ones where none are wanted. Raises RefusedError."""
        if subnet not in self.subnets:
            raise RefusedError(f"subnet {subnet} does not exist; the subnets are {format_list(sorted(self.subnets))}")
        chosen = tuple(addresses) or tuple(r.next() for r in self._ranges[subnet])
        mac = mac or self._unused_mac(subnet, chosen)
        self._check_holders(owner, subnet, chosen, mac)
        self._check_excluded(subnet, chosen)
        grant = Grant(subnet=subnet, addresses=chosen, mac=mac)
        self._record(owner, grant)
        return grant

    def release(self, uid: str) -> None:
        """Forget an owner that is proven gone. Releasing one that has nothing is no error."""
        grant = self.grants.pop(uid, None)
        if grant is None:
            return
        for address in grant.addresses:
            self._range(grant.subnet, address).release(address)
        del self._macs[grant.subnet, grant.mac]

    def _record(self, owner: Owner, grant: Grant) -> None:
        self.release(owner.uid)
        self.grants[owner.uid] = grant
        for address in grant.addresses:
            self._range(grant.subnet, address).take(address, owner)
        self._macs[grant.subnet, grant.mac] = owner

    def _check_excluded(self, subnet: str, addresses: Sequence[Address]) -> None:
        for address in addresses:
            if not self._range(subnet, address).usable(address):
                raise _unusable(subnet, address)

    def _check_holders(self, owner: Owner, subnet: str, addresses: Sequence[Address], mac: str) -> None:
        if subnet not in self.subnets:
            raise RefusedError(f"subnet {subnet} does not exist; the subnets are {format_list(sorted(self.subnets))}")
        for address in addresses:
            span = self._range(subnet, address)
            if not span.is_host(address) or address in self.subnets[subnet].gateways:
                raise _unusable(subnet, address)
            holder = span.owners.get(int(address))
            if holder is not None and holder.uid != owner.uid:
                raise RefusedError(f"AddressConflict: address {address} of subnet {subnet} is used by {holder.label}")
        holder = self._macs.get((subnet, mac))
        if holder is not None and holder.uid != owner.uid:
            raise RefusedError(f"AddressConflict: MAC address {mac} in subnet {subnet} is used by {holder.label}")

    def _range(self, subnet: str, address: Address) -> _Range:
        for span in self._ranges[subnet]:
            if address in span.network:
                return span
        raise RefusedError(
            f"address {address} is not in the CIDR {format_list(self.subnets[subnet].cidrs)} of subnet {subnet}"
        )

    def _unused_mac(self, subnet: str, addresses: Sequence[Address]) -> str:
        """A MAC that goes with the addresses: when they change hands, what neighbours remember stays true."""
        salt = 0
        while (subnet, (mac := names.derived_mac(subnet, format_list(addresses), str(salt)))) in self._macs:
            salt += 1
        return mac


def _unusable(subnet: str, address: Address) -> RefusedError:
    return RefusedError(
        f"address {address} cannot be used: it is the gateway, the network or broadcast address, "
        f"or excluded in subnet {subnet}"
    )


def _ranges(subnet: Subnet) -> Iterator[_Range]:
    for network in subnet.cidrs:
        first, last = int(network.network_address), int(network.broadcast_address)
        if isinstance(network, IPv4Network):
            last -= 1  # the broadcast address
        reserved = [(int(gateway), int(gateway)) for gateway in subnet.gateways if gateway in network]
        reserved += [
            (int(low), int(high))
            for low, high in subnet.exclude
            if low.version == network.version and int(low) <= last and int(high) >= first
        ]
        yield _Range(
            subnet=subnet.name,
            network=network,
            first=first + 1,
            last=last,
            reserved=_disjoint(reserved),
            fresh=first + 1,
        )


def _disjoint(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)
