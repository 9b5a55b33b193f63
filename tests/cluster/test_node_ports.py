"""Services from outside the cluster and from a node's own ports, with nobody but this project to answer them."""

import json
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from kube_ovn.model import names as marks
from sandbox.layout import (
    API_SERVICE_V4,
    OUTSIDE_HOST,
    SERVICE_CIDR_V4,
    SERVICE_CIDR_V6,
    IpFamily,
    management_v4,
    management_v6,
)
from sandbox.paths import SandboxError
from tests.cluster.gateways import centralized, node4, node6
from tests.cluster.lab import Json, Scene, manifest, node_exec, until
from tests.cluster.outside import outside, routed
from tests.cluster.test_addresses import SWITCH
from tests.cluster.test_services import BACKEND, NODES, backend, read_service, service

FAMILY = IpFamily.DUAL
NODE = {"node1": (node4(1), node6(1)), "node2": (node4(2), node6(2))}
ME = (str(management_v4(OUTSIDE_HOST).ip), str(management_v6(OUTSIDE_HOST).ip))
"""The outside host's addresses on the nodes' network."""
NEVER = "nobody"
GET = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=2).read().decode(), end='')"
DIAL = (
    "import socket, sys; a = socket.getaddrinfo(sys.argv[1], sys.argv[2], type=socket.SOCK_DGRAM)[0]; "
    "s = socket.socket(a[0], a[1]); s.settimeout(2); s.bind(('', int(sys.argv[3]))); s.sendto(b'hostname', a[4]); "
    "print(s.recv(99).decode(), end='')"
)


def create(scene: Scene, name: str, **spec: object) -> Json:
    """Make a Service with node ports, of both families where nothing else is said; as the API server has it."""
    wanted = {"type": "NodePort", "ipFamilyPolicy": "RequireDualStack", **spec}
    scene.kubectl("create", "-f", "-", text=json.dumps(service(name, **wanted)))
    return read_service(scene, name)


def node_port(made: Json, name: str = "http") -> int:
    return next(int(port["nodePort"]) for port in made["spec"]["ports"] if port["name"] == name)


def url(address: str, port: int, path: str = "hostname") -> str:
    return f"http://[{address}]:{port}/{path}" if ":" in address else f"http://{address}:{port}/{path}"


def from_outside(address: str, port: int, path: str = "hostname") -> str:
    """What the outside host hears."""
    try:
        return outside("/usr/bin/python3", "-c", GET, url(address, port, path))
    except SandboxError as error:
        return "refused" if "refused" in str(error) else NEVER


def from_node(node: str, address: str, port: int, path: str = "hostname") -> str:
    try:
        return node_exec(node, "curl", "-sS", "-g", "--max-time", "2", url(address, port, path))
    except SandboxError as error:
        return "refused" if "Failed to connect" in str(error) else NEVER


def from_pod(scene: Scene, pod: str, address: str, port: int, path: str = "hostname") -> str:
    return scene.shell(pod, f"curl -sSg --max-time 2 '{url(address, port, path)}' || echo {NEVER}").strip()


def hears(ask: Callable[[], str], expected: Sequence[str], count: int = 12) -> None:
    """Wait until somebody hears these, each of them, and nobody else."""

    def only_these() -> set[str] | None:
        said = {ask() for _ in range(count)}
        return said if said <= set(expected) else None

    heard = until(only_these, 30, f"hears {expected} and nobody else")
    for _ in range(30):
        if heard != set(expected):
            heard.add(ask())
    assert heard == set(expected)


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_a_node_port_on_every_node_whoever_asks(scene: Scene, family: int) -> None:
    """Also on the node without a Pod, from the nodes' own processes and from Pods."""
    scene.start(backend("web1", "node1"), backend("web2", "node1"), manifest("one", "node1"), manifest("two", "node2"))
    port = node_port(create(scene, "web"))
    for node in NODES:
        address = NODE[node][family]
        hears(partial(from_outside, address, port), ["web1", "web2"])
        for client in NODES:
            hears(partial(from_node, client, address, port), ["web1", "web2"])
        for pod in ("one", "two"):
            hears(partial(from_pod, scene, pod, address, port), ["web1", "web2"])
    scene.kubectl("delete", "service", "web")
    for node in NODES:
        until(lambda n=node: from_outside(NODE[n][family], port) == "refused", 20, "the port is gone")  # type: ignore[misc]


