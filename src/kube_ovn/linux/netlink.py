"""The netlink protocol (netlink(7)): messages, attributes, one socket. The meaning of messages is in `links`, `policy`,
`conntrack` and `notify`.

Written by hand, because the dozen messages needed are smaller than any library: importing one costs the daemon 13 MB,
and every Pod about a millisecond. Everything here blocks for microseconds, or for as long as the kernel's network lock
is taken. Coroutines call it in a worker thread.
"""

import ctypes
import errno
import itertools
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

T = TypeVar("T")

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT_CHK = 270, 10, 11, 12
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_DUMP_INTERRUPTED, _ACK_TLVS = 0x10, 0x200
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400

_CLONE_NEWNET = 0x40000000
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_BATCH = 64
"""Messages in one datagram. Each has an answer of its own, and all answers must fit into the socket's buffer."""
_TIMEOUT = 10.0
"""Seconds that an answer may take. The network lock can be held for long on a node that removes many namespaces."""

Value: TypeAlias = "bytes | int | str | list[Attribute]"
Attribute: TypeAlias = tuple[int, Value]


class NetlinkError(Exception):
    """The kernel refused a request, or did not answer it."""

    def __init__(self, what: str, number: int, detail: str = "") -> None:
        super().__init__(f"{what}: {os.strerror(number)}" + (f" ({detail})" if detail else ""))
        self.errno = number


@dataclass(frozen=True, slots=True)
class Message:
    """One request. `what` names it in errors."""

    what: str
    type: int
    flags: int
    body: bytes
    pardon: int = 0
    """An errno that does not count as a failure of this request."""

    def encode(self, sequence: int, flags: int) -> bytes:
        length = _HEADER.size + len(self.body)
        return _HEADER.pack(length, self.type, self.flags | flags, sequence, 0) + self.body


def encode(attributes: Iterable[Attribute]) -> bytes:
    """Attributes in wire form: numbers are 32 bits, texts end in a zero byte, lists are nested."""
    parts = []
    for kind, value in attributes:
        match value:
            case bytes():
                data = value
            case int():
                data = value.to_bytes(4, sys.byteorder)
            case str():
                data = value.encode() + b"\0"
            case list():
                data = encode(value)
        parts.append(_ATTRIBUTE.pack(4 + len(data), kind) + data + b"\0" * (-len(data) % 4))
    return b"".join(parts)


