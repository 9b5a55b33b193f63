"""Free texts: what `check_text` lets through, and what it says against the rest."""

import sys
import unicodedata

import pytest

from kube_ovn.model.text import LONGEST, check_text


@pytest.mark.parametrize("text", ["", "lease_time=7200,dns_server={192.0.2.53,192.0.2.54}", "Zürich 😀", "a" * LONGEST])
def test_taken(text: str) -> None:
    check_text(text, "dhcpV4Options")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lease_time=1\0", "the control character U+0000 at position 13; remove it"),
        ("\ta", "the control character U+0009 at position 1; remove it"),
        ("a\nb", "the control character U+000A at position 2; remove it"),
        ("a\x7f", "the control character U+007F at position 2; remove it"),
        ("a\x9b", "the control character U+009B at position 2; remove it"),
        ("a\u2028", "the control character U+2028 at position 2; remove it"),
        ("ab\ud83d", "the lone surrogate U+D83D at position 3; remove it"),
        ("a" * (LONGEST + 1), f"{LONGEST + 1} characters; {LONGEST} are the most"),
    ],
)
def test_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^annotation a has ") as caught:
        check_text(text, "annotation a")
    assert str(caught.value) == f"annotation a has {sentence}"


def test_another_bound() -> None:
    check_text("a" * 63, "name", 63)
    with pytest.raises(ValueError, match=r"^name has 64 characters; 63 are the most$"):
        check_text("a" * 64, "name", 63)


def test_every_character() -> None:
    """Refused are the categories that the schemas of our resources name, and lone surrogates."""
    for number in range(sys.maxunicode + 1):
        refused = unicodedata.category(chr(number)) in ("Cc", "Zl", "Zp", "Cs")
        try:
            check_text(chr(number), "text")
        except ValueError:
            assert refused, f"U+{number:04X}"
        else:
            assert not refused, f"U+{number:04X}"
