"""NetworkPolicies as their users see them: what passes, what does not, and when."""

import json
from collections.abc import Mapping

import pytest

from kube_ovn.model import names
from tests.cluster import kube
from tests.cluster.kube import Json
from tests.cluster.lab import HTTP, Pod, Scene, manifest, until
from tests.cluster.test_services import backend, create, serves

DENY: Json = {"podSelector": {}, "policyTypes": ["Ingress"]}


def apply(scene: Scene, name: str, spec: Json) -> None:
    """Make or change a policy, and wait until all nodes enforce it."""
    meta = {"name": name, "namespace": scene.namespace}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    kube.apply({**kind, "metadata": meta, "spec": spec}, namespace=scene.namespace)
    kube.when(lambda seen: _is_enforced(seen[name]), 20, f"policy {name} is enforced", "networkpolicy", scene.namespace)


def _is_enforced(policy: Json) -> bool:
    told = json.loads(policy["metadata"].get("annotations", {}).get(names.ENFORCED, "{}"))
    is_new = told.get("observedGeneration") == policy["metadata"]["generation"]
    return is_new and bool(told["status"] == "True")


def remove(scene: Scene, name: str) -> None:
    kube.remove("networkpolicy", name, namespace=scene.namespace)


def labelled(pod: Json, **labels: str) -> Json:
    return {**pod, "metadata": {**pod["metadata"], "labels": labels}}


def relabel(scene: Scene, name: str, labels: Mapping[str, str | None]) -> None:
    kube.patch("pod", name, {"metadata": {"labels": dict(labels)}}, scene.namespace)


def connects(scene: Scene, source: Pod, address: str, port: int = HTTP) -> bool:
    return (
        scene.shell(source, f"curl -sS --max-time 1 http://{address}:{port}/ >/dev/null 2>&1 && echo yes || true") != ""
    )


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
    start_in_background(scene, client, f"sleep 1; (while date; do sleep 0.1; done) | nc {kind} {server.ip} 9000")

    def heard() -> int:
        return int(scene.shell(server, "wc -l </tmp/heard"))

    until(lambda: heard() > 3, 10, "the connection carries lines")

    apply(scene, "deny", DENY)
    before = heard()
    scene.shell(server, "sleep 1")
    assert heard() == before
    rule = {"ports": [{"port": 9000, "protocol": protocol.upper()}]}
    apply(scene, "deny", {**DENY, "ingress": [rule]})
    until(lambda: heard() > before, 20, "the connection goes on")
    apply(scene, "deny", DENY)
    before = heard()
    remove(scene, "deny")
    until(lambda: heard() > before, 20, "the connection goes on without the policy")


def test_a_pod_is_restricted_from_its_first_packet_on(scene: Scene) -> None:
    (server,) = scene.start(manifest("server", "node1"))
    start_in_background(scene, server, "tcpdump -i eth0 -n -U -w /tmp/seen udp port 7777")
    until(lambda: scene.shell(server, "ls /tmp/seen 2>/dev/null || true"), 10, "packets are recorded")
    apply(scene, "out", {"podSelector": {"matchLabels": {"role": "loud"}}, "policyTypes": ["Egress"]})
    shout = f"while true; do echo hello; sleep 0.01; done | nc -u {server.ip} 7777"
    loud = [
        labelled(manifest(f"loud{n}", f"node{n % 2 + 1}", command=("sh", "-c", shout)), role="loud") for n in range(6)
    ]
    *_, last = scene.start(*loud)
    relabel(scene, last.name, {"role": None})

    def senders() -> set[str]:
        lines = scene.shell(server, "tcpdump -n -r /tmp/seen 2>/dev/null").splitlines()
        return {line.split()[2].rpartition(".")[0] for line in lines}

    until(senders, 10, "one that is not restricted is heard")
    assert senders() == {last.ip}
