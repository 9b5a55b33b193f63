"""Our parser of matches beside OVN's own: the same verdict and the same sentence.

ovn-trace parses each flow of the Southbound database when it starts and logs a complaint about those it cannot, so one
run judges thousands of matches.
"""

import asyncio
import random
import re
from collections.abc import Collection, Mapping
from typing import Any

from kube_ovn.model import names
from kube_ovn.model.expression import DEEPEST, parse_match
from kube_ovn.model.expression.symbols import SYMBOLS
from kube_ovn.ovsdb.connection import Connection
from tests.daemon.ovn import Ovn, ovn
from tests.unit.test_expression import NARROWER, REFUSED, SET_BITS, taken

__all__ = ["ovn"]

Operation = dict[str, Any]
Verdicts = Mapping[str, str]
"""OVN's complaints by match."""

DEADLINE = 60.0
SEED, MUTANTS = 14, 3000
BATCH = 5000
PIPELINE = {"pipeline": "ingress", "table_id": 20, "priority": 1, "actions": "next;"}
NAME = re.compile(r"[$@]([A-Za-z_.][A-Za-z0-9_.]*)")
LOGGED = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z\|\d+\|ovntrace\|WARN\|", re.MULTILINE)
COMPLAINT = ": parsing expression failed ("
OTHERWISE = re.compile(r"unknown logical port|: parsing expression failed$")
"""About a port that a match names, and about a template, besides the complaint about the match."""
MEMBERS: dict[str, Mapping[int, list[str]]] = {
    "plain": {32: ["10.0.0.1", "10.0.0.2"], 48: ["0a:00:00:00:00:01"], 128: ["fd00::1", "fd00::2"]},
    "masked": {32: ["10.0.0.0/8"], 48: ["0a:00:00:00:00:00/ff:00:00:00:00:00"], 128: ["fd00::/8"]},
    "empty": {32: [], 48: [], 128: []},
}
"""What address sets may hold, by the length of their addresses."""


# --- OVN's verdict ---


async def transact(ovn: Ovn, operations: list[Operation]) -> list[Operation]:
    connection = await Connection.connect(ovn.endpoint("sb"), lambda *_: None, None)
    task = asyncio.create_task(connection.run())
    try:
        results: list[Operation] = await connection.request("transact", ["OVN_Southbound", *operations], DEADLINE)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [result for result in results if result is None or "error" in result] == []
    return results


def insert(table: str, **row: object) -> Operation:
    return {"op": "insert", "table": table, "row": row}


async def judge(ovn: Ovn, matches: Collection[str], members: Mapping[int, list[str]]) -> Verdicts:
    """What OVN says against matches, where address sets and port groups have these members."""
    tables = ("Logical_Flow", "Address_Set", "Port_Group", "Port_Binding", "Datapath_Binding")
    cleared = [{"op": "delete", "table": table, "where": []} for table in tables]
    datapath = insert("Datapath_Binding", tunnel_key=1, external_ids=["map", [["name", "probe"]]])
    where = (await transact(ovn, [*cleared, datapath]))[-1]["uuid"]
    rows = [insert("Port_Binding", datapath=where, logical_port="p", tunnel_key=1)]
    for name in sorted({name for match in matches for name in NAME.findall(match)}):
        addresses = members[SET_BITS.get(name, 32)]
        rows.append(insert("Address_Set", name=name, addresses=["set", addresses]))
        rows.append(insert("Port_Group", name=f"1_{name}", ports=["set", ["p", "q"] if addresses else []]))
    rows += [insert("Logical_Flow", logical_datapath=where, match=match, **PIPELINE) for match in matches]
    for start in range(0, len(rows), BATCH):
        await transact(ovn, rows[start : start + BATCH])
    return trace(ovn)


def trace(ovn: Ovn) -> Verdicts:
    log = ovn.folder / "trace.log"
    log.unlink(missing_ok=True)
    options = [f"--db={ovn.endpoint('sb')}", f"--log-file={log}", "-vconsole:off"]
    ovn.run("ovn-trace", *options, "probe", 'inport == "p"')
    complaints: dict[str, str] = {}
    for entry in LOGGED.split(log.read_bytes().decode(errors="backslashreplace"))[1:]:
        match, found, sentence = entry.rpartition(COMPLAINT)
        if found:
            complaints[match] = sentence.removesuffix(")\n")
        else:
            assert OTHERWISE.search(entry), "OVN complains of something else"
    return complaints


