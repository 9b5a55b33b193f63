"""The fields of a Subnet that describe its gateways: `gatewayNode`, `natOutgoingPolicyRules`, `externalEgressGateway`.

The controller reads the nodes, in order of preference. A node reads the source address that it is to use. No decisions
here.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

import msgspec

from kube_ovn.model.addr import Address, Network, parse_addresses
from kube_ovn.model.crd import NatRule, SubnetSpec

CENTRALIZED = "centralized"
_MAIN_RULE = 32766
_KERNELS_TABLES = (0, 253, 254, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class NatException:
    """Packets of one IP family that natOutgoing applies to, or does not; later rules cannot change that. An empty tuple
    of networks matches all packets.
    """

    id: str
    """12 hexadecimal digits, a digest of the rule's content."""
    version: int
    sources: tuple[Network, ...]
    destinations: tuple[Network, ...]
    nat: bool


def parse_gateway_nodes(text: str) -> dict[str, tuple[Address, ...]]:
    """Parse `node1,node2` or `node1:192.0.2.11,node2:192.0.2.12`: the nodes in order, each with its fixed source
    addresses, if there are any. A node with one of each family is named twice. Raises ValueError with a sentence for
    the user.
    """
    found: dict[str, tuple[Address, ...]] = {}
    for part in text.split(","):
        name, colon, source = (each.strip() for each in part.strip().partition(":"))
        if not name and not colon:
            continue
        if not name or len(name.split()) > 1 or (colon and not source):
            raise ValueError(f"{part.strip()!r} is neither NODE nor NODE:ADDRESS")
        sources = (*found.get(name, ()), *(parse_addresses(source) if source else ()))
        if len({address.version for address in sources}) != len(sources):
            raise ValueError(f"node {name} has two source addresses of one IP family; one of each at most")
        found[name] = sources
    return found


def parse_nat_rule(rule: NatRule) -> NatException:
    """Parse a rule of natOutgoingPolicyRules. Raises ValueError with a sentence for the user."""
    sources, destinations = _networks(rule.match.src_ips), _networks(rule.match.dst_ips)
    versions = {network.version for network in (*sources, *destinations)}
    if not versions:
        raise ValueError("a rule needs srcIPs or dstIPs")
    if len(versions) > 1:
        raise ValueError(f"{rule.match.src_ips} and {rule.match.dst_ips} are not of one IP family; make two rules")
    if rule.action not in ("nat", "forward"):
        raise ValueError(f"action {rule.action!r} is neither nat nor forward")
    (version,) = versions
    digest = hashlib.blake2b(msgspec.json.encode(rule), digest_size=6).hexdigest()
    return NatException(
        id=digest, version=version, sources=sources, destinations=destinations, nat=rule.action == "nat"
    )


def parse_nat_rules(rules: Iterable[NatRule]) -> tuple[NatException | str, ...]:
    """Parse the rules of natOutgoingPolicyRules, in their order; a sentence for the user where one cannot be read."""
    found: list[NatException | str] = []
    for rule in rules:
        try:
            found.append(parse_nat_rule(rule))
        except ValueError as error:
            found.append(str(error))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class External:
    """The routers in the nodes' network that packets of a subnet are sent to, one for each IP family; and the priority
    and table of the routing rule that sends them.
    """

    gateways: tuple[Address, ...]
    priority: int
    table: int


def parse_external(spec: SubnetSpec) -> External | None:
    """Parse the externalEgressGateway of a Subnet; None when it is empty. Raises ValueError with a sentence for the
    user.
    """
    if not spec.external_egress_gateway.strip():
        return None
    if spec.nat_outgoing:
        raise ValueError("natOutgoing and externalEgressGateway exclude each other; set one of them")
    priority, table = spec.policy_routing_priority, spec.policy_routing_table_id
    if not 0 < priority < _MAIN_RULE:
        raise ValueError(
            f"policyRoutingPriority is {priority}; it must be from 1 to {_MAIN_RULE - 1}, before the main table's rule"
        )
    if table in _KERNELS_TABLES:
        raise ValueError(f"policyRoutingTableID is {table}, which is the kernel's own; use another, such as 1001")
    return External(gateways=parse_addresses(spec.external_egress_gateway), priority=priority, table=table)


def _networks(text: str) -> tuple[Network, ...]:
    """Parse addresses and CIDRs separated by commas, in order. One that lies inside another is left out. Raises
    ValueError.
    """
    found: dict[Network, None] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            found[ip_network(part)] = None
        except ValueError:
            raise ValueError(f"{part!r} is neither an address nor a CIDR") from None
    places = {_place(each, each.prefixlen) for each in found}
    lengths = {(each.version, each.prefixlen) for each in found}
    return tuple(
        each
        for each in found
        if not any(
            version == each.version and length < each.prefixlen and _place(each, length) in places
            for version, length in lengths
        )
    )


def _place(network: Network, length: int) -> tuple[int, int, int]:
    """The network of this prefix length that holds a network, in numbers that can be looked up."""
    return network.version, length, int(network.network_address) >> (network.max_prefixlen - length)
