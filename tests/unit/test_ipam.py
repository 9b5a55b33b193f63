"""The ledger of addresses: order, conflicts, exhaustion, and what it says."""

from ipaddress import ip_address

import pytest

from kube_ovn.config import parse_subnet
from kube_ovn.model.addr import parse_addresses, parse_networks
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.topology.ipam import Ledger, Owner, RefusedError

A, B, C = (Owner(uid, f"Pod default/{uid}") for uid in "abc")


def ledger(cidr: str = "10.0.0.0/29", exclude: str = "") -> Ledger:
    return Ledger([parse_subnet("s", cidr, exclude=exclude)])


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
    assert addresses(Ledger([subnet]).allocate(A, "s")) == ["10.0.0.5"]


def test_a_full_subnet_says_how_full() -> None:
    book = ledger("10.0.0.0/30")
    book.allocate(A, "s")
    with pytest.raises(RefusedError, match=r"subnet s has no available address: 0 of 1 in 10\.0\.0\.0/30 are free"):
        book.allocate(B, "s")
    book.release("a")
    assert addresses(book.allocate(B, "s")) == ["10.0.0.2"]


def test_a_taken_address_names_who_has_it() -> None:
    book = ledger()
    book.allocate(A, "s", [ip_address("10.0.0.4")], "0a:00:00:00:00:01")
    with pytest.raises(
        RefusedError, match=r"AddressConflict: address 10\.0\.0\.4 of subnet s is used by Pod default/a"
    ):
        book.allocate(B, "s", [ip_address("10.0.0.4")])
    with pytest.raises(RefusedError, match="MAC address 0a:00:00:00:00:01 in subnet s is used by Pod default/a"):
        book.allocate(B, "s", mac="0a:00:00:00:00:01")
    assert "b" not in book.grants


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("10.0.0.1", "it is the gateway"),
        ("10.0.0.0", "network or broadcast"),
        ("10.0.0.7", "network or broadcast"),
        ("10.9.0.1", r"is not in the CIDR 10\.0\.0\.0/29 of subnet s"),
    ],
)
def test_an_unusable_address_is_refused(address: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        ledger().allocate(A, "s", [ip_address(address)])


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
