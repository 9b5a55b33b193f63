"""Services from outside the cluster and from a node's own ports, with nobody but this project to answer them."""

import json
from collections.abc import Callable, Sequence
from itertools import repeat

import pytest

from kube_ovn.model import names as marks
from sandbox.layout import (
    API_SERVICE_V4,
    CONTROL_PLANE_NODE,
    OUTSIDE_HOST,
    OUTSIDE_NETNS,
    SERVICE_CIDR_V4,
    SERVICE_CIDR_V6,
    IpFamily,
    management_v4,
    management_v6,
)
from tests.cluster import kube
from tests.cluster.fabric import Block
from tests.cluster.gateways import centralized, node4, node6
from tests.cluster.kube import Json
from tests.cluster.lab import Scene, manifest, node_exec, until
from tests.cluster.outside import dial, fetch, routed
from tests.cluster.test_addresses import SWITCH
from tests.cluster.test_services import BACKEND, NODES, backend, read_service, service

FAMILY = IpFamily.DUAL
NODE = {"node1": (node4(1), node6(1)), "node2": (node4(2), node6(2))}
ME = (str(management_v4(OUTSIDE_HOST).ip), str(management_v6(OUTSIDE_HOST).ip))
"""The outside host's addresses on the nodes' network."""
NEVER = "nobody"
LIST_SERVICES = ("nft", "list", "table", "inet", marks.SERVICES_TABLE)
CURL = "for n in $(seq {count}); do curl -sSg --max-time 2 '{url}' 2>&1 || true; echo; done"
Ask = Callable[[int], list[str]]
"""Asks so many times, and says what was heard each time."""


def create(scene: Scene, name: str, **spec: object) -> Json:
    """Make a Service with node ports, of both families where nothing else is said; as the API server has it."""
    wanted = {"type": "NodePort", "ipFamilyPolicy": "RequireDualStack", **spec}
    scene.create(service(name, **wanted))
    return read_service(scene, name)


def node_port(made: Json, name: str = "http") -> int:
    return next(int(port["nodePort"]) for port in made["spec"]["ports"] if port["name"] == name)


def url(address: str, port: int, path: str = "hostname") -> str:
    return f"http://[{address}]:{port}/{path}" if ":" in address else f"http://{address}:{port}/{path}"


def from_outside(address: str, port: int, path: str = "hostname") -> str:
    """What the outside host hears."""
    try:
        return fetch(url(address, port, path))
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return NEVER


def asks_outside(address: str, port: int) -> Ask:
    return lambda count: [from_outside(address, port) for _ in range(count)]


def from_node(node: str, address: str, port: int) -> str:
    return asks_node(node, address, port)(1)[0]


def asks_node(node: str, address: str, port: int) -> Ask:
    def ask(count: int) -> list[str]:
        script = CURL.format(count=count, url=url(address, port))
        return [_understood(line) for line in node_exec(node, "sh", "-c", script, timeout=90).splitlines()]

    return ask


def from_pod(scene: Scene, pod: str, address: str, port: int) -> str:
    return asks_pod(scene, pod, address, port)(1)[0]


def asks_pod(scene: Scene, pod: str, address: str, port: int) -> Ask:
    def ask(count: int) -> list[str]:
        script = CURL.format(count=count, url=url(address, port))
        return [_understood(line) for line in scene.shell(pod, script, timeout=90).splitlines()]

    return ask


def _understood(line: str) -> str:
    if not line.startswith("curl: ("):
        return line
    return "refused" if "Failed to connect" in line else NEVER


def hears(ask: Ask, expected: Sequence[str], count: int = 12) -> None:
    """Wait until a client hears these, each of them, and no others."""

    def only_these() -> set[str] | None:
        said = set(ask(1))
        if said <= set(expected):
            said |= set(ask(count - 1))
        return said if said <= set(expected) else None

    heard = until(only_these, 30, f"hears {expected} and no others")
    for more in repeat(10, 3):
        if heard != set(expected):
            heard |= set(ask(more))
    assert heard == set(expected)


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_a_node_port_on_every_node_whoever_asks(scene: Scene, family: int) -> None:
    """Also on the node without a Pod, from the nodes' own processes and from Pods."""
    scene.start(backend("web1", "node1"), backend("web2", "node1"), manifest("one", "node1"), manifest("two", "node2"))
    port = node_port(create(scene, "web"))
    for node in NODES:
        address = NODE[node][family]
        hears(asks_outside(address, port), ["web1", "web2"])
        for client in NODES:
            hears(asks_node(client, address, port), ["web1", "web2"])
        for pod in ("one", "two"):
            hears(asks_pod(scene, pod, address, port), ["web1", "web2"])
    kube.delete("service", "web", namespace=scene.namespace)
    for node in NODES:
        until(lambda n=node: from_outside(NODE[n][family], port) == "refused", 20, "the port is gone")  # type: ignore[misc]


