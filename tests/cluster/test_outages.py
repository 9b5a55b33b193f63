"""The API server goes away: the network stays, and what was asked for before and after is done."""

import time

import pytest

from sandbox import cluster as sandbox_cluster
from sandbox import control_plane, process, rights
from sandbox.layout import IpFamily
from tests.cluster.lab import Pinging, Scene, manifest, torn, wait_until_healthy

NODES = ("node1", "node2")
OUTAGE = 60.0
"""Seconds: every Lease of the control plane is lost."""
LEASE_HOLDERS = (control_plane.MANAGER, control_plane.SCHED)
"""They end themselves when they lose their Lease. The sandbox starts them without one, so they are ended here; left
alone, the manager would take the nodes for lost, since it counts the time in which it could not see them.
"""
KUBELET_BACK = 150.0
"""Seconds until a kubelet surely watches again: client-go tries after 30 s, and up to as much again by chance, once
more when it comes too early.
"""


@pytest.mark.alone
def test_api_server_gone_for_a_while(cluster: dict[str, str], scene: Scene) -> None:
    one, other = scene.start(*(manifest(f"old-{node}", node) for node in NODES))
    scene.talk_again(one, other)
    pinging = [Pinging(scene, one, other.ip), Pinging(scene, other, one.ip), Pinging(scene, other, cluster["node1"])]
    for each in pinging:
        each.start()
    with rights.only_one():
        assert process.kill([control_plane.API, *LEASE_HOLDERS])
        try:
            time.sleep(OUTAGE)
        finally:
            sandbox_cluster.up(len(cluster), IpFamily.IPV4)
    scene.when(lambda pods: pods["old-node1"].ready, KUBELET_BACK, "old-node1 is Ready")
    for each in pinging:
        sent, lost = each.stop()
        assert sent > OUTAGE * 5
        assert not torn(lost)
    first, second = scene.start(*(manifest(f"new-{node}", node) for node in NODES), within=KUBELET_BACK)
    scene.talk_again(first, second)
    scene.talk_again(first, other)
    wait_until_healthy()
