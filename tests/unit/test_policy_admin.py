"""Cluster-wide policies as rules, and their order: what is understood, what becomes of the rest, and what does not
fit.
"""

from typing import Any

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.admin_policy import AdminName, AdminNetworkPolicy, AdminPolicy
from kube_ovn.model.network import Kind
from kube_ovn.model.resource import ADMIN_POLICIES, BASELINE_POLICIES, CLUSTER_POLICIES
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.policy.admin import compile_admin
from kube_ovn.topology.policy.levels import Wish, seat
from kube_ovn.topology.policy.rules import (
    Action,
    Compiled,
    Direction,
    Level,
    Rule,
    Seat,
    Selection,
    Service,
    Span,
    Tier,
)
from tests.small_clusters import Api, namespace, node, pod, settled

TYPES: dict[Kind, type[Any]] = {
    Kind(each.name): each.type for each in (ADMIN_POLICIES, BASELINE_POLICIES, CLUSTER_POLICIES)
}
ALL: dict[str, Any] = {"namespaces": {}}
ODD = {"matchExpressions": [{"key": "a", "operator": "Near"}]}
PEERS: list[Any] = [ALL]


def policy(kind: Kind, name: str = "p", **spec: Any) -> AdminPolicy:
    made: AdminPolicy = msgspec.convert(
        {"metadata": {"name": name, "uid": f"{kind} {name}"}, "spec": spec}, TYPES[kind]
    )
    return made


def compiled(kind: Kind = Kind.ADMIN_POLICY, **spec: Any) -> Compiled:
    filled = {"priority": 1, "subject": ALL, **({"tier": "Admin"} if kind is Kind.CLUSTER_POLICY else {}), **spec}
    return compile_admin(AdminName(kind, "p"), policy(kind, **filled))


def rule(
    action: str, kind: Kind = Kind.ADMIN_POLICY, *, to: list[Any] | None = None, come: list[Any] = PEERS, **fields: Any
) -> tuple[Rule | None, str]:
    """One rule as it is read, with what is told: of packets that go `to` peers, or else that `come` from some."""
    given = {"action": action, **({"from": come} if to is None else {"to": to}), **fields}
    found = compiled(kind, **{"ingress" if to is None else "egress": [given]})
    return (found.rules[0] if found.rules else None), "; ".join(found.faults)


def drops_everything(found: Rule | None) -> bool:
    return found is not None and found.action is Action.DROP and found.anywhere and found.services is None


def test_both_forms_of_ports_are_read() -> None:
    first = [
        {"portNumber": {"protocol": "TCP", "port": 80}},
        {"portRange": {"start": 81, "end": 90}},
        {"portNumber": {"protocol": "SCTP", "port": 7}},
        {"namedPort": "http"},
    ]
    second = [
        {"tcp": {"destinationPort": {"number": 80}}},
        {"tcp": {"destinationPort": {"range": {"start": 81, "end": 90}}}},
        {"sctp": {"destinationPort": {"number": 7}}},
        {"destinationNamedPort": "http"},
    ]
    expected = (
        Service(protocol="sctp", spans=(Span(7, 7),), named=("http",)),
        Service(protocol="tcp", spans=(Span(80, 90),), named=("http",)),
        Service(protocol="udp", named=("http",)),
    )
    for found, told in (rule("Deny", ports=first), rule("Deny", Kind.CLUSTER_POLICY, protocols=second)):
        assert found is not None
        assert (found.services, told) == (expected, "")
    found, _ = rule("Deny", Kind.CLUSTER_POLICY, protocols=[{"udp": {}}])
    assert found is not None
    assert found.services == (Service(protocol="udp", spans=(Span(0, 65535),)),)


