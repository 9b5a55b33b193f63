"""A node and the Subnets: routes, table, MTU, and which Pods have to wait. Everything real but the controller."""

import json
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sandbox.command import run
from tests.daemon.node import CRD, Node, node, until

__all__ = ["node"]

VIA = "via 100.64.0.1 dev ovn0 proto 79 src 172.30.0.11"


class Guest:
    """A Pod of a subnet, and its sandbox."""

    def __init__(self, node: Node, address: str, subnet: str) -> None:
        self.node, self.name = node, f"guest-{uuid.uuid4().hex[:8]}"
        self.uid = node.create_pod(self.name, address, subnet)
        self.container, self.netns = uuid.uuid4().hex, node.make_netns()

    def ask(self, command: str) -> tuple[int, Any]:
        return self.node.cni(command, self.container, self.netns, self.name, self.uid)

    def add(self) -> None:
        code, answer = self.ask("ADD")
        assert code == 0, answer

    def mtu(self) -> int:
        (link,) = json.loads(run(["ip", "-n", self.netns.rpartition("/")[2], "-json", "link", "show", "dev", "eth0"]))
        return int(link["mtu"])

    def leave(self) -> None:
        assert self.ask("DEL") == (0, None)
        self.node.delete_pod(self.name)


@pytest.fixture(autouse=True)
def undisturbed(node: Node) -> Iterator[None]:
    until("the node is ready", lambda: node.conflist.exists() and f"10.16.0.0/16 {VIA}" in node.ip("route"))
    yield
    assert f"10.16.0.0/16 {VIA}" in node.ip("route")
    assert node.interfaces() == {"ovn0", "ovngw0"}


def table(node: Node) -> str:
    return run(["nsenter", f"--net=/run/netns/{node.netns}", "nft", "-a", "list", "table", "inet", "kube-ovn"])


def members(node: Node, name: str) -> dict[str, str]:
    """The elements of a set of our table, and whose they are; none when there is no such set."""
    content = re.search(rf"set {name} {{(.*?)\n\t}}", table(node), re.DOTALL)
    return dict(re.findall(r'([0-9a-f.:]+/[0-9]+) comment "([^"]*)"', content[1] if content else ""))


def test_subnet_comes_changes_and_goes(node: Node) -> None:
    assert members(node, "pods4") == {"10.16.0.0/16": "ovn-default"}
    node.create_subnet("team-a", "10.17.0.0/16", natOutgoing=True)
    until("it is there", lambda: members(node, "pods4") == {"10.16.0.0/16": "ovn-default", "10.17.0.0/16": "team-a"})
    until("its route is there", lambda: f"10.17.0.0/16 {VIA}" in node.ip("route"))  # written after the table
    node.api("PATCH", "/apis/kubeovn.io/v1/subnets/team-a", {"spec": {"natOutgoing": False}})
    until("its Pods keep their address", lambda: members(node, "pods4") == {"10.16.0.0/16": "ovn-default"})
    fabric = {"10.16.0.0/16": "ovn-default", "10.17.0.0/16": "team-a", "100.64.0.0/16": "join"}
    assert members(node, "fabric4") == fabric
    node.set_status("team-a", cidrBlock="10.17.0.0/16,fd00:17::/64")
    until("its second family is there", lambda: members(node, "fabric6") == {"fd00:17::/64": "team-a"})
    node.delete_subnet("team-a")
    until("it is gone", lambda: "10.17.0.0/16" not in node.ip("route"))
    assert "team-a" not in table(node)


CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"


def create_service_cidr(node: Node, name: str, *cidrs: str) -> None:
    body = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name}}
    node.api("POST", CIDRS, {**body, "spec": {"cidrs": cidrs}})


def services(node: Node) -> str:
    return run(["nsenter", f"--net=/run/netns/{node.netns}", "nft", "list", "table", "inet", "kube-ovn-services"])


def test_a_service_cidr_is_routed_to_the_fabric_until_it_goes(node: Node) -> None:
    assert f"10.96.0.0/12 {VIA}" in node.ip("route")
    create_service_cidr(node, "extra", "10.120.0.0/16")
    until("it is routed", lambda: f"10.120.0.0/16 {VIA}" in node.ip("route"))
    until("the table for Services has it", lambda: "10.96.0.0/12, 10.120.0.0/16" in services(node))
    assert 'oifname "ovn0" ip daddr { 10.96.0.0/12, 10.120.0.0/16 } accept' in table(node)
    node.stop_daemon(kill=True)
    node.start_daemon()
    until("the node is ready", lambda: node.health("/readyz")[0] == 200)
    assert f"10.120.0.0/16 {VIA}" in node.ip("route")
    node.api("DELETE", f"{CIDRS}/extra")
    until("it is forgotten", lambda: "10.120.0.0/16" not in node.ip("route") + table(node) + services(node))
    assert f"10.96.0.0/12 {VIA}" in node.ip("route")