def wrapped(match: str) -> str:
    """As northd puts the match of an ACL into flows, besides the match as it is."""
    return f"({match})"


async def judge_always(ovn: Ovn, matches: Collection[str]) -> tuple[Verdicts, set[str]]:
    """What OVN says against each match as it is, and which ones it refuses in some flow or with some members."""
    flows = [flow for match in matches for flow in (match, wrapped(match))]
    verdicts = {kind: await judge(ovn, flows, members) for kind, members in MEMBERS.items()}
    refused = {match for said in verdicts.values() for match in matches if match in said or wrapped(match) in said}
    return verdicts["plain"], refused


def complaint(match: str) -> str:
    try:
        parse_match(match, SET_BITS)
    except ValueError as error:
        return str(error)
    return ""


# --- the two parsers ---


async def test_by_hand(ovn: Ovn) -> None:
    matches = [*taken(), *REFUSED]
    said, refused = await judge_always(ovn, matches)
    assert len(matches) > 450
    assert {match: said.get(match, "") for match in matches} == {**dict.fromkeys(taken(), ""), **REFUSED}
    assert refused == set(REFUSED)


async def test_every_field(ovn: Ovn) -> None:
    matches = [match for symbol in SYMBOLS.values() for match in probes(symbol.name, symbol.width)]
    said, refused = await judge_always(ovn, matches)
    assert {match: complaint(match) for match in matches} == {match: said.get(match, "") for match in matches}
    assert {match for match in matches if complaint(match)} == refused


def probes(name: str, width: int) -> list[str]:
    most = 2**width - 1
    terms = (
        "{0} == 0", "{0} != 0", "{0} == 1", "{0} != 1", "{0} > 0", "!({0} < 1)", "{0} == {{0, 1}}",
        "!({0} == {{0, 1}})", "{0} == {1:#x}", "{0} == {2:#x}", "{0} == 1/1", "{0} > 1/1", '{0} == "a"', '{0} != "a"',
        "{0} == @a", "{0} == $a", "{0} != $six", "{0}", "!{0}", "{0}[0]", "!{0}[0]", "{0}[0..{3}]", "{0}[0..{3}] == 1",
        "{0}[{4}] == 1",
    )  # fmt: skip
    return [term.format(name, most, most + 1, max(width - 1, 0), width) for term in terms]


async def test_no_field_is_missing(ovn: Ovn) -> None:
    """Every word in OVN's program is tried. Texts that end alike share memory there, so ends of words are words too."""
    program = (ovn.root / "usr" / "bin" / "ovn-trace").read_bytes()
    texts = {text.decode() for text in re.findall(rb"([A-Za-z_.][A-Za-z0-9_.]{0,40})\0", program)}
    words = {text[start:] for text in texts for start in range(len(text)) if text[start].islower()}
    words |= {f"{register}{number}" for register in ("reg", "xreg", "xxreg") for number in range(20)}
    said = await judge(ovn, words, MEMBERS["plain"])
    fields = {word for word in words if "expecting field name" not in said.get(word, "")}
    assert fields == {*SYMBOLS, "icmp4.frag_mtu", "icmp6.frag_mtu"}


async def test_mutated(ovn: Ovn) -> None:
    """What we take OVN always takes; what we refuse OVN refuses, at least at times, and says the same."""
    matches = mutants([*taken(), *(match for match in REFUSED if len(match) < 200)], random.Random(SEED))
    said, refused = await judge_always(ovn, matches)
    ours = {match: complaint(match) for match in matches}
    assert {match for match in matches if not ours[match]} & refused == set()
    assert {match for match in matches if ours[match] and not always_narrower(match)} - refused == set()
    assert sum(not sentence for sentence in ours.values()) > MUTANTS // 20, "enough of both kinds"
    differing = {match: (ours[match], said.get(match, "")) for match in matches if ours[match] != said.get(match, "")}
    assert {match: pair for match, pair in differing.items() if not worded_otherwise(match, pair[0])} == {}


def always_narrower(match: str) -> bool:
    return "^" in match or "frag_mtu" in match


def worded_otherwise(match: str, sentence: str) -> bool:
    """Whether a sentence is our own, or a shorter one, or names a character where OVN names a byte."""
    return sentence in NARROWER.values() or "...' expecting" in sentence or not match.isascii()


TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[$@]?[A-Za-z_.][\w.]*|[0-9][\w.:]*|\s+|&&|\|\||[=!<>]=|\.\.|.', re.DOTALL)
CHARACTERS = '!&|=<>(){}[],.:;/*"$@^ -\\\n0159abxXZ_é'


def mutants(matches: list[str], chance: random.Random) -> list[str]:
    """Matches with one to three tokens or characters put in, left out or exchanged, some after joining two."""
    words = sorted({token for match in matches for token in TOKEN.findall(match)} | SYMBOLS.keys())
    made: dict[str, None] = {}
    while len(made) < MUTANTS:
        match = chance.choice(matches)
        if chance.random() < 0.4:
            match = f"{chance.choice(('', '!'))}({match}) {chance.choice(('&&', '||'))} {chance.choice(matches)}"
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            match = mutate_token(match, words, chance) if chance.random() < 0.6 else mutate_character(match, chance)
        made[match] = None
    return list(made)


def mutate_token(text: str, words: list[str], chance: random.Random) -> str:
    tokens: list[str] = TOKEN.findall(text) or [""]
    at, other = chance.randrange(len(tokens)), chance.randrange(len(tokens))
    match chance.randrange(4):
        case 0:
            del tokens[at]
        case 1:
            tokens.insert(at, chance.choice(words))
        case 2:
            tokens[at] = chance.choice(words)
        case 3:
            tokens[at], tokens[other] = tokens[other], tokens[at]
    return "".join(tokens)


def mutate_character(text: str, chance: random.Random) -> str:
    at = chance.randint(0, len(text))
    put_in = chance.choice(CHARACTERS) if chance.random() < 0.8 else ""
    return text[:at] + put_in + text[at + chance.randrange(2) :]


# --- ACLs and the names in them ---

ACTIONS = ("allow", "allow-related", "allow-stateless", "drop", "reject", "pass")


async def test_as_acls(ovn: Ovn) -> None:
    """Matches that are right or wrong because of what northd makes of them: with parentheses, and for
    allow-stateless also without.
    """
    matches = {
        "(" * DEEPEST + "tcp" + ")" * DEEPEST: "",
        "(" * (DEEPEST + 1) + "tcp" + ")" * (DEEPEST + 1): "Parentheses nested too deeply.",
        "tcp // a comment": "Syntax error at end of input expecting `)'.",
        "tcp // a comment\n": "",
        "tcp ||\nudp": "",
        "tcp || udp": "",
        "tcp) && (udp": "Syntax error at `)' expecting end of input.",
    }
    ovn.start_northd()
    ovn.nbctl("ls-add", "probe", "--", "lsp-add", "probe", "p")
    cases = [(way, action, match) for way in ("from-lport", "to-lport") for action in ACTIONS for match in matches]
    for priority, (way, action, match) in enumerate(cases):
        ovn.nbctl("acl-add", "probe", way, str(priority), match, action)
    ovn.nbctl("--wait=sb", "sync")
    complaints = trace(ovn)
    for match, sentence in matches.items():
        said = {
            text for flow, text in complaints.items() if f"&& {flow}".endswith((f"&& {match}", f"&& {wrapped(match)}"))
        }
        assert said == ({sentence} if sentence else set())
        assert bool(complaint(match)) == bool(sentence)


async def test_names_of_address_sets_and_port_groups(ovn: Ovn) -> None:
    pools = ("10.1.1.pool", "0", "1-2.3-4", "blue", "a-b.c", "a.b-c", "x" * 63 + ".0" * 95, "fd00", "beef.1")
    sets = {names.pool_address_set(pool, version) for pool in pools for version in (4, 6)}
    sets |= {names.node_address_set(4), names.node_address_set(6)}
    groups = {
        names.node_port_group(node) for node in ("node1", "10.0.0.1", "0", "a-b.example.com", "x" * 63 + ".0" * 95)
    }
    assert len(sets) == 2 * len(pools) + 2
    matches = [
        *(f"ip6.src == {{fd00::1, ${name}}}" for name in sets),
        *(f"outport == @{name} && ip" for name in groups),
    ]
    assert await judge(ovn, matches, MEMBERS["plain"]) == {}
    assert [complaint(match) for match in matches if complaint(match)] == []