def decode(data: bytes) -> dict[int, bytes]:
    """The values of attributes, by kind without the flags of nesting and byte order."""
    attributes, offset = {}, 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        attributes[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return attributes


def text(value: bytes) -> str:
    """The text in an attribute. The kernel keeps bytes: names and aliases need not be UTF-8."""
    return value.rstrip(b"\0").decode(errors="replace")


def number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and body of each message in a datagram."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size:
            break
        yield kind, flags, sequence, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


class Socket:
    """A netlink socket of one network namespace: this process's, or the one of `netns`. Raises NetlinkError."""

    def __init__(self, netns: str | None = None, protocol: int = NETLINK_ROUTE) -> None:
        try:
            self._socket = _open(protocol) if netns is None else run_inside(netns, _open)
        except OSError as error:  # no descriptor left
            raise NetlinkError("netlink socket", error.errno or errno.EIO) from None
        self._socket.settimeout(_TIMEOUT)
        for option in (_CAP_ACK, _EXT_ACK, _STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = itertools.count(1)

    def __enter__(self) -> "Socket":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(self, *messages: Message) -> None:
        """Send all messages in order. An error of one does not stop the others. Raises the first NetlinkError."""
        errors: list[NetlinkError] = []
        for start in range(0, len(messages), _BATCH):
            errors += self._carry_out(messages[start : start + _BATCH])
        if errors:
            raise errors[0]

    def _carry_out(self, batch: Sequence[Message]) -> list[NetlinkError]:
        """Send one datagram of messages. Returns the errors of those that the kernel refused."""
        waiting = {next(self._sequence): message for message in batch}
        datagram = b"".join(message.encode(sequence, _REQUEST | _ACK) for sequence, message in waiting.items())
        self._send(batch[0].what, datagram)
        errors = []
        while waiting:
            for kind, flags, sequence, body in self._receive(next(iter(waiting.values())).what):
                if kind == _ERROR and sequence in waiting:
                    message = waiting.pop(sequence)
                    failure = _failure(message.what, flags, body)
                    if failure and failure.errno != message.pardon:
                        errors.append(failure)
        return errors

    def get(self, message: Message) -> bytes | None:
        """The body of the one object that is asked for; None when it does not exist. Raises NetlinkError."""
        sequence = next(self._sequence)
        self._send(message.what, message.encode(sequence, _REQUEST))
        while True:
            for kind, flags, answered, body in self._receive(message.what):
                if answered != sequence:
                    continue
                if kind != _ERROR:
                    return body
                failure = _failure(message.what, flags, body)
                if failure and failure.errno not in (errno.ENODEV, errno.ENOENT):
                    raise failure
                return None

    def dump(self, message: Message) -> list[bytes]:
        """The bodies of all objects that are asked for, as of one moment: a list that changed meanwhile is read again.
        Raises NetlinkError.
        """
        for _ in range(10):
            if (bodies := self._dump(message)) is not None:
                return bodies
        raise NetlinkError(message.what, errno.EINTR, "the list keeps changing")

    def _dump(self, message: Message) -> list[bytes] | None:
        bodies: list[bytes] = []
        sequence, whole = next(self._sequence), True
        self._send(message.what, message.encode(sequence, _REQUEST | _DUMP))
        while True:
            for kind, flags, answered, body in self._receive(message.what):
                if answered != sequence:
                    continue
                whole = whole and not flags & _DUMP_INTERRUPTED
                if kind == _DONE:
                    return bodies if whole else None
                if kind != _ERROR:
                    bodies.append(body)
                elif failure := _failure(message.what, flags, body):
                    raise failure

    def _send(self, what: str, datagram: bytes) -> None:
        try:
            self._socket.send(datagram)
        except OSError as error:
            raise NetlinkError(what, error.errno or errno.EIO) from None

    def _receive(self, what: str) -> Iterator[tuple[int, int, int, bytes]]:
        try:
            return messages(self._socket.recv(1 << 17))
        except TimeoutError:
            raise NetlinkError(what, errno.ETIMEDOUT) from None
        except OSError as error:
            raise NetlinkError(what, error.errno or errno.EIO) from None


def listen(protocol: int, groups: Iterable[int]) -> socket.socket:
    """A non-blocking socket that receives the kernel's notifications of some groups."""
    listener = _open(protocol)
    listener.setblocking(False)
    listener.bind((0, 0))  # notifications pass over a socket without an address
    for group in groups:
        listener.setsockopt(_SOL_NETLINK, 1, group)  # NETLINK_ADD_MEMBERSHIP
    return listener


def is_netns(path: str) -> bool:
    """Whether the path leads to a live network namespace: a file of nsfs, not what a former mount left behind."""
    try:
        return os.stat(path).st_dev == os.stat("/proc/self/ns/net").st_dev
    except OSError:
        return False


def is_own_netns(path: str) -> bool:
    """Whether the path names the network namespace this process runs in. Raises NetlinkError."""
    try:
        return os.path.samestat(os.stat(path), os.stat("/proc/self/ns/net"))
    except OSError as error:
        raise NetlinkError(f"network namespace {path}", error.errno or errno.EINVAL) from None


def _open(protocol: int = NETLINK_ROUTE) -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)


def run_inside(netns: str, function: Callable[[], T]) -> T:
    """Run a function inside another network namespace. The thread that enters the namespace ends there, so that no
    other code ever runs in the wrong one; a socket that is opened there stays there. Raises NetlinkError when there is
    no such namespace, and the OSError of the function.
    """
    outcome: list[T] = []
    failures: list[NetlinkError | OSError] = []

    def enter() -> None:
        try:
            descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            finally:
                os.close(descriptor)
        except OSError as error:
            failures.append(NetlinkError(f"network namespace {netns}", error.errno or errno.EINVAL))
            return
        try:
            outcome.append(function())
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=enter, name="enter-netns")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return outcome[0]


def _failure(what: str, flags: int, body: bytes) -> NetlinkError | None:
    code = int.from_bytes(body[:4], sys.byteorder, signed=True)
    if code == 0:
        return None
    detail = decode(body[4 + _HEADER.size :]).get(1, b"") if flags & _ACK_TLVS else b""
    return NetlinkError(what, -code, text(detail))


_LIBC = ctypes.CDLL(None, use_errno=True)
