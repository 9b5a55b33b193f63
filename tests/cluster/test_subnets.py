"""A subnet for each Namespace, made either way, changed while it is in use, and refused when it cannot be."""

import json
import secrets
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest

from sandbox.demo import kubectl
from sandbox.paths import SandboxError
from tests.cluster.fabric import apply, condition, read, ready, recorded, subnet, told, using, warned
from tests.cluster.lab import HTTP, SERVER, Pinging, Pod, Scene, manifest, torn, until

SWITCH, CIDR = "ovn.kubernetes.io/logical_switch", "ovn.kubernetes.io/cidr"


@pytest.fixture
def other(cluster: dict[str, str]) -> Iterator[Scene]:
    """A second Namespace."""
    scene = Scene(f"test-other-{secrets.token_hex(3)}")
    scene.open()
    try:
        yield scene
    finally:
        scene.close()


@pytest.fixture
def made() -> Iterator[list[str]]:
    """Names of Subnets to remove in the end."""
    names: list[str] = []
    yield names
    for name in names:
        kubectl("delete", "subnet", name, "--ignore-not-found", "--wait=false")


def annotate(scene: Scene, **annotations: str) -> None:
    words = [f"ovn.kubernetes.io/{key}{'=' + value if value else '-'}" for key, value in annotations.items()]
    kubectl("annotate", "namespace", scene.namespace, "--overwrite", *words)


def namespace_annotations(scene: Scene) -> dict[str, str]:
    found: dict[str, str] = read("namespace", scene.namespace)["metadata"].get("annotations", {})
    return found


def inside(pod: Pod, cidr: str) -> bool:
    return ip_address(pod.ip) in ip_network(cidr)


def test_annotations_of_a_namespace_make_change_and_remove_its_subnet(scene: Scene) -> None:
    (before,) = scene.start(manifest("before", "node1"))
    name = scene.namespace
    annotate(scene, logical_switch=name, cidr="10.61.0.0/24", exclude_ips="10.61.0.2..10.61.0.9")
    ready(name)
    one, two = scene.start(manifest("one", "node1"), manifest("two", "node2"))
    assert inside(one, "10.61.0.0/24")
    assert not {one.ip, two.ip} & {f"10.61.0.{n}" for n in range(10)}
    scene.talk_again(one, two)
    scene.talk_again(before, two)  # who was there stays where it is, and is reached

    annotate(scene, private="true")
    until(lambda: read("subnet", name)["spec"].get("private"), 10, "the annotation arrives at the Subnet")
    until(lambda: not scene.reaches(before, two.ip), 20, "the subnet is closed")
    assert scene.every_ping_answered(one, two.ip)

    annotate(scene, logical_switch="", cidr="", private="", exclude_ips="")
    told("subnet", name, "Ready", "waiting for Pod")
    late = scene.start(manifest("late", "node2"))[0]
    assert not inside(late, "10.61.0.0/24")
    until(
        lambda: namespace_annotations(scene).get(SWITCH) == "ovn-default", 20, "the Namespace is told where it is now"
    )
    scene.delete("one", "two")
    kubectl("wait", "--for=delete", f"subnet/{name}", "--timeout=40s")


def test_a_subnet_binds_namespaces_by_name_and_by_labels(scene: Scene, other: Scene, made: list[str]) -> None:
    name = f"s-{scene.namespace}"
    made.append(name)
    selector = {"matchLabels": {"kubernetes.io/metadata.name": other.namespace}}
    apply(subnet(name, "10.62.0.0/28", namespaces=[scene.namespace], namespaceSelectors=[selector]))
    ready(name)
    for each in (scene, other):
        until(lambda each=each: namespace_annotations(each).get(SWITCH) == name, 20, "the Namespace is told")  # type: ignore[misc]
        assert namespace_annotations(each)[CIDR] == "10.62.0.0/28"
    a, b = scene.start(manifest("a", "node1"))[0], other.start(manifest("b", "node2"))[0]
    assert inside(a, "10.62.0.0/28")
    assert inside(b, "10.62.0.0/28")
    until(lambda: scene.every_ping_answered(a, b.ip), 20, "they talk")
    columns = kubectl("get", "subnet", name).splitlines()
    assert columns[0].split()[:6] == ["NAME", "PROVIDER", "VPC", "VLAN", "PROTOCOL", "CIDR"]
    assert "10.62.0.0/28" in columns[1]


def test_pods_go_to_the_first_subnet_with_room(scene: Scene, made: list[str]) -> None:
    first, second = f"a-{scene.namespace}", f"b-{scene.namespace}"
    made += [first, second]
    apply(
        subnet(first, "10.63.0.0/30", namespaces=[scene.namespace]),
        subnet(second, "10.63.1.0/30", namespaces=[scene.namespace]),
    )
    ready(first, second)
    started = scene.start(*(manifest(f"p{n}") for n in range(2)))
    assert {pod.annotations[SWITCH] for pod in started} == {first, second}
    scene.create(manifest("p2"))
    assert "0 of 1 addresses" in warned("Pod", "p2", "has no available address", scene.namespace)
    scene.delete("p0")
    (late,) = scene.ready("p2")
    assert late.ip in {pod.ip for pod in started}


