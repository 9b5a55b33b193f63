"""What is left as it is while a kind of object was never listed."""

from collections.abc import Collection

import pytest

from kube_ovn.controller.optional import kept
from kube_ovn.controller.parts import rows_of
from kube_ovn.model import names
from kube_ovn.model.admin_policy import AdminIngressRule, AdminNetworkPolicy, AdminPeer, AdminSpec, Subject
from kube_ovn.model.crd import IPPool, IPPoolSpec, LabelSelector
from kube_ovn.model.kube import EndpointSlice, Object, ObjectMeta, Service, ServicePort, VersionedMeta
from kube_ovn.model.nb import AddressSet
from kube_ovn.model.resource import SERVICES
from kube_ovn.model.row import Member, RowKey, State
from kube_ovn.plan import diff
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.inputs import OPTIONAL
from kube_ovn.topology.policy.rules import Selection
from kube_ovn.topology.policy.selector import canonical
from tests.oracle.acls import Database, Packet
from tests.small_clusters import (
    Api,
    Snapshot,
    fabric,
    namespace,
    node,
    pod,
    policy,
    service,
    settled,
    show,
    slice_of,
    snapshot,
)

TARGETS = {"load_balancer": "Load_Balancer", "dns_records": "DNS", "ports": "Logical_Switch_Port"}


def target_of(member: Member) -> RowKey | None:
    table = TARGETS.get(member.column)
    return None if table is None else RowKey(table, member.target)


def cluster() -> Api:
    return Api(
        node("node1", 1),
        node("node2", 2),
        namespace("default"),
        namespace("kube-system"),
        IPPool(
            metadata=VersionedMeta(name="few", uid="pool-uid-few"),
            spec=IPPoolSpec(subnet="ovn-default", ips=("10.16.0.4..10.16.0.7",), enable_address_set=True),
        ),
        service(
            "kube-dns",
            "10.96.0.10",
            namespace="kube-system",
            ports=(ServicePort(port=53, protocol="UDP", name="dns"),),
        ),
        slice_of("kube-dns", "10.16.0.7", namespace="kube-system", port=53, protocol="UDP", name_of_port="dns"),
        service("local", "10.96.0.20", internal_traffic_policy="Local"),
        slice_of("local", "10.16.0.8", nodes=["node1"]),
    )


def lead_without(unknown: Collection[type[Object]], actual: State, *present: Object) -> State:
    """The database after the first pass of a new leader that could list all kinds but these."""
    listed = {each.metadata.uid: each for each in present if not isinstance(each, tuple(unknown))}
    missing = frozenset(each.__name__ for each in unknown)
    topology = Topology(fabric())
    show(topology, Snapshot(objects=listed, unknown=missing))
    plan = diff(topology.state, actual)
    plan = plan.without(kept(plan, missing, actual, target_of))
    left = {key: row for key, row in actual.items() if key not in plan.delete}
    return left | {key: desired for key, (_, desired) in plan.update.items()} | plan.create


def of_tables(state: State, tables: Collection[str]) -> State:
    return {key: row for key, row in state.items() if any(each.table in tables for each in rows_of(key, target_of))}


@pytest.mark.parametrize("unknown", [{Service}, {EndpointSlice}, {Service, EndpointSlice}])
def test_no_row_comes_beside_the_rows_of_services_that_are_unknown(unknown: set[type[Object]]) -> None:
    """A Service without endpoints is made into other rows than with them: an address would be in two rows."""
    api = cluster()
    before = dict(settled(api).state)
    after = lead_without(unknown, before, *api.objects.values())
    tables = OPTIONAL[SERVICES.name]
    assert of_tables(before, tables)
    assert of_tables(after, tables) == of_tables(before, tables)


