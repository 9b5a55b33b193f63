"""What is the nodes' own is reached by nodes alone."""

from functools import partial

from kube_ovn.model import names
from sandbox.layout import CONTROL_PLANE_NODE, IpFamily
from tests.cluster import kube
from tests.cluster.gateways import node4
from tests.cluster.lab import Scene, manifest, node_exec, until
from tests.cluster.test_node_ports import from_outside, node_port
from tests.cluster.test_services import service, slice_of

FAMILY = IpFamily.DUAL
NODE = str(CONTROL_PLANE_NODE.v4.ip)
REFUSED, CONNECTED = "7", "28"
"""What curl(1) ends with: it was refused, or was connected and heard nothing in its time."""


def connects(port: int, address: str = NODE) -> str:
    """A script that connects and prints the code that curl ends with."""
    return f"curl -s --max-time 2 telnet://{address}:{port} </dev/null >/dev/null; echo $?"


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
