"""A cluster that speaks IPv6 alone: nodes, databases, tunnels and Pods."""

from sandbox.layout import OUTSIDE_FAR_V6, IpFamily
from tests.cluster.lab import HTTP, SERVER, Scene, manifest, until

FAMILY = IpFamily.IPV6


def test_pods_reach_each_other_and_the_outside(scene: Scene) -> None:
    near, far = scene.start(manifest("near", "node1"), manifest("far", "node2", command=SERVER))
    assert ":" in far.ip
    until(lambda: scene.every_ping_answered(near, far.ip), 20, "they talk")
    assert scene.shell(near, f"curl -sS --max-time 5 'http://[{far.ip}]:{HTTP}/hostname'") == "far"
    assert scene.shell(near, f"curl -sS --max-time 5 'http://[{OUTSIDE_FAR_V6.ip}]/'")
