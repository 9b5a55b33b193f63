"""The daemon's requests, from the plugin's standard input to packets: everything real but kubelet and controller."""

import json
import uuid

from tests.daemon.node import NAME, Node, node, ping, until

__all__ = ["node"]


def test_node_gets_ready(node: Node) -> None:
    until("the configuration is written", node.conflist.exists)
    assert node.conflist.stat().st_mode & 0o777 == 0o600
    conflist = json.loads(node.conflist.read_text())
    assert [plugin["type"] for plugin in conflist["plugins"]] == ["kube-ovn", "portmap"]
    assert "10.16.0.0/16 via 100.64.0.1 dev ovn0 proto 79 src 172.30.0.11" in node.ip("route").replace("  ", " ")

    def announced() -> bool:
        found = node.api("GET", f"/api/v1/nodes/{NAME}")
        conditions = {c["type"]: c["status"] for c in found["status"].get("conditions", [])}
        return conditions.get("NetworkUnavailable") == "False" and "ovn.kubernetes.io/chassis" in str(found)

    until("the Node says so", announced)


def test_pods_reach_one_another_and_the_node(node: Node) -> None:
    pods = {}
    for number in (5, 6):
        uid = node.create_pod(f"web-{number}", f"10.16.0.{number}")
        container, netns = uuid.uuid4().hex, node.make_netns()
        code, result = node.cni("ADD", container, netns, f"web-{number}", uid)
        assert code == 0, result
        assert result["ips"][0]["address"] == f"10.16.0.{number}/16"
        pods[number] = container, netns, uid, result
    assert ping(pods[5][1], "10.16.0.6")
    assert ping(f"/run/netns/{node.netns}", "10.16.0.5", "ovn0")
    assert ping(pods[5][1], "100.64.0.2")
    for number, (container, netns, uid, result) in pods.items():
        assert node.cni("CHECK", container, netns, f"web-{number}", uid, cniVersion="1.0.0", prevResult=result)[0] == 0
        assert node.cni("DEL", container, netns, f"web-{number}", uid) == (0, None)
        assert node.cni("DEL", container, netns, f"web-{number}", uid) == (0, None)
        node.remove_netns(netns)
    assert node.interfaces() == {"ovn0"}
    assert not {link for link in node.links() if link.endswith("_h")}
