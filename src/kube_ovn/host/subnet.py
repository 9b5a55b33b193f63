"""A Subnet as a node sees it: where its packets go. Pure.

The controller decides which owner gets which address, which traffic is allowed, and through which nodes packets leave.
From the values here, `host.node` makes routes and `host.egress` the table of nftables.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, parse_networks
from kube_ovn.model.crd import NatRule, Subnet
from kube_ovn.model.gateway import (
    CENTRALIZED,
    External,
    NatException,
    parse_external,
    parse_gateway_nodes,
    parse_nat_rules,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSubnet:
    """A Subnet in effect. Two values are equal when nothing changed that matters to a node."""

    name: str
    networks: tuple[Network, ...]
    nat: bool = False
    """Whether its Pods reach the outside with an address of the node that they leave through."""
    centralized: bool = False
    """Whether its packets leave through its gateway nodes, whatever node a Pod is on, or not at all. It is true once
    the fabric sends them there; until then, on a change from distributed, they leave through each Pod's own node.
    """
    private: bool = False
    """Whether packets may come in only from permitted sources."""
    sources: tuple[Address, ...] = ()
    """With `nat`: the addresses that its packets get on this node, instead of any address of the node."""
    exceptions: tuple[NatException, ...] = ()
    """With `nat`: the first that matches a packet decides."""
    external: External | None = None
    """The routers that its packets are sent to, instead of the node's default routers."""
    stopped: frozenset[int] = frozenset()
    """IP families in which its packets must not leave here: the wish of its user cannot be carried out, and another way
    would be a leak.
    """
    reason: str = ""
    """Why packets are stopped, if the reason lies in this node. The controller tells of other reasons."""


def parse_exceptions(rules: Iterable[NatRule]) -> tuple[NatException, ...]:
    """The NAT rules of a Subnet that can be read; the controller tells of the others."""
    return tuple(each for each in parse_nat_rules(rules) if not isinstance(each, str))


def parse_subnet(subnet: Subnet, join: str, node: str, exceptions: Iterable[NatException] = ()) -> NodeSubnet | None:
    """The Subnet as `node` sees it. None while no CIDR of it is in effect, and for the join subnet, which a node knows
    from its own annotations. `exceptions`: the result of `parse_exceptions`.

    Raises ValueError with a sentence on the status. A part of the spec that cannot be read is left out; the controller
    tells the user.
    """
    name, spec, cidr_block = subnet.metadata.name, subnet.spec, subnet.status.cidr_block
    if not cidr_block or name == join:
        return None
    try:
        networks = parse_networks(cidr_block)
    except ValueError as error:
        raise ValueError(f"status.cidrBlock of Subnet {name}: {error}") from None
    told = any(condition.type == names.GATEWAY_CONDITION for condition in subnet.status.conditions)
    centralized = spec.gateway_type == CENTRALIZED and told
    sources: tuple[Address, ...] = ()
    external, stopped = None, frozenset[int]()
    try:
        external = parse_external(spec)
    except ValueError:
        stopped = frozenset(network.version for network in networks)
    if spec.nat_outgoing:
        with contextlib.suppress(ValueError):
            if spec.gateway_type == CENTRALIZED:
                sources = parse_gateway_nodes(spec.gateway_node).get(node, ())
    return NodeSubnet(
        name=name,
        networks=networks,
        nat=spec.nat_outgoing,
        centralized=centralized,
        private=spec.private,
        sources=sources,
        exceptions=tuple(exceptions) if spec.nat_outgoing else (),
        external=external,
        stopped=stopped,
    )
