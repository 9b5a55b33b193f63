"""Addresses that stay: fixed, from lists and pools, reserved, sticky; none leaks, none is doubled, none is forged."""

import json
import os
import random
from collections.abc import Iterator, Mapping

import pytest

from kube_ovn.model import nb
from sandbox.command import run
from sandbox.control_plane import ADMIN_KUBECONFIG
from sandbox.demo import SYSTEM, kubectl
from sandbox.paths import venv_bin
from tests.cluster import kube
from tests.cluster.fabric import Block, becomes, change, find_condition, own_subnet, recorded, records, using, warned
from tests.cluster.kube import Json
from tests.cluster.lab import Pod, Scene, manifest, node_exec, system_pod, until
from tests.cluster.northbound import read_ports, read_rows

PREFIX = "ovn.kubernetes.io"
CONTROLLER = "kube-ovn-controller"
PRIVILEGED = {"privileged": True}
ADDRESS, MAC, POOL, SWITCH = (f"{PREFIX}/{key}" for key in ("ip_address", "mac_address", "ip_pool", "logical_switch"))


@pytest.fixture
def place(scene: Scene, block: Block) -> Iterator[str]:
    """A subnet of the Namespace's own."""
    with own_subnet(scene, block.cidr4()) as name:
        yield name


def workload(kind: str, name: str, replicas: int, annotations: dict[str, str] | None = None, **spec: object) -> Json:
    labels = {"app": name}
    pod = manifest(name)["spec"]
    del pod["tolerations"]  # so that a cordoned node gets none
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": annotations or {}}, "spec": pod},
            **spec,
        },
    }


def stateful(name: str, replicas: int, annotations: dict[str, str] | None = None, **spec: object) -> Json:
    made = workload("StatefulSet", name, replicas, annotations, serviceName=name, **spec)
    made["spec"]["podManagementPolicy"] = "Parallel"
    return made


def scale(scene: Scene, kind: str, name: str, replicas: int) -> None:
    kube.patch(kind, name, {"spec": {"replicas": replicas}}, scene.namespace)


def addresses(scene: Scene, *names: str) -> list[str]:
    return [pod.ip for pod in scene.ready(*names)]


def test_a_statefulset_keeps_its_addresses(scene: Scene, place: str) -> None:
    scene.create(stateful("web", 3))
    names = [f"web-{n}" for n in range(3)]
    before = scene.ready(*names)
    kept = {pod.name: (pod.ip, pod.annotations[MAC]) for pod in before}
    scene.delete(*names)
    scene.start(*(manifest(f"thief-{n}") for n in range(3)))  # nobody gets them meanwhile
    again = scene.ready(*names)
    assert {pod.name: (pod.ip, pod.annotations[MAC]) for pod in again} == kept
    moved = again[0].node
    kubectl("cordon", moved)
    try:
        scene.delete("web-0")
        (elsewhere,) = scene.ready("web-0")
        assert elsewhere.node != moved
        assert (elsewhere.ip, elsewhere.annotations[MAC]) == kept["web-0"]
        records(lambda seen: seen[f"web-0.{scene.namespace}"]["nodeName"] == elsewhere.node, 10, "the record follows")
    finally:
        kubectl("uncordon", moved)
    scale(scene, "statefulset", "web", 2)
    kube.gone("ip", f"web-2.{scene.namespace}", within=30)
    assert f"web-1.{scene.namespace}" in recorded({place})
    kube.delete("statefulset", "web", namespace=scene.namespace)
    kube.gone("ip", *(f"{name}.{scene.namespace}" for name in names), within=30)


def test_element_n_of_a_list_is_for_pod_n(scene: Scene, place: str, block: Block) -> None:
    listed = ";".join(block.v4(host) for host in (21, 22, 23))
    scene.create(stateful("db", 3, {POOL: listed}, ordinals={"start": 5}))
    assert addresses(scene, "db-5", "db-6", "db-7") == listed.split(";")
    scale(scene, "statefulset", "db", 4)
    assert "lists 3 addresses" in warned("Pod", "db-8", "number 4", scene.namespace)


def test_a_deployment_takes_the_free_ones_of_its_list(scene: Scene, place: str, block: Block) -> None:
    listed = [block.v4(host) for host in (31, 32)]

    def both_are_used(pods: Mapping[str, Pod]) -> bool:
        return sorted(pod.ip for pod in pods.values() if pod.ready) == listed

    scene.create(workload("Deployment", "app", 2, {POOL: ";".join(listed)}))
    scene.when(both_are_used, 40, "both are used")
    kube.delete_all("pod", scene.namespace, "app=app")
    scene.when(both_are_used, 60, "again both")
    scale(scene, "deployment", "app", 3)
    late = scene.when(lambda pods: next((pod for pod in pods.values() if not pod.ip), None), 30, "a third is made")
    assert "lists 2 addresses" in warned("Pod", late.name, "all are in use", scene.namespace)


