"""Any part of the fabric may die at any time: what ran goes on, what was asked for is done, nothing is done twice."""

import asyncio
import time
import urllib.request

import pytest

from kube_ovn.model import nb
from sandbox.demo import SYSTEM
from sandbox.layout import CONTROL_PLANE_NODE
from tests.cluster import kube
from tests.cluster.fixtures import no_namespace_left
from tests.cluster.kube import Objects
from tests.cluster.lab import (
    Pinging,
    Pod,
    Scene,
    manifest,
    node_exec,
    read_pod,
    replace_system_pod,
    scaled_down,
    system_pod,
    torn,
    until,
    wait_until_healthy,
)
from tests.cluster.northbound import all_updates, read_ports, read_rows

pytestmark = pytest.mark.alone
NODES = ("node1", "node2")
CONTROLLER = "kube-ovn-controller"
METRICS = f"http://{CONTROL_PLANE_NODE.v4.ip}:10660/metrics"
OUTAGE = 8.0
"""Seconds: a healthy Pod starts in one."""


def kill_process(app: str, node: str, pattern: str) -> None:
    """kill -9, and wait until the kubelet has noticed and begun the container anew."""
    before = _restarts({pod["metadata"]["name"]: pod for pod in kube.get("pod", SYSTEM, labels=f"app={app}")})
    node_exec(node, "pkill", "-9", "-f", pattern)

    def runs_again(seen: Objects) -> bool:
        here = [read_pod(item) for item in seen.values() if item["spec"].get("nodeName") == node]
        return _restarts(seen) > before and len(here) == 1 and here[0].ready

    kube.when(runs_again, 60, f"{app} runs again", "pod", SYSTEM, labels=f"app={app}")


def _restarts(pods: Objects) -> int:
    return sum(each["restartCount"] for pod in pods.values() for each in pod["status"].get("containerStatuses", []))


def pair(scene: Scene) -> tuple[Pod, Pod]:
    """A Pod on each node, talking."""
    one, other = scene.start(*(manifest(f"old-{node}", node) for node in NODES))
    scene.talk_again(one, other)
    return one, other


def newcomers_work(scene: Scene, one: Pod, other: Pod) -> None:
    """New Pods start and talk to the old ones of the other node."""
    first, second = scene.start(*(manifest(f"new-{node}", node) for node in NODES))
    scene.talk_again(first, other)
    scene.talk_again(second, one)


def test_a_hundred_pods_get_addresses_while_the_controller_dies_three_times(scene: Scene) -> None:
    names = [f"pod-{number:03}" for number in range(100)]
    for batch, how in enumerate(("kill", "delete", "kill")):
        scene.create(*(manifest(name) for name in names[batch * 34 : (batch + 1) * 34]))
        if how == "kill":
            kill_process(CONTROLLER, system_pod(CONTROLLER).node, "bin/kube-ovn-controller")
        else:
            replace_system_pod(CONTROLLER, force=True)
    pods = scene.ready(*names, within=150)
    addresses = {pod.ip for pod in pods}
    assert len(addresses) == 100
    ports = read_ports(scene.namespace)
    assert {name: set(row["addresses"]) for name, row in ports.items()} == {
        pod.port: {f"{pod.annotations['ovn.kubernetes.io/mac_address']} {pod.ip}"} for pod in pods
    }
    assert {row["external_ids"]["owner_uid"] for row in ports.values()} == {pod.uid for pod in pods}
    others = [row for row in read_rows(nb.LogicalSwitchPort) if row["name"] not in ports]
    elsewhere = {part for row in others for words in row["addresses"] for part in words.split()}
    assert not addresses & elsewhere  # and nobody else in the cluster holds one of them
    scene.talk_again(pods[0], pods[99])


def test_open_vswitch_away_and_back(scene: Scene) -> None:
    one, other = pair(scene)
    for node in NODES:
        replace_system_pod("ovs", node)
    scene.talk_again(one, other)
    newcomers_work(scene, one, other)


def test_open_vswitch_killed(scene: Scene) -> None:
    """ovs-vswitchd dies without a word, and with it every flow."""
    one, other = pair(scene)
    kill_process("ovs", "node2", "ovs-vswitchd")
    scene.talk_again(one, other)
    newcomers_work(scene, one, other)


