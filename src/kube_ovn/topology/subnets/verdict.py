"""The subnets that users ask for, and the reasons why some cannot be had. Pure.

The status of a Subnet says which addresses are in effect (`cidrBlock`, `gateway`). It is written before they are used,
so a new process finds them there. A spec that cannot be met (an overlap, or a CIDR that lacks an address in use) leaves
the status as it is.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from kube_ovn.discovery.special import special_part
from kube_ovn.model import crd, names, ranges
from kube_ovn.model.addr import Address, Network, format_list, parse_address, parse_addresses, parse_networks
from kube_ovn.model.network import Subnet
from kube_ovn.model.ranges import Ranges, host_ranges

SMALLEST = 4
"""The fewest addresses of a CIDR: its network address, the gateway, the broadcast address, and one for a Pod."""
MOST_NAMED = 5
"""The most names in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The subnet that is in effect for a Subnet object, and the one that its spec asks for."""

    age: str
    """The creation timestamp of the Subnet."""
    wanted: Subnet | None
    complaint: str
    """Why the spec asks for no subnet that is possible; empty when there is a `wanted` one."""
    held: Subnet | None
    """The subnet in effect; or the one that was accepted a moment ago and is not in the status yet."""


def parse_subnet(name: str, cidr: str, gateway: str = "", exclude: Iterable[str] = ()) -> Subnet:
    """A subnet from texts: CIDRs, gateways (default: the first address of each CIDR) and excluded ranges `a..b`.

    Raises ValueError with a sentence for the user.
    """
    subnet = _parse_any(name, cidr, gateway, exclude)
    for network in subnet.cidrs:
        if what := special_part(network):
            raise ValueError(f"CIDR {network} holds {what}; choose another")
    return subnet


def _parse_any(name: str, cidr: str, gateway: str, exclude: Iterable[str]) -> Subnet:
    """A subnet from texts as of `parse_subnet`, wherever it lies. Raises ValueError."""
    networks = parse_networks(cidr)
    for network in networks:
        if network.num_addresses < SMALLEST:
            raise ValueError(f"CIDR {network} is too small; it must hold at least {SMALLEST} addresses")
    given = parse_addresses(gateway) if gateway else ()
    for address in given:
        if not any(address.version == network.version for network in networks):
            raise ValueError(f"gateway {address} is of another IP family than CIDR {cidr}")
    excluded = tuple(map(parse_range, exclude))
    return Subnet(
        name=name,
        cidrs=networks,
        gateways=tuple(_gateway(network, given) for network in networks),
        exclude=tuple(each for each in excluded if any(each[0].version == network.version for network in networks)),
    )


def parse_range(text: str) -> tuple[Address, Address]:
    """Parse `a` or `a..b` into the first and the last address. Raises ValueError."""
    first, _, last = text.partition("..")
    try:
        low, high = parse_address(first), parse_address(last.strip() or first)
    except ValueError:
        raise ValueError(f"{text!r} is neither an address nor a range like 10.16.0.10..10.16.0.20") from None
    if low.version != high.version or int(low) > int(high):
        raise ValueError(f"{text!r} is not a range of addresses like 10.16.0.10..10.16.0.20")
    return low, high


def _gateway(network: Network, given: Sequence[Address]) -> Address:
    for address in given:
        if address.version == network.version:
            last = network.broadcast_address if network.version == 4 else None
            if address not in network or address in (network.network_address, last):
                raise ValueError(f"gateway {address} is not a host address of CIDR {network}")
            return address
    return network.network_address + 1


def parse_spec(subnet: crd.Subnet, router: str) -> Subnet:
    """The subnet that a spec asks for. Raises ValueError with a sentence for the user."""
    spec = subnet.spec
    if spec.vpc not in ("", router):
        raise ValueError(f"vpc {spec.vpc} is not {router}: custom VPCs are not supported yet")
    if spec.vlan:
        raise ValueError(f"vlan {spec.vlan}: underlay subnets are not supported yet; remove it")
    if spec.provider not in ("", names.PROVIDER):
        raise ValueError(f"provider {spec.provider} is not {names.PROVIDER}: attachments are not supported yet")
    if not spec.cidr_block:
        raise ValueError("cidrBlock is empty; set it, for example to 10.66.0.0/16")
    return parse_subnet(subnet.metadata.name, spec.cidr_block, spec.gateway, spec.exclude_ips)


def in_effect(subnet: crd.Subnet) -> Subnet | None:
    """The subnet as its status says, with the ranges that its spec excludes; None while the status says nothing, or
    nothing that can be read. One that lies where no new subnet may stays.
    """
    status = subnet.status
    if not status.cidr_block:
        return None
    exclude = [text for text in subnet.spec.exclude_ips if _is_range(text)]  # `parse_spec` refuses the others
    try:
        return _parse_any(subnet.metadata.name, status.cidr_block, status.gateway, exclude)
    except ValueError:
        return None  # the status was damaged; the spec is judged anew


def _is_range(text: str) -> bool:
    try:
        parse_range(text)
    except ValueError:
        return False
    return True


def parse_claim(subnet: crd.Subnet, router: str, services: Iterable[Network], held: Subnet | None) -> Claim:
    """The claim of a Subnet. The complaint says that the spec cannot be read, or overlaps a Service CIDR."""
    meta = subnet.metadata
    try:
        wanted, complaint = parse_spec(subnet, router), ""
        _check_services(wanted, services)
    except ValueError as error:
        wanted, complaint = None, str(error)
    return Claim(age=meta.creation_timestamp, wanted=wanted, complaint=complaint, held=held)


def until_written(held: Subnet, accepted: Subnet) -> Subnet:
    """A subnet until its status says what was accepted: addresses that the accepted subnet lacks are not granted any
    more.
    """
    leaving: list[tuple[Address, Address]] = []
    for cidr in held.cidrs:
        stay = Ranges.of(span for c in accepted.cidrs if c.version == cidr.version for span in host_ranges(c).spans)
        gone = host_ranges(cidr) - stay
        leaving += [(ranges.address(cidr.version, low), ranges.address(cidr.version, high)) for low, high in gone.spans]
    leaving += [(gateway, gateway) for gateway in accepted.gateways if gateway not in held.gateways]
    return replace(held, exclude=(*accepted.exclude, *leaving))


def _check_services(wanted: Subnet, services: Iterable[Network]) -> None:
    for cidr in wanted.cidrs:
        for service in services:
            if cidr.version == service.version and cidr.overlaps(service):
                raise ValueError(f"CIDR {cidr} overlaps the Service CIDR {service}; choose another")


def find_loss(wanted: Subnet, held: Subnet, users: Sequence[tuple[Address, str]], given: AbstractSet[Address]) -> str:
    """Why addresses in use forbid a change; empty when they do not. The new CIDRs must hold these addresses and the
    gateways that serve them, and no address in use may be a new gateway. `users`: the addresses in use, each with the
    label of its owner. `given`: the gateways that the owners were given, some of which the subnet may not have any
    more.
    """
    outside = [f"{label} ({address})" for address, label in users if not wanted.has_host(address)]
    if outside:
        change = f"{format_list(held.cidrs)} to {format_list(wanted.cidrs)}"
        return f"CIDR cannot change from {change}: {format_names(outside)} would be outside; delete them first"
    former = sorted((each for each in given - {*held.gateways} if held.holds(each)), key=str)
    lost = [gateway for gateway in (*held.gateways, *former) if not wanted.holds(gateway)]
    if lost and users:
        named = format_names(list(dict.fromkeys(label for _, label in users)))
        return f"gateway {format_list(lost)} would be outside, but it serves {named}; delete them first"
    for address, label in users:
        if address in wanted.gateways:
            return f"gateway cannot be {address}: it is the address of {label}; delete it first, or choose another"
    return ""


def format_names(items: Sequence[str]) -> str:
    """The first few items, and how many more there are."""
    shown = ", ".join(items[:MOST_NAMED])
    return shown if len(items) <= MOST_NAMED else f"{shown} and {len(items) - MOST_NAMED} more"