def test_pools_belong_to_those_who_ask(scene: Scene, place: str, block: Block) -> None:
    pool = f"p-{scene.namespace}"
    body = {"subnet": place, "ips": [f"{block.v4(2)}..{block.v4(4)}", f"{block.v4(64)}/30"]}
    kube.apply({"apiVersion": "kubeovn.io/v1", "kind": "IPPool", "metadata": {"name": pool}, "spec": body})
    becomes("ippool", pool, lambda item: find_condition(item, "Ready").get("status") == "True", 10, f"{pool} is Ready")
    try:
        outsider, member = scene.start(manifest("outsider"), manifest("member", annotations={POOL: pool}))
        assert outsider.ip == block.v4(5)  # the lowest that is in no pool
        assert member.ip == block.v4(2)
        becomes("ippool", pool, lambda item: item["status"]["v4UsingIPs"] == 1, 10, "one is in use")
        assert kube.read("ippool", pool)["status"]["v4AvailableIPs"] == 6
    finally:
        kube.delete("ippool", pool)


def test_fixed_and_reserved_addresses(scene: Scene, place: str, block: Block) -> None:
    mac = "0a:00:00:12:34:56"
    name = f"chosen.{scene.namespace}"
    reservation = {"subnet": place, "v4IpAddress": block.v4(50)}
    kept = {"subnet": place, "v4IpAddress": block.v4(51)}
    for each, spec in ((name, reservation), (f"kept.{scene.namespace}", kept)):
        kube.apply({"apiVersion": "kubeovn.io/v1", "kind": "IP", "metadata": {"name": each}, "spec": spec})
    fixed, chosen = scene.start(
        manifest("fixed", annotations={ADDRESS: block.v4(99), MAC: mac}), manifest("chosen", "node2")
    )
    assert (fixed.ip, fixed.annotations[MAC]) == (block.v4(99), mac)
    assert mac in scene.shell(fixed, "cat /sys/class/net/eth0/address")
    assert chosen.ip == block.v4(50)
    scene.create(
        manifest("taken", annotations={ADDRESS: block.v4(99)}),
        manifest("outside", annotations={ADDRESS: "10.99.0.1"}),
        manifest("reserved", annotations={ADDRESS: block.v4(51)}),
    )
    assert f"used by Pod {scene.namespace}/fixed" in warned("Pod", "taken", "AddressConflict", scene.namespace)
    assert place in warned("Pod", "outside", "is not in the CIDR", scene.namespace)
    assert f"reservation kept.{scene.namespace}" in warned("Pod", "reserved", "AddressConflict", scene.namespace)
    scene.delete("chosen")
    assert name in recorded({place})  # its user's, not the Pod's
    kube.delete("ip", name, f"kept.{scene.namespace}")
    scene.ready("reserved")


def test_who_has_an_address_and_who_had_it(scene: Scene, place: str, block: Block) -> None:
    address = block.v4(120)
    scene.start(manifest("first", annotations={ADDRESS: address}))
    scene.delete("first")
    kube.gone("ip", f"first.{scene.namespace}", within=20)
    scene.start(manifest("second", annotations={ADDRESS: address}))
    text = run([venv_bin() / "kubectl-ko", "ipam", "explain", address, f"--kubeconfig={ADMIN_KUBECONFIG}"])
    assert f"{scene.namespace}/second" in text
    assert f"{scene.namespace}/first" in text
    assert place in text


def test_the_plan_is_made_where_the_database_answers(scene: Scene) -> None:
    """From this machine, which is no node, in the controller's Pod."""
    (pod,) = scene.start(manifest("planned"))

    def ko(*words: str) -> str:
        environment = {**os.environ, "PATH": f"{venv_bin()}:{os.environ['PATH']}"}
        return run([venv_bin() / "kubectl-ko", *words, f"--kubeconfig={ADMIN_KUBECONFIG}"], env=environment)

    assert set(json.loads(ko("plan", "--output=json"))) == {"create", "update", "delete"}
    assert pod.ip in ko("explain", "outcomes of Pods", f"planned.{scene.namespace}")


def test_a_forged_source_leaves_no_node(scene: Scene, place: str, block: Block) -> None:
    """Another's address and another's MAC, from inside a Pod: neither arrives, on its own node or on another."""
    liar, near, far = scene.start(
        manifest("liar", "node1", securityContext=PRIVILEGED),
        manifest("near", "node1", securityContext=PRIVILEGED),
        manifest("far", "node2", securityContext=PRIVILEGED),
    )
    forged = block.v4(222)
    watch = f"timeout 6 tcpdump -lni eth0 'src host {forged}' >/tmp/seen 2>/dev/null & sleep 1; echo started"
    for target in (near, far):
        scene.shell(target, watch)
    ping = f"for to in {near.ip} {far.ip}; do ping -c 3 -i 0.2 -W 1 -I {forged} $to; done; true"
    assert " 0 received" in scene.shell(liar, f"ip address add {forged}/24 dev eth0; {ping}")
    scene.shell(liar, f"ip address del {forged}/24 dev eth0")
    assert scene.reaches(liar, far.ip), "by its own address, when its neighbour is asked for anew"
    scene.shell(liar, "ip link set eth0 down; ip link set eth0 address 0a:11:11:11:11:11; ip link set eth0 up; true")
    assert " 0 received" in scene.shell(
        liar, f"ip route replace default via {block.v4(1)}; ping -c 3 -i 0.2 -W 1 {far.ip} || true"
    )
    for target in (near, far):
        assert not scene.shell(target, "sleep 2; cat /tmp/seen").strip()


