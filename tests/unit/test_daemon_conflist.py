"""The runtime's CNI configuration: what is in it, and how it gets in place."""

import os
from pathlib import Path

import msgspec

from kube_ovn.daemon.conflist import render_conflist, write_conflist


def test_content() -> None:
    conflist = msgspec.json.decode(render_conflist("/run/s.sock"))
    assert (conflist["name"], conflist["cniVersion"]) == ("kube-ovn", "0.3.1")
    assert conflist["plugins"] == [
        {"type": "kube-ovn", "server_socket": "/run/s.sock", "capabilities": {"portMappings": True}},
        {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": True}},
    ]


def test_written_once_and_for_root_only(tmp_path: Path) -> None:
    path, content = tmp_path / "01-kube-ovn.conflist", render_conflist("/s")
    (tmp_path / ".01-kube-ovn.conflist.new").write_bytes(b"half of a for")  # of a run that was cut off
    assert write_conflist(path, content)
    before = path.stat()
    assert not write_conflist(path, content)
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert after.st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == [path.name]


def test_changed_by_somebody(tmp_path: Path) -> None:
    path, content = tmp_path / "01-kube-ovn.conflist", render_conflist("/s")
    path.write_bytes(b"{}")
    assert write_conflist(path, content)
    path.chmod(0o644)
    assert write_conflist(path, content)
    assert path.read_bytes() == content
