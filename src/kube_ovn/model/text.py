"""Texts that users write and that become part of rows, rules and messages: printable ones, and not too long.

The schemas of our resources have the same bounds (`charts/kube-ovn/templates/_crd.tpl`); annotations have no schema.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 4096
"""Characters of a text for which no other bound is named."""

_UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, the two others that end a line, and lone surrogates, which UTF-8 cannot hold."""


def check_text(text: str, what: str, longest: int = LONGEST) -> None:
    """Raise ValueError, with a sentence that names `what`, when a text is too long or has an unprintable character."""
    if len(text) > longest:
        raise ValueError(f"{what} has {len(text)} characters; {longest} are the most")
    if found := _UNPRINTABLE.search(text):
        number = ord(found.group())
        kind = "lone surrogate" if 0xD800 <= number < 0xE000 else "control character"
        raise ValueError(f"{what} has the {kind} U+{number:04X} at position {found.start() + 1}; remove it")


def suggest(word: str, known: Iterable[str], prefix: str = "") -> str:
    """The end of a sentence on an unknown word: the known one that is most like it; empty when none is like it.
    `prefix`: stands before the known one.
    """
    near = get_close_matches(word, sorted(known), 1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""
