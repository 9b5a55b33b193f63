"""The kernel's switch, which this machine may not have: two nodes in a virtual machine with Debian's kernel.

An emulated processor is enough, so nothing is asked of the machine but qemu.
"""

import platform
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from images.build import PACKAGES
from sandbox.command import run
from sandbox.paths import PROJECT
from sandbox.rootfs import build_rootfs
from sandbox.toolchain import ensure_packages

BOOT_DEADLINE = 240.0
MACHINE = platform.machine()
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
EMULATOR = f"qemu-system-{MACHINE}"
PROGRAMS = {
    EMULATOR: "qemu-system-x86" if MACHINE == "x86_64" else "qemu-system-arm",
    "mkfs.ext4": "e2fsprogs",
    "debugfs": "e2fsprogs",
}
# The emulator loses the flags of CMPXCHG16B now and then, which ends a kernel that uses it as it boots.
PROCESSOR = "max,cx16=off" if MACHINE == "x86_64" else "max"
INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp
mkdir -p /t && tar -xf /dev/vdb -C /t && bash /t/guest.sh
echo o >/proc/sysrq-trigger
sleep 10
"""


def disk(root: Path) -> Path:
    """A file system image of `root`, made once and never written to: the machine's writes go elsewhere."""
    path = root.parent / "disk.img"
    if not path.exists():
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        run(["mkfs.ext4", "-q", "-d", root, partial, "1500M"], timeout=120)
        init = root.parent / "init"
        init.write_text(INIT)
        run(["debugfs", "-w", "-f", "-", partial], text=f"write {init} /test-init\nsif /test-init mode 0100755\n")
        partial.rename(path)
    return path


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the guest found out, by name."""
    ensure_packages()
    ensure_packages(PROGRAMS)
    root = build_rootfs((*PACKAGES, f"linux-image-cloud-{ARCHITECTURES[MACHINE]}"))
    payload = tmp_path_factory.mktemp("guest") / "payload.tar"
    with tarfile.open(payload, "w") as archive:
        for script in sorted((PROJECT / "images" / "scripts").glob("*.sh")):
            archive.add(script, f"scripts/{script.name}")
        archive.add(Path(__file__).with_name("kernel_guest.sh"), "guest.sh")
        archive.add(Path(__file__).with_name("kernel_guest_udp.py"), "udp.py")
    drives = ["-drive", f"file={disk(root)},format=raw,if=virtio,snapshot=on"]
    drives += ["-drive", f"file={payload},format=raw,if=virtio,readonly=on"]
    command = [
        f"qemu-system-{platform.machine()}",
        "-accel",
        "tcg,thread=single",  # with threads, the emulator may run into code that the kernel is patching
        "-cpu",
        PROCESSOR,
        "-smp",
        "2",
        "-m",
        "2048",
    ]
    command += ["-nographic", "-no-reboot", "-kernel", str(root / "vmlinuz"), "-initrd", str(root / "initrd.img")]
    command += ["-append", "console=ttyS0 quiet panic=-1 root=/dev/vda rw init=/test-init", *drives]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=BOOT_DEADLINE, check=True)
    console = done.stdout.decode(errors="replace")
    found = dict(re.findall(r"RESULT (\S+) (\S+)", console))
    assert found.get("finished") == "yes", console[-4000:]
    return found


def test_the_module_is_loaded_and_tunnels_are_the_kernels(results: dict[str, str]) -> None:
    assert results["module-before"] == "0"
    assert results["module-after"] == "1"
    assert results["datapath"] == "system"
    assert results["tunnel"] == "1"


@pytest.mark.parametrize(("signal", "status"), [("TERM", "0"), ("KILL", "1")])
def test_no_packet_is_lost_while_the_switch_restarts(results: dict[str, str], signal: str, status: str) -> None:
    assert results[f"end-{signal}"] == status
    assert results[f"received-{signal}"] == "160"


@pytest.mark.parametrize("size", [100, 4000])
def test_a_service_answers_udp_datagrams_of_any_size(results: dict[str, str], size: int) -> None:
    """Within Open vSwitch, unlike in user space, where the node puts a datagram together that comes in fragments."""
    assert results[f"udp-{size}"] == "5"
