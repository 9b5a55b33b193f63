"""The sans-I/O core: bytes to JSON-RPC messages and back (RFC 7047 section 4). No sockets, no schema.

OVSDB sends JSON objects one after another with nothing between them. Outside a string `}{` can only stand between two
messages, and a prefix of a JSON object is a JSON object only if it is the whole of it: so a message ends at the first
`}{"`, or `}` at the end of what has arrived, up to which the bytes decode. Finding it costs one `bytes.find`.
"""

from typing import Any

import msgspec

_BOUNDARY = b'}{"'

_decoder = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()


def format_message(**members: object) -> bytes:
    """One JSON-RPC message as bytes."""
    return _encoder.encode(members)


class Framer:
    """Cuts the stream into messages, whatever pieces it arrives in."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Messages completed by these bytes. Raises ValueError when the stream is no sequence of JSON objects."""
        self._buffer += data
        if self._buffer and not self._buffer.startswith(b"{"):
            raise ValueError(f"not an OVSDB stream: it begins with {bytes(self._buffer[:20])!r}")
        messages: list[dict[str, Any]] = []
        while (end := self._buffer.find(_BOUNDARY, self._searched)) >= 0:
            self._searched = end + 1
            self._take(end + 1, messages)
        self._searched = max(0, len(self._buffer) - len(_BOUNDARY) + 1)
        if data.endswith(b"}"):
            self._take(len(self._buffer), messages)
        return messages

    def _take(self, end: int, messages: list[dict[str, Any]]) -> None:
        try:
            messages.append(_decoder.decode(memoryview(self._buffer)[:end]))
        except msgspec.DecodeError:
            return  # the end was inside a string, or the message goes on
        del self._buffer[:end]
        self._searched = 0
