"""Whether this user on this machine may run a sandbox, and that only one command changes it at a time.

Each missing right is one sentence. Nothing is changed here.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox import cgroups
from sandbox.command import attempt
from sandbox.paths import SandboxError
from sandbox.progress import say

_LOCK_NAME = "\0kube-ovn-sandbox"
_LOCK_DEADLINE = 120.0


def check_root() -> None:
    """Raise SandboxError when the user is not root: no other may make namespaces and links."""
    if os.geteuid() != 0:
        raise SandboxError("the sandbox makes network namespaces and mounts; run this as root")


def check_machine() -> None:
    """Try the rights that the sandbox needs before it makes anything. Raises SandboxError for the first missing one."""
    check_root()
    code, _, complaint = attempt(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "true"]
    )
    if code != 0:
        raise SandboxError(f"this machine does not allow new namespaces, not even to root ({complaint.strip()})")
    if not Path("/dev/net/tun").exists():
        raise SandboxError(
            "there is no /dev/net/tun; Open vSwitch cannot make interfaces without it (try `modprobe tun`)"
        )
    cgroups.check_writable()


@contextmanager
def only_one() -> Iterator[None]:
    """Let other commands that change the sandbox wait. The lock leaves no file and ends with its process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        deadline = time.monotonic() + _LOCK_DEADLINE
        waiting = False
        while True:
            try:
                lock.bind(_LOCK_NAME)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise SandboxError("another sandbox command is still at work; wait for its end") from error
            if not waiting:
                say("waiting for another sandbox command to end")
                waiting = True
            time.sleep(0.2)
        yield
