"""The image writer: same input, same bytes; and the archive says what containerd wants to hear."""

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from sandbox.image_archive import File, archive_digest, archive_name, write_image
from sandbox.paths import SandboxError


def make_root(base: Path) -> Path:
    root = base / "root"
    (root / "etc").mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    (root / "var/cache/apt").mkdir(parents=True)
    (root / "var/cache/apt/big").write_text("x" * 5000)
    (root / "etc/motd").write_text("hello\n")
    (root / "usr/bin/a").write_bytes(b"\x7fELF")
    (root / "usr/bin/a").chmod(0o755)
    os.link(root / "usr/bin/a", root / "usr/bin/b")
    (root / "bin").symlink_to("usr/bin")
    return root


def read_entry(archive: tarfile.TarFile, name: str) -> bytes:
    entry = archive.extractfile(name)
    assert entry is not None
    return entry.read()


def read_archive(path: Path) -> tuple[dict[str, object], list[tarfile.TarInfo]]:
    with tarfile.open(path) as archive:
        (record,) = json.loads(read_entry(archive, "manifest.json"))
        config = read_entry(archive, record["Config"])
        assert record["Config"] == f"blobs/sha256/{hashlib.sha256(config).hexdigest()}"
        layer = read_entry(archive, record["Layers"][0])
    document = json.loads(config)
    assert document["rootfs"]["diff_ids"][0] == f"sha256:{hashlib.sha256(layer).hexdigest()}"
    inner = path.with_suffix(".layer")
    inner.write_bytes(layer)
    with tarfile.open(inner) as archive:
        return {**document, "tags": record["RepoTags"]}, archive.getmembers()


def test_same_tree_gives_same_bytes_whatever_its_times(tmp_path: Path) -> None:
    first, second = make_root(tmp_path / "one"), make_root(tmp_path / "two")
    os.utime(second / "etc/motd", (1, 1))
    digests = [write_image(tmp_path / f"{n}.tar", "example/x:v1", [root]) for n, root in enumerate((first, second))]
    assert digests[0] == digests[1]
    assert (tmp_path / "0.tar").read_bytes() == (tmp_path / "1.tar").read_bytes()


def test_tree_keeps_modes_and_links_and_leaves_out_what_is_excluded(tmp_path: Path) -> None:
    write_image(tmp_path / "x.tar", "example/x:v1", [make_root(tmp_path)], exclude=["var/cache/*"])
    _, members = read_archive(tmp_path / "x.tar")
    by_name = {member.name: member for member in members}
    assert list(by_name) == ["bin", "etc", "etc/motd", "usr", "usr/bin", "usr/bin/a", "usr/bin/b", "var", "var/cache"]
    assert by_name["bin"].linkname == "usr/bin"
    assert by_name["usr/bin/a"].mode == 0o755
    assert by_name["usr/bin/b"].islnk()
    assert by_name["usr/bin/b"].linkname == "usr/bin/a"
    assert {member.mtime for member in members} == {0}


def test_loose_files_get_their_directories(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"binary")
    files = {"/usr/local/bin/p": File(content=tmp_path / "program", mode=0o755), "/etc/p.conf": File(content=b"a=1\n")}
    digest = write_image(
        tmp_path / "y.tar", "example/y:v1", [files], entrypoint=["/usr/local/bin/p"], env={"B": "2", "A": "1"}
    )
    document, members = read_archive(tmp_path / "y.tar")
    assert [member.name for member in members] == [
        "etc",
        "etc/p.conf",
        "usr",
        "usr/local",
        "usr/local/bin",
        "usr/local/bin/p",
    ]
    assert document["tags"] == ["example/y:v1"]
    assert document["config"] == {
        "Entrypoint": ["/usr/local/bin/p"],
        "Cmd": [],
        "Env": ["A=1", "B=2"],
        "WorkingDir": "/",
    }
    assert archive_name(tmp_path / "y.tar") == "example/y:v1"
    assert archive_digest(tmp_path / "y.tar") == digest
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_something_else_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "z.tar").write_text("not an archive")
    with pytest.raises(SandboxError, match=r"z\.tar is not an image archive"):
        archive_digest(tmp_path / "z.tar")
