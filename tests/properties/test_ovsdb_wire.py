"""Laws of the OVSDB wire: any split of the stream gives the same messages; differences lead where they say."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.ovsdb.codec import ColumnType, apply_difference, decode_value, encode_value
from kube_ovn.ovsdb.protocol import Framer

texts = st.one_of(st.text(max_size=8), st.sampled_from(['}{"', "}{", '"}{"a', "\\", '\\"', "}", "{"]))
values = st.one_of(texts, st.lists(texts, max_size=3), st.dictionaries(texts, texts, max_size=2))
messages = st.dictionaries(texts, values, min_size=1)  # no JSON-RPC message is empty


@given(st.lists(messages, max_size=5), st.lists(st.integers(0, 400)))
def test_any_split_gives_the_same_messages(sent: list[dict[str, Any]], cuts: list[int]) -> None:
    stream = b"".join(json.dumps(message, separators=(",", ":")).encode() for message in sent)
    framer, received, start = Framer(), [], 0
    for end in [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]:
        received += framer.feed(stream[start:end])
        start = end
    assert received == sent


STRINGS = ColumnType(key="string", value=None, ref_table=None, min=0, max=None)
MAP = ColumnType(key="string", value="string", ref_table=None, min=0, max=None)
OPTIONAL = ColumnType(key="integer", value=None, ref_table=None, min=0, max=1)

SENDABLE = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=2)
sets = st.frozensets(SENDABLE, max_size=5)
maps = st.dictionaries(SENDABLE, SENDABLE, max_size=5)


@given(sets, sets)
def test_the_difference_of_sets(old: frozenset[str], new: frozenset[str]) -> None:
    assert apply_difference(STRINGS, old, encode_value(STRINGS, old ^ new)) == new


@given(maps, maps)
def test_the_difference_of_maps(old: dict[str, str], new: dict[str, str]) -> None:
    change = {key: new.get(key, old.get(key, "")) for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    assert apply_difference(MAP, old, encode_value(MAP, change)) == new


@given(sets, maps, st.one_of(st.none(), st.integers()))
def test_values_survive_the_wire(strings: frozenset[str], entries: dict[str, str], number: int | None) -> None:
    for kind, value in ((STRINGS, strings), (MAP, entries), (OPTIONAL, number)):
        assert decode_value(kind, json.loads(json.dumps(encode_value(kind, value)))) == value


@given(SENDABLE, st.sampled_from(["\0", "\ud800", "\udfff"]), SENDABLE)
def test_what_no_database_can_hold_is_never_sent(before: str, bad: str, after: str) -> None:
    text = f"{before}{bad}{after}"
    for value in (frozenset({text}), {text: ""}, {"": text}):
        with pytest.raises(ValueError, match=r"U\+0000|half of a character"):
            encode_value(MAP if isinstance(value, dict) else STRINGS, value)
