"""A Pod sends from its own addresses alone, unless an administrator permits more."""

import pytest

from kube_ovn.model import names
from sandbox.layout import IpFamily
from sandbox.paths import SandboxError
from tests.cluster import kube
from tests.cluster.fabric import Block, change, own_subnet, warned
from tests.cluster.lab import Pod, Scene, manifest, until
from tests.tenant.tenant import Tenant

FAMILY = IpFamily.DUAL
RAW = {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}
LABEL = names.PERMIT_SPOOFING


def is_answered(scene: Scene, liar: Pod, source: str, target: Pod) -> bool:
    """Whether a ping from an address that is not the Pod's own reaches another Pod of its subnet and back."""
    said = scene.shell(
        liar, f"ip address replace {source}/24 dev eth0; ping -c 3 -i 0.2 -W 1 -I {source} {target.ip} || true"
    )
    return " 0 received" not in said


def test_a_tenant_switches_no_port_security_off(scene: Scene, tenant: Tenant, block: Block) -> None:
    with own_subnet(scene, block.both()) as place:
        wish = {names.PORT_SECURITY: "false", names.PORT_VIPS: block.v4(200)}
        tenant.create(
            manifest("liar", "node1", annotations=wish, securityContext=RAW),
            manifest("peer", "node2", securityContext=RAW),
        )
        liar, peer = scene.ready("liar", "peer")
        warned(
            "Pod",
            "liar",
            f"counts only where an administrator permits it: permitSpoofing on Subnet {place}",
            scene.namespace,
        )
        for source in (block.v4(200), block.v4(223)):
            scene.shell(peer, f"ip neighbour replace {source} lladdr {liar.annotations[names.MAC_ADDRESS]} dev eth0")
        assert not is_answered(scene, liar, block.v4(200), peer)
        assert not is_answered(scene, liar, block.v4(223), peer)

        change(place, permitSpoofing=True)
        until(lambda: is_answered(scene, liar, block.v4(223), peer), 15, "the port is open")
        tenant.annotate("pod", "liar", {names.PORT_SECURITY: None})
        until(lambda: not is_answered(scene, liar, block.v4(223), peer), 15, "the port is open for its own alone")
        assert is_answered(scene, liar, block.v4(200), peer)
        tenant.annotate("pod", "liar", {names.PORT_VIPS: f"{peer.ip},{block.v4(1)}"})
        warned("Pod", "liar", f"{peer.ip} is given to another Pod", scene.namespace)
        warned("Pod", "liar", f"{block.v4(1)} is a gateway of subnet {place}", scene.namespace)
        kube.delete_all("pod", scene.namespace)


def test_the_owner_of_a_namespace_does_not_permit_it(scene: Scene, owner: Tenant) -> None:
    with pytest.raises(SandboxError, match=f"label {LABEL} is set by an administrator"):
        owner.kubectl("label", "namespace", owner.namespace, f"{LABEL}=true")
    owner.kubectl("label", "namespace", owner.namespace, "team=blue")
    scene.kubectl("label", "namespace", scene.namespace, f"{LABEL}=true")
    owner.annotate("namespace", owner.namespace, {"note": "as it was"})
    owner.kubectl("label", "namespace", owner.namespace, f"{LABEL}-")


def test_a_pod_hears_no_router_advertisement_of_another(scene: Scene, block: Block) -> None:
    """What this setting does: tests/daemon/test_sysctl.py."""
    setting = "cat /proc/sys/net/ipv6/conf/eth0/accept_ra"
    (pod,) = scene.start(manifest("deaf"))
    assert scene.shell(pod, setting).strip() == "0"
    with own_subnet(scene, block.both(), enableIPv6RA=True):
        (pod,) = scene.start(manifest("asks"))
        assert scene.shell(pod, setting).strip() == "1"
