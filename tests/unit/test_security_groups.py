"""SecurityGroups: what is understood and what becomes of the rest, what users are told, and what a change does."""

from typing import Any

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.kube import Pod
from kube_ovn.model.nb import Acl
from kube_ovn.model.row import Member, RowKey
from kube_ovn.model.security import SecurityGroup, SecurityGroupRule
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.policy.rules import Direction, Span
from kube_ovn.topology.security.compile import CompiledGroup, Verdict, compile_group
from kube_ovn.topology.security.levels import Rank, assign, level_of
from kube_ovn.topology.security.membership import MOST_GROUPS
from tests.small_clusters import World, fabric, node, pod, policy, security_group, show

RULE = {
    "ipVersion": "ipv4",
    "protocol": "tcp",
    "priority": 5,
    "policy": "allow",
    "remoteType": "address",
    "remoteAddress": "0.0.0.0/0",
}


def compiled(*ingress: dict[str, Any], **spec: Any) -> CompiledGroup:
    whole = {"metadata": {"name": "g", "uid": "u"}, "spec": {"ingressRules": ingress, **spec}}
    return compile_group(msgspec.convert(whole, SecurityGroup))


def rule(**fields: Any) -> SecurityGroupRule:
    return msgspec.convert({**RULE, **fields}, SecurityGroupRule)


def member_of(*groups: str, name: str = "a") -> Pod:
    return pod(name, annotations={names.SECURITY_GROUPS: ",".join(groups)})


def groups_of(topology: Topology, port: str = "a.default") -> set[str]:
    return {
        key.key
        for key in topology.state
        if isinstance(key, Member) and key[:1] == ("Port_Group",) and (key.column, key.target) == ("ports", port)
    } - {names.node_port_group("node1")}


def acls(topology: Topology, group: str) -> list[Acl]:
    """The ACLs of a group, as they are asked."""
    found = (
        topology.state[RowKey("ACL", key.target)]
        for key in topology.state
        if isinstance(key, Member) and (key.key, key.column) == (names.security_group(group), "acls")
    )
    return sorted((each for each in found if isinstance(each, Acl)), key=lambda each: -each.priority)


# --- what is understood ---


def test_all_addresses_and_all_ports_are_no_restriction() -> None:
    (found,) = compiled({**RULE, "portRangeMin": 1, "portRangeMax": 65535, "localAddress": "0.0.0.0/0"}).rules
    assert (found.remote, found.ports, found.local, found.versions) == (None, None, None, (4,))
    (found,) = compiled({**RULE, "protocol": "icmp", "portRangeMin": 0, "portRangeMax": 0}).rules
    assert (found.protocol, found.ports) == ("icmp", None)


def test_a_range_of_ports_and_of_source_ports() -> None:
    sources = {"localAddress": "10.16.0.2", "sourcePortRangeMin": 1, "sourcePortRangeMax": 9}
    (found,) = compiled({**RULE, "portRangeMin": 80, "portRangeMax": 90, **sources}).rules
    assert (found.ports, found.sources, str(found.local)) == (Span(80, 90), Span(1, 9), "10.16.0.2/32")


BAD = [
    ({"ipVersion": "IPv4"}, "ipVersion 'IPv4' is unknown: use ipv4 or ipv6"),
    ({"protocol": "sctp"}, "protocol 'sctp' is unknown: use all, icmp, tcp or udp"),
    ({"priority": 0}, "priority 0 is not from 1 to 16384"),
    ({"priority": 16385}, "priority 16385 is not"),
    ({"remoteType": ""}, "remoteType '' is unknown: use address or securityGroup"),
    ({"remoteAddress": "10.0.0.5/8"}, "remoteAddress: '10.0.0.5/8' is not a CIDR: 10.0.0.5/8 has host bits set"),
    ({"remoteAddress": "10.0.0.0/8,fd00::/64"}, "remoteAddress 10.0.0.0/8,fd00::/64 is not one CIDR"),
    ({"remoteAddress": "fd00::5"}, "remoteAddress fd00::5 is no address of ipVersion ipv4"),
    ({"remoteAddress": ""}, "remoteAddress is empty; 0.0.0.0/0 or ::/0 is all addresses"),
    ({"remoteType": "securityGroup"}, "remoteSecurityGroup is empty"),
    ({"portRangeMin": 90, "portRangeMax": 80}, "portRangeMin 90 and portRangeMax 80 are not from 1 to 65535, in this"),
    ({"portRangeMin": 80}, "portRangeMin 80 and portRangeMax 0 are not"),
    ({"portRangeMin": 80, "portRangeMax": 70000}, "portRangeMin 80 and portRangeMax 70000 are not"),
    ({"protocol": "icmp", "portRangeMin": 80, "portRangeMax": 81}, "mean nothing with protocol icmp: use tcp or udp"),
    ({"sourcePortRangeMin": 1, "sourcePortRangeMax": 9}, "count only together with localAddress; set it"),
    ({"localAddress": "here"}, "localAddress: 'here'"),
]


