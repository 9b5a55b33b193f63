"""The registry: the ledger, the holder of each grant in it, and the collections to which both are published. The two
steps share it.
"""

from kube_ovn.model.network import Grant
from kube_ovn.topology.addresses.grants import Grants, Held, Occupancy
from kube_ovn.topology.addresses.ledger import Ledger, RefusedError
from kube_ovn.topology.addresses.span import Owner


class Registry:
    """The grants, the holder that each belongs to, and whether it was recorded for this holder."""

    def __init__(self, grants: Grants, router: str) -> None:
        """`router`: the router with a port in each subnet."""
        self.ledger = Ledger(router)
        self._grants = grants
        self._uids: dict[str, str] = {}  # UID of the holder that a grant belongs to for good, by the key of the owner
        self._recorded: set[str] = set()  # keys of grants that were recorded for their present holder
        self._changed: set[str] = set()  # keys of grants to put into the collections again

    def take(self, owner: Owner, grant: Grant, *, in_use: bool) -> None:
        """Adopt a grant, unless its owner has one, another owner has its addresses, or its subnet does not exist."""
        if owner.key in self.ledger.grants:
            return
        try:
            self.ledger.adopt(owner, grant, in_use=in_use)
        except RefusedError:
            return  # the holder asks anew, and its user is told when it gets nothing

    def has_holder(self, key: str) -> bool:
        """Whether a grant belongs to a holder for good."""
        return key in self._uids

    def give(self, key: str, uid: str) -> None:
        """Take over that a grant belongs to this holder from now on."""
        self._uids[key] = uid
        self._changed.add(key)

    def leave(self, key: str) -> None:
        """Take over that a grant has lost its holder, or a holder its grant."""
        self._uids.pop(key, None)
        self._recorded.discard(key)
        self._changed.add(key)

    def pass_on(self, old: str, new: Owner, grant: Grant) -> None:
        """Pass a grant on to another owner, with its holder."""
        uid, was_recorded = self._uids.get(old), old in self._recorded
        self.ledger.release(old)
        self.leave(old)
        self.take(new, grant, in_use=True)
        if new.key in self.ledger.grants and uid is not None:
            self._uids[new.key] = uid
            self._recorded |= {new.key} if was_recorded else set()

    def is_recorded(self, key: str) -> bool:
        """Whether a grant was recorded for its present holder."""
        return key in self._recorded

    def set_recorded(self, key: str) -> None:
        """Take over that a grant is recorded for its present holder."""
        if key not in self._recorded:
            self._recorded.add(key)
            self._changed.add(key)

    def set_unrecorded(self, key: str) -> None:
        """Take over that a grant is new: no IP object records it yet."""
        self._recorded.discard(key)

    def publish(self) -> None:
        """Put the grants and subnets that changed into the collections."""
        for key in self.ledger.take_changed() | self._changed:
            self._publish_grant(key)
        self._changed.clear()
        for name in self.ledger.take_touched():
            self._publish_subnet(name)

    def _publish_grant(self, key: str) -> None:
        grant, owner = self.ledger.grants.get(key), self.ledger.owner(key)
        if grant is None or owner is None:
            self._grants.held.drop(key)
            return
        uid = self._uids.get(key, "")
        self._grants.held.put(key, Held(owner, grant, uid, bool(uid) and key in self._recorded))

    def _publish_subnet(self, name: str) -> None:
        ledger, subnet = self.ledger, self.ledger.subnet(name)
        if subnet is None:
            self._grants.occupancy.drop(name)
            self._grants.in_use.drop(name)
            return
        self._grants.occupancy.put(
            name,
            Occupancy(
                usage=ledger.usage(name),
                pools={pool: ledger.usage(name, pool) for pool in ledger.pools(name)},
                old_gateways=ledger.old_gateways(name),
                owners=ledger.count(name),
            ),
        )
        if ledger.count(name):
            self._grants.in_use.put(name, subnet)
        else:
            self._grants.in_use.drop(name)
