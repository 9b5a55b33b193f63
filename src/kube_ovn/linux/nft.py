"""nftables, through its documented interface: the program nft. Used when a node's table changes, never for a Pod."""

import asyncio
import contextlib


class NftError(Exception):
    """nft refused a table, or could not be run."""


async def apply(table: str, deadline: float = 10.0) -> None:
    """Carry out a rendered table in one kernel transaction. Raises NftError."""
    try:
        process = await asyncio.create_subprocess_exec(
            "nft", "-f", "-", stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise NftError(f"cannot run nft: {error}") from None
    try:
        async with asyncio.timeout(deadline):
            _, errors = await process.communicate(table.encode())
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise NftError(f"nft did not finish within {deadline:g} s") from None
    if process.returncode != 0:
        raise NftError(f"nft refused the table: {errors.decode(errors='replace').strip()}")
