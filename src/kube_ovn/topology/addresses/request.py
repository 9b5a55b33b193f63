"""Requests: the addresses that each holder without a grant asks for, and the places where it may get them.

A wish of the Pod itself comes before the binding of its Namespace. Pure: `addresses.allocate` decides which address a
holder gets. A holder with a grant asks for nothing. The exception is the next Pod of a StatefulSet's name: it keeps the
grant of the former Pod only if the grant fits its annotations and its Namespace.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kube_ovn.derive import Collection, Derived, Graph, Read, Source
from kube_ovn.model import names
from kube_ovn.model.addr import Address, format_list
from kube_ovn.model.crd import IP, IPPool, StatefulSet
from kube_ovn.model.kube import Pod
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.model.resource import IPPOOLS, STATEFULSETS, Resource
from kube_ovn.topology.addresses.grants import COMING, READY, Grants, Refusal
from kube_ovn.topology.addresses.holders import Holder
from kube_ovn.topology.addresses.ledger import RefusedError
from kube_ovn.topology.addresses.memory import remembered
from kube_ovn.topology.addresses.own import is_reservation
from kube_ovn.topology.addresses.parents import Parents
from kube_ovn.topology.addresses.span import REST, Owner
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.ports.obstacles import Obstacles
from kube_ovn.topology.ports.pod import Request, against_routes, ordinal, parse_request, pod_label
from kube_ovn.topology.subnets.namespace import Binding
from kube_ovn.topology.subnets.scope import Scopes, Tenant


class WaitError(Exception):
    """A request depends on something that is on its way, such as a subnet. Users are told nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """A subnet, or a pool of it."""

    subnet: str
    pool: str = REST


