"""Policy routing: rules that send packets of a source to a table, and the default routes in such tables (ip-rule(8)).

The rtnetlink messages only: `host.node` renders the rules and routes that should exist. Those of kube-ovn carry
`names.ROUTE_PROTOCOL`.
"""

import errno
import socket
import struct
from ipaddress import ip_address, ip_network

from kube_ovn.linux import netlink
from kube_ovn.linux.netlink import Attribute, Message, Socket, decode, encode
from kube_ovn.model.host import Detour, DetourEnd, DetourRoute, DetourRule

_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34
_FRA_SRC, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL = 2, 6, 15, 21
_RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 5, 6, 15
_TO_TABLE, _UNICAST, _UNREACHABLE, _MAIN = 1, 1, 7, 254
_LAST = 0xFFFFFFFF
"""Metric of a route that comes after any other."""
_RULE = struct.Struct("=BBBBBBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_OF = {4: socket.AF_INET, 6: socket.AF_INET6}


def list_detours(root: Socket, protocol: int) -> set[Detour]:
    """The rules and default routes of a protocol (`rtm_protocol`), without those of the main table. Raises
    NetlinkError.
    """
    found: set[Detour] = set()
    for version, family in _OF.items():
        for body in root.dump(Message("list of rules", _GETRULE, 0, _RULE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))):
            _, _, length, _, _, _, _, action, _ = _RULE.unpack_from(body)
            attributes = decode(body[_RULE.size :])
            owner = netlink.number(attributes.get(_FRA_PROTOCOL, b""))
            if owner == protocol and action == _TO_TABLE and _FRA_SRC in attributes:
                found.add(
                    DetourRule(
                        source=ip_network((attributes[_FRA_SRC], length)),
                        table=netlink.number(attributes[_FRA_TABLE]),
                        priority=netlink.number(attributes[_FRA_PRIORITY]),
                    )
                )
        header = _ROUTE.pack(family, 0, 0, 0, 0, protocol, 0, 0, 0)
        for body in root.dump(Message("list of routes", _GETROUTE, 0, header)):
            _, length, _, _, _, owner, _, kind, _ = _ROUTE.unpack_from(body)
            attributes = decode(body[_ROUTE.size :])
            table, via = netlink.number(attributes.get(_RTA_TABLE, b"")), attributes.get(_RTA_GATEWAY)
            if owner != protocol or length != 0 or table == _MAIN:
                continue
            if kind == _UNREACHABLE:
                found.add(DetourEnd(table=table, version=version))
            elif kind == _UNICAST and via is not None:
                found.add(DetourRoute(table=table, via=ip_address(via)))
    return found


def add_detour(root: Socket, detour: Detour, protocol: int) -> None:
    """Add a rule, or a default route in place of the one that its table has.

    Raises NetlinkError, as for a next hop that is on no link.
    """
    root.request(_message(detour, protocol, add=True))


def delete_detour(root: Socket, detour: Detour, protocol: int) -> None:
    """Remove a rule or a default route; no error when it is gone already. Raises NetlinkError."""
    root.request(_message(detour, protocol, add=False))


def _message(detour: Detour, protocol: int, *, add: bool) -> Message:
    if isinstance(detour, DetourRule):
        flags = netlink.CREATE | netlink.EXCL if add else 0
        source = detour.source
        rule: list[Attribute] = [
            (_FRA_SRC, source.network_address.packed),
            (_FRA_PRIORITY, detour.priority),
            (_FRA_TABLE, detour.table),
            (_FRA_PROTOCOL, bytes([protocol])),
        ]
        header = _RULE.pack(_OF[source.version], 0, source.prefixlen, 0, 0, 0, 0, _TO_TABLE, 0)
        kind, pardon = (_NEWRULE, errno.EEXIST) if add else (_DELRULE, errno.ENOENT)
        return Message(str(detour), kind, flags, header + encode(rule), pardon)
    route: list[Attribute] = [(_RTA_TABLE, detour.table)]
    version: int
    if isinstance(detour, DetourRoute):
        route.append((_RTA_GATEWAY, detour.via.packed))
        version, kind = detour.via.version, _UNICAST
    else:
        route.append((_RTA_PRIORITY, _LAST))
        version, kind = detour.version, _UNREACHABLE
    header = _ROUTE.pack(_OF[version], 0, 0, 0, 0, protocol, 0, kind, 0)
    flags = netlink.CREATE | netlink.REPLACE if add else 0
    request, pardon = (_NEWROUTE, 0) if add else (_DELROUTE, errno.ESRCH)
    return Message(str(detour), request, flags, header + encode(route), pardon)
