"""The values of the Services' variables on each node: rows of Chassis_Template_Var.

Keyed by node: a node reads the values for itself, those for its zone, and those for all nodes. So a change of one
node's zone costs one node, and an endpoint on another node costs the nodes with clients that it serves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kube_ovn.derive import Graph, Index, Read, Source
from kube_ovn.discovery.endpoints import Place, format_endpoint
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import Node
from kube_ovn.model.row import State
from kube_ovn.topology.addresses.grants import Grants
from kube_ovn.topology.addresses.holders import Holders
from kube_ovn.topology.gateways.groups import parse_chassis
from kube_ovn.topology.inputs import ONE, Inputs, Name
from kube_ovn.topology.outputs import Outputs
from kube_ovn.topology.services.balancer import Placed, render_variables

Variables = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What is the same on all nodes."""

    otherwise: Variables = field(default_factory=dict)
    """The values where nothing is said of a node or its zone."""
    own: Mapping[tuple[int, int], tuple[str, ...]] = field(default_factory=dict)
    """Variables that lead to a port of the node itself, by IP version and port."""
    own_vips: Variables = field(default_factory=dict)
    """The IPv6 addresses of fronts that lead to a port of the node itself. A node without IPv6 does not have them."""


def define(
    graph: Graph,
    inputs: Inputs,
    outputs: Outputs,
    holders: Holders,
    grants: Grants,
    placed: Source[Name, tuple[Placed, ...]],
    placed_dns: Source[str, tuple[Placed, ...]],
) -> None:
    """`placed`: fronts of Services with endpoints that depend on the node. `placed_dns`: fronts of the nodes'
    own DNS.
    """
    by_node: Index[str, Name, tuple[Placed, ...]] = graph.index(
        "services by node", placed, lambda name, each: [node for front in each for node in front.by_node]
    )
    by_zone: Index[str, Name, tuple[Placed, ...]] = graph.index(
        "services by zone", placed, lambda name, each: [zone for front in each for zone in front.by_zone]
    )

    def place(read: Read, name: str, node: Node) -> Place:
        holder = read.get(holders.nodes, name)
        held = read.get(grants.held, holder.owner.key) if holder is not None else None
        own = held.grant.addresses if held is not None else ()
        return Place(node=name, zone=node.metadata.labels.get(names.ZONE, ""), addresses=own)

    def share(read: Read, key: str, value: bool) -> _Shared:
        everywhere = (*read.all(placed).values(), *read.all(placed_dns).values())
        return _share(front for each in everywhere for front in each)

    def of_zone(read: Read, zone: str, members: Mapping[Name, tuple[Placed, ...]]) -> Variables:
        return {f.backend: f.by_zone[zone] for each in members.values() for f in each if zone in f.by_zone}

    def of_node(read: Read, name: str, place: Place) -> Variables | None:
        everywhere = read.get(shared, ONE) or _Shared()
        variables = dict(everywhere.otherwise)
        for (version, port), those in everywhere.own.items():
            if text := _own(place, version, port):
                variables.update(dict.fromkeys(those, text))
                if version == 6:
                    variables.update(everywhere.own_vips)
        of_its_zone = read.get(zones, place.zone)
        variables.update(of_its_zone if of_its_zone is not None else {})
        for each in read.select(by_node, name).values():
            for front in each:
                if name in front.by_node:
                    variables[front.backend] = front.by_node[name]
                    if front.vip:
                        variables[front.vip] = str(front.address)
        return variables or None

    def render(read: Read, chassis: str, members: Mapping[str, str]) -> State | None:
        for name in sorted(members):  # the first one, where two nodes claim the same chassis
            if (variables := read.get(nodes, name)) is not None:
                return render_variables(chassis, variables)
        return None

    places = graph.derive("places of nodes", inputs.nodes, place)
    shared = graph.derive("variables of all nodes", inputs.one, share)
    zones = graph.derive("variables of zones", by_zone, of_zone)
    nodes = graph.derive("variables of nodes", places, of_node)
    chassis = graph.derive("chassis of nodes", inputs.nodes, _chassis)
    by_chassis: Index[str, str, str] = graph.index("nodes by chassis", chassis, lambda name, each: (each,))
    outputs.rows.follow(graph.derive("rows of variables", by_chassis, render))


def _share(fronts: Iterable[Placed]) -> _Shared:
    otherwise: dict[str, str] = {}
    own: dict[tuple[int, int], list[str]] = {}
    vips: dict[str, str] = {}
    for front in fronts:
        if front.own_port:
            own.setdefault((front.address.version, front.own_port), []).append(front.backend)
            if front.vip:
                vips[front.vip] = str(front.address)
        elif front.otherwise:
            otherwise[front.backend] = front.otherwise
            if front.vip:
                otherwise[front.vip] = str(front.address)
    return _Shared(otherwise=otherwise, own={k: tuple(sorted(v)) for k, v in own.items()}, own_vips=vips)


def _own(place: Place, version: int, port: int) -> str:
    """A port of the node itself, at the node's addresses of this IP version."""
    own: list[Address] = [address for address in place.addresses if address.version == version]
    return ",".join(format_endpoint(address, port) for address in own)


def _chassis(read: Read, name: str, node: Node) -> str | None:
    return parse_chassis(node) or None
