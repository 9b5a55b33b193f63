"""Tells the neighbours of a link its addresses: unsolicited ARP (RFC 5227, 3) and neighbour advertisements (RFC 4861,
7.2.6).

Neighbours that know an address with another MAC address, of an earlier owner, take over the new one at once instead of
after half a minute of silence. The router of a subnet is one of them. It learns nothing new from these packets
(ovn-northd(8), "Neighbor lookup"): the advertisement has a link-local source, and the ARP packet is a request.
"""

import socket
import struct
from collections.abc import Iterable

from kube_ovn.linux.icmp import checksum
from kube_ovn.linux.netlink import run_inside
from kube_ovn.model.addr import Address, parse_mac

_ARP, _IPV6 = 0x0806, 0x86DD
_ARP_PACKET = struct.Struct("!HHBBH6s4s6s4s")  # RFC 826, Ethernet and IPv4
_ADVERTISEMENT = struct.Struct("!BBHI16sBB6s")  # RFC 4861, 4.4, with the option of the target's link address
_PSEUDO_HEADER = struct.Struct("!16s16sII")  # RFC 8200, 8.1
_IPV6_HEADER = struct.Struct("!IHBB16s16s")
_REQUEST, _ADVERTISE, _ICMPV6, _OVERRIDE = 1, 136, 58, 0x20000000
_EVERYONE = b"\xff" * 6
_ALL_NODES = socket.inet_pton(socket.AF_INET6, "ff02::1")


def tell_neighbours(netns: str, link: str, mac: str, addresses: Iterable[Address]) -> None:
    """Send one packet for each address. Raises NetlinkError, OSError."""
    frames = [_frame(mac, address) for address in addresses]

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((link, 0))
            for frame in frames:
                raw.send(frame)

    run_inside(netns, send)


def _frame(mac: str, address: Address) -> bytes:
    link = bytes.fromhex(parse_mac(mac).replace(":", ""))
    if address.version == 4:
        packet = _ARP_PACKET.pack(1, 0x0800, 6, 4, _REQUEST, link, address.packed, bytes(6), address.packed)
        return _EVERYONE + link + struct.pack("!H", _ARP) + packet
    source = b"\xfe\x80" + bytes(6) + bytes([link[0] ^ 2]) + link[1:3] + b"\xff\xfe" + link[3:]  # RFC 4291, appendix A
    packet = _ADVERTISEMENT.pack(_ADVERTISE, 0, 0, _OVERRIDE, address.packed, 2, 1, link)
    summed = checksum(_PSEUDO_HEADER.pack(source, _ALL_NODES, len(packet), _ICMPV6) + packet)
    packet = _ADVERTISEMENT.pack(_ADVERTISE, 0, summed, _OVERRIDE, address.packed, 2, 1, link)
    header = _IPV6_HEADER.pack(6 << 28, len(packet), _ICMPV6, 255, source, _ALL_NODES)
    return b"\x33\x33" + _ALL_NODES[-4:] + link + struct.pack("!H", _IPV6) + header + packet
