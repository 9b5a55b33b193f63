"""Answers that are remembered: which, for how long, and for which questions."""

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from kube_ovn.daemon.answers import ENTRIES, LARGEST, LONGEST, LONGEST_NEGATIVE, Answers

NAME = "www.example.com."
SOA = "ns.example.com. hostmaster.example.com. 1 7200 1800 86400 {}"


class World:
    def __init__(self) -> None:
        self.now = 1000.0
        self.answers = Answers(lambda: self.now)

    def knows(self, query: dns.message.Message) -> bool:
        return self.answers.get(query) is not None

    def left(self, query: dns.message.Message) -> float:
        """For how many seconds the answer is known."""
        begun = self.now
        while self.knows(query):
            self.now += 1
        return self.now - begun


def question(name: str = NAME, kind: str = "A", **more: object) -> dns.message.Message:
    return dns.message.make_query(name, kind, **more)  # type: ignore[arg-type]


def answered(query: dns.message.Message, ttl: int = 60, *texts: str) -> dns.message.Message:
    reply = dns.message.make_response(query)
    reply.answer.append(dns.rrset.from_text(query.question[0].name, ttl, "IN", "A", *(texts or ("192.0.2.1",))))
    return reply


def refused(
    query: dns.message.Message, rcode: dns.rcode.Rcode, ttl: int | None, minimum: int = 0
) -> dns.message.Message:
    """An answer that there is no such record, with a SOA record if it has a TTL."""
    reply = dns.message.make_response(query)
    reply.set_rcode(rcode)
    if ttl is not None:
        reply.authority.append(dns.rrset.from_text("example.com.", ttl, "IN", "SOA", SOA.format(minimum)))
    return reply


@pytest.mark.parametrize(("ttl", "seconds"), [(0, 0), (1, 1), (60, 60), (100_000, LONGEST)])
def test_an_answer_is_known_for_as_long_as_its_shortest_record(ttl: int, seconds: float) -> None:
    world, query = World(), question()
    reply = answered(query, ttl)
    reply.additional.append(dns.rrset.from_text("x.example.com.", 200_000, "IN", "A", "192.0.2.2"))
    world.answers.put(query, reply)
    assert world.left(query) == seconds
    assert len(world.answers) == 0


@pytest.mark.parametrize("rcode", [dns.rcode.NXDOMAIN, dns.rcode.NOERROR])
@pytest.mark.parametrize(
    ("ttl", "minimum", "seconds"),
    [(20, 10, 10), (10, 20, 10), (10, 0, 0), (3600, 3600, LONGEST_NEGATIVE), (None, 0, 0)],
)
def test_that_there_is_none_is_known_for_as_long_as_a_soa_record_says(
    rcode: dns.rcode.Rcode, ttl: int | None, minimum: int, seconds: float
) -> None:
    world, query = World(), question()
    world.answers.put(query, refused(query, rcode, ttl, minimum))
    found = world.answers.get(query)
    if found is not None:
        assert (found.rcode(), found.authority[0].ttl) == (rcode, min(ttl or 0, minimum))
    assert world.left(query) == seconds


def test_a_name_that_leads_to_none_is_one_that_there_is_not() -> None:
    for minimum, seconds in ((5, 5), (None, 0)):
        world, query = World(), question()
        reply = refused(query, dns.rcode.NOERROR, None if minimum is None else 60, minimum or 0)
        reply.answer.append(dns.rrset.from_text(NAME, 60, "IN", "CNAME", "none.example.com."))
        world.answers.put(query, reply)
        assert world.left(query) == seconds


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR, dns.rcode.BADVERS])
def test_errors_are_not_remembered(rcode: dns.rcode.Rcode) -> None:
    world, query = World(), question(use_edns=0)
    reply = answered(query)
    reply.set_rcode(rcode)
    world.answers.put(query, reply)
    assert not world.knows(query)


def test_what_is_cut_short_or_large_is_not_remembered() -> None:
    world, query = World(), question()
    short = answered(query)
    short.flags |= dns.flags.TC
    world.answers.put(query, short)
    world.answers.put(query, answered(query, 60, *(f"10.0.{n // 250}.{n % 250}" for n in range(LARGEST // 16))))
    assert not world.knows(query)


def with_flag(flag: int) -> dns.message.Message:
    query = question()
    query.flags ^= flag
    return query


@pytest.mark.parametrize(
    "other",
    [
        question("other.example.com."),
        question(kind="AAAA"),
        question(rdclass="CH"),
        question(use_edns=0),
        question(use_edns=0, ednsflags=dns.flags.DO),
        with_flag(dns.flags.RD),
        with_flag(dns.flags.CD),
        with_flag(dns.flags.AD),
    ],
)
def test_a_question_that_may_have_another_answer_is_another_question(other: dns.message.Message) -> None:
    world, query = World(), question()
    world.answers.put(query, answered(query))
    assert world.knows(question(NAME.upper()))
    assert not world.knows(other)
    world.answers.put(other, refused(other, dns.rcode.NXDOMAIN, 60, 60))
    assert world.knows(other)
    found = world.answers.get(query)
    assert found is not None
    assert found.rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize(
    "query",
    [
        question(kind="ANY"),
        question(kind="AXFR"),
        question(rdclass="ANY"),
        question(use_edns=0, options=[dns.edns.ECSOption("192.0.2.0", 24)]),
    ],
)
def test_questions_that_say_more_are_passed_on_each_time(query: dns.message.Message) -> None:
    world = World()
    world.answers.put(query, answered(query))
    assert not world.knows(query)
    assert len(world.answers) == 0


def test_what_is_remembered_is_not_changed_by_the_user_of_an_answer() -> None:
    world, query = World(), question()
    reply = answered(query)
    reply.flags |= dns.flags.AA
    world.answers.put(query, reply)
    first = world.answers.get(query)
    assert first is not None
    first.answer.clear()
    again = world.answers.get(query)
    assert again is not None
    assert len(again.answer) == 1
    assert not again.flags & dns.flags.AA, "the node has it from another server"


def test_the_number_of_answers_is_bounded_and_the_one_used_last_stays() -> None:
    world = World()
    queries = [question(f"{number}.example.com.") for number in range(ENTRIES + 10)]
    for query in queries:
        world.answers.put(query, answered(query))
        assert world.knows(queries[0])
    assert len(world.answers) == ENTRIES
    assert [world.knows(query) for query in queries[1:11]] == [False] * 10
    assert world.knows(queries[-1])
