"""Services by their own addresses, with nobody but the fabric to answer them."""

import json
import re
from collections.abc import Sequence

import pytest

from kube_ovn.model import nb
from sandbox.layout import API_SERVICE_V4
from sandbox.paths import SandboxError
from tests.cluster import kube
from tests.cluster.fabric import Block, ready, records, remove_subnet, subnet, told, warned
from tests.cluster.kube import Json
from tests.cluster.lab import HTTP, SLEEP, Pod, Scene, manifest, node_exec, until
from tests.cluster.northbound import read_rows, until_nodes_follow

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
    made = manifest(name, node, command=BACKEND, readinessProbe={"tcpSocket": {"port": HTTP}, "periodSeconds": 1})
    made["metadata"]["labels"] = {"app": app}
    return made


def create(scene: Scene, name: str, **spec: object) -> str:
    """Make a Service; its address."""
    scene.create(service(name, **spec))
    return str(read_service(scene, name)["spec"]["clusterIP"])


def read_service(scene: Scene, name: str) -> Json:
    return kube.read("service", name, scene.namespace)


def serves(scene: Scene, address: str, pods: Sequence[str], port: int = 80, target: int = HTTP) -> None:
    """Wait until every node sends what is for a Service to these Pods and no others."""
    wanted = {f"{pod.ip}:{target}" for name, pod in scene.pods().items() if name in pods}

    def sent() -> bool:
        vips = [row["vips"].get(f"{address}:{port}") for row in read_rows(nb.LoadBalancer)]
        return any(set(filter(None, vip.split(","))) == wanted for vip in vips if vip is not None)

    until(sent, 20, f"{address} is served by {', '.join(pods)}")
    until_nodes_follow()


def answers(scene: Scene, client: Pod, address: str, count: int = 20, path: str = "hostname") -> set[str]:
    """What a Pod hears over as many connections, one after another; where one has none, what curl says of it."""
    script = f"for n in $(seq {count}); do curl -gsS --max-time 3 http://{address}/{path} 2>&1; echo; done"
    return set(filter(None, scene.shell(client, script, timeout=90).splitlines()))


def unanswered(said: set[str]) -> bool:
    """Whether every connection failed."""
    return all(line.startswith("curl: (") for line in said)


def refused_at_once(scene: Scene, client: Pod, address: str) -> bool:
    said = scene.shell(client, f"curl -sS --max-time 3 -w '%{{time_total}}' http://{address}/ 2>&1 || true")
    return "Failed to connect" in said and float(re.findall(r"[0-9.]+$", said)[0]) < 1


def heard(scene: Scene, client: Pod, address: str, backend: str) -> None:
    """Wait until a client is sent to this backend: each node learns it in its own time."""
    until(lambda: answers(scene, client, address, count=1) == {backend}, 20, f"{backend} answers {client.name}")


def answers_node(node: str, address: str, count: int = 20, path: str = "hostname") -> set[str]:
    """The same of a node's own process."""
    script = f"for n in $(seq {count}); do curl -gsS --max-time 3 http://{address}/{path} || exit; echo; done"
    return set(filter(None, node_exec(node, "sh", "-c", script, timeout=90).splitlines()))


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
    large = "n" * 2000  # more than the MTU
    ask = ask.replace("request=hostname", f"request=echo%20{large}")
    assert set(json.loads(scene.shell(one, ask))["responses"]) == {large}, "no part of a datagram is lost"


def test_without_an_endpoint_a_client_is_refused_at_once(scene: Scene) -> None:
    (client,) = scene.start(manifest("client", "node1"))
    address = create(scene, "web")
    serves(scene, address, [])
    assert refused_at_once(scene, client, address)
    scene.start(backend("web1", "node2"))
    serves(scene, address, ["web1"])
    assert answers(scene, client, address) == {"web1"}
    scene.delete("web1")
    serves(scene, address, [])
    assert unanswered(answers(scene, client, address, count=3))


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


