"""What earlier passes granted, taken over into the ledger before anything new is handed out. Pure.

The witnesses are those of `topology.memory`. What cannot be taken over is no fault here: the unit gets, or is refused,
what it asks for, and its user is told when it is rendered.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from kube_ovn.model import names
from kube_ovn.model.kube import Node, Pod
from kube_ovn.model.network import Grant
from kube_ovn.topology.ipam import Ledger, Owner, RefusedError
from kube_ovn.topology.memory import remembered
from kube_ovn.topology.records import Records

Item = Node | Pod


class Adoption:
    """Takes grants over; of two that claim one address, in the order of their witnesses."""

    def __init__(self, join: str, records: Records, ledger: Ledger, confirmed: Mapping[str, Grant]) -> None:
        self._join, self._records, self._ledger = join, records, ledger
        self.confirmed = confirmed
        """Grants found in the Northbound database by the UID of the Pod or Node; for the first pass only."""

    def adopt(self, items: Iterable[Item], about: AbstractSet[str], *, first: bool) -> None:
        """Take over what is known of those that have no grant yet. `about`: names of IP objects that changed.

        First those whose ports and records agree, then the other ports, since they are in use, then what is recorded,
        then annotations.
        """
        new = [(item, owner) for item in sorted(items, key=age) if (owner := self._without_grant(item)) is not None]
        ports = [
            (owner, port, self._written(item, owner))
            for item, owner in new
            if (port := self.confirmed.get(item.metadata.uid))
        ]
        for owner, port, written in ports:
            if written is not None and _agree(port, written):
                self.take(owner, written, in_use=True)
        for owner, port, _ in ports:
            self._take_completed(owner, port, in_use=True)
        self._records.adopt(self._records.ips if first else about & self._records.ips.keys())
        for item, owner in new:
            if owner.key in self._ledger.grants:
                continue
            grant = remembered(item.metadata.annotations)
            if grant is not None and (grant.subnet == self._join) == isinstance(item, Node):
                self._take_completed(owner, grant, in_use=False)

    def take(self, owner: Owner, grant: Grant, *, in_use: bool) -> None:
        """Adopt one grant unless its owner has one, another has its addresses, or there is no such subnet."""
        if owner.key in self._ledger.grants:
            return
        try:
            self._ledger.adopt(owner, grant, in_use=in_use)
        except RefusedError:
            return

    def _without_grant(self, item: Item) -> Owner | None:
        holder = self._records.holders.get(ip_name(item))
        if holder is None or holder.uid != item.metadata.uid or holder.owner.key in self._ledger.grants:
            return None
        return holder.owner

    def _written(self, item: Item, owner: Owner) -> Grant | None:
        """What is recorded for a unit under its own name."""
        name = ip_name(item)
        own = self._records.own(name)
        return self._records.recorded(name) if own is not None and own.key == owner.key else None

    def _take_completed(self, owner: Owner, grant: Grant, *, in_use: bool) -> None:
        """Adopt a grant as its subnet would make it now: ports and annotations do not tell its gateways."""
        if owner.key in self._ledger.grants:
            return
        subnet = self._ledger.subnet(grant.subnet)
        pairs = [] if subnet is None else list(zip(subnet.cidrs, subnet.gateways, strict=True))
        gateways = tuple(gateway for each in grant.addresses for cidr, gateway in pairs if each in cidr)
        self.take(owner, replace(grant, gateways=gateways), in_use=in_use)


def ip_name(item: Item) -> str:
    """Name of the IP object of a Node or Pod."""
    meta = item.metadata
    return names.ip_object(
        names.node_port(meta.name) if isinstance(item, Node) else names.pod_port(meta.name, meta.namespace)
    )


def age(item: Item) -> tuple[str, str, str]:
    """Sorts the older first."""
    meta = item.metadata
    return (meta.creation_timestamp, meta.namespace, meta.name)


def _agree(one: Grant, other: Grant) -> bool:
    """Whether two witnesses tell the same; only a record knows of gateways."""
    return (one.subnet, one.addresses, one.mac) == (other.subnet, other.addresses, other.mac)
