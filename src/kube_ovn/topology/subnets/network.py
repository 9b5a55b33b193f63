"""The rows of subnets, of the router and of IPPools, and the sets of the nodes' own addresses.

Reads effective subnets, IPPools, Nodes and occupancies. Makes `switches`, the names of the logical switches, and
`conflicts`, the addresses of Nodes that lie in a subnet.
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice

from kube_ovn.derive import Derived, Graph, Index, Read, Source
from kube_ovn.discovery.attached import Named, internal_addresses
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
from kube_ovn.topology.subnets.attached import Attached
from kube_ovn.topology.subnets.features import Features
from kube_ovn.topology.subnets.parsing import Texts
from kube_ovn.topology.subnets.pool import render_pool
from kube_ovn.topology.subnets.router import render_vpc
from kube_ovn.topology.subnets.switch import SubnetInputs, render_subnet

Conflicts = tuple[tuple[Address, str], ...]
"""Addresses of one Node, each with the subnet it lies in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The derivations on the network that other parts read."""

    switches: Source[str, bool]
    """The names of the logical switches of subnets."""
    covering: Derived[str, bool, "Covering"]
    """Under the one key `ONE`."""
    conflicts: Source[str, Conflicts]
    """By the name of the Node."""
    conflicts_by_subnet: Index[str, str, Conflicts]
    clashes: Source[str, tuple[str, str]]
    """By the name of the Node: the words for a network that it is attached to, and the Subnet that overlaps it."""
    sets: Index[str, str, State]
    """The Address_Sets of IPPools, by name."""
    groups: Index[str, str, Node]
    """The Port_Groups of Nodes, by name."""


@dataclass(frozen=True, slots=True)
class Covering:
    """Finds the subnet that holds an address: the spans of all subnets, sorted; they do not overlap."""

    spans: tuple[tuple[int, int, int, str], ...]
    """IP version, first and last number, name of the subnet."""

    def find(self, address: Address) -> str:
        """The name of the subnet that holds an address; empty when none does."""
        version, number = address.version, int(address)
        at = bisect_right(self.spans, (version, number, 1 << 128, "")) - 1
        if at < 0:
            return ""
        found, low, high, name = self.spans[at]
        return name if found == version and low <= number <= high else ""

    def find_overlapping(self, network: Prefix, but: Collection[str]) -> str:
        """The name of the first subnet that overlaps a network; empty when none does. `but`: subnets that do not count
        where they are a part of the network.
        """
        low, high = int(network.network_address), int(network.broadcast_address)
        at = max(0, bisect_right(self.spans, (network.version, low, 1 << 128, "")) - 1)
        for version, first, last, name in islice(self.spans, at, None):
            if (version, first) > (network.version, high):
                break
            is_part = low <= first and last <= high and (low, high) != (first, last)
            if version == network.version and low <= last and not (is_part and name in but):
                return name
        return ""


@dataclass(frozen=True, slots=True)
class _Use:
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
    attached: Attached,
    ranges: Source[str, tuple[Prefix, ...]],
    grants: Grants,
) -> Network:
    """Derive the rows of subnets, of the router and of IPPools, and the sets of the nodes' addresses. `ranges`: the
    networks of Services, under the one key `ONE`.
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
    return _define_nodes(
        graph, inputs, outputs, addressing, fabric, attached, rows, _define_pools(graph, outputs, addressing)
    )


def _use(read: Read, name: str, occupancy: Occupancy) -> _Use:
    return _Use(occupancy.old_gateways, bool(occupancy.owners))


def _define_pools(graph: Graph, outputs: Outputs, addressing: Addressing) -> Source[str, State]:
    def render(read: Read, name: str, pool: IPPool) -> State | None:
        subnet, verdict = read.get(addressing.effective, pool.spec.subnet), read.get(addressing.pool_verdicts, name)
        if subnet is None or verdict is None or not pool.spec.enable_address_set or not verdict.ranges:
            return None
        return render_pool(pool, verdict, subnet)

    rows = graph.derive("rows of pools", addressing.pool_specs, render)
    outputs.rows.follow(rows, find_owner(addressing.pool_specs, Kind.IPPOOL))
    return rows


def _define_nodes(
    graph: Graph,
    inputs: Inputs,
    outputs: Outputs,
    addressing: Addressing,
    fabric: Fabric,
    attached: Attached,
    rows: Source[str, State],
    pools: Source[str, State],
) -> Network:
    def cover(read: Read, key: str, value: bool) -> Covering:
        return Covering(tuple(sorted(_spans(list(read.all(addressing.effective).values())))))

    def find_conflicts(read: Read, name: str, own: tuple[Address, ...]) -> Conflicts | None:
        there = read.get(covering, ONE)
        assert there is not None, "there always is one"
        return tuple((address, subnet) for address in own if (subnet := there.find(address))) or None

    def find_clash(read: Read, name: str, networks: tuple[Named, ...]) -> tuple[str, str] | None:
        there = read.get(covering, ONE)
        assert there is not None, "there always is one"
        found = ((words, there.find_overlapping(network, fabric.initial)) for network, words in networks)
        return next(((words, subnet) for words, subnet in found if subnet), None)

    def addresses(read: Read, name: str, node: Node) -> tuple[Address, ...] | None:
        return internal_addresses(node) or None

    def members(read: Read, name: str, own: tuple[Address, ...]) -> State:
        sets = [(names.node_address_set(each.version), str(each)) for each in own]
        return facts(members=tuple(Member(AddressSet.TABLE, key, "addresses", text) for key, text in sets))

    def render_sets(read: Read, key: str, value: bool) -> State:
        return facts(*(AddressSet(name=names.node_address_set(version), external_ids=owned()) for version in (4, 6)))

    own = graph.derive("addresses of nodes", inputs.nodes, addresses)
    outputs.rows.follow(graph.derive("sets of nodes' addresses", inputs.one, render_sets))
    memberships = graph.derive("members of nodes' addresses", own, members)
    outputs.rows.follow(memberships, find_owner(inputs.nodes, Kind.NODE))
    covering = graph.derive("spans of subnets", inputs.one, cover)
    conflicts = graph.derive("conflicts of nodes", own, find_conflicts)
    return Network(
        switches=graph.derive("switches", rows, lambda read, name, state: True),
        covering=covering,
        conflicts=conflicts,
        clashes=graph.derive("clashes of nodes", attached.by_node, find_clash),
        sets=graph.index("address sets", pools, _sets),
        groups=graph.index("port groups", inputs.nodes, lambda name, node: (names.node_port_group(name),)),
        conflicts_by_subnet=graph.index("conflicts by subnet", conflicts, lambda name, found: [s for _, s in found]),
    )


def _sets(name: str, state: State) -> list[str]:
    return [key.key for key, row in state.items() if isinstance(row, AddressSet)]


def _spans(subnets: Sequence[Subnet]) -> list[tuple[int, int, int, str]]:
    return [
        (cidr.version, int(cidr.network_address), int(cidr.broadcast_address), subnet.name)
        for subnet in subnets
        for cidr in subnet.cidrs
    ]
