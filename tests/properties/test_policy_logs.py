"""What policies log, and what audits find, against a second reading of the API, on random clusters and packets."""

from collections.abc import Iterable
from dataclasses import replace

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kube_ovn.model import names
from kube_ovn.model.kube import Pod
from kube_ovn.model.policy import NetworkPolicy
from tests.oracle.network_policy import End, Packet, is_about, may_enter, may_leave, types_of
from tests.properties.test_policies import EXAMPLES, Judge, pods, policies

AUDIT = {names.POLICY_MODE: "audit"}
DROPS = {names.ENABLE_LOG: "true"}
ALLOWS = {names.ENABLE_LOG: "true", names.LOG_ACTIONS: "allow", names.LOG_RATE: "7"}
BOTH = {names.ENABLE_LOG: "true", names.LOG_ACTIONS: "allow,drop"}
LOGGED = {"allow": (ALLOWS, BOTH), "drop": (DROPS, BOTH)}
SIDES = (("from-lport", "Egress", may_leave), ("to-lport", "Ingress", may_enter))
few = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def wishing(*wishes: dict[str, str]) -> st.SearchStrategy[list[NetworkPolicy]]:
    """Policies with some annotations each."""

    def annotate(those: list[NetworkPolicy], found: list[dict[str, str]]) -> list[NetworkPolicy]:
        metas = (msgspec.structs.replace(each.metadata, annotations=found[at]) for at, each in enumerate(those))
        return [msgspec.structs.replace(each, metadata=meta) for each, meta in zip(those, metas, strict=True)]

    return st.builds(annotate, policies(), st.lists(st.sampled_from(wishes), min_size=5, max_size=5))


def is_by_its_node(packet: Packet) -> bool:
    """Whether a packet comes from the node of the Pod that receives it, and so passes every policy."""
    nodes = {each.spec.node_name for each in packet.target.pods}
    return packet.source.node in nodes


def about(policies: Iterable[NetworkPolicy], end: End, kind: str) -> list[NetworkPolicy]:
    """The policies that isolate the Pod at an end."""
    there = [each for each in end.pods if not each.spec.host_network]
    return [each for each in policies if kind in types_of(each) and any(is_about(each, pod) for pod in there)]


@few
@given(pods(), wishing({}, AUDIT))
def test_an_audit_drops_nothing_and_logs_what_would_be_dropped(some: list[Pod], rules: list[NetworkPolicy]) -> None:
    judge = Judge([*some, *rules])
    enforced = replace(judge.cluster, policies=[each for each in rules if not each.metadata.annotations])
    for packet in judge.packets():
        passes, logs = judge.judge(packet)
        assert passes == (may_leave(enforced, packet) and may_enter(enforced, packet)), f"{packet}: {passes}"
        for direction, _, may in SIDES:
            found, expected = logs.get(direction, []), may(enforced, packet) and not may(judge.cluster, packet)
            assert bool(found) == expected, f"{packet} at {direction}: {found}"
            assert all(each.action == "pass" for each in found)


@few
@given(pods(), wishing({}, AUDIT))
def test_an_audit_is_made_before_a_private_subnet_decides(some: list[Pod], rules: list[NetworkPolicy]) -> None:
    """What such a subnet lets in gets no further in its own tier. It lets all nodes in, past every policy."""
    judge = Judge([*some, *rules], is_private=True)
    enforced = replace(judge.cluster, policies=[each for each in rules if not each.metadata.annotations])
    for packet in judge.packets():
        found = judge.judge(packet)[1].get("to-lport", [])
        expected = may_enter(enforced, packet) and not may_enter(judge.cluster, packet) and not packet.source.node
        assert bool(found) == expected, f"{packet}: {found}"
        assert all((each.action, each.tier) == ("pass", names.TIER_ADMIN) for each in found)


@few
@given(pods(), wishing({}, DROPS, ALLOWS, BOTH))
def test_what_policies_ask_for_is_logged_and_nothing_else(some: list[Pod], rules: list[NetworkPolicy]) -> None:
    judge = Judge([*some, *rules])
    for packet in judge.packets():
        passes, logs = judge.judge(packet)
        assert passes == (may_leave(judge.cluster, packet) and may_enter(judge.cluster, packet)), f"{packet}: {passes}"
        for direction, kind, may in SIDES:
            end = packet.source if direction == "from-lport" else packet.target
            there, action = about(rules, end, kind), "allow" if may(judge.cluster, packet) else "drop"
            if action == "allow":
                alone = {each.metadata.name: replace(judge.cluster, policies=[each]) for each in there}
                there = [each for each in there if may(alone[each.metadata.name], packet)]
            asking = {each.metadata.name for each in there if each.metadata.annotations in LOGGED[action]}
            if direction == "to-lport" and is_by_its_node(packet):
                asking = set()
            found = {str(each.name).split("/")[2] for each in logs.get(direction, ())}
            assert bool(found) == bool(asking), f"{packet} at {direction}: {found}, not {asking}"
            assert found <= asking
