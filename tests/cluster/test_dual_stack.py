"""The same in a cluster of both families: addresses, isolation, fixed and sticky ones, forged sources, the way out."""

from collections.abc import Iterator

import pytest

from sandbox.layout import OUTSIDE_FAR_V4, OUTSIDE_FAR_V6, IpFamily
from tests.cluster import kube
from tests.cluster.fabric import Block, change, own_subnet, ready, recorded, subnet, told, warned
from tests.cluster.kube import Json
from tests.cluster.lab import HTTP, SERVER, Pod, Scene, manifest, until
from tests.cluster.policies import DENY, apply, connects, labelled, remove
from tests.cluster.test_addresses import ADDRESS, MAC, POOL, PRIVILEGED, SWITCH, stateful
from tests.cluster.test_dns import CLUSTER_DNS, NOBODY, ZONE, ask
from tests.cluster.test_services import answers, answers_node, backend, heard, read_service, service

FAMILY = IpFamily.DUAL
CLUSTER_DNS_BOTH = (CLUSTER_DNS, "fd00:10:96::a")


@pytest.fixture
def place(scene: Scene, block: Block) -> Iterator[str]:
    with own_subnet(scene, block.both(), natOutgoing=True) as name:
        yield name


def both(pod: Pod) -> tuple[str, str]:
    """A Pod's IPv4 and IPv6 address."""
    v4, v6 = pod.annotations[ADDRESS].split(",")
    return v4, v6


def talk(scene: Scene, source: Pod, target: Pod) -> None:
    until(
        lambda: all(scene.every_ping_answered(source, each) for each in both(target)), 30, f"{source.name} is answered"
    )


def test_pods_reach_each_other_and_the_outside_in_both_families(scene: Scene, place: str) -> None:
    near, far = scene.start(manifest("near", "node1"), manifest("far", "node2", command=SERVER))
    default = scene.start(manifest("default", "node2", annotations={SWITCH: "ovn-default"}))[0]
    talk(scene, near, far)
    talk(scene, near, default)
    talk(scene, default, near)
    v4, v6 = both(far)
    assert scene.shell(near, f"curl -sS --max-time 5 http://{v4}:{HTTP}/hostname") == "far"
    assert scene.shell(near, f"curl -sS --max-time 5 'http://[{v6}]:{HTTP}/hostname'") == "far"
    mtu = int(scene.shell(near, "cat /sys/class/net/eth0/mtu"))
    assert "3 received" in scene.shell(near, f"ping -c 3 -i 0.2 -W 2 -M do -s {mtu - 48} {v6}")
    for address in (str(OUTSIDE_FAR_V4.ip), f"[{OUTSIDE_FAR_V6.ip}]"):
        assert scene.shell(near, f"curl -sS --max-time 5 'http://{address}/'")
    made = kube.read("subnet", place)
    status = made["status"]
    assert (status["v4availableIPs"], status["v6availableIPs"]) == (251, 65532)
    assert made["spec"]["protocol"] == "Dual"


def test_one_family_on_request(scene: Scene, place: str, block: Block) -> None:
    key = "ovn.kubernetes.io/ip_family"
    v4, v6 = scene.start(manifest("v4", annotations={key: "ipv4"}), manifest("v6", annotations={key: "ipv6"}))
    assert "," not in v4.annotations[ADDRESS]
    assert ":" in v6.annotations[ADDRESS]
    assert "," not in v6.annotations[ADDRESS]
    assert "inet6 fd0" not in scene.shell(v4, "ip -6 address show eth0")
    single, cidr = f"v4-{scene.namespace}", block.cidr4(1, length=28)
    kube.apply(subnet(single, cidr))
    try:
        ready(single)
        scene.create(manifest("wrong", annotations={key: "ipv6", SWITCH: single}))
        assert cidr in warned("Pod", "wrong", "has no IPv6 addresses", scene.namespace)
    finally:
        scene.delete("wrong")
        kube.delete("subnet", single)


def test_fixed_listed_and_sticky_addresses_in_both_families(scene: Scene, place: str, block: Block) -> None:
    listed = [(block.v4(host), block.v6(host)) for host in (21, 22)]
    scene.create(stateful("db", 2, {POOL: ";".join(map(",".join, listed))}), stateful("web", 2))
    db = scene.ready("db-0", "db-1")
    assert [both(pod) for pod in db] == listed
    kept = {pod.name: (pod.annotations[ADDRESS], pod.annotations[MAC]) for pod in scene.ready("web-0", "web-1")}
    scene.delete("web-0", "web-1")
    again = scene.ready("web-0", "web-1")
    assert {pod.name: (pod.annotations[ADDRESS], pod.annotations[MAC]) for pod in again} == kept
    (half,) = scene.start(manifest("half", annotations={ADDRESS: block.v6(77)}))
    assert both(half)[1] == block.v6(77)  # and an IPv4 address of the subnet's choice
    talk(scene, half, again[0])


def test_a_private_subnet_is_closed_in_both_families(scene: Scene, place: str) -> None:
    inside, peer = scene.start(manifest("inside", "node1"), manifest("peer", "node2"))
    outside = scene.start(manifest("outside", "node1", annotations={SWITCH: "ovn-default"}))[0]
    talk(scene, outside, inside)
    change(place, private=True)
    for address in both(inside):
        until(lambda address=address: not scene.reaches(outside, address), 20, f"{address} is closed")  # type: ignore[misc]
    for address in both(outside):
        assert not scene.reaches(inside, address)
    talk(scene, inside, peer)
    change(place, allowSubnets=kube.read("subnet", "ovn-default")["spec"]["cidrBlock"].split(","))
    talk(scene, outside, inside)


