"""Answers for the cluster's names, where no DNS server gives them."""

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.host.dns import Directory, refusal
from kube_ovn.model.kube import ServicePort
from tests.node_view import view
from tests.small_clusters import service, slice_of

ZONE = "cluster.local"
HTTP = ServicePort(port=80, name="http")
DB = slice_of("db", "10.16.0.7", "10.16.0.8", hostnames=("db-0", None), name_of_port="http")


MANY = slice_of("many", *(f"10.16.1.{number}" for number in range(1, 200)))
SERVICES = [
    service("web", "10.96.0.20", ports=(HTTP,)),
    service("dual", "10.96.0.21", "fd00:10:96::21"),
    service("db", "None", ports=(HTTP,)),
    service("many", "None"),
    service("there", type="ExternalName", external_name="www.example.com"),
]
DIRECTORY = view(SERVICES, [DB, MANY]).directory(ZONE)


def ask(name: str, kind: str = "A", of: Directory = DIRECTORY) -> dns.message.Message | None:
    return of.answer(dns.message.make_query(name, kind))


def found(name: str, kind: str = "A") -> list[str] | str:
    """What the answer says; the code where it says nothing."""
    reply = ask(name, kind)
    assert reply is not None
    assert reply.flags & dns.flags.AA
    texts = [str(each) for rrset in reply.answer for each in rrset]
    assert bool(texts) != bool(reply.authority), "how long there is none is told, and only then"
    return texts or dns.rcode.to_text(reply.rcode())


WEB = f"web.default.svc.{ZONE}"


@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        (WEB, "A", ["10.96.0.20"]),
        (WEB.upper(), "A", ["10.96.0.20"]),
        (WEB, "AAAA", "NOERROR"),
        (WEB, "TXT", "NOERROR"),
        (f"dual.default.svc.{ZONE}", "AAAA", ["fd00:10:96::21"]),
        (f"dual.default.svc.{ZONE}", "ANY", ["10.96.0.21", "fd00:10:96::21"]),
        (f"_http._tcp.{WEB}", "SRV", [f"0 100 80 {WEB}."]),
        (f"_http._tcp.{WEB}", "A", "NOERROR"),
        (f"_tcp.{WEB}", "SRV", "NOERROR"),
        (f"_http._udp.{WEB}", "SRV", "NXDOMAIN"),
        (f"_https._tcp.{WEB}", "SRV", "NXDOMAIN"),
        (f"db.default.svc.{ZONE}", "A", ["10.16.0.7", "10.16.0.8"]),
        (f"db-0.db.default.svc.{ZONE}", "A", ["10.16.0.7"]),
        (f"10-16-0-8.db.default.svc.{ZONE}", "A", ["10.16.0.8"]),
        (f"db-1.db.default.svc.{ZONE}", "A", "NXDOMAIN"),
        (
            f"_http._tcp.db.default.svc.{ZONE}",
            "SRV",
            [f"0 100 8080 10-16-0-8.db.default.svc.{ZONE}.", f"0 100 8080 db-0.db.default.svc.{ZONE}."],
        ),
        (f"there.default.svc.{ZONE}", "A", ["www.example.com."]),
        (f"none.default.svc.{ZONE}", "A", "NXDOMAIN"),
        (f"web.other.svc.{ZONE}", "A", "NXDOMAIN"),
        (f"www.example.com.default.svc.{ZONE}", "A", "NXDOMAIN"),
        (f"a.b.c.{WEB}", "A", "NXDOMAIN"),
        (f"default.svc.{ZONE}", "A", "NOERROR"),
        (f"other.svc.{ZONE}", "A", "NXDOMAIN"),
        (f"svc.{ZONE}", "A", "NOERROR"),
        (ZONE, "A", "NOERROR"),
        (f"dns-version.{ZONE}", "TXT", ['"1.1.0"']),
        (f"10-16-0-7.default.pod.{ZONE}", "A", ["10.16.0.7"]),
        (f"10-16-0-7.default.pod.{ZONE}", "AAAA", "NOERROR"),
        (f"fd00--7.default.pod.{ZONE}", "AAAA", ["fd00::7"]),
        (f"nonsense.default.pod.{ZONE}", "A", "NXDOMAIN"),
        ("20.0.96.10.in-addr.arpa", "PTR", [f"{WEB}."]),
        ("7.0.16.10.in-addr.arpa", "PTR", [f"db-0.db.default.svc.{ZONE}."]),
        ("9.0.16.10.in-addr.arpa", "PTR", "NXDOMAIN"),
    ],
)
def test_what_is_answered(name: str, kind: str, answer: list[str] | str) -> None:
    assert found(name, kind) == answer


@pytest.mark.parametrize("name", ["www.example.com", "cluster.local.example.com", "1.2.0.192.in-addr.arpa", "arpa"])
def test_other_names_are_for_others(name: str) -> None:
    assert ask(name) is None


def test_a_name_goes_with_its_service() -> None:
    known = view(SERVICES, [DB, MANY])
    of = known.directory(ZONE)
    known.services.store.remove("service-uid-db")
    for name in (f"db.default.svc.{ZONE}", "7.0.16.10.in-addr.arpa"):
        reply = ask(name, "ANY", of)
        assert reply is not None
        assert reply.rcode() == dns.rcode.NXDOMAIN
    known.services.store.replace([], 1.0)
    reply = ask(f"default.svc.{ZONE}", "A", of)
    assert reply is not None
    assert reply.rcode() == dns.rcode.NXDOMAIN, "a Namespace has a name as long as it has a Service"


def test_what_is_no_plain_question_is_refused_in_its_own_terms() -> None:
    two = dns.message.make_query(WEB, "A")
    two.question += dns.message.make_query(WEB, "AAAA").question
    reply = DIRECTORY.answer(two)
    assert reply is not None
    assert reply.rcode() == dns.rcode.FORMERR
    update = dns.message.make_query(WEB, "A")
    update.set_opcode(dns.opcode.NOTIFY)
    reply = DIRECTORY.answer(update)
    assert reply is not None
    assert reply.rcode() == dns.rcode.NOTIMP


labels = st.sampled_from([b"svc", b"pod", b"default", b"web", b"db", b"_tcp", b"_http", b"1", b"in-addr", b"\xff."])


@given(
    st.lists(labels | st.binary(min_size=1, max_size=20), max_size=6),
    st.sampled_from(["cluster.local.", "in-addr.arpa.", "ip6.arpa.", "."]),
    st.integers(1, 65535),
)
def test_every_question_has_an_answer_or_is_for_others(words: list[bytes], end: str, kind: int) -> None:
    name = dns.name.Name(words).concatenate(dns.name.from_text(end))
    query = dns.message.make_query(name, dns.rdatatype.RdataType.make(kind))
    reply = DIRECTORY.answer(query)
    if reply is not None:
        assert reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
        assert len(reply.to_wire(max_size=512, prefer_truncation=True)) <= 512
    else:
        assert not name.is_subdomain(dns.name.from_text(ZONE))


@given(st.binary(max_size=80))
def test_nonsense_gets_an_error_with_its_number_or_nothing(wire: bytes) -> None:
    said = refusal(wire, dns.rcode.FORMERR)
    if said is not None:
        assert said[:2] == wire[:2]
        assert said[2] & 0x80
        assert said[3] & 0x0F == dns.rcode.FORMERR
    else:
        assert len(wire) < 12 or wire[2] & 0x80
