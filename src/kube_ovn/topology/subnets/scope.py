"""Scopes: the Namespaces that a Subnet or IPPool is for. Their Pods alone get in, also by an annotation.

A Subnet that names and selects no Namespace is open, and so is an IPPool of it that names none. Reads Subnets, IPPools
and the labels of Namespaces.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kube_ovn.derive import Graph, Read, Source
from kube_ovn.model import crd
from kube_ovn.model.addr import Address
from kube_ovn.model.crd import IPPool, LabelSelector
from kube_ovn.model.kube import Namespace
from kube_ovn.model.network import Subnet
from kube_ovn.topology.addresses.grants import Pools
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.subnets.addressing import Addressing
from kube_ovn.topology.subnets.namespace import matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The Namespaces of a Subnet that is not open."""

    namespaces: frozenset[str]
    selectors: tuple[LabelSelector, ...]

    def selects(self, namespace: Namespace) -> bool:
        return any(matches(each, namespace.metadata.labels) for each in self.selectors)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A Namespace, and the subnets that it is bound to: these are for it in any case."""

    namespace: str
    subnets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scopes:
    """The scopes of all Subnets and IPPools."""

    fabric: Fabric
    namespaces: Source[str, Namespace]
    subnets: Source[str, Scope]
    """By Subnet. One that is open has none; where tenants are trusted, all are open."""
    effective: Source[str, Subnet]
    pool_specs: Source[str, IPPool]
    pool_ranges: Source[str, Pools]
    """By Subnet."""

    def against_subnet(self, read: Read, tenant: Tenant, subnet: str) -> str:
        """The sentence why a Subnet is not for a Namespace; empty when it is."""
        scope, namespace = read.get(self.subnets, subnet), tenant.namespace
        if scope is None or subnet in tenant.subnets or namespace in scope.namespaces:
            return ""
        if self._is_selected(read, namespace, scope):
            return ""
        return (
            f"subnet {subnet} is for other Namespaces than {namespace}: choose another, or have an administrator add "
            f"{namespace} to spec.namespaces of Subnet {subnet}"
        )

    def lets_in(self, tenant: Tenant, subnet: str) -> bool:
        """Whether a Subnet is for a Namespace, as of the last pass: for what is not derived."""
        scope, found = self.subnets.values.get(subnet), self.namespaces.values.get(tenant.namespace)
        if scope is None or subnet in tenant.subnets or tenant.namespace in scope.namespaces:
            return True
        return found is not None and scope.selects(found)

    def against_pool(self, read: Read, tenant: Tenant, pool: IPPool) -> str:
        """The sentence why an IPPool is not for a Namespace; empty when it is. A pool that names Namespaces lets them
        in, whatever its Subnet says.
        """
        name, namespace = pool.metadata.name, tenant.namespace
        if not pool.spec.namespaces:
            return self.against_subnet(read, tenant, pool.spec.subnet)
        if self.fabric.trusts_tenants or namespace in pool.spec.namespaces:
            return ""
        return (
            f"IPPool {name} is for other Namespaces than {namespace}: choose another, or have an administrator add "
            f"{namespace} to spec.namespaces of IPPool {name}"
        )

    def against_addresses(self, read: Read, tenant: Tenant, subnet: str, addresses: Iterable[Address]) -> str:
        """The sentence why addresses of a Subnet are not for a Namespace; empty when they are. An address in an IPPool
        is for the Namespaces of the pool.
        """
        for address in addresses:
            pool = self._pool_of(read, subnet, address)
            found = self.against_subnet(read, tenant, subnet) if pool is None else self.against_pool(read, tenant, pool)
            if found:
                return f"address {address}: {found}"
        return ""

    def _is_selected(self, read: Read, namespace: str, scope: Scope) -> bool:
        found = read.get(self.namespaces, namespace) if scope.selectors else None
        return found is not None and scope.selects(found)

    def _pool_of(self, read: Read, subnet: str, address: Address) -> IPPool | None:
        space = read.get(self.effective, subnet)
        for name, ranges in (read.get(self.pool_ranges, subnet) or {}).items():
            for cidr, each in zip(() if space is None else space.cidrs, ranges, strict=False):
                if cidr.version == address.version and int(address) in each:
                    return read.get(self.pool_specs, name)
        return None


def define(graph: Graph, inputs: Inputs, fabric: Fabric, addressing: Addressing) -> Scopes:
    """Derive the scopes of Subnets."""

    def scope(read: Read, name: str, subnet: crd.Subnet) -> Scope | None:
        spec = subnet.spec
        if fabric.trusts_tenants or not (spec.namespaces or spec.namespace_selectors):
            return None
        return Scope(namespaces=frozenset(spec.namespaces), selectors=spec.namespace_selectors)

    return Scopes(
        fabric=fabric,
        namespaces=inputs.namespaces,
        subnets=graph.derive("scopes of subnets", inputs.subnets, scope),
        effective=addressing.effective,
        pool_specs=addressing.pool_specs,
        pool_ranges=addressing.pool_ranges,
    )
