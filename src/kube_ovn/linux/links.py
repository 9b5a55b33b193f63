"""Links, addresses and routes: the rtnetlink messages that this project sends, in the nouns of `model.host`.

Functions take an open `netlink.Socket` of the namespace that they work in. They decide nothing: `host/` renders what
should exist.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network

from kube_ovn.linux import netlink
from kube_ovn.linux.netlink import Attribute, Message, NetlinkError, Socket, decode, encode
from kube_ovn.model.addr import Address, Network
from kube_ovn.model.host import InterfaceAddress, Link, PodNetwork, Route, Surroundings, Way

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = (
    1,
    3,
    4,
    18,
    20,
    26,
    28,
)
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_INET6_ADDR_GEN_MODE, _GEN_NONE = 8, b"\1"
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD, _IFA_F_DADFAILED, _IFA_F_TENTATIVE, _IFA_F_PERMANENT = 0x02, 0x08, 0x40, 0x80
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_MULTIPATH, _RTA_VIA = 1, 4, 5, 7, 9, 18
_VIA_FAMILY = 2
"""Bytes of RTA_VIA, a router of another IP family than the route's, that stand before its address."""
_UP = 1
_TABLE_MAIN, _UNICAST, _ONLINK_SCOPE, _UNIVERSE, _BOOT, _ADVERTISED = 254, 1, 253, 0, 3, 9

_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBi")
_RTMSG = struct.Struct("=BBBBBBBBI")
_RTNEXTHOP = struct.Struct("=HBBi")
_ANY = _IFINFO.pack(0, 0, 0, 0, 0)
_LOOPBACK = 1
"""Index of `lo` in every network namespace."""


def create_pod_link(root: Socket, link: str, netns: str, name: str, mtu: int, mac: str, alias: str) -> None:
    """Make the pair: this end up, the far end inside the Pod's namespace under its final name. One datagram. Raises
    NetlinkError.

    This end has no addresses: packets that the node would send from one would reach only the Pod.
    """
    try:
        descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NetlinkError(f"network namespace {netns}", error.errno or errno.EINVAL) from None
    try:
        peer: list[Attribute] = [
            (_IFLA_IFNAME, name),
            (_IFLA_MTU, mtu),
            (_IFLA_ADDRESS, _mac(mac)),
            (_IFLA_NET_NS_FD, descriptor),
        ]
        kind: list[Attribute] = [
            (_INFO_KIND, b"veth"),
            (_INFO_DATA, [(_VETH_PEER, _ANY + encode(peer))]),
        ]
        body = _ANY + encode([(_IFLA_IFNAME, link), (_IFLA_MTU, mtu), (_IFLA_LINKINFO, kind)])
        named: list[Attribute] = [(_IFLA_IFNAME, link), (_IFLA_IFALIAS, alias.encode())]
        up = _IFINFO.pack(0, 0, 0, _UP, _UP) + encode([(_IFLA_IFNAME, link)])
        root.request(
            Message(f"create {link} with {name} in {netns}", _NEWLINK, netlink.CREATE | netlink.EXCL, body),
            Message(f"alias of {link}", _SETLINK, 0, _ANY + encode(named)),  # a link cannot be created with an alias
            _be_silent(0, link),
            Message(f"set {link} up", _SETLINK, 0, up),
        )
    finally:
        os.close(descriptor)


def delete_link(root: Socket, link: str) -> None:
    """Remove a link, and its far end with it; no error when it is gone already. Raises NetlinkError."""
    _remove(root, Message(f"delete {link}", _DELLINK, 0, _ANY + encode([(_IFLA_IFNAME, link)])), errno.ENODEV)


