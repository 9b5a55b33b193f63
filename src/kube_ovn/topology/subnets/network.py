"""The rows of subnets, of the router and of IPPools, and the sets of the nodes' own addresses.

Reads effective subnets, IPPools, the addresses of Nodes, and occupancies. Makes `switches`, the names of the logical
switches.
"""

from dataclasses import dataclass

from kube_ovn.derive import Graph, Index, Read, Source
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.addr import Network as Prefix
from kube_ovn.model.crd import IPPool
from kube_ovn.model.kube import Node
from kube_ovn.model.nb import AddressSet
from kube_ovn.model.network import Kind, Subnet
from kube_ovn.model.row import Member, State, facts, owned
from kube_ovn.topology.addresses.grants import Grants, Occupancy
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.inputs import ONE, Inputs
from kube_ovn.topology.outputs import Outputs, find_owner
from kube_ovn.topology.subnets.addressing import Addressing
from kube_ovn.topology.subnets.features import Features
from kube_ovn.topology.subnets.parsing import Texts
from kube_ovn.topology.subnets.pool import render_pool
from kube_ovn.topology.subnets.router import render_vpc
from kube_ovn.topology.subnets.switch import SubnetInputs, render_subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The derivations on the network that other parts read."""

    switches: Source[str, bool]
    """The names of the logical switches of subnets."""
    uses: Source[str, "Use"]
    """By the name of the subnet."""
    sets: Index[str, str, State]
    """The Address_Sets of IPPools, by name."""
    groups: Index[str, str, Node]
    """The Port_Groups of Nodes, by name."""


@dataclass(frozen=True, slots=True)
class Use:
    """The part of a subnet's occupancy that its rows depend on."""

    old_gateways: tuple[Address, ...]
    in_use: bool


def define(
    graph: Graph,
    inputs: Inputs,
    outputs: Outputs,
    fabric: Fabric,
    features: Source[str, Features],
    texts: Source[str, Texts],
    addressing: Addressing,
    own: Source[str, tuple[Address, ...]],
    ranges: Source[str, tuple[Prefix, ...]],
    grants: Grants,
) -> Network:
    """Derive the rows of subnets, of the router and of IPPools, and the sets of the nodes' addresses. `own`: these
    addresses, by the name of the Node. `ranges`: the networks of Services, under the one key `ONE`.
    """
    uses = graph.derive("uses of subnets", grants.occupancy, _use)

    def render(read: Read, name: str, subnet: Subnet) -> State | None:
        each, parsed, use = read.get(features, name), read.get(texts, name), read.get(uses, name)
        if each is None or parsed is None or (each.leaving and (use is None or not use.in_use)):
            return None
        join = read.get(addressing.effective, fabric.join)
        return render_subnet(
            SubnetInputs(
                router=fabric.router,
                subnet=subnet,
                spec=each.spec,
                old_gateways=() if use is None else use.old_gateways,
                join=() if join is None else join.cidrs,
                has_pods=name != fabric.join,
                services=read.get(ranges, ONE) or (),
                dns=bool(fabric.domain),
                rules=parsed.rules,
            )
        )

    def render_router(read: Read, key: str, value: bool) -> State:
        return render_vpc(fabric.router, read.get(addressing.effective, fabric.join))

    rows = graph.derive("rows of subnets", addressing.effective, render)
    outputs.rows.follow(rows, find_owner(inputs.subnets, Kind.SUBNET))
    outputs.rows.follow(graph.derive("rows of the router", inputs.one, render_router))
    _define_addresses(graph, inputs, outputs, own)
    return Network(
        switches=graph.derive("switches", rows, lambda read, name, state: True),
        uses=uses,
        sets=graph.index("address sets", _define_pools(graph, outputs, addressing), _sets),
        groups=graph.index("port groups", inputs.nodes, lambda name, node: (names.node_port_group(name),)),
    )


def _use(read: Read, name: str, occupancy: Occupancy) -> Use:
    return Use(occupancy.old_gateways, bool(occupancy.owners))


def _define_pools(graph: Graph, outputs: Outputs, addressing: Addressing) -> Source[str, State]:
    def render(read: Read, name: str, pool: IPPool) -> State | None:
        subnet, verdict = read.get(addressing.effective, pool.spec.subnet), read.get(addressing.pool_verdicts, name)
        if subnet is None or verdict is None or not pool.spec.enable_address_set or not verdict.ranges:
            return None
        return render_pool(pool, verdict, subnet)

    rows = graph.derive("rows of pools", addressing.pool_specs, render)
    outputs.rows.follow(rows, find_owner(addressing.pool_specs, Kind.IPPOOL))
    return rows


def _define_addresses(graph: Graph, inputs: Inputs, outputs: Outputs, own: Source[str, tuple[Address, ...]]) -> None:
    def members(read: Read, name: str, addresses: tuple[Address, ...]) -> State:
        sets = [(names.node_address_set(each.version), str(each)) for each in addresses]
        return facts(members=tuple(Member(AddressSet.TABLE, key, "addresses", text) for key, text in sets))

    def render_sets(read: Read, key: str, value: bool) -> State:
        return facts(*(AddressSet(name=names.node_address_set(version), external_ids=owned()) for version in (4, 6)))

    outputs.rows.follow(graph.derive("sets of nodes' addresses", inputs.one, render_sets))
    outputs.rows.follow(graph.derive("members of nodes' addresses", own, members), find_owner(inputs.nodes, Kind.NODE))


def _sets(name: str, state: State) -> list[str]:
    return [key.key for key, row in state.items() if isinstance(row, AddressSet)]
