"""Services by their own addresses, with nobody but the fabric to answer them."""

import json
import re
from collections.abc import Sequence

from kube_ovn.model import nb
from sandbox.layout import API_SERVICE_V4
from tests.cluster.lab import HTTP, Json, Pod, Scene, manifest, node_exec, until
from tests.cluster.northbound import read_rows

UDP = 8081
BACKEND = ("/agnhost", "netexec", f"--http-port={HTTP}", f"--udp-port={UDP}")
NODES = ("node1", "node2")


def service(name: str, **spec: object) -> Json:
    """Of the Pods labelled with its name."""
    ports = [{"name": "http", "port": 80, "targetPort": HTTP}]
    ports.append({"name": "udp", "port": 81, "targetPort": UDP, "protocol": "UDP"})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports, **spec},
    }


def backend(name: str, node: str, app: str = "web") -> Json:
    made = manifest(name, node, command=BACKEND)
    made["metadata"]["labels"] = {"app": app}
    return made


def create(scene: Scene, name: str, **spec: object) -> str:
    """Make a Service; its address."""
    scene.kubectl("create", "-f", "-", text=json.dumps(service(name, **spec)))
    return str(json.loads(scene.kubectl("get", "service", name, "-o", "json"))["spec"]["clusterIP"])


def serves(scene: Scene, address: str, pods: Sequence[str]) -> None:
    """Wait until the fabric sends what is for a Service to these Pods and no others."""
    wanted = {f"{pod.ip}:{HTTP}" for name, pod in scene.pods().items() if name in pods}

    def sent() -> bool:
        vips = [row["vips"].get(f"{address}:80") for row in read_rows(nb.LoadBalancer)]
        return any(set(filter(None, vip.split(","))) == wanted for vip in vips if vip is not None)

    until(sent, 20, f"{address} is served by {', '.join(pods)}")


def answers(scene: Scene, client: Pod, address: str, count: int = 20, path: str = "hostname") -> set[str]:
    """What a Pod hears over as many connections, one after another."""
    script = f"for n in $(seq {count}); do curl -sS --max-time 3 http://{address}/{path} || echo failed; echo; done"
    return set(scene.shell(client, script, timeout=90).split())


def answers_node(node: str, address: str, count: int = 20, path: str = "hostname") -> set[str]:
    """The same of a node's own process."""
    return {node_exec(node, "curl", "-sS", "--max-time", "3", f"http://{address}/{path}") for _ in range(count)}


def test_pods_and_nodes_reach_all_backends_and_are_known_by_their_own_address(scene: Scene) -> None:
    names = ["web1", "web2"]
    host = manifest("host", "node2")
    host["spec"]["hostNetwork"] = True
    clients = scene.start(
        *map(backend, names, NODES), manifest("one", "node1"), manifest("two", "node2"), host, within=90
    )[2:]
    address = create(scene, "web")
    serves(scene, address, names)
    for client in clients:
        assert answers(scene, client, address) == set(names)
    for client in clients[:2]:
        (seen,) = {text.rpartition(":")[0] for text in answers(scene, client, address, path="clientip")}
        assert seen == client.ip, "the backend sees who asked"
    for node in NODES:
        assert answers_node(node, address) == set(names)


def test_a_pod_reaches_itself_through_its_service(scene: Scene) -> None:
    (pod,) = scene.start(backend("web1", "node1"))
    address = create(scene, "web")
    serves(scene, address, ["web1"])
    assert answers(scene, pod, address) == {"web1"}


def test_udp(scene: Scene) -> None:
    one, _ = scene.start(backend("web1", "node1"), backend("web2", "node2"))
    address = create(scene, "web")
    serves(scene, address, ["web1", "web2"])
    ask = f"curl -sS 'http://localhost:{HTTP}/dial?request=hostname&protocol=udp&host={address}&port=81&tries=20'"
    assert set(json.loads(scene.shell(one, ask))["responses"]) == {"web1", "web2"}


def test_without_an_endpoint_a_client_is_refused_at_once(scene: Scene) -> None:
    (client,) = scene.start(manifest("client", "node1"))
    address = create(scene, "web")
    serves(scene, address, [])
    said = scene.shell(client, f"curl -sS --max-time 3 -w '%{{time_total}}' http://{address}/ 2>&1 || true")
    assert "Failed to connect" in said
    assert float(re.findall(r"[0-9.]+$", said)[0]) < 1
    scene.start(backend("web1", "node2"))
    serves(scene, address, ["web1"])
    assert answers(scene, client, address) == {"web1"}
    scene.delete("web1")
    serves(scene, address, [])
    assert answers(scene, client, address, count=3) == {"failed"}


def test_the_api_server_answers_pods_at_its_service(scene: Scene) -> None:
    for client in scene.start(manifest("one", "node1"), manifest("two", "node2")):
        assert "Forbidden" in scene.shell(client, f"curl -sSk --max-time 3 https://{API_SERVICE_V4}/api")


def test_a_client_stays_with_its_backend_when_asked_for(scene: Scene) -> None:
    names = ["web1", "web2", "web3", "web4"]
    clients = scene.start(
        *(backend(name, NODES[number % 2]) for number, name in enumerate(names)),
        *(manifest(f"client{number}", NODES[number % 2]) for number in range(6)),
        within=90,
    )[len(names) :]
    address = create(scene, "web", sessionAffinity="ClientIP")
    serves(scene, address, names)
    homes = {client.name: answers(scene, client, address) for client in clients}
    assert all(len(home) == 1 for home in homes.values()), homes
    assert len(set.union(*homes.values())) > 1, "not all with one"
    assert len(answers_node("node1", address)) == 1
