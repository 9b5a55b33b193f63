"""Places with free addresses, for the users of Pods that get none where they asked: Subnets and IPPools.

They are looked up when messages become Events, not derived: they change with every grant, and no message is to be
worked out anew for that. Only places that are for the Pod's Namespace are named.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kube_ovn.derive import Source
from kube_ovn.model.crd import IPPool
from kube_ovn.model.network import Subnet
from kube_ovn.topology.addresses.ask import Place
from kube_ovn.topology.addresses.grants import READY, Occupancy
from kube_ovn.topology.addresses.span import Usage
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.subnets.namespace import Binding
from kube_ovn.topology.subnets.scope import Scopes, Tenant

MOST_NAMED = 5
MOST_COUNTED = 1_000_000
"""A larger number of free addresses says nothing more."""


@dataclass(frozen=True, slots=True)
class Room:
    """A place with free addresses: their number by IP version, the Namespaces that the place names."""

    place: Place
    free: dict[int, int]
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """The sources that show where Pods of a Namespace find an address."""

    fabric: Fabric
    bindings: Source[str, Binding]
    scopes: Scopes
    readiness: Source[str, str]
    effective: Source[str, Subnet]
    pools: Source[str, IPPool]
    occupancy: Source[str, Occupancy]

    def describe(self, namespaces: Iterable[str]) -> dict[str, str]:
        """The places with the most free addresses for Pods of each of these Namespaces, as the end of a sentence.
        Places that the Namespace is bound to come first, then IPPools that name it.
        """
        rooms = self._rooms()
        return {each: self._describe(rooms, each) for each in namespaces}

    def _describe(self, rooms: Sequence[Room], namespace: str) -> str:
        binding = self.bindings.values.get(namespace) or Binding(subnets=())
        tenant = Tenant(namespace, binding.subnets)

        def rank(room: Room) -> int:
            place = room.place
            if place.pool:
                return 0 if place.pool in binding.pools else 2 if namespace in room.namespaces else 3
            return 1 if place.subnet in binding.subnets else 3

        found = sorted((room for room in rooms if self._is_for(tenant, room)), key=rank)[:MOST_NAMED]
        if not found:
            return f"no subnet has a free address for Pods of Namespace {namespace}"
        return f"free for Pods of Namespace {namespace}: {', '.join(map(_format, found))}"

    def _is_for(self, tenant: Tenant, room: Room) -> bool:
        if room.namespaces:
            return self.fabric.trusts_tenants or tenant.namespace in room.namespaces
        return self.scopes.lets_in(tenant, room.place.subnet)

    def _rooms(self) -> list[Room]:
        """All places with free addresses of each of their families, those with the most first."""
        found = []
        for name, use in self.occupancy.values.items():
            if name == self.fabric.join or name not in self.effective.values:
                continue
            if self.readiness.values.get(name) == READY:
                found += _rooms_of(name, use, self.pools.values)
        return sorted((each for each in found if all(each.free.values())), key=_order)


def _rooms_of(subnet: str, use: Occupancy, pools: dict[str, IPPool]) -> list[Room]:
    """The pools of a subnet, and the rest of it."""
    found, rest = [], _count(use.usage)
    for name, usage in use.pools.items():
        free, pool = _count(usage), pools.get(name)
        for version, number in free.items():
            rest[version] -= number
        if pool is not None and free:
            found.append(Room(Place(subnet, name), free, pool.spec.namespaces))
    return [Room(Place(subnet), rest), *found] if rest else found


def _count(usage: Iterable[Usage]) -> dict[int, int]:
    return {each.version: each.available.size for each in usage}


def _order(room: Room) -> tuple[int, str, str]:
    return -min(room.free.values()), room.place.subnet, room.place.pool


def _format(room: Room) -> str:
    """`blue 12`, `IPPool few 3`, or `blue 12 IPv4 and 9 IPv6`."""
    texts = {version: _number(number) for version, number in room.free.items()}
    counted = " and ".join(f"{text} IPv{version}" for version, text in texts.items())
    name = f"IPPool {room.place.pool}" if room.place.pool else room.place.subnet
    return f"{name} {counted if len(texts) > 1 else ''.join(texts.values())}"


def _number(number: int) -> str:
    return str(number) if number <= MOST_COUNTED else f"over {MOST_COUNTED}"
