"""Asks a DNS server one thing from within the network of a Pod."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode

PATIENCE = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    code: str
    """The response code of the server, or the error."""
    answers: list[str]
    truncated: bool
    seconds: float


def ask_server(
    server: str,
    name: str,
    kind: str,
    *,
    tcp: bool = False,
    edns: int | None = None,
    questions: Sequence[str] = (),
    source_port: int = 0,
) -> Answer:
    """The answer of a DNS server. `edns`: the most bytes of it; `questions`: more names in the same message."""
    query = dns.message.make_query(name, kind, use_edns=None if edns is None else 0)
    if edns is not None:
        query.use_edns(0, payload=edns)
    for each in questions:
        query.question += dns.message.make_query(each, kind).question
    started = time.monotonic()
    try:
        if tcp:
            reply = dns.query.tcp(query, server, timeout=PATIENCE, source_port=source_port)
        else:
            reply = dns.query.udp(query, server, timeout=PATIENCE, source_port=source_port)
    except (OSError, dns.exception.DNSException) as error:
        spent = time.monotonic() - started
        return Answer(code=type(error).__name__, answers=[], truncated=False, seconds=spent)
    return Answer(
        code=dns.rcode.to_text(reply.rcode()),
        answers=[str(each) for rrset in reply.answer for each in rrset],
        truncated=bool(reply.flags & dns.flags.TC),
        seconds=time.monotonic() - started,
    )
