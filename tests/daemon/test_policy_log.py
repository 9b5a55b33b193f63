"""What policies decide, from a packet to a metric: real northd, ovn-controller, switch and daemon."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.nb import PortGroup
from kube_ovn.model.policy import NetworkPolicy
from kube_ovn.model.row import Key, Member, Row
from kube_ovn.topology.inputs import Name
from kube_ovn.topology.policy.acls import group, render_policy, render_selection, trials
from kube_ovn.topology.policy.compile import compile_policy
from kube_ovn.topology.policy.selections import needs_of
from tests.daemon.node import Node, node, ping, until
from tests.daemon.test_daemon_requests import Runtime, Sandbox, runtime
from tests.daemon.test_ovsdb_client import converge, session

__all__ = ["node", "runtime"]

NAME = Name("default", "web")
DROPS = {names.ENABLE_LOG: "true"}
BOTH = {names.ENABLE_LOG: "true", names.LOG_ACTIONS: "allow,drop", names.LOG_RATE: "1000"}
AUDIT = {names.POLICY_MODE: "audit"}
DROPPED, AUDITED = ("ingress", "none", "drop"), ("ingress", "none", "audit")
EVERYTHING: dict[str, Any] = {"ingress": [{}]}


class Policy:
    """The policy `web` on one Pod, as the controller would write it."""

    def __init__(self, node: Node, pod: Sandbox) -> None:
        self._node, self._port, self.pod = node, names.pod_port(pod.name, "default"), pod.name
        # Like the ACL that every Subnet has: connections are tracked.
        match = ["from-lport", "0", "ct.est && udp.dst == 53", "allow-related"]
        node.ovn.nbctl("--may-exist", "--apply-after-lb", "--tier=3", "acl-add", "ovn-default", *match)

    def put(self, annotations: dict[str, str], **spec: Any) -> None:
        meta = {"name": NAME.name, "namespace": NAME.namespace, "uid": "u", "annotations": annotations}
        policy = compile_policy(msgspec.convert({"metadata": meta, "spec": spec}, NetworkPolicy))
        rows = dict(render_policy(NAME, policy, lambda _: (), lambda _: False, (4,)))
        for selection, need in needs_of(NAME, policy).items():
            rows |= render_selection(selection, need, (4,))
            groups = [group(selection)] * bool(need.isolated)
            groups += [each.group(selection) for each in trials(need.audited, any_private=False)]
            rows |= dict.fromkeys(Member(PortGroup.TABLE, each, "ports", self._port) for each in groups)
        self._commit(rows)

    def drop(self) -> None:
        self._commit({})
        self._node.ovn.nbctl("acl-del", "ovn-default")

    def _commit(self, rows: dict[Key, Row | None]) -> None:
        async def commit() -> None:
            async with session(self._node.ovn) as client:
                await converge(client, rows)

        asyncio.run(commit())
        self._node.ovn.nbctl("--timeout=15", "--wait=hv", "sync")

    def counted(self) -> dict[tuple[str, str, str], float]:
        """The packets by direction, rule and verdict."""
        found: dict[tuple[str, str, str], float] = {}
        for line in self._node.health("/metrics")[1].splitlines():
            if match := re.fullmatch(r"kube_ovn_policy_packets_total\{(.*)\} (\S+)", line):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', match[1]))
                if labels["pod"] == self.pod:
                    assert (labels["namespace"], labels["policy"]) == ("default", "np/default/web")
                    found[labels["direction"], labels["rule"], labels["verdict"]] = float(match[2])
        return found

    def logged(self) -> list[dict[str, Any]]:
        """What the daemon's own log says of the Pod."""
        lines = (self._node.folder / "daemon.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [each for each in found if each["event"] == "a policy decided" and each["pod"] == self.pod]


@pytest.fixture
def ends(node: Node, runtime: Runtime) -> tuple[Sandbox, str, Sandbox, str]:
    """A client and a server, each with its address."""
    return (*runtime.connected(), *runtime.connected())


@pytest.fixture
def policy(node: Node, ends: tuple[Sandbox, str, Sandbox, str]) -> Iterator[Policy]:
    made = Policy(node, ends[2])
    yield made
    made.drop()


def test_a_packet_that_is_dropped_is_logged_and_counted(
    node: Node, ends: tuple[Sandbox, str, Sandbox, str], policy: Policy
) -> None:
    client, source, _, target = ends
    assert ping(client.netns, target)
    policy.put(DROPS)
    assert not ping(client.netns, target)
    until("the packet is counted", lambda: policy.counted().get(DROPPED))
    said = policy.logged()[0]
    assert (said["source"], said["target"], said["protocol"]) == (source, target, "icmp")
    assert (said["policy"], said["direction"], said["rule"], said["verdict"]) == (
        "np/default/web",
        "ingress",
        "none",
        "drop",
    )


def test_a_packet_that_a_rule_allows_is_counted_for_the_rule(
    node: Node, ends: tuple[Sandbox, str, Sandbox, str], policy: Policy
) -> None:
    client, _, _, target = ends
    policy.put(BOTH, ingress=[{"ports": [{"port": 80}]}, {}])
    assert ping(client.netns, target)
    until("the packet is counted", lambda: policy.counted().get(("ingress", "1", "allow")))
    assert list(policy.counted()) == [("ingress", "1", "allow")]


def test_an_audit_counts_what_would_be_dropped_and_no_answer(
    node: Node, ends: tuple[Sandbox, str, Sandbox, str], policy: Policy
) -> None:
    client, source, server, target = ends
    policy.put(AUDIT)
    assert ping(server.netns, source), "the answer comes in, and would if the policy was enforced"
    assert ping(client.netns, target), "nothing is dropped"
    until("the packet is counted", lambda: policy.counted().get(AUDITED))
    assert all(said["source"] == source and said["verdict"] == "audit" for said in policy.logged())
    assert policy.counted() == {AUDITED: 1}
    policy.put(AUDIT, **EVERYTHING)
    assert ping(client.netns, target)
    policy.put(DROPS)
    assert not ping(client.netns, target)
    until("a later packet is counted", lambda: policy.counted().get(DROPPED))
    assert policy.counted()[AUDITED] == 1, "what a rule allows is no finding"


def test_the_daemon_goes_on_when_the_log_is_emptied_and_after_ovn_controller_starts_anew(
    node: Node, ends: tuple[Sandbox, str, Sandbox, str], policy: Policy
) -> None:
    client, _, _, target = ends
    policy.put(DROPS)

    def send_and_wait(before: float) -> float:
        assert not ping(client.netns, target)
        until("the packet is counted", lambda: policy.counted().get(DROPPED, 0) > before)
        return policy.counted()[DROPPED]

    first = send_and_wait(0)
    (node.folder / "acl.log").write_bytes(b"")
    second = send_and_wait(first)
    (node.folder / "acl.log").unlink()
    node.stop_switch()
    node.start_switch()
    node.ovn.nbctl("--timeout=15", "--wait=hv", "sync")
    send_and_wait(second)
