"""What the fabric answers in annotations is forged by no tenant, and leads nowhere where it is."""

import pytest

from kube_ovn.model import names
from sandbox.layout import IpFamily
from sandbox.node_images import TOOLS_IMAGE
from sandbox.paths import SandboxError
from tests.cluster import kube
from tests.cluster.fabric import Block, own_subnet
from tests.cluster.lab import Scene, manifest, until
from tests.tenant.tenant import Tenant

FAMILY = IpFamily.DUAL


def test_no_pod_is_made_with_an_answer(scene: Scene, tenant: Tenant) -> None:
    forged = {names.ALLOCATED: "true", names.IP_ADDRESS: "10.16.0.77", names.MAC_ADDRESS: "0a:00:00:00:00:77"}
    refusal = f"annotation {names.ALLOCATED} is an answer of kube-ovn-controller"
    with pytest.raises(SandboxError, match=refusal):
        tenant.create(manifest("forged", annotations=forged))
    tenant.create(manifest("pod"))
    (pod,) = scene.ready("pod")
    for key in (names.IP_ADDRESS, names.GATEWAY, names.ALLOCATED, names.LOGICAL_SWITCH):
        for text in ("192.0.2.1", None):
            with pytest.raises(SandboxError, match=f"annotation {key} is an answer of kube-ovn-controller"):
                tenant.annotate("pod", "pod", {key: text})
    assert pod.ip in scene.pods()["pod"].annotations[names.IP_ADDRESS].split(",")


def test_a_pod_made_by_hand_takes_no_address_of_a_statefulset(scene: Scene, tenant: Tenant, block: Block) -> None:
    """Neither one that names the StatefulSet as an owner, nor one that has the name of its Pod."""
    with own_subnet(scene, block.both()):
        web = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "web"},
            "spec": {
                "serviceName": "web",
                "replicas": 1,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {
                        "terminationGracePeriodSeconds": 1,
                        "containers": [
                            {
                                "name": "main",
                                "image": TOOLS_IMAGE,
                                "imagePullPolicy": "Never",
                                "command": ["sleep", "9999"],
                            }
                        ],
                    },
                },
            },
        }
        tenant.create(web)
        (first,) = scene.ready("web-0")
        tenant.kubectl("scale", "statefulset", "web", "--replicas=0")
        kube.gone("pod", "web-0", scene.namespace)
        forged = manifest("web-9")
        uid = kube.read("statefulset", "web", scene.namespace)["metadata"]["uid"]
        reference = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": uid}
        forged["metadata"]["ownerReferences"] = [reference]
        tenant.create(forged, manifest("web-0"))
        assert first.ip not in {pod.ip for pod in scene.ready("web-9", "web-0")}
        kube.remove("pod", "web-9", "web-0", namespace=scene.namespace, grace=0)
        tenant.kubectl("scale", "statefulset", "web", "--replicas=1")
        (again,) = scene.ready("web-0")
        assert again.ip == first.ip
        kube.remove("statefulset", "web", namespace=scene.namespace)
        until(lambda: not scene.pods(), 30, "its Pods are gone")