def test_a_subnet_changes_under_running_pods(scene: Scene, made: list[str]) -> None:
    """Exclude list, gateway, CIDR and isolation change under running pings."""
    name = f"s-{scene.namespace}"
    made.append(name)
    apply(subnet(name, "10.64.0.0/24", namespaces=[scene.namespace], natOutgoing=True))
    ready(name)
    one, two, far = scene.start(manifest("one", "node1"), manifest("two", "node1"), manifest("far", "node2"))
    outside = scene.start(manifest("outside", "node1", annotations={SWITCH: "ovn-default"}))[0]
    for other in (two, far, outside):
        scene.talk_again(one, other)
    inner, outer, across = Pinging(scene, one, two.ip), Pinging(scene, two, outside.ip), Pinging(scene, one, far.ip)
    for each in (inner, outer, across):
        each.start()
    for change in (
        {"excludeIps": ["10.64.0.100..10.64.0.200"]},
        {"gateway": "10.64.0.254"},
        {"cidrBlock": "10.64.0.0/20"},
    ):
        kubectl("patch", "subnet", name, "--type=merge", "-p", json.dumps({"spec": change}))
        generation = read("subnet", name)["metadata"]["generation"]
        until(
            lambda generation=generation: condition("subnet", name, "Ready").get("observedGeneration") == generation,  # type: ignore[misc]
            10,
            "the change is seen",
        )
        assert condition("subnet", name, "Validated")["status"] == "True"
    assert not outer.stop()[1]  # its gateway is not the subnet's any more, and serves it still
    sent, lost = inner.stop()
    assert sent > 10
    assert not lost
    assert not torn(across.stop()[1])
    new = scene.start(manifest("new", "node1"))[0]
    assert new.annotations["ovn.kubernetes.io/gateway"] == "10.64.0.254"
    assert new.annotations[CIDR] == "10.64.0.0/20"
    scene.talk_again(new, outside)
    inner.start()
    for closed in (True, False, True, False):
        kubectl("patch", "subnet", name, "--type=merge", "-p", json.dumps({"spec": {"private": closed}}))
        until(lambda closed=closed: scene.reaches(outside, two.ip) != closed, 20, f"the subnet is closed: {closed}")  # type: ignore[misc]
    # The answer that is on its way when tracking begins belongs to no connection that is known (docs: Subnets).
    assert len(inner.stop()[1]) <= 2


def test_shrinking_below_what_is_in_use_is_refused_with_names(scene: Scene, made: list[str]) -> None:
    name = f"s-{scene.namespace}"
    made.append(name)
    apply(subnet(name, "10.65.0.0/24", namespaces=[scene.namespace]))
    ready(name)
    scene.start(manifest("far", annotations={"ovn.kubernetes.io/ip_address": "10.65.0.77"}))
    kubectl("patch", "subnet", name, "--type=merge", "-p", '{"spec": {"cidrBlock": "10.65.0.0/28"}}')
    text = told("subnet", name, "Validated", "would be outside")
    assert f"Pod {scene.namespace}/far (10.65.0.77)" in text
    assert read("subnet", name)["status"]["cidrBlock"] == "10.65.0.0/24"
    scene.delete("far")
    until(lambda: read("subnet", name)["status"]["cidrBlock"] == "10.65.0.0/28", 20, "nobody is in the way any more")
    assert condition("subnet", name, "Validated")["status"] == "True"


def test_deleting_a_subnet_in_use_waits_and_says_for_whom(scene: Scene) -> None:
    name = f"s-{scene.namespace}"
    apply(subnet(name, "10.66.0.0/24", namespaces=[scene.namespace]))
    ready(name)
    one, two = scene.start(manifest("one", "node1"), manifest("two", "node2"))
    kubectl("delete", "subnet", name, "--wait=false")
    text = told("subnet", name, "Ready", "waiting for")
    assert f"Pod {scene.namespace}/one" in text
    assert scene.every_ping_answered(one, two.ip)
    scene.create(manifest("asks", annotations={SWITCH: name}))
    assert name in warned("Pod", "asks", "is being deleted", scene.namespace)
    scene.delete("one", "two", "asks")
    kubectl("wait", "--for=delete", f"subnet/{name}", "--timeout=40s")
    assert not recorded({name})


REFUSED_AT_ONCE = {
    "host bits": ({"cidrBlock": "10.67.0.1/24"}, "has host bits set"),
    "uppercase IPv6": ({"cidrBlock": "FD00:67::/112"}, "use fd00:67::/112"),
    "gateway outside": ({"cidrBlock": "10.67.0.0/24", "gateway": "10.68.0.1"}, "10.68.0.1"),
    "one address": ({"cidrBlock": "10.67.0.1/32"}, "at least 4"),
    "acl direction": (
        {"cidrBlock": "10.67.0.0/24", "acls": [{"direction": "in", "priority": 1, "match": "ip", "action": "drop"}]},
        "to-lport",
    ),
}


