"""The image's start scripts with the image's own OVN and Open vSwitch, as containers of two nodes joined by a bridge.

A container is a chroot into the image's base with its own writable layer, in the network namespace of its node.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from images.build import PACKAGES, PROGRAM_DIR
from sandbox.command import attempt, run
from sandbox.paths import PROJECT
from sandbox.rootfs import build_rootfs
from sandbox.toolchain import ensure_packages

DEADLINE = 20.0
CENTRAL = "172.29.1.11"
# Mounts what a container has, and becomes its main process.
ENTER = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
mount -t proc proc proc && mount -t sysfs sysfs sys && mount --rbind /dev dev && mount -t tmpfs tmpfs run
mkdir -p ".$4" && mount --bind "$3" ".$4"
shift 4
exec chroot . "$@"
"""


def until(what: str, probe: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not probe():
        assert time.monotonic() < end, f"gave up waiting for {what}"
        time.sleep(0.05)


class Container:
    """One container of a node; start it as often as you like, its writable layer stays."""

    def __init__(self, folder: Path, netns: str, script: str, env: dict[str, str]) -> None:
        self.folder, self._netns, self._script, self._env = folder, netns, script, env
        self._main: subprocess.Popen[bytes] | None = None
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def running(self) -> Iterator["Container"]:
        settings = [f"{key}={value}" for key, value in self._env.items()]
        argv: list[str | Path] = [
            "nsenter",
            f"--net=/run/netns/{self._netns}",
            "unshare",
            "--mount",
            "--propagation",
            "private",
        ]
        argv += ["sh", "-ec", ENTER, "sh", build_rootfs(PACKAGES), self.folder, PROJECT / "images" / "scripts"]
        argv += [PROGRAM_DIR, "env", *settings, f"{PROGRAM_DIR}/{self._script}"]
        with (self.folder / "log").open("ab") as log:
            self._main = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        try:
            yield self
        finally:
            if self._main.poll() is None:
                self.stop()

    def stop(self) -> int:
        assert self._main
        self._main.terminate()
        return self.ended()

    def ended(self) -> int:
        assert self._main
        try:
            return self._main.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(self._main.pid, signal.SIGKILL)
            raise

    def attempt(self, *argv: str) -> tuple[int, str]:
        assert self._main
        assert self._main.poll() is None, (self.folder / "log").read_text()
        code, out, err = attempt(
            ["nsenter", "-t", str(self._main.pid), "-m", "-n", "-r", "-w", *argv], timeout=DEADLINE
        )
        return code, out + err

    def run(self, *argv: str) -> str:
        code, out = self.attempt(*argv)
        assert code == 0, out
        return out.strip()

    def healthy(self, *probe: str) -> bool:
        return self.attempt(f"{PROGRAM_DIR}/{probe[0]}", *probe[1:])[0] == 0

    def kill(self, pidfile: str) -> None:
        os.kill(int(self.run("cat", pidfile)), signal.SIGKILL)


@pytest.fixture
def nodes() -> Iterator[list[str]]:
    """Two network namespaces with eth0 (management) and eth1 (tunnels) each."""
    ensure_packages()
    names = [f"kot-{os.getpid()}-{number}" for number in (1, 2)]
    bridge = f"kot{os.getpid()}"
    with ExitStack() as cleanup:
        run(["ip", "link", "add", bridge, "type", "bridge"])
        cleanup.callback(run, ["ip", "link", "delete", bridge])
        run(["ip", "link", "set", bridge, "up"])
        for number, name in enumerate(names, start=1):
            run(["ip", "netns", "add", name])
            cleanup.callback(run, ["ip", "netns", "delete", name])
            run(["ip", "-n", name, "link", "set", "dev", "lo", "up"])
            for nic, address in (("eth0", f"172.29.1.1{number}/24"), ("eth1", f"172.29.2.1{number}/24")):
                peer = f"{bridge}-{number}{nic[-1]}"
                run(["ip", "link", "add", peer, "type", "veth", "peer", "name", nic, "netns", name])
                # The kernel takes its time with a deleted namespace; the next test wants the names.
                cleanup.callback(run, ["ip", "link", "delete", peer])
                run(["ip", "link", "set", peer, "master", bridge, "up"])
                run(["ip", "-n", name, "link", "set", "dev", nic, "up"])
                run(["ip", "-n", name, "address", "add", address, "dev", nic])
        run(["ip", "-n", names[0], "route", "add", "172.29.99.0/24", "via", "172.29.2.1", "dev", "eth1"])
        yield names


@pytest.fixture
def folder() -> Iterator[Path]:
    """Writable layers need a real disk: an overlay cannot lie on another overlay, as /tmp may."""
    path = Path("/var/lib") / f"kube-ovn-test-{os.getpid()}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def central(nodes: list[str], folder: Path) -> Container:
    return Container(folder / "central", nodes[0], "start-central.sh", {"LISTEN_ADDRESS": CENTRAL})


def switch(folder: Path, nodes: list[str], number: int) -> Container:
    env = {"NODE_NAME": f"node{number}", "NODE_IP": f"172.29.1.1{number}", "OVN_REMOTE": f"tcp:{CENTRAL}:6642"}
    env |= {"DATAPATH": "netdev", "TUNNEL_INTERFACE": "eth1", "TUNNEL_TYPE": "geneve", "MONITOR_ALL": "true"}
    return Container(folder / f"ovs{number}", nodes[number - 1], "start-ovs.sh", env)


def test_central_keeps_its_rows_over_a_restart_and_stops_at_once(central: Container) -> None:
    with central.running():
        until("central", lambda: central.healthy("central-healthcheck.sh"))
        central.run("ovn-nbctl", f"--db=tcp:{CENTRAL}:6641", "ls-add", "one")
        begun = time.monotonic()
        assert central.stop() == 0
        assert time.monotonic() - begun < 2
    with central.running():
        until("central", lambda: central.healthy("central-healthcheck.sh"))
        assert "(one)" in central.run("ovn-nbctl", "ls-list")


@pytest.mark.parametrize("pidfile", ["ovn-northd.pid", "ovnnb_db.pid", "ovnsb_db.pid"])
def test_central_ends_when_any_daemon_ends(central: Container, pidfile: str) -> None:
    with central.running():
        until("central", lambda: central.healthy("central-healthcheck.sh"))
        central.kill(f"/run/ovn/{pidfile}")
        assert central.ended() == 1


def test_central_begins_anew_when_a_database_cannot_be_read(central: Container) -> None:
    databases = central.folder / "upper/var/lib/ovn"
    databases.mkdir(parents=True)
    (databases / "ovnnb_db.db").write_text("not a database")
    with central.running():
        until("central", lambda: central.healthy("central-healthcheck.sh"))
        assert (databases / "ovnnb_db.db.damaged").read_text() == "not a database"


def test_switches_join_and_restarts_lose_nothing(central: Container, nodes: list[str], folder: Path) -> None:
    one, two = (switch(folder, nodes, number) for number in (1, 2))
    with central.running(), two.running():
        with one.running():
            until("both switches", lambda: all(each.healthy("ovs-healthcheck.sh", "ready") for each in (one, two)))
            chassis = central.run("ovn-sbctl", "--bare", "--columns=name,hostname", "list", "Chassis")
            assert "node1" in chassis
            assert "node2" in chassis
            one.run("ovs-vsctl", "add-port", "br-int", "p1", "--", "set", "Interface", "p1", "type=internal")
            assert "172.29.2.11/24" not in one.run("ip", "address", "show", "dev", "eth1")
            before = one.run("ip", "-4", "address", "show", "dev", "br-phy")
            assert "172.29.2.11/24" in before
            answers = one.run("ping", "-c", "3", "-i", "0.2", "-W", "2", "172.29.2.12")
            assert "3 received" in answers
            assert "DUP" not in answers
            begun = time.monotonic()
            assert one.stop() == 0
            assert time.monotonic() - begun < 2
        # What a stopped switch leaves: its Chassis, so that no other node tears its tunnel down.
        assert "node1" in central.run("ovn-sbctl", "--bare", "--columns=hostname", "list", "Chassis")
        # As if something had taken the address away meanwhile.
        run(["ip", "-n", nodes[0], "address", "flush", "dev", "br-phy"])
        with one.running():
            until("the switch", lambda: one.healthy("ovs-healthcheck.sh", "ready"))
            assert central.run("ovn-sbctl", "--bare", "--columns=name,hostname", "list", "Chassis") == chassis
            assert one.run("ovs-vsctl", "port-to-br", "p1") == "br-int"
            assert "172.29.2.11/24" in one.run("ip", "-4", "address", "show", "dev", "br-phy")
            assert "via 172.29.2.1 dev br-phy" in one.run("ip", "route", "show", "172.29.99.0/24")
            until("the other node", lambda: one.attempt("ping", "-c", "1", "-W", "1", "172.29.2.12")[0] == 0)


def test_a_switch_keeps_its_identity_when_its_database_is_damaged(
    central: Container, nodes: list[str], folder: Path
) -> None:
    one = switch(folder, nodes, 1)
    with central.running():
        with one.running():
            until("the switch", lambda: one.healthy("ovs-healthcheck.sh", "ready"))
            identity = one.run("ovs-vsctl", "get", "Open_vSwitch", ".", "external_ids:system-id")
        (folder / "ovs1/upper/var/lib/openvswitch/conf.db").write_text("not a database")
        with one.running():
            until("the switch", lambda: one.healthy("ovs-healthcheck.sh", "ready"))
            assert one.run("ovs-vsctl", "get", "Open_vSwitch", ".", "external_ids:system-id") == identity


def test_a_switch_lives_without_central_but_is_not_ready(nodes: list[str], folder: Path) -> None:
    one = switch(folder, nodes, 1)
    with one.running():
        until("the switch", lambda: one.healthy("ovs-healthcheck.sh", "alive"))
        assert not one.healthy("ovs-healthcheck.sh", "ready")
        one.kill("/run/openvswitch/ovs-vswitchd.pid")
        assert one.ended() == 1


def test_what_policies_log_has_a_file_of_its_own_that_stays_small(nodes: list[str], folder: Path) -> None:
    one, log = switch(folder, nodes, 1), "/run/openvswitch/acl.log"
    with one.running():
        until("ovn-controller", lambda: one.attempt("ovn-appctl", "-t", "ovn-controller", "version")[0] == 0)
        assert one.run("stat", "-c", "%s", log) == "0"
        levels = one.run("ovn-appctl", "-t", "ovn-controller", "vlog/list").splitlines()
        files = {each.split()[0]: each.split()[1:] for each in levels[2:]}
        assert [name for name, (_, _, file) in files.items() if file != "OFF"] == ["acl_log"]
        assert files["acl_log"] == ["OFF", "OFF", "INFO"]
        one.run("truncate", "-s", "16M", log)
        assert one.healthy("ovs-healthcheck.sh", "alive")
        assert one.run("stat", "-c", "%s", log) == str(16 << 20)
        one.run("truncate", "-s", "17M", log)
        assert one.healthy("ovs-healthcheck.sh", "alive")
        assert one.run("stat", "-c", "%s", log) == "0"
