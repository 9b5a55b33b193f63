"""The CNI configuration that has the container runtime use kube-ovn. It is written when the node's network works, and
stays.

It is not removed when Open vSwitch restarts or the join gateway stops answering for a while: without it the kubelet
reports the whole node as not ready and its Pods are evicted, although running Pods work and new ones can wait.
"""

import os
from pathlib import Path

import msgspec

VERSION = "0.3.1"


def render_conflist(server_socket: str) -> bytes:
    """The configuration as JSON. `server_socket`: the path of the socket to which the plugin forwards requests."""
    conflist = {
        "name": "kube-ovn",
        "cniVersion": VERSION,
        "plugins": [
            # The host ports of a Pod are told to kube-ovn too, which refuses those that the node has itself.
            {"type": "kube-ovn", "server_socket": server_socket, "capabilities": {"portMappings": True}},
            # Without a backend, portmap tries out nft and iptables for every Pod that comes or goes: 17 ms each.
            {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": True}},
        ],
    }
    return msgspec.json.format(msgspec.json.encode(conflist), indent=2) + b"\n"


def write_conflist(path: Path, content: bytes) -> bool:
    """Put the file in place in one step, so that the runtime never reads half of it. Returns whether it was written: it
    is not when the file has this content and mode 0600. Raises OSError.
    """
    if path.exists() and path.read_bytes() == content and path.stat().st_mode & 0o777 == 0o600:
        return False
    draft = path.with_name(f".{path.name}.new")  # does not end with .conf or .conflist, so the runtime ignores it
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    draft.rename(path)
    return True
