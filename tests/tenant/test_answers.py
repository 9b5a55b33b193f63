"""What the fabric answers in annotations is forged by no tenant, and leads nowhere where it is."""

import pytest

from kube_ovn.model import names
from sandbox.layout import IpFamily
from sandbox.paths import SandboxError
from tests.cluster.lab import Scene, manifest
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
