"""Plans as operations: what cannot be sent, and which keys an answer of the database speaks of."""

from typing import Any

import pytest

from kube_ovn.model.nb import AddressSet, LogicalSwitch, LogicalSwitchPort
from kube_ovn.model.row import Key, Member, Row, RowKey, facts, owned
from kube_ovn.ovsdb.codec import parse_schema
from kube_ovn.ovsdb.commit import Step, Transaction, check
from kube_ovn.ovsdb.errors import (
    LONGEST_NAME,
    ConflictError,
    FencedError,
    OvsdbError,
    RejectedError,
    UnableError,
    UnsendableError,
)
from kube_ovn.ovsdb.replica import Replica
from kube_ovn.plan import diff

TEXTS = {"type": {"key": "string", "min": 0, "max": "unlimited"}}
MAP = {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}}


def references(table: str) -> dict[str, object]:
    return {"type": {"key": {"type": "uuid", "refTable": table}, "min": 0, "max": "unlimited"}}


SCHEMA = {
    "tables": {
        "Logical_Switch": {
            "isRoot": True,
            "columns": {"name": {"type": "string"}, "other_config": MAP, "external_ids": MAP}
            | {"ports": references("Logical_Switch_Port")}
            | {column: references("Other") for column in ("acls", "load_balancer_group", "dns_records")},
        },
        "Logical_Switch_Port": {
            "columns": {"name": {"type": "string"}, "type": {"type": "string"}, "addresses": TEXTS}
            | {"port_security": TEXTS, "options": MAP, "external_ids": MAP}
            | {column: references("Other") for column in ("dhcpv4_options", "dhcpv6_options")},
        },
        "Address_Set": {
            "isRoot": True,
            "columns": {"name": {"type": "string"}, "addresses": TEXTS, "external_ids": MAP},
        },
    }
}
UUIDS = {"s": "00000000-0000-0000-0000-000000000001", "a": "00000000-0000-0000-0000-000000000002"}
PORT = RowKey("Logical_Switch_Port", "p")
MEMBER = Member("Logical_Switch", "s", "ports", "p")


def replica(*present: str) -> Replica:
    made = Replica([LogicalSwitch, LogicalSwitchPort, AddressSet])
    made.schema = parse_schema(SCHEMA)
    tables = {"s": "Logical_Switch", "a": "Address_Set"}
    for name in present:
        row = {"name": name, "external_ids": ["map", [["vendor", "kube-ovn"]]]}
        made.apply({tables[name]: {UUIDS[name]: {"insert": row}}})
    return made


def steps(desired: dict[Key, Row | None], *present: str) -> list[Step]:
    theirs = replica(*present)
    return Transaction(diff(desired, theirs.owned), theirs).steps()


def port(name: str = "p", **columns: Any) -> dict[Key, Row | None]:
    row = LogicalSwitchPort(name=name, **{"external_ids": owned(), **columns})
    return facts(row, members=(Member("Logical_Switch", "s", "ports", name),))


SWITCH = facts(LogicalSwitch(name="s", external_ids=owned()))
SET = facts(AddressSet(name="a", external_ids=owned()))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"type": "a\0"}, "type holds the character U+0000"),
        ({"addresses": frozenset({"good", "\0"})}, "addresses holds the character U+0000"),
        ({"options": {"a\0": "b"}}, "options holds the character U+0000"),
        ({"options": {"a": "b\0"}}, "options holds the character U+0000"),
        ({"options": {"a": "é\ud83d"}}, "options holds half of a character, U+D83D"),
        ({"external_ids": owned(x="\udfff")}, "external_ids holds half of a character, U+DFFF"),
    ],
)
@pytest.mark.parametrize("present", [(), ("s",)])
def test_what_cannot_be_sent_is_refused_with_its_key(
    columns: dict[str, Any], said: str, present: tuple[str, ...]
) -> None:
    with pytest.raises(UnsendableError) as refused:
        steps({**SWITCH, **port(**columns), **port("good")}, *present)
    assert refused.value.keys == (PORT,)
    assert refused.value.faults[PORT].startswith(f"Logical_Switch_Port p: {said}")


def test_what_is_rare_can_be_sent() -> None:
    assert steps({**SWITCH, **port(options={"a": "\x01\x7f\ufffe\uffff😀", "b": "x" * (1 << 20)})})


def test_all_faults_are_named_at_once_and_names_can_be_shown() -> None:
    bad = "x\0" + "y" * 1000
    with pytest.raises(UnsendableError) as refused:
        steps({**SWITCH, **port(bad), **port("p", type="\0"), **port("good")}, "s")
    assert set(refused.value.faults) == {RowKey("Logical_Switch_Port", bad), PORT}
    shown = refused.value.faults[RowKey("Logical_Switch_Port", bad)]
    assert shown.startswith("Logical_Switch_Port x\\x00yyy")
    assert len(shown) < LONGEST_NAME + 100


