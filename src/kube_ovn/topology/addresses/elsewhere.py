"""Subnets with free addresses, for the users of Pods that get none where they asked.

They are looked up when a message becomes an Event, not derived: they change with every grant, and no message is to be
worked out anew for that. Only subnets that are for the Pod's Namespace are named.
"""

from dataclasses import dataclass

from kube_ovn.derive import Read, Source
from kube_ovn.model.network import Subnet
from kube_ovn.topology.addresses.grants import READY, Occupancy
from kube_ovn.topology.subnets.namespace import Binding
from kube_ovn.topology.subnets.scope import Scopes, Tenant

MOST_NAMED = 5
MOST_COUNTED = 1_000_000
"""A larger number of free addresses says nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """The sources that show where Pods of a Namespace find an address."""

    join: str
    bindings: Source[str, Binding]
    scopes: Scopes
    readiness: Source[str, str]
    effective: Source[str, Subnet]
    occupancy: Source[str, Occupancy]

    def describe(self, read: Read, namespace: str) -> str:
        """The subnets with the most free addresses for Pods of a Namespace, as the end of a sentence. Subnets that the
        Namespace is bound to come first.
        """
        binding = read.get(self.bindings, namespace)
        tenant = Tenant(namespace, () if binding is None else binding.subnets)
        found = []
        for name in read.all(self.effective):
            free = self._free(read, name)
            if free and all(free.values()) and not self.scopes.against_subnet(read, tenant, name):
                found.append((name not in tenant.subnets, -min(free.values()), name, free))
        if not found:
            return f"no subnet has a free address for Pods of Namespace {namespace}"
        named = ", ".join(f"{name} {_count(free)}" for *_, name, free in sorted(found)[:MOST_NAMED])
        return f"free for Pods of Namespace {namespace}: {named}"

    def _free(self, read: Read, name: str) -> dict[int, int]:
        """The number of addresses of a subnet that are free and in no pool, by IP version."""
        use = read.get(self.occupancy, name)
        if name == self.join or use is None or read.get(self.readiness, name) != READY:
            return {}
        free = {each.version: each.available.size for each in use.usage}
        for each in (each for usage in use.pools.values() for each in usage):
            free[each.version] -= each.available.size
        return free


def _count(free: dict[int, int]) -> str:
    """`12`, or `12 IPv4 and 9 IPv6`."""
    texts = {version: _number(number) for version, number in free.items()}
    if len(texts) == 1:
        return next(iter(texts.values()))
    return " and ".join(f"{text} IPv{version}" for version, text in texts.items())


def _number(number: int) -> str:
    return str(number) if number <= MOST_COUNTED else f"over {MOST_COUNTED}"
