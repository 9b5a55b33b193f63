"""The values of the Services' variables on each node: rows of Chassis_Template_Var.

Keyed by node: a node reads the values for itself, those for its zone, and those that lead to a port of its own. So a
change of one node's zone costs one node, and a change of an endpoint costs the nodes with clients that the endpoint
serves. A Service may have an endpoint on every node; so a node reads a group of values, and no Service.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

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

Values = Mapping[str, str]
"""By the name of the variable."""


class _Own(NamedTuple):
    """The value of a variable on nodes that have an address of an IP version: this address with a port, or a text."""

    version: int
    port: int
    """The port; 0 for the text."""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variable:
    """The values of a variable: `by_node` counts first, then `by_zone`, then `otherwise`, or `own`."""

    by_node: Values
    by_zone: Values = field(default_factory=dict)
    otherwise: str = ""
    own: _Own | None = None


def define(
    graph: Graph,
    inputs: Inputs,
    outputs: Outputs,
    holders: Holders,
    grants: Grants,
    placed: Source[Name, tuple[Placed, ...]],
    placed_dns: Source[str, tuple[Placed, ...]],
) -> None:
    """Derive the rows of variables. `placed`: fronts of Services with endpoints that depend on the node. `placed_dns`:
    fronts of the nodes' own DNS.
    """

    def place(read: Read, name: str, node: Node) -> Place:
        holder = read.get(holders.nodes, name)
        held = read.get(grants.held, holder.owner.key) if holder is not None else None
        own = held.grant.addresses if held is not None else ()
        return Place(node=name, zone=node.metadata.labels.get(names.ZONE, ""), addresses=own)

    def share(read: Read, key: str, value: bool) -> Mapping[tuple[int, int], Values]:
        found = dict(read.select(own, ONE))
        for fronts in read.all(placed_dns).values():
            found |= {name: each.own for name, each in _variables(fronts).items() if each.own is not None}
        groups: dict[tuple[int, int], dict[str, str]] = {}
        for name, (version, port, text) in sorted(found.items()):
            groups.setdefault((version, port), {})[name] = text
        return groups

    def of_zone(read: Read, zone: str, members: Mapping[str, Place]) -> Values:
        return {**read.select(otherwise, ONE), **read.select(by_zone, zone)}

    def of_node(read: Read, name: str, place: Place) -> Values | None:
        of_its_zone = read.get(zones, place.zone)
        values = dict(of_its_zone) if of_its_zone is not None else {}
        for (version, port), those in (read.get(shared, ONE) or {}).items():
            if text := _own(place, version, port):
                values |= dict.fromkeys(those, text) if port else those
        values |= read.select(by_node, name)
        return values or None

    def render(read: Read, chassis: str, members: Mapping[str, str]) -> State | None:
        for name in sorted(members):  # the first one, where two nodes claim the same chassis
            if (variables := read.get(nodes, name)) is not None:
                return render_variables(chassis, variables)
        return None

    by_name = graph.split("placed variables by name", placed, lambda name, fronts: _variables(fronts))
    variables = graph.derive("placed variables", by_name, lambda read, name, members: next(iter(members.values())))
    by_node = graph.split("values by node", variables, lambda name, each: each.by_node)
    by_zone = graph.split("values by zone", variables, lambda name, each: each.by_zone)
    otherwise = graph.split(
        "values elsewhere", variables, lambda name, each: {ONE: each.otherwise} if each.otherwise else {}
    )
    own = graph.split("variables of own ports", variables, lambda name, each: {ONE: each.own} if each.own else {})
    shared = graph.derive("variables by own port", inputs.one, share)
    places = graph.derive("places of nodes", inputs.nodes, place)
    nodes_by_zone: Index[str, str, Place] = graph.index("nodes by zone", places, lambda name, place: (place.zone,))
    zones = graph.derive("values in zones", nodes_by_zone, of_zone)
    nodes = graph.derive("variables of nodes", places, of_node)
    chassis = graph.derive("chassis of nodes", inputs.nodes, _chassis)
    by_chassis: Index[str, str, str] = graph.index("nodes by chassis", chassis, lambda name, each: (each,))
    outputs.rows.follow(graph.derive("rows of variables", by_chassis, render))


def _variables(fronts: Iterable[Placed]) -> dict[str, _Variable]:
    """The variables of fronts. The variable of an IPv6 address has values where the variable of its endpoints has
    some.
    """
    found: dict[str, _Variable] = {}
    for front in fronts:
        version, text = front.address.version, str(front.address)
        found[front.backend] = _Variable(
            by_node=front.by_node,
            by_zone=front.by_zone,
            otherwise=front.otherwise,
            own=_Own(version, front.own_port) if front.own_port else None,
        )
        if front.vip:
            found[front.vip] = _Variable(
                by_node=dict.fromkeys(front.by_node, text),
                otherwise=text if front.otherwise else "",
                own=_Own(version, 0, text) if front.own_port else None,
            )
    return found


def _own(place: Place, version: int, port: int) -> str:
    """A port of the node itself, at the node's addresses of this IP version."""
    own: list[Address] = [address for address in place.addresses if address.version == version]
    return ",".join(format_endpoint(address, port) for address in own)


def _chassis(read: Read, name: str, node: Node) -> str | None:
    return parse_chassis(node) or None
