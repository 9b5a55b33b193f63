"""The ports of a node that its own processes have, and neither a Service nor a Pod gets. Pure.

A Service may have the address of a node, and that is common. But a process of the node keeps its port: otherwise a
Service could take the port of a kubelet, of an API server or of a database. Only the node itself knows its sockets. So
it alone leads packets for its address to a Service; the other nodes, and the fabric, send them to it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, TypeAlias

from kube_ovn.discovery.external import Spot
from kube_ovn.host.service import NodeService
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.host import Front

Asked: TypeAlias = tuple[str, Front]
"""A front, and the UID of a Service that asks for it."""
_EVERY = {4: (IPv4Address(0), IPv6Address(0)), 6: (IPv6Address(0),)}
"""The unspecified addresses at which a socket waits for clients of each IP family. The kernel does not say whether a
socket of IPv6 takes no clients of IPv4, so it counts as one that does.
"""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The fronts that Services ask for at addresses which may be those of a node, and the node ports."""

    asked: tuple[tuple[NodeService, Front], ...] = ()
    ports: Mapping[Front, str] = field(default_factory=dict)
    """The UID of the Service that has each node port."""


class Refusal(NamedTuple):
    """A front at an address of this node that is not led to the Service which asks for it."""

    asked: Asked
    service: NodeService
    why: str


@dataclass(frozen=True, slots=True)
class OwnPorts:
    """The fronts that this node does not serve."""

    elsewhere: frozenset[Asked] = frozenset()
    """Those with an address of another node, which decides."""
    here: tuple[Refusal, ...] = ()
    """Those with an address of this node."""

    @property
    def left(self) -> frozenset[Asked]:
        return self.elsewhere.union(each.asked for each in self.here)


def find_wishes(services: Iterable[NodeService]) -> Wishes:
    """The fronts that need a look at the node's addresses and sockets."""
    asked, ports = list[tuple[NodeService, Front]](), dict[Front, str]()
    for service in services:
        asked += [(service, entry.front) for entry in service.entries if entry.external]
        ports.update((entry.front, service.uid) for entry in service.entries if entry.front.address is None)
    return Wishes(tuple(asked), ports)


def find_own_ports(
    wishes: Wishes, nodes: Collection[Address], local: Collection[Address], listeners: Collection[Spot]
) -> OwnPorts:
    """The fronts that this node does not serve. `nodes`: the addresses of all nodes. `local`: the addresses that this
    node has. `listeners`: the sockets at which it waits for clients.
    """
    elsewhere, here = set[Asked](), list[Refusal]()
    for service, front in wishes.asked:
        asked = (service.uid, front)
        if front.address in local:
            if why := _refuse(service, front, wishes.ports, listeners):
                here.append(Refusal(asked, service, why))
        elif front.address in nodes:
            elsewhere.add(asked)
    return OwnPorts(frozenset(elsewhere), tuple(here))


def find_taken(wanted: Iterable[Spot], listeners: Collection[Spot], node_ports: Iterable[Front]) -> str:
    """Why a Pod does not get the ports of this node that it asks for (`hostPort`), in words; empty when it may have
    them. A rule that leads such a port to the Pod would come before the process of the node that has the port. The
    ports of the databases and of tunnels are the node's own also while none listens. The unspecified address stands for
    all addresses, in `wanted` and in `listeners`. `node_ports`: those of Services.
    """
    of_services = {(front.port, front.protocol.upper()) for front in node_ports}
    for spot in wanted:
        of_fabric = names.TUNNEL_PORTS if spot.protocol == "UDP" else names.DATABASE_PORTS
        if spot.port in of_fabric or any(_meet(spot, each) for each in listeners):
            return f"hostPort {spot.port}/{spot.protocol} is the node's own; choose another"
        if (spot.port, spot.protocol) in of_services:
            return f"hostPort {spot.port}/{spot.protocol} is a node port of a Service; choose another"
    return ""


def _meet(one: Spot, other: Spot) -> bool:
    if (one.port, one.protocol) != (other.port, other.protocol):
        return False
    return one.address == other.address or one.address.is_unspecified or other.address.is_unspecified


def _refuse(service: NodeService, front: Front, ports: Mapping[Front, str], listeners: Collection[Spot]) -> str:
    spot = _spot(front)
    name = f"Service {service.namespace}/{service.name}"
    if spot in listeners or any(spot._replace(address=each) in listeners for each in _EVERY[front.version]):
        return f"{name}: the node itself listens at {spot}, and stays so; use another address or port"
    if ports.get(replace(front, address=None), service.uid) != service.uid:
        return f"{name}: {spot} is a node port of another Service; use another address or port"
    return ""


def _spot(front: Front) -> Spot:
    assert front.address is not None, "a node port has no address"
    return Spot(front.address, front.port, front.protocol.upper())
