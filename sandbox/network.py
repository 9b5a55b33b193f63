"""Bridges, network namespaces, links and addresses of the sandbox, made with iproute2.

Each `ensure_` looks first and repairs only what differs, so it may be called at any time. Links and namespaces are
removed by their names, which come from layout.py.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from sandbox.command import attempt, run
from sandbox.layout import (
    MANAGEMENT_BRIDGE,
    OUTSIDE_FAR_V4,
    OUTSIDE_FAR_V6,
    OUTSIDE_HOST,
    OUTSIDE_NETNS,
    ROOT_HOST,
    TUNNEL_BRIDGE,
    Cluster,
    Interface,
    Node,
    management_v4,
    management_v6,
)
from sandbox.mounts import mount_points
from sandbox.paths import STATE

_NETNS_DIRECTORY = Path("/run/netns")
_NETNS_MOUNT_IS_OURS = STATE / "netns-mount"
_OUTSIDE_LINK = "ko-outside-m"
# Fixed, because a bridge without one takes another address whenever a link comes or goes.
_BRIDGE_MACS = {MANAGEMENT_BRIDGE: "02:6b:6f:00:00:01", TUNNEL_BRIDGE: "02:6b:6f:00:00:02"}
# The settings of every Kubernetes node: it forwards, and the check of the reverse path is left to Open vSwitch.
_NODE_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
}


def netns_path(name: str) -> Path:
    """The file of a network namespace (ip-netns(8))."""
    return _NETNS_DIRECTORY / name


def ensure_shared() -> None:
    """Make the two bridges and the outside host's namespace."""
    _ensure_bridge(MANAGEMENT_BRIDGE, [management_v4(ROOT_HOST), management_v6(ROOT_HOST)])
    _ensure_bridge(TUNNEL_BRIDGE, [])
    _ensure_netns(OUTSIDE_NETNS)
    _ensure_veth(_OUTSIDE_LINK, MANAGEMENT_BRIDGE, OUTSIDE_NETNS, "eth0")
    _ensure_addresses(OUTSIDE_NETNS, "eth0", [management_v4(OUTSIDE_HOST), management_v6(OUTSIDE_HOST)])
    _ensure_addresses(OUTSIDE_NETNS, "lo", [OUTSIDE_FAR_V4, OUTSIDE_FAR_V6])


def ensure_node(node: Node, cluster: Cluster) -> None:
    """Make a node's namespace, its two NICs, its addresses and its default routes, of the cluster's families."""
    _ensure_netns(node.netns)
    _write_sysctls(node.netns)
    _ensure_addresses(node.netns, "lo", [])
    _ensure_veth(node.management_link, MANAGEMENT_BRIDGE, node.netns, "eth0")
    _ensure_veth(node.tunnel_link, TUNNEL_BRIDGE, node.netns, "eth1")
    _ensure_addresses(node.netns, "eth0", cluster.management(node))
    # Addresses on any link of the node: the userspace switch moves them from eth1 to its bridge.
    present = parse_addresses(run(["ip", "-n", node.netns, "-json", "address", "show"]))
    _ensure_addresses(node.netns, "eth1", [each for each in cluster.tunnel(node) if str(each) not in present])
    for gateway in cluster.gateways:
        run(
            [
                "ip",
                "-n",
                node.netns,
                f"-{gateway.version}",
                "route",
                "replace",
                "default",
                "via",
                str(gateway),
                "dev",
                "eth0",
            ]
        )


def remove_everything(nodes: Iterable[Node]) -> None:
    """Remove all links and namespaces. Links first: a namespace goes late, and its links with it."""
    found = list(nodes)
    links = [link for node in found for link in (node.management_link, node.tunnel_link)]
    for link in (*links, _OUTSIDE_LINK, MANAGEMENT_BRIDGE, TUNNEL_BRIDGE):
        if link_exists(link):
            run(["ip", "link", "delete", link])
    for name in (*(node.netns for node in found), OUTSIDE_NETNS):
        _remove_netns(name)
    if _NETNS_MOUNT_IS_OURS.exists() and not any(_NETNS_DIRECTORY.iterdir()):
        # `ip netns add` mounts this directory onto itself the first time; it goes if no other namespace is in it.
        attempt(["umount", _NETNS_DIRECTORY])


def link_exists(name: str) -> bool:
    """Whether the machine's own namespace has a link of this name."""
    return Path("/sys/class/net", name).exists()


def node_numbers_present() -> set[int]:
    """The numbers of nodes that have a link or a namespace, also of an earlier run."""
    names = [path.name for path in Path("/sys/class/net").iterdir()]
    names += [path.name for path in _NETNS_DIRECTORY.iterdir()] if _NETNS_DIRECTORY.is_dir() else []
    parts = [name.removeprefix("ko-node").partition("-")[0] for name in names if name.startswith("ko-node")]
    return {int(part) for part in parts if part.isdecimal()}


def _ensure_bridge(name: str, addresses: Sequence[Interface]) -> None:
    if not link_exists(name):
        run(["ip", "link", "add", name, "address", _BRIDGE_MACS[name], "type", "bridge"])
    run(["ip", "link", "set", name, "up"])
    _ensure_addresses(None, name, addresses)


def _ensure_netns(name: str) -> None:
    path = netns_path(name)
    if path.exists() and not _is_namespace(path):
        # The file is left of a namespace that is gone, for example after a crash between two steps.
        path.unlink()
    if not path.exists():
        if _NETNS_DIRECTORY not in mount_points():
            _NETNS_MOUNT_IS_OURS.parent.mkdir(parents=True, exist_ok=True)
            _NETNS_MOUNT_IS_OURS.touch()
        run(["ip", "netns", "add", name])


def _is_namespace(path: Path) -> bool:
    return path.stat().st_dev == Path("/proc/self/ns/net").stat().st_dev


def _remove_netns(name: str) -> None:
    path = netns_path(name)
    if path.exists():
        code, _, _ = attempt(["ip", "netns", "delete", name])
        if code != 0:
            path.unlink(missing_ok=True)


def _ensure_veth(outer: str, bridge: str, netns: str, inner: str) -> None:
    inside, _, _ = attempt(["ip", "-n", netns, "link", "show", "dev", inner])
    if not link_exists(outer) or inside != 0:
        if link_exists(outer):
            run(["ip", "link", "delete", outer])
        run(["ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", netns])
    run(["ip", "link", "set", outer, "master", bridge, "up"])
    run(["ip", "-n", netns, "link", "set", inner, "up"])


def _ensure_addresses(netns: str | None, link: str, wanted: Sequence[Interface]) -> None:
    ip = ["ip", *(["-n", netns] if netns else [])]
    run([*ip, "link", "set", link, "up"])
    present = parse_addresses(run([*ip, "-json", "address", "show", "dev", link]))
    for address in wanted:
        if str(address) not in present:
            # No other host can have these addresses, so duplicate address detection would prove nothing.
            run([*ip, "address", "add", str(address), "dev", link, *(["nodad"] if address.version == 6 else [])])


def parse_addresses(text: str) -> set[str]:
    """Parse the output of `ip -json address show`: addresses with prefix length."""
    return {
        f"{entry['local']}/{entry['prefixlen']}" for link in json.loads(text) for entry in link.get("addr_info", [])
    }


def _write_sysctls(netns: str) -> None:
    script = "\n".join(f"echo {value} > /proc/sys/{name}" for name, value in _NODE_SYSCTLS.items())
    run(["nsenter", f"--net={netns_path(netns)}", "sh", "-ec", script])
