"""A node's own state: ovn0, its routes, its table of nftables."""

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from kube_ovn.host.egress import render_table
from kube_ovn.host.node import NodeState, parse_encaps, render_node, tunnel_overhead
from kube_ovn.host.subnet import NodeSubnet, parse_exceptions, parse_subnet
from kube_ovn.model import names
from kube_ovn.model.addr import parse_addresses
from kube_ovn.model.crd import Condition, NatRule, NatRuleMatch, Subnet, SubnetSpec, SubnetStatus
from kube_ovn.model.gateway import External, parse_nat_rule
from kube_ovn.model.host import DetourEnd, DetourRoute, DetourRule, InterfaceAddress, Route
from kube_ovn.model.kube import Node, NodeAddress, NodeStatus, ObjectMeta, VersionedMeta
from kube_ovn.model.row import RowKey
from kube_ovn.model.vswitch import Interface


def subnet(name: str, *networks: str, nat: bool = False) -> NodeSubnet:
    return NodeSubnet(name=name, networks=tuple(map(ip_network, networks)), nat=nat)


DEFAULT = subnet("ovn-default", "10.16.0.0/16", nat=True)
TEAM = subnet("team-a", "10.17.0.0/24")
JOIN = subnet("join", "100.64.0.0/16")
GRANTED = {
    names.ALLOCATED: "true",
    names.IP_ADDRESS: "100.64.0.2",
    names.MAC_ADDRESS: "0a:00:00:00:00:02",
    names.CIDR: "100.64.0.0/16",
    names.GATEWAY: "100.64.0.1",
    names.LOGICAL_SWITCH: "join",
    names.PORT_NAME: "node-node1",
}
TABLE = """\
table inet kube-ovn
delete table inet kube-ovn
table inet kube-ovn {
    comment "written by kube-ovn-cniserver, changes are overwritten; DIGEST"
    counter egress4-ovn-default {
        comment "10.16.0.0/16 to the outside"
    }
    counter ingress4-ovn-default {
        comment "10.16.0.0/16 from the outside"
    }
    counter egress4-team-a {
        comment "10.17.0.0/24 to the outside"
    }
    counter ingress4-team-a {
        comment "10.17.0.0/24 from the outside"
    }
    counter egress4-join {
        comment "100.64.0.0/16 to the outside"
    }
    counter ingress4-join {
        comment "100.64.0.0/16 from the outside"
    }
    set pods4 {
        comment "subnets with natOutgoing: outside the fabric their Pods have a node's address"
        type ipv4_addr
        flags interval
        elements = { 10.16.0.0/16 comment "ovn-default" }
    }
    set fabric4 {
        comment "all subnets: between them every Pod has its own address"
        type ipv4_addr
        flags interval
        elements = { 10.16.0.0/16 comment "ovn-default",
                     10.17.0.0/24 comment "team-a",
                     100.64.0.0/16 comment "join" }
    }
    set centralized4 {
        comment "subnets that leave through gateway nodes, never through ovn0"
        type ipv4_addr
        flags interval
    }
    set private4 {
        comment "subnets that only permitted clients may reach"
        type ipv4_addr
        flags interval
    }
    set stopped4 {
        comment "subnets whose packets cannot leave as configured"
        type ipv4_addr
        flags interval
    }
    map sources4 {
        comment "subnets whose packets get a fixed address on this node"
        type ipv4_addr : ipv4_addr
        flags interval
    }
    set nodes4 {
        comment "the nodes of the cluster"
        type ipv4_addr
        elements = { 172.30.0.11,
                     172.30.0.12 }
    }
    map egress4 {
        comment "the counter of each network, egress"
        type ipv4_addr : counter
        flags interval
        elements = { 10.16.0.0/16 : "egress4-ovn-default",
                     10.17.0.0/24 : "egress4-team-a",
                     100.64.0.0/16 : "egress4-join" }
    }
    map ingress4 {
        comment "the counter of each network, ingress"
        type ipv4_addr : counter
        flags interval
        elements = { 10.16.0.0/16 : "ingress4-ovn-default",
                     10.17.0.0/24 : "ingress4-team-a",
                     100.64.0.0/16 : "ingress4-join" }
    }
    chain past_gateway {
        comment "only answers of this node's own ports leave past a gateway, with the node's address"
        ct direction reply ct status dnat return
        counter drop
    }
    chain forward {
        comment "only the fabric's subnets are forwarded, each through its own gateway"
        type filter hook forward priority filter; policy accept;
        iifname { "ovn0", "ovngw0" } ip saddr != @fabric4 counter drop
        oifname "ovn0" ip daddr != @fabric4 counter drop
        oifname != "ovn0" ip saddr @stopped4 counter drop
        iifname "ovn0" oifname != "ovn0" ip saddr @centralized4 jump past_gateway
        oifname != "ovn0" ip saddr @pods4 ip daddr != @fabric4 ct state invalid counter drop
        iifname { "ovn0", "ovngw0" } oifname != "ovn0" counter name ip saddr map @egress4
        iifname != { "ovn0", "ovngw0" } oifname "ovn0" counter name ip daddr map @ingress4
    }
    chain own_ports {
        comment "requests to ports of this node get its address, for the answers; not in private subnets"
        ip daddr @private4 return
        iifname { "ovn0", "ovngw0" } counter masquerade
        ip saddr @nodes4 counter masquerade
        ip daddr @centralized4 counter masquerade
    }
    chain postrouting {
        comment "Pods reach the outside with an address of the node they leave through"
        type nat hook postrouting priority srcnat; policy accept;
        oifname "ovn0" ct status dnat jump own_ports
        oifname != "ovn0" ip saddr @pods4 ip daddr != @fabric4 counter snat ip to ip saddr map @sources4
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
    assert render_node(node(), [DEFAULT], 1400) is None


def test_state_of_a_node() -> None:
    state = rendered(DEFAULT)
    assert state.nics["ovn0"].link == {
        InterfaceAddress(address=ip_address("100.64.0.2"), prefix=16): None,
        ip_network("10.16.0.0/16"): route("10.16.0.0/16"),
    }
    ovn0 = state.nics["ovn0"].rows[RowKey("Interface", "ovn0")]
    assert isinstance(ovn0, Interface)
    assert (ovn0.type, ovn0.mac, ovn0.mtu_request) == ("internal", "0a:00:00:00:00:02", 1400)
    assert ovn0.external_ids == {"vendor": "kube-ovn", "iface-id": "node-node1"}
    assert state.gateways == (ip_address("100.64.0.1"),)


def rendered(*subnets: NodeSubnet, **annotations: str) -> NodeState:
    state = render_node(node(**{**GRANTED, **annotations}), subnets, 1400)
    assert state is not None
    return state


def route(to: str) -> Route:
    return Route(to=ip_network(to), via=ip_address("100.64.0.1"), source=ip_address("172.30.0.11"))


def routes(state: NodeState) -> list[Route]:
    return [value for value in state.nics["ovn0"].link.values() if value is not None]


def test_a_route_to_each_subnet() -> None:
    state = rendered(DEFAULT, TEAM)
    assert routes(state) == [route("10.16.0.0/16"), route("10.17.0.0/24")]
    assert state.table == render_table([DEFAULT, TEAM, JOIN])
    assert state.networks == {ip_network(text) for text in ("10.16.0.0/16", "10.17.0.0/24", "100.64.0.0/16")}


def test_a_family_the_node_has_not_on_the_fabric() -> None:
    """No way there, but nobody is kept waiting for one."""
    state = rendered(subnet("dual", "10.18.0.0/16", "fd00:18::/64"))
    assert routes(state) == [route("10.18.0.0/16")]
    assert ip_network("fd00:18::/64") in state.networks


def test_the_way_to_the_nodes_own_network_is_left_alone() -> None:
    assert routes(rendered(subnet("wrong", "172.30.0.0/24"), DEFAULT)) == [route("10.16.0.0/16")]


def test_two_families() -> None:
    join = {
        names.IP_ADDRESS: "100.64.0.2,fd00:100:64::2",
        names.CIDR: "100.64.0.0/16,fd00:100:64::/112",
        names.GATEWAY: "100.64.0.1,fd00:100:64::1",
    }
    state = rendered(subnet("ovn-default", "10.16.0.0/16", "fd00:10:16::/112", nat=True), **join)
    v6 = Route(to=ip_network("fd00:10:16::/112"), via=ip_address("fd00:100:64::1"))  # the node has no address to go by
    assert routes(state) == [route("10.16.0.0/16"), v6]
    assert 'elements = { fd00:10:16::/112 comment "ovn-default" }' in state.table.text
    assert "ip6 saddr @pods6 ip6 daddr != @fabric6 counter masquerade" in state.table.text


@pytest.mark.parametrize("name", [names.PORT_NAME, names.LOGICAL_SWITCH])
def test_missing_annotation_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is missing"):
        render_node(node(**{k: v for k, v in GRANTED.items() if k != name}), [DEFAULT], 1400)


def test_table_for_reading() -> None:
    table = render_table([TEAM, JOIN, DEFAULT], nodes=[ip_address("172.30.0.12"), ip_address("172.30.0.11")])
    digest = table.comment.rpartition(" ")[2]
    assert len(digest) == 16
    assert table.text == TABLE.replace("DIGEST", digest)


def test_table_depends_on_nothing_but_its_content() -> None:
    dual = subnet("dual", "10.18.0.0/16", "fd00::/64", nat=True)
    assert render_table([dual, DEFAULT]) == render_table([DEFAULT, dual])
    assert render_table([dual]).comment != render_table([DEFAULT]).comment
    assert render_table([TEAM]).comment != render_table([subnet("team-a", "10.17.0.0/24", nat=True)]).comment


def test_table_without_nat_has_no_empty_list() -> None:
    text = render_table([TEAM, JOIN]).text
    assert "set pods4 {" in text
    assert "elements" not in text[text.index("set pods4 {") : text.index("set fabric4 {")]
    assert "elements = { }" not in text


def test_networks_in_one_another_are_listed_once() -> None:
    """nft refuses overlaps, and the table with them: one subnet's rules must not hang on another's."""
    inside, beside = subnet("inside", "10.16.8.0/24", "10.16.9.0/24"), subnet("beside", "10.17.0.0/16")
    text = render_table([inside, beside, DEFAULT, subnet("again", "10.16.0.0/16")]).text
    assert '{ 10.16.0.0/16 comment "again, ovn-default",\n' in text
    assert "10.16.8" not in text
    assert "10.16.9" not in text
    assert '10.17.0.0/16 comment "beside"' in text


def test_a_name_longer_than_a_comment() -> None:
    assert f'comment "{"n" * 127}"' in render_table([subnet("n" * 253, "10.18.0.0/16")]).text


def effective(cidr_block: str, *, nat: bool = False) -> Subnet:
    return Subnet(
        metadata=VersionedMeta(name="team-a", uid="s"),
        spec=SubnetSpec(cidr_block="192.0.2.0/24", nat_outgoing=nat),  # a wish is no network yet
        status=SubnetStatus(cidr_block=cidr_block),
    )


def test_what_of_a_subnet_concerns_a_node() -> None:
    assert parse_subnet(effective("10.17.0.0/24"), "join", "node1") == TEAM
    assert parse_subnet(effective("10.17.0.0/24,fd00::/64", nat=True), "join", "node1") == subnet(
        "team-a", "10.17.0.0/24", "fd00::/64", nat=True
    )
    assert parse_subnet(effective(""), "join", "node1") is None
    assert parse_subnet(effective("10.17.0.0/24"), "team-a", "node1") is None
    with pytest.raises(ValueError, match=r"status\.cidrBlock of Subnet team-a: 'x' is not a CIDR"):
        parse_subnet(effective("x"), "join", "node1")


def test_a_centralized_subnet_is_one_when_the_fabric_treats_it_so() -> None:
    wanted = effective("10.17.0.0/24", nat=True)
    spec = msgspec.structs.replace(
        wanted.spec, gateway_type="centralized", gateway_node="node1:192.0.2.1,node2:192.0.2.2"
    )
    wanted = msgspec.structs.replace(wanted, spec=spec)
    ours, theirs = parse_subnet(wanted, "join", "node1"), parse_subnet(wanted, "join", "node3")
    assert ours is not None
    assert theirs is not None
    assert (ours.centralized, ours.sources) == (False, (ip_address("192.0.2.1"),))
    assert theirs.sources == ()
    # Also while there is no gateway: then its packets are stopped.
    treats = Condition(type=names.GATEWAY_CONDITION, status="False")
    treated = msgspec.structs.replace(wanted.status, conditions=(treats,))
    moved = msgspec.structs.replace(wanted, status=treated)
    here = parse_subnet(moved, "join", "node1")
    assert here is not None
    assert here.centralized
    text = render_table([here, JOIN]).text
    assert '10.17.0.0/24 comment "team-a" : 192.0.2.1' in text


def test_exceptions_come_before_what_they_are_from() -> None:
    rules = (
        NatRule(match=NatRuleMatch(dst_ips="198.51.100.0/24"), action="forward"),
        NatRule(match=NatRuleMatch(src_ips="10.17.0.9"), action="nat"),
        NatRule(action="nat"),  # says nothing, and is told to its user
    )
    wanted = effective("10.17.0.0/24", nat=True)
    spec = msgspec.structs.replace(wanted.spec, nat_outgoing_policy_rules=rules)
    here = parse_subnet(msgspec.structs.replace(wanted, spec=spec), "join", "node1", parse_exceptions(rules))
    assert here is not None
    lines = render_table([here, JOIN]).text.partition("chain postrouting")[2].splitlines()
    told = [line.split("!= @fabric4 ")[1] for line in lines if "!= @fabric4" in line]
    one, two = (f'comment "rule {parse_nat_rule(rule).id} of team-a"' for rule in rules[:2])
    assert told == [
        f"ip saddr {{ 10.17.0.0/24 }} ip daddr {{ 198.51.100.0/24 }} counter accept {one}",
        f"ip saddr {{ 10.17.0.0/24 }} ip saddr {{ 10.17.0.9/32 }} counter masquerade fully-random {two}",
        "counter snat ip to ip saddr map @sources4",
        "counter masquerade fully-random",
    ]


def test_a_router_outside_has_a_table_of_its_own() -> None:
    def subnet_with(gateway: str, name: str = "team-a") -> NodeSubnet:
        external = External(gateways=parse_addresses(gateway), priority=1001, table=1002)
        networks = (ip_network("10.17.0.0/24"), ip_network("fd17::/112"))
        return NodeSubnet(name=name, networks=networks, external=external)

    state = render_node(node(**GRANTED), [DEFAULT, subnet_with("192.0.2.1")], 1400)
    assert state is not None
    rule = DetourRule(source=ip_network("10.17.0.0/24"), table=1002, priority=1001)
    assert state.detours == {
        DetourEnd(table=1002, version=4),
        DetourRoute(table=1002, via=ip_address("192.0.2.1")),
        rule,
        # A family without a router does not leave another way.
        DetourEnd(table=1002, version=6),
        DetourRule(source=ip_network("fd17::/112"), table=1002, priority=1001),
    }
    both = render_node(node(**GRANTED), [subnet_with("192.0.2.1"), subnet_with("192.0.2.2", "team-b")], 1400)
    assert both is not None
    assert len([each for each in both.detours if isinstance(each, DetourRoute)]) == 1
    assert both.stopped == {"team-b": "table 1002 is Subnet team-a's, with another router; set policyRoutingTableID"}


def test_a_source_the_node_does_not_have_stops_the_subnet() -> None:
    networks = (*TEAM.networks, ip_network("fd00:17::/112"))
    own = NodeSubnet(name="team-a", networks=networks, nat=True, sources=(ip_address("192.0.2.9"),))
    state = render_node(node(**GRANTED), [own], 1400, [ip_address("192.0.2.9")])
    assert state is not None
    assert not state.stopped
    state = render_node(node(**GRANTED), [own], 1400, [ip_address("192.0.2.8")])
    assert state is not None
    assert state.stopped == {"team-a": "the node has no address 192.0.2.9"}
    text = state.table.text
    assert '10.17.0.0/24 comment "team-a"' in text.partition("set stopped4")[2].partition("}")[0]
    assert "team-a" not in text.partition("set stopped6")[2].partition("}")[0], "the other family goes on"


def test_a_router_that_cannot_be_read_stops_the_subnet() -> None:
    wanted = effective("10.17.0.0/24")
    spec = msgspec.structs.replace(wanted.spec, external_egress_gateway="192.0.2.1", policy_routing_priority=1)
    here = parse_subnet(msgspec.structs.replace(wanted, spec=spec), "join", "node1")
    assert here is not None
    assert here.stopped == {4}
    assert not here.reason, "the controller tells it, and not each node"


@pytest.mark.parametrize(
    ("network_type", "encap", "overhead"),
    [
        ("geneve", "172.31.0.11", 100),
        ("geneve", "fd00:172:31::11", 120),
        ("vxlan", "172.31.0.11", 50),
        ("vxlan", "fd00:172:31::11", 70),
        ("geneve", "172.31.0.11,fd00:172:31::11", 120),
    ],
)
def test_what_a_tunnel_takes(network_type: str, encap: str, overhead: int) -> None:
    assert tunnel_overhead(network_type, parse_encaps(encap)) == overhead


def test_tunnels_that_nobody_set_up_yet() -> None:
    assert parse_encaps("") == ()
    assert parse_encaps("no address, fd00::1") == (ip_address("fd00::1"),)


def test_what_is_asked_of_services_passes_where_the_node_answers_for_them() -> None:
    services = (ip_network("10.96.0.0/12"), ip_network("fd00:10:96::/112"))
    text = render_table([DEFAULT], services).text
    rules = [line.strip() for line in text.partition("chain forward {")[2].partition("}\n")[0].splitlines()]
    first = rules.index('iifname "ovn0" ip saddr { 10.96.0.0/12 } ct direction reply accept')
    assert rules[first + 1 : first + 3] == [
        'oifname "ovn0" ip daddr { 10.96.0.0/12 } ct status dnat accept',
        'iifname != { "ovn0", "ovngw0" } oifname "ovn0" ip daddr { 10.96.0.0/12 } accept',
    ]
    assert first < rules.index('oifname "ovn0" ip daddr != @fabric4 counter drop'), "which is about the rest"
    assert "fd00:10:96::" not in text, "the fabric has no such family"


@pytest.mark.parametrize("serves", [True, False])
def test_services_pass_only_where_nobody_else_answers_for_them(serves: bool) -> None:
    state = render_node(node(**GRANTED), [DEFAULT], 1400, services=[ip_network("10.96.0.0/12")], serves=serves)
    assert state is not None
    assert ip_network("10.96.0.0/12") in state.nics["ovn0"].link
    assert ("10.96.0.0/12" in state.table.text) is serves


def test_a_node_asks_for_names_by_its_own_address_in_the_fabric() -> None:
    """Else OVN could not lead it back to itself."""
    state = render_node(node(**GRANTED), [DEFAULT], 1400, dns=[ip_address("10.96.0.10"), ip_address("fd00:10:96::a")])
    assert state is not None
    routes = [route for route in state.nics[names.NODE_NIC].link.values() if isinstance(route, Route)]
    (found,) = [route for route in routes if route.to == ip_network("10.96.0.10/32")]
    assert str(found.source) in GRANTED[names.IP_ADDRESS].split(",")


def test_packets_to_a_network_that_the_node_is_attached_to_go_their_own_way() -> None:
    def routed(cidr: str, near: str) -> bool:
        subnet = NodeSubnet(name="blue", networks=(ip_network(cidr),))
        state = render_node(node(**GRANTED), [subnet], 1400, near=[ip_network(near)])
        assert state is not None
        assert ip_network(cidr) in state.networks, "Pods on this node are in it all the same"
        return ip_network(cidr) in state.nics[names.NODE_NIC].link

    assert not routed("172.17.0.0/16", "172.17.0.0/16")
    assert not routed("fd17::/64", "fd17::/64")
    assert routed("172.17.5.0/24", "172.17.0.0/16"), "the kernel takes the longer prefix"
    assert routed("192.168.0.0/16", "192.168.5.0/24")
    assert routed("10.20.0.0/24", "172.17.0.0/16")


def test_so_do_packets_to_such_a_network_that_is_one_of_services() -> None:
    services = [ip_network("10.96.0.0/12"), ip_network("172.17.0.0/16")]
    state = render_node(node(**GRANTED), [], 1400, near=[ip_network("172.17.0.0/16")], services=services)
    assert state is not None
    link = state.nics[names.NODE_NIC].link
    assert [each in link for each in services] == [True, False]
