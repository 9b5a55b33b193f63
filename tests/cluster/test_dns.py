"""Names of Services, with no DNS server in the cluster."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sandbox import node
from sandbox.layout import API_SERVICE_V4, parse_node
from tests.cluster import kube
from tests.cluster.ask import Answer, ask_server
from tests.cluster.fabric import Block, own_subnet
from tests.cluster.lab import HTTP, Pod, Scene, interfaces_of, manifest, ovs, until
from tests.cluster.test_services import backend, create, serves, service, slice_of
from tests.daemon.node import in_netns

ZONE = "cluster.local"
NOBODY = "198.51.100.53"
"""No DNS server has this address."""
CLUSTER_DNS = "10.96.0.10"
"""Where the kubelets tell Pods that there is a DNS server."""
AT_ONCE = 1.0
"""Seconds; a resolver that waits for a second answer waits five."""


def ask(pod: Pod, name: str, kind: str = "A", server: str = CLUSTER_DNS, **how: Any) -> Answer:
    """What a server says to a Pod."""
    if pod.uid not in _netns:
        _netns[pod.uid] = _find_netns(pod)
    return in_netns(_netns[pod.uid], lambda: ask_server(server, name, kind, **how))


_netns: dict[str, str] = {}
"""Files that stand for the networks of Pods, on this machine, by UID."""


def _find_netns(pod: Pod) -> str:
    (nic,) = [nic for port, nic in interfaces_of(pod.node, pod.namespace).items() if port == pod.port]
    netns = json.loads(ovs(pod.node, "get", "Interface", nic, "external_ids:pod_netns"))
    return f"/proc/{node.init_pid(parse_node(pod.node))}/root/run/netns/{Path(netns).name}"


def answers(pod: Pod, name: str, kind: str = "A", server: str = CLUSTER_DNS, **how: Any) -> list[str]:
    """The same, where there must be an answer at once."""
    answer = ask(pod, name, kind, server, **how)
    assert answer.code == "NOERROR", answer
    assert answer.seconds < AT_ONCE, answer
    return sorted(answer.answers)


def is_known(pod: Pod, name: str, address: str) -> None:
    until(lambda: ask(pod, name, server=NOBODY).answers == [address], 10, f"{name} is {address}")


def test_a_service_is_found_by_name_whatever_server_is_asked(scene: Scene) -> None:
    pods = scene.start(manifest("one", "node1"), manifest("two", "node2"))
    address = create(scene, "web")
    name = f"web.{scene.namespace}.svc.{ZONE}"
    reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    for pod in pods:
        is_known(pod, name, address)
        for server in (NOBODY, CLUSTER_DNS):
            assert answers(pod, name, server=server) == [address]
            assert answers(pod, name.upper(), server=server) == [address]
            assert answers(pod, name, server=server, edns=1232) == [address]
            assert answers(pod, reverse, "PTR", server) == [f"{name}."]
            assert answers(pod, f"kubernetes.default.svc.{ZONE}", server=server) == [str(API_SERVICE_V4)]
    kube.delete("service", "web", namespace=scene.namespace)
    until(lambda: ask(pods[0], name).code == "NXDOMAIN", 10, f"{name} is gone")


@pytest.mark.parametrize("allowed_by", ["nobody", "a user's ACL"])
def test_whoever_was_asked_answers_every_question_from_one_port(scene: Scene, block: Block, allowed_by: str) -> None:
    """As resolvers ask for both families, and for one name after another; a stranger's answer is thrown away."""
    acl = {"direction": "from-lport", "priority": 1000, "match": "udp", "action": "allow-related"}
    with own_subnet(scene, block.cidr4(), acls=[acl] if allowed_by != "nobody" else []):
        (pod,) = scene.start(manifest("one", "node1"))
        known, unknown = f"kubernetes.default.svc.{ZONE}", f"none.{scene.namespace}.svc.{ZONE}"
        for _ in range(2):
            for server in (CLUSTER_DNS, NOBODY):
                assert answers(pod, known, server=server, source_port=20053) == [str(API_SERVICE_V4)]
            assert answers(pod, known, "AAAA", source_port=20053) == []
            assert ask(pod, unknown, source_port=20053).code == "NXDOMAIN"


