"""The step `recall`, before anything is decided on subnets: it releases the grants that end, and takes over those of
earlier passes, as `addresses.memory` reads them. The memory that lasts is in Kubernetes (IP objects), so a new process
comes to the same grants as this one.

A grant lives as long as it has a witness: a living holder with the key of the grant's owner, or an IP object that
records the grant.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from kube_ovn.derive import Graph, News, Source
from kube_ovn.model import names
from kube_ovn.model.addr import Address, format_list
from kube_ovn.model.crd import IP
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.topology.addresses.grants import ANOTHERS, UNFIT, Grants
from kube_ovn.topology.addresses.holders import Holder, Holders
from kube_ovn.topology.addresses.ledger import ConflictError, RefusedError
from kube_ovn.topology.addresses.memory import Recorded, is_completed, parse_ip, remembered, reports
from kube_ovn.topology.addresses.own import is_reservation, node_record
from kube_ovn.topology.addresses.registry import Registry
from kube_ovn.topology.addresses.span import Owner
from kube_ovn.topology.inputs import Inputs


class Recall:
    """The witnesses of grants (holders and IP objects), and the grant of which each of them is a witness."""

    def __init__(
        self,
        inputs: Inputs,
        recorded: Source[str, Recorded],
        grants: Grants,
        registry: Registry,
        join: str,
        confirmed: Mapping[str, Grant],
        released: Mapping[str, Iterable[Address]],
    ) -> None:
        """`confirmed`: grants found in the Northbound database, by the UID of the Pod or Node. `released`: addresses
        that were in use before, by subnet, in the order of their release.
        """
        self._inputs, self._recorded, self._grants, self._join = inputs, recorded, grants, join
        self._registry, self._ledger = registry, registry.ledger
        self._confirmed, self._released = confirmed, released
        self._holders: dict[str, Holder] = {}  # by record
        self._records: dict[str, Recorded] = {}  # by the name of the IP object
        self._witnesses: Counter[str] = Counter()  # number of holders and IP objects, by the key of their owner
        self._by_key: dict[str, Holder] = {}  # living holders by the key of their owner
        self._unmet: set[str] = set()  # records of holders that lack the grant which their port or annotations hold
        self._is_first = True

    def define(
        self,
        graph: Graph,
        holders: Holders,
        checks: Source[str, Holder],
        in_effect: Source[str, Subnet],
    ) -> None:
        """Add the step."""
        self._pods, self._nodes, self._checks = holders.pods, holders.nodes, checks
        self._in_effect = in_effect
        inputs = (holders.pods, holders.nodes, checks, self._recorded, self._inputs.standing, in_effect)
        graph.step("recall addresses", inputs, self._recall)

    def _recall(self, news: News) -> None:
        entered = [name for name in news.of(self._in_effect) if self._enter(name)]
        left: dict[str, None] = {}
        records = self._look_at_records(news, left)
        holders = self._look_at_holders(news, left)
        for key in left:
            if key not in self._witnesses:
                self._ledger.release(key)
                self._registry.leave(key)
        if entered:
            holders |= self._unmet
            records |= self._grants.disputed.values.keys()
        self._adopt(holders, records)
        if self._is_first and self._inputs.standing.values:
            self._is_first, self._confirmed = False, {}
            for name, addresses in self._released.items():
                self._ledger.remember_released(name, addresses)
        self._registry.publish()

    def _enter(self, name: str) -> bool:
        """Take a subnet that is in effect into the ledger. Returns whether the subnet is new there: then grants in it
        can be taken over.
        """
        subnet = self._in_effect.values.get(name)
        if subnet is None or self._ledger.subnet(name) is not None:
            return False
        self._ledger.put_subnet(subnet)
        return True

    def _look_at_records(self, news: News, left: dict[str, None]) -> set[str]:
        """Take over the IP objects that changed. Returns their names; adds to `left` the keys that lost a witness."""
        changed = set(news.of(self._recorded))
        for name in changed:
            before, record = self._records.pop(name, None), self._recorded.values.get(name)
            if before is not None:
                self._forget_witness(before.owner.key, left)
            self._grants.disputed.drop(name)
            if record is not None:
                self._records[name] = record
                self._witnesses[record.owner.key] += 1
        return changed

    def _look_at_holders(self, news: News, left: dict[str, None]) -> set[str]:
        """Take over the holders that came, went, or have another owner. Returns the records of those that changed; adds
        to `left` the keys that lost a witness.
        """
        changed: dict[str, Holder | None] = {}
        for source in (self._pods, self._nodes, self._checks):
            self._collect(source, news, changed)
        for record, holder in changed.items():
            before = self._holders.pop(record, None)
            if before is not None:
                self._replace_holder(before, holder, left)
        for record, holder in changed.items():
            self._unmet.discard(record)
            if holder is not None:
                self._holders[record] = self._by_key[holder.owner.key] = holder
                self._witnesses[holder.owner.key] += 1
        return set(changed)

    def _collect(self, source: Source[str, Holder], news: News, changed: dict[str, Holder | None]) -> None:
        """Collect the holders of one kind that changed, by record. The present holder of a record counts, not the
        former one.
        """
        for key in news.of(source):
            record = self._record_of(source, key)
            if (holder := source.values.get(key)) is None:
                changed.setdefault(record, None)
            else:
                changed[record] = holder

    def _record_of(self, source: Source[str, Holder], key: str) -> str:
        if source is self._pods:
            return key
        return node_record(key) if source is self._nodes else names.checks_ip(key)

    def _replace_holder(self, before: Holder, now: Holder | None, left: dict[str, None]) -> None:
        """Take over that a record has another holder now, or a holder with another owner."""
        key, same = before.owner.key, now is not None and now.uid == before.uid
        if now is not None and same and now.owner.key != key:
            self._change_owner(before.owner, now)
        self._forget_witness(key, left)
        if self._by_key.get(key) is before:
            del self._by_key[key]
        if not same:
            self._registry.leave(key)

    def _forget_witness(self, key: str, left: dict[str, None]) -> None:
        self._witnesses[key] -= 1
        if not self._witnesses[key]:
            del self._witnesses[key]
        left[key] = None

    def _change_owner(self, old: Owner, holder: Holder) -> None:
        """A reservation came or went under a living holder: the grant of the holder passes to its new owner. A
        reservation of another address gets a grant of its own; this happens only before the holder uses its grant.
        """
        new, grant, record = holder.owner, self._ledger.grants.get(old.key), self._records.get(holder.ip)
        if grant is None or new.key in self._ledger.grants:
            return
        if holder.pod_type != names.STATEFULSET and not self._registry.has_holder(old.key):
            return  # a reservation that its Pod was not given
        if record is not None and record.owner.key == new.key and not _agrees(record.ip, grant):
            return
        self._registry.pass_on(old.key, new, grant)

    def _adopt(self, holders: set[str], records: set[str]) -> None:
        """Take over the grants of holders and IP objects that have none yet. Of two witnesses that claim one address,
        the first in this order counts: a port that agrees with the record, any other port (its address is in use), a
        record, annotations.
        """
        new = sorted(
            (
                holder
                for record in holders
                if (holder := self._holders.get(record)) is not None and holder.owner.key not in self._ledger.grants
            ),
            key=self._age,
        )
        ports = [(holder, port) for holder in new if (port := self._confirmed.get(holder.uid)) is not None]
        for holder, port in ports:
            record = self._records.get(holder.ip)
            if record is not None and record.owner.key == holder.owner.key and _same(port, record.grant):
                self._take_recorded(record)
        for holder, port in ports:
            self._take_completed(holder.owner, port, in_use=True)
        for holder, _ in ports:
            if holder.owner.key in self._ledger.grants:
                self._registry.give(holder.owner.key, holder.uid)
                self._registry.set_recorded(holder.owner.key)
        self._adopt_records(records)
        for holder in new:
            if holder.owner.key not in self._ledger.grants:
                grant = self._annotated(holder)
                if grant is not None and (grant.subnet == self._join) == (holder.pod_type == names.NODE_TYPE):
                    self._take_completed(holder.owner, grant, in_use=False)
        for name in holders:
            if (found := self._holders.get(name)) is not None:
                self._bind_holder(found)

    def _bind_holder(self, holder: Holder) -> None:
        """Give the grant of an owner to its holder. The grant of a StatefulSet's Pod or of a reservation stays open
        while the Pod's annotations hold no grant: the next Pod of the name may get another address, or none as long as
        its annotations cannot be used. A Pod that is connected with what is reserved keeps it.
        """
        key = holder.owner.key
        if key not in self._ledger.grants:
            if holder.uid in self._confirmed or self._annotated(holder) is not None:
                self._unmet.add(holder.record)
            return
        self._unmet.discard(holder.record)
        if self._ledger.owner(key) != holder.owner:
            self._ledger.relabel(holder.owner)
        is_its_own = self._is_connected(holder) if self._is_reserved(holder) else holder.pod_type != names.STATEFULSET
        is_open = not is_its_own and self._annotated(holder) is None
        if not is_open and not self._registry.has_holder(key):
            self._registry.give(key, holder.uid)
        self._see_recorded(key)

    def _is_reserved(self, holder: Holder) -> bool:
        """Whether the grant of a holder is that of a reservation."""
        record = self._records.get(holder.ip)
        return record is not None and record.owner.key == holder.owner.key and is_reservation(record.ip)

    def _is_connected(self, holder: Holder) -> bool:
        """Whether the kubelet reports the addresses of its grant for a Pod."""
        pod, grant = self._inputs.pods.values.get(holder.record), self._ledger.grants.get(holder.owner.key)
        return pod is not None and grant is not None and reports(pod, grant)

    def _adopt_records(self, records: Iterable[str]) -> None:
        """Take over the grants that IP objects record. Of two objects that claim one address, a reservation that was
        never granted comes last; of others, the older one comes first.
        """
        there = [self._records[name] for name in records if name in self._records]
        for record in sorted(there, key=lambda each: (_is_wish(each.ip), *_age(each.ip))):
            dispute = self._adopt_record(record)
            if dispute is None:
                self._grants.disputed.drop(record.ip.metadata.name)
            else:
                self._grants.disputed.put(record.ip.metadata.name, dispute)
            if (holder := self._by_key.get(record.owner.key)) is not None:
                self._bind_holder(holder)

    def _adopt_record(self, record: Recorded) -> str | None:
        """Take over the grant that an IP object records. Returns why the grant cannot be taken over, as in
        `Grants.disputed`; None when nothing forbids it.
        """
        key = record.owner.key
        if (held := self._ledger.grants.get(key)) is not None:
            if self._registry.is_recorded(key) or not _contradicts(record.ip, held):
                return None
            self._ledger.release(key)
            self._registry.leave(key)
        try:
            if is_reservation(record.ip):
                self._reserve(record)
            elif record.grant is not None:
                self._ledger.adopt(record.owner, record.grant, in_use=True)
        except (RefusedError, ValueError) as error:
            if is_reservation(record.ip):
                return str(error)
            return ANOTHERS if isinstance(error, ConflictError) else UNFIT
        return None

    def _reserve(self, record: Recorded) -> None:
        """Grant the addresses that a reservation asks for. A reservation that was granted once keeps its address, also
        when the subnet excludes the address now. Its gateways are those of the subnet at that time: any other address
        may be another owner's. Raises RefusedError, ValueError.
        """
        subnet, addresses, mac, gateways = parse_ip(record.ip)
        if is_completed(record.ip) and mac is not None:
            grant = Grant(subnet=subnet, addresses=addresses, mac=mac, gateways=gateways)
            self._ledger.adopt(record.owner, grant, in_use=True)
            return
        served = self._gateways(subnet, addresses)
        if served and gateways and gateways != served:
            raise RefusedError(
                f"its gateway {format_list(gateways)} is not that of subnet {subnet}, {format_list(served)}; "
                "delete this IP and make another without a gateway"
            )
        versions = tuple(address.version for address in addresses)
        self._ledger.allocate(record.owner, subnet, versions, addresses, mac)

    def _take_recorded(self, record: Recorded) -> None:
        if record.grant is not None:
            self._registry.take(record.owner, record.grant, in_use=True)

    def _take_completed(self, owner: Owner, grant: Grant, *, in_use: bool) -> None:
        """Adopt the grant of a port or of annotations, with the gateways of its subnet now: no gateways are read from
        there.
        """
        gateways = self._gateways(grant.subnet, grant.addresses)
        self._registry.take(owner, replace(grant, gateways=gateways), in_use=in_use)

    def _gateways(self, name: str, addresses: Iterable[Address]) -> tuple[Address, ...]:
        """The gateways of a subnet now for some addresses, in the order of these; none for an address outside."""
        subnet = self._ledger.subnet(name)
        pairs = [] if subnet is None else list(zip(subnet.cidrs, subnet.gateways, strict=True))
        return tuple(gateway for each in addresses for cidr, gateway in pairs if each in cidr)

    def _annotated(self, holder: Holder) -> Grant | None:
        """The grant that the annotations of a Pod or Node told of when the holder was looked at last. They are no input
        of the step: an edit of them gives a holder no address.
        """
        if holder.pod_type == names.CHECKS_TYPE:
            return None
        item = (
            self._inputs.nodes.values.get(holder.pod_name)
            if holder.pod_type == names.NODE_TYPE
            else self._inputs.pods.values.get(holder.record)
        )
        return None if item is None else remembered(item)

    def _age(self, holder: Holder) -> tuple[str, str, str]:
        """A sort key: older holders come first."""
        if holder.pod_type == names.NODE_TYPE:
            item = self._inputs.nodes.values.get(holder.pod_name)
            return ("" if item is None else item.metadata.creation_timestamp, "", holder.pod_name)
        pod = self._inputs.pods.values.get(holder.record)
        return ("" if pod is None else pod.metadata.creation_timestamp, holder.namespace, holder.pod_name)

    def _see_recorded(self, key: str) -> None:
        """Remember when a grant is recorded for its present holder."""
        holder, held = self._by_key.get(key), self._ledger.grants.get(key)
        if holder is None or held is None:
            return
        record = self._records.get(holder.ip)
        if record is not None and record.owner.key == key and record.grant == held:
            self._registry.set_recorded(key)

    # --- for the step `allocate` ---

    def lose(self, keys: Iterable[str]) -> set[str]:
        """Take over that these owners lost their grants with a subnet. Returns the names of the IP objects that record
        grants of these owners.
        """
        lost = set(keys)
        for key in lost:
            self._registry.leave(key)
            if (holder := self._by_key.get(key)) is not None:
                self._bind_holder(holder)
        return {name for name, record in self._records.items() if record.owner.key in lost} if lost else set()

    def adopt_again(self, records: set[str]) -> None:
        """Take over the grants that could not be taken over before: addresses are free now. `records`: names of IP
        objects to look at besides.
        """
        self._adopt(set(self._unmet), records | self._grants.disputed.values.keys())

    def judge_again(self) -> None:
        """Look again why grants of IP objects cannot be taken over: addresses have another owner now."""
        self._adopt_records(list(self._grants.disputed.values))

    def give(self, owner: Owner, record: str, uid: str, *, is_new: bool) -> None:
        """The grant of an owner belongs to this holder for good. `is_new`: it was just made."""
        if is_new:
            self._registry.set_unrecorded(owner.key)
            self._unmet.discard(record)
        self._registry.give(owner.key, uid)
        self._see_recorded(owner.key)

    def leaving(self, record: str) -> Grant | None:
        """The grant that ends when an IP object is gone; None when none does."""
        found = self._records.get(record)
        grant = None if found is None else self._ledger.grants.get(found.owner.key)
        return grant if found is not None and found.grant == grant else None


def _is_wish(ip: IP) -> bool:
    """Whether an IP object is a reservation that was never granted."""
    return is_reservation(ip) and not is_completed(ip)


def _age(ip: IP) -> tuple[str, str]:
    return (ip.metadata.creation_timestamp, ip.metadata.name)


def _same(one: Grant, other: Grant | None) -> bool:
    """Whether two witnesses hold the same grant. Gateways are not compared: they are read from records only."""
    return other is not None and (one.subnet, one.addresses, one.mac) == (other.subnet, other.addresses, other.mac)


def _contradicts(ip: IP, grant: Grant) -> bool:
    """Whether a reservation says something else than what was granted for it: its user was faster than the controller,
    which fills in what the user left open.
    """
    if not is_reservation(ip):
        return False
    try:
        subnet, addresses, mac, gateways = parse_ip(ip)
    except ValueError:
        return True
    same = subnet == grant.subnet and set(addresses) <= set(grant.addresses)
    return not (same and mac in (None, grant.mac) and gateways in ((), grant.gateways))


def _agrees(ip: IP, grant: Grant) -> bool:
    """Whether a reservation is for addresses of this grant."""
    try:
        subnet, addresses, _, _ = parse_ip(ip)
    except ValueError:
        return False
    return subnet == grant.subnet and set(addresses) <= set(grant.addresses)
