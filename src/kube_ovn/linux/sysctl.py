"""Settings of the kernel's network stack (sysctl(8), `net.*`), in any network namespace."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from kube_ovn.linux.netlink import NetlinkError, run_inside
from kube_ovn.model.host import Sysctl

_FOLDERS = (Path("/host/proc/sys/net"), Path("/proc/sys/net"))
"""The first that is there counts: a container's own /proc/sys is read-only, so the node's is mounted beside it."""


def ignore_routers(netns: str, link: str) -> None:
    """Have router advertisements at a link ignored, as with `accept_ra=0`. No ACL of OVN stops them
    (tests/daemon/test_topology_trace.py). Raises NetlinkError.
    """
    try:
        run_inside(netns, lambda: _write(f"ipv6/conf/{link}/accept_ra", "0"))
    except FileNotFoundError:
        return  # a kernel without IPv6
    except OSError as error:
        raise NetlinkError(f"accept_ra of {link}", error.errno or 0) from None


def is_right(sysctl: Sysctl) -> bool:
    """Whether a setting has a value that does; False when it cannot be read."""
    try:
        return _file(sysctl.path).read_text().strip() not in sysctl.instead_of
    except OSError:
        return False


def apply(sysctls: Iterable[Sysctl]) -> str | None:
    """Write those settings that have a value that does not do, in this order. Returns a sentence on the first one that
    the kernel refuses, which ends the work: what follows may need it. A link that went meanwhile needs none.

    Not by netlink, although that can set those of IPv4: only a sysctl has the NIC stop merging packets (LRO), which are
    lost when they are forwarded.
    """
    for sysctl in sysctls:
        file = _file(sysctl.path)
        try:
            value = file.read_text().strip()
        except OSError as error:
            if file.parent.parent.exists() and not file.parent.exists():
                continue
            return f"{sysctl} cannot be read ({_text(error)}): the node needs a kernel that has it"
        try:
            if value in sysctl.instead_of:
                file.write_text(sysctl.value)
        except OSError as error:
            told = f"{sysctl} is {value} and cannot be set to {sysctl.value} ({_text(error)})"
            return f"{told}: set it on the node, or let kube-ovn-cni write to /proc/sys/net"
    return None


def _text(error: OSError) -> str:
    return os.strerror(error.errno or errno.EIO)


def _write(name: str, value: str) -> None:
    _file(name).write_text(value)


def _file(path: str) -> Path:
    return next(each for each in _FOLDERS if each.is_dir()) / path
