"""The daemon's requests, from the plugin's standard input to packets: everything real but kubelet and controller."""

import itertools
import json
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.daemon.node import NAME, Node, node, ping, until

__all__ = ["node"]

_numbers = itertools.count(2)


class Sandbox:
    """What the container runtime keeps of one Pod."""

    def __init__(self, node: Node, name: str, uid: str) -> None:
        self.node, self.name, self.uid = node, name, uid
        self.container, self.netns = uuid.uuid4().hex, node.make_netns()

    @property
    def link(self) -> str:
        return f"{self.container[:12]}_h"

    def ask(self, command: str, **conf: object) -> tuple[int, Any]:
        return self.node.cni(command, self.container, self.netns, self.name, self.uid, **conf)

    def add(self) -> Any:
        code, answer = self.ask("ADD")
        assert code == 0, answer
        return answer


class Runtime:
    """Makes sandboxes, and leaves nothing of them behind."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._made: list[Sandbox] = []

    def pod(self, name: str = "", *, granted: bool = True) -> tuple[str, str, str]:
        """Name, UID and address of a new Pod."""
        number = next(_numbers)
        name, address = name or f"web-{number}", f"10.16.0.{number}"
        return name, self.node.create_pod(name, address if granted else ""), address

    def sandbox(self, name: str, uid: str) -> Sandbox:
        made = Sandbox(self.node, name, uid)
        self._made.append(made)
        return made

    def connected(self) -> tuple[Sandbox, str]:
        """A sandbox that is on the network, and its address."""
        name, uid, address = self.pod()
        sandbox = self.sandbox(name, uid)
        assert sandbox.add()["ips"][0]["address"] == f"{address}/16"
        return sandbox, address

    def clear(self) -> None:
        for sandbox in self._made:
            assert sandbox.ask("DEL") == (0, None)


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    yield made
    made.clear()
    assert node.interfaces() == {"ovn0", "ovngw0"}
    assert [link for link in node.links() if link.endswith("_h")] == []


def test_node_gets_ready(node: Node) -> None:
    until("the configuration is written", node.conflist.exists)
    assert node.conflist.stat().st_mode & 0o777 == 0o600
    conflist = json.loads(node.conflist.read_text())
    assert [plugin["type"] for plugin in conflist["plugins"]] == ["kube-ovn", "portmap"]
    assert "10.16.0.0/16 via 100.64.0.1 dev ovn0 proto 79 src 172.30.0.11" in node.ip("route")

    def announced() -> bool:
        found = node.api("GET", f"/api/v1/nodes/{NAME}")
        conditions = {c["type"]: c["status"] for c in found["status"].get("conditions") or []}
        return conditions.get("NetworkUnavailable") == "False" and "ovn.kubernetes.io/chassis" in str(found)

    until("the Node says so", announced)
    assert node.cni("STATUS", "")[0] == 0


def test_who_removes_the_configuration_gets_it_back(node: Node) -> None:
    until("the configuration is written", node.conflist.exists)
    node.conflist.unlink()
    until("it is back", node.conflist.exists)


def test_a_name_on_the_switch_that_is_somebody_elses(node: Node, runtime: Runtime) -> None:
    """A foreign interface with the name of a Pod's link: that Pod fails with a sentence, the others do not wait."""
    (bad_name, bad_uid, _), (name, uid, _) = runtime.pod(), runtime.pod()
    bad, good = runtime.sandbox(bad_name, bad_uid), runtime.sandbox(name, uid)
    database = ["--no-wait", f"--db={node.ovn.endpoint('vswitch')}"]
    node.ovn.run("ovs-vsctl", *database, "add-port", "br-int", bad.link)
    with ThreadPoolExecutor(2) as threads:
        refused, connected = threads.submit(bad.ask, "ADD"), threads.submit(good.add)
        code, answer = refused.result(30)
        connected.result(30)
    assert (code, answer["code"]) == (1, 101)
    assert f"Pod default/{bad_name}: Open vSwitch:" in answer["msg"]
    assert bad.link in answer["msg"]
    node.ovn.run("ovs-vsctl", *database, "del-port", bad.link)
    bad.add()


