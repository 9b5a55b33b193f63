"""What a sandbox of each address family consists of, and that the chart's values for it say the same."""

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from images.manifest import CHART
from sandbox import cluster, control_plane, demo, node
from sandbox.layout import CONTROL_PLANE_NODE, Cluster, IpFamily, Node
from sandbox.paths import SandboxError

VERSIONS = {IpFamily.IPV4: [4], IpFamily.IPV6: [6], IpFamily.DUAL: [4, 6]}
FAMILIES = pytest.mark.parametrize("family", list(IpFamily))


def made(family: IpFamily) -> Cluster:
    return Cluster(node_count=2, family=family)


def values(family: IpFamily) -> dict[str, Any]:
    """The chart's own values with those of the sandbox on top, as helm merges them."""
    found: dict[str, Any] = {}
    for path in [CHART / "values.yaml", *demo.values_files(family)]:
        merge(found, msgspec.yaml.decode(path.read_bytes(), type=dict[str, Any]))
    return found


def merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


@FAMILIES
def test_no_node_has_an_address_of_another_family(family: IpFamily) -> None:
    """What needs one would work here and nowhere else."""
    sandbox, wanted = made(family), VERSIONS[family]
    assert [address.version for address in sandbox.management(Node(number=2))] == wanted
    assert [address.version for address in sandbox.tunnel(Node(number=2))] == wanted
    assert [gateway.version for gateway in sandbox.gateways] == wanted
    assert [address.version for address in sandbox.outside] == wanted
    assert [ip_network(text).version for text in sandbox.service_ranges.split(",")] == wanted
    assert [ip_address(text).version for text in sandbox.cluster_dns] == wanted
    assert [ip_address(text).version for text in sandbox.node_addresses(Node(number=2)).split(",")] == wanted


def test_addresses_of_the_families_read_alike() -> None:
    last = Node(number=40)
    assert [str(each) for each in (last.v4, last.v6)] == ["172.30.0.50/24", "fd00:172:30::50/64"]
    assert [str(each) for each in (last.tunnel_v4, last.tunnel_v6)] == ["172.31.0.50/24", "fd00:172:31::50/64"]


@FAMILIES
def test_gateways_are_on_the_nodes_own_network(family: IpFamily) -> None:
    sandbox = made(family)
    for address, gateway in zip(sandbox.management(CONTROL_PLANE_NODE), sandbox.gateways, strict=True):
        assert gateway in address.network


@FAMILIES
def test_the_charts_values_say_the_same(family: IpFamily) -> None:
    sandbox, said = made(family), values(family)
    first = str(sandbox.management(CONTROL_PLANE_NODE)[0].ip)
    assert said["kubernetesServiceHost"] == first
    assert said["ovn"]["centralAddress"] == [first]
    assert said["networking"]["serviceCIDR"] == sandbox.service_ranges
    networks = [said["networking"][name].split(",") for name in ("podCIDR", "joinCIDR", "serviceCIDR")]
    assert [[ip_network(text).version for text in each] for each in networks] == [VERSIONS[family]] * 3
    flat = [ip_network(text) for each in networks for text in each]
    flat += [address.network for address in (*sandbox.management(CONTROL_PLANE_NODE), *sandbox.tunnel(Node(number=1)))]
    for number, one in enumerate(flat):
        assert not [other for other in flat[:number] if other.version == one.version and other.overlaps(one)]


@FAMILIES
def test_servers_listen_where_the_family_is(family: IpFamily) -> None:
    first = made(family).management(CONTROL_PLANE_NODE)[0].ip
    assert f"--advertise-address={first}" in control_plane.api_server_arguments(Path("api"), made(family))
    assert node.kubelet_config(made(family))["address"] == ("0.0.0.0" if family is IpFamily.IPV4 else "::")


def test_a_sandbox_of_another_family_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "cluster.json"
    monkeypatch.setattr(cluster, "STATE", tmp_path)
    monkeypatch.setattr(cluster, "_RECORD", record)
    assert cluster.recorded_family() is None
    record.write_text(json.dumps({"family": "ipv4", "nodes": 2}))
    assert cluster.recorded_family() is IpFamily.IPV4
    with pytest.raises(SandboxError, match="the sandbox that is here is ipv4; run `sandbox down` before"):
        cluster.wanted_cluster(2, IpFamily.DUAL)


def test_a_guest_without_a_family_is_named() -> None:
    guest = demo.Guest(name="guest-1", node="node1", addresses=("10.16.0.2", "fd00::2"))
    assert (guest.address(4), guest.address(6)) == ("10.16.0.2", "fd00::2")
    with pytest.raises(SandboxError, match="guest-1 on node1 has no IPv6 address"):
        demo.Guest(name="guest-1", node="node1", addresses=("10.16.0.2",)).address(6)
