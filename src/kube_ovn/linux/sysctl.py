"""Settings of the kernel's network stack (sysctl(8), `net.*`), in any network namespace."""

from pathlib import Path

from kube_ovn.linux.netlink import NetlinkError, run_inside

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


def _write(name: str, value: str) -> None:
    folder = next(each for each in _FOLDERS if each.is_dir())
    (folder / name).write_text(value)
