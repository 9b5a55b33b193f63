"""Debian root file systems, built with mmdebstrap and cached by their inputs.

`build_rootfs(packages)` is the whole interface. The result is shared and read-only by agreement: nodes put an overlay
on it, images are packed from it. The mirror is the one this machine's own apt uses; neither its name nor apt settings
stay inside.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.command import run
from sandbox.paths import SandboxError, cache_dir
from sandbox.progress import step

SUITE = "trixie"
# Part of the cache key: raise it when the way of building changes, so that old results are not taken for new ones.
RECIPE = 1
_BUILD_DEADLINE = 900.0
# Documentation and translations are of no use in a node or an image and are a third of the size.
_LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    "/usr/share/bash-completion/*",
)
# Files of a build that would name this machine or differ from one build to the next.
_REMOVED_AFTERWARDS = (
    "etc/apt/sources.list",
    "etc/apt/sources.list.d/*",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/machine-id",
    "var/lib/apt/lists/*",
    "var/cache/*",
    "var/log/*",
)
_INDEX_FORMAT = "$(REPO_URI)|$(ORIGIN)|$(LABEL)"
_APT_SETTING = re.compile(r'^(Acquire::(?:https?|ftp|Retries|Check-[A-Za-z-]+)\S* ".*";)$')


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """The source of packages: the main archive and, when this machine uses one, the security archive."""

    main: str | None
    security: str | None


def rootfs_key(packages: Iterable[str], architecture: str) -> str:
    """The cache key: equal for equal package sets, whatever their order."""
    inputs = {"recipe": RECIPE, "suite": SUITE, "architecture": architecture, "packages": sorted(set(packages))}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def build_rootfs(packages: Iterable[str]) -> Path:
    """Return a directory holding Debian with these packages; build it if the cache has none."""
    wanted = sorted(set(packages))
    key = rootfs_key(wanted, os.uname().machine)
    store = cache_dir() / "rootfs"
    root = store / key / "root"
    if root.is_dir():
        return root
    if os.geteuid() != 0:
        raise SandboxError("building a root file system needs root; run this as root")
    store.mkdir(parents=True, exist_ok=True)
    with _locked(store / f"{key}.lock"):
        if not root.is_dir():
            with step(f"building a Debian {SUITE} root file system with {len(wanted)} packages asked for"):
                _bootstrap(wanted, store, key)
    return root


def _bootstrap(packages: list[str], store: Path, key: str) -> None:
    # Built beside its place and renamed, so that a directory with the final name is always complete.
    partial = store / f"{key}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    run(
        mmdebstrap_arguments(packages, partial / "root", mirror=read_mirror(), settings=read_apt_settings()),
        timeout=_BUILD_DEADLINE,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    (partial / "packages.json").write_text(json.dumps(packages, indent=1) + "\n")
    partial.rename(store / key)


def mmdebstrap_arguments(packages: list[str], target: Path, *, mirror: Mirror, settings: list[str]) -> list[str]:
    """The command line that builds `target`."""
    removals = " ".join(f'"$1"/{pattern}' for pattern in _REMOVED_AFTERWARDS)
    arguments = ["mmdebstrap", "--quiet", "--mode=root", "--format=directory", "--variant=essential"]
    arguments += [f"--include={','.join(packages)}"] if packages else []
    arguments += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    # Without a named mirror mmdebstrap checks with all of Debian's keys; the key of the suite is wanted then as well.
    keyrings = Path("/usr/share/keyrings")
    arguments += [f"--keyring={keyrings}"] if keyrings.is_dir() else []
    arguments += [f"--aptopt={setting}" for setting in (*settings, 'APT::Install-Recommends "false"')]
    arguments += [f"--customize-hook=rm -rf {removals}"]
    # The hostname and resolv.conf are files a runtime mounts over, so empty ones must be there.
    arguments += ['--customize-hook=touch "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/etc/machine-id']
    arguments += [SUITE, str(target)]
    if mirror.main:
        arguments += [f"deb {mirror.main} {SUITE} main", f"deb {mirror.main} {SUITE}-updates main"]
        arguments += [f"deb {mirror.security} {SUITE}-security main"] if mirror.security else []
    return arguments


def read_mirror() -> Mirror:
    """The Debian mirror of this machine's apt; none when its apt knows only another distribution."""
    return parse_index_targets(run(["apt-get", "indextargets", "--format", _INDEX_FORMAT, "Created-By: Packages"]))


def parse_index_targets(text: str) -> Mirror:
    """Pick the main and the security archive out of `apt-get indextargets`."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        uri, origin, label = line.split("|")
        if origin == "Debian" and uri.startswith(("http://", "https://")):
            found.setdefault(label, uri)
    return Mirror(main=found.get("Debian"), security=found.get("Debian-Security"))


def read_apt_settings() -> list[str]:
    """Proxy and checking settings of this machine's apt, which mmdebstrap would not read by itself."""
    return [
        match[1].rstrip(";") for line in run(["apt-config", "dump"]).splitlines() if (match := _APT_SETTING.match(line))
    ]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # Two commands may want the same root at once; the second waits and finds it built. The kernel drops the lock of a
    # dead one.
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
