"""Where Services' endpoints are checked from: one address in each subnet that has endpoints to be checked.

OVN asks an endpoint as if it were a host of its subnet, and answers for that host's address (ovn-nb(5), Load_Balancer,
`ip_port_mappings`). So nobody else may have it: it is granted to the Subnet and recorded as any grant is, and given
back when no Service asks for checks there. A user who reserves an address under the name of that record chooses it.
"""

from collections.abc import Collection, Iterable, Mapping

from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.crd import IP
from kube_ovn.topology.claims import Name
from kube_ovn.topology.ipam import Ledger, Owner, RefusedError
from kube_ovn.topology.memory import owner_of_ip
from kube_ovn.topology.network import NetworkState
from kube_ovn.topology.records import Holder, Records


class Checks:
    """Which Service has endpoints to be checked in which subnets."""

    def __init__(self, network: NetworkState, records: Records, ledger: Ledger) -> None:
        self._network, self._records, self._ledger = network, records, ledger
        self._wanted: dict[Name, frozenset[str]] = {}  # subnets by Service
        self._held: dict[str, str] = {}  # UIDs of the subnets that have an address for it, by name
        self._refused: dict[str, str] = {}  # why a subnet has none

    def ask(self, service: Name, endpoints: Iterable[Address]) -> tuple[Mapping[Address, Address], Collection[str]]:
        """Where endpoints of a Service are to be checked from, as far as that is recorded, and why some never are.
        Endpoints outside of the fabric are not checked. No endpoints: the Service asks for nothing any more.
        """
        subnets = {address: name for address in endpoints if (name := self._subnet_of(address))}
        if subnets:
            self._wanted[service] = frozenset(subnets.values())
        else:
            self._wanted.pop(service, None)
        for name in sorted(set(subnets.values())):
            self._hold(name)
        found = {address: source for address, name in subnets.items() if (source := self._source(name, address))}
        return found, [self._refused[name] for name in sorted(set(subnets.values())) if name in self._refused]

    def stale(self, about: Collection[str], *, moved: bool) -> set[Name]:
        """Services whose checks may come from elsewhere now. `about`: names of IP objects that changed; `moved`:
        whether subnets did.
        """
        changed = {name for name in self._held if names.checks_ip(name) in about} | self._refused.keys()
        return {service for service, wanted in self._wanted.items() if moved or not changed.isdisjoint(wanted)}

    def settle(self) -> None:
        """Give back what no Service asks for any more, and what is of a subnet that goes."""
        wanted = frozenset[str]().union(*self._wanted.values())
        for name in [name for name in self._held if name not in wanted or not self._network.usable(name)]:
            self._records.leave(names.checks_ip(name), self._held.pop(name))
        self._refused = {name: why for name, why in self._refused.items() if name in wanted}

    def _subnet_of(self, address: Address) -> str:
        for name, subnet in self._ledger.subnets.items():
            if name != self._network.fabric.join and subnet.holds(address) and self._network.usable(name):
                return name
        return ""

    def _hold(self, name: str) -> None:
        """See to it that a subnet has an address to check from."""
        uid, record = self._network.subnets[name].metadata.uid, names.checks_ip(name)
        reservation = self._records.reservation(record)
        owner = Owner(uid, f"health checks in Subnet {name}") if reservation is None else owner_of_ip(reservation)
        self._held[name] = uid
        self._records.hold(record, _holder(name, uid, owner))
        self._refused.pop(name, None)
        try:
            if owner.key not in self._ledger.grants:
                self._allocate(owner, name, reservation)
        except RefusedError as error:
            self._refused[name] = f"endpoints are not checked, there is no address to do it from: {error}"
        self._records.settle(record, again=False)

    def _allocate(self, owner: Owner, name: str, reservation: IP | None) -> None:
        if reservation is not None:
            raise RefusedError(f"IP {reservation.metadata.name} is made for that, and reserves nothing")
        self._ledger.allocate(owner, name)

    def _source(self, name: str, endpoint: Address) -> Address | None:
        record = names.checks_ip(name)
        if not self._records.is_recorded(record):
            return None
        grant = self._ledger.grants[self._records.holders[record].owner.key]
        return next((each for each in grant.addresses if each.version == endpoint.version), None)


def _holder(subnet: str, uid: str, owner: Owner) -> Holder:
    return Holder(
        uid=uid,
        owner=owner,
        owner_uid=uid,
        pod_type=names.CHECKS_TYPE,
        pod_name=subnet,
        namespace="",
        node="",
    )
