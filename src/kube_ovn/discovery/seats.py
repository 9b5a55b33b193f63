"""The endpoint of a client by its address, so that few clients change when an endpoint comes or goes. Pure.

Open vSwitch hashes a client to a position among the endpoints (ovs-ofctl(8), group select by hash). If each endpoint
were listed once, one that leaves would shift all behind it, and with them nearly all clients. So there is a fixed
number of positions, which the endpoints share evenly by Maglev's rule (Eisenbud et al., NSDI 2016, 3.4): in turn, each
endpoint takes the next free position in an order of its own.
"""

import hashlib
from collections.abc import Iterator, Sequence

from kube_ovn.discovery.endpoints import Backend, keeps_clients
from kube_ovn.model.kube import Service

_SEATS = (61, 251)
"""The numbers of positions: primes, as the rule asks for."""
_EACH = 5
"""The fewest positions of an endpoint, so that no endpoint has more than a fifth above another."""


def by_position(service: Service, chosen: Sequence[Backend]) -> Sequence[Backend]:
    """A Service's endpoints as load balancers list them: where a client is to stay with its endpoint, each endpoint has
    several positions.
    """
    return seat(chosen) if keeps_clients(service) else chosen


def positions(endpoints: int) -> int:
    """The number of positions that so many endpoints share. More than 50 endpoints have one position each: among so
    many, one position more or less matters little.
    """
    sizes = _SEATS if endpoints > 1 else ()
    return next((size for size in sizes if endpoints * _EACH <= size), endpoints)


def seat(chosen: Sequence[Backend]) -> list[Backend]:
    """The endpoints by position."""
    size = positions(len(chosen))
    if size == len(chosen):
        return list(chosen)
    taken: dict[int, Backend] = {}
    turns = [(backend, _order(backend, size)) for backend in chosen]
    while len(taken) < size:
        for backend, order in turns:
            if len(taken) < size:
                taken[next(position for position in order if position not in taken)] = backend
    return [taken[position] for position in range(size)]


def _order(backend: Backend, size: int) -> Iterator[int]:
    """All positions, in the order in which one endpoint prefers them."""
    digest = hashlib.blake2b(f"{backend.address} {backend.port}".encode(), digest_size=16).digest()
    offset, skip = int.from_bytes(digest[:8]) % size, int.from_bytes(digest[8:]) % (size - 1) + 1
    return iter([(offset + number * skip) % size for number in range(size)])
