"""IPPools: which addresses of a subnet are theirs, what is told of the rest, and the Address_Sets they make."""

from ipaddress import ip_address, ip_network
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.model.crd import IPPool
from kube_ovn.model.nb import AddressSet
from kube_ovn.model.ranges import Ranges
from kube_ovn.model.row import Member, RowKey
from kube_ovn.topology.subnets.pool import PoolVerdict, _prefixes, judge_pools, render_pool
from kube_ovn.topology.subnets.verdict import parse_subnet
from tests.small_clusters import pool

S = parse_subnet("s", "10.0.0.0/24")
DUAL = parse_subnet("dual", "10.1.0.0/24,fd00::/64")
SUBNETS = {"s": S, "dual": DUAL}


def aged(made: IPPool, time: str) -> IPPool:
    return msgspec.structs.replace(made, metadata=msgspec.structs.replace(made.metadata, creation_timestamp=time))


def of(*texts: str) -> Ranges:
    """Ranges of addresses `a` and `a..b`."""
    pairs = (text.partition("..") for text in texts)
    return Ranges.of((int(ip_address(low)), int(ip_address(high or low))) for low, _, high in pairs)


def settled(*pools: IPPool) -> dict[str, PoolVerdict]:
    return judge_pools(pools, SUBNETS)


@pytest.mark.parametrize(
    ("ips", "expected"),
    [
        ((), of()),
        (("10.0.0.5",), of("10.0.0.5")),
        (("10.0.0.5..10.0.0.9",), of("10.0.0.5..10.0.0.9")),
        (("10.0.0.8/30",), of("10.0.0.8..10.0.0.11")),
        (("10.0.0.9/30",), of("10.0.0.8..10.0.0.11")),
        (("10.0.0.0/24",), of("10.0.0.0..10.0.0.255")),
        (("10.0.0.7", "10.0.0.5..10.0.0.6", "10.0.0.5"), of("10.0.0.5..10.0.0.7")),
        ((" 10.0.0.5 .. 10.0.0.9 ", " 10.0.0.16/32 "), of("10.0.0.5..10.0.0.9", "10.0.0.16")),
    ],
)
def test_a_pool_is_addresses_ranges_and_cidrs(ips: tuple[str, ...], expected: Ranges) -> None:
    assert settled(pool("p", "s", *ips)) == {"p": PoolVerdict(ranges=(expected,))}


def test_ranges_are_in_the_order_of_the_cidrs() -> None:
    (verdict,) = settled(pool("p", "dual", "fd00::5..fd00::9", "10.1.0.5")).values()
    assert verdict == PoolVerdict(ranges=(of("10.1.0.5"), of("fd00::5..fd00::9")))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("10.0.1.5", "10.0.1.5 is not in the CIDR 10.0.0.0/24 of subnet s"),
        ("10.0.0.250..10.0.1.5", "10.0.0.250..10.0.1.5 is not in the CIDR 10.0.0.0/24 of subnet s"),
        ("10.0.0.0/23", "10.0.0.0/23 is not in the CIDR 10.0.0.0/24 of subnet s"),
        ("fd00::5", "fd00::5 is not in the CIDR 10.0.0.0/24 of subnet s"),
        ("nonsense", "'nonsense' is neither an address nor a range"),
        ("10.0.0.9..10.0.0.5", "'10.0.0.9..10.0.0.5' is not a range of addresses"),
        ("10.0.0.0/99", "10.0.0.0/99"),
    ],
)
def test_an_entry_that_counts_for_nothing_is_told_and_the_others_count(entry: str, message: str) -> None:
    (verdict,) = settled(pool("p", "s", "10.0.0.5", entry, "10.0.0.7")).values()
    assert verdict.ranges == (of("10.0.0.5", "10.0.0.7"),)
    assert message in verdict.refusal


@pytest.mark.parametrize("older_first", [True, False])
def test_what_two_want_is_the_older_ones(older_first: bool) -> None:
    old = aged(pool("z", "s", "10.0.0.5..10.0.0.9"), "2026-01-01T00:00:00Z")
    new = aged(pool("a", "s", "10.0.0.8..10.0.0.12"), "2026-01-02T00:00:00Z")
    found = settled(*([old, new] if older_first else [new, old]))
    assert found["z"] == PoolVerdict(ranges=(of("10.0.0.5..10.0.0.9"),))
    assert found["a"].ranges == (of("10.0.0.10..10.0.0.12"),)
    assert found["a"].refusal == "some of its addresses are in an older IPPool of subnet s and stay there"


def test_pools_of_different_subnets_do_not_meet() -> None:
    assert not any(
        verdict.refusal for verdict in settled(pool("p", "s", "10.0.0.5"), pool("q", "dual", "10.1.0.5")).values()
    )


def test_a_third_pool_gives_way_to_both_before_it() -> None:
    pools = [
        aged(pool(name, "s", *ips), f"2026-01-0{day}T00:00:00Z")
        for day, (name, ips) in enumerate([("a", ["10.0.0.5"]), ("b", ["10.0.0.7"]), ("c", ["10.0.0.4..10.0.0.8"])], 1)
    ]
    assert settled(*pools)["c"].ranges == (of("10.0.0.4", "10.0.0.6", "10.0.0.8"),)


def test_a_pool_without_its_subnet_has_nothing() -> None:
    assert settled(pool("p", "gone", "10.0.0.5")) == {
        "p": PoolVerdict(refusal="subnet gone does not exist or is not ready")
    }


# --- Address sets ---


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=5), st.sampled_from([4, 6]))
def test_prefixes_cover_exactly_the_ranges(spans: list[tuple[int, int]], version: int) -> None:
    """They are the ranges, do not overlap, and no two could be one."""
    wanted = Ranges.of(spans)
    networks = [ip_network(text) for text in _prefixes(wanted, version)]
    covered = [(int(each.network_address), int(each.broadcast_address)) for each in networks]
    assert all(each.version == version for each in networks)
    assert Ranges.of(covered) == wanted
    assert sum(high - low + 1 for low, high in covered) == wanted.size
    for one, other in pairwise(networks):
        assert one.prefixlen != other.prefixlen or one.supernet() != other.supernet()


@pytest.mark.parametrize(
    ("ranges", "version", "expected"),
    [
        (Ranges(), 4, []),
        (of("10.0.0.5"), 4, ["10.0.0.5/32"]),
        (of("10.0.0.0..10.0.0.255"), 4, ["10.0.0.0/24"]),
        (of("10.0.0.1..10.0.0.6"), 4, ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]),
        (of("0.0.0.0..255.255.255.255"), 4, ["0.0.0.0/0"]),
        (of("255.255.255.254..255.255.255.255"), 4, ["255.255.255.254/31"]),
        (of("fd00::..fd00::ffff:ffff:ffff:ffff"), 6, ["fd00::/64"]),
        (of("::..ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 6, ["::/0"]),
    ],
)
def test_prefixes_of_the_ends_of_the_world(ranges: Ranges, version: int, expected: list[str]) -> None:
    assert _prefixes(ranges, version) == expected


def test_a_pool_makes_a_set_a_family() -> None:
    made = pool("my-pool.a", "dual", "10.1.0.4/31")
    state = render_pool(made, judge_pools([made], SUBNETS)["my-pool.a"], DUAL)
    assert {key.key for key in state if isinstance(key, RowKey)} == {"my.pool_a.ip4", "my.pool_a.ip6"}
    assert {key for key in state if isinstance(key, Member)} == {
        Member(AddressSet.TABLE, "my.pool_a.ip4", "addresses", "10.1.0.4/31")
    }