@pytest.mark.parametrize(("odd", "fault"), BAD)
def test_what_is_not_understood_never_lets_a_packet_pass(odd: dict[str, Any], fault: str) -> None:
    """A rule that allows has no effect; one that drops or passes drops what it can have meant, and is told as well."""
    for verdict in ("allow", "drop", "pass"):
        found = compiled({**RULE, **odd, "policy": verdict})
        ((direction, said),) = found.faults
        assert direction is Direction.INGRESS
        assert said.startswith("spec.ingressRules[0]: ")
        assert fault in said
        assert [each.verdict for each in found.rules] == ([] if verdict == "allow" else [Verdict.DROP])


def test_what_cannot_be_read_counts_for_all_values() -> None:
    (found,) = compiled({**RULE, "policy": "drop", "remoteAddress": "10.0.0.0/8", "portRangeMin": 80}).rules
    assert (str(found.remote), found.ports, found.protocol) == ("10.0.0.0/8", None, "tcp")
    (found,) = compiled({**RULE, "policy": "drop", "remoteAddress": "fd00::/64"}).rules
    assert (found.remote, found.versions) == (None, (4, 6))
    (found,) = compiled({**RULE, "policy": "drop", "priority": 0}).rules
    assert found.priority == 1


def test_a_policy_that_is_unknown_drops() -> None:
    (found,) = compiled({**RULE, "policy": "reject"}).rules
    assert found.verdict is Verdict.DROP


def test_a_group_of_an_unknown_tier_allows_nothing() -> None:
    found = compiled(RULE, {**RULE, "policy": "drop"}, tier=2, allowSameGroupTraffic=True)
    assert (found.tier, found.same_group, [each.verdict for each in found.rules]) == (0, False, [Verdict.DROP])
    assert "spec.tier is 2: use 0 or 1" in found.faults[0][1]


# --- priorities ---


def test_where_a_priority_is_used_in_two_ways_what_drops_comes_first() -> None:
    levels = assign({5: {Rank.DROP, Rank.ALLOW, Rank.PASS}, 6: {Rank.ALLOW}, 7: {Rank.DROP}, 100: {Rank.ALLOW}})
    ranked = ((5, Rank.DROP), (5, Rank.PASS), (5, Rank.ALLOW), (6, Rank.ALLOW), (7, Rank.DROP), (100, Rank.ALLOW))
    assert [level_of(levels, *each) for each in ranked] == [18479, 18478, 18477, 18477, 18476, 18384]


def test_without_room_nothing_is_allowed() -> None:
    used = {each: set(Rank) for each in range(16300, 16385)}
    levels = assign(used)
    assert level_of(levels, 16300, Rank.DROP) == 18484 - 16300
    assert [level_of(levels, 16384, each) for each in Rank] == [None] * 4


def test_rules_without_room_drop_or_have_no_effect_and_are_told() -> None:
    three = [rule(priority=each, policy=policy) for each in range(16284, 16385) for policy in ("drop", "pass", "allow")]
    world = World(node("node1", 1), security_group("g", ingress_rules=tuple(three)))
    last = [each for each in acls(world.topology, "g") if each.priority == names.ACL_GROUP_CLOSED]
    assert last
    assert {each.action for each in last} == {"drop"}
    assert len(acls(world.topology, "g")) < len(three)
    assert "spec.ingressRules[302]: no place is left for priority 16384" in world.told("group-uid-g")


# --- names ---


def test_no_two_groups_share_a_port_group() -> None:
    odd = [
        "a.b",
        "a-b",
        "a--b",
        "a-.b",
        "kubeovn.deny.all",
        "kubeovn-deny-all",
        "kubeovn.closed",
        "a-associated-v4",
        "a",
    ]
    found = [names.security_group(each) for each in odd]
    found += [names.denied_group(tier) for tier in names.SECURITY_GROUP_TIERS]
    assert len(set(found)) == len(found)
    assert names.security_group("default-securitygroup") == "ovn.sg.default.securitygroup"


# --- Pods ---


def test_the_port_joins_its_groups_in_the_transaction_that_creates_it() -> None:
    world = World(node("node1", 1), security_group("web"), security_group("late", tier=1), member_of("web", "late"))
    world.topology.take_changed()
    world.put(member_of("late", "web", name="b"))
    changed = world.topology.take_changed()
    assert RowKey("Logical_Switch_Port", "b.default") in changed
    at = ("ovn.sg.web", "ovn.sg.late", "ovn.sg.kubeovn_deny_all", "ovn.sg.kubeovn_deny_all_1")
    assert {Member("Port_Group", each, "ports", "b.default") for each in at} <= changed
    assert groups_of(world.topology, "b.default") == set(at)


def test_a_pod_that_has_its_port_changes_groups() -> None:
    world = World(node("node1", 1), security_group("web"), security_group("db", tier=1), pod("a"))
    assert groups_of(world.topology) == set()
    annotations = world.api.get(Pod, "a", "default").metadata.annotations
    for named, wanted in (
        ("web", {"ovn.sg.web", "ovn.sg.kubeovn_deny_all"}),
        ("db", {"ovn.sg.db", "ovn.sg.kubeovn_deny_all_1"}),
        (" ", set()),
    ):
        world.put(pod("a", annotations={**annotations, names.SECURITY_GROUPS: named}))
        assert groups_of(world.topology) == wanted
    assert world.topology.graph.verify() == []


