"""The annotations of NetworkPolicies: what is logged, what is only tried, and what becomes of other values."""

import pytest

from kube_ovn.model import names
from kube_ovn.model.crd import SubnetAcl
from kube_ovn.model.kube import Object
from kube_ovn.model.nb import Acl, Meter
from kube_ovn.topology.policy.mode import DEFAULT_RATE, MOST_RATE, parse_mode
from kube_ovn.topology.policy.rules import ENFORCED, Mode
from tests.small_clusters import Api, fabric, namespace, node, pod, policy, settled, subnet

ON = {names.ENABLE_LOG: "true"}
AUDIT = {names.POLICY_MODE: "audit"}


def read(annotations: dict[str, str]) -> tuple[Mode, list[str]]:
    faults: list[str] = []
    return parse_mode(annotations, faults), faults


@pytest.mark.parametrize(
    ("annotations", "mode"),
    [
        ({}, ENFORCED),
        ({names.ENABLE_LOG: "false", names.POLICY_MODE: "enforce"}, ENFORCED),
        (ON, Mode(actions=frozenset({"drop"}), rate=DEFAULT_RATE)),
        (ON | {names.LOG_ACTIONS: "allow, drop,pass"}, Mode(actions=frozenset({"allow", "drop"}), rate=DEFAULT_RATE)),
        (ON | {names.LOG_RATE: "7"}, Mode(actions=frozenset({"drop"}), rate=7)),
        (AUDIT | {names.LOG_RATE: str(MOST_RATE)}, Mode(audit=True, rate=MOST_RATE)),
        (AUDIT | ON, Mode(audit=True, rate=DEFAULT_RATE)),
    ],
)
def test_what_is_understood(annotations: dict[str, str], mode: Mode) -> None:
    assert read(annotations) == (mode, [])


@pytest.mark.parametrize(
    ("annotations", "mode", "fault"),
    [
        ({names.POLICY_MODE: "Audit"}, ENFORCED, "is 'Audit': use audit or enforce; the policy is enforced"),
        ({names.POLICY_MODE: ""}, ENFORCED, "is '': use audit or enforce"),
        ({names.ENABLE_LOG: "yes"}, ENFORCED, "is 'yes': use true or false; nothing is logged"),
        (ON | {names.LOG_ACTIONS: "allow,deny"}, Mode(actions=frozenset({"drop"}), rate=100), "names 'deny': use some"),
        (ON | {names.LOG_RATE: "0"}, Mode(actions=frozenset({"drop"}), rate=100), "is '0': use a number of packets"),
        (ON | {names.LOG_RATE: "1001"}, Mode(actions=frozenset({"drop"}), rate=100), "from 1 to 1000; 100 are"),
        (ON | {names.LOG_RATE: "٣"}, Mode(actions=frozenset({"drop"}), rate=100), "use a number of packets"),
        (AUDIT | {names.LOG_RATE: "1e3"}, Mode(audit=True, rate=100), "is '1e3'"),
        ({names.LOG_RATE: "5"}, ENFORCED, 'does nothing without ovn.kubernetes.io/enable_log: "true"'),
        (AUDIT | {names.LOG_ACTIONS: "allow"}, Mode(audit=True, rate=100), "does nothing in mode audit"),
    ],
)
def test_what_is_not_understood_has_the_default_and_is_told(
    annotations: dict[str, str], mode: Mode, fault: str
) -> None:
    found, faults = read(annotations)
    assert found == mode
    assert len(faults) == 1
    assert fault in faults[0]


def test_the_name_of_a_rule_in_the_log_is_short_and_one_of_a_kind() -> None:
    assert names.policy_log("shop", "web", "ingress", "0") == "np/shop/web/ingress/0"
    long = [names.policy_log("shop", "w" * 200 + end, "egress", "12345") for end in "ab"]
    assert len(set(long)) == 2
    assert {len(each) for each in long} == {63}
    assert all(each.startswith("np/shop/www") and each.endswith("/egress/12345") for each in long)
    edge = "p" * (63 - len("np/shop//ingress/0"))
    assert names.policy_log("shop", edge, "ingress", "0") == f"np/shop/{edge}/ingress/0"
    assert "~" in names.policy_log("shop", f"{edge}p", "ingress", "0")


def test_policies_that_ask_for_one_rate_share_a_meter() -> None:
    cluster: list[Object] = [namespace("a"), namespace("b"), node("node1", 0), pod("web", namespace="a")]
    asking = [("one", "a"), ("two", "a"), ("three", "b")]
    policies = (policy(name, namespace=where, annotations=ON) for name, where in asking)
    rows = settled(Api(*cluster, *policies, policy("four", namespace="a")), fabric()).state.values()
    assert sorted(each.name for each in rows if isinstance(each, Meter)) == ["NP.a.100", "NP.b.100"]


def test_no_acl_of_a_subnet_has_the_priority_of_an_audit() -> None:
    """Of two that match with one priority it is not known which one counts, and an audit lets everything pass on."""
    listed = [(0, "drop"), (1, "allow"), (2, "drop"), (3, "allow"), (7, "drop"), (0, "drop")]
    acls = tuple(
        SubnetAcl(direction="to-lport", priority=priority, match=f"ip4.src == 192.0.2.{number}", action=action)
        for number, (priority, action) in enumerate(listed)
    )
    made = subnet("blue", "10.20.0.0/24", acls=acls)
    rows = settled(Api(node("node1", 0), made), fabric()).state.values()
    found = {each.match[-1]: each.priority for each in rows if isinstance(each, Acl) and "192.0.2" in each.match}
    assert [found[str(number)] for number in range(len(listed))] == [3, 4, 5, 6, 7, 3]
