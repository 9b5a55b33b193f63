"""The node's daemon while parts of the world are gone: it heals by itself, and what runs goes on running."""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sandbox.command import run
from tests.daemon.node import Node, node, ping, until

__all__ = ["node"]

ADDRESS = "10.16.0.50"


class Pod:
    """One Pod that is there all the time."""

    def __init__(self, node: Node, name: str, address: str) -> None:
        self.node, self.name, self.address = node, name, address
        self.uid = node.create_pod(name, address)
        self.container, self.netns = uuid.uuid4().hex, node.make_netns()
        self.link = f"{self.container[:12]}_h"

    def ask(self, command: str) -> tuple[int, Any]:
        return self.node.cni(command, self.container, self.netns, self.name, self.uid)

    def answers(self) -> bool:
        return ping(f"/run/netns/{self.node.netns}", self.address, "ovn0")


@pytest.fixture(scope="module")
def resident(node: Node) -> Pod:
    until("the node is ready", node.conflist.exists)
    made = Pod(node, "resident", ADDRESS)
    code, answer = made.ask("ADD")
    assert code == 0, answer
    return made


@pytest.fixture(autouse=True)
def undisturbed(node: Node, resident: Pod) -> Iterator[None]:
    yield
    until("the resident Pod answers", resident.answers)
    assert node.interfaces() == {"ovn0", "ovngw0", resident.link}


def visit(node: Node, name: str, address: str) -> None:
    """One more Pod comes and goes."""
    pod = Pod(node, name, address)
    code, answer = pod.ask("ADD")
    assert code == 0, answer
    assert pod.answers()
    assert pod.ask("DEL") == (0, None)
    node.delete_pod(name)


def transactions(node: Node) -> str:
    """The switch's configuration number and the time of its last change, as the database's own log shows it."""
    return str((node.folder / "vswitch.db").stat().st_size)


def test_restart_writes_nothing(node: Node, resident: Pod) -> None:
    before = transactions(node), node.conflist.stat().st_mtime_ns
    assert node.stop_daemon() == 0
    assert resident.answers()
    node.start_daemon()
    until("the network is proven again", lambda: node.cni("STATUS", "")[0] == 0)
    assert (transactions(node), node.conflist.stat().st_mtime_ns) == before


def test_sandbox_that_ended_while_the_daemon_was_killed(node: Node, resident: Pod) -> None:
    guest = Pod(node, "guest", "10.16.0.51")
    assert guest.ask("ADD")[0] == 0
    node.stop_daemon(kill=True)
    assert guest.ask("DEL") == (0, None)  # nobody there to do it: done at the next start
    code, answer = guest.ask("ADD")
    assert (code, answer["code"]) == (1, 11)
    node.remove_netns(guest.netns)
    node.delete_pod("guest")
    node.start_daemon()
    until("the port is gone", lambda: guest.link not in node.interfaces())


def test_a_pod_cannot_have_the_port_of_a_node(node: Node, resident: Pod) -> None:
    """Whatever its annotations say: the port of the node would go, or two would answer for one address."""
    other = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one.default"}}
    node.api("POST", "/api/v1/nodes", other)
    thief = Pod(node, "node-one", "10.16.0.60")
    code, answer = thief.ask("ADD")
    assert code == 1
    assert "node-one.default is the name of a node's port; rename the Pod" in answer["msg"]
    assert thief.link not in node.interfaces()
    node.api("DELETE", "/api/v1/nodes/one.default")
    node.remove_netns(thief.netns)
    node.delete_pod("node-one")


def test_a_pod_cannot_tell_its_own_address(node: Node, resident: Pod) -> None:
    """Who makes a Pod writes its annotations; what its IP object records counts."""
    with ThreadPoolExecutor(1) as thread:
        container, netns, uid = uuid.uuid4().hex, node.make_netns(), node.create_pod("liar")
        node.connect("liar", "10.16.0.61")
        node.annotate("liar", resident.address)
        visit(node, "witness", "10.16.0.62")  # now the daemon has seen the annotations too
        request = thread.submit(node.cni, "ADD", container, netns, "liar", uid)
        node.record("liar", "10.16.0.61")
        visit(node, "witness", "10.16.0.62")
        assert not request.done()
        node.annotate("liar", "10.16.0.61")
        code, result = request.result(60)
    assert (code, result["ips"][0]["address"]) == (0, "10.16.0.61/16")
    assert node.cni("DEL", container, netns, "liar", uid) == (0, None)


def test_api_server_gone(node: Node, resident: Pod) -> None:
    known = Pod(node, "known", "10.16.0.52")
    visit(node, "before", "10.16.0.53")  # now the daemon has seen the Pod above too
    node.kube.kill()
    assert known.ask("ADD")[0] == 0  # all it takes is known
    assert known.answers()
    assert known.ask("DEL") == (0, None)
    assert node.health("/livez") == (200, "ok\n"), "a new process would see no more"
    node.inside(node.kube.start)
    visit(node, "after", "10.16.0.54")


def test_health_is_served_at_the_nodes_address_alone(node: Node, resident: Pod) -> None:
    assert node.health("/readyz") == (200, "ok\n")
    assert "cni_op_latency_seconds" in node.health("/metrics")[1]
    with pytest.raises(OSError, match="refused"):
        node.health("/livez", "127.0.0.1")


def test_request_while_the_api_server_is_gone_is_finished_when_it_is_back(node: Node, resident: Pod) -> None:
    node.kube.kill()
    with ThreadPoolExecutor(1) as thread:
        container, netns = uuid.uuid4().hex, node.make_netns()
        request = thread.submit(node.cni, "ADD", container, netns, "late")
        node.inside(node.kube.start)
        node.create_pod("late", "10.16.0.55")
        assert request.result(60)[0] == 0
    assert node.cni("DEL", container, netns, "late") == (0, None)