def test_the_sets_of_nodes_addresses_follow_the_nodes_while_pools_are_unknown() -> None:
    api = cluster()
    before = dict(settled(api).state)
    there = [each for each in api.objects.values() if each.metadata.name != "node2"]
    after = lead_without({IPPool}, before, *there, node("node3", 3))
    addresses = {names.node_address_set(4): {"172.30.0.11", "172.30.0.13"}, "few.ip4": entries(before, "few.ip4")}
    assert addresses["few.ip4"]
    assert {name: entries(after, name) for name in addresses} == addresses
    assert RowKey(AddressSet.TABLE, "few.ip4") in after


def test_the_sets_of_nodes_addresses_come_where_no_pools_are_known() -> None:
    after = lead_without({IPPool}, {}, *settled_objects(node("node1", 1)))
    assert {name for table, name in keys_of_rows(after) if table == AddressSet.TABLE} == {
        made(version) for version in (4, 6) for made in (names.node_address_set, names.joined_nodes_set)
    }
    assert entries(after, names.node_address_set(4)) == {"172.30.0.11"}


def admin_policy() -> AdminNetworkPolicy:
    everywhere = LabelSelector(match_labels={"team": "red"})
    deny = AdminIngressRule(action="Deny", peers=(AdminPeer(namespaces=everywhere),))
    spec = AdminSpec(priority=1, subject=Subject(namespaces=LabelSelector()), ingress=(deny,))
    return AdminNetworkPolicy(metadata=ObjectMeta(name="deny", uid="anp-uid"), spec=spec)


def test_what_unknown_policies_deny_stays_denied_and_other_policies_come_and_go() -> None:
    api = Api(node("node1", 1), namespace("default"), namespace("red", {"team": "red"}), pod("a"), policy("old"))
    api.put(pod("b", namespace="red"), pod("gone"), admin_policy())
    before = dict(settled(api).state)
    there = [each for each in api.objects.values() if each.metadata.name not in ("old", "gone")]
    after = lead_without({AdminNetworkPolicy}, before, *there, policy("new", pod_selector=LabelSelector()))
    verdicts = {name: denied(state) for name, state in (("before", before), ("after", after))}
    assert verdicts["before"] == verdicts["after"] == {"a.default": True, "b.red": True}
    assert acls_of(after) == {"AdminNetworkPolicy/deny"}, "the NetworkPolicies allow nothing, and so have no rows"
    gone = {key for key in before if isinstance(key, Member) and key.target == "gone.default"}
    assert gone
    assert not gone & after.keys()


def test_the_rows_of_policies_go_with_their_kind() -> None:
    api = Api(node("node1", 1), namespace("default"), namespace("red", {"team": "red"}), pod("a"), admin_policy())
    before = dict(settled(api).state)
    topology = Topology(fabric())
    show(topology, snapshot(*(each for each in api.objects.values() if not isinstance(each, AdminNetworkPolicy))))
    assert acls_of(before)
    assert not acls_of(topology.state)
    plan, kind = diff(topology.state, before), (AdminNetworkPolicy.__name__,)
    assert kept(plan, kind, before, target_of)
    assert not kept(plan, kind, before, target_of, absent=kind)


def denied(state: State) -> dict[str, bool]:
    """By port, whether it gets no packet from the Pod `b` of another Namespace."""
    database, source = Database(state), next(iter(entries(state, own_set())), "10.16.0.99")
    asked = Packet(source=source, target="10.16.0.1", protocol="TCP", port=80)
    return {port: database.judge(port, "to-lport", asked)[0] == "drop" for port in ("a.default", "b.red")}


def own_set() -> str:
    return names.own_pods_set(repr(Selection("", canonical(LabelSelector(match_labels={"team": "red"})), ())), 4)


def acls_of(state: State) -> set[str]:
    return {row.external_ids["policy"] for row in state.values() if row and "policy" in row.external_ids}


def entries(state: State, name: str) -> set[str]:
    return {key.target for key in state if isinstance(key, Member) and key[:2] == (AddressSet.TABLE, name)}


def keys_of_rows(state: State) -> list[RowKey]:
    return [key for key in state if isinstance(key, RowKey)]


def settled_objects(*objects: Object) -> Collection[Object]:
    api = Api(*objects)
    settled(api)
    return api.objects.values()