def configure_pod(pod: Socket, name: str, network: PodNetwork) -> None:
    """Configure the Pod's namespace: loopback up, addresses, link up, routes. One datagram. Raises NetlinkError.

    A Pod without an IPv6 address gets no link-local one either. With one, the kernel would ask for routers and report
    groups on a link where nothing listens. The switch sends each of these packets to all ports, and works out each such
    flow anew for every port that comes: with 60 Pods on two nodes that took most of a processor.
    """
    link = get_link(pod, name)
    if link is None:
        raise NetlinkError(f"interface {name} in the Pod's namespace", errno.ENODEV)
    pod.request(
        _set_up(_LOOPBACK, "lo"),
        *(() if any(i.address.version == 6 for i in network.interfaces) else (_be_silent(link.index, name),)),
        *(_address(_NEWADDR, netlink.CREATE | netlink.REPLACE, link.index, address) for address in network.interfaces),
        _set_up(link.index, name),
        *(_route(_NEWROUTE, netlink.CREATE | netlink.REPLACE, link.index, route, _BOOT) for route in network.routes),
    )


def get_link(root: Socket, name: str) -> Link | None:
    """The link with this name; None when there is none. Raises NetlinkError."""
    body = root.get(Message(f"link {name}", _GETLINK, 0, _ANY + encode([(_IFLA_IFNAME, name)])))
    return None if body is None else decode_link(body)


def decode_link(body: bytes) -> Link:
    """The link in the body of an RTM_NEWLINK or RTM_DELLINK message (rtnetlink(7))."""
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    attributes = decode(body[_IFINFO.size :])
    mac = attributes.get(_IFLA_ADDRESS, b"")
    return Link(
        index=index,
        name=netlink.text(attributes.get(_IFLA_IFNAME, b"")),
        mac=mac.hex(":"),
        mtu=netlink.number(attributes.get(_IFLA_MTU, b"")),
        up=bool(flags & _UP),
        alias=netlink.text(attributes.get(_IFLA_IFALIAS, b"")),
    )


def list_links(root: Socket) -> list[Link]:
    """All links of the namespace. Raises NetlinkError."""
    return [decode_link(body) for body in root.dump(Message("list of links", _GETLINK, 0, _ANY))]


def list_addresses(root: Socket, index: int | None = None) -> list[tuple[int, InterfaceAddress]]:
    """The addresses of all links or of one, each with the index of its link. IPv6 link-local addresses are the kernel's
    and are left out. Raises NetlinkError.
    """
    return [(owner, address) for owner, address, _ in _dump_addresses(root, index)]


def list_unusable(root: Socket, index: int) -> dict[InterfaceAddress, str]:
    """The addresses of a link that cannot be used, and why: duplicate address detection found another host with the
    address, or has not ended (RFC 4862, section 5.4). Raises NetlinkError.
    """
    flaws = {_IFA_F_TENTATIVE: "it is still tentative", _IFA_F_DADFAILED: "another host on its network has it"}
    return {
        address: flaw
        for _, address, flags in _dump_addresses(root, index)
        for flag, flaw in flaws.items()  # a duplicate stays tentative for ever: the last flag says more
        if flags & flag
    }


def _dump_addresses(root: Socket, index: int | None) -> list[tuple[int, InterfaceAddress, int]]:
    """Index of the link, address and flags, for each address."""
    found = []
    for body in root.dump(Message("list of addresses", _GETADDR, 0, _IFADDR.pack(0, 0, 0, 0, index or 0))):
        _, length, _, _, owner = _IFADDR.unpack_from(body)
        attributes = decode(body[_IFADDR.size :])
        address = ip_address(attributes.get(_IFA_LOCAL) or attributes[_IFA_ADDRESS])
        if not address.is_link_local:
            flags = netlink.number(attributes.get(_IFA_FLAGS, b""))
            found.append((owner, InterfaceAddress(address=address, prefix=length), flags))
    return found


def add_address(root: Socket, index: int, address: InterfaceAddress) -> None:
    """Add an address to the link with this index, or replace it there. Raises NetlinkError."""
    root.request(_address(_NEWADDR, netlink.CREATE | netlink.REPLACE, index, address))


def delete_address(root: Socket, index: int, address: InterfaceAddress) -> None:
    """Remove an address from the link with this index; no error when it is gone already. Raises NetlinkError."""
    _remove(root, _address(_DELADDR, 0, index, address), errno.EADDRNOTAVAIL)


