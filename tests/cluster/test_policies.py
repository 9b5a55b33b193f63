"""NetworkPolicies as their users see them: what passes, what does not, and when."""

import json
import os
import time
from itertools import cycle

import pytest

from kube_ovn.model import names, nb
from sandbox.demo import SYSTEM, kubectl
from tests.cluster.gateways import node4
from tests.cluster.kube import Json
from tests.cluster.lab import HTTP, SERVER, Pod, Scene, manifest, node_exec, replace_system_pod, system_pod, until
from tests.cluster.northbound import read_rows, until_nodes_follow
from tests.cluster.policies import DENY, apply, connects, labelled, relabel, remove
from tests.cluster.test_services import backend, create, serves

NO_ROLE: Json = {"key": "role", "operator": "DoesNotExist"}
LABEL_CHANGES = int(os.environ.get("LABEL_CHANGES", "8"))
STARTS = int(os.environ.get("POLICY_STARTS", "6"))


def test_only_what_a_policy_allows_arrives_and_probes_always_do(scene: Scene) -> None:
    server, near, far = scene.start(
        backend("web", "node1"), labelled(manifest("near", "node1"), role="client"), manifest("far", "node2")
    )
    assert connects(scene, near, server.ip)
    assert connects(scene, far, server.ip)
    apply(scene, "deny", DENY)
    assert not connects(scene, near, server.ip)
    assert not connects(scene, far, server.ip)
    scene.start(backend("late", "node2"), within=30)  # it is Ready when the kubelet's probe is answered
    rule = {"from": [{"podSelector": {"matchLabels": {"role": "client"}}}], "ports": [{"port": HTTP}]}
    apply(scene, "allow", {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [rule]})
    assert connects(scene, near, server.ip)
    assert not connects(scene, far, server.ip)
    relabel(scene, "far", {"role": "client"})
    until(lambda: connects(scene, far, server.ip), 10, "the other is a client now")
    relabel(scene, "near", {"role": None})
    until(lambda: not connects(scene, near, server.ip), 10, "and this one is none any more")
    for name in ("allow", "deny"):
        remove(scene, name)
    until(lambda: connects(scene, near, server.ip), 10, "nothing is restricted")


def test_a_service_is_judged_by_its_endpoint_and_a_pod_reaches_itself(scene: Scene) -> None:
    client, web, other = scene.start(
        labelled(manifest("client", "node1"), role="client"),
        backend("web1", "node2"),
        backend("other1", "node2", "other"),
    )
    address, another = create(scene, "web"), create(scene, "other")
    serves(scene, address, ["web1"])
    serves(scene, another, ["other1"])
    spec = {
        "podSelector": {"matchLabels": {"role": "client"}},
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": HTTP}]}],
    }
    apply(scene, "out", spec)
    assert connects(scene, client, address, 80)
    assert not connects(scene, client, another, 80)
    assert not connects(scene, client, other.ip)
    apply(scene, "deny", DENY)
    assert not connects(scene, client, address, 80), "the endpoint takes none"
    assert connects(scene, web, address, 80), "a Pod reaches itself through its Service"


def test_names_are_answered_to_those_who_may_ask_the_clusters_server(scene: Scene) -> None:
    (client,) = scene.start(manifest("client", "node1"))
    create(scene, "web")
    name = f"web.{scene.namespace}.svc.cluster.local"
    ask = f"getent hosts {name} || true"
    until(lambda: scene.shell(client, ask) != "", 20, "the name is there")
    apply(scene, "out", {"podSelector": {}, "policyTypes": ["Egress"]})
    assert scene.shell(client, f"timeout 3 {ask}") == ""
    server = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    rule = {"to": [server], "ports": [{"port": 53, "protocol": "UDP"}]}
    apply(scene, "out", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [rule]})
    assert scene.shell(client, f"timeout 3 {ask}") != ""


def start_in_background(scene: Scene, pod: Pod, script: str) -> None:
    scene.shell(pod, f"setsid sh -c '{script}' </dev/null >/dev/null 2>&1 &")


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_connection_that_is_denied_later_carries_nothing_more_until_it_is_allowed_again(
    scene: Scene, protocol: str
) -> None:
    server, client = scene.start(manifest("server", "node1"), manifest("client", "node2"))
    kind = "-u" if protocol == "udp" else ""
    start_in_background(scene, server, f"(while date; do sleep 0.1; done) | nc {kind} -l -p 9000 >/tmp/heard")
    start_in_background(
        scene, client, f"sleep 1; (while date; do sleep 0.1; done) | nc {kind} {server.ip} 9000 >/tmp/heard"
    )

    def heard() -> tuple[int, int]:
        """The numbers of lines that came to the server and to the client."""
        listened, asked = (int(scene.shell(pod, "cat /tmp/heard 2>/dev/null | wc -l")) for pod in (server, client))
        return listened, asked

    def goes_on(since: tuple[int, int]) -> bool:
        return all(now > before for now, before in zip(heard(), since, strict=True))

    until(lambda: goes_on((3, 3)), 10, "the connection carries lines both ways")

    apply(scene, "deny", DENY)
    before = heard()
    scene.shell(server, "sleep 1")
    assert heard() == before
    rule = {"ports": [{"port": 9000, "protocol": protocol.upper()}]}
    apply(scene, "deny", {**DENY, "ingress": [rule]})
    until(lambda: goes_on(before), 20, "the connection goes on")
    apply(scene, "deny", DENY)
    before = heard()
    remove(scene, "deny")
    until(lambda: goes_on(before), 20, "the connection goes on without the policy")