def test_what_is_not_an_address_is_answered_too_and_at_once(scene: Scene) -> None:
    (pod,) = scene.start(manifest("one", "node1"))
    address = create(scene, "web")
    name = f"web.{scene.namespace}.svc.{ZONE}"
    is_known(pod, name, address)
    for kind in ("AAAA", "TXT", "MX", "HTTPS"):
        assert answers(pod, name, kind) == [], f"{kind}: there is none, and nobody has to wait for it"
    assert answers(pod, f"_http._tcp.{name}", "SRV") == [f"0 100 80 {name}."]
    assert answers(pod, name, tcp=True) == [address]
    several = ask(pod, name, questions=[f"kubernetes.default.svc.{ZONE}"])
    assert several.code == "FormError", "OVN's own answer: it counts two questions and repeats one"
    assert several.seconds < AT_ONCE
    assert ask(pod, name, tcp=True, questions=[f"kubernetes.default.svc.{ZONE}"]).code == "FORMERR"
    for missing in (f"none.{scene.namespace}.svc.{ZONE}", f"web.{scene.namespace}.{name}"):
        answer = ask(pod, missing)
        assert answer.code == "NXDOMAIN"
        assert answer.seconds < AT_ONCE


def test_programs_find_names_as_the_pod_is_configured(scene: Scene) -> None:
    """Through the search path, both families asked for, with a short name and a longer one: no wait for anybody."""
    (client,) = scene.start(manifest("client", "node2"), backend("web1", "node1"))[:1]
    address = create(scene, "web")
    serves(scene, address, ["web1"])
    is_known(client, f"web.{scene.namespace}.svc.{ZONE}", address)
    for name in ("web", f"web.{scene.namespace}", f"web.{scene.namespace}.svc.{ZONE}"):
        said = scene.shell(client, f"curl -sS --max-time 5 -w ' %{{time_namelookup}}' http://{name}/hostname")
        answer, seconds = said.split()
        assert answer == "web1"
        assert float(seconds) < AT_ONCE
    said = scene.shell(client, "getent hosts none || echo none", timeout=10)
    assert said.strip() == "none"


def test_processes_of_nodes_find_names_too(scene: Scene) -> None:
    """As Pods on the node's own network that ask the cluster's DNS server first."""
    for number in (1, 2):
        pod = manifest(f"host{number}", f"node{number}")
        pod["spec"] |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
        (client,) = scene.start(pod)
        said = scene.shell(client, "getent ahostsv4 kubernetes.default | head -1", timeout=10)
        assert said.split()[0] == str(API_SERVICE_V4)
        assert scene.shell(client, "getent hosts none || echo none", timeout=10).strip() == "none"


def test_pods_behind_a_headless_service_have_names(scene: Scene) -> None:
    named = backend("web1", "node1")
    named["spec"] |= {"hostname": "first", "subdomain": "web"}
    one, two = scene.start(named, backend("web2", "node2"))
    scene.create(service("web", clusterIP="None"))
    name = f"web.{scene.namespace}.svc.{ZONE}"
    until(lambda: ask(one, name, server=NOBODY).answers, 10, "the names are known")
    until(lambda: sorted(ask(one, name).answers) == sorted([one.ip, two.ip]), 10, "both are known")
    assert answers(two, f"first.{name}", server=NOBODY) == [one.ip]
    assert answers(two, f"{two.ip.replace('.', '-')}.{name}", server=NOBODY) == [two.ip]
    targets = answers(two, f"_http._tcp.{name}", "SRV")
    assert targets == sorted([f"0 100 {HTTP} first.{name}.", f"0 100 {HTTP} {two.ip.replace('.', '-')}.{name}."])
    scene.delete("web2")
    until(lambda: ask(one, name).answers == [one.ip], 10, "who left is forgotten")