def test_local_endpoints_see_their_clients_and_nodes_without_one_answer_nobody(scene: Scene) -> None:
    scene.start(backend("web1", "node1"), backend("web2", "node1"), manifest("two", "node2"))
    made = create(scene, "web", type="LoadBalancer", externalTrafficPolicy="Local")
    port, health = node_port(made), int(made["spec"]["healthCheckNodePort"])
    for near, far, me in zip(NODE["node1"], NODE["node2"], ME, strict=True):
        hears(partial(from_outside, near, port), ["web1", "web2"])
        assert peer(from_outside(near, port, "clientip")) == me, "the client's own address"
        hears(partial(from_node, "node2", near, port), ["web1", "web2"])
        assert from_outside(far, port) == NEVER
        assert from_node("node1", far, port) == NEVER, "another node is outside"
        hears(partial(from_node, "node2", far, port), ["web1", "web2"])
        hears(partial(from_pod, scene, "two", far, port), ["web1", "web2"])
        assert json.loads(from_outside(near, health, "healthz")) == {
            "service": {"namespace": scene.namespace, "name": "web"},
            "localEndpoints": 2,
            "serviceProxyHealthy": True,
        }
    assert status_of(NODE["node2"][0], health) == "503"
    scene.start(backend("web3", "node2"))
    hears(partial(from_outside, NODE["node2"][1], port), ["web3"])
    until(lambda: status_of(NODE["node2"][1], health) == "200", 20, "node2 says that it has an endpoint")
    scene.kubectl("delete", "service", "web")
    until(lambda: from_outside(NODE["node1"][0], health) == "refused", 20, "the health check port is closed")


def peer(text: str) -> str:
    return text.rpartition(":")[0].strip("[]")


def status_of(address: str, port: int) -> str:
    """Of an answer, whatever it says."""
    return node_exec(
        "node1", "curl", "-sSg", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "2", url(address, port, "")
    )


def test_addresses_outside_the_cluster(scene: Scene) -> None:
    """Given in the Service, and by a load balancer that admits some clients only."""
    scene.start(backend("web1", "node1"), manifest("one", "node1"))
    given, balanced = ["192.0.2.80", "2001:db8:2::80"], ["192.0.2.90", "2001:db8:2::90"]
    made = create(scene, "web", type="LoadBalancer", externalIPs=given, loadBalancerSourceRanges=["198.51.100.0/24"])
    admit(scene, balanced)
    ways = [*zip([*given, *balanced], NODE["node2"] * 2, strict=True)]
    with routed(*((f"{address}/{32 if ':' not in address else 128}", via) for address, via in ways)):
        for address in given:
            hears(partial(from_outside, address, 80), ["web1"])
            assert from_node("node2", address, 80) == "web1"
            assert from_pod(scene, "one", address, 80) == "web1"
        for address in balanced:
            assert from_outside(address, 80) == NEVER
            assert from_node("node1", address, 80) == "web1", "the nodes' own processes are admitted"
        assert from_outside(NODE["node1"][0], node_port(made)) == "web1", "node ports admit everybody"
        ranges = [f"{ME[0]}/32", f"{ME[1]}/128"]
        scene.kubectl("patch", "service", "web", "-p", json.dumps({"spec": {"loadBalancerSourceRanges": ranges}}))
        for address in balanced:
            hears(partial(from_outside, address, 80), ["web1"])
        scene.kubectl("delete", "service", "web")
        for address in [*given, *balanced]:
            until(lambda a=address: from_outside(a, 80) != "web1", 20, "the address is gone")  # type: ignore[misc]


def admit(scene: Scene, addresses: Sequence[str]) -> None:
    """As a load balancer does."""
    status = {"status": {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}}}
    scene.kubectl("patch", "service", "web", "--subresource=status", "--type=merge", "-p", json.dumps(status))


@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_a_client_of_udp_is_led_to_the_endpoint_there_is(scene: Scene, policy: str) -> None:
    """It sends from one port all the time, before there is anything and after that was replaced."""
    made = create(scene, "web", externalTrafficPolicy=policy)
    port, (address, _) = node_port(made, "udp"), NODE["node1"]

    def ask() -> str:
        try:
            return outside("/usr/bin/python3", "-c", DIAL, address, str(port), "40001")
        except SandboxError:
            return NEVER

    assert ask() == NEVER
    scene.start(backend("web1", "node1"))
    until(lambda: ask() == "web1", 20, "the first answers")
    scene.delete("web1")
    scene.start(backend("web2", "node1"))
    until(lambda: ask() == "web2", 20, "the second answers")


