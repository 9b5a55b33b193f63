"""IPPools: parts of subnets from which only Pods that ask for the pool get addresses. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from kube_ovn.model import names
from kube_ovn.model.addr import format_list
from kube_ovn.model.crd import IPPool
from kube_ovn.model.nb import AddressSet
from kube_ovn.model.network import Subnet
from kube_ovn.model.ranges import Ranges, Span, address
from kube_ovn.model.row import Key, Member, Row, facts, owned
from kube_ovn.topology.subnets.verdict import parse_range


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolVerdict:
    """The ranges of an IPPool that count, in the order of its subnet's CIDRs. `refusal`: the parts that do not count,
    and why.
    """

    ranges: tuple[Ranges, ...] = ()
    refusal: str = ""


def judge_pools(pools: Iterable[IPPool], subnets: Mapping[str, Subnet]) -> dict[str, PoolVerdict]:
    """The verdict on each pool, by the name of the pool. An address that two pools ask for goes to the older pool."""
    taken: dict[str, list[Ranges]] = {}
    verdicts: dict[str, PoolVerdict] = {}
    for pool in sorted(pools, key=lambda pool: (pool.metadata.creation_timestamp, pool.metadata.name)):
        subnet = subnets.get(pool.spec.subnet)
        if subnet is None:
            verdicts[pool.metadata.name] = PoolVerdict(
                refusal=f"subnet {pool.spec.subnet} does not exist or is not ready"
            )
            continue
        others = taken.setdefault(subnet.name, [Ranges()] * len(subnet.cidrs))
        verdict = _judge_pool(pool, subnet, others)
        taken[subnet.name] = [mine | theirs for mine, theirs in zip(verdict.ranges, others, strict=True)]
        verdicts[pool.metadata.name] = verdict
    return verdicts


def _judge_pool(pool: IPPool, subnet: Subnet, others: Sequence[Ranges]) -> PoolVerdict:
    spans: list[list[Span]] = [[] for _ in subnet.cidrs]
    faults: list[str] = []
    for text in pool.spec.ips:
        try:
            at, span = _parse_entry(text, subnet)
            spans[at].append(span)
        except ValueError as error:
            faults.append(str(error))
    wanted = [Ranges.of(each) for each in spans]
    if any(mine & theirs for mine, theirs in zip(wanted, others, strict=True)):
        faults.append(f"some of its addresses are in an older IPPool of subnet {subnet.name} and stay there")
    ranges = tuple(mine - theirs for mine, theirs in zip(wanted, others, strict=True))
    return PoolVerdict(ranges=ranges, refusal="; ".join(faults))


def _parse_entry(text: str, subnet: Subnet) -> tuple[int, Span]:
    """Parse an address, CIDR or range. Returns the index of the subnet's CIDR that holds it, and its first and last
    number. Raises ValueError.
    """
    if "/" in text:
        network = ip_network(text.strip(), strict=False)
        low, high = network.network_address, network.broadcast_address
    else:
        low, high = parse_range(text)
    for at, cidr in enumerate(subnet.cidrs):
        if low in cidr and high in cidr:
            return at, (int(low), int(high))
    raise ValueError(f"{text} is not in the CIDR {format_list(subnet.cidrs)} of subnet {subnet.name}")


def render_pool(pool: IPPool, verdict: PoolVerdict, subnet: Subnet) -> dict[Key, Row | None]:
    """The rows of a pool's Address_Sets, for ACLs and policies of users that name them."""
    rows, members = [], []
    for ranges, cidr in zip(verdict.ranges, subnet.cidrs, strict=True):
        name = names.pool_address_set(pool.metadata.name, cidr.version)
        rows.append(AddressSet(name=name, external_ids=owned(ippool=pool.metadata.name)))
        members += [Member(AddressSet.TABLE, name, "addresses", text) for text in _prefixes(ranges, cidr.version)]
    return facts(*rows, members=tuple(members))


def _prefixes(ranges: Ranges, version: int) -> list[str]:
    """The fewest CIDRs that make up these ranges: entries of an Address_Set, with no more flows than needed."""
    bits = 32 if version == 4 else 128
    found = []
    for low, high in ranges.spans:
        while low <= high:
            size = (low & -low).bit_length() - 1 if low else bits
            size = min(size, (high - low + 1).bit_length() - 1)
            found.append(f"{address(version, low)}/{bits - size}")
            low += 1 << size
    return found
