"""Addresses that stay: fixed, from lists and pools, reserved, sticky; none leaks, none is doubled, none is forged."""

import json
import random
from collections.abc import Iterator

import pytest

from kube_ovn.model import nb
from sandbox.command import run
from sandbox.control_plane import ADMIN_KUBECONFIG
from sandbox.demo import SYSTEM, kubectl
from sandbox.paths import venv_bin
from tests.cluster.fabric import apply, own_subnet, read, recorded, using, warned
from tests.cluster.lab import SLEEP, Json, Scene, get, manifest, node_exec, system_pod, until
from tests.cluster.northbound import read_ports, read_rows

PREFIX = "ovn.kubernetes.io"
CONTROLLER = "kube-ovn-controller"
PRIVILEGED = {"privileged": True}
ADDRESS, MAC, POOL, SWITCH = (f"{PREFIX}/{key}" for key in ("ip_address", "mac_address", "ip_pool", "logical_switch"))


@pytest.fixture
def place(scene: Scene) -> Iterator[str]:
    """A subnet of the Namespace's own, 10.72.0.0/24."""
    with own_subnet(scene, "10.72.0.0/24") as name:
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


def create(scene: Scene, *objects: Json) -> None:
    scene.kubectl("create", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def addresses(scene: Scene, *names: str) -> list[str]:
    return [pod.ip for pod in scene.ready(*names)]


def test_a_statefulset_keeps_its_addresses(scene: Scene, place: str) -> None:
    create(scene, stateful("web", 3))
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
        until(lambda: recorded()[f"web-0.{scene.namespace}"]["nodeName"] == elsewhere.node, 10, "the record follows")
    finally:
        kubectl("uncordon", moved)
    scene.kubectl("scale", "statefulset/web", "--replicas=2")
    until(lambda: f"web-2.{scene.namespace}" not in recorded({place}), 30, "the address of the third is given back")
    assert f"web-1.{scene.namespace}" in recorded({place})
    scene.kubectl("delete", "statefulset/web")
    until(lambda: not any(name.startswith("web-") for name in recorded({place})), 30, "all are given back")


def test_element_n_of_a_list_is_for_pod_n(scene: Scene, place: str) -> None:
    listed = "10.72.0.21;10.72.0.22;10.72.0.23"
    create(scene, stateful("db", 3, {POOL: listed}, ordinals={"start": 5}))
    assert addresses(scene, "db-5", "db-6", "db-7") == listed.split(";")
    scene.kubectl("scale", "statefulset/db", "--replicas=4")
    assert "lists 3 addresses" in warned("Pod", "db-8", "number 4", scene.namespace)


def test_a_deployment_takes_the_free_ones_of_its_list(scene: Scene, place: str) -> None:
    listed = "10.72.0.31;10.72.0.32"
    create(scene, workload("Deployment", "app", 2, {POOL: listed}))
    until(
        lambda: sorted(pod.ip for pod in scene.pods().values() if pod.ready) == listed.split(";"), 40, "both are used"
    )
    scene.kubectl("delete", "pod", "-l", "app=app", "--wait=false")
    until(lambda: sorted(pod.ip for pod in scene.pods().values() if pod.ready) == listed.split(";"), 60, "again both")
    scene.kubectl("scale", "deployment/app", "--replicas=3")

    def refused() -> str | None:
        late = next((pod for pod in scene.pods().values() if not pod.ip), None)
        return (
            next((text for _, _, text in scene.events(late.name) if "all are in use" in text), None) if late else None
        )

    assert f"Pod {scene.namespace}/app-" in until(refused, 30, "the third is told who has them")


def test_pools_belong_to_those_who_ask(scene: Scene, place: str) -> None:
    pool = f"p-{scene.namespace}"
    body = {"subnet": place, "ips": ["10.72.0.2..10.72.0.4", "10.72.0.64/30"]}
    apply({"apiVersion": "kubeovn.io/v1", "kind": "IPPool", "metadata": {"name": pool}, "spec": body})
    kubectl("wait", "--for=condition=Ready", f"ippool/{pool}", "--timeout=10s")
    try:
        outsider, member = scene.start(manifest("outsider"), manifest("member", annotations={POOL: pool}))
        assert outsider.ip == "10.72.0.5"  # the lowest that is in no pool
        assert member.ip == "10.72.0.2"
        until(lambda: read("ippool", pool)["status"]["v4UsingIPs"] == 1, 10, "one is in use")
        assert read("ippool", pool)["status"]["v4AvailableIPs"] == 6
    finally:
        kubectl("delete", "ippool", pool)


def test_fixed_and_reserved_addresses(scene: Scene, place: str) -> None:
    mac = "0a:00:00:12:34:56"
    name = f"chosen.{scene.namespace}"
    reservation = {"subnet": place, "v4IpAddress": "10.72.0.50"}
    kept = {"subnet": place, "v4IpAddress": "10.72.0.51"}
    for each, spec in ((name, reservation), (f"kept.{scene.namespace}", kept)):
        apply({"apiVersion": "kubeovn.io/v1", "kind": "IP", "metadata": {"name": each}, "spec": spec})
    fixed, chosen = scene.start(
        manifest("fixed", annotations={ADDRESS: "10.72.0.99", MAC: mac}), manifest("chosen", "node2")
    )
    assert (fixed.ip, fixed.annotations[MAC]) == ("10.72.0.99", mac)
    assert mac in scene.shell(fixed, "cat /sys/class/net/eth0/address")
    assert chosen.ip == "10.72.0.50"
    scene.create(
        manifest("taken", annotations={ADDRESS: "10.72.0.99"}),
        manifest("outside", annotations={ADDRESS: "10.99.0.1"}),
        manifest("reserved", annotations={ADDRESS: "10.72.0.51"}),
    )
    assert f"used by Pod {scene.namespace}/fixed" in warned("Pod", "taken", "AddressConflict", scene.namespace)
    assert place in warned("Pod", "outside", "is not in the CIDR", scene.namespace)
    assert f"reservation kept.{scene.namespace}" in warned("Pod", "reserved", "AddressConflict", scene.namespace)
    scene.delete("chosen")
    assert name in recorded({place})  # its user's, not the Pod's
    kubectl("delete", "ip", name, f"kept.{scene.namespace}")
    scene.ready("reserved")


def test_who_has_an_address_and_who_had_it(scene: Scene, place: str) -> None:
    address = "10.72.0.120"
    scene.start(manifest("first", annotations={ADDRESS: address}))
    scene.delete("first")
    until(lambda: f"first.{scene.namespace}" not in recorded({place}), 20, "it is given back")
    scene.start(manifest("second", annotations={ADDRESS: address}))
    text = run([venv_bin() / "kubectl-ko", "ipam", "explain", address, f"--kubeconfig={ADMIN_KUBECONFIG}"])
    assert f"{scene.namespace}/second" in text
    assert f"{scene.namespace}/first" in text
    assert place in text


def test_a_forged_source_leaves_no_node(scene: Scene, place: str) -> None:
    """Another's address and another's MAC, from inside a Pod: neither arrives, on its own node or on another."""
    liar, near, far = scene.start(
        manifest("liar", "node1", securityContext=PRIVILEGED),
        manifest("near", "node1", securityContext=PRIVILEGED),
        manifest("far", "node2", securityContext=PRIVILEGED),
    )
    watch = "timeout 6 tcpdump -lni eth0 'src host 10.72.0.222' >/tmp/seen 2>/dev/null & sleep 1; echo started"
    for target in (near, far):
        scene.shell(target, watch)
    forge = (
        "ip address add 10.72.0.222/24 dev eth0; for to in {}; do ping -c 3 -i 0.2 -W 1 -I 10.72.0.222 $to; done; true"
    )
    assert " 0 received" in scene.shell(liar, forge.format(f"{near.ip} {far.ip}"))
    honest = scene.shell(liar, f"ip address del 10.72.0.222/24 dev eth0; ping -c 2 -W 1 {far.ip}")
    assert " 2 received" in honest
    scene.shell(liar, "ip link set eth0 down; ip link set eth0 address 0a:11:11:11:11:11; ip link set eth0 up; true")
    assert " 0 received" in scene.shell(
        liar, f"ip route replace default via 10.72.0.1; ping -c 3 -i 0.2 -W 1 {far.ip} || true"
    )
    for target in (near, far):
        assert not scene.shell(target, "sleep 2; cat /tmp/seen").strip()


def test_port_security_can_be_switched_off_and_on(scene: Scene, place: str) -> None:
    router, peer = scene.start(
        manifest("router", "node1", securityContext=PRIVILEGED), manifest("peer", "node2", securityContext=PRIVILEGED)
    )
    scene.shell(router, "ip address add 10.72.0.223/24 dev eth0")
    ping = f"ping -c 3 -i 0.2 -W 1 -I 10.72.0.223 {peer.ip} || true"
    # The peer must find the way back: OVN answers for addresses it knows, and this one it does not.
    scene.shell(peer, f"ip neighbour replace 10.72.0.223 lladdr {router.annotations[MAC]} dev eth0")
    assert " 0 received" in scene.shell(router, ping)
    scene.kubectl("annotate", "pod", "router", f"{PREFIX}/port_security=false")
    until(lambda: " 0 received" not in scene.shell(router, ping), 15, "nothing is checked any more")
    scene.kubectl("annotate", "pod", "router", f"{PREFIX}/port_security-")
    until(lambda: " 0 received" in scene.shell(router, ping), 15, "it is checked again")


def crash_controller() -> None:
    """kill -9, and a new Pod at once: the kubelet would wait ever longer with starting the old one again."""
    old = system_pod(CONTROLLER)
    node_exec(old.node, "pkill", "-9", "-f", "bin/kube-ovn-controller")
    kubectl("delete", "pod", "-n", SYSTEM, old.name, "--grace-period=0", "--force")


def test_500_pods_come_and_go_while_the_controller_is_killed(scene: Scene, place: str) -> None:
    """In the end exactly the living Pods' addresses are in use, by every witness there is."""
    chance = random.Random(4)
    alive: list[str] = []
    for batch in range(20):
        new = [f"p{batch * 25 + n}" for n in range(25)]
        scene.create(*(manifest(name, command=SLEEP) for name in new))
        alive += new
        if batch % 4 == 2:
            crash_controller()
        chance.shuffle(alive)
        gone, alive = alive[30:], alive[:30]
        if gone:
            scene.kubectl("delete", "pod", "--wait=false", *gone)
    scene.ready(*alive, within=180)
    until(lambda: set(scene.pods()) == set(alive), 120, "all others are gone")
    wanted = {pod.port: pod.ip for pod in scene.pods().values()}
    assert len(set(wanted.values())) == len(alive)
    until(lambda: {n: s["ipAddress"] for n, s in recorded({place}).items()} == wanted, 60, "the records are theirs")
    until(lambda: using(place) == len(alive), 20, "the status says so")
    ports = read_ports(scene.namespace)
    assert {name: next(iter(row["addresses"])).split()[1] for name, row in ports.items()} == wanted
    switch = next(row for row in read_rows(nb.LogicalSwitch) if row["name"] == place)
    assert len(switch["ports"]) == len(alive) + 1  # and the router's
    assert not [item for item in get("ips") if item["metadata"].get("deletionTimestamp")]
