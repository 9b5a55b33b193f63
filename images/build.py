"""Assembles the image from three layers, the one that changes most often last.

base: Debian packages. dependencies: the pinned Python packages, and Python's own library compiled anew. application:
our wheel, the CNI plugins and the start scripts. Layers come from `images.python` and from here;
`sandbox.image_archive` writes the archive; nothing is loaded or run here.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from images.python import dependency_layer, wheel_layer
from sandbox.command import run
from sandbox.image_archive import File, Layer, write_image
from sandbox.paths import PROJECT, cache_dir
from sandbox.programs import CNI_PLUGINS, find_programs
from sandbox.progress import step
from sandbox.rootfs import build_rootfs, rootfs_key
from sandbox.toolchain import ensure_go, ensure_packages

NAME = "localhost/kube-ovn:v0.1.0"

PACKAGES = (
    "ovn-central",  # databases and northd
    "ovn-host",  # ovn-controller
    "openvswitch-switch",
    "python3",
    "nftables",
    "iproute2",
    "procps",
    "kmod",  # loads the kernel's switch
    "tcpdump",  # the rest is for people who look into a running container
    "iputils-ping",
)
# Files of an image carry no dates. Python compares dates and would not trust its compiled library; dependency_layer
# brings a compiled library that Python does trust.
EXCLUDED = ("usr/lib/python3*/__pycache__", "dev/*")

PROGRAM_DIR = "/usr/local/lib/kube-ovn"
_PLUGIN_DEADLINE = 300.0
_KEPT = 3  # entries of each kind in the cache: enough to go back and forth between two versions


def build_image() -> Path:
    """Return the image's archive; build it if the cache has none for these sources."""
    store = cache_dir() / "images" / "kube-ovn"
    archive = store / image_key() / "kube-ovn.tar"
    if archive.is_file():
        os.utime(archive.parent)
        return archive
    store.mkdir(parents=True, exist_ok=True)
    with (store / "lock").open("w") as lock:
        # A second command waits here and then finds most of the work done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        ensure_packages()
        root = build_rootfs(PACKAGES)
        dependencies = dependency_layer(root)
        with step("building the kube-ovn image"):
            application = wheel_layer(root) | _scripts() | _plugins()
            layers: list[Layer] = [root, dependencies, application]
            write_image(archive, NAME, layers, env={"PYTHONUNBUFFERED": "1"}, exclude=EXCLUDED)
        _prune(store)
        _prune(cache_dir() / "images" / "dependencies")
    return archive


def image_key() -> str:
    """The cache key: every file that has a part in the image, by content."""
    state = hashlib.sha256(rootfs_key(PACKAGES, os.uname().machine).encode())
    for path in sorted(_sources()):
        state.update(f"{path.relative_to(PROJECT)}\0{path.stat().st_mode:o}\0".encode())
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()[:16]


def _sources() -> Iterable[Path]:
    yield from (PROJECT / name for name in ("pyproject.toml", "requirements/runtime.txt", "sandbox/image_archive.py"))
    yield from (PROJECT / "images").glob("*.py")
    for folder in ("images/scripts", "images/plugins", "cni", "src/kube_ovn"):
        for path in (PROJECT / folder).rglob("*"):
            if path.is_file() and path.suffix not in (".pyc", ".pyo"):
                yield path


def _scripts() -> dict[str, File]:
    scripts = (PROJECT / "images" / "scripts").glob("*.sh")
    return {f"{PROGRAM_DIR}/{path.name}": File(content=path, mode=path.stat().st_mode & 0o777) for path in scripts}


def _plugins() -> dict[str, File]:
    """Our CNI plugin and those it is chained with, to be copied to the node."""
    programs = {"kube-ovn": _plugin(), **find_programs(CNI_PLUGINS)}
    return {f"{PROGRAM_DIR}/{name}": File(content=path, mode=0o755) for name, path in programs.items()}


def _plugin() -> Path:
    """Build our CNI plugin as a static program; with Go's own cache an unchanged one takes no time."""
    target = cache_dir() / "images" / "plugin" / "kube-ovn"
    target.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", "-s -w"]
    go = ensure_go()
    run(
        [go.program, "build", *flags, "-o", target, "."],
        cwd=PROJECT / "cni",
        env={**go.environment, "CGO_ENABLED": "0"},
        timeout=_PLUGIN_DEADLINE,
    )
    return target


def _prune(store: Path) -> None:
    """Remove old entries from the cache; an archive is a quarter of a gigabyte."""
    entries = sorted((path for path in store.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for old in entries[:-_KEPT]:
        shutil.rmtree(old)
