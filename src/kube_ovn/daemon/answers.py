"""Answers of the node's resolvers, remembered for as long as they may be (RFC 1035, 2308), and never for long."""

import time
from collections.abc import Callable

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype

ENTRIES, LARGEST = 1024, 4096
"""The most answers that are remembered, and the most bytes of one."""
LONGEST, LONGEST_NEGATIVE = 300.0, 30.0
"""The most seconds for which an answer is remembered: one with what was asked for, and one that there is no such."""
_ASKED = dns.flags.RD | dns.flags.AD | dns.flags.CD
"""Flags of a question on which the answer depends."""

_Key = tuple[dns.name.Name, int, int, int, int, int]


class Answers:
    """The answers to the latest questions. The names of questions are compared without regard to letter case."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds and never goes back."""
        self._clock = clock
        self._entries: dict[_Key, tuple[float, float, bytes]] = {}  # begin, end, message; the one used last is last

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, query: dns.message.Message) -> dns.message.Message | None:
        """The answer to a question, with the number and the letter case of this question; None when it is not known."""
        key, now = _key(query), self._clock()
        entry = self._entries.pop(key, None) if key is not None else None
        if key is None or entry is None or now >= entry[1]:
            return None
        self._entries[key] = entry
        reply = dns.message.from_wire(entry[2])
        reply.id, reply.question = query.id, query.question
        reply.flags &= ~dns.flags.AA
        for rrset in (*reply.answer, *reply.authority, *reply.additional):
            rrset.ttl -= int(now - entry[0])
        return reply

    def put(self, query: dns.message.Message, reply: dns.message.Message) -> None:
        """Remember the answer to a question, if it may be."""
        key, seconds = _key(query), _lifetime(query, reply)
        if key is None or seconds <= 0:
            return
        for rrset in reply.authority:
            if rrset.rdtype == dns.rdatatype.SOA:  # RFC 2308, 5
                rrset.ttl = min(rrset.ttl, rrset[0].minimum)
        wire = reply.to_wire(max_size=65535, prefer_truncation=True)
        if len(wire) > LARGEST:
            return
        self._entries.pop(key, None)
        if len(self._entries) >= ENTRIES:
            del self._entries[next(iter(self._entries))]
        now = self._clock()
        self._entries[key] = (now, now + seconds, wire)


def _key(query: dns.message.Message) -> _Key | None:
    """The parts of a question on which its answer depends; None for a question that is not one for records of one
    kind, or that says more.
    """
    if len(query.question) != 1 or query.options or query.answer or query.authority or query.additional:
        return None
    name, kind, of = query.question[0].name, query.question[0].rdtype, query.question[0].rdclass
    if dns.rdatatype.is_metatype(kind) or dns.rdataclass.is_metaclass(of):
        return None
    return name, kind, of, query.flags & _ASKED, query.edns, query.ednsflags


def _lifetime(query: dns.message.Message, reply: dns.message.Message) -> float:
    """Seconds for which an answer may be remembered; 0 for one that may not: an error, or one that is cut short."""
    if reply.flags & dns.flags.TC or reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return 0
    times = [float(rrset.ttl) for rrset in (*reply.answer, *reply.authority, *reply.additional)]
    kind = query.question[0].rdtype
    if reply.rcode() == dns.rcode.NOERROR and any(rrset.rdtype == kind for rrset in reply.answer):
        return min(*times, LONGEST)
    # That there is no such record may be remembered if a SOA record says for how long.
    minima = [float(rrset[0].minimum) for rrset in reply.authority if rrset.rdtype == dns.rdatatype.SOA]
    return min(*times, *minima, LONGEST_NEGATIVE) if minima else 0
