"""The file that tells the container runtime to use us. It appears when the node's network works, and stays.

It is not removed when Open vSwitch restarts or the join gateway stops answering for a while: without it the kubelet
calls the whole node not ready and its Pods are evicted, while those that run are well and new ones can wait.
"""

import os
from pathlib import Path

import msgspec

VERSION = "0.3.1"


def render_conflist(server_socket: str) -> bytes:
    conflist = {
        "name": "kube-ovn",
        "cniVersion": VERSION,
        "plugins": [
            {"type": "kube-ovn", "server_socket": server_socket},
            # Told what to use, it need not try out nft and iptables for every Pod that comes and goes: 17 ms each.
            {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": True}},
        ],
    }
    return msgspec.json.format(msgspec.json.encode(conflist), indent=2) + b"\n"


def write_conflist(path: Path, content: bytes) -> bool:
    """Put the file in place in one step; the runtime never sees half of it. Returns whether it was not there yet."""
    if path.exists() and path.read_bytes() == content and path.stat().st_mode & 0o777 == 0o600:
        return False
    draft = path.with_name(f".{path.name}.new")  # no .conf or .conflist: the runtime passes over it
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    draft.rename(path)
    return True
