"""The kinds of objects without which the controller goes on, and the rows that it leaves alone meanwhile. Pure.

A kind may be missing (its definition is not installed) or forbidden. Objects of it that are known stay known and in
effect. If it was never listed, its objects are unknown, not absent: the rows that an earlier controller made of them
stay as they are.
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
"""By kind, the tables with rows made of its objects. All other kinds are required: nothing is decided without them."""


def kept(plan: NorthboundPlan, unknown: Collection[str], target_of: TargetOf) -> set[Key]:
    """The keys of a plan that stay as they are while these kinds are unknown: their rows that would change or go."""
    tables = frozenset[str]().union(*(OPTIONAL[kind] for kind in unknown))
    return {key for key in (*plan.update, *plan.delete) if tables & _tables(key, target_of)} if tables else set()


def _tables(key: Key, target_of: TargetOf) -> set[str]:
    target = target_of(key) if isinstance(key, Member) else None
    return {key.table} if target is None else {key.table, target.table}
