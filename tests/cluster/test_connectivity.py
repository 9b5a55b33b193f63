"""Who reaches whom on a healthy cluster."""

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from sandbox.control_plane import ADMIN_KUBECONFIG
from sandbox.demo import kubectl
from sandbox.layout import OUTSIDE_FAR_V4
from sandbox.paths import venv_bin
from tests.cluster import kube
from tests.cluster.fixtures import PREFIX
from tests.cluster.kube import Objects
from tests.cluster.lab import HTTP, SERVER, Pod, Scene, manifest, node_exec

pytestmark = pytest.mark.alone  # each single packet counts
KUBELET = 10250
API = "https://172.30.0.11:6443"


@pytest.fixture(scope="module")
def pods(shared_scene: Scene) -> dict[str, Pod]:
    """Two web servers on each node; the first of node2 is watched by the kubelet's probe."""
    probe = {"httpGet": {"path": "/hostname", "port": HTTP}, "periodSeconds": 1}
    started = shared_scene.start(
        *(manifest(f"{name}-{node}", node, command=SERVER, readinessProbe=probe) for name in "ab" for node in NODES)
    )
    return {pod.name: pod for pod in started}


NODES = ("node1", "node2")
PAIRS = [("a-node1", "a-node2"), ("a-node2", "a-node1"), ("a-node1", "b-node1"), ("a-node2", "b-node2")]


def web(pod: Pod, path: str) -> str:
    return f"curl -sS --max-time 5 http://{pod.ip}:{HTTP}/{path}"


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_pods_reach_each_other(shared_scene: Scene, pods: dict[str, Pod], source: str, target: str) -> None:
    assert shared_scene.every_ping_answered(pods[source], pods[target].ip)
    assert shared_scene.shell(source, web(pods[target], "hostname")) == target
    seen = shared_scene.shell(source, web(pods[target], "clientip"))
    assert seen.rpartition(":")[0] == pods[source].ip  # nobody translates between Pods


@pytest.mark.parametrize(("source", "target"), PAIRS[:3])
def test_a_large_transfer_arrives_whole(shared_scene: Scene, pods: dict[str, Pod], source: str, target: str) -> None:
    serve = "test -e /tmp/www/blob || { mkdir -p /tmp/www; head -c 67108864 /dev/urandom >/tmp/www/blob; }"
    httpd = "busybox httpd -p 8081 -h /tmp/www 2>/dev/null || true"
    expected = shared_scene.shell(target, f"{serve}; {httpd}; sha256sum </tmp/www/blob")
    fetch = f"curl -sS --max-time 30 http://{pods[target].ip}:8081/blob | sha256sum"
    assert shared_scene.shell(source, fetch, timeout=40) == expected


def test_pods_of_full_size_packets_reach_each_other(shared_scene: Scene, pods: dict[str, Pod]) -> None:
    mtu = int(shared_scene.shell("a-node1", "cat /sys/class/net/eth0/mtu"))
    ping = f"ping -c 3 -i 0.1 -W 2 -M do -s {mtu - 28} {pods['a-node2'].ip}"
    assert "3 received" in shared_scene.shell("a-node1", ping)


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("target", ["a-node1", "a-node2"])
def test_a_node_reaches_a_pod(pods: dict[str, Pod], node: str, target: str) -> None:
    assert "3 received" in node_exec(node, "ping", "-c", "3", "-i", "0.1", "-W", "2", pods[target].ip)
    assert node_exec(node, *web(pods[target], "hostname").split()) == target


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("source", ["a-node1", "a-node2"])
def test_a_pod_reaches_a_node(
    cluster: dict[str, str], shared_scene: Scene, pods: dict[str, Pod], source: str, node: str
) -> None:
    assert shared_scene.every_ping_answered(pods[source], cluster[node])
    kubelet = f"curl -sk --max-time 5 -o /dev/null -w '%{{http_code}}' https://{cluster[node]}:{KUBELET}/healthz"
    assert shared_scene.shell(source, kubelet) == "401"  # it answers, and wants to know who asks


@pytest.mark.parametrize("source", ["a-node1", "a-node2", "b-node1", "b-node2"])
def test_the_outside_sees_the_address_of_the_pods_node(
    cluster: dict[str, str], shared_scene: Scene, pods: dict[str, Pod], source: str
) -> None:
    seen = shared_scene.shell(source, f"curl -sS --max-time 5 http://{OUTSIDE_FAR_V4.ip}/{source}")
    assert seen.strip() == cluster[pods[source].node]


