"""Clients by their address: every endpoint has its share, and few clients move when one comes or goes."""

from collections import Counter
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.discovery.endpoints import Backend
from kube_ovn.discovery.seats import seat

backends = st.lists(st.integers(0, 2**16 - 1), min_size=2, max_size=50, unique=True).map(
    lambda numbers: [
        Backend(address=ip_address(0x0A100000 + number), host="", port=8080, ready=True, leaving=False)
        for number in sorted(numbers)
    ]
)


@given(backends)
def test_shares_are_even_and_their_order_does_not_matter(chosen: list[Backend]) -> None:
    shares = Counter(map(id, seat(chosen)))
    assert len(shares) == len(chosen)
    assert max(shares.values()) - min(shares.values()) <= 1


@given(backends)
def test_one_that_leaves_moves_few_clients_besides_its_own(chosen: list[Backend]) -> None:
    """On average over the endpoints that may leave: of three, a single one may move half of all by chance."""
    before = seat(chosen)
    besides = []
    for gone in chosen:
        after = seat([each for each in chosen if each != gone])
        if len(before) != len(after):
            return  # another number of positions, or one endpoint
        moved = sum(old != new for old, new in zip(before, after, strict=True))
        own = before.count(gone)
        assert own <= moved
        besides.append(moved - own)
    assert sum(besides) / len(besides) <= len(before) / 3