def test_local_endpoints_see_their_clients_and_nodes_without_one_answer_nobody(scene: Scene) -> None:
    scene.start(backend("web1", "node1"), backend("web2", "node1"), manifest("two", "node2"))
    made = create(scene, "web", type="LoadBalancer", externalTrafficPolicy="Local")
    port, health = node_port(made), int(made["spec"]["healthCheckNodePort"])
    for near, far, me in zip(NODE["node1"], NODE["node2"], ME, strict=True):
        hears(asks_outside(near, port), ["web1", "web2"])
        assert peer(from_outside(near, port, "clientip")) == me, "the client's own address"
        hears(asks_node("node2", near, port), ["web1", "web2"])
        assert from_outside(far, port) == NEVER
        assert from_node("node1", far, port) == NEVER, "another node is outside"
        hears(asks_node("node2", far, port), ["web1", "web2"])
        hears(asks_pod(scene, "two", far, port), ["web1", "web2"])
        assert json.loads(from_outside(near, health, "healthz")) == {
            "service": {"namespace": scene.namespace, "name": "web"},
            "localEndpoints": 2,
            "serviceProxyHealthy": True,
        }
    assert status_of(NODE["node2"][0], health) == "503"
    scene.start(backend("web3", "node2"))
    hears(asks_outside(NODE["node2"][1], port), ["web3"])
    until(lambda: status_of(NODE["node2"][1], health) == "200", 20, "node2 says that it has an endpoint")
    kube.delete("service", "web", namespace=scene.namespace)
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
            hears(asks_outside(address, 80), ["web1"])
            hears(asks_node("node2", address, 80), ["web1"], 2)
            hears(asks_pod(scene, "one", address, 80), ["web1"], 2)
        for address in balanced:
            assert from_outside(address, 80) == NEVER
            hears(asks_node("node1", address, 80), ["web1"], 2)  # the nodes' own processes are admitted
        assert from_outside(NODE["node1"][0], node_port(made)) == "web1", "node ports admit everybody"
        ranges = [f"{ME[0]}/32", f"{ME[1]}/128"]
        kube.patch("service", "web", {"spec": {"loadBalancerSourceRanges": ranges}}, scene.namespace)
        for address in balanced:
            hears(asks_outside(address, 80), ["web1"])
        kube.delete("service", "web", namespace=scene.namespace)
        for address in [*given, *balanced]:
            until(lambda a=address: from_outside(a, 80) != "web1", 20, "the address is gone")  # type: ignore[misc]


def admit(scene: Scene, addresses: Sequence[str]) -> None:
    """As a load balancer does."""
    status = {"status": {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}}}
    kube.patch("service", "web", status, scene.namespace, part="status")


@pytest.mark.parametrize(("policy", "source"), [("Cluster", 40001), ("Local", 40002)], ids=["Cluster", "Local"])
def test_a_client_of_udp_is_led_to_the_endpoint_there_is(scene: Scene, policy: str, source: int) -> None:
    """It sends from one port all the time, before there is anything and after that was replaced."""
    made = create(scene, "web", externalTrafficPolicy=policy)
    port, (address, _) = node_port(made, "udp"), NODE["node1"]

    def ask() -> str:
        return _heard(address, port, source)

    assert ask() == NEVER
    scene.start(backend("web1", "node1"))
    until(lambda: ask() == "web1", 20, "the first answers")
    scene.delete("web1")
    scene.start(backend("web2", "node1"))
    until(lambda: ask() == "web2", 20, "the second answers")


