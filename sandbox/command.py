"""Run other programs to their end and turn their failure into one readable sentence.

Long-lived processes are not started here but in process.py.
"""

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.paths import SandboxError

_TAIL_LINES = 12


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float = 60,
    text: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a program, at most `timeout` seconds, and return its output. Raises SandboxError with the end of its error
    output when it fails.
    """
    code, out, err = attempt(argv, timeout=timeout, text=text, env=env, cwd=cwd)
    if code != 0:
        tail = "\n".join((err.strip() or out.strip()).splitlines()[-_TAIL_LINES:])
        raise SandboxError(f"`{shlex.join(str(word) for word in argv)}` failed (exit code {code}): {tail}")
    return out


def attempt(
    argv: Sequence[str | Path],
    *,
    timeout: float = 60,
    text: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> tuple[int, str, str]:
    """Run a program that may fail; return exit code, output and error output."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, input=text, capture_output=True, text=True, timeout=timeout, env=env, cwd=cwd, check=False
        )
    except FileNotFoundError as error:
        raise SandboxError(f"the program {words[0]} is not installed; run `python -m sandbox deps`") from error
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"`{shlex.join(words)}` did not end within {timeout:.0f} s") from error
    return done.returncode, done.stdout, done.stderr
