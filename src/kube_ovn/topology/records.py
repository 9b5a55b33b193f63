"""`IP` objects: what records each grant, which of them are to be made, changed and removed.

A record is removed only on proof that its owner is gone: its Pod or Node is, or its StatefulSet is or has no place for
it any more; or, of the address that endpoints in a Subnet are checked from, that no Service asks for it. Reservations
are their user's. The addresses are free when the object is gone, not before.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from msgspec.structs import fields

from kube_ovn.model import names
from kube_ovn.model.addr import format_list
from kube_ovn.model.crd import IP, IPSpec, StatefulSet
from kube_ovn.model.history import Record
from kube_ovn.model.network import Grant, Kind, Problem, cluster_ref
from kube_ovn.model.writes import Aspect, Create, Delete, Patch, Write, WriteKey
from kube_ovn.topology.ipam import Ledger, Owner, RefusedError
from kube_ovn.topology.memory import is_reservation, owner_of_ip, parse_ip, recorded
from kube_ovn.topology.outbox import Outbox

MOST_DIGITS = 10
"""Of a StatefulSet's ordinal; anything longer is no number of a Pod."""
MOST_OF_A_LABEL = 400
"""Of a holder's label in the history: names of a Namespace and a Pod are no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A living Pod or Node, or a Subnet whose endpoints are checked, as its IP object is to name it."""

    uid: str
    owner: Owner
    owner_uid: str
    pod_type: str
    pod_name: str
    namespace: str
    node: str


