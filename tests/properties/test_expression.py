"""Matches and the names in them: what the grammar builds is taken, all else ends in a sentence, and every name that we
mint is one that OVN takes.
"""

import re
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.model import names
from kube_ovn.model.expression import parse_match
from kube_ovn.model.expression.symbols import SYMBOLS

IDENTIFIER = re.compile(r"[A-Za-z_.][A-Za-z0-9_.]*")
"""What may stand after a `$`, `@` or `^` (ovn-sb(5))."""

# --- names ---

LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
OBJECT = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
"""The name of an object: a DNS subdomain."""
VERSION = st.sampled_from([4, 6])


@given(OBJECT, VERSION)
def test_the_address_set_of_a_pool(pool: str, version: int) -> None:
    name = names.pool_address_set(pool, version)
    assert parse_match(f"ip{version}.src == ${name}").address_sets == {name}
    assert IDENTIFIER.fullmatch(name)
    if pool[0].isalpha():
        assert name == f"{pool.replace('.', '_').replace('-', '.')}.ip{version}", "those that were valid stay"


@given(OBJECT, OBJECT, VERSION, VERSION)
def test_no_two_pools_share_an_address_set(one: str, other: str, version: int, another: int) -> None:
    same = names.pool_address_set(one, version) == names.pool_address_set(other, another)
    assert same == ((one, version) == (other, another))
    assert names.pool_address_set(one, version) not in (names.node_address_set(4), names.node_address_set(6))


@given(st.lists(st.sampled_from("01a.-"), min_size=1, max_size=4).map("".join))
def test_not_even_short_names_meet(pool: str) -> None:
    """Among names of few letters those that differ in `.`, `-` and digits are frequent."""
    others = {f"{first}{pool[1:]}" for first in "01a"} | {pool.replace(".", "-"), pool.replace("-", ".")}
    valid = {name for name in (*others, pool) if re.fullmatch(r"[a-z0-9]+([-.][a-z0-9]+)*", name)}
    assert len({names.pool_address_set(name, 4) for name in valid}) == len(valid)


@given(OBJECT, st.text())
def test_other_names(node: str, service: str) -> None:
    group = names.node_port_group(node)
    assert parse_match(f"inport == @{group}").port_groups == {group}
    for version in (4, 6):
        # northd makes these of every Port_Group.
        assert parse_match(f"ip{version}.src == ${group}_ip{version}")
        assert parse_match(f"ip{version}.src == ${names.node_address_set(version)}")
    assert IDENTIFIER.fullmatch(names.service_variable(service))


# --- what is built by the grammar ---


class Built(NamedTuple):
    text: str
    positive: bool
    """Whether it may not be negated."""
    sets: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


NAME = st.from_regex(r"[A-Za-z_.][A-Za-z0-9_.]{0,5}", fullmatch=True)
ORDINAL = [symbol for symbol in SYMBOLS.values() if symbol.level == "ordinal"]
PREDICATE = [symbol for symbol in SYMBOLS.values() if symbol.predicate]


@st.composite
def comparison(draw: st.DrawFn) -> Built:
    symbol = draw(st.sampled_from(ORDINAL))
    relation = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
    number = draw(st.integers(0, 2 ** min(symbol.width, 64) - 1))
    constant = draw(st.sampled_from([str(number), hex(number)]))
    sides = (symbol.name, constant) if draw(st.booleans()) else (constant, symbol.name)
    return Built(f"{sides[0]} {relation} {sides[1]}", positive=False)


@st.composite
def term(draw: st.DrawFn) -> Built:
    name, number = draw(NAME), draw(st.integers(0, 65535))
    return draw(
        st.one_of(
            comparison(),
            st.sampled_from(PREDICATE).map(lambda symbol: Built(symbol.name, symbol.level == "nominal")),
            st.just(Built(f"ip4.src == {{10.0.0.1, ${name}}}", positive=False, sets=frozenset({name}))),
            st.just(Built(f"inport == @{name}", positive=True, groups=frozenset({name}))),
            st.just(Built(f"1 <= tcp.dst <= {number}", positive=False)),
        )
    )


def joined(parts: list[Built], operator: str, negated: bool) -> Built:
    text = f" {operator} ".join(f"({part.text})" for part in parts)
    sets, groups = (frozenset[str]().union(*each) for each in zip(*((p.sets, p.groups) for p in parts), strict=True))
    positive = any(part.positive for part in parts)
    return Built(f"!({text})" if negated and not positive else text, positive, sets, groups)


EXPRESSION = st.recursive(
    term(),
    lambda inner: st.builds(
        joined, st.lists(inner, min_size=1, max_size=3), st.sampled_from(["&&", "||"]), st.booleans()
    ),
    max_leaves=12,
)


@given(EXPRESSION)
def test_what_is_built_by_the_grammar(built: Built) -> None:
    match = parse_match(built.text)
    assert (match.address_sets, match.port_groups) == (built.sets, built.groups)
    for same in (f"({built.text})", f" \t{built.text}\n", built.text.replace(" ", "  /* a comment */\n")):
        assert parse_match(same) == match
    if not built.positive:
        assert parse_match(f"!({built.text})") == match
    else:
        with pytest.raises(ValueError, match=r"only be tested"):
            parse_match(f"!({built.text})")


@given(EXPRESSION, EXPRESSION)
def test_and_or_need_parentheses(one: Built, other: Built) -> None:
    with pytest.raises(ValueError, match=r"^&& and \|\| must be parenthesized when used together\.$"):
        parse_match(f"({one.text}) && ({other.text}) || ({one.text})")


# --- anything else ---

PIECE = st.sampled_from(
    [
        *SYMBOLS,
        "&&",
        "||",
        "!",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        "..",
        "==",
        "<",
        "$a",
        "@a",
        '"a"',
        "10.0.0.1/8",
        "fd00::1",
    ]
)


@given(st.one_of(st.text(), st.lists(st.one_of(PIECE, st.text(max_size=2)), max_size=12).map(" ".join)))
def test_anything_ends_in_a_match_or_a_sentence(text: str) -> None:
    match = complaint = None
    try:
        match = parse_match(text)
    except ValueError as error:
        complaint = error
    assert (match is None) == (type(complaint) is ValueError), "not one of its subclasses, such as that of decoding"
    assert match is None or match.fields <= SYMBOLS.keys()
    assert complaint is None or str(complaint)
