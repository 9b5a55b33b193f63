"""Which nodes a centralized subnet leaves through, and which of them first."""

import re
from ipaddress import IPv4Network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.model import names
from kube_ovn.model.crd import LabelSelector, NatRule, NatRuleMatch, Subnet, SubnetSpec
from kube_ovn.model.gateway import parse_gateway_nodes, parse_nat_rule
from kube_ovn.model.kube import Node
from kube_ovn.model.nb import HaChassis, LogicalRouterPolicy
from kube_ovn.topology.gateways.groups import Exit, Group, assign_slots, choose, parse_node, rank, render_groups, watch
from kube_ovn.topology.graph import Topology
from tests.small_clusters import Api, fabric, gateway, namespace, node, pod, settle, settled, subnet

ONE, TWO, THREE = gateway("node1", 1, ipv6=True), gateway("node2", 2, egress="true"), gateway("node3", 3, egress="true")


def nodes_of(made: Exit, version: int = 4) -> tuple[tuple[str, ...], ...]:
    """The nodes of each group, the preferred one first."""
    return tuple(group.nodes for group in made.groups[version])


def way(*nodes: Node, versions: tuple[int, ...] = (4,), **spec: object) -> Exit:
    made = SubnetSpec(gateway_type="centralized", **spec)  # type: ignore[arg-type]
    return choose(made, versions, {item.metadata.name: parse_node(item) for item in nodes})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("node1,node2", {"node1": "", "node2": ""}),
        (" node2 , node1 ,", {"node2": "", "node1": ""}),
        ("node1:192.0.2.1,node2", {"node1": "192.0.2.1", "node2": ""}),
        ("node1:fd00::1,node1:192.0.2.1", {"node1": "fd00::1 192.0.2.1"}),
    ],
)
def test_gateway_nodes_are_read(text: str, expected: dict[str, str]) -> None:
    assert {name: " ".join(map(str, found)) for name, found in parse_gateway_nodes(text).items()} == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("node1:", "neither NODE nor NODE:ADDRESS"),
        (":192.0.2.1", "neither NODE nor NODE:ADDRESS"),
        ("node1:x", "'x' is not an IP address"),
        ("node1:192.0.2.1,node1:192.0.2.2", "two source addresses of one IP family"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        parse_gateway_nodes(text)
    assert part in way(ONE, gateway_node=text).faults[0]
    assert not way(ONE, gateway_node=text).groups[4]


def test_without_ecmp_there_is_one_group_in_the_users_order() -> None:
    assert nodes_of(way(ONE, TWO, THREE, gateway_node="node3,node1")) == (("node3", "node1"),)


def test_with_ecmp_each_node_begins_one_group() -> None:
    made = way(ONE, TWO, THREE, gateway_node="node1,node2,node3", enable_ecmp=True)
    assert nodes_of(made) == (("node1", "node2", "node3"), ("node2", "node3", "node1"), ("node3", "node1", "node2"))


def test_labels_choose_where_no_node_is_named() -> None:
    chosen = (LabelSelector(match_labels={"egress": "true"}),)
    assert nodes_of(way(ONE, TWO, THREE, gateway_node_selectors=chosen)) == (("node2", "node3"),)
    assert nodes_of(way(ONE, TWO, gateway_node="node1", gateway_node_selectors=chosen)) == (("node1",),)
    assert way(ONE, gateway_node_selectors=chosen).faults == (
        "gatewayType is centralized, but gatewayNodeSelectors select no node",
    )


def test_a_node_that_is_not_ready_keeps_its_group_and_carries_nothing() -> None:
    away = gateway("node1", 1, ready=False)
    made = way(away, TWO, gateway_node="node1,node2")
    assert nodes_of(made) == (("node1", "node2"),)
    assert made.carriers == ("node2",)
    assert not made.flaw
    assert made.absent == ("node node1 is not Ready",)
    assert not made.faults


def test_without_a_ready_node_the_last_resort_is_told() -> None:
    made = way(gateway("node1", 1, ready=False), gateway_node="node1,node9")
    assert nodes_of(made) == (("node1",),)
    assert made.faults == ("gatewayNode: there is no node node9",)
    assert "packets leave through node1 only as long as the network there works (IPv4)" in made.flaw


def test_each_family_has_its_own_carriers() -> None:
    made = way(gateway("node1", 1, ready=False, ipv6=True), TWO, versions=(4, 6), gateway_node="node2,node1")
    assert made.carriers == ("node2", "node1")
    assert "packets leave through node2,node1 only as long as the network there works (IPv6)" in made.flaw


def test_with_ecmp_those_carry_that_are_first_of_a_group() -> None:
    emptied = gateway("node1", 1, emptied=True)
    assert way(emptied, TWO, gateway_node="node1,node2", enable_ecmp=True).carriers == ("node2",)


def test_without_a_node_packets_are_stopped() -> None:
    made = way(ONE, gateway_node="node9", versions=(4, 6))
    assert made.groups == {4: (), 6: ()}
    assert "packets to the outside are stopped (IPv4,IPv6)" in made.flaw


def test_shares_of_many_gateways_have_a_bound() -> None:
    nodes = [gateway(f"node{number}", number) for number in range(1, 31)]
    groups = nodes_of(way(*nodes, gateway_node=",".join(item.metadata.name for item in nodes), enable_ecmp=True))
    assert len(groups) == 30
    assert {len(group) for group in groups} == {8}


def test_a_node_without_an_address_of_the_family_serves_the_other() -> None:
    made = way(ONE, TWO, versions=(4, 6), gateway_node="node2,node1")
    assert (nodes_of(made), nodes_of(made, 6)) == ((("node2", "node1"),), (("node1",),))
    assert made.faults == ("gatewayNode: node node2 has no IPv6 address",)


def test_a_node_that_is_being_emptied_comes_last() -> None:
    nodes = {item.metadata.name: parse_node(item) for item in (gateway("node1", 1, emptied=True), TWO)}
    assert rank(("node1", "node2"), nodes) == ["node2", "node1"]
    assert rank(("node1",), nodes) == ["node1"]  # as long as there is no other


def test_a_node_that_is_not_on_the_network_yet_waits() -> None:
    made = way(node("node1", 1), gateway_node="node1")
    assert not made.groups[4]


def test_others_do_not_move_a_groups_addresses() -> None:
    some = [Group("node1", ("node1",)), Group("node2,node1", ("node2", "node1"))]
    assert assign_slots(some).items() <= assign_slots([*some, Group("node3", ("node3",))]).items()
    assert len(assign_slots(Group(str(number), ("node1",)) for number in range(9000))) == 8192


@pytest.mark.parametrize("ecmp", [False, True])
def test_who_comes_and_goes_changes_no_group_but_its_own(ecmp: bool) -> None:
    chosen = (LabelSelector(match_labels={"egress": "true"}),)
    before = way(TWO, THREE, gateway_node_selectors=chosen, enable_ecmp=ecmp)
    after = way(TWO, THREE, gateway("node4", 4, egress="true"), gateway_node_selectors=chosen, enable_ecmp=ecmp)
    assert {group.key for group in before.groups[4]} <= {group.key for group in after.groups[4]}
    listed = [way(*some, gateway_node="node1,node2", enable_ecmp=ecmp) for some in ((ONE, TWO), (ONE,))]
    assert listed[0].groups[4][0].key == listed[1].groups[4][0].key


def chassis(topology: Topology) -> list[tuple[str, int]]:
    """Members of the groups that something leaves through."""
    rows = [
        row
        for row in topology.state.values()
        if isinstance(row, HaChassis) and names.gateway_group("all nodes") not in row.external_ids["key"]
    ]
    return sorted(((row.chassis_name, row.priority) for row in rows), key=lambda each: -each[1])


def policy(topology: Topology, name: str) -> LogicalRouterPolicy:
    (row,) = [
        row
        for row in topology.state.values()
        if isinstance(row, LogicalRouterPolicy)
        and row.priority == names.POLICY_CENTRALIZED
        and row.external_ids["subnet"] == name
    ]
    return row


def test_a_change_of_a_node_moves_one_row_a_group_and_the_status_follows() -> None:
    api = Api(namespace("default"), ONE, TWO)
    api.put(
        *(subnet(f"s{n}", f"10.20.{n}.0/24", gateway_type="centralized", gateway_node="node1,node2") for n in range(5))
    )
    topology = settled(api)
    assert chassis(topology) == [("chassis-node1", 2), ("chassis-node2", 1)]
    assert {api.get(Subnet, f"s{n}").status.activate_gateway for n in range(5)} == {"node1"}
    topology.take_changed()
    view = api.snapshot()
    api.put(msgspec.structs.replace(ONE, spec=msgspec.structs.replace(ONE.spec, unschedulable=True)))
    settle(topology, api, view)
    assert chassis(topology) == [("chassis-node2", 2), ("chassis-node1", 1)]
    assert {api.get(Subnet, f"s{n}").status.activate_gateway for n in range(5)} == {"node2"}
    moved = {key for key in topology.take_changed() if key.table not in ("Logical_Router_Policy",)}
    assert len(moved) == 2


def test_bfd_runs_between_all_nodes_that_can_be_gateways() -> None:
    some, nodes = [Group("node1", ("node1",))], {each.metadata.name: parse_node(each) for each in (ONE, TWO)}
    assert watch(["node2", "node1"], some).nodes == ("node1", "node2")
    assert watch([f"node{n}" for n in range(51)], some).nodes == ("node1",), "not with the square of the nodes"
    rows = render_groups("ovn-cluster", assign_slots([watch(nodes, some)]), nodes)
    assert {row.priority for row in rows.values() if isinstance(row, HaChassis)} == {1}, "one more changes no other"


def test_rules_in_effect_are_in_the_status_under_the_names_they_have_on_the_nodes() -> None:
    rule = NatRule(match=NatRuleMatch(dst_ips="198.51.100.0/24"), action="forward")
    api = Api(namespace("default"), ONE)
    api.put(
        subnet("on", "10.20.1.0/24", nat_outgoing=True, nat_outgoing_policy_rules=(rule, NatRule(action="nat"))),
        subnet("off", "10.20.2.0/24", nat_outgoing_policy_rules=(rule,)),
    )
    settled(api)
    (told,) = api.get(Subnet, "on").status.nat_outgoing_policy_rules
    assert (told.rule_id, told.match, told.action) == (parse_nat_rule(rule).id, rule.match, "forward")
    assert re.fullmatch("[0-9a-f]{12}", told.rule_id)
    assert api.get(Subnet, "off").status.nat_outgoing_policy_rules == ()


def test_without_gateways_a_subnets_packets_are_dropped_and_it_says_so() -> None:
    api = Api(namespace("default"), node("node1", 1))
    api.put(subnet("out", "10.20.0.0/24", gateway_type="centralized", gateway_node="node1"))
    topology = settled(api, fabric())
    assert policy(topology, "out").action == "drop"
    told = {each.type: (each.status, each.reason) for each in api.get(Subnet, "out").status.conditions}
    assert told["GatewayReady"] == ("False", "NoReadyGateway")
    assert "node node1 is not Ready" in topology.problems["subnet-uid-out"].message
    api.put(gateway("node1", 1, ready=False))
    settle(topology, api)
    assert policy(topology, "out").action == "reroute"


@pytest.mark.parametrize(
    ("source", "destination", "action", "part"),
    [
        ("", "", "nat", "needs srcIPs or dstIPs"),
        ("10.0.0.1", "fd00::1", "nat", "not of one IP family"),
        ("10.0.0.1/8", "", "nat", "neither an address nor a CIDR"),
        ("10.0.0.1", "", "drop", "neither nat nor forward"),
    ],
)
def test_rules_that_cannot_be_read_are_told(source: str, destination: str, action: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        parse_nat_rule(NatRule(match=NatRuleMatch(src_ips=source, dst_ips=destination), action=action))


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(29, 32)), min_size=1, max_size=12))
def test_of_the_networks_of_a_rule_those_inside_another_are_left_out(places: list[tuple[int, int]]) -> None:
    made = [IPv4Network((0x0A000000 + number, length), strict=False) for number, length in places]
    networks = list(dict.fromkeys(made))
    kept = [each for each in networks if not any(each != wide and wide.supernet_of(each) for wide in networks)]
    rule = NatRule(match=NatRuleMatch(src_ips=",".join(map(str, networks))), action="nat")
    assert list(parse_nat_rule(rule).sources) == kept


def test_rules_are_not_parsed_again_for_a_pod() -> None:
    rule = NatRule(match=NatRuleMatch(dst_ips="198.51.100.0/24"), action="forward")
    wanted = subnet("team", "10.40.0.0/24", nat_outgoing=True, nat_outgoing_policy_rules=(rule,))
    api = Api(ONE, namespace("default"), wanted)
    topology = settled(api)
    texts = next(each for each in topology.graph.derivations if each.name == "texts of subnets")
    before = texts.worked
    api.put(pod("a", annotations={names.LOGICAL_SWITCH: "team"}))
    settle(topology, api)
    assert api.get(Subnet, "team").status.v4_using_ips == 1
    assert texts.worked == before
