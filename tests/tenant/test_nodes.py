"""What is the nodes' own, and the fabric's: a tenant reaches and takes none of it."""

from kube_ovn.model import names
from sandbox.layout import CONTROL_PLANE_NODE, IpFamily
from tests.cluster import kube
from tests.cluster.fabric import Block, warned
from tests.cluster.gateways import node4
from tests.cluster.lab import Scene, manifest, node_exec
from tests.cluster.test_boundary import CONNECTED, REFUSED, connects
from tests.tenant.tenant import Tenant

FAMILY = IpFamily.DUAL


def test_a_tenants_pods_do_not_reach_the_databases(scene: Scene, tenant: Tenant) -> None:
    tenant.create(*(manifest(f"on{number}", f"node{number}") for number in (1, 2)))
    pods = scene.ready("on1", "on2")
    home = [str(CONTROL_PLANE_NODE.v4.ip), f"[{CONTROL_PLANE_NODE.v6.ip}]"]
    for port in names.DATABASE_PORTS[:2]:
        assert node_exec("node2", "sh", "-c", connects(port)).strip() == CONNECTED
        for address in home:
            said = {pod.name: scene.shell(pod, connects(port, address)).strip() for pod in pods}
            assert said == {pod.name: REFUSED for pod in pods}


def test_the_owner_of_a_namespace_makes_no_subnet_of_a_network_that_is_anothers(
    scene: Scene, owner: Tenant, block: Block
) -> None:
    mine = f"s-{scene.namespace}"
    node = f"{node4(1)}/32"
    others = {
        f"{node4(1).rpartition('.')[0]}.0/24": "of node node",
        node: "of node node",
        "10.96.7.0/24": "overlaps",
        "100.64.9.0/24": "of subnet join; choose another",
        "10.16.9.0/24": "of subnet ovn-default; choose another",
    }
    for cidr, why in others.items():
        owner.annotate("namespace", owner.namespace, {names.LOGICAL_SWITCH: mine, names.CIDR: cidr})
        warned("Namespace", owner.namespace, f"CIDR {cidr}")
        warned("Namespace", owner.namespace, why)
    asked = {names.CIDR: block.both(), names.GATEWAY_TYPE: "centralized", names.GATEWAY_NODE: "node2"}
    owner.annotate("namespace", owner.namespace, asked)
    warned("Namespace", owner.namespace, f"label {names.GATEWAY_FOR_NAMESPACES}=true")
    gone = dict.fromkeys([names.LOGICAL_SWITCH, *asked])
    owner.annotate("namespace", owner.namespace, gone)
    kube.gone("subnet", mine)


def test_the_owner_of_a_namespace_is_told_what_cannot_be_understood(scene: Scene, owner: Tenant, block: Block) -> None:
    mine = f"s-{scene.namespace}"
    wrong = {
        "10.61.6.0/33": "10.61.6.0/33",
        "10.61.6.0/24,10.61.7.0/24": "10.61.7.0/24",
        "fe80::/64": "fe80::/64",
        "x": "'x'",
    }
    for cidr, part in wrong.items():
        owner.annotate("namespace", owner.namespace, {names.LOGICAL_SWITCH: mine, names.CIDR: cidr})
        warned("Namespace", owner.namespace, part)
    spaced = f" {block.cidr4()} ,  {block.cidr6()} "
    owner.annotate("namespace", owner.namespace, {names.CIDR: spaced})
    owner.create(manifest("pod"))
    (pod,) = scene.ready("pod")
    assert pod.ip == block.v4(2)
    kube.delete_all("pod", scene.namespace)
    owner.annotate("namespace", owner.namespace, {names.LOGICAL_SWITCH: None, names.CIDR: None})
    kube.gone("subnet", mine)
