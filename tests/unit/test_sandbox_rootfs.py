"""The cache key of a root file system and the reading of apt's own configuration."""

from pathlib import Path

from sandbox.rootfs import Mirror, mmdebstrap_arguments, parse_index_targets, rootfs_key


def test_key_depends_on_the_package_set_alone() -> None:
    assert rootfs_key(["b", "a", "a"], "x86_64") == rootfs_key(["a", "b"], "x86_64")
    assert rootfs_key(["a"], "x86_64") != rootfs_key(["a", "b"], "x86_64")
    assert rootfs_key(["a"], "x86_64") != rootfs_key(["a"], "aarch64")


def test_mirror_is_read_from_apt() -> None:
    text = (
        "http://vendor.example/apt/|Vendor|Vendor\n"
        "http://mirror.example/debian/|Debian|Debian\n"
        "http://mirror.example/debian/|Debian|Debian\n"
        "http://mirror.example/debian-security/|Debian|Debian-Security\n"
    )
    mirror = parse_index_targets(text)
    assert mirror == Mirror(main="http://mirror.example/debian/", security="http://mirror.example/debian-security/")


def test_another_distribution_leaves_the_choice_to_mmdebstrap() -> None:
    mirror = parse_index_targets("http://mirror.example/ubuntu/|Ubuntu|Ubuntu\n")
    assert mirror == Mirror(main=None, security=None)
    arguments = mmdebstrap_arguments(["a"], Path("/target"), mirror=mirror, settings=[])
    assert arguments[-2:] == ["trixie", "/target"]


def test_a_known_mirror_is_named_on_the_command_line() -> None:
    mirror = Mirror(main="http://mirror.example/debian/", security=None)
    arguments = mmdebstrap_arguments(["b", "a"], Path("/target"), mirror=mirror, settings=['Acquire::Retries "3"'])
    assert "--include=b,a" in arguments
    assert '--aptopt=Acquire::Retries "3"' in arguments
    assert arguments[-2:] == [
        "deb http://mirror.example/debian/ trixie main",
        "deb http://mirror.example/debian/ trixie-updates main",
    ]
