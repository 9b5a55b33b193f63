"""Objections: the sentences why names, addresses in use, and the networks of nodes and Services forbid the subnet that
a spec asks for.

Reads claims, foreign rows, holders, grants, and the networks of nodes and Services.
"""

from collections.abc import Collection as Names
from dataclasses import dataclass

from kube_ovn.derive import Derived, Graph, Read, Source
from kube_ovn.model import crd, names
from kube_ovn.model.addr import Address
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.network import Subnet
from kube_ovn.model.row import RowKey
from kube_ovn.topology.addresses.grants import Grants
from kube_ovn.topology.addresses.holders import Holders
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.inputs import Inputs, record_name
from kube_ovn.topology.subnets.attached import Attached, Claimed
from kube_ovn.topology.subnets.verdict import Claim, find_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The sources and settings that decisions on Subnets are derived from."""

    inputs: Inputs
    fabric: Fabric
    attached: Attached
    claimed: Claimed
    in_effect: Source[str, Subnet]
    """The subnets that statuses put in effect (`addressing.define_in_effect`)."""
    holders: Holders
    grants: Grants
    confirmed: Names[str]
    """The UIDs of Pods and Nodes that have a port in the database."""


def define(graph: Graph, on: Reads, claims: Derived[str, crd.Subnet, Claim]) -> Derived[str, Claim, str]:
    """Derive the objections to Subnets."""

    def objection(read: Read, name: str, each: Claim) -> str | None:
        if each.wanted is None:
            return None
        held = () if each.held is None else each.held.cidrs  # these stay with the Subnet, whatever overlaps them
        new = [cidr for cidr in each.wanted.cidrs if cidr not in held]
        if new and name not in on.fabric.initial:
            against = on.attached.against(read, new) or on.claimed.against(read, new)
            if against:
                return against
        if each.held is not None:
            return against_change(read, on.grants, each.wanted, each.held) or None
        joint = names.switch_port(name, on.fabric.router)
        if not _is_taken(read, on, joint):
            return None
        return f"its port would be named {joint}, which is taken already; choose another name"

    return graph.derive("objections to subnets", claims, objection)


def against_change(read: Read, grants: Grants, wanted: Subnet, held: Subnet) -> str:
    """Why addresses in use forbid that a subnet changes; empty when they do not."""
    if (wanted.cidrs, wanted.gateways) == (held.cidrs, held.gateways):
        return ""
    given = {each for one in read.select(grants.by_subnet, wanted.name).values() for each in one.grant.gateways}
    return find_loss(wanted, held, users(read, grants, wanted.name), given)


def users(read: Read, grants: Grants, subnet: str) -> list[tuple[Address, str]]:
    """The addresses in use in a subnet, in order, each with the label of its owner."""
    held = read.select(grants.by_subnet, subnet).values()
    found = [(address, each.owner.label) for each in held for address in each.grant.addresses]
    return sorted(found, key=lambda each: (each[0].version, int(each[0])))


def _is_taken(read: Read, on: Reads, joint: str) -> bool:
    """Whether the name of a new subnet's joint is taken: by a foreign row, or by the port of a Node or Pod that has an
    address, also while the record of it is on its way. A Node or Pod without an address gives way.
    """
    if read.get(on.inputs.foreign, RowKey(LogicalSwitchPort.TABLE, joint)):
        return True
    node, (pod, _, namespace) = joint.removeprefix(names.node_port("")), joint.rpartition(".")
    found = [read.get(on.holders.nodes, node)] if node != joint else []
    found += [read.get(on.holders.pods, record_name(namespace, pod))] if pod else []
    return any(
        each.uid in on.confirmed
        or read.get(on.grants.held, each.owner.key) is not None
        or on.holders.is_recorded(read, each)
        for each in found
        if each is not None
    )
