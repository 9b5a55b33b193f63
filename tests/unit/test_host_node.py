"""A node's own state: ovn0, its routes, its table of nftables."""

from ipaddress import ip_address, ip_network

import pytest

from kube_ovn.host.egress import render_table
from kube_ovn.host.node import Switch, render_node
from kube_ovn.model import names
from kube_ovn.model.host import InterfaceAddress, Route
from kube_ovn.model.kube import Node, NodeAddress, NodeStatus, ObjectMeta
from kube_ovn.model.row import RowKey
from kube_ovn.model.vswitch import Interface

PODS = (ip_network("10.16.0.0/16"),)
GRANTED = {
    names.ALLOCATED: "true",
    names.IP_ADDRESS: "100.64.0.2",
    names.MAC_ADDRESS: "0a:00:00:00:00:02",
    names.CIDR: "100.64.0.0/16",
    names.GATEWAY: "100.64.0.1",
    names.PORT_NAME: "node-node1",
}
TABLE = """\
table inet kube-ovn
delete table inet kube-ovn
table inet kube-ovn {
    comment "written by kube-ovn-cniserver, changes are overwritten; DIGEST"
    set pods4 {
        type ipv4_addr
        flags interval
        elements = { 10.16.0.0/16 }
    }
    set fabric4 {
        type ipv4_addr
        flags interval
        elements = { 10.16.0.0/16, 100.64.0.0/16 }
    }
    chain forward {
        comment "packets without a connection would leave with the address of a Pod"
        type filter hook forward priority filter; policy accept;
        oifname != "ovn0" ip saddr @pods4 ip daddr != @fabric4 ct state invalid counter drop
    }
    chain postrouting {
        comment "Pods reach the outside with the address of their node"
        type nat hook postrouting priority srcnat; policy accept;
        oifname != "ovn0" ip saddr @pods4 ip daddr != @fabric4 counter masquerade fully-random
    }
}
"""


def node(**annotations: str) -> Node:
    addresses = (
        NodeAddress(type="Hostname", address="node1"),
        NodeAddress(type="InternalIP", address="172.30.0.11"),
        NodeAddress(type="InternalIP", address="not an address"),
    )
    meta = ObjectMeta(name="node1", uid="n", annotations=annotations)
    return Node(metadata=meta, status=NodeStatus(addresses=addresses))


def test_nothing_until_allocated() -> None:
    assert render_node(node(), PODS, 1400) is None


def test_state_of_a_node() -> None:
    state = render_node(node(**GRANTED), PODS, 1400)
    assert state is not None
    assert state.link == {
        Switch.UP: None,
        Switch.FORWARDING: None,
        InterfaceAddress(address=ip_address("100.64.0.2"), prefix=16): None,
        PODS[0]: Route(to=PODS[0], via=ip_address("100.64.0.1"), source=ip_address("172.30.0.11")),
    }
    assert list(state.link)[:2] == [Switch.UP, Switch.FORWARDING]  # the link is up before its routes are asked for
    ovn0 = state.rows[RowKey("Interface", "ovn0")]
    assert isinstance(ovn0, Interface)
    assert (ovn0.type, ovn0.mac, ovn0.mtu_request) == ("internal", "0a:00:00:00:00:02", 1400)
    assert ovn0.external_ids == {"vendor": "kube-ovn", "iface-id": "node-node1"}
    assert state.gateways == (ip_address("100.64.0.1"),)


def test_missing_annotation_is_named() -> None:
    with pytest.raises(ValueError, match="port_name is missing"):
        render_node(node(**{k: v for k, v in GRANTED.items() if k != names.PORT_NAME}), PODS, 1400)


def test_table_for_reading() -> None:
    table = render_table(PODS, {*PODS, ip_network("100.64.0.0/16")})
    digest = table.comment.rpartition(" ")[2]
    assert len(digest) == 16
    assert table.text == TABLE.replace("DIGEST", digest)


def test_table_depends_on_nothing_but_its_content() -> None:
    one = [ip_network("10.16.0.0/16"), ip_network("fd00::/64")]
    assert render_table(one, one) == render_table(one[::-1], one[::-1])
    assert render_table(one, one).comment != render_table(one[:1], one).comment
    assert "ip6 saddr @pods6 ip6 daddr != @fabric6 counter masquerade" in render_table(one, one).text
