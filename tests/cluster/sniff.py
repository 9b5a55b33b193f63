"""Runs on the outside host, as a script with a file as its argument: a line for each echo request that comes in.

With addresses as further arguments, only for requests to those.
"""

import json
import socket
import sys
import time
from ipaddress import ip_address

IPV4, IPV6, ANY = 0x0800, 0x86DD, 0x0003
ICMP, ICMPV6 = 1, 58
REQUESTS = {ICMP: 8, ICMPV6: 128}
OUTGOING = 4


def read(kind: int, packet: bytes) -> tuple[str, str, int] | None:
    """Source, destination and sequence number of an echo request."""
    if kind == IPV4:
        start, protocol, source, destination = (packet[0] & 15) * 4, packet[9], packet[12:16], packet[16:20]
    elif kind == IPV6:
        start, protocol, source, destination = 40, packet[6], packet[8:24], packet[24:40]
    else:
        return None
    if packet[start] != REQUESTS.get(protocol):
        return None
    number = int.from_bytes(packet[start + 6 : start + 8], "big")
    return str(ip_address(source)), str(ip_address(destination)), number


def main(path: str, *wanted: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ANY)) as listener, open(path, "w") as file:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        while True:
            packet, (_, kind, way, _, hardware) = listener.recvfrom(2048)
            found = read(kind, packet) if way != OUTGOING else None
            if found is not None and (not wanted or found[1] in wanted):
                seen = {"time": time.monotonic(), "source": found[0], "number": found[2], "sender": hardware.hex(":")}
                file.write(json.dumps(seen) + "\n")
                file.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
