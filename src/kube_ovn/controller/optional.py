"""The kinds of objects without which the controller goes on, and what it leaves alone meanwhile. Pure.

A kind may be missing (its definition is not installed) or forbidden. What was known of it stays known and in effect. If
nothing ever was, its objects are unknown, not absent: what an earlier controller made of them stays as it is.
"""

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet

from kube_ovn.controller.parts import NorthboundPlan, TargetOf
from kube_ovn.model.nb import AddressSet, ChassisTemplateVar, Dns, LoadBalancer, LoadBalancerHealthCheck
from kube_ovn.model.resource import ENDPOINT_SLICES, IPPOOLS, SERVICES, STATEFULSETS, VPCS
from kube_ovn.model.row import Key, Member

_OF_SERVICES = frozenset({each.TABLE for each in (LoadBalancer, LoadBalancerHealthCheck, ChassisTemplateVar, Dns)})

OPTIONAL: Mapping[str, AbstractSet[str]] = {
    SERVICES.name: _OF_SERVICES,
    ENDPOINT_SLICES.name: _OF_SERVICES,
    IPPOOLS.name: frozenset({AddressSet.TABLE}),
    STATEFULSETS.name: frozenset(),
    VPCS.name: frozenset(),
}
"""By kind, the tables whose rows are made of its objects. Without any other kind nothing can be decided."""


def kept(plan: NorthboundPlan, unknown: Collection[str], target_of: TargetOf) -> set[Key]:
    """The keys of a plan that stay as they are while these kinds are unknown: what would change or go of their rows."""
    tables = frozenset[str]().union(*(OPTIONAL[kind] for kind in unknown))
    return {key for key in (*plan.update, *plan.delete) if tables & _tables(key, target_of)} if tables else set()


def _tables(key: Key, target_of: TargetOf) -> set[str]:
    target = target_of(key) if isinstance(key, Member) else None
    return {key.table} if target is None else {key.table, target.table}
