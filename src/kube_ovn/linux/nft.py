"""nftables, through its documented interface: the program nft(8). Used when a node's table changes, never for a Pod."""

import asyncio
import contextlib
import shlex

import msgspec


class NftError(Exception):
    """nft refused a table, or could not be run."""


class Count(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The value of a named counter."""

    name: str
    packets: int
    bytes: int


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    counter: Count | None = None


class _Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The output of `nft -j list` (libnftables-json(5))."""

    nftables: list[_Entry]


async def apply(table: str, deadline: float = 10.0) -> None:
    """Apply a rendered table in one kernel transaction, within `deadline` seconds. Raises NftError."""
    await _run("-f", "-", text=table, deadline=deadline)


async def counters(table: str, deadline: float = 10.0) -> list[Count]:
    """The named counters of a table of family inet. Raises NftError, also when there is no such table."""
    answer = await _run("-j", "list", "counters", "table", "inet", table, deadline=deadline)
    try:
        listing = msgspec.json.decode(answer, type=_Listing)
    except msgspec.DecodeError as error:
        raise NftError(f"nft said what cannot be read: {error}") from None
    return [entry.counter for entry in listing.nftables if entry.counter is not None]


async def _run(*words: str, text: str = "", deadline: float) -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            "nft",
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise NftError(f"cannot run nft: {error}") from None
    try:
        async with asyncio.timeout(deadline):
            answer, errors = await process.communicate(text.encode())
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise NftError(f"nft did not finish within {deadline:g} s") from None
    if process.returncode != 0:
        raise NftError(f"nft refused `{shlex.join(words)}`: {errors.decode(errors='replace').strip()}")
    return answer