@pytest.mark.parametrize(
    ("to", "peers", "why"),
    [
        (False, [], "spec.ingress[0].from: it names no peer"),
        (False, [ALL, {}], "spec.ingress[0].from[1]: it has 0 of the fields that are known"),
        (False, [{"namespaces": {}, "pods": {}}], "it has 2 of the fields that are known"),
        (False, [{"namespaces": ODD}], "operator 'Near' of label a is unknown"),
        (False, [{"pods": {"namespaceSelector": {}, "podSelector": ODD}}], "operator 'Near' of label a is unknown"),
        (False, [{"networks": ["10.0.0.0/8"]}], "packets that come in are not known by networks"),
        (True, [{"nodes": ODD}], "spec.egress[0].to[0]: operator 'Near'"),
        (True, [{"networks": ["10.0.0.0/99"]}], "'10.0.0.0/99' does not appear to be an IPv4 or IPv6 network"),
        (True, [{"networks": []}], "it lists no networks"),
    ],
)
def test_a_peer_that_is_not_understood_allows_nothing_and_denies_everything(
    to: bool, peers: list[Any], why: str
) -> None:
    fields: dict[str, Any] = {"to" if to else "come": peers}
    found, told = rule("Allow", **fields)
    assert found is None
    assert why in told
    assert told.endswith("the rule allows nothing")
    for action in ("Deny", "Pass"):
        found, told = rule(action, **fields)
        assert drops_everything(found)
        assert why in told
        assert told.endswith("the rule drops everything")


@pytest.mark.parametrize(
    ("ports", "why"),
    [
        ([], "it lists none"),
        ([{}], "spec.egress[0].ports: entry 0: it must have one of portNumber, namedPort and portRange"),
        ([{"portNumber": {"port": 70000}}], "ports 70000 to 70000 are not from 1 to 65535"),
        ([{"portRange": {"start": 80, "end": 79}}], "ports 80 to 79 are not"),
        ([{"portNumber": {"protocol": "QUIC", "port": 1}}], "protocol 'QUIC' is none of TCP, UDP, SCTP"),
        ([{"namedPort": ""}], "the name of the port is empty"),
    ],
)
def test_ports_that_are_not_understood_allow_none_and_deny_all(ports: list[Any], why: str) -> None:
    found, told = rule("Allow", to=PEERS, ports=ports)
    assert found is None
    assert why in told
    for action in ("Deny", "Pass"):
        found, told = rule(action, to=PEERS, ports=ports)
        assert found is not None
        assert (found.action, found.services, found.anywhere) == (Action.DROP, None, False)
        assert why in told


def test_nodes_and_networks_have_no_named_ports() -> None:
    peers: list[dict[str, Any]] = [{"nodes": {}}, {"networks": ["10.0.0.0/8"]}]
    for peer in peers:
        found, told = rule("Allow", to=[ALL, peer], ports=[{"namedPort": "http"}])
        assert found is None
        assert "nodes and networks have no named ports" in told


def test_host_bits_of_a_network_are_ignored() -> None:
    found, told = rule("Deny", to=[{"networks": ["10.0.0.7/24", "10.0.1.0/24"]}])
    assert found is not None
    assert ([str(each) for each in found.blocks], told) == (["10.0.0.0/23"], "")


def test_domain_names_allow_nothing_yet_and_may_not_be_denied() -> None:
    names_alone, told = rule("Allow", to=[{"domainNames": ["example.com"]}])
    assert names_alone is None
    assert told == "spec.egress[0].to[0].domainNames: names are not resolved yet: this peer allows nothing"
    beside, _ = rule("Allow", to=[{"domainNames": ["example.com"]}, ALL])
    assert beside is not None
    assert beside.selections == (Selection("", (), ()),)
    denied, told = rule("Deny", to=[{"domainNames": ["example.com"]}])
    assert drops_everything(denied)
    assert "only rules that allow may have domainNames" in told