class Recording:
    """UDP packets to a port of a Pod, from its start on."""

    PORT = 7777

    def __init__(self, scene: Scene, pod: Pod) -> None:
        self._scene, self._pod = scene, pod
        start_in_background(scene, pod, f"tcpdump -i eth0 -n -tt -l udp port {self.PORT} >/tmp/seen 2>/tmp/begun")
        until(lambda: "listening" in scene.shell(pod, "cat /tmp/begun"), 10, "packets are recorded")

    def packets(self) -> list[tuple[float, str]]:
        """Time and source address of each packet."""
        lines = self._scene.shell(self._pod, "cat /tmp/seen").splitlines()
        return [(float(line.split()[0]), line.split()[2].rpartition(".")[0]) for line in lines if " > " in line]

    @classmethod
    def sender(cls, address: str) -> tuple[str, ...]:
        """A command that sends a hundred packets a second, each from a port of its own."""
        return ("sh", "-c", f"while true; do echo hello | nc -u -w 0 {address} {cls.PORT}; sleep 0.01; done")


def test_a_label_counts_from_the_moment_at_which_nodes_follow(scene: Scene) -> None:
    (server,) = scene.start(manifest("server", "node1"))
    recording = Recording(scene, server)
    rule = {"from": [{"podSelector": {"matchLabels": {"role": "client"}}}]}
    apply(scene, "in", {"podSelector": {"matchExpressions": [NO_ROLE]}, "ingress": [rule]})
    (client,) = scene.start(labelled(manifest("client", "node2", command=recording.sender(server.ip)), role="other"))
    for _ in range(LABEL_CHANGES):
        relabel(scene, client.name, {"role": "client"})
        until(lambda: _is_heard(recording, time.time() - 0.1), 10, "the client is heard")
        relabel(scene, client.name, {"role": "other"})
        until(lambda: not _is_allowed(client), 10, "the Northbound database has the change")
        until_nodes_follow()
        barrier = time.time()
        scene.shell(server, "sleep 0.2")
        assert not _is_heard(recording, barrier)


def _is_heard(recording: Recording, since: float) -> bool:
    return any(at >= since for at, _ in recording.packets()[-1:])


def _is_allowed(pod: Pod) -> bool:
    clients = [row for row in read_rows(nb.AddressSet) if "role=client" in row["external_ids"].get("selection", "")]
    return any(pod.ip in row["addresses"] for row in clients)


def test_a_node_that_comes_up_restricts_before_it_forwards(scene: Scene) -> None:
    server, open_ = scene.start(manifest("server", "node1"), labelled(manifest("open", "node1"), role="open"))
    recordings = [Recording(scene, pod) for pod in (server, open_)]
    apply(scene, "in", {"podSelector": {"matchExpressions": [NO_ROLE]}})
    sender = Recording.sender(server.ip)[-1] + " & " + Recording.sender(open_.ip)[-1]
    scene.start(labelled(manifest("client", "node1", command=("sh", "-c", sender)), role="client"))
    until(lambda: recordings[1].packets(), 10, "the other Pod is heard")
    replace_system_pod("ovs", "node1", force=True)
    again = time.time()
    until(lambda: recordings[1].packets()[-1][0] > again, 60, "the other Pod is heard again")
    assert not recordings[0].packets()


def test_a_pod_is_restricted_from_its_first_packet_on(scene: Scene) -> None:
    (server,) = scene.start(manifest("server", "node1"))
    recording = Recording(scene, server)
    apply(scene, "out", {"podSelector": {"matchLabels": {"role": "loud"}}, "policyTypes": ["Egress"]})
    command = recording.sender(server.ip)
    for first in range(0, STARTS, 6):
        names_ = [f"loud{number}" for number in range(first, min(first + 6, STARTS))]
        nodes = cycle(("node1", "node2"))
        loud = [labelled(manifest(name, next(nodes), command=command), role="loud") for name in names_]
        *_, last = scene.start(*loud)
        assert not recording.packets()
        if first + 6 < STARTS:
            scene.delete(*names_, grace=0)
    relabel(scene, last.name, {"role": None})
    until(recording.packets, 10, "one that is not restricted is heard")
    assert {source for _, source in recording.packets()} == {last.ip}


def test_what_an_audit_finds_is_logged_and_counted_and_passes(scene: Scene) -> None:
    server, client = scene.start(manifest("server", "node1", command=SERVER), manifest("client", "node2"))
    apply(scene, "try", DENY, **{names.POLICY_MODE: "audit"})
    assert connects(scene, client, server.ip)
    until(lambda: _counted(scene, "audit") > 0, 10, "the packet is counted")
    scene.annotate("networkpolicy", "try", {names.POLICY_MODE: None, names.ENABLE_LOG: "true"})
    until(lambda: not connects(scene, client, server.ip), 10, "the policy is enforced")
    until(lambda: not connects(scene, client, server.ip) and _counted(scene, "drop") > 0, 20, "drops are counted")
    logs = kubectl("-n", SYSTEM, "logs", system_pod("kube-ovn-cni", "node1").name, "--tail=200")
    told = [json.loads(line) for line in logs.splitlines() if f"np/{scene.namespace}/try" in line]
    assert {"audit", "drop"} <= {each["verdict"] for each in told}
    assert {(each["pod"], each["source"], each["port"]) for each in told} == {("server", client.ip, HTTP)}


def _counted(scene: Scene, verdict: str) -> float:
    """The packets that a policy of this Namespace decided on, as the server's node counts them."""
    name = f'kube_ovn_policy_packets_total{{direction="ingress",namespace="{scene.namespace}",pod="server",'
    page = node_exec("node1", "curl", "-sS", f"http://{node4(1)}:10665/metrics")
    found = [line for line in page.splitlines() if line.startswith(name) and f'"{verdict}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)
