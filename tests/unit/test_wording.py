"""The texts of the code: names that cannot be mistaken for one another, and words that are for persons only."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
CODE = ("bench", "images", "sandbox", "src", "tests")
PERSONS = re.compile(r"\b(somebody|nobody|anybody|whose|whom|his|her)\b", re.IGNORECASE)
"""Words that name a person, where an object, a program or a user is meant."""


def texts(source: str) -> Iterator[tuple[int, str]]:
    """The comments and docstrings of a module, those of attributes among them, each with its first line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def alike(names: set[str]) -> list[str]:
    """Names of modules that differ from another one by a final s only."""
    return sorted(name for name in names if f"{name}s" in names)


@pytest.mark.parametrize("path", sorted(PROJECT.glob("src/**/*.py")), ids=lambda path: path.name)
def test_no_text_takes_an_object_for_a_person(path: Path) -> None:
    found = [f"{path}:{line}: {word}" for line, text in texts(path.read_text()) for word in PERSONS.findall(text)]
    assert found == []


def test_no_two_modules_of_a_folder_differ_by_an_s() -> None:
    folders = [PROJECT, *(folder for top in CODE for folder in [PROJECT / top, *(PROJECT / top).rglob("*/")])]
    for folder in folders:
        names = {each.stem for each in folder.glob("*.py")} | {each.parent.name for each in folder.glob("*/*.py")}
        assert alike(names) == [], folder


def test_no_two_files_of_the_sources_differ_by_an_s() -> None:
    assert alike({each.stem for each in PROJECT.glob("src/**/*.py")}) == []


def test_both_would_be_found() -> None:
    assert alike({"image", "images", "node"}) == ["image"]
    assert [text for _, text in texts('x = "whose"\n"""Whose it is."""  # his')] == ["# his", "Whose it is."]
    assert PERSONS.findall("# this, there; Nobody's") == ["Nobody"]
