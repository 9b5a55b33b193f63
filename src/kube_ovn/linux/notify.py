"""The kernel's notifications, reduced to one question: may something of kube-ovn's have changed?

Links, addresses, routes and tables of other programs change all the time (each Pod is a link). They do not count.
"""

import asyncio
import errno
import struct
from collections.abc import Callable, Collection

from kube_ovn.linux import netlink
from kube_ovn.linux.links import decode_link

_NEWLINK, _DELLINK = 16, 17
_NEWADDR, _DELADDR = 20, 21
_NEWROUTE, _DELROUTE = 24, 25
_NEWRULE, _DELRULE = 32, 33
_NEWNETCONF, _FRA_PROTOCOL = 80, 21
_ROUTE_GROUPS = (1, 5, 9, 7, 11, 8, 19, 24, 25)  # link; addresses, routes, rules and settings of IPv4 and IPv6
_NETCONF_INDEX, _ALL_LINKS = 1, 0xFFFFFFFF
_NFT_GROUP = 7
_NFT, _NEWTABLE, _NEWGEN = 10, 0, 15
_TABLE_NAME, _TABLE_USERDATA = 1, 6  # the first is the same in tables, chains, rules, sets and elements


class LinkWatch:
    """Calls `tell` when a link of these names, its addresses or settings, routes and rules of this protocol, or
    settings of the uplinks or of all links changed. Of settings the kernel notifies of forwarding and `rp_filter`, and
    not of `accept_ra`.
    """

    def __init__(self, links: Collection[str], protocol: int, tell: Callable[[], None]) -> None:
        self._protocol, self._tell = protocol, tell
        self.indices: dict[str, int | None] = dict.fromkeys(links)
        """The index of each link, by name; the caller keeps it up to date. While one is None, every change counts."""
        self.uplinks: frozenset[int] = frozenset()
        """The indices of the links over which packets come in from outside; the caller keeps them up to date."""

    async def run(self) -> None:
        """Listen until cancelled."""
        await _receive(netlink.NETLINK_ROUTE, _ROUTE_GROUPS, self._read, self._tell)

    def _read(self, datagram: bytes) -> None:
        if any(self._concerns(kind, body) for kind, _, _, body in netlink.messages(datagram)):
            self._tell()

    def _concerns(self, kind: int, body: bytes) -> bool:
        if kind in (_NEWLINK, _DELLINK):
            return decode_link(body).name in self.indices
        if kind in (_NEWADDR, _DELADDR):
            return self._may_be_ours(struct.unpack_from("=4xi", body)[0])
        if kind in (_NEWROUTE, _DELROUTE):
            return body[5] == self._protocol
        if kind in (_NEWRULE, _DELRULE):
            return netlink.number(netlink.decode(body[12:]).get(_FRA_PROTOCOL, b"")) == self._protocol
        if kind == _NEWNETCONF:
            index = netlink.number(netlink.decode(body[4:]).get(_NETCONF_INDEX, b""))
            return index in self.uplinks or index == _ALL_LINKS or self._may_be_ours(index)
        return False

    def _may_be_ours(self, index: int) -> bool:
        return any(known in (None, index) for known in self.indices.values())


class TableWatch:
    """Calls `tell` when another program removed or changed a part of the table of this name.

    A transaction that leaves the table with the comment `own` is this program's. (The kernel also names the process,
    but by a number that means nothing inside a container.)
    """

    def __init__(self, table: str, tell: Callable[[], None]) -> None:
        self._table, self._tell = table, tell
        self._changed = self._ours = False
        self.own = ""

    async def run(self) -> None:
        """Listen until cancelled."""
        await _receive(netlink.NETLINK_NETFILTER, (_NFT_GROUP,), self._read, self._tell)

    def _read(self, datagram: bytes) -> None:
        for kind, _, _, body in netlink.messages(datagram):
            if kind >> 8 != _NFT:
                continue
            message, attributes = kind & 0xFF, netlink.decode(body[4:])
            if message == _NEWGEN:  # the end of a transaction
                if self._changed and not self._ours:
                    self._tell()
                self._changed = self._ours = False
            elif attributes.get(_TABLE_NAME, b"").rstrip(b"\0") == self._table.encode():
                self._changed = True
                if message == _NEWTABLE and self.own:
                    self._ours = self._ours or self.own.encode() in attributes.get(_TABLE_USERDATA, b"")


async def _receive(
    protocol: int, groups: tuple[int, ...], read: Callable[[bytes], None], missed: Callable[[], None]
) -> None:
    loop = asyncio.get_running_loop()
    with netlink.listen(protocol, groups) as listener:
        missed()  # for the changes before the socket listened
        while True:
            try:
                datagram = await loop.sock_recv(listener, 1 << 17)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                missed()  # more notifications came than fit into the buffer
            else:
                read(datagram)
