"""Requests: the addresses that each holder without a grant asks for.

Pure: `addresses.places` finds where a Pod may get an address, `addresses.allocate` decides which one a holder gets. A
holder with a grant asks for nothing. The exception is the next Pod of a StatefulSet's name: it keeps the grant of the
former Pod only if the grant fits its annotations and its Namespace.
"""

from collections.abc import Iterable

from kube_ovn.derive import Derived, Graph, Read, Source
from kube_ovn.model import names
from kube_ovn.model.kube import Pod
from kube_ovn.model.network import Grant
from kube_ovn.topology.addresses.ask import Ask, Asked, Keep, Place, Want
from kube_ovn.topology.addresses.grants import Grants, Held, Refusal
from kube_ovn.topology.addresses.holders import Holder
from kube_ovn.topology.addresses.ledger import RefusedError
from kube_ovn.topology.addresses.memory import remembered
from kube_ovn.topology.addresses.own import is_reservation
from kube_ovn.topology.addresses.places import Asking, Reads, WaitError, find
from kube_ovn.topology.ports.pod import against_routes, ordinal, parse_request


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
            return _keep_unless_own(holder, held)
        if obstacle := on.obstacles.of_node(read, holder):
            return Refusal(names.CREATE_OVN_PORT_FAILED, obstacle)
        if read.get(on.effective, on.fabric.join) is None:
            return None
        return _request(holder, Ask(places=(Place(on.fabric.join),)), (False, False, "", "", name))

    return graph.derive("Pods' requests", pods, ask), graph.derive("Nodes' requests", nodes, ask_for_node)


def ask_for_pod(read: Read, on: Reads, pod: Pod, holder: Holder, former: Grant | None) -> Asked:
    """The request of a Pod. `former`: the grant that its owner has: that of the former Pod of the name in a
    StatefulSet, or of a reservation.

    Raises WaitError, RefusedError, and ValueError for annotations that cannot be read.
    """
    ip = read.get(on.ips, holder.record)
    reserved = ip is not None and is_reservation(ip) and ip.metadata.uid == holder.owner.key
    its_own = pod.stateful_set is None and not reserved
    if former is not None and (its_own or remembered(pod) is not None):
        return _keep(holder)
    request, binding = parse_request(pod), read.get(on.bindings, pod.metadata.namespace)
    if binding is None:
        raise WaitError
    asking = Asking(read, on, pod, request, binding)
    if former is not None and (reserved or (on.parents.may_be_of(read, pod) and _still_fits(asking, former))):
        _check_routes(asking, former)
        return _keep(holder)
    if reserved:
        raise RefusedError(
            f"IP {holder.record} reserves an address for this Pod that it cannot have: "
            f"`kubectl describe ip {holder.record}` says why",
            elsewhere=False,
        )
    return _want(asking, holder)


def _still_fits(asking: Asking, grant: Grant) -> bool:
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
    asking.check_pools()
    if asking.on.scopes.against_addresses(asking.read, asking.tenant, grant.subnet, grant.addresses):
        return False
    return wanted <= set(grant.addresses) and (not request.versions or request.versions == versions)


def _check_routes(asking: Asking, grant: Grant) -> None:
    """Raise RefusedError when the routes of the Pod are not for the grant that is kept for it."""
    space = asking.read.get(asking.on.effective, grant.subnet)
    if space is None:
        return
    if against := against_routes(asking.request.routes, space, [each.version for each in grant.addresses]):
        raise RefusedError(against, elsewhere=False)


def _want(asking: Asking, holder: Holder) -> Want:
    request, meta = asking.request, asking.pod.metadata
    places, addresses, choices = find(asking)
    if request.routes and choices:
        fitting = set(_routed(asking, (each.place for each in choices)))
        choices = tuple(each for each in choices if each.place in fitting)
    elif request.routes:
        places = _routed(asking, places)
    ask = Ask(
        places=places,
        versions=request.versions,
        addresses=addresses,
        mac=request.mac,
        choices=choices,
        listed=len(request.choices),
    )
    return _request(holder, ask, (True, wishes_nothing(asking.pod), meta.creation_timestamp, meta.namespace, meta.name))


def _routed(asking: Asking, places: Iterable[Place]) -> tuple[Place, ...]:
    """The places in which the Pod can have its routes. Raises RefusedError when there are none."""
    found, problems = [], []
    for place in places:
        for space in asking.spaces([place]):
            request = asking.request
            if against := against_routes(request.routes, space, request.versions or space.versions):
                problems.append(against)
            else:
                found.append(place)
    if not found:
        raise RefusedError(problems[0], elsewhere=False)
    return tuple(found)


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
            return _keep_unless_own(holder, held)
        return _request(holder, Ask(places=(Place(subnet),)), (True, True, "~", "", subnet))

    return graph.derive("requests for checks", checks, ask)


def _keep_unless_own(holder: Holder, held: Held) -> Keep | None:
    """The request of a Node or of checks that find a grant of their owner: None when the grant is their own."""
    return None if held.uid == holder.uid else _keep(holder)


def _keep(holder: Holder) -> Keep:
    return Keep(record=holder.record, uid=holder.uid, owner=holder.owner)


def _request(holder: Holder, ask: Ask, order: tuple[bool, bool, str, str, str]) -> Want:
    return Want(record=holder.record, uid=holder.uid, owner=holder.owner, order=order, ask=ask)