@pytest.mark.parametrize("source", ["a-node1", "a-node2"])
def test_a_pod_reaches_the_api_server(shared_scene: Scene, pods: dict[str, Pod], source: str) -> None:
    assert pods
    assert shared_scene.shell(source, f"curl -sk --max-time 5 {API}/healthz") == "ok"


@pytest.mark.parametrize("target", ["a-node1", "a-node2"])
class TestTheApiServerReachesAPod:
    def test_through_its_proxy(self, shared_scene: Scene, pods: dict[str, Pod], target: str) -> None:
        assert pods
        path = f"/api/v1/namespaces/{shared_scene.namespace}/pods/{target}:{HTTP}/proxy/hostname"
        assert kubectl("get", "--raw", path) == target

    def test_with_exec_and_logs(self, shared_scene: Scene, pods: dict[str, Pod], target: str) -> None:
        assert pods
        assert shared_scene.kubectl("exec", target, "--", "hostname").strip() == target
        assert "Started HTTP server" in shared_scene.kubectl("logs", target)

    def test_with_port_forward(self, port_forward: str, target: str) -> None:
        with urllib.request.urlopen(f"http://{port_forward}/hostname", timeout=5) as answer:
            assert answer.read().decode() == target


@pytest.fixture
def port_forward(shared_scene: Scene, pods: dict[str, Pod], target: str) -> Iterator[str]:
    """Where a Pod's web server is found on this machine."""
    assert pods
    where = f"--kubeconfig={ADMIN_KUBECONFIG}", f"--namespace={shared_scene.namespace}"
    argv = [str(venv_bin() / "kubectl"), *where, "port-forward", f"pod/{target}", f":{HTTP}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            found = re.search(r"127\.0\.0\.1:\d+", forward.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            forward.terminate()


def test_a_failing_probe_is_noticed_and_a_good_one_again(shared_scene: Scene, pods: dict[str, Pod]) -> None:
    """The kubelet asks the Pod over the node's ovn0; Ready follows what it hears."""
    probe = {"httpGet": {"path": "/ready", "port": 8082}, "periodSeconds": 1, "failureThreshold": 1}
    shared_scene.create(manifest("probed", "node2", readinessProbe=probe))
    shared_scene.when(lambda pods: pods["probed"].phase == "Running", 30, "probed runs")
    assert not shared_scene.pods()["probed"].ready
    serve = "mkdir -p /tmp/www && echo yes >/tmp/www/ready && busybox httpd -p 8082 -h /tmp/www"
    shared_scene.shell("probed", serve)
    shared_scene.ready("probed", within=20)


def test_annotations_say_where_pods_of_a_namespace_go(shared_scene: Scene) -> None:
    """Those of other tests have Subnets of their own."""
    wanted = {
        "ovn.kubernetes.io/logical_switch": "ovn-default",
        "ovn.kubernetes.io/cidr": "10.16.0.0/16",
        "ovn.kubernetes.io/exclude_ips": "10.16.0.1",
    }

    def are_right(namespaces: Objects) -> bool:
        found = {name: item["metadata"].get("annotations", {}) for name, item in namespaces.items()}
        assert {"default", "kube-system", shared_scene.namespace} <= found.keys()
        ours = {name for name in found if not name.startswith(PREFIX) or name == shared_scene.namespace}
        return all(wanted.items() <= found[name].items() for name in ours)

    kube.when(are_right, 10, "the annotations of every Namespace", "namespace")


def test_annotations_say_what_the_pod_has(shared_scene: Scene, pods: dict[str, Pod]) -> None:
    pod = pods["a-node2"]
    link = json.loads(shared_scene.shell(pod, "ip -json address show eth0"))[0]
    assert pod.annotations["ovn.kubernetes.io/allocated"] == "true"
    assert pod.annotations["ovn.kubernetes.io/ip_address"] == pod.ip
    assert pod.annotations["ovn.kubernetes.io/mac_address"] == link["address"]
    assert [each["local"] for each in link["addr_info"] if each["family"] == "inet"] == [pod.ip]
