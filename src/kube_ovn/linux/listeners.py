"""The sockets at which processes of this network namespace, and the kernel itself, wait for clients (proc(5)).

The kernel notifies of no socket that begins to listen. Its files say less than `sock_diag` does, but every kernel has
them.
"""

import errno
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from kube_ovn.discovery.external import Spot
from kube_ovn.linux.netlink import NetlinkError
from kube_ovn.model.addr import Address

_FOLDER = Path("/proc/thread-self/net")
_LISTEN, _UNCONNECTED = "0A", "07"
_STATES = {"TCP": _LISTEN, "UDP": _UNCONNECTED}


def list_listeners() -> frozenset[Spot]:
    """The address, port and protocol of each socket that waits for clients. The unspecified address stands for all
    addresses of its family; a socket at that of IPv6 may wait for both families. Raises NetlinkError.
    """
    found: set[Spot] = set()
    for protocol in _STATES:
        found |= _read(protocol.lower(), protocol)
        if (_FOLDER / f"{protocol.lower()}6").exists():  # a kernel without IPv6 has none
            found |= _read(f"{protocol.lower()}6", protocol)
    return frozenset(found)


def _read(name: str, protocol: str) -> set[Spot]:
    try:
        with (_FOLDER / name).open() as lines:
            next(lines, "")  # the names of the columns
            return set(_parse(lines, protocol))
    except OSError as error:
        raise NetlinkError(f"sockets of {name}", error.errno or errno.EIO) from None


def _parse(lines: Iterable[str], protocol: str) -> Iterator[Spot]:
    for line in lines:
        _, local, _, state, *_ = line.split(maxsplit=4)
        if state == _STATES[protocol]:
            address, _, port = local.partition(":")
            yield Spot(_address(address), int(port, 16), protocol)
        elif protocol == "TCP":
            return  # those that listen come first (Documentation/networking/proc_net_tcp.rst)


def _address(text: str) -> Address:
    """An address as the kernel writes it: words of 32 bits, each in the byte order of this machine."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    if len(words) == 1:
        return IPv4Address(words[0])
    address = IPv6Address(b"".join(words))
    return address.ipv4_mapped or address
