"""Settings of the programs: flags with the environment behind them, checked once at the start.

A settings class is a frozen dataclass. Its fields are declared with `flag(...)`: field `ovn_nb_addr` is the flag
`--ovn-nb-addr` and the variable `OVN_NB_ADDR`; the flag wins. The contract names the flags (§5).
"""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def flag(default: Any, help: str, parse: Callable[[str], Any] = str) -> Any:
    """Declare a setting. `parse` turns a text into the value and raises ValueError with a sentence."""
    return dataclasses.field(default=default, metadata={"help": help, "parse": parse})


def parse_flags(settings: type[T], program: str, argv: Sequence[str], environ: Mapping[str, str]) -> T:
    """Read the settings; a wrong one ends the program with one sentence that names it (exit code 2)."""
    parser = argparse.ArgumentParser(prog=program, description=settings.__doc__, allow_abbrev=False)
    fields = dataclasses.fields(settings)  # type: ignore[arg-type]
    for field in fields:
        shown = field.default if isinstance(field.default, str | int | float) else ""
        parser.add_argument(f"--{field.name.replace('_', '-')}", help=f"{field.metadata['help']} (default: {shown})")
    given = vars(parser.parse_args(argv))
    values: dict[str, Any] = {}
    for field in fields:
        text = given[field.name] if given[field.name] is not None else environ.get(field.name.upper())
        if text is None:
            continue
        try:
            values[field.name] = field.metadata["parse"](text)
        except ValueError as error:
            parser.error(f"--{field.name.replace('_', '-')}: {error}")
    return settings(**values)


def parse_bool(text: str) -> bool:
    """Parse `true` or `false`. Raises ValueError."""
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def parse_list(text: str) -> tuple[str, ...]:
    """Parse a comma list; empty entries are left out."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
