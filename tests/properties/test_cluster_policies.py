"""The rows of cluster-wide policies, with NetworkPolicies between their tiers, against a second reading of the API: on
random clusters, and after something that policies refer to has gone.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kube_ovn.model.admin_policy import (
    AdminEgressRule,
    AdminIngressRule,
    AdminNetworkPolicy,
    AdminPeer,
    AdminPolicy,
    AdminPort,
    AdminProtocol,
    AdminSpec,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
    DestinationPort,
    NamespacedPods,
    Numbers,
    PortNumber,
    PortNumbers,
    Subject,
    Transport,
)
from kube_ovn.model.crd import LabelSelector, SelectorRequirement
from kube_ovn.model.kube import Node, Object, ObjectMeta, Pod
from kube_ovn.model.policy import NetworkPolicy
from tests.oracle.network_policy import allows
from tests.properties.test_policies import (
    BLOCKS,
    EXAMPLES,
    NAMED,
    PORTS,
    Judge,
    plain_nodes,
    pods,
    policies,
    protocols,
    selectors,
    spaces,
)
from tests.small_clusters import settle, snapshot

T = TypeVar("T")
FEW = EXAMPLES // 5
"""Examples of each of the two tests here."""
LEVELS = (0, 0, 5, 1000)
"""Few, so that policies share them."""
ODD_SELECTOR = LabelSelector(match_expressions=(SelectorRequirement(key="app", operator="Near", values=("1",)),))


def seldom(plain: st.SearchStrategy[T], odd: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """A value that is wrong now and then."""
    return st.integers(0, 15).flatmap(lambda number: odd if number == 15 else plain)


any_selector = seldom(st.just(LabelSelector()) | selectors, st.just(ODD_SELECTOR))
namespaced = st.builds(NamespacedPods, namespace_selector=any_selector, pod_selector=any_selector)
subjects = seldom(
    st.one_of(st.builds(Subject, namespaces=any_selector), st.builds(Subject, pods=namespaced)), st.just(Subject())
)
in_peers = st.one_of(st.builds(AdminPeer, namespaces=any_selector), st.builds(AdminPeer, pods=namespaced))
zones = st.builds(LabelSelector, match_labels=st.dictionaries(st.just("zone"), st.sampled_from("ab"), max_size=1))
networks = st.lists(seldom(st.sampled_from(BLOCKS), st.just("10.0.0.0/99")), min_size=1, max_size=2).map(tuple)
out_peers = st.one_of(
    in_peers,
    st.builds(AdminPeer, nodes=zones),
    st.builds(AdminPeer, networks=networks),
    st.just(AdminPeer(domain_names=("example.com",))),
)
odd_peers = st.sampled_from((AdminPeer(), AdminPeer(namespaces=LabelSelector(), pods=NamespacedPods())))
numbers = seldom(st.sampled_from(PORTS), st.just(70000))
ends = st.sampled_from((80, 81, 9000))
port_entries = st.one_of(
    st.builds(AdminPort, port_number=st.builds(PortNumber, protocol=protocols, port=numbers)),
    st.builds(AdminPort, port_range=st.builds(PortNumbers, protocol=protocols, start=numbers, end=ends)),
    st.builds(AdminPort, named_port=st.sampled_from(NAMED)),
    st.just(AdminPort()),
)
destinations = st.one_of(
    st.builds(DestinationPort, number=numbers),
    st.builds(DestinationPort, range=st.builds(Numbers, start=numbers, end=ends)),
)
transports = st.builds(Transport, destination_port=st.none() | destinations)
protocol_entries = st.one_of(
    st.builds(AdminProtocol, tcp=transports),
    st.builds(AdminProtocol, udp=transports),
    st.builds(AdminProtocol, sctp=transports),
    st.builds(AdminProtocol, destination_named_port=st.sampled_from(NAMED)),
)


def few(entries: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...] | None]:
    return st.none() | st.lists(entries, min_size=1, max_size=2).map(tuple)


def rules(type: Any, peers: st.SearchStrategy[AdminPeer], actions: Sequence[str], second: bool) -> Any:
    """At most three rules of one direction, in the form of v1alpha1 or of v1alpha2."""
    some = st.lists(seldom(peers, odd_peers), max_size=3).map(tuple)
    action = seldom(st.sampled_from(actions), st.just("Log"))
    listed = {"protocols": few(protocol_entries)} if second else {"ports": few(port_entries)}
    return st.lists(st.builds(type, action=action, peers=some, **listed), max_size=3).map(tuple)


def specs(actions: Sequence[str], *, second: bool = False, **fields: Any) -> st.SearchStrategy[AdminSpec]:
    return st.builds(
        AdminSpec,
        subject=subjects,
        ingress=rules(AdminIngressRule, in_peers, actions, second),
        egress=rules(AdminEgressRule, out_peers, actions, second),
        **fields,
    )


levels = seldom(st.sampled_from(LEVELS), st.just(2000))
tiers = seldom(st.sampled_from(("Admin", "Baseline")), st.just("Middle"))
admin_specs = specs(("Allow", "Deny", "Pass"), priority=levels)
baseline_specs = specs(("Allow", "Deny"))
cluster_specs = specs(("Accept", "Deny", "Pass"), second=True, priority=levels, tier=tiers)


def named(kind: type[Any], name: str, spec: AdminSpec) -> AdminPolicy:
    made: AdminPolicy = kind(metadata=ObjectMeta(name=name, uid=f"{kind.__name__} {name}"), spec=spec)
    return made


@st.composite
def wide(draw: st.DrawFn) -> list[AdminPolicy]:
    """At most so many that every level has places enough for them."""
    found = [named(AdminNetworkPolicy, f"p{n}", draw(admin_specs)) for n in range(draw(st.integers(1, 3)))]
    found += [named(ClusterNetworkPolicy, f"p{n}", draw(cluster_specs)) for n in range(draw(st.integers(0, 2)))]
    found += [named(BaselineAdminNetworkPolicy, "default", draw(baseline_specs))] * draw(st.integers(0, 1))
    return found


def check(judge: Judge) -> None:
    """Both readings say the same of every packet."""
    for packet in judge.packets():
        expected, (found, _) = allows(judge.cluster, packet), judge.judge(packet)
        assert found == expected, f"{packet}: the rows say {found}"


def zoned() -> list[Node]:
    """Nodes with a zone each."""
    return [_labelled(each, {"zone": zone}) for each, zone in zip(plain_nodes(), "ab", strict=True)]


def _labelled(item: Any, labels: dict[str, str]) -> Any:
    return msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, labels=labels))


@settings(max_examples=FEW, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pods(), policies(), wide())
def test_rows_say_what_the_api_says(some: list[Pod], narrow: list[NetworkPolicy], broad: list[AdminPolicy]) -> None:
    check(Judge([*some, *narrow[:2], *broad], nodes=zoned()))


@settings(max_examples=FEW, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pods(), policies(), wide(), st.lists(st.integers(0, 40), min_size=1, max_size=3), st.booleans())
def test_what_is_denied_stays_denied_when_referents_go(
    some: list[Pod], narrow: list[NetworkPolicy], broad: list[AdminPolicy], gone: list[int], labels_only: bool
) -> None:
    """After Pods, Namespaces, Nodes or their labels went, the rows are those of the cluster that is left, and a
    controller that starts then makes the same.
    """
    judge = Judge([*some, *narrow[:1], *broad], nodes=zoned())
    before = snapshot(*judge.api.objects.values())
    referents: list[Object] = [*spaces(), *zoned(), *some]
    for number in gone:
        chosen = referents[number % len(referents)]
        there = judge.api.objects.get(chosen.metadata.uid)
        if there is not None and labels_only:
            judge.api.put(_labelled(there, {}))
        else:
            judge.api.remove(chosen.metadata.uid)
    settle(judge.topology, judge.api, before)
    judge.look()
    check(judge)
