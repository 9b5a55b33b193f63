"""What a user is told of the enforcement of a policy."""

import json

import msgspec

from kube_ovn.model import names
from kube_ovn.model.admin_policy import AdminNetworkPolicy
from kube_ovn.model.policy import Enforced, NetworkPolicy, Version
from kube_ovn.topology.graph import Topology
from tests.small_clusters import Api, namespace, node, policy, settled, wide_policy

UID = policy("deny").metadata.uid


def deny(**annotations: str) -> NetworkPolicy:
    made = policy("deny")
    meta = msgspec.structs.replace(made.metadata, generation=2, annotations=annotations)
    return msgspec.structs.replace(made, metadata=meta)


def cluster(item: NetworkPolicy) -> tuple[Api, Topology]:
    api = Api(namespace("default"), node("node1", 1), item)
    return api, settled(api)


def say(topology: Topology, found: Enforced) -> None:
    topology.inputs.enforced.replace({UID: found})
    topology.settle()


def write_all(topology: Topology, api: Api) -> None:
    for write in topology.writes.values():
        api.write(write)


def events(topology: Topology) -> list[tuple[bool, str]]:
    return [(each.normal, each.message) for each in topology.told.values() if each.reason == names.POLICY_ENFORCED]


def test_a_policy_waits_until_it_is_told_that_all_nodes_enforce_it() -> None:
    api, topology = cluster(deny())
    assert list(topology.unenforced) == [Version(UID, 2)]
    assert not topology.writes
    say(topology, Enforced(generation=2, nodes=3, of=3))
    assert events(topology) == [(True, "generation 2 is enforced on 3 of 3 nodes")]
    write_all(topology, api)
    told = json.loads(api.get(NetworkPolicy, "deny", "default").metadata.annotations[names.ENFORCED])
    assert told == {"type": "Enforced", "status": "True", "observedGeneration": 2, "message": "on 3 of 3 nodes"}
    assert not list(settled(api).unenforced), "nothing is left for a new leader"


def test_nodes_that_lag_behind_are_named() -> None:
    api, topology = cluster(deny())
    say(topology, Enforced(generation=2, nodes=1, of=2, missing=("node2",)))
    assert events(topology) == [(False, "generation 2 is enforced on 1 of 2 nodes, not on node2")]
    write_all(topology, api)
    told = json.loads(api.get(NetworkPolicy, "deny", "default").metadata.annotations[names.ENFORCED])
    assert told["status"] == "False"
    assert list(settled(api).unenforced) == [Version(UID, 2)]


def test_what_is_known_of_another_generation_is_not_told() -> None:
    _, topology = cluster(deny())
    say(topology, Enforced(generation=1, nodes=3, of=3))
    assert not events(topology)
    assert not topology.writes


def test_an_annotation_that_is_not_ours_counts_for_nothing() -> None:
    for text in ("yes", "[]", '{"status": "True"}', '{"status": "True", "observedGeneration": 1}'):
        _, topology = cluster(deny(**{names.ENFORCED: text}))
        assert list(topology.unenforced) == [Version(UID, 2)], text


def test_cluster_wide_policies_are_told_alike() -> None:
    deny_all = wide_policy(AdminNetworkPolicy, "wide", priority=1, subject={"namespaces": {}})
    api = Api(namespace("default"), node("node1", 1), deny_all)
    topology, uid = settled(api), deny_all.metadata.uid
    assert list(topology.unenforced) == [Version(uid, 0)]
    topology.inputs.enforced.replace({uid: Enforced(generation=0, nodes=1, of=1)})
    topology.settle()
    assert events(topology) == [(True, "generation 0 is enforced on 1 of 1 nodes")]
    write_all(topology, api)
    assert '"status": "True"' in api.get(AdminNetworkPolicy, "wide").metadata.annotations[names.ENFORCED]
    assert not list(settled(api).unenforced)
