"""Turns Python packages into image layers: installed for the image's Python, compiled, with programs to start them.

Packages are resolved outside of the image, against hashes, because a package index is not reachable from inside; only
the compiler of the image's own Python runs in it. Layers are returned as files by their path in the image, and
`images.build` packs them.
"""

import hashlib
import os
import platform
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path

from sandbox.command import run
from sandbox.image_archive import File
from sandbox.paths import PROJECT, SandboxError, cache_dir
from sandbox.progress import step

PYTHON = "3.13"  # of the Debian release that sandbox.rootfs builds
SITE = f"/usr/local/lib/python{PYTHON}/dist-packages"
_STANDARD_LIBRARY = f"usr/lib/python{PYTHON}"
_NEWEST_GLIBC = 41  # 2.41, of the same Debian release
_DEADLINE = 600.0
# -I: neither the environment nor the working directory may add code to what a privileged container runs.
_PROGRAM = """#!/usr/bin/python3 -I
import sys

from {module} import {function}

sys.exit({function}())
"""


def dependency_layer(root: Path) -> dict[str, File]:
    """The pinned packages of requirements/runtime.txt and the compiled standard library of `root`."""
    requirements = PROJECT / "requirements" / "runtime.txt"
    key = hashlib.sha256(
        b"\0".join((root.parent.name.encode(), requirements.read_bytes(), Path(__file__).read_bytes()))
    )
    store = cache_dir() / "images" / "dependencies" / key.hexdigest()[:16]
    if not store.is_dir():
        with step("installing the image's Python packages"), _staging(store.parent) as stage:
            site = stage / SITE.lstrip("/")
            _install(requirements, site)
            _compile(root, site, SITE)
            library = stage / _STANDARD_LIBRARY
            left_out = shutil.ignore_patterns("__pycache__", "test")
            shutil.copytree(root / _STANDARD_LIBRARY, library, symlinks=True, ignore=left_out)
            _compile(root, library, f"/{_STANDARD_LIBRARY}")
            _keep_compiled_only(library)
            stage.rename(store)
    return _files(store)


def wheel_layer(root: Path) -> dict[str, File]:
    """Our own package, compiled, and a program for each of its entry points."""
    with _staging(cache_dir() / "images") as stage:
        run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", stage], cwd=PROJECT, timeout=120)
        (wheel,) = stage.glob("*.whl")
        site = stage / "site"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        _compile(root, site, SITE)
        # The bytes are read now, because the stage goes away.
        layer = {f"{SITE}/{path.relative_to(site)}": File(content=path.read_bytes()) for path in _walk(site)}
        return layer | programs(site)


def programs(site: Path) -> dict[str, File]:
    """A program for each entry point that the package unpacked in `site` declares."""
    (declared,) = site.glob("*.dist-info/entry_points.txt")
    parser = ConfigParser()
    parser.read(declared)
    programs = {}
    for name, target in parser["console_scripts"].items():
        module, _, function = target.partition(":")
        text = _PROGRAM.format(module=module, function=function)
        programs[f"/usr/local/bin/{name}"] = File(content=text.encode(), mode=0o755)
    return programs


def _install(requirements: Path, target: Path) -> None:
    """Install wheels for the image's Python, which need not be the one that runs this."""
    machine = platform.machine()
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(_NEWEST_GLIBC, 4, -1)]
    platforms += [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]
    argv: list[str | Path] = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    argv += ["--require-hashes", "--no-deps", "--no-compile", "--only-binary=:all:", "--target", target]
    argv += ["--implementation", "cp", "--python-version", PYTHON, "--abi", f"cp{PYTHON.replace('.', '')}"]
    argv += ["--abi", "abi3", "--abi", "none"]
    argv += [word for name in platforms for word in ("--platform", name)]
    run([*argv, "-r", requirements], timeout=_DEADLINE)
    # Programs of dependencies name this machine's Python, and nothing in the image calls them.
    shutil.rmtree(target / "bin", ignore_errors=True)


def _compile(root: Path, folder: Path, path_in_image: str) -> None:
    """Compile with the image's Python. Unchecked: files in an image do not change, and their dates say nothing."""
    if os.geteuid() != 0:
        raise SandboxError("building the image needs root; run this as root")
    mode = ["--invalidation-mode", "unchecked-hash", "-j", str(os.cpu_count() or 1)]
    inside = ["python3", "-I", "-m", "compileall", "-q", *mode, "-s", "/mnt", "-p", path_in_image, "/mnt"]
    # /dev, because compiling in parallel needs semaphores.
    script = 'mount --bind "$0" "$1/mnt" && mount --rbind /dev "$1/dev" && root=$1 && shift && exec chroot "$root" "$@"'
    run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, folder, root, *inside], timeout=_DEADLINE
    )


def _keep_compiled_only(folder: Path) -> None:
    for path in _walk(folder):
        if path.suffix != ".pyc":
            path.unlink()


def _files(folder: Path) -> dict[str, File]:
    return {
        f"/{path.relative_to(folder)}": File(content=path, mode=0o755 if path.stat().st_mode & 0o100 else 0o644)
        for path in _walk(folder)
    }


def _walk(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@contextmanager
def _staging(parent: Path) -> Iterator[Path]:
    """A directory beside the cache's entries that is gone afterwards, unless it was renamed to become one."""
    parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(dir=parent, prefix=".stage-"))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