@pytest.mark.parametrize("what", REFUSED_AT_ONCE)
def test_the_api_server_refuses(cluster: dict[str, str], what: str) -> None:
    spec, part = REFUSED_AT_ONCE[what]
    with pytest.raises(SandboxError, match=part):
        apply({**subnet("refused", ""), "spec": spec})


@pytest.mark.parametrize(
    ("cidr", "part"),
    [
        ("10.16.128.0/24", "of subnet ovn-default"),
        ("100.64.9.0/24", "of subnet join"),
        ("10.96.7.0/24", "overlaps the Service CIDR"),
    ],
)
def test_a_subnet_that_collides_is_refused_and_others_work(scene: Scene, made: list[str], cidr: str, part: str) -> None:
    name = f"s-{scene.namespace}"
    made.append(name)
    apply(subnet(name, cidr, namespaces=[scene.namespace]))
    told("subnet", name, "Validated", part)
    assert condition("subnet", name, "Ready")["status"] == "False"
    warned("Subnet", name, part)
    scene.create(manifest("waits"))
    assert name in warned("Pod", "waits", "is not ready", scene.namespace)
    scene.start(manifest("fine", annotations={SWITCH: "ovn-default"}))


def test_two_namespaces_that_annotate_one_switch_differently(scene: Scene, other: Scene) -> None:
    name = scene.namespace
    annotate(scene, logical_switch=name, cidr="10.69.0.0/24")
    ready(name)
    annotate(other, logical_switch=name, cidr="10.70.0.0/24")
    text = warned("Namespace", other.namespace, "say something else")
    assert scene.namespace in text
    (one,) = scene.start(manifest("one"))
    assert inside(one, "10.69.0.0/24")
    other.create(manifest("waits"))
    warned("Pod", "waits", "something else", other.namespace)
    annotate(other, logical_switch="", cidr="")
    other.ready("waits")


def test_status_counts_what_is_used(scene: Scene, made: list[str]) -> None:
    name = f"s-{scene.namespace}"
    made.append(name)
    apply(subnet(name, "10.71.0.0/24", namespaces=[scene.namespace]))
    ready(name)
    scene.start(*(manifest(f"p{n}") for n in range(3)))
    until(lambda: using(name) == 3, 10, "three are in use")
    status = read("subnet", name)["status"]
    assert status["v4availableIPs"] == 250
    assert status["v4usingIPrange"] == "10.71.0.2-10.71.0.4"
    scene.delete("p0", "p1", "p2")
    until(lambda: using(name) == 0, 20, "none is in use")


def test_a_subnet_has_an_mtu_and_acls_of_its_own(scene: Scene, made: list[str]) -> None:
    name = f"s-{scene.namespace}"
    made.append(name)
    acl = {"direction": "to-lport", "priority": 1500, "match": "ip4 && tcp.dst == 8080", "action": "drop"}
    apply(subnet(name, "10.76.0.0/24", namespaces=[scene.namespace], mtu=1200, acls=[acl]))
    ready(name)
    client, server = scene.start(manifest("client", "node1"), manifest("server", "node2", command=SERVER))
    assert scene.shell(client, "cat /sys/class/net/eth0/mtu").strip() == "1200"
    assert scene.every_ping_answered(client, server.ip)
    fetch = f"curl -sS --max-time 2 http://{server.ip}:{HTTP}/hostname || echo refused"
    assert "refused" in scene.shell(client, fetch)
    kubectl("patch", "subnet", name, "--type=merge", "-p", '{"spec": {"acls": []}}')
    until(lambda: scene.shell(client, fetch).strip() == "server", 20, "the rule is gone")


def test_an_ippool_is_bound_to_a_namespace(scene: Scene) -> None:
    pool = f"p-{scene.namespace}"
    spec = {"subnet": "ovn-default", "ips": ["10.16.77.0/30"], "namespaces": [scene.namespace]}
    apply({"apiVersion": "kubeovn.io/v1", "kind": "IPPool", "metadata": {"name": pool}, "spec": spec})
    try:
        key = "ovn.kubernetes.io/ip_pool"
        until(lambda: namespace_annotations(scene).get(key) == pool, 20, "the Namespace is told")
        started = scene.start(*(manifest(f"p{n}") for n in range(4)))
        assert {pod.ip for pod in started} == {f"10.16.77.{n}" for n in range(4)}
        scene.create(manifest("late"))
        assert "0 of 4" in warned("Pod", "late", f"pool {pool} of subnet ovn-default", scene.namespace)
    finally:
        kubectl("delete", "ippool", pool)
    scene.ready("late")
