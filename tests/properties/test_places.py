"""What is found by places is what a look at all networks finds, and only what is near wakes the one that looks."""

import sys
from ipaddress import IPv4Network, IPv6Network

from hypothesis import example, given
from hypothesis import strategies as st

from kube_ovn.derive import Graph, Read
from kube_ovn.model.addr import Network
from kube_ovn.topology.subnets import places


def networks() -> st.SearchStrategy[Network]:
    """Networks of both families, many of which overlap."""
    bits, some = st.integers(0, 0xFF), st.sampled_from
    of4 = st.builds(
        lambda high, low, length: IPv4Network((high << 24 | low, length), strict=False),
        some((10, 11)),
        st.builds(lambda a, b, c: a << 16 | b << 8 | c, some((0, 1)), some((0, 1, 255)), bits),
        some((1, 7, 8, 9, 15, 16, 17, 23, 24, 31, 32)),
    )
    of6 = st.builds(
        lambda high, low, length: IPv6Network((0xFD00 << 112 | high << 64 | low, length), strict=False),
        some((0, 1, 1 << 16)),
        some((0, 1, 1 << 32, 1 << 63)),
        some((1, 8, 31, 32, 48, 63, 64, 65, 96, 112, 127, 128)),
    )
    return st.one_of(of4, of6)


@given(st.lists(st.lists(networks(), min_size=1, max_size=2), max_size=8), networks())
@example(
    [[IPv4Network("0.0.0.0/1")], [IPv6Network("fd00:0:0:1::/64"), IPv6Network("fd00:0:1::/48")]],
    IPv6Network("fd00:0:0:1::/64"),
)
def test_the_networks_that_overlap_one_are_found(values: list[list[Network]], network: Network) -> None:
    graph = Graph()
    source = graph.collection("things", int, tuple)
    found = places.define(graph, "things", source, lambda key, value: value)
    expected = set()
    for key, value in enumerate(values):
        apart = [each for at, each in enumerate(value) if not any(map(each.overlaps, of_version(value[:at], each)))]
        source.put(key, tuple(apart))
        expected |= {(each, key) for each in of_version(apart, network) if each.overlaps(network)}
    read = Read()
    read.begin(sys.maxsize)
    listed = [(each, key) for each, key, _ in found.overlapping(read, network)]
    assert set(listed) == expected
    assert len(listed) == len(expected)
    for key in range(len(values)):
        source.drop(key)
    assert not found.inside.values
    assert not found.homes.values


def of_version(values: list[Network], other: Network) -> list[Network]:
    return [each for each in values if each.version == other.version]


def test_what_is_far_wakes_none_that_looks() -> None:
    graph = Graph()
    source = graph.collection("things", str, tuple)
    near = places.define(graph, "things", source, lambda key, value: value)
    asked = graph.collection("questions", str, IPv4Network)

    def look(read: Read, key: str, network: Network) -> int:
        return len(list(near.overlapping(read, network)))

    answers = graph.derive("answers", asked, look)
    asked.put("one", IPv4Network("10.20.0.0/24"))
    graph.settle()
    before = answers.worked
    source.put("far", (IPv4Network("10.20.1.0/24"), IPv6Network("fd00::/64")))
    graph.settle()
    assert answers.worked == before
    source.put("around", (IPv4Network("10.0.0.0/8"),))
    source.put("inside", (IPv4Network("10.20.0.9/32"),))
    graph.settle()
    assert answers.values == {"one": 2}
