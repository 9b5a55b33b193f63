"""What of a Subnet concerns a node: where its packets go. Pure.

Who gets which address, who may talk to whom, and through which nodes packets leave, is the controller's business.
Routes are made of this in `host.node`, the table of nftables in `host.egress`.
"""

import contextlib
from dataclasses import dataclass

from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, parse_networks
from kube_ovn.model.crd import Subnet
from kube_ovn.model.gateway import (
    CENTRALIZED,
    External,
    NatException,
    parse_external,
    parse_gateway_nodes,
    parse_nat_rule,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSubnet:
    """A Subnet in effect. Two of them are equal when nothing changed that a node has to do something about."""

    name: str
    networks: tuple[Network, ...]
    nat: bool = False
    """Its Pods reach the outside with an address of the node they leave through."""
    centralized: bool = False
    """Its packets leave through its gateway nodes, whatever node a Pod is on, or not at all. True when the fabric
    treats it so; until then, on a change from distributed, they go on through each Pod's own node.
    """
    private: bool = False
    """Who may come in is decided by whom packets are from."""
    sources: tuple[Address, ...] = ()
    """With `nat`: the addresses its packets get on this node, instead of any of the node's own."""
    exceptions: tuple[NatException, ...] = ()
    """With `nat`: the first that fits a packet decides."""
    external: External | None = None
    """The routers its packets are sent to, instead of the node's own default ones."""
    stopped: frozenset[int] = frozenset()
    """IP families whose packets must not leave here: what its user wrote cannot be done, and another way would be a
    leak.
    """
    reason: str = ""
    """Why, if that is about this node; of the rest the controller tells."""


def parse_subnet(subnet: Subnet, join: str, node: str) -> NodeSubnet | None:
    """The Subnet as `node` sees it. None while no CIDR of it is in effect, and for the join subnet, which a node knows
    from its own annotations.

    Raises ValueError with a sentence about the status. What cannot be read of the spec is left out; the controller
    tells its user.
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
    exceptions: list[NatException] = []
    external, stopped = None, frozenset[int]()
    try:
        external = parse_external(spec)
    except ValueError:
        stopped = frozenset(network.version for network in networks)
    if spec.nat_outgoing:
        with contextlib.suppress(ValueError):
            if spec.gateway_type == CENTRALIZED:
                sources = parse_gateway_nodes(spec.gateway_node).get(node, ())
        for rule in spec.nat_outgoing_policy_rules:
            with contextlib.suppress(ValueError):
                exceptions.append(parse_nat_rule(rule))
    return NodeSubnet(
        name=name,
        networks=networks,
        nat=spec.nat_outgoing,
        centralized=centralized,
        private=spec.private,
        sources=sources,
        exceptions=tuple(exceptions),
        external=external,
        stopped=stopped,
    )
