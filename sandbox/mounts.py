"""The mount points in the namespace of the caller (proc_pid_mountinfo(5)). Reading only."""

from pathlib import Path


def mount_points() -> list[Path]:
    """Every mount point, in the order they were mounted."""
    return [Path(_unescape(line.split()[4])) for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _unescape(text: str) -> str:
    # The kernel writes space, tab, newline and backslash as octal numbers.
    return text.encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
