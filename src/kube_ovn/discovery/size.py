"""The bounds on the size of a Service. Pure.

The controller and the nodes, which stand in for kube-proxy, work a Service out as a whole at every change of an
endpoint. So the cost of one Service has a bound. A Service beyond it is refused before any row is made of it, and all
others go on. Of a headless Service there are names alone, and their number has a bound.
"""

from collections import Counter
from collections.abc import Iterable

from kube_ovn.discovery.endpoints import LOCAL, cluster_addresses, external_addresses, is_headless, keeps_clients
from kube_ovn.discovery.seats import positions
from kube_ovn.model.kube import EndpointSlice, Service

MOST_FRONTS = 10_000
"""Pairs of a port and an address at which one Service is reached."""
MOST_PLACED = 1_000
"""The same bound where the endpoints depend on the client's node: then each node has an entry for each pair."""
MOST_ENTRIES = 100_000
"""Pairs of a front and an endpoint. They are worked out in a tenth of a second."""
MOST_NAMED = 1_000
"""Endpoints of one headless Service that the fabric answers for. Their names are in one row, which is sent whole."""


def refusal(service: Service, slices: Iterable[EndpointSlice]) -> str:
    """Why a Service is too large to be served, in words that stay while endpoints come and go; empty for any other."""
    ports, addresses = len(service.spec.ports), [*cluster_addresses(service), *external_addresses(service)]
    what = f"{_count(ports, 'port', 'ports')} at {_count(len(addresses), 'address', 'addresses')}"
    is_local = service.spec.internal_traffic_policy == LOCAL
    most = MOST_PLACED if is_local else MOST_FRONTS
    if ports * len(addresses) > most:
        policy = " with internalTrafficPolicy Local" if is_local else ""
        return _refuse(f"{what} are more than {most} pairs{policy}")
    endpoints: Counter[str] = Counter()
    for item in slices:
        endpoints[item.address_type] += len(item.endpoints or ())
    each = {family: positions(number) if keeps_clients(service) else number for family, number in endpoints.items()}
    if ports * sum(each.get(f"IPv{address.version}", 0) for address in addresses) > MOST_ENTRIES:
        return _refuse(f"the endpoints of {what} are more than {MOST_ENTRIES} entries of load balancers")
    return ""


def names_refusal(service: Service, slices: Iterable[EndpointSlice]) -> str:
    """Why the fabric does not answer for the names of a headless Service and of its endpoints, in words that stay while
    endpoints come and go; empty where it does, and for any other Service.
    """
    if not is_headless(service) or sum(len(item.endpoints or ()) for item in slices) <= MOST_NAMED:
        return ""
    return (
        f"it is headless and has more than {MOST_NAMED} endpoints, so that its name and theirs are left to the "
        "cluster's DNS server; where there is none, use fewer endpoints, or several Services"
    )


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _refuse(why: str) -> str:
    return f"{why}, so that none of its clients is served; use fewer, or several Services"
