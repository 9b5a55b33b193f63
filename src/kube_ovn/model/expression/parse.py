"""The grammar of matches: one pass over the tokens, without recursion, that keeps nothing but names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from kube_ovn.model.expression.comparison import Operand, comparison_complaint
from kube_ovn.model.expression.symbols import SYMBOLS, Symbol
from kube_ovn.model.expression.tokens import Constant, Token, split_tokens

LONGEST = 8192
"""Characters of a match. OVN has no bound, but every node reads every match."""
DEEPEST = 99
"""Parentheses inside one another. OVN takes 100, and northd puts the match of an ACL into one pair more."""

_ADDRESS_BITS = 32
"""Bits of the addresses in an address set that is not known; IPv4 has the shortest ones."""
_TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
"""Relational operators, each with the one that means the same when the sides are exchanged."""
_ZERO = Constant(0, 0, "hexadecimal")
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""Characters that no text of a database can have."""
_SHOWN = 60
"""Characters of a token that a sentence repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The names in a match that OVN understands."""

    fields: frozenset[str]
    address_sets: frozenset[str]
    port_groups: frozenset[str]


def parse_match(text: str, set_bits: Mapping[str, int] | None = None) -> Match:
    """Parse the match of an ACL. Raises ValueError with OVN's own sentence when OVN cannot parse it.

    `set_bits`: by name of an address set, the bits of its addresses (IPv4 32, Ethernet 48, IPv6 128). A set or a group
    may come to have any members, so a match that OVN takes only while one is empty or has no masks is refused.
    """
    if len(text) > LONGEST:
        raise ValueError(f"The match has {len(text)} characters; {LONGEST} are the most.")
    if unusable := _UNUSABLE.search(text):
        raise ValueError(f"Invalid character U+{ord(unusable.group()):04X} in input.")
    if "^" in text:
        raise ValueError("A match cannot have a `^', which OVN takes for a template.")
    parser = _Parser(split_tokens(text), set_bits or {})
    parser.parse()
    return Match(
        fields=frozenset(parser.fields),
        address_sets=frozenset(parser.address_sets),
        port_groups=frozenset(parser.port_groups),
    )


class _Field(NamedTuple):
    symbol: Symbol
    bits: int
    """Fewer than the symbol's when some of them were chosen."""


