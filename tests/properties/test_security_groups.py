"""The rows of SecurityGroups against a second reading of their fields, on random groups, Pods and packets."""

import os
from collections.abc import Collection, Mapping
from itertools import product
from typing import Any

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kube_ovn.model import names
from kube_ovn.model.kube import Object, Pod
from kube_ovn.model.policy import NetworkPolicy
from kube_ovn.model.security import SecurityGroup, SecurityGroupRule
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.policy.rules import Direction
from kube_ovn.topology.security.levels import TAKEN, Rank, Stage, assign, level_of
from tests.oracle.acls import Database
from tests.oracle.acls import Packet as AclPacket
from tests.oracle.network_policy import Cluster, End
from tests.oracle.security_group import Groups, Packet, allows
from tests.properties.test_policies import policies, spaces
from tests.small_clusters import Api, fabric, node, pod, security_group, settle, settled

EXAMPLES = int(os.environ.get("POLICY_EXAMPLES", "150")) // 2
"""Each asks some hundred questions."""
NODES = ("node1", "node2")
GROUPS = ("web", "db", "a.b", "a-b")
NAMED = ((), ("web",), ("web", "db"), ("db", "web"), ("db",), ("a.b",), ("a-b", "a.b"), ("web", "missing"), GROUPS)
RANGES = ((0, 0), (0, 0), (53, 53), (1, 79), (54, 80))
ADDRESSES = {
    "ipv4": ("0.0.0.0/0", "0.0.0.0/0", "10.16.0.0/30", "10.16.0.3", "192.0.2.0/24"),
    "ipv6": ("::/0", "::/0", "fd00:10:16::/126", "fd00:10:16::3", "2001:db8::/32"),
}
LOCALS = {"ipv4": ("", "10.16.0.2", "10.16.0.0/16"), "ipv6": ("", "fd00:10:16::2", "fd00:10:16::/112")}
OUTSIDE = ("192.0.2.1", "2001:db8::1")
SOURCES = (1, 1500)
ASKED = (
    ("ICMP", 0, 0),
    ("VRRP", 0, 0),
    ("SCTP", 80, 1),
    ("UDP", 67, 68),
    ("UDP", 68, 67),
    *((protocol, port, source) for protocol in ("TCP", "UDP") for port in (1, 53, 80) for source in SOURCES),
)


@st.composite
def rules(draw: st.DrawFn) -> SecurityGroupRule:
    family = draw(st.sampled_from(("ipv4", "ipv4", "ipv6")))
    protocol = draw(st.sampled_from(("all", "icmp", "tcp", "udp", "udp")))
    local = draw(st.sampled_from(LOCALS[family]))
    has_ports = protocol in ("tcp", "udp")
    low, high = draw(st.sampled_from(RANGES)) if has_ports else (0, 0)
    sources = draw(st.sampled_from(((0, 0), (1, 1000), (1024, 65535)))) if has_ports and local else (0, 0)
    return SecurityGroupRule(
        ip_version=family,
        protocol=protocol,
        priority=draw(st.sampled_from((1, 1, 2, 2, 3, 15484, 15485, 16384))),
        policy=draw(st.sampled_from(("allow", "allow", "drop", "pass"))),
        remote_type=draw(st.sampled_from(("address", "address", "securityGroup"))),
        remote_address=draw(st.sampled_from(ADDRESSES[family])),
        remote_security_group=draw(st.sampled_from((*GROUPS, "missing"))),
        port_range_min=low,
        port_range_max=high,
        local_address=local,
        source_port_range_min=sources[0],
        source_port_range_max=sources[1],
    )


some_rules = st.lists(rules(), max_size=6).map(tuple)


@st.composite
def groups(draw: st.DrawFn) -> list[SecurityGroup]:
    return [
        security_group(
            name,
            tier=draw(st.sampled_from((0, 0, 1))),
            allow_same_group_traffic=draw(st.booleans()),
            ingress_rules=draw(some_rules),
            egress_rules=draw(some_rules),
        )
        for name in draw(st.sampled_from((GROUPS, GROUPS, GROUPS[:2], GROUPS[:1], GROUPS[1:])))
    ]


@st.composite
def pods(draw: st.DrawFn) -> list[Pod]:
    found = []
    for number in range(draw(st.integers(3, 5))):
        named = draw(st.sampled_from(NAMED))
        plain = pod(
            f"p{number}",
            draw(st.sampled_from(NODES)),
            namespace=draw(st.sampled_from(("a", "b"))),
            host_network=draw(st.sampled_from((False,) * 5 + (True,))),
            annotations={names.SECURITY_GROUPS: ", ".join(named)} if named else None,
        )
        labels = {"app": draw(st.sampled_from(("1", "2")))}
        found.append(msgspec.structs.replace(plain, metadata=msgspec.structs.replace(plain.metadata, labels=labels)))
    return found


