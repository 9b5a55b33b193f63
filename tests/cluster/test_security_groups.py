"""SecurityGroups as their users see them."""

from collections.abc import Iterator

import pytest

from kube_ovn.model import names
from tests.cluster import kube
from tests.cluster.kube import Json
from tests.cluster.lab import HTTP, Scene, manifest, until
from tests.cluster.policies import DENY, apply, connects
from tests.cluster.test_services import backend, create, serves

ANYWHERE: Json = {"ipVersion": "ipv4", "remoteType": "address", "remoteAddress": "0.0.0.0/0"}


@pytest.fixture
def group(scene: Scene) -> Iterator[str]:
    """The name of a group that lets in what comes to the web server's port, and everything out."""
    name = scene.namespace
    web = {**ANYWHERE, "protocol": "tcp", "priority": 10, "policy": "allow", "portRangeMin": HTTP, "portRangeMax": HTTP}
    out = {**ANYWHERE, "protocol": "all", "priority": 10, "policy": "allow"}
    spec = {"ingressRules": [web], "egressRules": [out]}
    put(name, spec)
    yield name
    kube.delete("securitygroup", name)


def put(name: str, spec: Json) -> None:
    kube.apply({"apiVersion": "kubeovn.io/v1", "kind": "SecurityGroup", "metadata": {"name": name}, "spec": spec})


def grouped(pod: Json, group: str) -> Json:
    return {**pod, "metadata": {**pod["metadata"], "annotations": {names.SECURITY_GROUPS: group}}}


def test_a_group_lets_in_what_its_rules_allow(scene: Scene, group: str) -> None:
    server, client = scene.start(grouped(backend("web", "node1"), group), manifest("client", "node2"), within=90)
    assert connects(scene, client, server.ip)
    assert not scene.reaches(client, server.ip)
    assert scene.reaches(server, client.ip)
    apply(scene, "deny", DENY)
    assert connects(scene, client, server.ip), "a group of tier 0 decides before policies"
    assert not scene.reaches(server, client.ip), "policies restrict the client, which is in no group"
    scene.annotate("pod", server.name, {names.SECURITY_GROUPS: None})
    until(lambda: not connects(scene, client, server.ip), 10, "the policy decides now")


def test_members_reach_each_other_where_the_group_says_so(scene: Scene, group: str) -> None:
    web, member, stranger = scene.start(
        grouped(backend("web", "node1"), group),
        grouped(manifest("member", "node2"), group),
        manifest("stranger", "node2"),
        within=90,
    )
    address = create(scene, "web")
    serves(scene, address, ["web"])
    remote = {"ipVersion": "ipv4", "remoteType": "securityGroup", "remoteSecurityGroup": group}
    rule = {**remote, "protocol": "all", "priority": 20, "policy": "allow"}
    put(group, {"ingressRules": [rule], "egressRules": [rule]})
    until(lambda: not connects(scene, stranger, web.ip), 10, "only members come in")
    assert connects(scene, member, address, 80)
    assert connects(scene, web, address, 80), "a Pod reaches itself through its Service"


def test_a_group_that_is_not_there_closes(scene: Scene) -> None:
    name = f"{scene.namespace}-late"
    server, client = scene.start(grouped(backend("web", "node1"), name), manifest("client", "node1"), within=90)
    assert not connects(scene, client, server.ip)
    assert [each for each in scene.events("web") if each[1] == "PodSecurityFailed" and name in each[2]]
    try:
        put(name, {"ingressRules": [{**ANYWHERE, "protocol": "all", "priority": 1, "policy": "allow"}]})
        until(lambda: connects(scene, client, server.ip), 10, "the group is there")
    finally:
        kube.delete("securitygroup", name)
    until(lambda: not connects(scene, client, server.ip), 10, "the group is gone")