def test_port_security_can_be_switched_off_and_on_where_that_is_permitted(
    scene: Scene, place: str, block: Block
) -> None:
    change(place, permitSpoofing=True)
    router, peer = scene.start(
        manifest("router", "node1", securityContext=PRIVILEGED), manifest("peer", "node2", securityContext=PRIVILEGED)
    )
    second = block.v4(223)
    scene.shell(router, f"ip address add {second}/24 dev eth0")
    ping = f"ping -c 3 -i 0.2 -W 1 -I {second} {peer.ip} || true"
    # The peer must find the way back: OVN answers for addresses it knows, and this one it does not.
    scene.shell(peer, f"ip neighbour replace {second} lladdr {router.annotations[MAC]} dev eth0")
    assert " 0 received" in scene.shell(router, ping)
    scene.annotate("pod", "router", {f"{PREFIX}/port_security": "false"})
    until(lambda: " 0 received" not in scene.shell(router, ping), 15, "nothing is checked any more")
    scene.annotate("pod", "router", {f"{PREFIX}/port_security": None})
    until(lambda: " 0 received" in scene.shell(router, ping), 15, "it is checked again")


@pytest.fixture
def paper_node() -> Iterator[str]:
    """A Node without a machine: its Pods get addresses and never run."""
    taint = {"key": "paper", "effect": "NoSchedule"}  # the sandbox may have DaemonSets that select every node
    made = {"metadata": {"name": "paper"}, "spec": {"taints": [taint]}}
    kube.create({"apiVersion": "v1", "kind": "Node", **made})
    yield "paper"
    kube.delete("node", "paper")  # and Kubernetes removes its Pods


def crash_controller() -> None:
    """kill -9, and a new Pod at once: the kubelet would wait ever longer with starting the old one again."""
    old = system_pod(CONTROLLER)
    node_exec(old.node, "pkill", "-9", "-f", "bin/kube-ovn-controller")
    kube.delete("pod", old.name, namespace=SYSTEM, grace=0)


@pytest.mark.alone
def test_500_pods_come_and_go_while_the_controller_is_killed(scene: Scene, place: str, paper_node: str) -> None:
    """In the end exactly the living Pods' addresses are in use, by every witness there is. One Pod in five runs: a
    kernel takes half a second for each, and the address of a Pod does not depend on it.
    """

    def is_on_paper(name: str) -> bool:
        return int(name[1:]) % 5 != 0

    chance = random.Random(4)
    alive: list[str] = []
    for batch in range(20):
        new = [f"p{batch * 25 + n}" for n in range(25)]
        scene.create(*(manifest(name, paper_node if is_on_paper(name) else None) for name in new))
        alive += new
        if batch % 7 == 3:
            at_work = "the controller is at work"
            scene.when(lambda pods, new=new: any(ADDRESS in pods[name].annotations for name in new), 60, at_work)  # type: ignore[misc]
            crash_controller()
        chance.shuffle(alive)
        gone, alive = alive[30:], alive[:30]
        for on_paper in (False, True):
            names = [name for name in gone if is_on_paper(name) == on_paper]
            kube.delete("pod", *names, namespace=scene.namespace, grace=0 if on_paper else None)
    running = [name for name in alive if not is_on_paper(name)]
    assert 3 <= len(running) <= len(alive) - 3
    scene.ready(*running, within=180)
    scene.when(lambda pods: pods.keys() == set(alive), 120, "all others are gone")
    scene.when(lambda pods: all(ADDRESS in pod.annotations for pod in pods.values()), 60, "all have an address")
    wanted = {pod.port: pod.annotations[ADDRESS] for pod in scene.pods().values()}
    assert all(pod.ip in ("", wanted[pod.port]) for pod in scene.pods().values())
    assert len(set(wanted.values())) == len(alive)

    def are_theirs(records: Mapping[str, Json]) -> bool:
        return {name: spec["ipAddress"] for name, spec in records.items() if spec["subnet"] == place} == wanted

    records(are_theirs, 60, "the records are theirs")
    becomes("subnet", place, lambda item: using(item) == len(alive), 20, "the status says so")
    ports = read_ports(scene.namespace)
    assert {name: next(iter(row["addresses"])).split()[1] for name, row in ports.items()} == wanted
    switch = next(row for row in read_rows(nb.LogicalSwitch) if row["name"] == place)
    assert len(switch["ports"]) == len(alive) + 1  # and the router's
    assert not [item for item in kube.get("ip") if item["metadata"].get("deletionTimestamp")]
    kube.delete("pod", *filter(is_on_paper, alive), namespace=scene.namespace, grace=0)