def test_node_daemon_killed_and_replaced(scene: Scene) -> None:
    """Traffic does not pass through the daemon: running Pods notice nothing."""
    one, other = pair(scene)
    pinging = Pinging(scene, one, other.ip)
    pinging.start()
    kill_process("kube-ovn-cni", "node2", "bin/kube-ovn-cniserver")
    replace_system_pod("kube-ovn-cni", "node1")
    assert not torn(pinging.stop()[1])
    newcomers_work(scene, one, other)


def test_pods_created_while_the_node_daemon_is_away(scene: Scene) -> None:
    daemon = system_pod("kube-ovn-cni", "node2")
    kube.delete("pod", daemon.name, namespace=SYSTEM, grace=0)
    one, other = scene.start(*(manifest(f"meanwhile-{node}", node) for node in NODES))
    scene.talk_again(one, other)


def test_databases_lost(scene: Scene) -> None:
    """Both OVN databases are copies of what Kubernetes knows: they are filled again."""
    one, other = pair(scene)
    before = {name: row["addresses"] for name, row in read_ports(scene.namespace).items()}
    node = system_pod("ovn-central").node
    with scaled_down("ovn-central"):
        node_exec(node, "sh", "-c", "rm -rf /var/lib/ovn/*")
    wait_until_healthy()
    until(lambda: read_ports(scene.namespace).keys() == before.keys(), 60, "the ports are back")
    assert {name: row["addresses"] for name, row in read_ports(scene.namespace).items()} == before
    scene.talk_again(one, other, within=60)
    newcomers_work(scene, one, other)


@pytest.mark.parametrize("force", [False, True])
async def test_controller_restart_writes_nothing(scene: Scene, force: bool) -> None:
    def prepare() -> Pinging:
        one, other = pair(scene)
        only = "the Namespaces of earlier tests removed"
        kube.when(lambda seen: no_namespace_left(seen, except_for=scene.namespace), 120, only, "namespace")
        pinging = Pinging(scene, one, other.ip)
        pinging.start()
        return pinging

    pinging = await asyncio.to_thread(prepare)
    async with all_updates() as updates:
        begun = time.time() - 1  # a process's start is told in terms of the boot, and that in whole seconds
        await asyncio.to_thread(replace_system_pod, CONTROLLER, force=force)
        await asyncio.to_thread(until, lambda: has_passed_since(begun), 60, "the new controller's first pass")
    assert updates == []
    assert (await asyncio.to_thread(pinging.stop))[1] == []


def has_passed_since(begun: float) -> bool:
    """Whether a controller that started after this time leads and has compared everything with everything."""
    try:
        with urllib.request.urlopen(METRICS, timeout=2) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return False
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    started, leads = float(values["process_start_time_seconds"]), float(values["kube_ovn_leader"])
    commits = float(values.get('kube_ovn_controller_pass_seconds_count{stage="commit"}', 0))
    return started > begun and leads == 1 and commits > 0


def test_northbound_unreachable_for_a_while(scene: Scene) -> None:
    """Pods that come meanwhile wait without an address and get it afterwards; the others go on."""
    one, other = pair(scene)
    node = system_pod("ovn-central").node
    pinging = Pinging(scene, one, other.ip)
    pinging.start()
    node_exec(node, "pkill", "-STOP", "-f", "^ovsdb-server.*ovnnb_db")
    try:
        scene.create(*(manifest(f"new-{each}", each) for each in NODES))
        end = time.monotonic() + OUTAGE
        while time.monotonic() < end:
            waiting = [pod for name, pod in scene.pods().items() if name.startswith("new-")]
            assert len(waiting) == 2
            assert not [pod for pod in waiting if "ovn.kubernetes.io/allocated" in pod.annotations]
        assert not torn(pinging.stop()[1])
    finally:
        node_exec(node, "pkill", "-CONT", "-f", "^ovsdb-server.*ovnnb_db")
    new = scene.ready("new-node1", "new-node2", within=90)
    assert len({pod.ip for pod in (one, other, *new)}) == 4
    scene.talk_again(new[0], new[1])
    wait_until_healthy()
