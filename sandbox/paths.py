"""The sandbox's directories, and its one error class.

The cache may be deleted at any time; state and run directories belong to the one sandbox of this machine and go with
`sandbox down`.
"""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
STATE = Path("/var/lib/kube-ovn-sandbox")
RUN = Path("/run/kube-ovn-sandbox")


class SandboxError(Exception):
    """A failure, with one sentence for the user. Shown without a traceback."""


def cache_dir() -> Path:
    """The cache's root: KUBE_OVN_CACHE, or a directory in the user's own cache."""
    chosen = os.environ.get("KUBE_OVN_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "kube-ovn"


def venv_bin() -> Path:
    """The directory of programs that came as Python packages, such as kubectl."""
    return PROJECT / ".venv" / "bin"
