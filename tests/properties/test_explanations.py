"""Explanations against the second reading of the API and against the rows, on random clusters, policies and packets."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec
from hypothesis import HealthCheck, given, settings

from kube_ovn.model.addr import parse_address
from kube_ovn.model.kube import Pod
from kube_ovn.model.network import Kind
from kube_ovn.model.policy import EgressRule, IngressRule, NetworkPolicy
from kube_ovn.model.row import Key, Member, Row
from kube_ovn.topology.inputs import Name
from kube_ovn.topology.policy.ends import Known, compile_all
from kube_ovn.topology.policy.rules import Direction
from kube_ovn.topology.policy.verdict import Cause, Effect, Verdict, judge
from kube_ovn.topology.policy.verdict import Packet as Question
from tests.oracle.acls import Database
from tests.oracle.network_policy import Cluster, Packet, allows
from tests.properties.test_policies import Judge, pods, policies

EXAMPLES = int(os.environ.get("POLICY_EXAMPLES", "60"))
LOOKED_AT = 5
"""Of so many questions one is looked at closely."""


class Asked(Judge):
    """A settled cluster, and questions on it."""

    def __init__(self, objects: list[Pod | NetworkPolicy]) -> None:
        super().__init__([*objects])
        inputs = self.topology.inputs
        self.known = Known(
            pods=[*inputs.pods.values.values()],
            namespaces=[*inputs.namespaces.values.values()],
            nodes=[*inputs.nodes.values.values()],
            subnets=[*inputs.subnets.values.values()],
            policies=compile_all(inputs.policies.values.values()),
        )

    def explain(self, packet: Packet) -> Verdict:
        source, target = (self.known.end_at(parse_address(each.address)) for each in (packet.source, packet.target))
        return judge(Question(source, target, packet.protocol.lower(), packet.port))


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pods(), policies())
def test_a_verdict_is_what_the_api_says(some: list[Pod], rules: list[NetworkPolicy]) -> None:
    asked = Asked([*some, *rules])
    for packet in asked.packets():
        found = asked.explain(packet)
        assert found.allows == allows(asked.cluster, packet), f"{packet}: {found}"


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pods(), policies())
def test_what_is_named_as_the_cause_is_the_cause(some: list[Pod], rules: list[NetworkPolicy]) -> None:
    """To the other reading of the API: each rule that is named suffices, and without all of them the packet is denied;
    each policy that is named as denying could allow the packet, and without all of them it passes.
    """
    asked = Asked([*some, *rules])
    for packet in [*asked.packets()][::LOOKED_AT]:
        found = asked.explain(packet)
        for ruling in (found.egress, found.ingress):
            by_policies = [each for each in ruling.causes if each.kind is Kind.NETWORK_POLICY]
            if not by_policies:
                continue
            opened = _opened(asked.cluster, ruling.direction)
            if ruling.allows:
                fields = {(each.name, each.field) for each in by_policies}
                for each in fields:
                    assert allows(_with(opened, ruling.direction, {each}, keep=True), packet), f"{packet}: {each}"
                left = _with(opened, ruling.direction, fields, keep=False)
                assert not allows(left, packet), f"{packet}: there is more than {fields}"
            else:
                for policy in by_policies:
                    assert allows(_opening(opened, ruling.direction, policy), packet), f"{packet}: {policy}"
                assert not allows(opened, packet)


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pods(), policies())
def test_the_rows_of_the_cause_decide(some: list[Pod], rules: list[NetworkPolicy]) -> None:
    """With the ACLs of one named rule alone the packet passes; without those of all named rules it does not."""
    asked = Asked([*some, *rules])
    whole = asked.database
    for packet in [*asked.packets()][:: LOOKED_AT * 5]:
        found = asked.explain(packet)
        named = [each for ruling in (found.egress, found.ingress) for each in ruling.causes if _is_rule(each)]
        if not found.allows or not named:
            continue
        asked.database = Database(_kept(asked.topology.state, named, keep=False))
        assert not asked.judge(packet)[0], f"{packet}: there is more than {named}"
        first = {each.field.partition("[")[0]: each for each in named}
        asked.database = Database(_kept(asked.topology.state, [*first.values()], keep=True))
        assert asked.judge(packet)[0], f"{packet}: {first} do not suffice"
        asked.database = whole


def _is_rule(cause: Cause) -> bool:
    return cause.kind is Kind.NETWORK_POLICY and cause.effect is Effect.ALLOWS


def _is_of(key: str, cause: Cause) -> bool:
    """Whether an ACL is of the rule that is a cause."""
    direction, _, number = cause.field.removeprefix("spec.").removesuffix("]").partition("[")
    return key.startswith(f"policy {cause.name} {direction} {number} ")


def _kept(state: Mapping[Key, Row | None], causes: list[Cause], *, keep: bool) -> dict[Key, Row | None]:
    """The rows, of the ACLs of rules only those of some causes, or only the others."""
    return {
        key: row
        for key, row in state.items()
        if not (isinstance(key, Member) and key.column == "acls" and key.target.startswith("policy "))
        or any(_is_of(key.target, each) for each in causes) == keep
    }


def _change(cluster: Cluster, change: Callable[[NetworkPolicy], NetworkPolicy]) -> Cluster:
    return replace(cluster, policies=[change(each) for each in cluster.policies])


def _types(policy: NetworkPolicy) -> tuple[str, ...]:
    return policy.spec.policy_types or (("Ingress", "Egress") if policy.spec.egress else ("Ingress",))


def _set(policy: NetworkPolicy, **fields: object) -> NetworkPolicy:
    spec = msgspec.structs.replace(policy.spec, **{"policy_types": _types(policy), **fields})
    return msgspec.structs.replace(policy, spec=spec)


def _opened(cluster: Cluster, direction: Direction) -> Cluster:
    """The cluster with policies in one direction alone."""
    wanted = direction.capitalize()
    kept = [each for each in cluster.policies if wanted in _types(each)]
    return replace(cluster, policies=[_set(each, policy_types=(wanted,)) for each in kept])


def _rules(policy: NetworkPolicy, direction: Direction) -> tuple[IngressRule, ...] | tuple[EgressRule, ...]:
    return policy.spec.ingress if direction is Direction.INGRESS else policy.spec.egress


def _with(cluster: Cluster, direction: Direction, fields: set[tuple[str, str]], *, keep: bool) -> Cluster:
    """The cluster, of the rules only some, or only the others; each is given by its policy and its field."""

    def change(policy: NetworkPolicy) -> NetworkPolicy:
        name = str(Name(policy.metadata.namespace, policy.metadata.name))
        listed = enumerate(_rules(policy, direction))
        kept = [each for at, each in listed if ((name, f"spec.{direction}[{at}]") in fields) == keep]
        return _set(policy, **{str(direction): tuple(kept)})

    return _change(cluster, change)


def _opening(cluster: Cluster, direction: Direction, cause: Cause) -> Cluster:
    """The cluster with a further rule in one policy, which allows everything."""

    def change(policy: NetworkPolicy) -> NetworkPolicy:
        if str(Name(policy.metadata.namespace, policy.metadata.name)) != cause.name:
            return policy
        rule = IngressRule() if direction is Direction.INGRESS else EgressRule()
        return _set(policy, **{str(direction): (*_rules(policy, direction), rule)})

    return _change(cluster, change)