def test_a_client_outside_stays_with_its_endpoint_when_asked_for(scene: Scene) -> None:
    names = [f"web{number}" for number in range(4)]
    scene.start(*(backend(name, NODES[number % 2]) for number, name in enumerate(names)), within=90)
    port = node_port(create(scene, "web", sessionAffinity="ClientIP"))
    until(lambda: from_outside(NODE["node1"][0], port) in names, 20, "served")

    def homes() -> set[str]:
        return {from_outside(NODE[node][0], port) for node in NODES for _ in range(8)}

    until(lambda: len(homes()) == 1, 20, "one endpoint, through whichever node")


def test_internal_traffic_policy_is_not_about_clients_outside(scene: Scene) -> None:
    scene.start(backend("web1", "node1"))
    port = node_port(create(scene, "web", internalTrafficPolicy="Local"))
    for address in NODE["node2"]:
        hears(partial(from_outside, address, port), ["web1"])


def test_endpoints_that_are_processes_of_nodes(scene: Scene) -> None:
    """The fabric would be answered past: the nodes reach them by themselves."""
    web = manifest("web1", "node1", command=(*BACKEND[:2], "--http-port=8099", "--udp-port=8098"))
    web["metadata"]["labels"], web["spec"]["hostNetwork"] = {"app": "web"}, True
    scene.start(web, manifest("one", "node1"), manifest("two", "node2"))
    ports = [{"name": "http", "port": 80, "targetPort": 8099}]
    made = create(scene, "web", ports=ports)
    for family, own in enumerate(made["spec"]["clusterIPs"]):
        for node in NODES:
            hears(partial(from_node, node, own, 80), ["node1"], 4)
            address, port = NODE[node][family], node_port(made)
            hears(partial(from_outside, address, port), ["node1"], 4)
            hears(partial(from_node, "node2", address, port), ["node1"], 4)
        for pod in ("one", "two"):
            hears(partial(from_pod, scene, pod, own, 80), ["node1"], 4)
            hears(partial(from_pod, scene, pod, address, port), ["node1"], 4)


def test_the_api_server_answers_nodes_at_its_service(cluster: dict[str, str]) -> None:
    for node in NODES:
        until(
            lambda n=node: (
                "Forbidden" in node_exec(n, "curl", "-sSk", "--max-time", "3", f"https://{API_SERVICE_V4}/api")
            ),  # type: ignore[misc]
            20,
            "the API server answers",
        )


def test_clients_outside_may_use_the_clusters_own_addresses(scene: Scene) -> None:
    """Such as an API server that is no node, and calls webhooks."""
    scene.start(backend("web1", "node1"), backend("web2", "node2"), manifest("one", "node1"))
    made = create(scene, "web", type="ClusterIP")
    with routed((SERVICE_CIDR_V4, NODE["node1"][0]), (SERVICE_CIDR_V6, NODE["node1"][1])):
        for own in made["spec"]["clusterIPs"]:
            hears(partial(from_outside, own, 80), ["web1", "web2"])
    assert "Failed to connect" in scene.shell("one", "curl -sS --max-time 2 http://10.111.255.254/ 2>&1 || true")


def test_the_table_is_written_again_when_somebody_removes_it(scene: Scene) -> None:
    scene.start(backend("web1", "node1"))
    port = node_port(create(scene, "web"))
    hears(partial(from_outside, NODE["node2"][0], port), ["web1"])
    first = node_exec("node2", "nft", "list", "table", "inet", marks.NFT_TABLE)
    node_exec("node2", "nft", "delete", "table", "inet", marks.SERVICES_TABLE)
    hears(partial(from_outside, NODE["node2"][0], port), ["web1"])
    assert digest(node_exec("node2", "nft", "list", "table", "inet", marks.NFT_TABLE)) == digest(first)


def digest(table: str) -> str:
    return next(line for line in table.splitlines() if "comment" in line)


def test_endpoints_whose_subnet_leaves_through_another_node(scene: Scene) -> None:
    """Their answers would leave there: the node that was asked stands in for its clients."""
    with centralized(scene) as place:
        web = backend("web1", "node1")
        web["metadata"]["annotations"] = {SWITCH: place}
        scene.start(web)
        port = node_port(create(scene, "web", externalTrafficPolicy="Local"))
        for address in NODE["node1"]:
            hears(partial(from_outside, address, port), ["web1"])
        scene.kubectl("patch", "service", "web", "-p", '{"spec": {"externalTrafficPolicy": "Cluster"}}')
        for address in NODE["node2"]:
            hears(partial(from_outside, address, port), ["web1"])
        scene.delete("web1")
