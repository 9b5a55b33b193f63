"""What is the nodes' own is reached by nodes alone."""

from functools import partial

import pytest

from kube_ovn.model import names
from sandbox.demo import SYSTEM, kubectl
from sandbox.layout import CONTROL_PLANE_NODE, IpFamily
from sandbox.paths import SandboxError
from tests.cluster import kube
from tests.cluster.fabric import Block, becomes, ready, remove_subnet, subnet, told, warned
from tests.cluster.gateways import node4
from tests.cluster.lab import Pod, Scene, manifest, node_exec, node_try, until
from tests.cluster.test_addresses import PREFIX
from tests.cluster.test_node_ports import from_outside, node_port
from tests.cluster.test_services import service, slice_of

FAMILY = IpFamily.DUAL
NODE = str(CONTROL_PLANE_NODE.v4.ip)
REFUSED, CONNECTED = "7", "28"
"""What curl(1) ends with: it was refused, or was connected and heard nothing in its time."""


def connects(port: int, address: str = NODE) -> str:
    """A script that connects and prints the code that curl ends with."""
    return f"curl -s --max-time 2 telnet://{address}:{port} </dev/null >/dev/null; echo $?"


def test_answers_are_written_by_the_controller_alone(scene: Scene) -> None:
    """Of whom the API server knows to be another, also an administrator."""
    forged = manifest("forged")
    forged["metadata"]["annotations"] = {f"{PREFIX}/allocated": "true", f"{PREFIX}/ip_address": "10.16.0.1"}
    with pytest.raises(SandboxError, match=r"annotation ovn.kubernetes.io/allocated is an answer of kube-ovn-contr"):
        scene.create(forged)
    (web,) = scene.start(manifest("web"))
    for key in ("allocated", "ip_address", "gateway"):
        for value in ("other", None):
            with pytest.raises(SandboxError, match=rf"annotation ovn.kubernetes.io/{key} is an answer of kube-ovn"):
                scene.annotate("pod", "web", {f"{PREFIX}/{key}": value})
    scene.annotate("pod", "web", {f"{PREFIX}/port_vips": "10.16.200.1", "note": "wishes are free"})
    assert web.ip in scene.pods()["web"].annotations[f"{PREFIX}/ip_address"].split(",")


def test_the_account_of_one_node_writes_no_other_node(cluster: dict[str, str]) -> None:
    account = f"--as=system:serviceaccount:{SYSTEM}:kube-ovn-cni"
    on_node1 = "--as-user-extra=authentication.kubernetes.io/node-name=node1"
    kubectl(account, on_node1, "annotate", "node", "node1", "note=mine")
    kubectl(account, on_node1, "annotate", "node", "node1", "note-")
    with pytest.raises(SandboxError, match="kube-ovn-cni writes the Node that it runs on, and no other"):
        kubectl(account, on_node1, "annotate", "node", "node2", "note=another")


def test_databases_are_for_nodes(scene: Scene) -> None:
    """Whoever has no node's address asks at the node, through its Pod's network, or at a Service that leads there."""
    one, two = scene.start(manifest("one", "node1"), manifest("two", "node2"))
    for port in names.DATABASE_PORTS[:2]:
        target = slice_of("db", NODE, port=port)
        lead = service("db", type="NodePort", ports=[{"name": "http", "port": 80, "targetPort": port}])
        del lead["spec"]["selector"]
        scene.create(lead, target)
        made = kube.read("service", "db", scene.namespace)
        address, public = made["spec"]["clusterIP"], node_port(made)
        for node in ("node1", "node2"):
            assert node_exec(node, "sh", "-c", connects(port)).strip() == CONNECTED
        leads = partial(node_exec, "node2", "sh", "-c", connects(80, address))
        until(lambda leads=leads: leads().strip() == CONNECTED, 20, "it leads there")  # type: ignore[misc]
        for pod in (one, two):
            assert scene.shell(pod, connects(port)).strip() == REFUSED
            assert scene.shell(pod, connects(80, address)).strip() == REFUSED
        assert from_outside(NODE, port) == "refused"
        for number in (1, 2):
            assert from_outside(node4(number), public) == "refused"
        kube.delete("service", "db", namespace=scene.namespace)
        kube.delete("endpointslice", "db-own", namespace=scene.namespace)


def test_a_network_that_a_node_is_attached_to_is_no_subnets(scene: Scene, block: Block) -> None:
    """One that is there first keeps new Subnets out; one that comes later wins on its node, which is told."""
    name, later = f"s-{scene.namespace}", block.cidr4(1)
    node_exec("node2", "ip", "link", "add", "bridge9", "type", "veth", "peer", "name", "far9")
    try:
        for link in ("bridge9", "far9"):
            node_exec("node2", "ip", "link", "set", link, "up")
        node_exec("node2", "ip", "address", "add", f"{block.v4(1)}/24", "dev", "bridge9")
        words = f"{block.cidr4()} (bridge9) of node node2"
        becomes("node", "node2", lambda item: block.cidr4() in networks(item), 20, "the network is told")
        kube.apply(subnet(name, block.cidr4(), namespaces=[scene.namespace]))
        told("subnet", name, "Validated", f"CIDR {block.cidr4()} overlaps {words}; choose another")
        kube.apply(subnet(name, later, namespaces=[scene.namespace]))
        ready(name)
        (pod,) = scene.start(manifest("pod", "node1"))
        assert "ovn0" in way(2, pod)

        node_exec("node2", "ip", "address", "add", f"{block.v4(1, 1)}/24", "dev", "bridge9")
        warned("Node", "node2", f"{later} (bridge9) of node node2 overlaps subnet {name}")
        until(lambda: "bridge9" in way(2, pod), 20, "the node's own way wins")
        assert "ovn0" in way(1, pod)
        node_exec("node2", "ip", "link", "delete", "bridge9")
        until(lambda: "ovn0" in way(2, pod), 20, "and ends with its network")
    finally:
        node_try("node2", "ip", "link", "delete", "bridge9")
        becomes("node", "node2", lambda item: "bridge9" not in networks(item), 20, "the network is told no more")
        remove_subnet(scene, name)


def way(number: int, pod: Pod) -> str:
    """The route of a node to a Pod."""
    return node_exec(f"node{number}", "ip", "route", "get", pod.ip)


def networks(node: kube.Json) -> str:
    text: str = node["metadata"]["annotations"].get(names.NETWORKS, "")
    return text