def test_an_endpoint_that_stopped_answering_is_left_out_when_asked_for(scene: Scene) -> None:
    """Kubernetes goes on listing it: without a probe of its own a Pod is ready."""
    deaf = backend("web1", "node1")
    del deaf["spec"]["containers"][0]["readinessProbe"]
    deaf["spec"]["containers"][0]["command"] = ("sh", "-c", f"{' '.join(BACKEND)} & {SLEEP[2]}")
    client = scene.start(manifest("client", "node2"), deaf, backend("web2", "node2"))[0]
    made = service("web", ports=[{"name": "http", "port": 80, "targetPort": HTTP}])
    made["metadata"]["annotations"] = {"ovn.kubernetes.io/service_health_check": "true"}
    scene.create(made)
    address = read_service(scene, "web")["spec"]["clusterIP"]
    serves(scene, address, ["web1", "web2"])
    record = "checks-ovn-default"
    checking = records(lambda seen: seen.get(record), 10, "there is an address to check from")
    assert checking["subnet"] == "ovn-default"
    source = checking["v4IpAddress"]
    assert source not in {pod.ip for pod in scene.pods().values()}
    until(lambda: answers(scene, client, address) == {"web1", "web2"}, 20, "both answer")
    scene.shell("web1", "pkill agnhost")
    until(lambda: answers(scene, client, address) == {"web2"}, 20, "who does not answer is left out")
    scene.shell("web1", f"{' '.join(BACKEND)} >/dev/null 2>&1 &")
    until(lambda: answers(scene, client, address) == {"web1", "web2"}, 20, "who answers again is asked again")
    scene.annotate("service", "web", {"ovn.kubernetes.io/service_health_check": "often"})
    assert "neither true nor false" in warned("Service", "web", "service_health_check", scene.namespace)
    kube.gone("ip", record, within=20)