class _Parser:
    """The parser of one match: its position among the tokens, and the names it has seen so far."""

    def __init__(self, tokens: list[Token], set_bits: Mapping[str, int]) -> None:
        self._tokens, self._at, self._set_bits = tokens, 0, set_bits
        self._negated = False  # by an odd number of `!`
        self.fields: set[str] = set()
        self.address_sets: set[str] = set()
        self.port_groups: set[str] = set()

    # --- tokens ---

    @property
    def _kind(self) -> str:
        return self._tokens[self._at].kind

    def _next(self) -> Token:
        """Take the present token, which is not the last."""
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _take(self, kind: str) -> bool:
        if self._kind != kind:
            return False
        self._at += 1
        return True

    def _fail(self, sentence: str) -> NoReturn:
        token = self._tokens[self._at]
        raise ValueError(token.text if token.kind == "error" else sentence)

    def _expect(self, what: str) -> NoReturn:
        token = self._tokens[self._at]
        shown = token.text if len(token.text) <= _SHOWN else f"{token.text[:_SHOWN]}..."
        place = "end of input" if token.kind == "end" else f"`{shown}'"
        self._fail(f"Syntax error at {place} expecting {what}.")

    # --- expressions ---

    def parse(self) -> None:
        """Parse the whole match: operands, each perhaps negated or in parentheses, joined by one operator a level."""
        outside: list[tuple[str, bool]] = []  # the operator and the negation around each open parenthesis
        operator = ""
        while True:
            negation = self._take("!")
            if self._take("("):
                if len(outside) >= DEEPEST:
                    self._fail("Parentheses nested too deeply.")
                outside.append((operator, self._negated))
                operator, self._negated = "", self._negated ^ negation
                continue
            self._term(negation)
            while self._kind not in ("&&", "||"):
                if not outside:
                    return self._end()
                if not self._take(")"):
                    self._expect("`)'")
                operator, self._negated = outside.pop()
            if operator not in ("", self._kind):
                self._fail("&& and || must be parenthesized when used together.")
            operator = self._next().kind

    def _end(self) -> None:
        if self._kind != "end":
            self._expect("end of input")

    def _term(self, negation: bool) -> None:
        """Parse a comparison, or a term that is true or false by itself. Only such a term may be negated without
        parentheses.
        """
        self._negated ^= negation
        match self._kind:
            case "name" if self._tokens[self._at + 1].kind == "(":
                by_itself = self._function()
            case "name":
                by_itself = self._field_first()
            case _:
                by_itself = self._constant_first()
        self._negated ^= negation
        if negation and not by_itself:
            self._fail("Missing parentheses around operand of !.")

    def _function(self) -> bool:
        if self._next().text != "is_chassis_resident":
            self._at -= 1
            self._fail("parsing function name")
        self._next()
        if not self._take("text"):
            self._expect("string")
        if not self._take(")"):
            self._expect("`)'")
        return True

    def _field_first(self) -> bool:
        field = self._field()
        if self._kind in _TURNED:
            relation = self._next().kind
            self._compare(field, relation, self._operand())
            return False
        if not field.symbol.width or self._kind == "=":
            self._expect("relational operator")
        if field.bits > 1 and not self._negated:
            self._fail("Explicit `!= 0' is required for inequality test of multibit field against 0.")
        self._compare(field, "!=", Operand((_ZERO,), several=False))
        return True

    def _constant_first(self) -> bool:
        left = self._operand()
        if self._kind not in _TURNED:
            truths = [each for each in left.constants if each.form == "decimal" and not each.masked and each.value <= 1]
            if truths and not left.several:
                return True
            self._expect("relational operator")
        first = self._next().kind
        field = self._field()
        if self._kind not in _TURNED:
            self._compare(field, _TURNED[first], left)
            return False
        second = self._next().kind
        right = self._operand()
        if first not in ("<", "<=", ">", ">=") or second[0] != first[0]:
            self._fail(
                "Range expressions must have the form `x < field < y' or `x > field > y', with each `<' optionally"
                " replaced by `<=' or `>' by `>=')."
            )
        self._compare(field, _TURNED[first], left)
        self._compare(field, second, right)
        return False

    def _compare(self, field: _Field, relation: str, operand: Operand) -> None:
        if complaint := comparison_complaint(field.symbol, relation, operand, negated=self._negated):
            self._fail(complaint)

    # --- fields and constants ---

    def _field(self) -> _Field:
        symbol = SYMBOLS.get(self._tokens[self._at].text) if self._kind == "name" else None
        if symbol is None:
            self._expect("field name")
        self._next()
        self.fields.add(symbol.name)
        if not self._take("["):
            return _Field(symbol, symbol.width)
        if not symbol.width:
            self._fail(f"Cannot select subfield of string field {symbol.name}.")
        low = self._small_integer()
        high = self._small_integer() if self._take("..") else low
        if not self._take("]"):
            self._expect("`]'")
        if low > high:
            self._fail(f"Invalid bit range {low} to {high}.")
        if high >= symbol.width:
            self._fail(f"Cannot select bits {low} to {high} of {symbol.width}-bit field {symbol.name}.")
        if symbol.level == "nominal" and (low, high) != (0, symbol.width - 1):
            self._fail(f"Cannot select subfield of nominal field {symbol.name}.")
        return _Field(symbol, high - low + 1)

    def _small_integer(self) -> int:
        constant = self._tokens[self._at].constant
        if constant is None or constant.form != "decimal" or constant.masked or constant.value >= 2**31:
            self._expect("small integer")
        self._next()
        return constant.value

    def _operand(self) -> Operand:
        """Parse a constant, or several in braces; commas between them may be left out."""
        if not self._take("{"):
            several = self._kind == "set"
            constant = self._constant(None)
            return Operand(() if constant is None else (constant,), several, is_text=constant is None)
        first = self._constant(None)
        constants = [first]
        while True:
            self._take(",")
            if self._take("}"):
                break
            constants.append(self._constant(first is None))
        numbers = tuple(constant for constant in constants if constant is not None)
        return Operand(numbers, several=True, is_text=first is None)

    def _constant(self, text_wanted: bool | None) -> Constant | None:
        """Parse the next constant: a number, or None for a text. It must have the type of the constants before it."""
        token = self._tokens[self._at]
        if token.kind not in ("text", "group", "number", "set"):
            self._expect("constant")
        is_text = token.kind in ("text", "group")
        if text_wanted not in (None, is_text):
            self._expect("string" if text_wanted else "integer")
        self._next()
        name = token.text[1:]
        if token.kind == "set":
            self.address_sets.add(name)
            return Constant(0, self._set_bits.get(name, _ADDRESS_BITS), "address")
        if token.kind == "group":
            self.port_groups.add(name)
        return token.constant