def test_a_subnet_that_was_there_before_a_service_cidr_keeps_its_route(node: Node) -> None:
    node.create_subnet("before", "10.121.5.0/24")
    until("its route is there", lambda: f"10.121.5.0/24 {VIA}" in node.ip("route"))
    create_service_cidr(node, "late", "10.121.0.0/16", "fd00:121::/112")
    create_service_cidr(node, "seen", "10.122.0.0/16")
    until("the daemon has seen them", lambda: f"10.122.0.0/16 {VIA}" in node.ip("route"))
    assert "10.121.0.0/16" not in node.ip("route") + table(node) + services(node)
    node.delete_subnet("before")
    until("it is routed", lambda: f"10.121.0.0/16 {VIA}" in node.ip("route"))
    for name in ("late", "seen"):
        node.api("DELETE", f"{CIDRS}/{name}")
    until("they are forgotten", lambda: "10.12" not in node.ip("route"))


def test_no_write_for_what_changes_with_every_pod(node: Node) -> None:
    """The kernel numbers a table anew when it is replaced."""
    before, size = table(node), (node.folder / "vswitch.db").stat().st_size
    for used in range(20):
        node.set_status("ovn-default", v4usingIPs=used, v4usingIPrange=f"10.16.0.2-10.16.0.{used + 2}")
    node.create_subnet("refused", "")
    guest = Guest(node, "10.16.0.80", "ovn-default")  # comes after all that on the same API server
    guest.add()
    guest.leave()
    node.delete_subnet("refused")
    assert strip_counters(table(node)) == strip_counters(before)
    assert (node.folder / "vswitch.db").stat().st_size - size < 4096  # the guest's port alone


def strip_counters(text: str) -> str:
    return re.sub(r"packets [0-9]+ bytes [0-9]+", "", text)


def test_add_waits_for_the_nodes_part_of_the_subnet(node: Node) -> None:
    guest = Guest(node, "10.18.0.5", "late")
    with ThreadPoolExecutor(1) as thread:
        request = thread.submit(guest.add)
        with pytest.raises(TimeoutError):
            request.result(1)
        node.create_subnet("late", "10.18.0.0/16", natOutgoing=True)
        request.result(20)
    assert f"10.18.0.0/16 {VIA}" in node.ip("route")
    assert members(node, "pods4")["10.18.0.0/16"] == "late"
    guest.leave()
    node.delete_subnet("late")


@pytest.mark.parametrize(
    ("address", "wanted", "mtu"), [("10.19.0.5", 0, 1400), ("10.19.0.6", 1300, 1300), ("10.19.0.7", 9000, 1400)]
)
def test_mtu_of_the_subnet(node: Node, address: str, wanted: int, mtu: int) -> None:
    node.create_subnet("sized", "10.19.0.0/16", mtu=wanted)
    guest = Guest(node, address, "sized")
    guest.add()
    assert guest.mtu() == mtu
    guest.leave()
    node.delete_subnet("sized")


def test_tunnels_over_ipv6_leave_less(node: Node) -> None:
    vsctl = [f"--db={node.ovn.endpoint('vswitch')}", "--no-wait", "set", "Open_vSwitch", "."]
    node.ovn.run("ovs-vsctl", *vsctl, 'external_ids:ovn-encap-ip="fd00:172:31::11"')
    until("ovn0 has it", lambda: "mtu 1380" in node.ip("link", "show", "dev", "ovn0"))
    guest = Guest(node, "10.16.0.81", "ovn-default")
    guest.add()
    assert guest.mtu() == 1380
    guest.leave()
    node.ovn.run("ovs-vsctl", *vsctl, 'external_ids:ovn-encap-ip="172.30.0.11"')
    until("ovn0 has it", lambda: "mtu 1400" in node.ip("link", "show", "dev", "ovn0"))


def test_subnets_that_all_vanish_take_nothing_from_running_pods(node: Node) -> None:
    """Somebody deletes the definition, and with it every Subnet; the daemon restarts; at last they are back."""
    before = strip_counters(table(node))
    node.api("DELETE", f"{CRD}/subnets.kubeovn.io")
    log = node.folder / "daemon.log"
    until("the daemon knows", lambda: "no Subnet is in effect" in log.read_text())
    assert strip_counters(table(node)) == before
    assert node.stop_daemon() == 0
    end = len(log.read_text())
    node.start_daemon()
    until("the daemon knows", lambda: '"kind": "Subnet"' in log.read_text()[end:])
    assert f"10.16.0.0/16 {VIA}" in node.ip("route")
    assert strip_counters(table(node)) == before
    guest = Guest(node, "10.16.0.82", "ovn-default")
    with ThreadPoolExecutor(1) as thread:
        request = thread.submit(guest.add)
        node.define("Subnet")
        node.create_subnet("ovn-default", "10.16.0.0/16", natOutgoing=True)
        request.result(30)
    guest.leave()
