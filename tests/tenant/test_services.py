"""A Service takes nothing from a node, from the fabric or from another Service."""

import json

import pytest

from sandbox.layout import IpFamily
from sandbox.paths import SandboxError
from tests.cluster import kube
from tests.cluster.fabric import warned
from tests.cluster.gateways import node4, node6
from tests.cluster.lab import Scene, manifest, node_exec
from tests.cluster.test_node_ports import asks_node, asks_outside, asks_pod, hears
from tests.cluster.test_services import backend, service, slice_of
from tests.tenant.tenant import Tenant

FAMILY = IpFamily.DUAL
KUBELET = 10250
FREE = 9187


def on(name: str, port: int, *addresses: str) -> kube.Json:
    """A Service of Pods with label `app: web` at some external addresses."""
    made = service(name, externalIPs=list(addresses), selector={"app": "web"})
    made["spec"]["ports"] = [{"name": "http", "port": port, "targetPort": "http"}]
    made["spec"]["ipFamilyPolicy"] = "PreferDualStack"
    return made


def kubelet(node: str, address: str) -> str:
    """What a kubelet says to a client without a name."""
    return node_exec(node, "curl", "-skg", "--max-time", "3", f"https://{address}:{KUBELET}/pods")


def test_a_service_at_a_nodes_address_gets_what_the_node_leaves(scene: Scene, tenant: Tenant) -> None:
    web = backend("web1", "node1")
    web["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 8080}]
    tenant.create(web, manifest("pod", "node2"))
    scene.ready("web1", "pod")
    taken, free = (node4(1), node6(1)), (node4(2), node6(2))
    tenant.create(on("thief", KUBELET, *taken), on("honest", FREE, *free))
    for address in taken:
        spot = f"[{address}]:{KUBELET}" if ":" in address else f"{address}:{KUBELET}"
        warned("Service", "thief", f"the node itself listens at {spot}/TCP", scene.namespace)
    for address in free:
        hears(asks_outside(address, FREE), ["web1"])
        for node in ("node1", "node2"):
            hears(asks_node(node, address, FREE), ["web1"], 2)
        hears(asks_pod(scene, "pod", address, FREE), ["web1"], 2)
    for node in ("node1", "node2"):
        for address in (node4(1), f"[{node6(1)}]"):
            assert kubelet(node, address) == "Unauthorized"
    assert scene.shell("pod", f"curl -sk --max-time 3 https://{node4(1)}:{KUBELET}/pods") == "Unauthorized"


def test_a_service_gets_no_address_of_the_fabric(scene: Scene, tenant: Tenant) -> None:
    (pod,) = scene.start(manifest("pod", "node1"))
    dns = kube.read("service", "kubernetes", "default")["spec"]["clusterIP"]
    servers = kube.read("endpointslice", "kubernetes", "default")
    server, port = servers["endpoints"][0]["addresses"][0], servers["ports"][0]["port"]
    wishes = {
        "pods": (on("pods", 80, pod.ip), f"{pod.ip} is an address of Subnet ovn-default"),
        "services": (on("services", 443, dns), f"{dns} is an address of the cluster's Services"),
        "server": (on("server", port, server), f"{server}:{port}/TCP is that of the API server"),
        "links": (on("links", 80, "100.64.0.1"), "100.64.0.1 is an address of Subnet join"),
    }
    tenant.create(*(made for made, _ in wishes.values()))
    for name, (_, why) in wishes.items():
        warned("Service", name, why, scene.namespace)
    assert '"gitVersion"' in node_exec("node2", "curl", "-sk", "--max-time", "3", f"https://{server}:{port}/version")
    for address in ("127.0.0.1", "169.254.169.254", "::1"):
        with pytest.raises(SandboxError, match="externalIPs"):
            tenant.create(on("loopback", 10248, address))


def test_a_tenant_names_no_endpoints_of_its_own(scene: Scene, tenant: Tenant) -> None:
    """CVE-2021-25740: who may write them reaches what the nodes reach. Role `edit` does not have the right."""
    for resource in ("endpoints", "endpointslices.discovery.k8s.io"):
        assert not [verb for verb in ("create", "update", "patch") if tenant.may(verb, resource)]
    with pytest.raises(SandboxError, match="forbidden"):
        tenant.create(slice_of("web", node4(1), port=KUBELET))
    tenant.create(service("web"))
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}}
    with pytest.raises(SandboxError, match="forbidden"):
        tenant.kubectl("patch", "service", "web", "--subresource=status", f"--patch={json.dumps(status)}")


@pytest.mark.parametrize("port", [KUBELET, 10248, 6641])
def test_a_pod_gets_no_host_port_of_the_node(scene: Scene, tenant: Tenant, port: int) -> None:
    tenant.create(manifest("thief", "node2", ports=[{"containerPort": 80, "hostPort": port}]))
    warned("Pod", "thief", f"hostPort {port}/TCP is the node's own; choose another", scene.namespace)
    kube.remove("pod", "thief", namespace=scene.namespace, grace=0)
