"""Container image archives in pure Python: the same inputs give the same bytes.

`write_image` packs root file systems and loose files into one archive that `ctr images import` and `docker load` read.
Entries are sorted and carry one fixed time; owners are numbers. Running or loading images is not done here.
"""

import hashlib
import io
import json
import os
import platform
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from sandbox.paths import SandboxError

Json = dict[str, object]

_OCI = "application/vnd.oci.image"
_EPOCH = 0
_CREATED = "1970-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A loose file for a layer: its bytes, or the path of a file on this machine to read them from."""

    content: bytes | Path
    mode: int = 0o644


# A layer is a directory whose tree is taken as it is, or loose files by their absolute path in the image.
Layer = Path | Mapping[str, File]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The program that a container of the image runs unless its Pod names another."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    env: Mapping[str, str]
    working_dir: str = "/"


def write_image(
    path: Path,
    name: str,
    layers: Sequence[Layer],
    *,
    entrypoint: Sequence[str] = (),
    command: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    exclude: Sequence[str] = (),
) -> str:
    """Write the archive of the image `name` (full reference with tag) to `path` and return the image's digest.

    `exclude`: shell patterns of paths without a leading slash. Files and directories that match are left out, with all
    below them.
    """
    config = ImageConfig(entrypoint=entrypoint, command=command, env=dict(env or {}))
    path.parent.mkdir(parents=True, exist_ok=True)
    # The finished archive appears under its name at once, never half written.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        blobs: list[tuple[str, Path]] = []
        for number, layer in enumerate(layers):
            blob = Path(scratch) / f"layer{number}"
            blobs.append((_write_layer(blob, layer, exclude), blob))
        document = _to_json(image_document(config, [layer_digest for layer_digest, _ in blobs]))
        partial = Path(scratch) / "archive"
        digest = _write_archive(partial, name, document, blobs)
        partial.rename(path)
    return digest


def archive_digest(path: Path) -> str:
    """The digest of an archive's image, as container runtimes list it."""
    return str(_only_image(path)["digest"])


def archive_name(path: Path) -> str:
    """The full reference of an archive's image."""
    return str(_only_image(path)["annotations"]["io.containerd.image.name"])


def _only_image(path: Path) -> dict[str, Any]:
    # The index is the first entry, so that this need not read the whole archive.
    try:
        with tarfile.open(path, "r:") as archive:
            entry = archive.extractfile("index.json")
            images = json.loads(entry.read())["manifests"] if entry else []
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise SandboxError(f"{path} is not an image archive: {error}") from error
    if len(images) != 1:
        raise SandboxError(f"{path} holds {len(images)} images; one is expected")
    image: dict[str, Any] = images[0]
    return image


def image_document(config: ImageConfig, layer_digests: Sequence[str]) -> Json:
    """The image's configuration, as the OCI image specification names its fields."""
    return {
        "created": _CREATED,
        "architecture": _architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": list(config.entrypoint),
            "Cmd": list(config.command),
            "Env": [f"{key}={value}" for key, value in sorted(config.env.items())],
            "WorkingDir": config.working_dir,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in layer_digests]},
        "history": [{"created": _CREATED, "created_by": "kube-ovn"} for _ in layer_digests],
    }


def _write_archive(path: Path, name: str, document: bytes, blobs: Sequence[tuple[str, Path]]) -> str:
    """Write the archive in both layouts at once, the OCI one and docker's, and return the image's digest."""
    descriptors = [_descriptor(f"{_OCI}.layer.v1.tar", digest, blob.stat().st_size) for digest, blob in blobs]
    config = _descriptor(f"{_OCI}.config.v1+json", hashlib.sha256(document).hexdigest(), len(document))
    manifest = _to_json(
        {"schemaVersion": 2, "mediaType": f"{_OCI}.manifest.v1+json", "config": config, "layers": descriptors}
    )
    digest = hashlib.sha256(manifest).hexdigest()
    image = _descriptor(f"{_OCI}.manifest.v1+json", digest, len(manifest))
    image["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    image["platform"] = {"architecture": _architecture(), "os": "linux"}
    layer_files = [_blob_name(layer_digest) for layer_digest, _ in blobs]
    docker = [{"Config": _blob_name(str(config["digest"])), "RepoTags": [name], "Layers": layer_files}]
    small = {
        "index.json": _to_json({"schemaVersion": 2, "manifests": [image]}),
        "oci-layout": _to_json({"imageLayoutVersion": "1.0.0"}),
        "manifest.json": _to_json(docker),
        _blob_name(digest): manifest,
        _blob_name(str(config["digest"])): document,
    }
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for entry, content in small.items():
            _add_bytes(archive, entry, content, 0o644)
        # Two equal layers are stored once.
        for layer_file, blob in dict(zip(layer_files, (blob for _, blob in blobs), strict=True)).items():
            with blob.open("rb") as source:
                archive.addfile(_entry(layer_file, mode=0o644, size=blob.stat().st_size), source)
    return f"sha256:{digest}"


def _descriptor(media_type: str, digest: str, size: int) -> Json:
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _to_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _architecture() -> str:
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def _write_layer(path: Path, layer: Layer, exclude: Sequence[str]) -> str:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        if isinstance(layer, Path):
            _add_tree(archive, layer, exclude)
        else:
            _add_files(archive, layer)
    with path.open("rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()


def _add_tree(archive: tarfile.TarFile, root: Path, exclude: Sequence[str]) -> None:
    # Files with several names are stored once, under the first name in sorted order.
    first_names: dict[tuple[int, int], str] = {}
    for name, status in _walk(root, "", exclude):
        source = root / name
        entry = _entry(name, mode=stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid)
        if stat.S_ISDIR(status.st_mode):
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        elif stat.S_ISLNK(status.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(source)
            archive.addfile(entry)
        elif stat.S_ISREG(status.st_mode):
            first = first_names.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                entry.type, entry.linkname = tarfile.LNKTYPE, first
                archive.addfile(entry)
                continue
            entry.size = status.st_size
            with source.open("rb") as content:
                archive.addfile(entry, content)
        # Device nodes and sockets are left out: a container runtime provides /dev itself.


def _walk(root: Path, below: str, exclude: Sequence[str]) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(root / below) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        name = f"{below}/{entry.name}" if below else entry.name
        if any(fnmatchcase(name, pattern) for pattern in exclude):
            continue
        status = entry.stat(follow_symlinks=False)
        yield name, status
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(root, name, exclude)


def _add_files(archive: tarfile.TarFile, files: Mapping[str, File]) -> None:
    made: set[str] = set()
    for path in sorted(files):
        name = path.lstrip("/")
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            if str(parent) not in made:
                made.add(str(parent))
                directory = _entry(str(parent), mode=0o755)
                directory.type = tarfile.DIRTYPE
                archive.addfile(directory)
        file = files[path]
        content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
        _add_bytes(archive, name, content, file.mode)


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    archive.addfile(_entry(name, mode=mode, size=len(content)), io.BytesIO(content))


def _entry(name: str, *, mode: int, size: int = 0, uid: int = 0, gid: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size, entry.uid, entry.gid, entry.mtime = mode, size, uid, gid, _EPOCH
    return entry