def test_pods_reach_one_another_and_the_node(node: Node, runtime: Runtime) -> None:
    (one, _), (two, two_address) = runtime.connected(), runtime.connected()
    assert ping(one.netns, two_address)
    assert ping(f"/run/netns/{node.netns}", two_address, "ovn0")
    assert ping(two.netns, "100.64.0.2")


def test_check_compares_with_what_add_answered(node: Node, runtime: Runtime) -> None:
    name, uid, _ = runtime.pod()
    sandbox = runtime.sandbox(name, uid)
    result = sandbox.add()
    assert sandbox.ask("CHECK", prevResult=result) == (0, None)
    subprocess.run(["ip", "-n", sandbox.netns.rpartition("/")[2], "address", "flush", "dev", "eth0"], check=True)
    code, answer = sandbox.ask("CHECK", prevResult=result)
    assert (code, answer["code"]) == (1, 102)
    assert f"Pod default/{name}: address" in answer["msg"]


def test_add_waits_for_the_pod_and_its_address(node: Node, runtime: Runtime) -> None:
    name, uid, _ = runtime.pod(granted=False)
    sandbox = runtime.sandbox(name, uid)
    with ThreadPoolExecutor(1) as thread:
        request = thread.submit(sandbox.add)
        node.grant(name, "10.16.7.7")
        assert request.result(20)["ips"][0]["address"] == "10.16.7.7/16"


def test_namesake_never_gets_the_others_address(node: Node, runtime: Runtime) -> None:
    """A Pod deleted and made again under its name: the new sandbox waits for the new Pod's own address."""
    name, old, _ = runtime.pod()
    first = runtime.sandbox(name, old)
    first.add()
    node.delete_pod(name)
    _, new, _ = runtime.pod(name, granted=False)
    second = runtime.sandbox(name, new)
    with ThreadPoolExecutor(1) as thread:
        request = thread.submit(second.add)
        node.grant(name, "10.16.7.8")
        assert request.result(20)["ips"][0]["address"] == "10.16.7.8/16"
    assert node.interfaces() == {"ovn0", "ovngw0", second.link}  # the old sandbox cannot claim the new Pod's port
    assert first.ask("DEL") == (0, None)
    assert node.interfaces() == {"ovn0", "ovngw0", second.link}


def test_many_pods_at_once(node: Node, runtime: Runtime) -> None:
    pods = [runtime.pod() for _ in range(15)]
    sandboxes = [runtime.sandbox(name, uid) for name, uid, _ in pods]
    with ThreadPoolExecutor(15) as threads:
        results = list(threads.map(Sandbox.add, sandboxes))
    assert [r["ips"][0]["address"] for r in results] == [f"{address}/16" for _, _, address in pods]
    assert ping(sandboxes[0].netns, pods[-1][2])


def test_delete_whatever_is_left(node: Node, runtime: Runtime) -> None:
    sandbox, _ = runtime.connected()
    node.delete_pod(sandbox.name)
    node.remove_netns(sandbox.netns)
    assert sandbox.ask("DEL") == (0, None)
    assert sandbox.link not in node.interfaces()
    assert node.cni("DEL", "never-heard-of", "/run/netns/none", "none") == (0, None)
    assert node.cni("DEL", "a") == (0, None)


def test_what_nobody_deleted_goes_with_its_pod(node: Node, runtime: Runtime) -> None:
    sandbox, _ = runtime.connected()
    node.remove_netns(sandbox.netns)
    node.delete_pod(sandbox.name)
    until("the port is gone", lambda: sandbox.link not in node.interfaces())