def test_an_unknown_action_denies() -> None:
    for kind, action in (
        (Kind.ADMIN_POLICY, "Accept"),
        (Kind.CLUSTER_POLICY, "Allow"),
        (Kind.BASELINE_POLICY, "Pass"),
        (Kind.ADMIN_POLICY, ""),
    ):
        found, told = rule(action, kind)
        assert found is not None
        assert found.action is Action.DROP
        assert f"spec.ingress[0].action: {action!r} is none of" in told


@pytest.mark.parametrize(
    ("kind", "spec", "why"),
    [
        (Kind.ADMIN_POLICY, {"subject": {"namespaces": ODD}}, "all Pods are taken for selected"),
        (Kind.ADMIN_POLICY, {"subject": {}}, "it must have either namespaces or pods"),
        (Kind.ADMIN_POLICY, {"priority": 1001}, "spec.priority: 1001 is not from 0 to 1000"),
        (Kind.CLUSTER_POLICY, {"priority": -1}, "spec.priority: -1 is not from 0 to 1000"),
        (Kind.CLUSTER_POLICY, {"tier": "Middle"}, "spec.tier: 'Middle' is neither Admin nor Baseline"),
    ],
)
def test_a_policy_without_a_known_place_or_subject_only_denies(kind: Kind, spec: dict[str, Any], why: str) -> None:
    allow = "Accept" if kind is Kind.CLUSTER_POLICY else "Allow"
    listed = [{"action": action, "from": PEERS} for action in (allow, "Deny", "Pass")]
    found = compiled(kind, ingress=listed, **spec)
    assert [each.action for each in found.rules] == [Action.DROP, Action.DROP]
    assert why in "; ".join(found.faults)
    assert found.level is not None
    assert found.level.tier is Tier.ADMIN


def test_pods_that_are_not_understood_are_all_pods_of_their_namespaces() -> None:
    found = compiled(subject={"pods": {"namespaceSelector": {"matchLabels": {"a": "1"}}, "podSelector": ODD}})
    assert str(found.subject) == "namespaces a=1, pods all"
    assert "all Pods of its Namespaces are taken for selected" in "; ".join(found.faults)


def test_to_pass_the_last_tier_is_to_be_allowed() -> None:
    found = compiled(Kind.CLUSTER_POLICY, tier="Baseline", ingress=[{"action": "Pass", "from": PEERS}])
    assert [each.action for each in found.rules] == [Action.ALLOW]


# --- The order ---

DENY, ALLOW, ASKS = Wish(Action.DROP, False), Wish(Action.ALLOW, False), Wish(Action.ALLOW, True)
ONE, TWO = AdminName(Kind.ADMIN_POLICY, "one"), AdminName(Kind.ADMIN_POLICY, "two")
CLUSTER = AdminName(Kind.CLUSTER_POLICY, "a")


def seats(level: Level, *wishes: Wish) -> list[Seat]:
    return list(seat(level, {ONE: {Direction.EGRESS: wishes, Direction.INGRESS: ()}})[ONE][Direction.EGRESS])


def test_rules_of_one_action_share_a_place_and_those_with_labels_take_two() -> None:
    found = seats(Level(Tier.ADMIN, 0), DENY, DENY, ASKS, ALLOW, DENY)
    assert [(each.names, each.priority) for each in found] == [
        (32766, 32766),
        (32766, 32766),
        (32765, 32764),
        (32765, 32764),
        (32763, 32763),
    ]


