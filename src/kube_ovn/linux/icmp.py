"""One ICMP echo to an address, sent by this process itself (RFC 792, RFC 4443)."""

import asyncio
import itertools
import os
import socket
import struct

from kube_ovn.model.addr import Address

_ECHO = struct.Struct("!BBHHH")
_sequence = itertools.count()


async def echo(address: Address, link: str, deadline: float) -> None:
    """Send one echo request through a link and wait `deadline` seconds for its reply. Raises OSError; TimeoutError is
    one.
    """
    v4 = address.version == 4
    family, protocol = (socket.AF_INET, socket.IPPROTO_ICMP) if v4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    question, reply = (8, 0) if v4 else (128, 129)
    ours = os.getpid() & 0xFFFF, next(_sequence) & 0xFFFF
    packet = _ECHO.pack(question, 0, 0, *ours)
    if v4:  # for IPv6 the kernel fills it in
        packet = _ECHO.pack(question, 0, checksum(packet), *ours)
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
        async with asyncio.timeout(deadline):
            await loop.sock_sendto(raw, packet, (str(address), 0))
            while True:
                data = await loop.sock_recv(raw, 2048)
                start = (data[0] & 0xF) * 4 if v4 else 0
                if len(data) >= start + _ECHO.size:
                    kind, _, _, *theirs = _ECHO.unpack_from(data, start)
                    if kind == reply and tuple(theirs) == ours:
                        return


def checksum(packet: bytes) -> int:
    """The checksum of a packet of an even number of bytes (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
