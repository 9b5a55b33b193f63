"""The kernel's connections: ends those that still lead to an endpoint which is not wanted any more (ctnetlink)."""

import errno
import socket
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address

from kube_ovn.linux.netlink import NETLINK_NETFILTER, Attribute, Message, Socket, decode, encode
from kube_ovn.model.addr import Address
from kube_ovn.model.host import Front

_GET, _DELETE = 0x101, 0x102
_ORIGINAL, _REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_IP, _PROTOCOL = 1, 2
_SOURCE, _DESTINATION = {4: 1, 6: 3}, {4: 2, 6: 4}
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_NESTED, _ORIGINAL_FLAGS, _REPLY_FLAGS = 0x8000, 1, 2
_BY_NUMBER, _BY_DESTINATION_PORT = 1 << 3, 1 << 5
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_UDP = bytes([socket.IPPROTO_UDP])
_FEW = 16
"""The kernel is asked for the connections of up to so many ports one by one."""


def forget(fronts: Mapping[Front, Collection[tuple[Address, int]]], local: Collection[Address]) -> int:
    """End the UDP connections to these fronts that lead to none of the front's targets. Returns how many. `local`: the
    addresses of the node. Raises NetlinkError.
    """
    count = 0
    with Socket(protocol=NETLINK_NETFILTER) as root:
        for version in sorted({front.version for front in fronts}):
            wanted = {(each.address, each.port): to for each, to in fronts.items() if each.version == version}
            for found in _list(root, version, {port for _, port in wanted}):
                asked = _end(found[_ORIGINAL], _DESTINATION[version], _DESTINATION_PORT)
                answers = _end(found[_REPLY], _SOURCE[version], _SOURCE_PORT)
                targets = wanted.get(asked, wanted.get((None, asked[1])) if asked[0] in local else None)
                if targets is not None and answers not in targets:
                    root.request(_deletion(version, found))
                    count += 1
    return count


def _list(root: Socket, version: int, ports: Collection[int]) -> Iterator[dict[int, bytes]]:
    """The connections to these UDP ports, and perhaps to others. The kernel walks through all its connections each
    time; a kernel before 5.8 lists all of them as well.
    """
    for port in ports if len(ports) <= _FEW else [None]:
        flags = _BY_NUMBER | (0 if port is None else _BY_DESTINATION_PORT)
        to: list[Attribute] = [(_NUMBER, _UDP), (_DESTINATION_PORT, (port or 0).to_bytes(2, "big"))]
        wanted: list[Attribute] = [
            (_ORIGINAL | _NESTED, [(_PROTOCOL | _NESTED, to)]),
            (_FILTER | _NESTED, [(_ORIGINAL_FLAGS, flags), (_REPLY_FLAGS, 0)]),
        ]
        for body in root.dump(Message("connections", _GET, 0, _header(version) + encode(wanted))):
            found = decode(body[4:])
            # A connection in another zone belongs to Open vSwitch, which tracks OVN's own connections there.
            if _ZONE not in found and decode(decode(found[_ORIGINAL])[_PROTOCOL]).get(_NUMBER) == _UDP:
                yield found


def _end(data: bytes, address: int, port: int) -> tuple[Address, int]:
    parts = decode(data)
    return ip_address(decode(parts[_IP])[address]), int.from_bytes(decode(parts[_PROTOCOL])[port], "big")


def _deletion(version: int, found: Mapping[int, bytes]) -> Message:
    """The request to delete this very connection, if it still exists."""
    which: list[Attribute] = [
        (kind | _NESTED * (kind == _ORIGINAL), found[kind]) for kind in (_ORIGINAL, _ID) if kind in found
    ]
    return Message("connection", _DELETE, 0, _header(version) + encode(which), errno.ENOENT)


def _header(version: int) -> bytes:
    return bytes([_FAMILY[version], 0, 0, 0])  # nfgenmsg