def test_switch_restarted(node: Node, resident: Pod) -> None:
    node.stop_switch()
    until("the daemon notices", lambda: node.cni("STATUS", "")[0] == 1)
    assert (node.health("/readyz")[0], node.health("/livez")[0]) == (503, 200)
    node.start_switch()
    until("the daemon notices", lambda: node.cni("STATUS", "")[0] == 0)
    assert node.conflist.exists()
    visit(node, "after-switch", "10.16.0.56")


def test_database_of_the_switch_restarted(node: Node, resident: Pod) -> None:
    node.ovn.kill("vswitch")
    guest = Pod(node, "patient", "10.16.0.57")
    with ThreadPoolExecutor(1) as thread:
        request = thread.submit(guest.ask, "ADD")
        time.sleep(1)  # the request is at the database's door, whichever part it has reached
        node.ovn.start_database("vswitch")
        code, answer = request.result(60)
    assert code == 0, answer
    assert guest.ask("DEL") == (0, None)


def test_database_of_the_switch_lost(node: Node, resident: Pod) -> None:
    """Ports are made anew from the Pods' links, which say whose they are."""
    node.stop_switch()
    node.ovn.kill("vswitch")
    node.ovn.create_database("vswitch")
    node.ovn.start_database("vswitch")
    node.start_switch()
    until("the ports are back", lambda: node.interfaces() == {"ovn0", "ovngw0", resident.link})


def test_somebody_removes_what_is_ours(node: Node, resident: Pod) -> None:
    node.ip("route", "delete", "10.16.0.0/16")
    until("the route is back", lambda: "10.16.0.0/16" in node.ip("route"))
    node.ip("address", "delete", "100.64.0.2/16", "dev", "ovn0")
    until("address and route are back", lambda: "10.16.0.0/16" in node.ip("route"))
    node.ip("link", "set", "ovn0", "down")
    until("ovn0 is up again", lambda: "10.16.0.0/16" in node.ip("route"))
    nft = ["nsenter", f"--net=/run/netns/{node.netns}", "nft"]
    run([*nft, "flush", "ruleset"])
    until("the table is back", lambda: "masquerade" in run([*nft, "list", "ruleset"]))
    node.ovn.run("ovs-vsctl", f"--db={node.ovn.endpoint('vswitch')}", "--no-wait", "del-port", "br-int", "ovn0")
    until("ovn0 is back", lambda: "10.16.0.0/16" in node.ip("route"))
    node.ovn.run("ovs-vsctl", f"--db={node.ovn.endpoint('vswitch')}", "--no-wait", "del-port", resident.link)
    until("the Pod's port is back", lambda: resident.link in node.interfaces())


FORWARDING = "/proc/sys/net/ipv4/conf/eth0/forwarding"


def forwards(node: Node) -> bool:
    return node.inside(Path(FORWARDING).read_text).strip() == "1"


def stop_forwarding(node: Node) -> None:
    """As an administrator may, for all links."""
    for value in "10":
        run(["ip", "netns", "exec", node.netns, "sysctl", "-qw", f"net.ipv4.ip_forward={value}"])


def test_a_setting_of_the_kernel_is_repaired_at_once(node: Node, resident: Pod) -> None:
    until("the settings are there", lambda: forwards(node))
    stop_forwarding(node)
    until("the settings are back", lambda: forwards(node), 2)
    assert node.health("/readyz") == (200, "ok\n")


def test_a_setting_that_is_refused_is_told_and_stops_nothing_else(node: Node, resident: Pod) -> None:
    inside = ["nsenter", f"--mount=/proc/{node.daemon_pid}/ns/mnt"]
    run([*inside, "mount", "--bind", "/proc/sys/net", "/proc/sys/net"])
    run([*inside, "mount", "-o", "remount,bind,ro", "/proc/sys/net"])
    stop_forwarding(node)
    until("the node is not ready", lambda: node.health("/readyz")[0] == 503)
    told = "net.ipv4.conf.ovn0.forwarding is 0 and cannot be set to 1 (Read-only file system)"
    assert told in node.health("/readyz")[1]
    assert told in node.cni("STATUS", "")[1]["msg"]
    node.ip("route", "delete", "10.16.0.0/16")
    until("the route is back", lambda: "10.16.0.0/16" in node.ip("route"))
    run([*inside, "umount", "/proc/sys/net"])
    until("the node is ready", lambda: node.health("/readyz")[0] == 200)
    assert forwards(node)


def test_idle_daemon_writes_and_costs_nothing(node: Node, resident: Pod) -> None:
    def ticks() -> int:
        with open(f"/proc/{node.daemon_pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = transactions(node), ticks()
    time.sleep(10)  # the measurement
    assert transactions(node) == before[0]
    assert ticks() - before[1] <= 0.005 * 10 * os.sysconf("SC_CLK_TCK")
    with open(f"/proc/{node.daemon_pid}/status") as file:
        resident_set = next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
    assert resident_set < 60_000


def test_stop_while_a_request_waits(node: Node, resident: Pod) -> None:
    with ThreadPoolExecutor(1) as thread:
        request = thread.submit(node.cni, "ADD", uuid.uuid4().hex, node.make_netns(), "nobody")
        time.sleep(0.5)  # let it arrive
        os.kill(node.daemon_pid, signal.SIGTERM)
        code, answer = request.result(20)
        assert (code, answer["code"]) == (1, 11)
    node.stop_daemon()
    node.start_daemon()
    until("the network is proven again", lambda: node.cni("STATUS", "")[0] == 0)
