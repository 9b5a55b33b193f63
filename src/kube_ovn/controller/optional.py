"""The rows that the controller leaves alone while a kind of object that may be missing is. Pure.

A kind may be missing (its definition is not installed) or forbidden. Objects of it that are known stay known and in
effect. If it was never listed, its objects are unknown, not absent: the rows that an earlier controller made of them
stay as they are, and no new row comes beside them, for it may be what one of them has to become.
"""

import re
from collections.abc import Collection, Iterator

from kube_ovn.controller.parts import NorthboundPlan, TargetOf, parent_of, rows_of
from kube_ovn.model.nb import Acl, AddressSet, LogicalSwitchPort, PortGroup
from kube_ovn.model.resource import ADMIN_POLICIES, BASELINE_POLICIES, CLUSTER_POLICIES
from kube_ovn.model.row import Key, Member, RowKey, State
from kube_ovn.topology.inputs import OPTIONAL

_POLICIES = frozenset({each.name for each in (ADMIN_POLICIES, BASELINE_POLICIES, CLUSTER_POLICIES)})
_NAMED = re.compile(r"([@$])([\w.]+)")
_TABLES = {"@": PortGroup.TABLE, "$": AddressSet.TABLE}


def kept(
    plan: NorthboundPlan, unknown: Collection[str], owned: State, target_of: TargetOf, absent: Collection[str] = ()
) -> set[Key]:
    """The keys of a plan that are left as they are in the database (`owned`) while these kinds are unknown: the rows of
    their tables, and the memberships that join such rows; and what is made of cluster-wide policies. `absent`: the
    kinds among them that the API server does not have.
    """
    tables = frozenset[str]().union(*(OPTIONAL[kind] for kind in unknown))
    of_policies = _kept_of_policies(plan, set(unknown).difference(absent), owned)
    if not tables:
        return of_policies
    return of_policies | {
        key
        for key in plan
        if any(row.table in tables and not _is_other_set(row, owned) for row in rows_of(key, target_of))
    }


def _is_other_set(row: RowKey, owned: State) -> bool:
    """Whether a row is an Address_Set that is made of no IPPool. A new one is: no IPPool is known."""
    there = owned.get(row)
    return row.table == AddressSet.TABLE and (there is None or "ippool" not in there.external_ids)


def _kept_of_policies(plan: NorthboundPlan, unknown: Collection[str], owned: State) -> set[Key]:
    """The keys of a plan that are left as they are while kinds of cluster-wide policies are unknown, and not absent:
    what they deny stays denied. That is the ACLs that an earlier controller made of them, and the groups and sets that
    these name and nothing else wants. Other policies come and go meanwhile.
    """
    marks = tuple(f"{kind}/" for kind in _POLICIES.intersection(unknown))
    acls = {key: row for key, row in _acls(plan, owned) if row.external_ids.get("policy", "").startswith(marks)}
    if not marks or not acls:
        return set()
    named = {RowKey(_TABLES[sign], name) for row in acls.values() for sign, name in _NAMED.findall(row.match)}
    rows = {*acls, *(named & plan.delete.keys())}
    return {*rows, *(key for key in plan.delete if isinstance(key, Member) and _stays(key, rows, plan))}


def _acls(plan: NorthboundPlan, owned: State) -> Iterator[tuple[RowKey, Acl]]:
    for key in plan.delete:
        row = owned.get(key)
        if isinstance(key, RowKey) and isinstance(row, Acl):
            yield key, row


def _stays(member: Member, rows: Collection[Key], plan: NorthboundPlan) -> bool:
    """Whether a membership that nothing wants belongs to rows that stay. A port that goes leaves its groups."""
    if member.table == PortGroup.TABLE and member.column == "acls":
        return RowKey(Acl.TABLE, member.target) in rows
    if member.column == "ports" and RowKey(LogicalSwitchPort.TABLE, member.target) in plan.delete:
        return False
    return parent_of(member) in rows