class Records:
    """The IP objects by name, and who holds them."""

    def __init__(self, ledger: Ledger, outbox: Outbox) -> None:
        self._ledger, self._outbox = ledger, outbox
        self.ips: dict[str, IP] = {}
        self.holders: dict[str, Holder] = {}
        self._names: dict[str, str] = {}  # by UID
        self._grants: dict[str, Grant | None] = {}  # what the objects record, by name
        self._owners: dict[str, Owner] = {}  # whose grants these are
        self._sets: Mapping[str, StatefulSet] = {}
        self._sticky: dict[str, set[str]] = {}  # names by the UID of their StatefulSet
        self._refused: set[str] = set()  # names of objects whose addresses could not be adopted

    def look_at(
        self, ips: Mapping[str, IP], sets: Mapping[str, StatefulSet], changed: Collection[str] | None
    ) -> set[str]:
        """Take over what changed of the objects; the names it is about."""
        self._sets = sets
        uids = {*ips, *self._names} if changed is None else changed
        affected: set[str] = set()
        for uid in [uid for uid in uids if uid in self._names and uid not in ips]:
            affected.add(self._drop(uid))
        for uid in uids:
            if (ip := ips.get(uid)) is not None and self.ips.get(ip.metadata.name) is not ip:
                self._put(ip)
                affected.add(ip.metadata.name)
        for uid in self._sticky if changed is None else changed:
            affected |= self._sticky.get(uid, set())
        return affected

    def own(self, name: str) -> Owner | None:
        """Whose grant the object of this name records; None when there is none."""
        return self._owners.get(name)

    def recorded(self, name: str) -> Grant | None:
        """The grant that the object of this name records; None for what somebody damaged, and where there is none."""
        return self._grants.get(name)

    def reservation(self, name: str) -> IP | None:
        ip = self.ips.get(name)
        return ip if ip is not None and is_reservation(ip) else None

    def is_recorded(self, name: str) -> bool:
        """Whether what the holder of a name was granted is written down."""
        ip, holder = self.ips.get(name), self.holders.get(name)
        if ip is None or holder is None or self._owners[name].key != holder.owner.key:
            return False
        grant = self._ledger.grants.get(holder.owner.key)
        return grant is not None and (is_reservation(ip) or self._grants[name] == grant)

    def hold(self, name: str, holder: Holder) -> None:
        """There is a living holder of a name now."""
        self.holders[name] = holder

    def leave(self, name: str, uid: str) -> None:
        """A holder is gone. What was never recorded is free at once."""
        holder = self.holders.get(name)
        if holder is None or holder.uid != uid:
            return
        del self.holders[name]
        own = self.own(name)
        if own is None or own.key != holder.owner.key:
            self._ledger.release(holder.owner.key)
        self.settle(name, again=False)

    def adopt(self, those: Iterable[str]) -> None:
        """Take recorded grants into the ledger, whoever their owners are, so that nobody else is given them. Of two
        that claim one address the one that was complete before has it, then the older.
        """
        for name in sorted(those, key=lambda name: (not self.ips[name].spec.mac_address, _age(self.ips[name]))):
            self._adopt(self.ips[name])

    def retry(self) -> set[str]:
        """Adopt what could not be before; the names of those that could be now."""
        refused, self._refused = self._refused & self.ips.keys(), set()
        self.adopt(refused)
        for name in refused:
            self.settle(name, again=False)
        return refused - self._refused

    def _adopt(self, ip: IP) -> None:
        owner = self._owners[ip.metadata.name]
        if owner.key in self._ledger.grants:
            return
        if is_reservation(ip):
            self._adopt_reservation(ip, owner)
        elif (grant := self._grants[ip.metadata.name]) is not None:
            try:
                self._ledger.adopt(owner, grant, in_use=True)
            except RefusedError:
                # Another uses it: the object is made anew when its owner has another grant.
                self._refused.add(ip.metadata.name)

    def settle(self, name: str, *, again: bool) -> None:
        """Work out what is to be written about a name. `again`: also if the same was to be written before."""
        write, key = self._write(name), WriteKey(f"{Kind.IP} {name}", Aspect.OBJECT)
        if again or write != self._outbox.writes.get(key):
            self._outbox.put(key, write)

    def leaving(self, subnets: Collection[str]) -> bool:
        """Whether some address of these subnets is about to be free."""
        return any(
            isinstance(write, Delete) and write.record is not None and write.record.subnet in subnets
            for write in self._outbox.writes.values()
        )

    def _put(self, ip: IP) -> None:
        name = ip.metadata.name
        before, owner = self.ips.get(name), owner_of_ip(ip)
        if before is not None and (before.metadata.uid, self._owners[name].key) != (ip.metadata.uid, owner.key):
            self._drop(before.metadata.uid)  # it is another's now
        self.ips[name], self._owners[name], self._names[ip.metadata.uid] = ip, owner, name
        self._grants[name] = recorded(ip)
        if ip.spec.pod_type == names.STATEFULSET:
            self._sticky.setdefault(ip.spec.owner_uid, set()).add(name)

    def _drop(self, uid: str) -> str:
        """An object is gone, and with it the claim of an owner that is gone; a living one keeps its address."""
        name = self._names.pop(uid)
        ip = self.ips.pop(name)
        del self._grants[name]
        self._outbox.tell(uid, None)
        if ip.spec.pod_type == names.STATEFULSET:
            self._sticky[ip.spec.owner_uid].discard(name)
        owner, holder = self._owners.pop(name), self.holders.get(name)
        if holder is None or holder.owner.key != owner.key:
            self._ledger.release(owner.key)
        return name

    def _write(self, name: str) -> Write | None:
        ip, holder = self.ips.get(name), self.holders.get(name)
        grant = None if holder is None else self._ledger.grants.get(holder.owner.key)
        if ip is None:
            return None if holder is None or grant is None else _create(name, holder, grant)
        if is_reservation(ip):
            return self._complete(ip)
        owner = self._owners[name]
        if holder is not None and holder.owner.key == owner.key:
            if (grant is not None and self._grants[name] != grant) or self._is_anothers(ip, owner):
                return self._delete(ip)
            return _move(ip, holder) if ip.spec.node_name != holder.node else None
        if ip.spec.pod_type == names.STATEFULSET and self._has_place(ip) and holder is None:
            return self._delete(ip) if self._is_anothers(ip, owner) else None
        return self._delete(ip)

    def _is_anothers(self, ip: IP, owner: Owner) -> bool:
        """Whether an object says what is not so: a dead controller's, that landed when another had decided already."""
        claimed = self._grants[ip.metadata.name]
        holders = [self._ledger.holder(claimed.subnet, each) for each in claimed.addresses] if claimed else []
        return any(holder is not None and holder.key != owner.key for holder in holders)

    def _has_place(self, ip: IP) -> bool:
        """Whether its StatefulSet still wants the Pod of an IP object."""
        parent, number = self._sets.get(ip.spec.owner_uid), ip.spec.pod_name.rpartition("-")[2]
        if parent is None or not number.isdecimal():
            return False
        return len(number) < MOST_DIGITS and 0 <= int(number) - parent.spec.ordinals.start < parent.spec.replicas

    def _delete(self, ip: IP) -> Delete:
        meta, spec = ip.metadata, ip.spec
        is_held = names.FINALIZER in meta.finalizers
        return Delete(
            object=cluster_ref(Kind.IP, meta.name, meta.uid),
            finalizer=names.FINALIZER if is_held else "",
            position=meta.finalizers.index(names.FINALIZER) if is_held else 0,
            record=Record(
                addresses=spec.ip_address,
                mac=spec.mac_address,
                subnet=spec.subnet,
                holder=self._owners[meta.name].label[:MOST_OF_A_LABEL],
                uid=spec.owner_uid,
                since=meta.creation_timestamp,
                until="",
            ),
        )

    def _adopt_reservation(self, ip: IP, owner: Owner) -> None:
        ref = cluster_ref(Kind.IP, ip.metadata.name, ip.metadata.uid)
        try:
            subnet, addresses, mac, _ = parse_ip(ip)
            versions = tuple(address.version for address in addresses)
            self._ledger.allocate(owner, subnet, versions, addresses, mac)
            self._outbox.tell(ref.uid, None)
        except (RefusedError, ValueError) as error:
            self._refused.add(ip.metadata.name)
            message = f"IP {ref.name} reserves nothing: {error}"
            self._outbox.tell(ref.uid, Problem(object=ref, reason=names.ACQUIRE_ADDRESS_FAILED, message=message))

    def _complete(self, ip: IP) -> Patch | None:
        """What a user left out of a reservation, so that `kubectl get ip` shows it like any other."""
        grant = self._ledger.grants.get(ip.metadata.uid)
        if grant is None:
            return None
        wanted = _addressing(grant)
        missing = {key: value for key, value in wanted.items() if value and not getattr(ip.spec, _FIELDS[key])}
        labels = {names.IP_SUBNET: names.label_value(grant.subnet), names.IP_RESERVED: "true"}
        unlabelled = {key: value for key, value in labels.items() if ip.metadata.labels.get(key) != value}
        if not missing and not unlabelled:
            return None
        ref = cluster_ref(Kind.IP, ip.metadata.name, ip.metadata.uid)
        return Patch(object=ref, body={"metadata": {"labels": unlabelled}, "spec": missing})


