"""Which changes of nodes a node hears of: its own, and addresses."""

from ipaddress import ip_address

from kube_ovn.daemon.nodes import Nodes
from kube_ovn.model.kube import Node, NodeAddress, NodeCondition, NodeStatus, ObjectMeta


class Heard:
    def __init__(self) -> None:
        self._said: list[str] = []
        self.nodes = Nodes("node1", lambda: self._said.append("own"), lambda: self._said.append("addresses"))

    def what(self) -> set[str]:
        said, self._said = set(self._said), []
        return said


def node(name: str, *addresses: str, ready: str = "True") -> Node:
    return Node(
        metadata=ObjectMeta(name=name, uid=f"uid-{name}"),
        status=NodeStatus(
            addresses=(
                *(NodeAddress(type="InternalIP", address=each) for each in addresses),
                NodeAddress(type="Hostname", address=name),
                NodeAddress(type="ExternalIP", address="none"),
            ),
            conditions=(NodeCondition(type="Ready", status=ready),),
        ),
    )


def test_its_own_changes_and_the_addresses_of_all() -> None:
    heard = Heard()
    nodes = heard.nodes
    nodes.store.put(node("node2", "172.30.0.12"))
    assert nodes.addresses is None
    nodes.store.replace([node("node1", "172.30.0.11", "fd00::11"), node("node2", "172.30.0.12")], 0.0)
    assert heard.what() == {"own", "addresses"}
    assert nodes.own == node("node1", "172.30.0.11", "fd00::11")
    assert nodes.addresses == set(map(ip_address, ("172.30.0.11", "fd00::11", "172.30.0.12")))
    nodes.store.put(node("node2", "172.30.0.12", ready="False"))
    assert heard.what() == set()
    nodes.store.put(node("node2", "172.30.0.22"))
    assert heard.what() == {"addresses"}
    nodes.store.put(node("node1", "172.30.0.11", "fd00::11", ready="False"))
    assert heard.what() == {"own"}
    nodes.store.remove("uid-node2")
    assert heard.what() == {"addresses"}
    nodes.store.remove("uid-node1")
    assert heard.what() == {"own", "addresses"}
    assert nodes.addresses == frozenset()