def test_a_missing_group_closes_its_pods_until_it_comes() -> None:
    world = World(node("node1", 1), security_group("web"), member_of("web", "gone"))
    assert groups_of(world.topology) == {"ovn.sg.kubeovn_closed"}
    assert "SecurityGroup 'gone' of annotation ovn.kubernetes.io/security_groups does not exist" in world.told("uid-a")
    world.put(security_group("gone"))
    assert groups_of(world.topology) == {"ovn.sg.web", "ovn.sg.gone", "ovn.sg.kubeovn_deny_all"}
    assert world.told("uid-a") == ""
    assert world.topology.graph.verify() == []


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (",", "names no SecurityGroup"),
        (",".join(f"g{each}" for each in range(MOST_GROUPS + 1)), f"names {MOST_GROUPS + 1} groups"),
        ("a,b,c,d,e", "SecurityGroups 'a', 'b', 'c' and 2 more of annotation"),
    ],
)
def test_what_names_nothing_that_is_there_closes(named: str, said: str) -> None:
    world = World(node("node1", 1), member_of(named))
    assert groups_of(world.topology) == {"ovn.sg.kubeovn_closed"}
    assert said in world.told("uid-a")


def test_a_pod_in_the_network_of_its_node_is_told() -> None:
    world = World(node("node1", 1), security_group("web"))
    world.put(pod("a", host_network=True, annotations={names.SECURITY_GROUPS: "web"}))
    assert groups_of(world.topology) == set()
    assert "has no effect on a Pod in the network of its node" in world.told("uid-a")


def test_a_pod_that_names_no_group_is_not_locked_in() -> None:
    world = World(node("node1", 1), security_group("default-securitygroup"), pod("a"))
    assert groups_of(world.topology) == set()


# --- groups ---


def test_a_missing_remote_group_allows_nothing_until_it_comes() -> None:
    from_db = rule(remoteType="securityGroup", remoteSecurityGroup="db")
    world = World(node("node1", 1), security_group("web", ingress_rules=(from_db,)), member_of("web"))
    assert acls(world.topology, "web") == []
    assert "spec.ingressRules[0]: SecurityGroup 'db' does not exist: no Pod is in it" in world.told("group-uid-web")
    status = world.api.get(SecurityGroup, "web").status
    assert (status.ingress_last_sync_success, status.egress_last_sync_success) == (False, True)
    assert {each.type: each.status for each in status.conditions} == {"Ready": "False", "Validated": "True"}
    world.put(security_group("db"))
    (found,) = acls(world.topology, "web")
    assert found.match == "outport == @ovn.sg.web && ip4.src == $ovn.sg.db.associated.v4 && tcp"
    assert world.told("group-uid-web") == ""
    assert world.api.get(SecurityGroup, "web").status.ingress_last_sync_success


def test_a_group_may_name_itself() -> None:
    itself = rule(remoteType="securityGroup", remoteSecurityGroup="web")
    world = World(node("node1", 1), security_group("web", ingress_rules=(itself,)), member_of("web"))
    assert [each.match for each in acls(world.topology, "web")] == [
        "outport == @ovn.sg.web && ip4.src == $ovn.sg.web.associated.v4 && tcp"
    ]
    assert Member("Address_Set", "ovn.sg.web.associated.v4", "addresses", "10.16.0.2") in world.topology.state


def test_the_status_says_what_is_in_effect_and_is_written_once() -> None:
    world = World(node("node1", 1), security_group("a-b", allow_same_group_traffic=True, egress_rules=(rule(),)))
    status = world.api.get(SecurityGroup, "a-b").status
    assert (status.port_group, status.allow_same_group_traffic) == ("ovn.sg.a.b", True)
    assert (status.ingress_last_sync_success, status.egress_last_sync_success) == (True, True)
    assert status.ingress_md5 == "d751713988987e9331980363e24189ce", "that of []"
    assert len(status.egress_md5) == 32
    assert world.topology.writes == {}
    after = Topology(fabric())
    show(after, world.api.snapshot())
    assert after.writes == {}, "a controller that starts anew writes nothing"
    changed = security_group("a-b", egress_rules=(rule(priority=6),), allow_same_group_traffic=True)
    world.put(msgspec.structs.replace(changed, status=status))
    assert world.api.get(SecurityGroup, "a-b").status.egress_md5 != status.egress_md5


def test_a_group_that_goes_takes_its_rows_along() -> None:
    world = World(node("node1", 1), policy("deny"), security_group("web", ingress_rules=(rule(),)), member_of("web"))
    world.api.remove("group-uid-web")
    world.put()
    assert not [key for key in world.topology.state if key.key.startswith(("ovn.sg.web", "sg ovn.sg.web"))]
    assert groups_of(world.topology) - {names.POLICY_PORTS} >= {"ovn.sg.kubeovn_closed"}
    world.put(member_of(" "))
    assert not [key for key in world.topology.state if key.key.startswith(("ovn.sg", "sg "))]