_FIELDS = {field.encode_name: field.name for field in fields(IPSpec)}


def _age(ip: IP) -> tuple[str, str]:
    return (ip.metadata.creation_timestamp, ip.metadata.name)


def _addressing(grant: Grant) -> dict[str, str]:
    """The fields of an IP object's spec that say what was granted."""
    by_version = {address.version: str(address) for address in grant.addresses}
    return {
        "subnet": grant.subnet,
        "ipAddress": format_list(grant.addresses),
        "v4IpAddress": by_version.get(4, ""),
        "v6IpAddress": by_version.get(6, ""),
        "macAddress": grant.mac,
        "gateway": format_list(grant.gateways),
    }


def _create(name: str, holder: Holder, grant: Grant) -> Create:
    labels = {
        names.IP_SUBNET: names.label_value(grant.subnet),
        names.IP_NODE: names.label_value(holder.node),
        names.IP_RESERVED: "false",
    }
    if names.label_value(grant.subnet):
        labels[grant.subnet] = ""  # the contract has a subnet's name as a key too
    return Create(
        object=cluster_ref(Kind.IP, name),
        body={
            "metadata": {"name": name, "labels": labels, "finalizers": [names.FINALIZER]},
            "spec": {
                **_addressing(grant),
                "podName": holder.pod_name,
                "namespace": holder.namespace,
                "nodeName": holder.node,
                "podType": holder.pod_type,
                "ownerUID": holder.owner_uid,
            },
        },
    )


def _move(ip: IP, holder: Holder) -> Patch:
    """Its Pod runs on another node now."""
    ref = cluster_ref(Kind.IP, ip.metadata.name, ip.metadata.uid)
    labels = {names.IP_NODE: names.label_value(holder.node)}
    return Patch(object=ref, body={"metadata": {"labels": labels}, "spec": {"nodeName": holder.node}})