@pytest.mark.parametrize("present", [(), ("a",)])
def test_an_element_of_a_set_is_refused_with_its_key(present: tuple[str, ...]) -> None:
    members: dict[Key, Row | None] = {
        Member("Address_Set", "a", "addresses", each): None for each in ("10.0.0.1", "\0")
    }
    with pytest.raises(UnsendableError) as refused:
        steps({**SET, **members}, *present)
    assert refused.value.keys == (Member("Address_Set", "a", "addresses", "\0"),)


def test_a_change_that_cannot_be_sent_is_refused_with_its_key() -> None:
    with pytest.raises(UnsendableError) as refused:
        steps(facts(LogicalSwitch(name="s", other_config={"x": "\0"}, external_ids=owned())), "s")
    assert refused.value.keys == (RowKey("Logical_Switch", "s"),)


def test_each_operation_knows_the_keys_it_carries_out() -> None:
    assert [step.keys for step in steps({**SWITCH, **port()})] == [(RowKey("Logical_Switch", "s"), MEMBER), (PORT,)]
    assert [step.keys for step in steps({**SWITCH, **port()}, "s")] == [(PORT,), (MEMBER,)]
    assert [step.keys for step in steps({}, "s", "a")] == [
        (RowKey("Logical_Switch", "s"),),
        (RowKey("Address_Set", "a"),),
    ]


# --- Answers ---

INSERTED = [{"uuid": ["uuid", "00000000-0000-0000-0000-00000000000a"]}, {"uuid": ["uuid", UUIDS["s"]]}]


def refusal(*results: dict[str, Any] | None) -> OvsdbError:
    with pytest.raises(OvsdbError) as refused:
        check(steps({**SWITCH, **port()}), results)
    return refused.value


def test_the_operation_that_is_refused_names_its_keys() -> None:
    said = refusal(INSERTED[0], {"error": "constraint violation", "details": "no good"})
    assert isinstance(said, RejectedError)
    assert (str(said), said.keys) == ("insert in Logical_Switch_Port: constraint violation: no good", (PORT,))


def test_the_commit_that_is_refused_names_the_rows_whose_uuids_it_says() -> None:
    said = refusal(*INSERTED, {"error": "constraint violation", "details": f"rows {UUIDS['s']} and {UUIDS['a']} clash"})
    assert isinstance(said, RejectedError)
    assert said.keys == (PORT,)
    unnamed = refusal(*INSERTED, {"error": "constraint violation", "details": "x" * 10_000})
    assert isinstance(unnamed, RejectedError)
    assert unnamed.keys == ()
    assert len(str(unnamed)) < 500


def test_what_is_said_is_the_same_when_it_is_tried_again() -> None:
    """The UUIDs of new rows are not, so that users would be told of the same thing again and again."""
    details = (
        f"Two rows clash.  First row, with UUID {UUIDS['s']}, was inserted.  Second row, with UUID {UUIDS['a']}, was."
    )
    said = refusal(*INSERTED, {"error": "constraint violation", "details": details})
    assert str(said) == "constraint violation: Two rows clash"
    said = refusal(*INSERTED, {"error": "constraint violation", "details": f"row {UUIDS['s']} is bad"})
    assert str(said) == "constraint violation: row (UUID) is bad"


def test_a_changed_row_is_named_by_its_uuid_too() -> None:
    change = steps(facts(LogicalSwitch(name="s", other_config={"x": "y"}, external_ids=owned())), "s")
    with pytest.raises(RejectedError) as refused:
        check(change, [{"count": 1}, {"error": "constraint violation", "details": UUIDS["s"]}])
    assert refused.value.keys == (RowKey("Logical_Switch", "s"),)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("referential integrity violation", ConflictError),
        ("aborted", ConflictError),
        ("I/O error", UnableError),
        ("resources exhausted", UnableError),
        ("permission error", UnableError),
        ("not allowed", UnableError),
        ("something new", RejectedError),
    ],
)
def test_only_what_is_for_the_content_is_a_rejection(error: str, kind: type[OvsdbError]) -> None:
    assert type(refusal({"error": error}, None)) is kind
    assert type(refusal(*INSERTED, {"error": error})) is kind


def test_the_fence_is_no_rejection() -> None:
    wait = Step({"op": "wait", "table": "NB_Global"})
    with pytest.raises(FencedError):
        check([wait, *steps(SWITCH)], [{"error": "timed out"}, None])