@dataclass(frozen=True, slots=True)
class Choice:
    """One entry of the list of addresses that the Pods of a workload choose from."""

    place: Place
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The content of a request. Holders that ask for the same are told the same when they get no address."""

    places: tuple[Place, ...] = ()
    """The places in which to look for an address, in order."""
    versions: tuple[int, ...] = ()
    addresses: tuple[Address, ...] = ()
    """Addresses that the user fixed, all in the first place."""
    mac: str | None = None
    choices: tuple[Choice, ...] = ()
    listed: int = 0
    """The number of entries in the list that the choices come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A request for addresses."""

    record: str
    uid: str
    owner: Owner
    order: tuple[bool, bool, str, str, str]
    """The rank of the request: the least is granted first."""
    ask: Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """A request for the grant that the former holder of the name had."""

    record: str
    uid: str
    owner: Owner


Asked = Want | Keep | Refusal


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
    parents: Parents
    bindings: Source[str, Binding]
    """By Namespace."""
    scopes: Scopes
    readiness: Source[str, str]
    """By Subnet: `READY`, `COMING` or `UNREADY`."""
    effective: Source[str, Subnet]
    obstacles: Obstacles


@dataclass(frozen=True, slots=True)
class _Asking:
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


def define(
    graph: Graph, on: Reads, pods: Derived[str, Pod, Holder], nodes: Source[str, Holder]
) -> tuple[Derived[str, Holder, Asked], Derived[str, Holder, Asked]]:
    """Derive the requests of Pods and of Nodes."""

    def ask(read: Read, record: str, holder: Holder) -> Asked | None:
        held = read.get(on.grants.held, holder.owner.key)
        if held is not None and held.uid == holder.uid:
            return None
        if obstacle := on.obstacles.of_pod(read, holder):
            return Refusal(names.CREATE_OVN_PORT_FAILED, obstacle)
        pod = read.get(on.pods, record)
        assert pod is not None, "a holder among Pods is a Pod"
        try:
            return ask_for_pod(read, on, pod, holder, None if held is None else held.grant)
        except WaitError:
            return None
        except RefusedError as error:
            return Refusal(names.ACQUIRE_ADDRESS_FAILED, str(error), error.elsewhere)
        except ValueError as error:
            return Refusal(names.VALIDATE_POD_NETWORK_FAILED, str(error))

    def ask_for_node(read: Read, name: str, holder: Holder) -> Asked | None:
        held = read.get(on.grants.held, holder.owner.key)
        if held is not None:
            return None if held.uid == holder.uid else Keep(record=holder.record, uid=holder.uid, owner=holder.owner)
        if obstacle := on.obstacles.of_node(read, holder):
            return Refusal(names.CREATE_OVN_PORT_FAILED, obstacle)
        if read.get(on.effective, on.fabric.join) is None:
            return None
        return Want(
            record=holder.record,
            uid=holder.uid,
            owner=holder.owner,
            order=(False, False, "", "", name),
            ask=Ask(places=(Place(on.fabric.join),)),
        )

    return graph.derive("Pods' requests", pods, ask), graph.derive("Nodes' requests", nodes, ask_for_node)


def ask_for_pod(read: Read, on: Reads, pod: Pod, holder: Holder, former: Grant | None) -> Asked:
    """The request of a Pod. `former`: the grant that its owner has: that of the former Pod of the name in a
    StatefulSet, or of a reservation.

    Raises WaitError, RefusedError, and ValueError for annotations that cannot be read.
    """
    keep = Keep(record=holder.record, uid=holder.uid, owner=holder.owner)
    if former is not None and (pod.stateful_set is None or remembered(pod) is not None):
        return keep
    request, binding = parse_request(pod), read.get(on.bindings, pod.metadata.namespace)
    if binding is None:
        raise WaitError
    asking = _Asking(read, on, pod, request, binding)
    ip = read.get(on.ips, holder.record)
    reserved = ip is not None and is_reservation(ip) and ip.metadata.uid == holder.owner.key
    if former is not None and (reserved or (on.parents.may_be_of(read, pod) and _still_fits(asking, former))):
        _check_routes(asking, former)
        return keep
    if reserved:
        raise RefusedError(
            f"IP {holder.record} reserves an address for this Pod that it cannot have: "
            f"`kubectl describe ip {holder.record}` says why",
            elsewhere=False,
        )
    return _want(asking, holder)


def _still_fits(asking: _Asking, grant: Grant) -> bool:
    """Whether a grant that outlived a Pod of a StatefulSet is what the next Pod of the name asks for."""
    request, binding = asking.request, asking.binding
    if grant.subnet not in (request.subnets or binding.subnets) and not (request.pools or binding.pools):
        return False
    wanted = set(request.addresses)
    if request.choices:
        number = ordinal(asking.pod, asking.parent())
        if number is None or not 0 <= number < len(request.choices):
            return False
        wanted = set(request.choices[number])
    versions = tuple(address.version for address in grant.addresses)
    if asking.on.scopes.against_addresses(asking.read, asking.tenant, grant.subnet, grant.addresses):
        return False
    return wanted <= set(grant.addresses) and (not request.versions or request.versions == versions)


def _check_routes(asking: _Asking, grant: Grant) -> None:
    """Raise RefusedError when the routes of the Pod are not for the grant that is kept for it."""
    space = asking.read.get(asking.on.effective, grant.subnet)
    if space is None:
        return
    if against := against_routes(asking.request.routes, space, [each.version for each in grant.addresses]):
        raise RefusedError(against, elsewhere=False)


def _want(asking: _Asking, holder: Holder) -> Want:
    request, meta = asking.request, asking.pod.metadata
    places = _places(asking)
    addresses, choices = request.addresses, tuple[Choice, ...]()
    if request.choices:
        parent = asking.parent()
        number = ordinal(asking.pod, parent) if parent is not None else None
        if number is not None:
            addresses = _entry(asking, number)
        else:
            choices = _choices(asking, _spaces(asking, places))
    if addresses:
        places = (_place_of(asking, addresses, _spaces(asking, places)),)
    if request.routes and choices:
        fitting = set(_routed(asking, (each.place for each in choices)))
        choices = tuple(each for each in choices if each.place in fitting)
    elif request.routes:
        places = _routed(asking, places)
    return Want(
        record=holder.record,
        uid=holder.uid,
        owner=holder.owner,
        order=(True, wishes_nothing(asking.pod), meta.creation_timestamp, meta.namespace, meta.name),
        ask=Ask(
            places=places,
            versions=request.versions,
            addresses=addresses,
            mac=request.mac,
            choices=choices,
            listed=len(request.choices),
        ),
    )


def _places(asking: _Asking) -> tuple[Place, ...]:
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


def _check_scopes(asking: _Asking, subnets: Iterable[str]) -> None:
    """Raise RefusedError when a subnet is not for the Pod's Namespace."""
    for name in subnets:
        if against := asking.on.scopes.against_subnet(asking.read, asking.tenant, name):
            raise RefusedError(against)