def slice_of(name: str, *addresses: str, port: int = HTTP, part: str = "own", **more: object) -> Json:
    """As a user writes one for a Service without a selector."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-{part}", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], **more} for address in addresses],
    }


def test_clients_of_a_local_policy_stay_on_their_node(scene: Scene) -> None:
    names = ["web1", "web2"]
    one, two = scene.start(*map(backend, names, NODES), manifest("one", "node1"), manifest("two", "node2"))[2:]
    address = create(scene, "web", internalTrafficPolicy="Local")
    for client, at_home in ((one, "web1"), (two, "web2")):
        heard(scene, client, address, at_home)
        assert answers(scene, client, address) == {at_home}
        assert answers_node(client.node, address) == {at_home}
    scene.delete("web2")
    until(lambda: unanswered(answers(scene, two, address, count=1)), 20, "nobody is left on node2")
    assert refused_at_once(scene, two, address)
    assert answers(scene, one, address) == {"web1"}


def test_a_client_of_udp_is_led_to_the_next_endpoint_on_its_node(scene: Scene) -> None:
    """It never stops sending from one port, also while there is none."""
    client = scene.start(manifest("one", "node1"), backend("web1", "node1"), backend("web2", "node2"))[0]
    address = create(scene, "web", internalTrafficPolicy="Local")

    def asked() -> str:
        return scene.shell(client, f"echo hostname | nc -u -w 1 -p 5353 {address} 81 || true").strip()

    until(lambda: asked() == "web1", 20, "the first answers")
    scene.delete("web1")
    until(lambda: asked() == "", 20, "nobody is left")
    assert not asked()
    scene.start(backend("web3", "node1"))
    until(lambda: asked() == "web3", 40, "the next one answers")


def test_a_client_of_udp_that_asked_too_early_is_led_to_the_service(scene: Scene) -> None:
    """It sends from one port before and after the Service is made."""
    client, _ = scene.start(manifest("one", "node1"), backend("web1", "node2"))
    address = create(scene, "web")
    kube.delete("service", "web", namespace=scene.namespace)
    ask = f"echo hostname | nc -u -w 1 -p 5354 {address} 81 || true"

    vip = f"{address}:81"
    until(lambda: not [row for row in read_rows(nb.LoadBalancer) if vip in row["vips"]], 20, "the Service is gone")
    until_nodes_follow()
    assert not scene.shell(client, ask).strip()
    assert create(scene, "web", clusterIP=address) == address
    until(lambda: scene.shell(client, ask).strip() == "web1", 20, "the Service answers")


def test_clients_are_kept_near_when_asked_for(scene: Scene) -> None:
    """By hints, as the EndpointSlice controller writes them for `trafficDistribution`."""
    names = ["web1", "web2"]
    one, two = scene.start(*map(backend, names, NODES), manifest("one", "node1"), manifest("two", "node2"))[2:]
    address = create(scene, "web", trafficDistribution="PreferSameNode")
    until(lambda: answers(scene, one, address, count=5) == {"web1"}, 20, "node1 asks its own")
    until(lambda: answers(scene, two, address, count=5) == {"web2"}, 20, "node2 asks its own")
    scene.delete("web2")
    until(lambda: answers(scene, two, address, count=5) == {"web1"}, 20, "better far than not at all")


def test_endpoints_that_leave_serve_while_there_is_no_other(scene: Scene) -> None:
    slow = backend("web1", "node1")
    slow["spec"]["containers"][0]["command"] = [*BACKEND, "--delay-shutdown=60"]
    slow["spec"]["terminationGracePeriodSeconds"] = 90
    client = scene.start(slow, manifest("client", "node2"))[1]
    address = create(scene, "web")
    serves(scene, address, ["web1"])
    kube.delete("pod", "web1", namespace=scene.namespace)
    until(lambda: scene.pods()["web1"].ready is False or _leaving(scene), 20, "web1 is leaving")
    assert answers(scene, client, address) == {"web1"}
    scene.start(backend("web2", "node1"))
    serves(scene, address, ["web2"])
    assert answers(scene, client, address) == {"web2"}
    scene.delete("web1", grace=0)


def _leaving(scene: Scene) -> bool:
    slices = kube.get("endpointslice", scene.namespace)
    conditions = [each["conditions"] for item in slices for each in item.get("endpoints") or ()]
    return any(each.get("terminating") and each.get("serving") for each in conditions)


def test_an_address_outside_the_cluster_is_answered_inside_too(scene: Scene) -> None:
    client, _ = scene.start(manifest("client", "node2"), backend("web1", "node1"))
    create(scene, "web", externalIPs=["192.0.2.80"])
    serves(scene, "192.0.2.80", ["web1"])
    assert answers(scene, client, "192.0.2.80") == {"web1"}
    (seen,) = {text.rpartition(":")[0] for text in answers(scene, client, "192.0.2.80", path="clientip")}
    assert seen == client.ip


def test_a_further_range_of_service_addresses_is_served_as_long_as_it_is_there(scene: Scene, block: Block) -> None:
    """KEP-1880. Nodes reach it too, no new Subnet gets it, and it is forgotten when it goes."""
    name, cidr = f"c-{scene.namespace}", block.cidr4()
    client, _ = scene.start(manifest("client", "node2"), backend("web1", "node1"))
    kube.create(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": name},
            "spec": {"cidrs": [cidr]},
        }
    )
    try:
        kube.when(lambda seen: is_ready(seen[name]) or None, 30, f"{name} is Ready", "servicecidr")
        address = create(scene, "web", clusterIP=block.v4(80))
        assert address == block.v4(80)
        serves(scene, address, ["web1"])
        assert answers(scene, client, address) == {"web1"}
        for node in NODES:
            until(lambda node=node: answers_node(node, address, count=1) == {"web1"}, 20, f"{node} is served")  # type: ignore[misc]
        kube.apply(subnet(name, block.cidr4(length=25), namespaces=[scene.namespace]))
        told(
            "subnet",
            name,
            "Validated",
            f"CIDR {block.cidr4(length=25)} overlaps the ServiceCIDR '{name}' ({cidr}); choose another",
        )
        kube.delete("service", "web", namespace=scene.namespace)
        kube.remove("servicecidr", name)
        ready(name)
        until(lambda: cidr not in ways("node2"), 20, "the node has forgotten it")
    finally:
        scene.kubectl("delete", "servicecidr", name, "--ignore-not-found", "--wait=false")
        remove_subnet(scene, name)


def is_ready(cidr: Json) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in cidr["status"].get("conditions", []))


def ways(node: str) -> str:
    """The networks that a node reaches through the fabric."""
    return node_exec(node, "ip", "route", "show", "dev", "ovn0")


def test_what_a_service_must_not_have_it_is_told(scene: Scene) -> None:
    """Another's address and port, and an address of the fabric's own: both would take somebody's packets away."""
    (pod,) = scene.start(backend("web1", "node1"))
    create(scene, "web", externalIPs=["192.0.2.81"])
    # Of two of one second the one whose name comes first is the older.
    create(scene, "web-thief", externalIPs=["192.0.2.81", pod.ip])
    serves(scene, "192.0.2.81", ["web1"])
    name, space = "web-thief", scene.namespace
    warned("Service", name, "192.0.2.81:80/TCP is that of another Service; use another", space)
    warned("Service", name, f"{pod.ip} is an address of Subnet ovn-default, and stays so", space)
    assert answers(scene, pod, pod.ip + f":{HTTP}") == {"web1"}
    kube.delete("service", "web", namespace=scene.namespace)
    serves(scene, "192.0.2.81", [])