def test_levels_of_a_tier_follow_one_another() -> None:
    for tier, lowest in ((Tier.ADMIN, 735), (Tier.BASELINE, 18988)):
        places = {Tier.ADMIN: names.ADMIN_PLACES, Tier.BASELINE: names.BASELINE_PLACES}[tier]
        full = (DENY, ALLOW) * (places // 2)
        last = seats(Level(tier, 1000), *full)
        assert min(each.priority for each in last) == lowest
        assert max(each.names for each in last) < min(each.priority for each in seats(Level(tier, 999), *full))
        assert all(each.fits for each in last)


def test_policies_of_one_level_are_in_the_order_of_kinds_and_names() -> None:
    wishes = {Direction.EGRESS: (DENY, ALLOW), Direction.INGRESS: ()}
    found = seat(Level(Tier.ADMIN, 3), dict.fromkeys((CLUSTER, TWO, ONE), wishes))
    assert [each.priority for name in (ONE, TWO, CLUSTER) for each in found[name][Direction.EGRESS]] == [
        32670 - place for place in range(6)
    ]


def test_what_does_not_fit_has_the_last_place() -> None:
    found = seats(Level(Tier.BASELINE, 0), *(DENY, ALLOW) * 6, DENY)
    assert [each.fits for each in found] == [True] * 11 + [False] * 2
    assert {each.priority for each in found if not each.fits} == {30999 - 11}
    assert all(each.priority > 30999 - 11 for each in found if each.fits)


def crowd(actions: list[str]) -> tuple[Topology, list[str]]:
    """A policy with these rules in a cluster; and its ACLs with their priorities."""
    listed = [
        {"action": each, "from": PEERS, "ports": [{"portNumber": {"port": n + 1}}]} for n, each in enumerate(actions)
    ]
    made = policy(Kind.ADMIN_POLICY, priority=0, subject=ALL, ingress=listed)
    topology = settled(Api(namespace("default"), node("node1", 1), pod("a"), made))
    acls = [
        f"{row.priority} {row.action} {row.match.partition('tcp.dst == ')[2]}"  # type: ignore[attr-defined]
        for row in topology.state.values()
        if row is not None and row.external_ids.get("policy") == "AdminNetworkPolicy/p"
    ]
    return topology, acls


def test_rules_that_do_not_fit_deny_what_they_deny_or_pass_and_allow_nothing() -> None:
    topology, acls = crowd(["Allow", "Deny"] * 16 + ["Allow", "Pass", "Deny"])
    assert f"{32766 - 30} allow-related 31" in acls
    last = 32766 - 31
    assert {f"{last} drop 32", f"{last} drop 34", f"{last} drop 35"} == {
        each for each in acls if each.startswith(str(last))
    }
    assert not [each for each in acls if each.endswith(" 33")]
    (told,) = [each.message for each in topology.told.values() if each.reason == names.POLICY_CROWDED]
    assert told.startswith("there is no place in the order for spec.ingress[31] and the rules after it")


def test_who_shares_a_priority_is_told() -> None:
    shared = [policy(Kind.ADMIN_POLICY, name, priority=5, subject=ALL) for name in "abcde"]
    other = policy(Kind.CLUSTER_POLICY, "z", tier="Admin", priority=5, subject=ALL)
    alone = policy(Kind.CLUSTER_POLICY, "y", tier="Baseline", priority=5, subject=ALL)
    topology = settled(Api(namespace("default"), node("node1", 1), *shared, other, alone))
    told = {each.object.name: each.message for each in topology.told.values() if each.reason == names.POLICY_ORDER}
    assert set(told) == {*"abcde", "z"}
    assert told["z"].startswith(
        "priority 5 of tier Admin is also that of AdminNetworkPolicy/a, AdminNetworkPolicy/b, AdminNetworkPolicy/c "
        "and 2 more: the API does not define"
    )


def test_pods_in_the_nodes_network_are_no_peers_of_cluster_wide_policies() -> None:
    listed = [{"action": "Deny", "from": [{"pods": {"namespaceSelector": {}, "podSelector": {}}}]}]
    deny = policy(Kind.ADMIN_POLICY, priority=0, subject=ALL, ingress=listed)
    assert isinstance(deny, AdminNetworkPolicy)
    topology = settled(Api(namespace("default"), node("node1", 1), pod("a"), pod("host", host_network=True), deny))
    found = {key.target for key in topology.state if len(key) == 4 and key.key == names.own_pods_set(ANY, 4)}
    assert found == {"10.16.0.2"}


ANY = repr(Selection("", (), ()))
