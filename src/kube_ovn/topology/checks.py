"""Where Services' endpoints are checked from: one address in each subnet that has Pods to be checked.

OVN asks a Pod as if it were a host of its subnet, and answers for that host's address (ovn-nb(5), Load_Balancer,
`ip_port_mappings`). So nobody else may have it: it is granted to the Subnet and recorded as any grant is, and given
back when no Service asks for checks there.
"""

from collections.abc import Collection, Iterable, Mapping

from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.network import Grant
from kube_ovn.topology.claims import Name
from kube_ovn.topology.ipam import Ledger, Owner, RefusedError
from kube_ovn.topology.network import NetworkState
from kube_ovn.topology.records import Holder, Records
from kube_ovn.topology.service import Probe, Probes


class Checks:
    """Which Service asks for checks of which Pods."""

    def __init__(self, network: NetworkState, records: Records, ledger: Ledger) -> None:
        self._network, self._records, self._ledger = network, records, ledger
        self._seen: dict[str, str] = {}  # UIDs of wanted subnets by name, empty where one is not usable
        self._held: dict[str, str] = {}  # UIDs of those with an address to check from
        self._refused: dict[str, str] = {}  # why others have none
        self._records_of: dict[Name, frozenset[str]] = {}  # names of the IP objects that matter to a Service
        self._services_of: dict[str, set[Name]] = {}  # the other way round

    def ask(self, service: Name, ports: Mapping[Address, Iterable[str]]) -> Probes:
        """How Pods are to be checked: ports of those that an address may be of. Not those whose record does not say so.
        No address: the Service asks for nothing any more.
        """
        answer, found = Probes(), {}
        for address, those in ports.items():
            for port in those:
                grant = self._grant(names.ip_object(port))
                if grant is not None and address in grant.addresses:
                    found[address] = (port, grant.subnet)
        subnets = sorted({subnet for _, subnet in found.values()})
        pods = {names.ip_object(port) for those in ports.values() for port in those}
        self._follow(service, pods | set(map(names.checks_ip, subnets)))
        for subnet in subnets:
            self._hold(subnet)
            if subnet in self._refused:
                answer.refusals.append(self._refused[subnet])
        for address, (port, subnet) in found.items():
            grant = self._grant(names.checks_ip(subnet)) if subnet in self._held else None
            answer.waiting |= grant is None and subnet in self._held
            for source in grant.addresses if grant is not None else ():
                if source.version == address.version:
                    answer.found[address] = Probe(port=port, source=source)
        return answer

    def stale(self, about: Collection[str], touched: Collection[str], *, moved: bool) -> set[Name]:
        """Services whose Pods may have to be checked otherwise now. `about`: names of IP objects that changed;
        `touched`: subnets whose grants did; `moved`: whether subnets came or went.
        """
        if moved:
            return set(self._records_of)
        subnets = {name for name, uid in self._seen.items() if self._uid(name) != uid}
        subnets |= self._refused.keys() & set(touched)
        records = {*about, *map(names.checks_ip, subnets)}
        return {service for record in records for service in self._services_of.get(record, ())}

    def settle(self) -> None:
        """Give back what no Service asks for any more."""
        for name in [name for name in self._seen if names.checks_ip(name) not in self._services_of]:
            del self._seen[name]
            self._refused.pop(name, None)
            if name in self._held:
                self._leave(name)

    def _follow(self, service: Name, records: Collection[str]) -> None:
        """Remember what a Service depends on."""
        for record in self._records_of.pop(service, ()):
            self._services_of[record].discard(service)
            if not self._services_of[record]:
                del self._services_of[record]
        if records:
            self._records_of[service] = frozenset(records)
        for record in records:
            self._services_of.setdefault(record, set()).add(service)

    def _grant(self, record: str) -> Grant | None:
        """What a living holder of a record was granted, if that is written down."""
        if not self._records.is_recorded(record):
            return None
        return self._ledger.grants.get(self._records.holders[record].owner.key)

    def _uid(self, name: str) -> str:
        return self._network.subnets[name].metadata.uid if self._network.usable(name) else ""

    def _hold(self, name: str) -> None:
        """See to it that a subnet has an address to check from, or say why it has none."""
        record, uid = names.checks_ip(name), self._uid(name)
        self._seen[name] = uid
        self._refused.pop(name, None)
        in_the_way = self._records.reservation(record) is not None
        if name in self._held and (in_the_way or self._held[name] != uid):
            self._leave(name)
        if not uid:
            self._refused[name] = f"Subnet {name} is not ready or is being deleted"
        elif in_the_way:
            self._refused[name] = f"IP {record} is in the way; delete it"
        else:
            self._allocate(name, record, uid)

    def _allocate(self, name: str, record: str, uid: str) -> None:
        owner = Owner(uid, f"health checks in Subnet {name}")
        try:
            if owner.key not in self._ledger.grants:
                self._ledger.allocate(owner, name)
        except RefusedError as error:
            self._refused[name] = f"there is no address to check from: {error}"
            return
        self._held[name] = uid
        self._records.hold(record, _holder(name, uid, owner))
        self._records.settle(record, again=False)

    def _leave(self, name: str) -> None:
        self._records.leave(names.checks_ip(name), self._held.pop(name))


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