def test_more_addresses_than_fit_are_truncated_and_told_over_tcp(scene: Scene) -> None:
    (pod,) = scene.start(manifest("one", "node1"))
    scene.create(service("many", clusterIP="None", selector=None))
    listed = {part: [f"10.16.{number}.{last}" for last in range(1, 101)] for part, number in (("a", 200), ("b", 201))}
    scene.create(*(slice_of("many", *addresses, part=part) for part, addresses in listed.items()))
    name = f"many.{scene.namespace}.svc.{ZONE}"
    until(lambda: len(ask(pod, name, tcp=True).answers) == 200, 10, "all are told")
    plain = ask(pod, name)
    assert plain.truncated
    assert len(plain.answers) < 200


@pytest.mark.alone
def test_a_dns_server_takes_over_when_it_is_ready_and_hands_back(scene: Scene) -> None:
    """Anything that answers at its port will do for one: it says who it is, to what is no question at all."""
    server = manifest("server", "node2", command=("/agnhost", "netexec", "--http-port=8080", "--udp-port=53"))
    server["metadata"]["labels"] = {"app": "dns"}
    client = scene.start(manifest("client", "node1"), server)[0]
    ports = [{"name": "dns", "port": 53, "targetPort": 53, "protocol": "UDP"}]
    spec = {"clusterIP": CLUSTER_DNS, "selector": {"app": "dns"}, "ports": ports}
    scene.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns"}, "spec": spec})
    say = f"echo hostname | nc -u -w 1 {CLUSTER_DNS} 53 || true"
    until(lambda: "server" in scene.shell(client, say), 15, "the server is asked")
    name = f"kubernetes.default.svc.{ZONE}"
    assert answers(client, name) == [str(API_SERVICE_V4)], "what the fabric knows it still answers itself"
    scene.delete("server")
    until(lambda: ask(client, name, "AAAA").code == "NOERROR", 15, "the nodes answer again")


def test_a_dns_record_opens_no_door(scene: Scene, block: Block) -> None:
    """CVE-2025-0650: with DNS records on a switch some UDP packets pass the ACLs of their receiver. Ports that look
    like DNS, towards a subnet that is private; to the Pod itself, and through a Service that leads to that port.
    """
    with own_subnet(scene, block.cidr4(), private=True):
        made = backend("inside", "node1")
        made["spec"]["containers"][0]["command"] = ("/agnhost", "netexec", f"--http-port={HTTP}", "--udp-port=53")
        others = [manifest("same", "node1"), manifest("other", "node2")]
        for other in others:
            other["metadata"]["annotations"] = {"ovn.kubernetes.io/logical_switch": "ovn-default"}
        inside, friend, *strangers = scene.start(made, manifest("friend", "node1"), *others)
        ports = [{"name": "udp", "port": 5300, "targetPort": 53, "protocol": "UDP"}]
        address = create(scene, "web", ports=ports)
        serves(scene, address, ["inside"], 5300, 53)  # a packet from before would have its connection last
        _asked(scene, friend, address, 5300, 5353, {"inside"})
        _asked(scene, friend, inside.ip, 53, 5353, {"inside"})

        def stays_out(stranger: Pod, source: int) -> None:
            _asked(scene, stranger, inside.ip, 53, source, set())
            _asked(scene, stranger, address, 5300, source, set())

        with ThreadPoolExecutor() as pool:
            # Each waits for answers that do not come.
            list(pool.map(stays_out, strangers * 2, (53, 53, 5353, 5353)))


def _asked(scene: Scene, client: Pod, address: str, port: int, source: int, wanted: set[str]) -> None:
    """Several packets: one of a new Pod may meet flows that are half installed."""
    say = f"for n in 1 2 3; do echo hostname | nc -u -w 1 -p {source} {address} {port}; echo; done || true"
    assert set(scene.shell(client, say).split()) == wanted, (client.name, address, source)
