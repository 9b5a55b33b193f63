"""A cluster that speaks IPv6 alone: nodes, databases, tunnels and Pods."""

from kube_ovn.model.names import DATABASE_PORTS
from sandbox.layout import CONTROL_PLANE_NODE, IpFamily
from tests.cluster.fabric import Block, change, own_subnet
from tests.cluster.gateways import FAR6, node6, sees
from tests.cluster.lab import HTTP, SERVER, Scene, manifest, node_exec, until
from tests.cluster.outside import fetch, routed
from tests.cluster.test_boundary import CONNECTED, REFUSED, connects
from tests.cluster.test_dns import ZONE, ask
from tests.cluster.test_node_ports import from_outside
from tests.cluster.test_services import answers, answers_node, backend, create

FAMILY = IpFamily.IPV6
CLUSTER_DNS = "fd00:10:96::a"


def test_pods_reach_each_other_and_the_outside(scene: Scene) -> None:
    near, far = scene.start(manifest("near", "node1"), manifest("far", "node2", command=SERVER))
    assert ":" in far.ip
    until(lambda: scene.every_ping_answered(near, far.ip), 20, "they talk")
    assert scene.shell(near, f"curl -sS --max-time 5 'http://[{far.ip}]:{HTTP}/hostname'") == "far"
    assert scene.shell(near, f"curl -sS --max-time 5 'http://[{FAR6}]/'")


def test_a_centralized_subnet_leaves_through_its_gateway(scene: Scene, block: Block) -> None:
    with own_subnet(scene, block.cidr6(), gatewayType="centralized", gatewayNode="node2", natOutgoing=True) as place:
        (pod,) = scene.start(manifest("pod", "node1", command=SERVER))
        sees(scene, pod, node6(2))
        change(place, natOutgoing=False)
        with routed((block.cidr6(), node6(2))):
            sees(scene, pod, pod.ip)
            assert fetch(f"http://[{pod.ip}]:{HTTP}/hostname") == "pod"


def test_services_and_names(scene: Scene) -> None:
    names = ["web1", "web2"]
    client = scene.start(*map(backend, names, ("node1", "node2")), manifest("client", "node2"), within=90)[2]
    address = create(scene, "web")
    assert ":" in address
    name = f"web.{scene.namespace}.svc.{ZONE}"
    until(lambda: ask(client, name, "AAAA", CLUSTER_DNS).answers == [address], 10, f"{name} is {address}")
    assert ask(client, name, "A", CLUSTER_DNS).code == "NOERROR", "there is none, and nobody has to wait for it"
    until(lambda: answers(scene, client, "web", count=3) <= set(names), 20, "the Service answers")
    assert answers(scene, client, f"[{address}]") == set(names)
    assert answers_node("node1", f"[{address}]") == set(names)


def test_databases_are_for_nodes(scene: Scene) -> None:
    address, port = str(CONTROL_PLANE_NODE.v6.ip), DATABASE_PORTS[0]
    script = connects(port, f"[{address}]")
    assert node_exec("node2", "sh", "-c", script).strip() == CONNECTED
    for pod in scene.start(manifest("one", "node1"), manifest("two", "node2")):
        assert scene.shell(pod, script).strip() == REFUSED
    assert from_outside(address, port) == "refused"
