"""What of a Subnet concerns a node: where its packets go. Pure.

Who gets which address, and who may talk to whom, is the controller's business. Routes are made of this in `host.node`,
the table of nftables in `host.egress`.
"""

from dataclasses import dataclass

from kube_ovn.model.addr import Network, parse_networks
from kube_ovn.model.crd import Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSubnet:
    """A Subnet in effect. Two of them are equal when nothing changed that a node has to do something about."""

    name: str
    networks: tuple[Network, ...]
    nat: bool = False
    """Its Pods reach the outside with the address of their node."""


def parse_subnet(subnet: Subnet, join: str) -> NodeSubnet | None:
    """None while no CIDR of it is in effect, and for the join subnet, which a node knows from its own annotations.

    Raises ValueError with a sentence about the status.
    """
    name, cidr_block = subnet.metadata.name, subnet.status.cidr_block
    if not cidr_block or name == join:
        return None
    try:
        networks = parse_networks(cidr_block)
    except ValueError as error:
        raise ValueError(f"status.cidrBlock of Subnet {name}: {error}") from None
    return NodeSubnet(name=name, networks=networks, nat=subnet.spec.nat_outgoing)
