"""Places: where a Pod may get an address. Its own wishes come before the binding of its Namespace. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kube_ovn.derive import Collection, Read, Source
from kube_ovn.model import names
from kube_ovn.model.addr import Address, format_list
from kube_ovn.model.crd import IP, IPPool, StatefulSet
from kube_ovn.model.kube import Pod
from kube_ovn.model.network import Subnet
from kube_ovn.model.resource import IPPOOLS, STATEFULSETS, Resource
from kube_ovn.topology.addresses.ask import Choice, Place
from kube_ovn.topology.addresses.grants import COMING, READY, Grants
from kube_ovn.topology.addresses.ledger import RefusedError
from kube_ovn.topology.addresses.parents import Parents
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.ports.obstacles import Obstacles
from kube_ovn.topology.ports.pod import Request, ordinal, pod_label
from kube_ovn.topology.subnets.namespace import Binding
from kube_ovn.topology.subnets.scope import Scopes, Tenant


class WaitError(Exception):
    """A request depends on something that is on its way, such as a subnet. Users are told nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The sources and settings that requests are derived from."""

    fabric: Fabric
    grants: Grants
    ips: Collection[str, IP]
    pods: Collection[str, Pod]
    pools: Collection[str, IPPool]
    unknown: Collection[str, bool]
    """The kinds, by name, that could never be listed."""
    absent: Collection[str, bool]
    """Those of them that the API server does not have."""
    parents: Parents
    bindings: Source[str, Binding]
    """By Namespace."""
    scopes: Scopes
    readiness: Source[str, str]
    """By Subnet: `READY`, `COMING` or `UNREADY`."""
    effective: Source[str, Subnet]
    obstacles: Obstacles


@dataclass(frozen=True, slots=True)
class Asking:
    """One Pod that asks, and the means to read what its request depends on."""

    read: Read
    on: Reads
    pod: Pod
    request: Request
    binding: Binding

    def parent(self) -> StatefulSet | None:
        """The StatefulSet of the Pod; None when the Pod names none. Raises RefusedError when the StatefulSet does not
        exist, which its user is told: it may only be late, because the watches of two kinds may race, and without
        `ordinals.start` the Pod would get the address of another ordinal.
        """
        owner, found = self.pod.stateful_set, self.on.parents.of(self.read, self.pod)
        if owner is not None and found is None:
            self.check_listed(STATEFULSETS, owner.name)
            raise RefusedError(
                f"Pod {pod_label(self.pod)} waits for StatefulSet {owner.name} with UID {owner.uid}, which its "
                "ownerReferences name and which does not exist; delete the Pod, or make it without this reference",
                elsewhere=False,
            )
        return found

    @property
    def tenant(self) -> Tenant:
        return Tenant(self.pod.metadata.namespace, self.binding.subnets)

    def check_listed(self, kind: Resource[Any], name: str) -> None:
        """Raise RefusedError when the objects of a kind are unknown: then an object that is not found may exist."""
        if self.read.get(self.on.unknown, kind.name):
            raise RefusedError(
                f"{kind.name} {name} is not known: kube-ovn-controller cannot list {kind.plural}; the kind is not "
                "installed, or the controller has no right to list it",
                elsewhere=False,
            )

    def check_pools(self) -> None:
        """Raise RefusedError while IPPools may exist that were never listed: any address may be in one that is for
        other Namespaces.
        """
        on, kind = self.on, IPPOOLS.name
        if on.fabric.trusts_tenants or not self.read.get(on.unknown, kind) or self.read.get(on.absent, kind):
            return
        raise RefusedError(
            f"it is not known which addresses are in IPPools for other Namespaces: kube-ovn-controller cannot list "
            f"{IPPOOLS.plural}, which its ClusterRole has to permit",
            elsewhere=False,
        )

    def spaces(self, places: Iterable[Place]) -> list[Subnet]:
        """The subnets of the places, in order."""
        found = (self.read.get(self.on.effective, place.subnet) for place in places)
        return [subnet for subnet in found if subnet is not None]


def find(asking: Asking) -> tuple[tuple[Place, ...], tuple[Address, ...], tuple[Choice, ...]]:
    """The places where a Pod may get an address, the addresses in the first of them that it must have, and the entries
    of a list that it may have instead. Raises RefusedError, WaitError.
    """
    request = asking.request
    places, addresses, choices = _places(asking), request.addresses, tuple[Choice, ...]()
    asking.check_pools()
    if request.choices:
        parent = asking.parent()
        number = ordinal(asking.pod, parent) if parent is not None else None
        if number is not None:
            addresses = _entry(asking, number)
        else:
            choices = _choices(asking, asking.spaces(places))
    if addresses:
        places = (_place_of(asking, addresses, asking.spaces(places)),)
    return places, addresses, choices


def _places(asking: Asking) -> tuple[Place, ...]:
    """The places where the Pod may get an address, in order; at least one. Raises RefusedError, WaitError."""
    request, binding, on = asking.request, asking.binding, asking.on
    pools = request.pools or (() if request.subnets else binding.pools)
    wanted = request.subnets or binding.subnets
    if not request.subnets and binding.refusal:
        raise RefusedError(binding.refusal)
    if pools and not request.choices and not request.addresses:
        found = [_pool(asking, name) for name in pools]
        wanted = tuple(place.subnet for place in found)
    else:
        found = [Place(name) for name in wanted]
        if not request.choices and not request.addresses:
            _check_scopes(asking, request.subnets)
    for name in wanted:
        if name == on.fabric.join:
            raise RefusedError(f"subnet {name} joins the nodes and is not for Pods; choose another")
    readiness = {place.subnet: _readiness(asking, place.subnet) for place in found}
    first = next((state for state in readiness.values() if state in (READY, COMING)), None)
    if first == COMING or (binding.pending and not binding.refusal and readiness.keys() & set(binding.subnets)):
        raise WaitError  # also where a later subnet is ready: the order is the user's
    if first == READY:
        return tuple(place for place in found if readiness[place.subnet] == READY)
    missing = [name for name in wanted if readiness.get(name) is None]
    if missing:
        raise RefusedError(f"subnet {format_list(missing)} does not exist; `kubectl get subnets` shows those that do")
    raise RefusedError(
        f"subnet {format_list(wanted)} is not ready or is being deleted: `kubectl describe subnet {wanted[0]}` says why"
    )


def _check_scopes(asking: Asking, subnets: Iterable[str]) -> None:
    """Raise RefusedError when a subnet is not for the Pod's Namespace."""
    for name in subnets:
        if against := asking.on.scopes.against_subnet(asking.read, asking.tenant, name):
            raise RefusedError(against)


