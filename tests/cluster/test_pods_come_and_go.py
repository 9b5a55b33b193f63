"""A Pod's end leaves nothing; a namesake starts afresh; a wrong wish is answered in a sentence and harms nobody."""

import json
import re
from collections.abc import Iterator
from functools import partial

import pytest

from sandbox.paths import SandboxError
from tests.cluster import kube
from tests.cluster.fabric import Block, own_subnet
from tests.cluster.kube import Json, Objects
from tests.cluster.lab import Pod, Scene, interfaces_of, manifest, node_exec, until
from tests.cluster.northbound import read_ports

PREFIX = "ovn.kubernetes.io/"
NODES = ("node1", "node2")


def links(node: str) -> set[str]:
    return {link["ifname"] for link in json.loads(node_exec(node, "ip", "-json", "link", "show"))}


def traces(pod: Pod, link: str) -> list[str]:
    """What is left of a Pod anywhere."""
    found = []
    if pod.port in read_ports(pod.namespace):
        found.append("logical port")
    if pod.port in interfaces_of(pod.node, pod.namespace):
        found.append("Interface in Open vSwitch")
    if link in links(pod.node):
        found.append("veth")
    for words in (["route", "show", "table", "all"], ["neighbour", "show"]):
        if re.search(rf"(?<![\d.]){re.escape(pod.ip)}(?![\d.])", node_exec(pod.node, "ip", *words)):
            found.append(" ".join(words))
    return found


def leaves_nothing(pod: Pod, link: str) -> bool:
    found = traces(pod, link)
    if found:
        raise SandboxError(f"left of {pod.name}: {', '.join(found)}")
    return True


@pytest.fixture
def place(scene: Scene, block: Block) -> Iterator[str]:
    """A subnet in which no other test takes an address."""
    with own_subnet(scene, block.cidr4()) as name:
        yield name


@pytest.mark.parametrize("how", ["deleted", "deleted by force", "Namespace deleted"])
def test_a_deleted_pod_leaves_nothing(scene: Scene, place: str, how: str) -> None:
    pods = scene.start(*(manifest(f"gone-{node}", node) for node in NODES))
    scene.talk_again(pods[0], pods[1])
    before = {pod.name: interfaces_of(pod.node, pod.namespace)[pod.port] for pod in pods}
    for pod in pods:
        assert before[pod.name] in links(pod.node)
    match how:
        case "deleted":
            scene.delete(*before)
        case "deleted by force":
            scene.delete(*before, grace=0)
        case _:
            scene.close()
            kube.gone("namespace", scene.namespace)
            scene.open()
    for pod in pods:
        until(partial(leaves_nothing, pod, before[pod.name]), 30, f"nothing left of {pod.name}")
    # The addresses are free: whoever asks for one of them gets it, on another node as well.
    wishes = {pod.name: {f"{PREFIX}ip_address": pod.ip} for pod in pods}
    heirs = scene.start(
        *(manifest(f"heir-of-{pod.name}", NODES[pod.node == NODES[0]], annotations=wishes[pod.name]) for pod in pods)
    )
    assert [heir.ip for heir in heirs] == [pod.ip for pod in pods]
    scene.talk_again(heirs[0], heirs[1])


def test_a_pod_that_has_ended_holds_no_address(scene: Scene) -> None:
    done = manifest("done", "node2", command=["true"])
    done["spec"]["restartPolicy"] = "Never"
    scene.create(done)
    scene.when(lambda pods: pods["done"].phase == "Succeeded", 30, "done has ended")
    ended = scene.pods()["done"]
    until(lambda: ended.port not in read_ports(scene.namespace), 20, "its port is gone")
    until(lambda: ended.port not in interfaces_of("node2", scene.namespace), 20, "its Interface is gone")


def test_a_namesake_gets_its_own_port_ten_times(scene: Scene) -> None:
    """Deleted by force, the last is still ending on its node while the next starts there or elsewhere."""
    (peer,) = scene.start(manifest("peer", "node1"))
    seen: set[str] = set()
    for turn in range(10):
        if turn:
            kube.remove("pod", "web-0", namespace=scene.namespace, grace=0)
        scene.create(manifest("web-0", NODES[turn % 4 == 3]))
        if turn % 3 == 2:
            continue  # replaced before it has started
        (pod,) = scene.ready("web-0", within=40)
        seen.add(pod.uid)
        scene.talk_again(peer, pod)
        row = read_ports(scene.namespace)[pod.port]
        assert row["external_ids"]["owner_uid"] == pod.uid
        assert row["addresses"] == {f"{pod.annotations[PREFIX + 'mac_address']} {pod.ip}"}
    assert len(seen) == 7
    assert read_ports(scene.namespace).keys() == {peer.port, pod.port}
    expected = {"node1": 1, "node2": 0} | {pod.node: 1 + (pod.node == "node1")}
    for node, count in expected.items():
        until(partial(_has_interfaces, node, scene, count), 30, f"{count} Interfaces on {node}")


def _has_interfaces(node: str, scene: Scene, count: int) -> bool:
    return len(interfaces_of(node, scene.namespace)) == count


