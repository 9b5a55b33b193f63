"""Which subnet, pool and addresses a Pod without a grant gets: its own wish first, then what its Namespace is bound to.

Decides with the ledger and records there; what the outcome means for the Pod is `topology.ports`'.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kube_ovn.model import names
from kube_ovn.model.addr import Address, format_list
from kube_ovn.model.crd import IPPool, StatefulSet
from kube_ovn.model.kube import Pod
from kube_ovn.model.network import Grant
from kube_ovn.topology.ipam import REST, ExhaustedError, Ledger, Owner, RefusedError
from kube_ovn.topology.network import Binding
from kube_ovn.topology.pod import Request, ordinal, pod_label


class WaitError(Exception):
    """What a Pod needs is on its way: no word to its user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What placement looks at."""

    ledger: Ledger
    join: str
    usable: Callable[[str], bool]
    """Whether a subnet gives out addresses."""
    exists: Callable[[str], bool]
    coming: Callable[[str], bool]
    pool: Callable[[str], IPPool | None]


@dataclass(frozen=True, slots=True)
class _Place:
    """A subnet, or a pool of it."""

    subnet: str
    pool: str = REST


def place(
    owner: Owner, pod: Pod, request: Request, binding: Binding, parent: StatefulSet | None, around: Surroundings
) -> Grant:
    """Grant a Pod its addresses. Raises RefusedError with a sentence for its user, and WaitError."""
    places = list(_places(request, binding, around))
    if request.choices:
        return _choose(owner, pod, request, places, parent, around)
    if request.addresses:
        place = _place_of(request.addresses, places, around)
        return _allocate(owner, request, place, request.addresses, around)
    full: list[str] = []
    for place in places:
        try:
            return _allocate(owner, request, place, (), around)
        except ExhaustedError as error:
            full.append(str(error))
    raise ExhaustedError("; ".join(full))


def _places(request: Request, binding: Binding, around: Surroundings) -> Iterator[_Place]:
    """Where the Pod may be, in order; at least one. Raises RefusedError, WaitError."""
    pools = request.pools or (() if request.subnets else binding.pools)
    wanted = request.subnets or binding.subnets
    if not request.subnets and binding.refusal:
        raise RefusedError(binding.refusal)
    found: list[_Place] = []
    if pools and not request.choices and not request.addresses:
        for name in pools:
            pool = around.pool(name)
            if pool is None:
                raise RefusedError(f"IPPool {name} does not exist; make it, or remove annotation {names.IP_POOL}")
            if request.subnets and pool.spec.subnet not in request.subnets:
                raise RefusedError(
                    f"IPPool {name} is of subnet {pool.spec.subnet}, but annotation {names.LOGICAL_SWITCH} asks for "
                    f"{format_list(request.subnets)}: remove one of the two"
                )
            found.append(_Place(pool.spec.subnet, name))
        wanted = tuple(place.subnet for place in found)
    else:
        found = [_Place(name) for name in wanted]
    for name in wanted:
        if name == around.join:
            raise RefusedError(f"subnet {name} joins the nodes and is not for Pods; choose another")
    usable = [place for place in found if around.usable(place.subnet)]
    if usable:
        return iter(usable)
    if (not request.subnets and binding.pending) or any(around.coming(place.subnet) for place in found):
        raise WaitError
    raise _not_usable(wanted, around)


def _not_usable(wanted: tuple[str, ...], around: Surroundings) -> RefusedError:
    missing = [name for name in wanted if not around.exists(name)]
    if missing:
        there = format_list(sorted(name for name in around.ledger.subnets if name != around.join))
        return RefusedError(f"subnet {format_list(missing)} does not exist; the subnets are {there}")
    listed = format_list(wanted)
    return RefusedError(
        f"subnet {listed} is not ready or is being deleted: `kubectl describe subnet {wanted[0]}` says why"
    )


def _choose(
    owner: Owner,
    pod: Pod,
    request: Request,
    places: list[_Place],
    parent: StatefulSet | None,
    around: Surroundings,
) -> Grant:
    """One entry of the Pod's list: the one of its number, or of those of other workloads the first that is free."""
    number = ordinal(pod, parent) if parent is not None else None
    label, count = pod_label(pod), len(request.choices)
    if number is not None:
        if not 0 <= number < count:
            raise RefusedError(
                f"annotation {names.IP_POOL} lists {count} addresses and Pod {label} is number {number + 1} of its "
                "StatefulSet: add addresses, or scale the StatefulSet down"
            )
        chosen = request.choices[number]
        return _allocate(owner, request, _place_of(chosen, places, around), chosen, around)
    holders: list[str] = []
    refusals: list[RefusedError] = []
    for chosen in request.choices:
        try:
            place = _place_of(chosen, places, around)
            held = [around.ledger.holder(place.subnet, each) for each in chosen]
            others = [holder.label for holder in held if holder is not None and holder.key != owner.key]
            if not others:
                return _allocate(owner, request, place, chosen, around)
            holders += others
        except RefusedError as error:  # this entry nobody can have; the others are not the worse for it
            refusals.append(error)
    if refusals and not holders:
        raise refusals[0]
    raise ExhaustedError(
        f"annotation {names.IP_POOL} of Pod {label} lists {count} addresses and all are in use, "
        f"by {format_list(dict.fromkeys(holders))}: add addresses, or scale the workload down"
    )


def _place_of(addresses: tuple[Address, ...], places: list[_Place], around: Surroundings) -> _Place:
    """The first place whose subnet holds the addresses; an address may be in any pool of it."""
    for place in places:
        subnet = around.ledger.subnet(place.subnet)
        if subnet is not None and all(subnet.holds(address) for address in addresses):
            return _Place(place.subnet)
    tried = ", ".join(
        f"{place.subnet} ({format_list(subnet.cidrs)})"
        for place in places
        if (subnet := around.ledger.subnet(place.subnet)) is not None
    )
    word = "subnet" if len(places) == 1 else "subnets"
    raise RefusedError(
        f"address {format_list(addresses)} is not in the CIDR of the Pod's {word} {tried}; choose another"
    )


def _allocate(
    owner: Owner, request: Request, place: _Place, addresses: tuple[Address, ...], around: Surroundings
) -> Grant:
    return around.ledger.allocate(owner, place.subnet, request.versions, addresses, request.mac, place.pool)
