"""A Subnet or IPPool that names Namespaces is for their Pods only."""

from kube_ovn.model import names
from sandbox.layout import IpFamily
from tests.cluster import kube
from tests.cluster.fabric import Block, change, own_subnet, warned
from tests.cluster.lab import Scene, manifest
from tests.tenant.tenant import Tenant

FAMILY = IpFamily.DUAL
POOL = {"apiVersion": "kubeovn.io/v1", "kind": "IPPool"}


def test_a_tenant_has_no_rights_on_what_the_fabric_is_made_of(tenant: Tenant) -> None:
    assert tenant.may("create", "pods")
    for kind in ("subnets", "ips", "ippools", "vpcs", "security-groups"):
        assert [verb for verb in ("get", "create", "patch", "delete") if tenant.may(verb, f"{kind}.kubeovn.io")] == []


def test_no_annotation_leads_a_tenants_pod_into_the_subnet_of_another(
    scene: Scene, other: Scene, tenant: Tenant, block: Block
) -> None:
    with own_subnet(other, block.both()) as theirs:
        pool = f"p-{other.namespace}"
        kube.create({**POOL, "metadata": {"name": pool}, "spec": {"subnet": theirs, "ips": [block.v4(9), block.v6(9)]}})
        try:
            wishes = {
                "by-subnet": {names.LOGICAL_SWITCH: theirs},
                "by-pool": {names.IP_POOL: pool},
                "by-address": {names.LOGICAL_SWITCH: theirs, names.IP_ADDRESS: block.v4(20)},
                "by-ipv6": {names.LOGICAL_SWITCH: theirs, names.IP_ADDRESS: f"{block.v4(21)},{block.v6(21)}"},
                "by-list": {names.LOGICAL_SWITCH: theirs, names.IP_POOL: f"{block.v4(22)};{block.v4(23)}"},
            }
            tenant.create(*(manifest(name, annotations=annotations) for name, annotations in wishes.items()))
            for name in wishes:
                said = warned("Pod", name, f"subnet {theirs} is for other Namespaces than", scene.namespace)
                assert f"add {scene.namespace} to spec.namespaces of Subnet {theirs}" in said
            assert [pod.ip for pod in scene.pods().values()] == [""] * len(wishes)
            change(theirs, namespaces=[other.namespace, scene.namespace])
            scene.ready(*wishes)
            kube.delete_all("pod", scene.namespace)
        finally:
            kube.remove("ippool", pool)


def test_the_owner_of_a_namespace_gets_nothing_of_anothers_by_annotating_it(
    scene: Scene, other: Scene, owner: Tenant, block: Block
) -> None:
    mine = f"s-{scene.namespace}"
    with own_subnet(other, block.both()) as theirs:
        owner.annotate("namespace", owner.namespace, {names.LOGICAL_SWITCH: theirs})
        warned("Namespace", owner.namespace, f"subnet {theirs} is for other Namespaces than {owner.namespace}")
        owner.create(manifest("waits"))
        warned("Pod", "waits", f"subnet {theirs} is for other Namespaces than", scene.namespace)
        owner.annotate("namespace", owner.namespace, {names.LOGICAL_SWITCH: mine, names.CIDR: block.both(1)})
        (pod,) = scene.ready("waits")
        assert pod.ip == block.v4(2, 1)

        wish = {names.LOGICAL_SWITCH: mine, names.CIDR: block.both(1), names.PRIVATE: "true"}
        other.annotate("namespace", other.namespace, wish)
        warned("Namespace", other.namespace, f"subnet {mine} is made by the annotations of another Namespace")
        made = kube.read("subnet", mine)["spec"]
        assert (made["namespaces"], made["private"]) == ([owner.namespace], False)
        other.annotate("namespace", other.namespace, dict.fromkeys(wish))
        kube.delete_all("pod", scene.namespace)
        owner.annotate("namespace", owner.namespace, {names.LOGICAL_SWITCH: None, names.CIDR: None})
        kube.gone("subnet", mine)
