"""The sandbox's own images and the loading of image archives into nodes.

The pause image holds Pods' namespaces; the tools image is for test Pods. Images of the product are built in images/.
"""

import hashlib
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox import node
from sandbox.image_archive import File, archive_digest, archive_name, write_image
from sandbox.layout import Node
from sandbox.paths import SandboxError, cache_dir
from sandbox.progress import step
from sandbox.rootfs import build_rootfs

TOOLS_IMAGE = "docker.io/kubeovn/sandbox-tools:v0.1.0"
_TOOLS_PACKAGES = (
    "busybox-static",
    "ca-certificates",
    "curl",
    "ethtool",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "netcat-openbsd",
    "procps",
    "tcpdump",
)
_LOAD_DEADLINE = 300.0


def pause_archive(pause: Path) -> Path:
    """The archive of the pause image."""
    path = archive_path("pause", pause)
    if not path.exists():
        write_image(path, node.PAUSE_IMAGE, [{"/pause": File(content=pause, mode=0o755)}], entrypoint=["/pause"])
    return path


def tools_archive(agnhost: Path) -> Path:
    """The archive of the tools image: agnhost, a shell and network tools."""
    root = build_rootfs(_TOOLS_PACKAGES)
    path = archive_path("tools", agnhost, root.parent.name)
    if not path.exists():
        with step("packing the tools image"):
            write_image(
                path,
                TOOLS_IMAGE,
                [root, {"/agnhost": File(content=agnhost, mode=0o755)}],
                entrypoint=["/agnhost"],
                command=["pause"],
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                exclude=["var/cache/*", "var/lib/dpkg/*", "var/lib/apt/*"],
            )
    return path


def archive_path(name: str, program: Path, *inputs: str) -> Path:
    """The path in the cache of the archive that is made of these inputs."""
    # The path of a built program has the key of its build; for one found on PATH, size and time must do.
    status = program.stat()
    text = "\0".join([name, str(program), str(status.st_size), str(status.st_mtime_ns), *inputs])
    return cache_dir() / "images" / hashlib.sha256(text.encode()).hexdigest()[:16] / f"{name}.tar"


def load(archive: Path, nodes: Sequence[Node]) -> list[str]:
    """Import the archive into these nodes at once; return the names of the nodes that did not have it yet."""
    name, digest = archive_name(archive), archive_digest(archive)
    with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
        imported = list(pool.map(lambda each: _load_into(each, archive, name, digest), nodes))
    return [each.name for each, was_imported in zip(nodes, imported, strict=True) if was_imported]


def add_names(name: str, others: Sequence[str], nodes: Sequence[Node]) -> None:
    """Give an image that was loaded into these nodes further names."""
    for each in nodes:
        for other in others:
            _ctr(each, ["images", "tag", "--force", name, other])


def _load_into(target: Node, archive: Path, name: str, digest: str) -> bool:
    listing = _ctr(target, ["images", "list", f"name=={name}"])
    if any(line.split()[0] == name and digest in line for line in listing.splitlines()[1:]):
        return False
    with archive.open("rb") as content:
        argv = node.enter_arguments(target, ["ctr", "-n", "k8s.io", "images", "import", "-"])
        done = subprocess.run(argv, stdin=content, capture_output=True, timeout=_LOAD_DEADLINE, check=False)
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()
        raise SandboxError(f"{archive} could not be loaded into {target.name}: {reason}")
    return True


def _ctr(target: Node, arguments: Sequence[str]) -> str:
    argv = node.enter_arguments(target, ["ctr", "-n", "k8s.io", *arguments])
    done = subprocess.run(argv, capture_output=True, timeout=30, text=True, check=False)
    if done.returncode != 0:
        raise SandboxError(f"containerd of {target.name} does not answer: {done.stderr.strip()}")
    return done.stdout
