"""A match as a list of tokens, with the constants among them.

Pure text: the meaning of a token at its position is decided in `parse`. An error is a token too, the last one of its
list, because OVN reports it only when its parser gets that far.
"""

import re
import socket
from typing import NamedTuple


class Constant(NamedTuple):
    """A number or an address, as far as a comparison with a field depends on it."""

    value: int
    bits: int
    """The number of bits that a field needs to be compared with the constant."""
    form: str
    """decimal, hexadecimal, IPv4, IPv6 or Ethernet."""
    masked: bool = False


class Token(NamedTuple):
    kind: str
    """An operator or bracket itself; or name, text, number, set, group, error, end."""
    text: str
    """The characters of the token; of an error, the sentence."""
    constant: Constant | None = None


_BLANK = re.compile(r"(?:[ \t\n\r\v\f]+|//[^\n]*\n|/\*(?:(?!\*/)[^\n])*\*/)+")
_OPERATOR = re.compile(r"&&|\|\||[=!<>]=|<->|\.\.|--|[=!<>(){}\[\],;:-]")
_NAME = re.compile(r"[A-Za-z_.][A-Za-z0-9_.]*")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NUMBER_AHEAD = re.compile(r"[0-9]|::|[0-9a-fA-F]+:")
# A colon belongs to a number unless a dot stands before it: 192.0.2.1:80 is three tokens, ::ffff:192.0.2.1 is one.
_NUMBER = re.compile(r"[0-9A-Za-z:]*(?:\.(?!\.)[0-9A-Za-z]*)*")
_ETHERNET = re.compile(":".join([r"(?:0[xX])?([0-9a-fA-F]+)"] * 6))
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]+")
_MARKS = {"$": "set", "@": "group"}
_LONGEST_ADDRESS = 45
_HEXADECIMAL_DIGITS = 256
_PREFIX_BITS = {"IPv4": 32, "IPv6": 128}


def split_tokens(text: str) -> list[Token]:
    """All tokens up to the end of the text or the first error."""
    tokens: list[Token] = []
    at = 0
    while True:
        if blank := _BLANK.match(text, at):
            at = blank.end()
        token = _token(text, at)
        tokens.append(token)
        if token.kind in ("end", "error"):
            return tokens
        at += len(token.text)


def _token(text: str, at: int) -> Token:
    if at == len(text):
        return Token("end", "")
    if _NUMBER_AHEAD.match(text, at):
        return _number(text, at)
    first = text[at]
    if first != "." and (name := _NAME.match(text, at)):
        return Token("name", name.group())
    if first == '"':
        return _quoted(text, at)
    if operator := _OPERATOR.match(text, at):
        return Token(operator.group(), operator.group())
    if first in _MARKS and (name := _NAME.match(text, at + 1)):
        return Token(_MARKS[first], first + name.group())
    return Token("error", _complaint(text, at))


def _complaint(text: str, at: int) -> str:
    """Why no token begins here."""
    first = text[at]
    if first in _MARKS:
        return f"`{first}' must be followed by a valid identifier."
    if text.startswith("//", at):
        # OVN puts the match into parentheses; the comment would hide the closing one.
        return "The comment after `//' needs an end of line."
    if text.startswith("/*", at):
        return "`/*' without matching `*/'."
    if first == "/":
        return "`/' is only valid as part of `//' or `/*'."
    if first in "&|":
        return f"`{first}' is only valid as part of `{first}{first}'."
    if first == ".":
        return "`.' is only valid as part of `..' or a number."
    if first.isprintable():
        return f"Invalid character `{first}' in input."
    return f"Invalid character U+{ord(first):04X} in input."


def _quoted(text: str, at: int) -> Token:
    found = _QUOTED.match(text, at)
    if not found:
        return Token("error", "Input ends inside quoted string.")
    inside = found.group()[1:-1]
    complaint = _escapes_complaint(inside) if "\\" in inside else ""
    return Token("error", complaint) if complaint else Token("text", found.group())


def _escapes_complaint(inside: str) -> str:
    """OVN's sentence on a wrong escape in a quoted text; empty when all are right. Escapes are those of JSON (RFC 8259
    section 7).
    """
    at = 0
    while (at := inside.find("\\", at)) >= 0:
        kind = inside[at + 1]
        at += 2
        if kind == "u":
            first, complaint = _code_unit(inside[at : at + 4])
            at += 4
            if not complaint and 0xD800 <= first < 0xDC00:
                complaint = _second_half_complaint(inside[at : at + 6])
                at += 6
            if complaint:
                return complaint
        elif kind not in '"\\/bfnrt':
            return f"bad escape \\{kind}"
    return ""