BAD: dict[str, tuple[dict[str, str], str, str]] = {
    "outside": (
        {"ip_address": "192.0.2.9"},
        "AcquireAddressFailed",
        "address 192.0.2.9 is not in the CIDR of the Pod's subnet ovn-default (10.16.0.0/16)",
    ),
    "malformed": (
        {"ip_address": "10.16.0.300"},
        "ValidatePodNetworkFailed",
        "annotation of Pod {pod}: ovn.kubernetes.io/ip_address: '10.16.0.300' is not an IP address",
    ),
    "gateway": (
        {"ip_address": "10.16.0.1"},
        "AcquireAddressFailed",
        "address 10.16.0.1 cannot be used: it is a gateway",
    ),
    "bad-mac": (
        {"mac_address": "not-a-mac"},
        "ValidatePodNetworkFailed",
        "annotation of Pod {pod}: ovn.kubernetes.io/mac_address: 'not-a-mac' is not a MAC address",
    ),
    "nowhere": ({"logical_switch": "nowhere"}, "AcquireAddressFailed", "subnet nowhere does not exist"),
    "joined": (
        {"logical_switch": "join"},
        "AcquireAddressFailed",
        "subnet join joins the nodes and is not for Pods",
    ),
}


def wishing(name: str, wish: dict[str, str], node: str | None = None) -> Json:
    return manifest(name, node, annotations={PREFIX + key: value for key, value in wish.items()})


def is_warned(scene: Scene, pod: str, reason: str, text: str, within: float) -> None:
    def is_said(events: Objects) -> bool:
        return any(item["reason"] == reason and text in item["message"] for item in events.values())

    fields = f"involvedObject.kind=Pod,involvedObject.name={pod},type=Warning"
    kube.when(is_said, within, f"{reason} on {pod}: {text}", "event", scene.namespace, fields=fields)


def test_bad_wishes_are_answered_and_disturb_nobody(scene: Scene) -> None:
    scene.create(*(wishing(name, wish) for name, (wish, _, _) in BAD.items()))
    good = scene.start(*(manifest(f"good-{node}", node) for node in NODES), within=30)
    scene.talk_again(good[0], good[1])
    for name, (_, reason, text) in BAD.items():
        sentence = text.format(pod=f"{scene.namespace}/{name}")
        is_warned(scene, name, reason, sentence, 15)
        assert "Traceback" not in str(scene.events(name))
    pods = scene.pods()
    assert not [name for name in BAD if PREFIX + "allocated" in pods[name].annotations or pods[name].ip]
    assert read_ports(scene.namespace).keys() == {pod.port for pod in good}
    # A corrected wish is enough; nobody restarts anything.
    scene.annotate("pod", "malformed", {f"{PREFIX}ip_address": None})
    scene.ready("malformed", within=40)


def test_bad_routes_are_answered_on_the_pod(scene: Scene) -> None:
    (good,) = scene.start(manifest("good", "node1"))
    scene.create(wishing("bad-routes", {"routes": "[{"}, "node1"))
    is_warned(scene, "bad-routes", "ValidatePodNetworkFailed", "ovn.kubernetes.io/routes is not a list of", 30)
    assert "ovn.kubernetes.io/ip_address" not in scene.pods()["bad-routes"].annotations
    until(lambda: scene.every_ping_answered("good", "10.16.0.1"), 10, "the good Pod is answered")
    scene.annotate("pod", "bad-routes", {f"{PREFIX}routes": None})
    bad = scene.ready("bad-routes", within=60)[0]
    scene.talk_again(good, bad)


def test_who_waits_for_a_taken_address_gets_it_when_it_is_free(scene: Scene, place: str) -> None:
    holder, peer = scene.start(manifest("holder", "node1"), manifest("peer", "node1"))
    scene.create(wishing("heir", {"ip_address": holder.ip}, "node2"))
    text = f"AddressConflict: address {holder.ip} of subnet {place} is used by Pod {scene.namespace}/holder"
    is_warned(scene, "heir", "AcquireAddressFailed", text, 15)
    scene.talk_again(peer, holder)
    scene.delete("holder")
    (heir,) = scene.ready("heir", within=30)
    assert heir.ip == holder.ip
    scene.talk_again(peer, heir, within=5)  # although the peer remembers the MAC address of the holder


def test_a_static_pod_gets_a_network(scene: Scene) -> None:
    """The API server shows a mirror of it, with another UID than the runtime tells."""
    file, value = f"/etc/kubernetes/manifests/{scene.namespace}.json", manifest("static")
    value["metadata"]["namespace"] = scene.namespace
    node_exec("node2", "sh", "-c", f"cat > {file} <<'END'\n{json.dumps(value)}\nEND")
    try:
        (static,), (peer,) = scene.ready("static-node2"), scene.start(manifest("peer", "node1"))
        assert scene.every_ping_answered(peer, static.ip)
    finally:
        node_exec("node2", "rm", "-f", file)
    kube.gone("pod", "static-node2", namespace=scene.namespace)