@pytest.mark.alone
def test_clients_of_udp_that_asked_too_early_are_led_to_the_service(scene: Scene) -> None:
    """They send from one port: before the Service is made, while its node knows it and OVN there does not, and then."""
    scene.start(backend("web1", "node2"))
    owns = create(scene, "web")["spec"]["clusterIPs"]
    kube.delete("service", "web", namespace=scene.namespace)
    clients = [(own, 81, 40003, CONTROL_PLANE_NODE.netns) for own in owns]

    def ask() -> list[str]:
        return [_heard(*client) for client in clients]

    until(lambda: scene.namespace not in node_exec("node1", *LIST_SERVICES), 20, "the Service is gone")
    assert set(ask()) == {NEVER}
    node_exec("node1", "pkill", "-STOP", "-x", "ovn-controller")
    try:
        port = node_port(create(scene, "web", clusterIP=owns[0], clusterIPs=owns), "udp")
        clients += [(address, port, 40004, OUTSIDE_NETNS) for address in NODE["node1"]]
        until(lambda: scene.namespace in node_exec("node1", *LIST_SERVICES), 20, "the node knows the Service")
        ask()
    finally:
        node_exec("node1", "pkill", "-CONT", "-x", "ovn-controller")
    until(lambda: ask() == ["web1"] * 4, 20, "all of them are answered")


def _heard(address: str, port: int, source: int, netns: str = OUTSIDE_NETNS) -> str:
    try:
        return dial(address, port, source, netns)
    except OSError:
        return NEVER


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
        hears(asks_outside(address, port), ["web1"])


def test_endpoints_that_are_processes_of_nodes(scene: Scene) -> None:
    """The fabric would be answered past: the nodes reach them by themselves."""
    web = manifest("web1", "node1", command=(*BACKEND[:2], "--http-port=8099", "--udp-port=8098"))
    web["metadata"]["labels"], web["spec"]["hostNetwork"] = {"app": "web"}, True
    scene.start(web, manifest("one", "node1"), manifest("two", "node2"))
    ports = [{"name": "http", "port": 80, "targetPort": 8099}]
    made = create(scene, "web", ports=ports)
    for family, own in enumerate(made["spec"]["clusterIPs"]):
        for node in NODES:
            hears(asks_node(node, own, 80), ["node1"], 4)
            address, port = NODE[node][family], node_port(made)
            hears(asks_outside(address, port), ["node1"], 4)
            hears(asks_node("node2", address, port), ["node1"], 4)
        for pod in ("one", "two"):
            hears(asks_pod(scene, pod, own, 80), ["node1"], 4)
            hears(asks_pod(scene, pod, address, port), ["node1"], 4)


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
            hears(asks_outside(own, 80), ["web1", "web2"])
    assert "Failed to connect" in scene.shell("one", "curl -sS --max-time 2 http://10.111.255.254/ 2>&1 || true")


@pytest.mark.alone
def test_the_table_is_written_again_when_somebody_removes_it(scene: Scene) -> None:
    scene.start(backend("web1", "node1"))
    port = node_port(create(scene, "web"))
    hears(asks_outside(NODE["node2"][0], port), ["web1"])
    first = node_exec("node2", "nft", "list", "table", "inet", marks.NFT_TABLE)
    node_exec("node2", "nft", "delete", "table", "inet", marks.SERVICES_TABLE)
    hears(asks_outside(NODE["node2"][0], port), ["web1"])
    assert digest(node_exec("node2", "nft", "list", "table", "inet", marks.NFT_TABLE)) == digest(first)


def digest(table: str) -> str:
    return next(line for line in table.splitlines() if "comment" in line)


def test_endpoints_whose_subnet_leaves_through_another_node(scene: Scene, block: Block) -> None:
    """Their answers would leave there: the node that was asked stands in for its clients."""
    with centralized(scene, block) as place:
        web = backend("web1", "node1")
        web["metadata"]["annotations"] = {SWITCH: place}
        scene.start(web)
        port = node_port(create(scene, "web", externalTrafficPolicy="Local"))
        for address in NODE["node1"]:
            hears(asks_outside(address, port), ["web1"])
        kube.patch("service", "web", {"spec": {"externalTrafficPolicy": "Cluster"}}, scene.namespace)
        for address in NODE["node2"]:
            hears(asks_outside(address, port), ["web1"])
        scene.delete("web1")
