"""Where the sandbox keeps its things, and the one error class it shows to people.

Only names of places live here. The cache may be deleted at any time; state and run directories belong to the one
sandbox of this machine and go with `sandbox down`.
"""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
STATE = Path("/var/lib/kube-ovn-sandbox")
RUN = Path("/run/kube-ovn-sandbox")


class SandboxError(Exception):
    """Something a person must know, in one sentence. Shown without a traceback."""


def cache_dir() -> Path:
    """The cache's root: KUBE_OVN_CACHE, or a directory in the user's own cache."""
    chosen = os.environ.get("KUBE_OVN_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "kube-ovn"


def venv_bin() -> Path:
    """Programs that came as Python packages, such as kubectl."""
    return PROJECT / ".venv" / "bin"
