"""The ledger of addresses: order, conflicts, exhaustion, and what it says."""

from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.model.addr import parse_addresses, parse_networks
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.model.ranges import Ranges
from kube_ovn.topology.addresses.ledger import ExhaustedError, Ledger, RefusedError
from kube_ovn.topology.addresses.span import Owner
from kube_ovn.topology.subnets.verdict import parse_subnet

A, B, C = (Owner(uid, f"Pod default/{uid}") for uid in "abc")


def ledger(cidr: str = "10.0.0.0/29", exclude: str = "", gateway: str = "") -> Ledger:
    made = Ledger()
    made.put_subnet(parse_subnet("s", cidr, gateway, [exclude] if exclude else []))
    return made


def addresses(grant: Grant) -> list[str]:
    return [str(address) for address in grant.addresses]


def test_lowest_first_past_gateway_and_excluded() -> None:
    book = ledger(exclude="10.0.0.2..10.0.0.3")
    assert addresses(book.allocate(A, "s")) == ["10.0.0.4"]
    assert addresses(book.allocate(B, "s")) == ["10.0.0.5"]


def test_a_released_address_comes_last_and_the_longest_released_first() -> None:
    book = ledger()
    for owner in (A, B):
        book.allocate(owner, "s")
    book.release("b")
    book.release("a")
    later = [addresses(book.allocate(Owner(str(n), str(n)), "s"))[0] for n in range(5)]
    assert later == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.3", "10.0.0.2"]


def test_an_excluded_address_stays_with_who_has_it_and_is_not_given_again() -> None:
    book = ledger("10.0.0.0/30", exclude="10.0.0.2")
    grant = Grant(subnet="s", addresses=(ip_address("10.0.0.2"),), mac="0a:00:00:00:00:01")
    book.adopt(A, grant, in_use=True)
    assert book.grants["a"] == grant
    book.release("a")
    with pytest.raises(RefusedError, match="no available address: 0 of 0"):
        book.allocate(B, "s")


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.0", "10.0.0.7", "10.0.1.2"])
def test_what_nobody_can_have_is_not_taken_over(address: str) -> None:
    with pytest.raises(RefusedError):
        ledger().adopt(A, Grant(subnet="s", addresses=(ip_address(address),), mac="0a:00:00:00:00:01"), in_use=True)


def test_an_excluded_range_counts_as_far_as_it_is_in_the_cidr() -> None:
    subnet = Subnet(
        name="s",
        cidrs=parse_networks("10.0.0.0/29"),
        gateways=parse_addresses("10.0.0.1"),
        exclude=((ip_address("9.9.9.9"), ip_address("10.0.0.4")),),
    )
    book = Ledger()
    book.put_subnet(subnet)
    assert addresses(book.allocate(A, "s")) == ["10.0.0.5"]


def test_a_full_subnet_says_how_full() -> None:
    book = ledger("10.0.0.0/30")
    book.allocate(A, "s")
    with pytest.raises(
        RefusedError, match=r"subnet s has no available address: 0 of 1 addresses in 10\.0\.0\.0/30 are free"
    ):
        book.allocate(B, "s")
    book.release("a")
    assert addresses(book.allocate(B, "s")) == ["10.0.0.2"]