def _readiness(asking: _Asking, subnet: str) -> str | None:
    state = asking.read.get(asking.on.readiness, subnet)
    return COMING if state is None and subnet in asking.on.fabric.initial else state


def _pool(asking: _Asking, name: str) -> Place:
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


def _entry(asking: _Asking, number: int) -> tuple[Address, ...]:
    """The entry of a list of addresses that is for the Pod of this number. Raises RefusedError."""
    choices = asking.request.choices
    if not 0 <= number < len(choices):
        raise RefusedError(
            f"annotation {names.IP_POOL} lists {len(choices)} addresses and Pod {pod_label(asking.pod)} is number "
            f"{number + 1} of its StatefulSet: add addresses, or scale the StatefulSet down"
        )
    return choices[number]


def _spaces(asking: _Asking, places: Iterable[Place]) -> list[Subnet]:
    """The subnets of the places, in order."""
    found = (asking.read.get(asking.on.effective, place.subnet) for place in places)
    return [subnet for subnet in found if subnet is not None]


def _choices(asking: _Asking, spaces: Sequence[Subnet]) -> tuple[Choice, ...]:
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


def _place_of(asking: _Asking, addresses: tuple[Address, ...], spaces: Sequence[Subnet]) -> Place:
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


def _routed(asking: _Asking, places: Iterable[Place]) -> tuple[Place, ...]:
    """The places in which the Pod can have its routes. Raises RefusedError when there are none."""
    found, problems = [], []
    for place in places:
        for space in _spaces(asking, [place]):
            request = asking.request
            if against := against_routes(request.routes, space, request.versions or space.versions):
                problems.append(against)
            else:
                found.append(place)
    if not found:
        raise RefusedError(problems[0], elsewhere=False)
    return tuple(found)


def _check_rest(asking: _Asking, addresses: Iterable[Address], space: Subnet) -> None:
    """Raise RefusedError when an address of a family that is not named would come from the subnet's rest, which is not
    for the Pod's Namespace.
    """
    given = {address.version for address in addresses}
    if not set(asking.request.versions or space.versions) <= given:
        _check_scopes(asking, [space.name])


def wishes_nothing(pod: Pod) -> bool:
    """Whether any address will do for the Pod. Fixed addresses come first, so that no other Pod of the pass is granted
    one of them.
    """
    annotations = pod.metadata.annotations
    return names.IP_ADDRESS not in annotations and names.IP_POOL not in annotations


def define_checks(graph: Graph, grants: Grants, checks: Source[str, Holder]) -> Derived[str, Holder, Asked]:
    """Derive the requests of Subnets for an address to check endpoints from. They come after the requests of Pods."""

    def ask(read: Read, subnet: str, holder: Holder) -> Asked | None:
        held = read.get(grants.held, holder.owner.key)
        if held is not None:
            return None if held.uid == holder.uid else Keep(record=holder.record, uid=holder.uid, owner=holder.owner)
        return Want(
            record=holder.record,
            uid=holder.uid,
            owner=holder.owner,
            order=(True, True, "~", "", subnet),
            ask=Ask(places=(Place(subnet),)),
        )

    return graph.derive("requests for checks", checks, ask)
