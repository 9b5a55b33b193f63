"""The node's own network: what the daemon keeps as it should be, and a Node that goes and comes back."""

import json

import pytest

from kube_ovn.model import names, nb
from tests.cluster import kube
from tests.cluster.fabric import becomes, find_condition
from tests.cluster.lab import Scene, manifest, node_exec, node_try, until, wait_until_healthy
from tests.cluster.northbound import read_rows

pytestmark = pytest.mark.alone
NODES = ("node1", "node2")
ROUTES = ("ip", "route", "show", "proto", str(names.ROUTE_PROTOCOL))


def table_handle(node: str) -> int | None:
    """Which table it is: a table that is written again gets another handle."""
    listing = json.loads(node_exec(node, "nft", "--json", "--handle", "list", "tables"))["nftables"]
    found = [each["table"]["handle"] for each in listing if each.get("table", {}).get("name") == names.NFT_TABLE]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize("node", NODES)
def test_marks_of_ownership(cluster: dict[str, str], node: str) -> None:
    assert "masquerade" in node_exec(node, "nft", "list", "table", "inet", names.NFT_TABLE)
    assert "10.16.0.0/16 via 100.64.0.1 dev ovn0" in node_exec(node, *ROUTES)


def test_a_lost_route_is_restored_and_nothing_else_written(cluster: dict[str, str]) -> None:
    before = table_handle("node2")
    assert before is not None
    routes = node_exec("node2", *ROUTES)
    node_exec("node2", "ip", "route", "del", "10.16.0.0/16", "proto", str(names.ROUTE_PROTOCOL))
    until(lambda: node_exec("node2", *ROUTES) == routes, 10, "the route is back")
    assert table_handle("node2") == before


def test_a_lost_table_is_restored(cluster: dict[str, str]) -> None:
    text = node_exec("node2", "nft", "--stateless", "list", "table", "inet", names.NFT_TABLE)
    node_exec("node2", "nft", "delete", "table", "inet", names.NFT_TABLE)
    until(lambda: table_handle("node2"), 10, "the table is back")
    assert node_exec("node2", "nft", "--stateless", "list", "table", "inet", names.NFT_TABLE) == text


def test_other_tables_and_routes_stay(cluster: dict[str, str]) -> None:
    """A restart of the daemon cleans up what is its own, and only that."""
    node_exec("node2", "nft", "add", "table", "inet", "theirs")
    node_exec("node2", "ip", "route", "add", "198.51.100.0/24", "dev", "ovn0")
    try:
        node_exec("node2", "ip", "route", "add", "198.51.101.0/24", "dev", "ovn0", "proto", str(names.ROUTE_PROTOCOL))
        until(lambda: "198.51.101.0" not in node_exec("node2", *ROUTES), 10, "an unwanted route with our mark is gone")
        assert node_try("node2", "nft", "list", "table", "inet", "theirs")
        assert "198.51.100.0/24" in node_exec("node2", "ip", "route", "show")
    finally:
        node_exec("node2", "nft", "delete", "table", "inet", "theirs")
        node_exec("node2", "ip", "route", "del", "198.51.100.0/24")


def rows_of(node: str) -> dict[str, int]:
    """Northbound rows that are about a node, by table."""
    tables = (nb.LogicalSwitchPort, nb.PortGroup, nb.LogicalRouterPolicy)
    counts = {t.TABLE: sum(row["external_ids"].get("node") == node for row in read_rows(t)) for t in tables}
    return {table: count for table, count in counts.items() if count}


def test_a_deleted_node_leaves_and_comes_back(cluster: dict[str, str], scene: Scene) -> None:
    """The kubelet registers again when it starts; Pods that ran there all the time are part of the network again."""
    one, other = scene.start(*(manifest(f"old-{node}", node) for node in NODES))
    scene.talk_again(one, other)
    before = rows_of("node2")
    assert before
    kube.delete("node", "node2")
    try:
        until(lambda: not rows_of("node2"), 20, "the rows of node2 are gone")
    finally:
        node_exec("node2", "pkill", "-x", "kubelet")
    kube.when(lambda seen: "node2" in seen, 60, "node2 is registered", "node")
    until(lambda: rows_of("node2") == before, 30, "the rows of node2 are back")
    becomes("node", "node2", lambda item: find_condition(item, "Ready")["status"] == "True", 60, "node2 is Ready")
    wait_until_healthy()
    scene.talk_again(one, other)
    (new,) = scene.start(manifest("new-node2", "node2"))
    scene.talk_again(one, new)
    assert "3 received" in node_exec("node2", "ping", "-c", "3", "-i", "0.1", "-W", "2", new.ip)
    assert "3 received" in node_exec("node1", "ping", "-c", "3", "-i", "0.1", "-W", "2", new.ip)
    assert scene.shell(new, "curl -sS --max-time 5 http://203.0.113.1/").strip() == cluster["node2"]
