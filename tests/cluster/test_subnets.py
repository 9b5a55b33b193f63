"""A subnet for each Namespace, made either way, changed while it is in use, and refused when it cannot be."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest

from sandbox.demo import kubectl
from sandbox.paths import SandboxError
from tests.cluster import kube
from tests.cluster.fabric import (
    Block,
    becomes,
    change,
    condition,
    find_condition,
    ready,
    recorded,
    subnet,
    told,
    using,
    warned,
)
from tests.cluster.kube import Json
from tests.cluster.lab import HTTP, SERVER, Pinging, Pod, Scene, manifest, torn, until

PREFIX = "ovn.kubernetes.io"
SWITCH, CIDR, POOL = (f"{PREFIX}/{key}" for key in ("logical_switch", "cidr", "ip_pool"))


@pytest.fixture
def made() -> Iterator[list[str]]:
    """Names of Subnets to remove in the end."""
    names: list[str] = []
    yield names
    kube.delete("subnet", *(set(names) & {item["metadata"]["name"] for item in kube.get("subnet")}))


def annotate(scene: Scene, **annotations: str) -> None:
    """Set annotations of its Namespace; an empty one is taken away."""
    scene.annotate(
        "namespace", scene.namespace, {f"{PREFIX}/{key}": value or None for key, value in annotations.items()}
    )


def annotations_of(item: Json) -> dict[str, str]:
    found: dict[str, str] = item["metadata"].get("annotations", {})
    return found


def is_told(scene: Scene, key: str, value: str) -> None:
    """Wait until an annotation of its Namespace says something."""
    what = f"Namespace {scene.namespace} is told {value}"
    becomes("namespace", scene.namespace, lambda item: annotations_of(item).get(key) == value, 20, what)


def inside(pod: Pod, cidr: str) -> bool:
    return ip_address(pod.ip) in ip_network(cidr)


def test_annotations_of_a_namespace_make_change_and_remove_its_subnet(scene: Scene, block: Block) -> None:
    (before,) = scene.start(manifest("before", "node1"))
    name = scene.namespace
    annotate(scene, logical_switch=name, cidr=block.cidr4(), exclude_ips=f"{block.v4(2)}..{block.v4(9)}")
    ready(name)
    one, two = scene.start(manifest("one", "node1"), manifest("two", "node2"))
    assert inside(one, block.cidr4())
    assert not {one.ip, two.ip} & {block.v4(n) for n in range(10)}
    scene.talk_again(one, two)
    scene.talk_again(before, two)  # who was there stays where it is, and is reached

    annotate(scene, private="true")
    becomes("subnet", name, lambda item: item["spec"].get("private"), 10, "the annotation arrives at the Subnet")
    until(lambda: not scene.reaches(before, two.ip), 20, "the subnet is closed")
    until(lambda: scene.every_ping_answered(one, two.ip), 10, "they talk")

    annotate(scene, logical_switch="", cidr="", private="", exclude_ips="")
    told("subnet", name, "Ready", "waiting for Pod")
    late = scene.start(manifest("late", "node2"))[0]
    assert not inside(late, block.cidr4())
    is_told(scene, SWITCH, "ovn-default")
    scene.delete("one", "two")
    kube.gone("subnet", name, within=40)


def test_a_subnet_binds_namespaces_by_name_and_by_labels(
    scene: Scene, other: Scene, made: list[str], block: Block
) -> None:
    name, cidr = f"s-{scene.namespace}", block.cidr4(length=28)
    made.append(name)
    selector = {"matchLabels": {"kubernetes.io/metadata.name": other.namespace}}
    kube.apply(subnet(name, cidr, namespaces=[scene.namespace], namespaceSelectors=[selector]))
    ready(name)
    for each in (scene, other):
        is_told(each, SWITCH, name)
        assert annotations_of(kube.read("namespace", each.namespace))[CIDR] == cidr
    a, b = scene.start(manifest("a", "node1"))[0], other.start(manifest("b", "node2"))[0]
    assert inside(a, cidr)
    assert inside(b, cidr)
    until(lambda: scene.every_ping_answered(a, b.ip), 20, "they talk")
    columns = kubectl("get", "subnet", name).splitlines()
    assert columns[0].split()[:6] == ["NAME", "PROVIDER", "VPC", "VLAN", "PROTOCOL", "CIDR"]
    assert cidr in columns[1]


def test_pods_go_to_the_first_subnet_with_room(scene: Scene, made: list[str], block: Block) -> None:
    first, second = f"a-{scene.namespace}", f"b-{scene.namespace}"
    made += [first, second]
    kube.apply(
        *(
            subnet(name, block.cidr4(part, length=30), namespaces=[scene.namespace])
            for part, name in enumerate((first, second))
        )
    )
    ready(first, second)
    started = scene.start(*(manifest(f"p{n}") for n in range(2)))
    assert {pod.annotations[SWITCH] for pod in started} == {first, second}
    scene.create(manifest("p2"))
    assert "0 of 1 addresses" in warned("Pod", "p2", "has no available address", scene.namespace)
    scene.delete("p0")
    (late,) = scene.ready("p2")
    assert late.ip in {pod.ip for pod in started}


def test_a_subnet_changes_under_running_pods(scene: Scene, made: list[str], block: Block) -> None:
    """Exclude list, gateway, CIDR and isolation change under running pings."""
    name = f"s-{scene.namespace}"
    made.append(name)
    kube.apply(subnet(name, block.cidr4(), namespaces=[scene.namespace], natOutgoing=True))
    ready(name)
    one, two, far = scene.start(manifest("one", "node1"), manifest("two", "node1"), manifest("far", "node2"))
    outside = scene.start(manifest("outside", "node1", annotations={SWITCH: "ovn-default"}))[0]
    for other in (two, far, outside):
        scene.talk_again(one, other)
    inner, outer, across = Pinging(scene, one, two.ip), Pinging(scene, two, outside.ip), Pinging(scene, one, far.ip)
    for each in (inner, outer, across):
        each.start()
    for spec in (
        {"excludeIps": [f"{block.v4(100)}..{block.v4(200)}"]},
        {"gateway": block.v4(254)},
        {"cidrBlock": block.cidr4(length=20)},
    ):
        change(name, **spec)
        becomes("subnet", name, is_observed, 10, "the change is seen")
        assert condition("subnet", name, "Validated")["status"] == "True"
    assert not outer.stop()[1]  # its gateway is not the subnet's any more, and serves it still
    sent, lost = inner.stop()
    assert sent > 10
    assert not lost
    assert not torn(across.stop()[1])
    new = scene.start(manifest("new", "node1"))[0]
    assert new.annotations[f"{PREFIX}/gateway"] == block.v4(254)
    assert new.annotations[CIDR] == block.cidr4(length=20)
    scene.talk_again(new, outside)
    inner.start()
    for closed in (True, False, True, False):
        change(name, private=closed)
        until(lambda closed=closed: scene.reaches(outside, two.ip) != closed, 20, f"the subnet is closed: {closed}")  # type: ignore[misc]
    # The answer that is on its way when tracking begins belongs to no connection that is known (docs: Subnets).
    assert len(inner.stop()[1]) <= 2


def is_observed(item: Json) -> bool:
    """Whether what is said of an object is about its newest spec."""
    return bool(find_condition(item, "Ready").get("observedGeneration") == item["metadata"]["generation"])


def test_shrinking_below_what_is_in_use_is_refused_with_names(scene: Scene, made: list[str], block: Block) -> None:
    name = f"s-{scene.namespace}"
    made.append(name)
    kube.apply(subnet(name, block.cidr4(), namespaces=[scene.namespace]))
    ready(name)
    scene.start(manifest("far", annotations={f"{PREFIX}/ip_address": block.v4(77)}))
    smaller = block.cidr4(length=28)
    change(name, cidrBlock=smaller)
    text = told("subnet", name, "Validated", "would be outside")
    assert f"Pod {scene.namespace}/far ({block.v4(77)})" in text
    assert kube.read("subnet", name)["status"]["cidrBlock"] == block.cidr4()
    scene.delete("far")
    becomes("subnet", name, lambda item: item["status"]["cidrBlock"] == smaller, 20, "nothing is in the way any more")
    assert condition("subnet", name, "Validated")["status"] == "True"


def test_deleting_a_subnet_in_use_waits_and_says_for_whom(scene: Scene, block: Block) -> None:
    name = f"s-{scene.namespace}"
    kube.apply(subnet(name, block.cidr4(), namespaces=[scene.namespace]))
    ready(name)
    one, two = scene.start(manifest("one", "node1"), manifest("two", "node2"))
    kube.delete("subnet", name)
    text = told("subnet", name, "Ready", "waiting for")
    assert f"Pod {scene.namespace}/one" in text
    until(lambda: scene.every_ping_answered(one, two.ip), 10, "they talk")
    scene.create(manifest("asks", annotations={SWITCH: name}))
    assert name in warned("Pod", "asks", "is being deleted", scene.namespace)
    scene.delete("one", "two", "asks")
    kube.gone("subnet", name, within=40)
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
        kube.apply({**subnet("refused", ""), "spec": spec})


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
    kube.apply(subnet(name, cidr, namespaces=[scene.namespace]))
    told("subnet", name, "Validated", part)
    assert condition("subnet", name, "Ready")["status"] == "False"
    warned("Subnet", name, part)
    scene.create(manifest("waits"))
    assert name in warned("Pod", "waits", "is not ready", scene.namespace)
    scene.start(manifest("fine", annotations={SWITCH: "ovn-default"}))


def test_two_namespaces_that_annotate_one_switch_differently(scene: Scene, other: Scene, block: Block) -> None:
    name = scene.namespace
    annotate(scene, logical_switch=name, cidr=block.cidr4())
    ready(name)
    annotate(other, logical_switch=name, cidr=block.cidr4(1))
    made_by_another = f"subnet {name} is made by the annotations of another Namespace"
    warned("Namespace", other.namespace, made_by_another)
    (one,) = scene.start(manifest("one"))
    assert inside(one, block.cidr4())
    other.create(manifest("waits"))
    warned("Pod", "waits", made_by_another, other.namespace)
    annotate(other, logical_switch="", cidr="")
    other.ready("waits")


def test_status_counts_what_is_used(scene: Scene, made: list[str], block: Block) -> None:
    name = f"s-{scene.namespace}"
    made.append(name)
    kube.apply(subnet(name, block.cidr4(), namespaces=[scene.namespace]))
    ready(name)
    scene.start(*(manifest(f"p{n}") for n in range(3)))
    becomes("subnet", name, lambda item: using(item) == 3, 10, "three are in use")
    status = kube.read("subnet", name)["status"]
    assert status["v4availableIPs"] == 250
    assert status["v4usingIPrange"] == f"{block.v4(2)}-{block.v4(4)}"
    scene.delete("p0", "p1", "p2")
    becomes("subnet", name, lambda item: using(item) == 0, 20, "none is in use")


def test_a_subnet_has_an_mtu_and_acls_of_its_own(scene: Scene, made: list[str], block: Block) -> None:
    name = f"s-{scene.namespace}"
    made.append(name)
    acl = {"direction": "to-lport", "priority": 1500, "match": "ip4 && tcp.dst == 8080", "action": "drop"}
    kube.apply(subnet(name, block.cidr4(), namespaces=[scene.namespace], mtu=1200, acls=[acl]))
    ready(name)
    client, server = scene.start(manifest("client", "node1"), manifest("server", "node2", command=SERVER))
    assert scene.shell(client, "cat /sys/class/net/eth0/mtu").strip() == "1200"
    until(lambda: scene.every_ping_answered(client, server.ip), 10, "they talk")
    fetch = f"curl -sS --max-time 2 http://{server.ip}:{HTTP}/hostname || echo refused"
    assert "refused" in scene.shell(client, fetch)
    change(name, acls=[])
    until(lambda: scene.shell(client, fetch).strip() == "server", 20, "the rule is gone")


def test_an_ippool_is_bound_to_a_namespace(scene: Scene) -> None:
    pool = f"p-{scene.namespace}"
    spec = {"subnet": "ovn-default", "ips": ["10.16.77.0/30"], "namespaces": [scene.namespace]}
    kube.apply({"apiVersion": "kubeovn.io/v1", "kind": "IPPool", "metadata": {"name": pool}, "spec": spec})
    try:
        is_told(scene, POOL, pool)
        started = scene.start(*(manifest(f"p{n}") for n in range(4)))
        assert {pod.ip for pod in started} == {f"10.16.77.{n}" for n in range(4)}
        scene.create(manifest("late"))
        assert "0 of 4" in warned("Pod", "late", f"pool {pool} of subnet ovn-default", scene.namespace)
    finally:
        kube.delete("ippool", pool)
    scene.ready("late")