def test_a_taken_address_names_who_has_it() -> None:
    book = ledger()
    book.allocate(A, "s", addresses=[ip_address("10.0.0.4")], mac="0a:00:00:00:00:01")
    with pytest.raises(
        RefusedError, match=r"AddressConflict: address 10\.0\.0\.4 of subnet s is used by Pod default/a"
    ):
        book.allocate(B, "s", addresses=[ip_address("10.0.0.4")])
    with pytest.raises(RefusedError, match="MAC address 0a:00:00:00:00:01 in subnet s is used by Pod default/a"):
        book.allocate(B, "s", mac="0a:00:00:00:00:01")
    assert "b" not in book.grants


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("10.0.0.1", "it is a gateway"),
        ("10.0.0.0", "network or broadcast"),
        ("10.0.0.7", "network or broadcast"),
        ("10.9.0.1", r"is not in the CIDR 10\.0\.0\.0/29 of subnet s"),
    ],
)
def test_an_unusable_address_is_refused(address: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        ledger().allocate(A, "s", addresses=[ip_address(address)])


def test_sizes_are_whole_numbers_of_any_length() -> None:
    book = ledger("fd00::/64,10.0.0.0/29", exclude="fd00::2..fd00::ffff:ffff")
    assert addresses(book.allocate(A, "s")) == ["fd00::1:0:0", "10.0.0.2"]


def test_an_excluded_address_is_kept_only_by_who_is_using_it() -> None:
    book = ledger(exclude="10.0.0.2")
    grant = Grant(subnet="s", addresses=(ip_address("10.0.0.2"),), mac="0a:00:00:00:00:01")
    with pytest.raises(RefusedError, match="excluded"):
        book.adopt(A, grant, in_use=False)
    book.adopt(B, grant, in_use=True)
    assert book.grants == {"b": grant}


def test_a_grant_is_taken_over_and_given_back() -> None:
    book = ledger()
    grant = Grant(subnet="s", addresses=(ip_address("10.0.0.2"),), mac="0a:00:00:00:00:01")
    book.adopt(C, grant, in_use=True)
    assert addresses(book.allocate(A, "s")) == ["10.0.0.3"]
    book.release("c")
    book.release("c")
    book.adopt(B, grant, in_use=True)
    assert book.grants["b"] == grant


OPERATIONS = st.lists(st.tuples(st.sampled_from(["take", "pool", "end", "change"]), st.integers(0, 9)), max_size=40)


@given(OPERATIONS)
def test_what_is_in_use_is_counted_as_it_comes_and_goes(operations: list[tuple[str, int]]) -> None:
    """Held to a new ledger that adopts the same grants."""
    low, shapes = int(ip_address("10.0.0.0")), [("", 3, 5), ("10.0.0.4..10.0.0.6", 5, 8), ("10.0.0.9", 2, 12)]

    def shape(book: Ledger, number: int) -> None:
        exclude, first, last = shapes[number % len(shapes)]
        subnet = parse_subnet("s", "10.0.0.0/28", exclude=[exclude] if exclude else [])
        book.put_subnet(subnet, {"p": [Ranges.of([(low + first, low + last)])]})

    book, last = Ledger(), 0
    shape(book, last)
    for what, number in operations:
        match what:
            case "take" | "pool":
                with suppress(RefusedError):
                    book.allocate(Owner(str(number), str(number)), "s", pool="p" if what == "pool" else "")
            case "end":
                book.release(str(number))
            case "change":
                last = number
                shape(book, last)
    other = Ledger()
    shape(other, last)
    for key, grant in book.grants.items():
        other.adopt(Owner(key, key), grant, in_use=True)
    for pool in (None, "p", ""):
        using = [int(each) for grant in book.grants.values() for each in grant.addresses]
        assert book.usage("s", pool) == other.usage("s", pool)
        assert pool is not None or book.usage("s")[0].using == Ranges.of_numbers(using)
    assert book.count("s") == len(book.grants)


def test_old_gateways_serve_as_long_as_somebody_was_given_them() -> None:
    book = ledger()
    book.allocate(A, "s")
    book.put_subnet(parse_subnet("s", "10.0.0.0/29", "10.0.0.6"))
    assert book.old_gateways("s") == (ip_address("10.0.0.1"),)
    with pytest.raises(RefusedError, match="a gateway"):
        book.allocate(B, "s", addresses=[ip_address("10.0.0.1")])
    assert addresses(book.allocate(B, "s")) == ["10.0.0.3"]
    book.release("a")
    assert book.old_gateways("s") == ()
    book.allocate(C, "s", addresses=[ip_address("10.0.0.1")])  # like any other now


def test_a_subnet_grows_and_its_owners_stay() -> None:
    book = ledger("10.0.0.0/30")
    book.allocate(A, "s")
    with pytest.raises(ExhaustedError):
        book.allocate(B, "s")
    book.put_subnet(parse_subnet("s", "10.0.0.0/29"))
    assert addresses(book.allocate(B, "s")) == ["10.0.0.3"]
    assert addresses(book.grants["a"]) == ["10.0.0.2"]


def test_pools_part_a_subnet() -> None:
    book = Ledger()
    pool = Ranges.of([(int(ip_address("10.0.0.2")), int(ip_address("10.0.0.3")))])
    book.put_subnet(parse_subnet("s", "10.0.0.0/29"), {"p": (pool,)})
    assert addresses(book.allocate(A, "s")) == ["10.0.0.4"]
    assert addresses(book.allocate(B, "s", pool="p")) == ["10.0.0.2"]
    assert addresses(book.allocate(C, "s", pool="p")) == ["10.0.0.3"]
    with pytest.raises(ExhaustedError, match="pool p of subnet s has no available address: 0 of 2"):
        book.allocate(Owner("d", "d"), "s", pool="p")
    (whole,), (part,) = book.usage("s"), book.usage("s", "p")
    assert (whole.using.size, whole.available.size) == (3, 2)
    assert (part.using.size, part.available.size) == (2, 0)


def test_what_was_somebodys_in_an_earlier_life_comes_last() -> None:
    book = ledger()
    book.remember_released("s", addresses=[ip_address("10.0.0.3"), ip_address("10.0.0.2")])
    given = [addresses(book.allocate(Owner(str(n), str(n)), "s"))[0] for n in range(5)]
    assert given == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.3", "10.0.0.2"]


def test_a_family_and_half_a_wish() -> None:
    book = ledger("10.0.0.0/29,fd00::/125")
    assert addresses(book.allocate(A, "s", versions=[6])) == ["fd00::2"]
    assert addresses(book.allocate(B, "s", addresses=[ip_address("fd00::5")])) == ["10.0.0.2", "fd00::5"]
    with pytest.raises(RefusedError, match="only addresses of the family IPv6 are"):
        book.allocate(C, "s", versions=[6], addresses=[ip_address("10.0.0.5")])


def test_the_family_a_subnet_has_not_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"subnet s has no IPv6 addresses: its CIDR is 10\.0\.0\.0/29"):
        ledger().allocate(A, "s", [6])