def test_the_kubelet_probes_a_private_subnet(scene: Scene, place: str) -> None:
    change(place, private=True)
    probe = {"httpGet": {"path": "/hostname", "port": HTTP}, "periodSeconds": 1}
    scene.start(manifest("probed", "node1", command=SERVER, readinessProbe=probe))


def test_forged_ipv6_leaves_no_node(scene: Scene, place: str, block: Block) -> None:
    liar, far = scene.start(
        manifest("liar", "node1", securityContext=PRIVILEGED), manifest("far", "node2", securityContext=PRIVILEGED)
    )
    v6, forged = both(far)[1], block.v6(222)
    scene.shell(far, f"timeout 8 tcpdump -lni eth0 'src host {forged}' >/tmp/seen 2>/dev/null & sleep 1; echo on")
    forge = f"ip address add {forged}/112 dev eth0 nodad; ping -c 4 -i 0.2 -W 1 -I {forged} {v6} || true"
    assert " 0 received" in scene.shell(liar, forge)
    scene.shell(liar, f"ip address del {forged}/112 dev eth0")
    assert scene.reaches(liar, v6), "by its own address, when its neighbour is asked for anew"
    assert not scene.shell(far, "sleep 2; cat /tmp/seen").strip()


def test_router_advertisements_and_dhcp_where_asked(scene: Scene, place: str) -> None:
    change(place, enableIPv6RA=True, enableDHCP=True)
    (pod,) = scene.start(manifest("pod", "node1", securityContext=PRIVILEGED))
    ask = "timeout 10 tcpdump -c 1 -lni eth0 'icmp6 and ip6[40] == 134' 2>/dev/null & sleep 1; "
    ask += "ip link set eth0 down; ip link set eth0 up; wait"
    assert "router advertisement" in scene.shell(pod, ask, timeout=40)
    lease = scene.shell(pod, "busybox udhcpc -i eth0 -n -q -t 5 -T 1 -s /bin/true 2>&1 || true", timeout=30)
    assert f"lease of {both(pod)[0]} obtained" in lease


def test_uppercase_and_wrong_families_are_refused(scene: Scene, place: str, block: Block) -> None:
    scene.create(manifest("outside", annotations={ADDRESS: f"{block.v4(9)},fd00:99::9"}))
    assert place in warned("Pod", "outside", "fd00:99::9 is not in the CIDR", scene.namespace)
    name = f"x-{scene.namespace}"
    kube.apply(subnet(name, f"{block.cidr4(1)},{block.cidr6(length=120)}"))
    try:
        told("subnet", name, "Validated", f"of subnet {place}")
        assert not recorded({name})
    finally:
        kube.delete("subnet", name)


def test_services_and_names_in_both_families(scene: Scene) -> None:
    names = ["web1", "web2"]
    one, two = scene.start(
        *map(backend, names, ("node1", "node2")), manifest("one", "node1"), manifest("two", "node2"), within=90
    )[2:]
    for name, policy in (("web", "Cluster"), ("near", "Local")):
        made = service(name, ipFamilyPolicy="RequireDualStack", internalTrafficPolicy=policy, selector={"app": "web"})
        scene.create(made)
    for name, wanted in (("web", set(names)), ("near", {"web1"})):
        _in_both_families(scene, name, wanted, one)
    heard(scene, two, f"near.{scene.namespace}", "web2")
    assert answers(scene, two, f"near.{scene.namespace}", count=5) == {"web2"}


def _in_both_families(scene: Scene, name: str, wanted: set[str], client: Pod) -> None:
    v4, v6 = read_service(scene, name)["spec"]["clusterIPs"]
    full = f"{name}.{scene.namespace}.svc.{ZONE}"
    until(lambda: ask(client, full, "AAAA", NOBODY).answers == [v6], 10, f"{full} is {v6}")
    assert ask(client, full, "A", NOBODY).answers == [v4]
    _reached(scene, v4, wanted, client)
    _reached(scene, f"[{v6}]", wanted, client)


def _reached(scene: Scene, address: str, wanted: set[str], client: Pod) -> None:
    until(lambda: answers(scene, client, address, count=5) <= wanted, 20, f"{address} answers")
    assert answers(scene, client, address) == wanted
    assert answers_node(client.node, address) == wanted


def test_the_nodes_answer_for_names_in_both_families(scene: Scene) -> None:
    (client,) = scene.start(manifest("client", "node2"))
    for server in CLUSTER_DNS_BOTH:
        answer = ask(client, f"none.{scene.namespace}.svc.{ZONE}", server=server)
        assert (answer.code, answer.answers) == ("NXDOMAIN", [])
        assert ask(client, f"kubernetes.default.svc.{ZONE}", "TXT", server=server, tcp=True).code == "NOERROR"


def test_policies_of_both_families(scene: Scene) -> None:
    server, near, far = scene.start(
        backend("web", "node1"), labelled(manifest("near", "node1"), role="client"), manifest("far", "node2")
    )
    apply(scene, "deny", DENY)
    rule: Json = {"from": [{"podSelector": {"matchLabels": {"role": "client"}}}], "ports": [{"port": HTTP}]}
    apply(scene, "in", {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [rule]})
    for address in both(server):
        assert connects(scene, near, address)
        assert not connects(scene, far, address)
    blocks = [{"ipBlock": {"cidr": f"{address}/{size}"}} for address, size in zip(both(server), (32, 128), strict=True)]
    for block, allowed in zip(blocks, both(server), strict=True):
        apply(scene, "out", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [block]}]})
        assert [connects(scene, near, each) for each in both(server)] == [each == allowed for each in both(server)]
    remove(scene, "deny")
    remove(scene, "in")
    apply(scene, "out", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": blocks}]})
    for address in both(server):
        assert connects(scene, far, address)
