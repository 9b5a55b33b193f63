"""Names of Services as rows of OVN's table DNS, answered at the port of the Pod that asks. Pure.

A fixed number of rows holds all names. One row for each Service would make Services x switches references, and northd
and ovn-controller look at every row. One row for all would be sent whole at every change of a name.
"""

import hashlib
from collections.abc import Iterable, Mapping

from kube_ovn.discovery.dns import Names
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.nb import Dns
from kube_ovn.model.row import Key, Row, facts, owned

SHARDS = 16
"""The most rows. With 5,000 Services one row has 600 names."""
_ANSWER = 512
"""The bytes that a resolver without EDNS takes (RFC 1035, 4.2.1). OVN does not truncate an answer."""
_FIXED = 12 + 2 + 4
"""Bytes of the header, both ends of the name, type and class."""
_RECORD = {4: 16, 6: 28}
"""Bytes of an answer: a pointer to the name, type, class, TTL, length, address."""


def shard(namespace: str, service: str) -> str:
    """The key of the row that holds a Service's names."""
    digest = hashlib.blake2b(f"{namespace}/{service}".encode(), digest_size=4).digest()
    return names.dns_row(int.from_bytes(digest) % SHARDS)


def render_dns(row: str, services: Iterable[Names]) -> dict[Key, Row | None]:
    """A row with the names of these Services, in their order; no row when there is no name."""
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
    """Whether all addresses fit into an answer. If not, the question is left to a DNS server that can say so."""
    return _FIXED + len(name) + sum(_RECORD[address.version] for address in listed) <= _ANSWER