def _second_half_complaint(escape: str) -> str:
    if not escape.startswith("\\u"):
        return "malformed escaped surrogate pair"
    second, complaint = _code_unit(escape[2:])
    if not complaint and not 0xDC00 <= second < 0xE000:
        return "second half of escaped surrogate pair is not trailing surrogate"
    return complaint


def _code_unit(digits: str) -> tuple[int, str]:
    """The number of a `\\u` escape, and OVN's sentence when it is wrong."""
    if len(digits.encode()) < 4:
        return 0, "quoted string ends within \\u escape"
    if not _HEXADECIMAL.fullmatch(digits):
        return 0, "malformed \\u escape"
    number = int(digits, 16)
    return number, "" if number else "null bytes not supported in quoted strings"


def _number(text: str, at: int) -> Token:
    """A number or an address, with its mask if one follows."""
    word = _word(text, at)
    value = _constant(word)
    if isinstance(value, str):
        return Token("error", value)
    end = at + len(word)
    if not text.startswith("/", end):
        return Token("number", word, value)
    mask_word = _word(text, end + 1)
    mask = _constant(mask_word)
    masked = mask if isinstance(mask, str) else _masked(value, mask)
    return Token("error", masked) if isinstance(masked, str) else Token("number", f"{word}/{mask_word}", masked)


def _word(text: str, at: int) -> str:
    found = _NUMBER.match(text, at)
    assert found  # it may be empty
    return found.group()


def _constant(word: str) -> Constant | str:
    """The constant that a word stands for, or OVN's sentence why it stands for none."""
    if not word:
        return "Integer constant expected."
    if len(word) == 17 and (parts := _ETHERNET.fullmatch(word)):
        octets = bytes(int(part, 16) & 0xFF for part in parts.groups())
        return Constant(int.from_bytes(octets), 48, "Ethernet")
    if word.isdigit():
        return _decimal(word)
    if word[:2] in ("0x", "0X"):
        return _hexadecimal(word)
    for form, family in (("IPv4", socket.AF_INET), ("IPv6", socket.AF_INET6)):
        # The C library's own reading, which OVN uses too.
        try:
            packed = socket.inet_pton(family, word) if len(word) <= _LONGEST_ADDRESS else b""
        except OSError:
            continue
        if packed:
            return Constant(int.from_bytes(packed), 8 * len(packed), form)
    return "Invalid numeric constant."


def _decimal(word: str) -> Constant | str:
    if word[0] == "0" and len(word) > 1:
        return "Decimal constants must not have leading zeros."
    if len(word) > 20 or (value := int(word)) >= 2**64:
        return "Decimal constants must be less than 2**64."
    return Constant(value, value.bit_length(), "decimal")


def _hexadecimal(word: str) -> Constant | str:
    digits = word[2:]
    if not digits:
        return f"Hex digits expected following {word}."
    # OVN reads from the last digit on, which decides what it complains of.
    last, rest = digits[-_HEXADECIMAL_DIGITS:], digits[:-_HEXADECIMAL_DIGITS].rstrip("0")
    if not _HEXADECIMAL.fullmatch(last + rest[-1:]):
        return "Invalid syntax in hexadecimal constant."
    if rest:
        return f"Hexadecimal constant requires more than {4 * _HEXADECIMAL_DIGITS} bits."
    value = int(last, 16)
    return Constant(value, value.bit_length(), "hexadecimal")


def _masked(value: Constant, mask: Constant) -> Constant | str:
    form, bits = value.form, mask.value
    if value.form != mask.form:
        length = mask.value & 0xFFFFFFFF  # of a longer number OVN sees the last 32 bits
        width = _PREFIX_BITS.get(value.form, -1)
        if mask.form == "decimal" and length <= width:
            bits = (1 << width) - (1 << (width - length))
        elif value.form == "decimal" and value.value == 0 and mask.form == "hexadecimal":
            form = mask.form
        else:
            return "Value and mask have incompatible formats."
    return Constant(value.value & bits, bits.bit_length(), form, True)
