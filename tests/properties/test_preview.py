"""What `kubectl ko plan -f` and `who-can` say, against the second reading of the API on each pair of Pods."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kube_ovn.cli import who_can
from kube_ovn.cli.around import Side
from kube_ovn.cli.question import Port
from kube_ovn.model.kube import Pod
from kube_ovn.model.policy import NetworkPolicy
from kube_ovn.topology.policy.compare import Flow, compare
from kube_ovn.topology.policy.ends import compile_all, pod_addresses
from kube_ovn.topology.policy.workload import Workload
from tests.oracle.network_policy import Packet, allows
from tests.properties.test_explanations import Asked
from tests.properties.test_policies import pods, policies

EXAMPLES = int(os.environ.get("POLICY_EXAMPLES", "60"))


class Compared(Asked):
    """A settled cluster, with packets between its Pods alone."""

    def between(self) -> Iterator[tuple[Packet, Pod, Pod]]:
        """Packets, and the Pods that they may be between: several where these share the address of a node."""
        for packet in self.packets():
            for source in packet.source.pods:
                for target in packet.target.pods:
                    yield packet, source, target


def name(pod: Pod) -> Workload:
    return Workload("Pod", pod.metadata.namespace, pod.metadata.name)


def covers(flow: Flow, packet: Packet) -> bool:
    version = 6 if ":" in packet.source.address else 4
    if flow.version not in (0, version):
        return False
    protocol = packet.protocol.lower()
    return any(
        piece.protocol == protocol and (not piece.spans or any(a <= packet.port <= b for a, b in piece.spans))
        for piece in flow.ports
    )


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pods(), policies(), policies(), st.integers(0, 5))
def test_a_preview_says_what_changes(
    some: list[Pod], before: list[NetworkPolicy], after: list[NetworkPolicy], kept: int
) -> None:
    """For each pair of Pods and each port: whether the packet is newly allowed, newly denied, or as before."""
    after = [*before[:kept], *after[kept:]]
    asked = Compared([*some, *before])
    flows = compare(asked.known, compile_all(after))
    assert set(flows.values()) <= {1}, "each workload is one Pod"
    later = replace(asked.cluster, policies=after)
    for packet, source, target in asked.between():
        was, will = allows(asked.cluster, packet), allows(later, packet)
        found = {
            flow.allows
            for flow in flows
            if (flow.source, flow.target) == (name(source), name(target)) and covers(flow, packet)
        }
        assert found == ({will} if was != will else set()), f"{packet} was {was}, will be {will}"


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pods(), policies(), st.sampled_from((1, 53, 79, 80, 81, 8080)))
def test_who_can_lists_those_that_may(some: list[Pod], rules: list[NetworkPolicy], port: int) -> None:
    """A Pod is listed once, as one that may where it may in all IP families."""
    asked = Compared([*some, *rules])
    expected: dict[tuple[Workload, Workload], bool] = {}
    for packet, source, target in asked.between():
        if (packet.protocol, packet.port) == ("TCP", port) and not target.spec.host_network:
            at = (name(source), name(target))
            expected[at] = expected.get(at, True) and allows(asked.cluster, packet)
    for target in asked.known.pods:
        if target.spec.host_network:
            continue
        side = Side(addresses=pod_addresses(target), pod=target)
        found = who_can.answer(asked.known, side, Port("tcp", port))
        listed = Counter((each.workload, each.allowed) for each in found.groups for _ in range(each.pods))
        assert listed == Counter(
            (str(source), may) for (source, other), may in expected.items() if other == name(target)
        )
