"""The lines that another program appends to a file.

The file is looked at every time it is asked for. It may be made later, be replaced, or be emptied while its writer goes
on; a line may come in parts. A notification (inotify) would not say which of these has happened, and would come for
each line.
"""

import os
from pathlib import Path

MOST = 256 * 1024
"""Bytes that are read at once. Of more than that only the last are read."""
LONGEST = 8192
"""Bytes of a line; a longer one is left out."""


class Tail:
    """A file that is read to its end again and again. What it held before the first time is left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._at = 0  # bytes that have been read
        self._rest = b""  # the beginning of a line
        self._is_first = True
        self._is_whole = True  # whether what comes next is not the rest of a line that is left out

    def read(self) -> tuple[list[str], int]:
        """The lines that came since the last time, and the bytes that were passed over. Raises OSError."""
        lines, lost = self._take() if self._file is not None else ([], 0)
        if self._is_replaced():
            self.close()
            self._open()
            more, further = self._take() if self._file is not None else ([], 0)
            return lines + more, lost + further
        return lines, lost

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self._at, self._rest, self._is_whole = None, 0, b"", True

    def _is_replaced(self) -> bool:
        if self._file is None:
            return True
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except FileNotFoundError:
            return True

    def _open(self) -> None:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            self._is_first = False
            return
        if self._is_first and (size := os.fstat(self._file).st_size):
            self._at, self._is_whole = size, os.pread(self._file, 1, size - 1) == b"\n"
        self._is_first = False

    def _take(self) -> tuple[list[str], int]:
        """Read on in the open file."""
        assert self._file is not None
        size, lost = os.fstat(self._file).st_size, 0
        if size < self._at:
            self._at, self._rest, self._is_whole = 0, b"", True
        if size - self._at > MOST:
            lost = size - MOST - self._at
            self._at, self._rest, self._is_whole = size - MOST, b"", False
        read = os.pread(self._file, MOST, self._at)
        self._at += len(read)
        *lines, self._rest = (self._rest + read).split(b"\n")
        if lines and not self._is_whole:
            del lines[0]
            self._is_whole = True
        if len(self._rest) > LONGEST:
            self._rest, self._is_whole = b"", False
        return [each.decode(errors="replace") for each in lines if len(each) <= LONGEST], lost