def test_gc_keeps_what_the_runtime_knows(node: Node, runtime: Runtime) -> None:
    (kept, _), (lost, _) = runtime.connected(), runtime.connected()
    attachments = [{"containerID": kept.container, "ifname": "eth0"}]
    conf: dict[str, Any] = {"cniVersion": "1.1.0", "cni.dev/valid-attachments": attachments}
    assert node.cni("GC", "", **conf) == (0, None)
    assert node.interfaces() == {"ovn0", "ovngw0", kept.link}
    assert lost.link not in node.links()
    code, answer = node.cni("GC", "", cniVersion="1.1.0")  # no list is not an empty list
    assert (code, answer["code"]) == (1, 7)
    assert kept.link in node.interfaces()


@pytest.mark.parametrize(
    ("netns", "code"), [("/run/netns/unknown", 100), ("/etc/passwd", 100), ("/proc/self/ns/net", 100), ("relative", 4)]
)
def test_wrong_network_namespace(node: Node, runtime: Runtime, netns: str, code: int) -> None:
    name, uid, _ = runtime.pod()
    exit_code, answer = node.cni("ADD", uuid.uuid4().hex, netns, name, uid)
    assert (exit_code, answer["code"]) == (1, code)
    assert netns in answer["msg"]
    assert "Traceback" not in str(answer)


def test_a_host_port_that_the_node_listens_at_is_refused(node: Node, runtime: Runtime) -> None:
    """As the runtime tells the ports (CNI conventions, "portMappings"). The daemon itself listens for health checks."""
    name, uid, address = runtime.pod()
    sandbox = runtime.sandbox(name, uid)

    def ask(port: int) -> tuple[int, Any]:
        mapping = {"hostPort": port, "containerPort": 80, "protocol": "tcp", "hostIP": ""}
        return sandbox.ask("ADD", runtimeConfig={"portMappings": [mapping]})

    for port in (10665, 6641):
        code, answer = ask(port)
        assert (code, answer["code"]) == (1, 7)
        assert answer["msg"] == f"Pod default/{name}: hostPort {port}/TCP is the node's own; choose another"
    code, result = ask(8088)
    assert code == 0
    assert result["ips"][0]["address"] == f"{address}/16"


def test_one_character_container(node: Node, runtime: Runtime) -> None:
    name, uid, address = runtime.pod()
    netns = node.make_netns()
    code, result = node.cni("ADD", "x", netns, name, uid)
    assert code == 0
    assert result["ips"][0]["address"] == f"{address}/16"
    assert node.cni("DEL", "x", netns, name, uid) == (0, None)


def test_malformed_annotation_names_the_pod(node: Node, runtime: Runtime) -> None:
    name, uid, _ = runtime.pod()
    wrong = {"metadata": {"annotations": {"ovn.kubernetes.io/mac_address": "no mac"}}}
    node.api("PATCH", f"/api/v1/namespaces/default/pods/{name}", wrong)
    sandbox = runtime.sandbox(name, uid)

    def refused() -> Any:
        code, answer = sandbox.ask("ADD")
        return answer if code else None

    answer = until("the daemon has seen the annotation", refused)
    assert f"Pod default/{name}: 'no mac' is not a MAC address" in answer["msg"]
    selector = f"fieldSelector=involvedObject.name={name},reason=PodNetworkConfigureFailed"
    until("the Pod's user is told", lambda: node.api("GET", f"/api/v1/namespaces/default/events?{selector}")["items"])


def test_plugin_killed_while_it_waits(node: Node, runtime: Runtime) -> None:
    """The runtime gave up: nothing is made for it any more."""
    name, uid, _ = runtime.pod(granted=False)
    sandbox = runtime.sandbox(name, uid)
    args = f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID={uid}"
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": sandbox.container, "CNI_IFNAME": "eth0", "CNI_ARGS": args}
    stdin = json.dumps({"cniVersion": "1.0.0", "server_socket": str(node.socket)}).encode()
    process = subprocess.Popen([node.plugin], stdin=subprocess.PIPE, env={**env, "CNI_NETNS": sandbox.netns})
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.kill()
    process.wait()
    node.grant(name, "10.16.7.9")
    other, _ = runtime.connected()  # by now the grant has been seen
    assert node.interfaces() == {"ovn0", "ovngw0", other.link}
