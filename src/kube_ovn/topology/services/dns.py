"""Names of Services as rows of OVN's table DNS, answered at a Pod's own port. Pure.

A fixed number of rows has all names: one a Service would make Services x switches of references, and northd and
ovn-controller look at every row; one alone would be sent whole at every change of a name.
"""

import hashlib
from collections.abc import Iterable, Mapping

from kube_ovn.discovery.dns import Names
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.nb import Dns
from kube_ovn.model.row import Key, Row, facts, owned

SHARDS = 16
"""Rows at most. At 5,000 Services one has 600 names."""
_ANSWER = 512
"""Bytes that a resolver without EDNS takes (RFC 1035, 4.2.1). OVN does not truncate an answer."""
_FIXED = 12 + 2 + 4
"""Header, both ends of the name, type and class."""
_RECORD = {4: 16, 6: 28}
"""Bytes of an answer: a pointer to the name, type, class, TTL, length, address."""


def shard(namespace: str, service: str) -> str:
    """The row a Service's names are in."""
    digest = hashlib.blake2b(f"{namespace}/{service}".encode(), digest_size=4).digest()
    return names.dns_row(int.from_bytes(digest) % SHARDS)


def render_dns(row: str, services: Iterable[Names]) -> dict[Key, Row | None]:
    """A row with the names of these Services, in their order; nothing without a name."""
    records: dict[str, str] = {}
    for each in services:
        for key, value in _records(each).items():
            records.setdefault(key, value)
    if not records:
        return {}
    return facts(Dns(records=records, external_ids=owned(key=row)))


def _records(of: Names) -> Mapping[str, str]:
    return {
        **{name: " ".join(map(str, listed)) for name, listed in of.addresses.items() if _fits(name, listed)},
        **{address.reverse_pointer: name for address, name in of.pointers.items()},
    }


def _fits(name: str, listed: Iterable[Address]) -> bool:
    """Whether all addresses fit an answer. If not, a server that knows how to say so answers."""
    return _FIXED + len(name) + sum(_RECORD[address.version] for address in listed) <= _ANSWER