class Judge:
    """A settled cluster, and both readings of a packet."""

    def __init__(self, objects: list[Object]) -> None:
        dual = fabric("10.16.0.0/16,fd00:10:16::/112", "100.64.0.0/16,fd00:100:64::/112")
        self.api = Api(*spaces(), *(node(name, at) for at, name in enumerate(NODES)), *objects)
        self.topology: Topology = settled(self.api, dual)
        self.pods = [each for each in objects if isinstance(each, Pod)]
        self.cluster = Groups(
            groups=[each for each in objects if isinstance(each, SecurityGroup)],
            policies=Cluster(
                namespaces=spaces(), policies=[each for each in objects if isinstance(each, NetworkPolicy)]
            ),
        )
        self.database = Database(self.topology.state)
        self.packets = [
            Packet(source=source, target=target, protocol=protocol, port=port, source_port=source_port)
            for version in (4, 6)
            for source, target in product(self._ends(version), repeat=2)
            if source is not target
            for protocol, port, source_port in ASKED
        ]

    def _ends(self, version: int) -> list[End]:
        grants: Mapping[str, Any] = self.topology.grants
        at = {
            owner: next(str(each) for each in grant.addresses if each.version == version)
            for owner, grant in grants.items()
        }
        own = [End(address=at[each.metadata.uid], pods=(each,)) for each in self.pods if each.metadata.uid in at]
        hosts = [
            End(
                address=at[f"node-uid-{name}"],
                node=name,
                pods=tuple(each for each in self.pods if each.spec.host_network and each.spec.node_name == name),
            )
            for name in NODES
        ]
        return [*own, *hosts, *(End(address=each) for each in OUTSIDE if (":" in each) == (version == 6))]

    def rows_allow(self, packet: Packet) -> bool:
        for end, direction in ((packet.source, "from-lport"), (packet.target, "to-lport")):
            inside = next((each for each in end.pods if not each.spec.host_network), None)
            if inside is None:
                continue
            asked = AclPacket(
                source=packet.source.address,
                target=packet.target.address,
                protocol=packet.protocol,
                port=packet.port,
                source_port=packet.source_port,
                resident=frozenset({names.node_port(inside.spec.node_name)}),
            )
            at = names.pod_port(inside.metadata.name, inside.metadata.namespace)
            if self.database.verdict(at, direction, asked) != "allow":
                return False
        return True

    def check(self) -> None:
        for packet in self.packets:
            expected, found = allows(self.cluster, packet), self.rows_allow(packet)
            assert found == expected, f"{packet}: the rows say {found}"


quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=EXAMPLES, suppress_health_check=quiet)
@given(pods(), groups(), st.one_of(st.just([]), policies()))
def test_rows_say_what_the_groups_say(some: list[Pod], those: list[SecurityGroup], rest: list[NetworkPolicy]) -> None:
    Judge([*some, *those, *rest]).check()


@settings(max_examples=EXAMPLES // 3, suppress_health_check=quiet)
@given(pods(), groups(), st.data())
def test_a_group_that_goes_lets_nothing_more_pass(
    some: list[Pod], those: list[SecurityGroup], data: st.DataObject
) -> None:
    judge = Judge([*some, *those])
    before = [judge.rows_allow(packet) for packet in judge.packets]
    view = judge.api.snapshot()
    judge.api.remove(data.draw(st.sampled_from(those)).metadata.uid)
    settle(judge.topology, judge.api, view)
    judge.database = Database(judge.topology.state)
    for packet, was_allowed in zip(judge.packets, before, strict=True):
        assert was_allowed or not judge.rows_allow(packet), packet


ranks = st.frozensets(st.sampled_from(Rank), min_size=1).map(
    lambda found: found | {Rank.ALLOW} if Rank.NAMES in found else found
)
priorities = st.one_of(st.integers(1, 12), st.integers(15478, 15490), st.integers(16300, 16384))
stages = st.sampled_from([Stage(tier, direction) for tier in (0, 1) for direction in Direction])


@settings(max_examples=500)
@given(st.dictionaries(priorities, ranks, max_size=40), stages)
@example({each: frozenset(Rank) for each in range(16200, 16385)}, Stage(0, Direction.INGRESS))
def test_levels_keep_the_order(used: dict[int, frozenset[Rank]], stage: Stage) -> None:
    taken: Collection[int] = TAKEN.get(stage, ())
    levels = assign(used, taken)
    placed = [(each, rank, level_of(levels, each, rank)) for each in sorted(used) for rank in sorted(used[each])]
    for index, (priority, rank, level) in enumerate(placed):
        if level is None:
            continue
        assert names.ACL_GROUP_LAST <= level < names.ACL_GROUP_NODES
        assert rank not in (Rank.DROP, Rank.PASS) or level not in taken
        for later, other, lower in placed[index + 1 :]:
            both_allow = rank >= Rank.NAMES and other >= Rank.NAMES
            assert lower is None or lower < level or (both_allow and later != priority)


@given(st.dictionaries(st.integers(1, 15483), st.sampled_from(Rank).map(lambda rank: {rank}), max_size=40), stages)
def test_levels_are_those_of_the_contract_where_each_priority_is_used_in_one_way(
    used: dict[int, set[Rank]], stage: Stage
) -> None:
    plain = {each: found for each, found in used.items() if Rank.NAMES not in found}
    assert assign(plain, TAKEN.get(stage, ())) == {}
    assert [level_of({}, each, rank) for each, (rank,) in plain.items()] == [18484 - each for each in plain]
