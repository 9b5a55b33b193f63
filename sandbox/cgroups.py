"""A part of every control-group hierarchy for each node, so that nodes do not meet and nothing stays behind.

A node sees its own part as the root, through a cgroup namespace. Both the old layout (one hierarchy per controller) and
the unified one are served. Limits are set by the kubelet.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox.layout import Node
from sandbox.paths import SandboxError

OURS = "kube-ovn-sandbox"
_REMOVAL_DEADLINE = 15.0
# The group of a node's own processes in the unified layout, where inner groups may not have any (cgroups(7)).
LEAF = "init"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """One mounted hierarchy: its directory on this machine and how to mount it again inside a node."""

    path: Path
    filesystem: str
    options: str

    @property
    def inner_name(self) -> str:
        """Its directory below the node's /sys/fs/cgroup; empty for a unified layout, which is the directory itself."""
        return "" if self.path == Path("/sys/fs/cgroup") else self.path.name


def parse_hierarchies(mounts: str) -> list[Hierarchy]:
    """The hierarchies in the text of /proc/mounts."""
    # By directory, because only the last of several mounts on one directory can be seen.
    found: dict[Path, Hierarchy] = {}
    for line in mounts.splitlines():
        _, place, filesystem, options = line.split()[:4]
        if filesystem not in ("cgroup", "cgroup2") or not place.startswith("/sys/fs/cgroup"):
            continue
        # Of the options only the controllers and the name identify the hierarchy.
        general = {
            "rw",
            "ro",
            "relatime",
            "noatime",
            "nosuid",
            "nodev",
            "noexec",
            "xattr",
            "clone_children",
            "nsdelegate",
        }
        chosen = [word for word in options.split(",") if word not in general and not word.startswith("memory_")]
        chosen = ["none", *chosen] if any(word.startswith("name=") for word in chosen) else chosen
        found[Path(place)] = Hierarchy(
            path=Path(place), filesystem=filesystem, options=",".join(chosen) if filesystem == "cgroup" else ""
        )
    return list(found.values())


def hierarchies() -> list[Hierarchy]:
    """The hierarchies mounted here."""
    return parse_hierarchies(Path("/proc/mounts").read_text())


def is_unified(found: list[Hierarchy]) -> bool:
    """Whether the machine has one hierarchy for all controllers."""
    return [hierarchy.inner_name for hierarchy in found] == [""]


def check_writable() -> None:
    """Raise SandboxError when control groups cannot be made here."""
    found = hierarchies()
    if not found:
        raise SandboxError("no control groups are mounted below /sys/fs/cgroup; the kubelet cannot run here")
    for hierarchy in found:
        try:
            (hierarchy.path / OURS).mkdir(exist_ok=True)
        except OSError as error:
            raise SandboxError(f"control groups cannot be made in {hierarchy.path}: {error.strerror}") from error


def prepare(node: Node) -> list[Path]:
    """Make the node's groups anew and return them; the node must not run."""
    found = hierarchies()
    _remove_trees([hierarchy.path / OURS / node.name for hierarchy in found])
    for hierarchy in found:
        group = hierarchy.path / OURS / node.name
        group.mkdir(parents=True, exist_ok=True)
        if is_unified(found):
            _hand_down_controllers(hierarchy.path, group)
            (group / LEAF).mkdir(exist_ok=True)
        else:
            _copy_processors(group.parent)
            _copy_processors(group)
    return [hierarchy.path / OURS / node.name for hierarchy in found]


def _copy_processors(group: Path) -> None:
    # An old cpuset group starts empty and takes no process until it has been told its processors and memory.
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (group / name).exists() and not (group / name).read_text().strip():
            (group / name).write_text((group.parent / name).read_text())


def _hand_down_controllers(top: Path, group: Path) -> None:
    for controller in (top / "cgroup.controllers").read_text().split():
        for level in (top, group.parent, group):
            # The node does without controllers that cannot be handed down (realtime tasks keep "cpu", for one).
            with suppress(OSError):
                (level / "cgroup.subtree_control").write_text(f"+{controller}")


def remove_everything() -> None:
    """Remove all our groups; their processes must be gone."""
    _remove_trees([hierarchy.path / OURS for hierarchy in hierarchies()])


def _remove_trees(roots: list[Path]) -> None:
    deadline = time.monotonic() + _REMOVAL_DEADLINE
    for root in roots:
        while root.is_dir() and (failure := _remove_tree(root)) is not None:
            # A group stays busy for a moment after its last process was killed.
            if time.monotonic() > deadline:
                raise SandboxError(f"the control group {failure.filename} stays in use: {failure.strerror}")
            time.sleep(0.02)


def _remove_tree(root: Path) -> OSError | None:
    for directory, _, _ in os.walk(root, topdown=False):
        try:
            Path(directory).rmdir()
        except OSError as error:
            return error
    return None