def test_what_is_refused_in_one_family_takes_nothing_in_the_other() -> None:
    book = ledger("10.0.0.0/29,fd00::/126")
    for owner in (A, B):
        book.allocate(owner, "s")
    with pytest.raises(ExhaustedError, match="fd00::/126"):
        book.allocate(C, "s")
    assert [addresses(book.grants[owner.key]) for owner in (A, B)] == [["10.0.0.2", "fd00::2"], ["10.0.0.3", "fd00::3"]]
    assert [usage.using.size for usage in book.usage("s")] == [2, 2]


def pooled(text: str = "10.0.0.3..10.0.0.4") -> Ledger:
    low, high = (int(ip_address(part)) for part in text.split(".."))
    made = Ledger()
    made.put_subnet(parse_subnet("s", "10.0.0.0/29"), {"few": [Ranges.of([(low, high)])]})
    return made


def test_a_pool_and_the_rest_share_nothing() -> None:
    book = pooled()
    rest = [addresses(book.allocate(Owner(str(n), str(n)), "s"))[0] for n in range(3)]
    few = [addresses(book.allocate(Owner(f"p{n}", str(n)), "s", pool="few"))[0] for n in range(2)]
    assert (rest, few) == (["10.0.0.2", "10.0.0.5", "10.0.0.6"], ["10.0.0.3", "10.0.0.4"])
    with pytest.raises(ExhaustedError, match=r"pool few of subnet s has no available address: 0 of 2 addresses"):
        book.allocate(A, "s", pool="few")
    with pytest.raises(ExhaustedError, match=r"subnet s has no available address: 0 of 3 addresses"):
        book.allocate(A, "s")


def test_a_pool_that_is_not_there_has_nothing() -> None:
    with pytest.raises(ExhaustedError, match="pool many of subnet s has no available address"):
        pooled().allocate(A, "s", pool="many")


def test_a_pool_does_not_have_the_gateway() -> None:
    book = pooled("10.0.0.0..10.0.0.2")
    assert addresses(book.allocate(A, "s", pool="few")) == ["10.0.0.2"]


def test_an_address_of_a_pool_may_be_fixed() -> None:
    assert addresses(pooled().allocate(A, "s", addresses=[ip_address("10.0.0.3")])) == ["10.0.0.3"]


def test_a_released_address_comes_last_in_its_pool_too() -> None:
    book = pooled()
    book.allocate(A, "s", pool="few")
    book.release("a")
    assert addresses(book.allocate(B, "s", pool="few")) == ["10.0.0.4"]
    assert addresses(book.allocate(C, "s", pool="few")) == ["10.0.0.3"]


def test_usage_counts_an_excluded_address_that_is_in_use() -> None:
    book = ledger("10.0.0.0/30", exclude="10.0.0.2")
    grant = Grant(subnet="s", addresses=(ip_address("10.0.0.2"),), mac="0a:00:00:00:00:01")
    book.adopt(A, grant, in_use=True)
    assert [(usage.using.size, usage.available.size) for usage in book.usage("s")] == [(1, 0)]


def test_who_has_addresses_keeps_them_when_the_subnet_changes() -> None:
    book = ledger()
    grant = book.allocate(A, "s")
    book.put_subnet(parse_subnet("s", "10.0.0.0/24", exclude=["10.0.0.2..10.0.0.9"]))
    assert book.grants["a"] == grant
    assert addresses(book.allocate(B, "s")) == ["10.0.0.10"]


def test_a_gateway_that_served_comes_after_all_that_are_fresh() -> None:
    book = ledger("10.0.0.0/29")
    book.allocate(A, "s")
    book.put_subnet(parse_subnet("s", "10.0.0.0/29", gateway="10.0.0.6"))
    book.release("a")
    later = [addresses(book.allocate(Owner(str(n), str(n)), "s"))[0] for n in range(5)]
    assert later == ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.2", "10.0.0.1"]


def test_a_subnet_that_goes_takes_its_grants_along() -> None:
    book = ledger()
    book.put_subnet(parse_subnet("t", "10.0.1.0/29"))
    book.allocate(A, "s")
    kept = book.allocate(B, "t")
    assert book.drop_subnet("s") == ["a"]
    assert book.grants == {"b": kept}
    assert book.drop_subnet("s") == []


def test_touched_are_the_subnets_whose_grants_or_ranges_changed() -> None:
    book = ledger()
    assert book.take_touched() == {"s"}
    assert book.take_touched() == set()
    book.allocate(A, "s")
    assert book.take_touched() == {"s"}
    book.release("a")
    book.release("a")
    assert book.take_touched() == {"s"}