def _readiness(asking: Asking, subnet: str) -> str | None:
    state = asking.read.get(asking.on.readiness, subnet)
    return COMING if state is None and subnet in asking.on.fabric.initial else state


def _pool(asking: Asking, name: str) -> Place:
    pool, subnets = asking.read.get(asking.on.pools, name), asking.request.subnets
    if pool is None:
        asking.check_listed(IPPOOLS, name)
        whose = "" if asking.request.pools else f" of Namespace {asking.pod.metadata.namespace}"
        raise RefusedError(f"IPPool {name} does not exist; make it, or remove annotation {names.IP_POOL}{whose}")
    if subnets and pool.spec.subnet not in subnets:
        raise RefusedError(
            f"IPPool {name} is of subnet {pool.spec.subnet}, but annotation {names.LOGICAL_SWITCH} asks for "
            f"{format_list(subnets)}: remove one of the two"
        )
    if against := asking.on.scopes.against_pool(asking.read, asking.tenant, pool):
        raise RefusedError(against)
    return Place(pool.spec.subnet, name)


def _entry(asking: Asking, number: int) -> tuple[Address, ...]:
    """The entry of a list of addresses that is for the Pod of this number. Raises RefusedError."""
    choices = asking.request.choices
    if not 0 <= number < len(choices):
        raise RefusedError(
            f"annotation {names.IP_POOL} lists {len(choices)} addresses and Pod {pod_label(asking.pod)} is number "
            f"{number + 1} of its StatefulSet: add addresses, or scale the StatefulSet down",
            elsewhere=False,
        )
    return choices[number]


def _choices(asking: Asking, spaces: Sequence[Subnet]) -> tuple[Choice, ...]:
    """The entries of a list that the Pod may have. An entry that lies in none of the subnets, or that is for other
    Namespaces, is left out. Raises RefusedError when all are.
    """
    found, problems = [], []
    for addresses in asking.request.choices:
        try:
            found.append(Choice(_place_of(asking, addresses, spaces), addresses))
        except RefusedError as error:
            problems.append(error)
    if not found:
        raise problems[0]
    return tuple(found)


def _place_of(asking: Asking, addresses: tuple[Address, ...], spaces: Sequence[Subnet]) -> Place:
    """The first of these subnets that holds the addresses. They may lie in any pool of the subnet that is for the Pod's
    Namespace. Raises RefusedError.
    """
    for space in spaces:
        if all(space.holds(each) for each in addresses):
            if against := asking.on.scopes.against_addresses(asking.read, asking.tenant, space.name, addresses):
                raise RefusedError(against)
            _check_rest(asking, addresses, space)
            return Place(space.name)
    tried = [f"{subnet.name} ({format_list(subnet.cidrs)})" for subnet in spaces]
    word = "subnet" if len(tried) == 1 else "subnets"
    raise RefusedError(
        f"address {format_list(addresses)} is not in the CIDR of the Pod's {word} {', '.join(tried)}; choose another"
    )


def _check_rest(asking: Asking, addresses: Iterable[Address], space: Subnet) -> None:
    """Raise RefusedError when an address of a family that is not named would come from the subnet's rest, which is not
    for the Pod's Namespace.
    """
    given = {address.version for address in addresses}
    if not set(asking.request.versions or space.versions) <= given:
        _check_scopes(asking, [space.name])
