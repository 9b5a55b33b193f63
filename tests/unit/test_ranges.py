"""Sets of addresses, held to Python's own sets."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.model.ranges import Ranges, address, format_ranges, host_ranges

HIGHEST = 24

spans = st.lists(st.tuples(st.integers(0, HIGHEST), st.integers(0, HIGHEST)), max_size=6)


def numbers(ranges: Ranges) -> set[int]:
    return {number for low, high in ranges.spans for number in range(low, high + 1)}


def numbers_of(pairs: list[tuple[int, int]]) -> set[int]:
    return {number for low, high in pairs for number in range(low, high + 1)}


@given(spans)
def test_a_union_of_spans_has_the_numbers_of_each(pairs: list[tuple[int, int]]) -> None:
    assert numbers(Ranges.of(pairs)) == numbers_of(pairs)


@given(spans, spans)
def test_operators_are_those_of_sets(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    a, b = Ranges.of(one), Ranges.of(other)
    assert numbers(a | b) == numbers(a) | numbers(b)
    assert numbers(a - b) == numbers(a) - numbers(b)
    assert numbers(a & b) == numbers(a) & numbers(b)


@given(spans, spans)
def test_equal_sets_are_equal_values(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    a, b = Ranges.of(one), Ranges.of(other)
    for made in (a, b, a | b, a - b, a & b):
        assert made == Ranges.of_numbers(numbers(made))
        assert all(low <= high for low, high in made.spans)
        assert all(high + 1 < low for (_, high), (low, _) in zip(made.spans, made.spans[1:], strict=False))


@given(spans, st.integers(-1, HIGHEST + 1))
def test_membership_size_and_truth(pairs: list[tuple[int, int]], number: int) -> None:
    made, those = Ranges.of(pairs), numbers_of(pairs)
    assert (number in made) == (number in those)
    assert made.size == len(those)
    assert bool(made) == bool(those)


@given(spans, st.integers(-1, HIGHEST + 1))
def test_one_number_more_or_less(pairs: list[tuple[int, int]], number: int) -> None:
    made, those = Ranges.of(pairs), numbers_of(pairs)
    assert made.including(number) == Ranges.of_numbers({*those, number})
    assert made.excluding(number) == Ranges.of_numbers(those - {number})


@given(spans, st.integers(-1, HIGHEST + 1))
def test_following_is_the_lowest_that_is_not_below(pairs: list[tuple[int, int]], number: int) -> None:
    assert Ranges.of(pairs).following(number) == min((n for n in numbers_of(pairs) if n >= number), default=None)


def test_a_span_of_any_size_costs_one_entry() -> None:
    (span,) = Ranges.of([(0, 1 << 127), (1 << 127, (1 << 128) - 1)]).spans
    assert span == (0, (1 << 128) - 1)
    assert Ranges((span,)).size == 1 << 128


@pytest.mark.parametrize(
    ("network", "first", "last"),
    [
        ("10.0.0.0/29", "10.0.0.1", "10.0.0.6"),
        ("10.0.0.0/30", "10.0.0.1", "10.0.0.2"),
        ("fd00::/126", "fd00::1", "fd00::3"),
        ("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff"),
        ("255.255.255.0/24", "255.255.255.1", "255.255.255.254"),
    ],
)
def test_hosts_are_all_but_the_networks_own_and_the_broadcast_address(network: str, first: str, last: str) -> None:
    assert host_ranges(ip_network(network)).spans == ((int(ip_address(first)), int(ip_address(last))),)


@pytest.mark.parametrize("text", ["0.0.0.1", "255.255.255.255", "::1", "fd00::"])
def test_an_address_and_its_number_are_one(text: str) -> None:
    wanted = ip_address(text)
    assert address(wanted.version, int(wanted)) == wanted


def spans_of(*texts: str) -> Ranges:
    return Ranges.of(
        (int(ip_address(low)), int(ip_address(high))) for low, high in zip(*[iter(texts)] * 2, strict=True)
    )


@pytest.mark.parametrize(
    ("ranges", "version", "text"),
    [
        (Ranges(), 4, ""),
        (spans_of("10.0.0.2", "10.0.0.2"), 4, "10.0.0.2"),
        (spans_of("10.0.0.2", "10.0.0.9", "10.0.1.1", "10.0.1.1"), 4, "10.0.0.2-10.0.0.9,10.0.1.1"),
        (spans_of("::2", "::3", "::5", "::5", "::7", "::7", "::9", "::a"), 6, "::2-::3,::5,and 2 more"),
    ],
)
def test_ranges_are_shown_as_far_as_there_is_room(ranges: Ranges, version: int, text: str) -> None:
    assert format_ranges(ranges, version, 2) == text