def list_routes(root: Socket, protocol: int | None, index: int | None = None) -> list[Route]:
    """The unicast routes of the main table: of one protocol, through one link; None means any. A route is listed once
    for each router that it has. Raises NetlinkError.
    """
    found = []
    for family, length, _, attributes in _dump_routes(root, protocol, index):
        to, source = _destination(family, length, attributes), _optional(attributes.get(_RTA_PREFSRC))
        hops = [via for through, via in _hops(attributes) if index in (None, through)]
        found += [Route(to=to, via=_optional(via), source=source) for via in hops]
    return found


def _dump_routes(
    root: Socket, protocol: int | None, index: int | None
) -> Iterator[tuple[int, int, int, dict[int, bytes]]]:
    """As `list_routes`: the address family, the length of the prefix, the protocol and the attributes of each route."""
    header = _RTMSG.pack(0, 0, 0, 0, _TABLE_MAIN, protocol or 0, 0, _UNICAST, 0)
    through = encode([(_RTA_OIF, index)]) if index else b""
    for body in root.dump(Message("list of routes", _GETROUTE, 0, header + through)):
        family, length, _, _, table, owner, _, kind, _ = _RTMSG.unpack_from(body)
        # The kernel filters too, but falls back to everything for families that cannot.
        if table == _TABLE_MAIN and kind == _UNICAST and protocol in (None, owner):
            yield family, length, owner, decode(body[_RTMSG.size :])


def _destination(family: int, length: int, attributes: dict[int, bytes]) -> Network:
    return ip_network((attributes.get(_RTA_DST, bytes(4 if family == socket.AF_INET else 16)), length))


def _hops(attributes: dict[int, bytes]) -> Iterator[tuple[int, bytes | None]]:
    """The index of the link and the address of the router of each way that a route offers (rtnetlink(7),
    RTA_MULTIPATH).
    """
    several = attributes.get(_RTA_MULTIPATH, b"")
    if not several:
        via = attributes.get(_RTA_GATEWAY) or attributes.get(_RTA_VIA, b"")[_VIA_FAMILY:]
        yield netlink.number(attributes.get(_RTA_OIF, b"")), via or None
    while several:
        length, _, _, index = _RTNEXTHOP.unpack_from(several)
        of_hop = decode(several[_RTNEXTHOP.size : length])
        via = of_hop.get(_RTA_GATEWAY) or of_hop.get(_RTA_VIA, b"")[_VIA_FAMILY:]
        yield index, via or None
        several = several[(length + 3) & ~3 :]


def look_around(root: Socket) -> Surroundings:
    """The addresses of the namespace, and the networks that its links lead to. Raises NetlinkError."""
    known = {link.index: link.name for link in list_links(root) if link.index != _LOOPBACK}
    ways = [
        Way(
            link=known[index],
            index=index,
            to=_destination(family, length, attributes),
            via=_optional(via),
            taught=taught,
        )
        for family, length, attributes, index, via, taught in _list_hops(root)
        if index in known
    ]
    addresses = _dump_addresses(root, None)
    for index, each, flags in addresses:
        if index in known:
            # DHCPv6 gives such addresses too: where routers say so.
            taught = each.address.version == 6 and not flags & _IFA_F_PERMANENT
            ways.append(Way(link=known[index], index=index, to=ip_network(each.address), taught=taught))
    return Surroundings(addresses=frozenset(each.address for _, each, _ in addresses), ways=tuple(ways))


def _list_hops(root: Socket) -> Iterator[tuple[int, int, dict[int, bytes], int, bytes | None, bool]]:
    """The ways that the routes of the main table offer: of a route the address family, the length of the prefix and the
    attributes, then the index of the link, the address of the router, and whether a router advertisement made it.

    A node may have the routes of the whole internet. Of those through routers, default routes apart, the first of each
    kind is listed, for each link.
    """
    seen = set[tuple[int, int, bool]]()
    for family, length, owner, attributes in _dump_routes(root, None, None):
        taught = family == socket.AF_INET6 and owner == _ADVERTISED
        for index, via in _hops(attributes):
            if via is not None and length:
                if (index, family, taught) in seen:
                    continue
                seen.add((index, family, taught))
            yield family, length, attributes, index, via, taught


