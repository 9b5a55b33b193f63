"""Runs in a Pod's network, as a script: asks a DNS server one thing and prints what it says as JSON.

Its argument is a JSON object: server, name, kind; optionally tcp, edns (bytes), questions (more names), source_port.
"""

import json
import sys
import time

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode

PATIENCE = 3.0


def main(text: str) -> None:
    asked = json.loads(text)
    query = dns.message.make_query(asked["name"], asked.get("kind", "A"), use_edns=0 if "edns" in asked else None)
    if "edns" in asked:
        query.use_edns(0, payload=asked["edns"])
    for name in asked.get("questions", ()):
        query.question += dns.message.make_query(name, asked.get("kind", "A")).question
    ask = dns.query.tcp if asked.get("tcp") else dns.query.udp
    started = time.monotonic()
    try:
        reply = ask(query, asked["server"], timeout=PATIENCE, source_port=asked.get("source_port", 0))
    except (OSError, dns.exception.DNSException) as error:
        spent = time.monotonic() - started
        print(json.dumps({"code": type(error).__name__, "answers": [], "truncated": False, "seconds": spent}))
        return
    found = {
        "code": dns.rcode.to_text(reply.rcode()),
        "answers": [str(each) for rrset in reply.answer for each in rrset],
        "truncated": bool(reply.flags & dns.flags.TC),
        "seconds": time.monotonic() - started,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