def test_odd_services_harm_nobody(scene: Scene) -> None:
    """A thousand endpoints, the longest name, an endpoint twice and one in no subnet, a slice whose Service is gone."""
    client, _ = scene.start(manifest("client", "node2"), backend("web1", "node1"))
    address = create(scene, "web")
    long = "a" * 63
    plain = {"ports": [{"name": "http", "port": 80}]}
    made = [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": plain} for name in (long, "odd")
    ]
    made += [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "elsewhere"}, "spec": _elsewhere()}]
    web1 = scene.pods()["web1"].ip
    many = [f"10.16.{100 + number // 250}.{number % 250 + 1}" for number in range(999)]
    made += [slice_of(long, *many, web1), slice_of("odd", web1, web1, "203.0.113.9"), slice_of("gone", web1)]
    scene.create(*made)
    serves(scene, address, ["web1"])
    rows = {row["name"]: row["vips"] for row in read_rows(nb.LoadBalancer)}
    vip = until(lambda: _endpoints(f"{scene.namespace}/{long}/tcp"), 20, "the long one is there")
    assert len(vip.split(",")) == 1000
    vip = until(lambda: _endpoints(f"{scene.namespace}/odd/tcp"), 20, "the odd one is there")
    assert vip == f"{web1}:{HTTP},203.0.113.9:{HTTP}"
    assert not [name for name in rows if name.endswith(("/gone/tcp", "/elsewhere/tcp"))]
    assert answers(scene, client, address) == {"web1"}


def _endpoints(name: str) -> str:
    """The endpoints of a load balancer of one address; empty as long as it has none."""
    return next(
        (each for row in read_rows(nb.LoadBalancer) if row["name"] == name for each in row["vips"].values()), ""
    )


def _elsewhere() -> Json:
    return {"type": "ExternalName", "externalName": "www.example.com"}


def test_a_port_out_of_range_is_refused_by_the_api_server(scene: Scene) -> None:
    bad = service("bad")
    bad["spec"]["ports"] = [{"port": 70000}]
    with pytest.raises(SandboxError, match="must be between 1 and 65535"):
        scene.create(bad)