def add_routes(root: Socket, index: int, routes: Iterable[Route], protocol: int) -> None:
    """Add routes to destinations that have none. One that there is already, of whatever protocol, stays as it is; a
    refused route does not keep the others out. Raises NetlinkError.
    """
    flags = netlink.CREATE | netlink.EXCL
    root.request(*(_route(_NEWROUTE, flags, index, route, protocol, errno.EEXIST) for route in routes))


def replace_routes(root: Socket, index: int, routes: Iterable[Route], protocol: int) -> None:
    """Replace routes to the same destinations, which are this protocol's. Raises NetlinkError."""
    root.request(*(_route(_NEWROUTE, netlink.CREATE | netlink.REPLACE, index, route, protocol) for route in routes))


def delete_routes(root: Socket, index: int, routes: Iterable[Route], protocol: int) -> None:
    """Remove routes; those that are gone already, with their source address, are no error. Raises NetlinkError."""
    root.request(*(_route(_DELROUTE, 0, index, route, protocol, errno.ESRCH) for route in routes))


def set_up(root: Socket, link: Link) -> None:
    """Set a link up. Raises NetlinkError."""
    root.request(_set_up(link.index, link.name))


def _remove(root: Socket, message: Message, gone: int) -> None:
    try:
        root.request(message)
    except NetlinkError as error:
        if error.errno != gone:
            raise


def _be_silent(index: int, name: str) -> Message:
    """The request that a link, which is still down, gets no IPv6 link-local address. With index 0 the name decides."""
    mode: list[Attribute] = [(_IFLA_AF_SPEC, [(socket.AF_INET6, [(_INET6_ADDR_GEN_MODE, _GEN_NONE)])])]
    attributes: list[Attribute] = mode if index else [(_IFLA_IFNAME, name), *mode]
    body = _IFINFO.pack(0, 0, index, 0, 0) + encode(attributes)
    # A kernel without IPv6 has nothing to silence.
    return Message(f"IPv6 of {name}", _SETLINK, 0, body, pardon=errno.EAFNOSUPPORT)


def _set_up(index: int, name: str) -> Message:
    return Message(f"set {name} up", _SETLINK, 0, _IFINFO.pack(0, 0, index, _UP, _UP))


def _address(kind: int, flags: int, index: int, address: InterfaceAddress) -> Message:
    # No duplicate address detection: an address is granted once, and port security lets no other port use it. So no
    # host could answer, and the Pod would wait a second for each address.
    local = address.address
    body = _IFADDR.pack(_family(local), address.prefix, 0, 0, index) + encode(
        [
            (_IFA_LOCAL, local.packed),
            (_IFA_ADDRESS, local.packed),
            *([(_IFA_FLAGS, _IFA_F_NODAD)] if local.version == 6 else []),
        ]
    )
    return Message(f"address {local}/{address.prefix}", kind, flags, body)


def _route(kind: int, flags: int, index: int, route: Route, protocol: int, pardon: int = 0) -> Message:
    scope = _UNIVERSE if route.via or route.to.version == 6 else _ONLINK_SCOPE
    header = _RTMSG.pack(
        _family(route.to.network_address), route.to.prefixlen, 0, 0, _TABLE_MAIN, protocol, scope, _UNICAST, 0
    )
    attributes: list[Attribute] = [(_RTA_DST, route.to.network_address.packed), (_RTA_OIF, index)]
    if route.via:
        attributes.append((_RTA_GATEWAY, route.via.packed))
    if route.source:
        attributes.append((_RTA_PREFSRC, route.source.packed))
    return Message(f"route {route}", kind, flags, header + encode(attributes), pardon)


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _optional(packed: bytes | None) -> Address | None:
    return None if packed is None else ip_address(packed)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
