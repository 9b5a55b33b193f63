"""Odd objects harm themselves: none ends the controller, opens a subnet, or takes an address from who has it."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.crd import IP, IPSpec, Subnet, SubnetStatus
from kube_ovn.model.kube import Namespace, ObjectMeta, Pod, Service
from kube_ovn.model.nb import Acl, LogicalRouterPort, LogicalSwitchPort
from kube_ovn.model.writes import Delete
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.subnets.options import parse_options
from kube_ovn.topology.subnets.status import same
from tests.small_clusters import (
    Api,
    address,
    fabric,
    gateway,
    granted,
    namespace,
    node,
    pod,
    pool,
    service,
    settle,
    settled,
    show,
    stateful_set,
    step,
    subnet,
)


def wish(name: str, age: str = "", **annotations: str) -> Namespace:
    made = namespace(name, None, **{f"ovn.kubernetes.io/{key}": text for key, text in annotations.items()})
    meta = msgspec.structs.replace(made.metadata, creation_timestamp=age)
    return msgspec.structs.replace(made, metadata=meta)


def private(topology: Topology) -> list[Acl]:
    return [row for row in topology.state.values() if isinstance(row, Acl) and row.action == "drop"]


def ports(topology: Topology) -> set[str]:
    return {row.name for row in topology.state.values() if isinstance(row, LogicalSwitchPort)}


def test_annotations_that_an_older_version_wrote_are_no_wish() -> None:
    old = wish("default", logical_switch="ovn-default", cidr="10.16.0.0/16", exclude_ips="10.16.0.1")
    api = Api(old, node("node1", 1), pod("a"))
    topology = settled(api)
    default = api.get(Subnet, "ovn-default")
    assert names.MADE_BY_NAMESPACE not in default.metadata.labels
    assert default.metadata.deletion_timestamp is None
    assert default.spec.nat_outgoing
    assert address(api.get(Pod, "a", "default")) == "10.16.0.2"
    assert not topology.problems


@pytest.mark.parametrize(
    ("name", "other"),
    [("a.b", pod("a", namespace="b-ovn-cluster")), ("node-x", node("x-ovn-cluster", 2))],
)
@pytest.mark.parametrize("subnet_first", [True, False])
def test_names_that_meet_are_told_to_who_comes_later(name: str, other: Pod, subnet_first: bool) -> None:
    joint = names.switch_port(name, "ovn-cluster")
    api = Api(namespace("b-ovn-cluster"), node("node1", 1), pod("good", namespace="b-ovn-cluster"))
    first, later = (subnet(name, "10.20.0.0/24"), other) if subnet_first else (other, subnet(name, "10.20.0.0/24"))
    api.put(first)
    topology = Topology(fabric())
    settle(topology, api)
    api.put(later)
    settle(topology, api)
    assert later.metadata.uid in topology.problems
    assert first.metadata.uid not in topology.problems
    assert {joint, "good.b-ovn-cluster"} <= ports(topology)


def test_a_gateway_of_the_wrong_family_and_an_endless_number_harm_nobody() -> None:
    web = stateful_set("web", 2)
    record = IPSpec(
        subnet="ovn-default",
        ip_address="10.16.0.50",
        v4_ip_address="10.16.0.50",
        mac_address="0a:00:00:00:00:50",
        gateway="fd00::1",
        pod_name=f"web-{'9' * 5000}",
        namespace="default",
        pod_type="StatefulSet",
        owner_uid=web.metadata.uid,
    )
    odd = IP(metadata=ObjectMeta(name="odd", uid="ip-uid-odd"), spec=record)
    api = Api(namespace("default"), node("node1", 1), pod("good"), web, odd)
    assert "good.default" in ports(settled(api))
    assert api.find(IP, "odd") is None  # nobody's


def test_of_two_kept_records_of_one_address_one_goes() -> None:
    """The late write of a dead controller; the StatefulSet has a place for both Pods, and neither exists."""
    web = stateful_set("web", 2)
    ips = [
        IP(
            metadata=ObjectMeta(name=f"web-{number}.default", uid=f"ip-{number}"),
            spec=IPSpec(
                subnet="ovn-default",
                ip_address="10.16.0.50",
                mac_address="0a:00:00:00:00:50",
                gateway="10.16.0.1",
                pod_name=f"web-{number}",
                namespace="default",
                pod_type=names.STATEFULSET,
                owner_uid=web.metadata.uid,
            ),
        )
        for number in range(2)
    ]
    api = Api(namespace("default"), node("node1", 1), web, *ips)
    settled(api)
    assert api.find(IP, "web-0.default") is not None
    assert api.find(IP, "web-1.default") is None


def test_a_wish_that_cannot_be_fulfilled_leaves_what_was_kept() -> None:
    """A StatefulSet's Pod comes back and asks for an address elsewhere: nobody else is given what its record says."""
    web = stateful_set("web", 1)
    api = Api(namespace("default"), node("node1", 1), web, pod("web-0", parent=web))
    topology = settled(api, fabric("10.16.0.0/29"))
    kept = api.get(IP, "web-0.default").spec.ip_address
    api.remove(api.get(Pod, "web-0", "default").metadata.uid)
    settle(topology, api)
    api.put(pod("web-0", uid="again", parent=web, annotations={names.IP_ADDRESS: "192.0.2.1"}))
    api.put(*(pod(f"other{number}") for number in range(5)))
    settle(topology, api)
    assert "192.0.2.1" in topology.problems["again"].message
    assert api.get(IP, "web-0.default").spec.ip_address == kept
    assert "0 of 5" in topology.problems["uid-other4"].message


def test_a_typo_beside_it_does_not_open_a_private_subnet() -> None:
    shape = {"logical_switch": "s", "cidr": "10.20.0.0/24"}
    older, younger = (
        wish("a", "2026-01-01T00:00:00Z", private="true", **shape),
        wish("b", "2026-01-02T00:00:00Z", **shape),
    )
    api = Api(older, younger, node("node1", 1), pod("p", namespace="a"))
    topology = Topology(fabric())
    settle(topology, api)
    assert private(topology)
    now = api.get(Namespace, "a")
    annotations = {**now.metadata.annotations, names.NAT_OUTGOING: "yes"}
    api.put(msgspec.structs.replace(now, metadata=msgspec.structs.replace(now.metadata, annotations=annotations)))
    settle(topology, api)
    assert private(topology)
    assert "must be true or false" in topology.problems[older.metadata.uid].message


@pytest.mark.parametrize(
    ("name", "status"),
    [
        *((name, SubnetStatus()) for name in ("join", "s")),
        *((name, SubnetStatus(cidr_block="10.77.0.0/16,fd00:77::/112")) for name in ("join", "s")),
        ("join", SubnetStatus(cidr_block="100.64.0.0/16", gateway="100.64.0.2")),  # the address of a Node
        ("s", SubnetStatus(cidr_block="10.20.0.0/24", gateway="10.20.0.2")),  # the address of a Pod
        ("s", SubnetStatus(cidr_block="10.20.0.0/30", gateway="10.20.0.2")),
        ("t", SubnetStatus(cidr_block="10.21.0.0/29", gateway="10.21.0.3")),  # without the gateway in use
    ],
)
@pytest.mark.parametrize("wish", [{}, {"cidr_block": "10.16.0.0/24"}])
def test_a_status_that_somebody_damaged_takes_nothing_from_anybody(
    name: str, status: SubnetStatus, wish: dict[str, str]
) -> None:
    """Also while the spec asks for what cannot be, so that it does not set the status right."""
    api = Api(
        namespace("default"),
        node("node1", 1),
        node("node2", 2),
        subnet("s", "10.20.0.0/24"),
        subnet("t", "10.21.0.0/24", gateway="10.21.0.254"),
        pod("p", annotations={names.LOGICAL_SWITCH: "s"}),
        pod("q", annotations={names.LOGICAL_SWITCH: "t"}),
    )
    topology = Topology(fabric())
    settle(topology, api)
    before, now = dict(topology.state), api.get(Subnet, name)
    api.put(msgspec.structs.replace(now, spec=msgspec.structs.replace(now.spec, **wish), status=status))
    show(topology, api.snapshot())
    assert topology.state == before, "not for a moment"
    settle(topology, api)
    assert topology.state == before
    right = api.get(Subnet, name).status
    assert (right.cidr_block, right.gateway) == (now.status.cidr_block, now.status.gateway)


def test_forged_annotations_do_not_give_the_routers_mac() -> None:
    router = names.derived_mac(names.router_port("ovn-cluster", "ovn-default"))
    forged = granted("ovn-default", "10.16.0.99", router)
    topology = settled(Api(namespace("default"), node("node1", 1), pod("thief", annotations=forged)))
    assert "thief.default" not in ports(topology)


@pytest.mark.parametrize(("reported", "expected"), [("", "10.16.0.11"), ("10.16.0.99", "10.16.0.99")])
def test_annotations_are_a_grant_only_of_a_pod_that_was_connected(reported: str, expected: str) -> None:
    """On the day that IP objects and ports are lost the addresses that kubelets report stay; a new Pod that forges such
    annotations has what it may ask for.
    """
    claimed = {**granted("ovn-default", "10.16.0.99"), names.IP_POOL: "10.16.0.11"}
    api = Api(namespace("default"), node("node1", 1), pod("a", annotations=claimed, reported=reported))
    settle(Topology(fabric()), api)
    assert address(api.get(Pod, "a", "default")) == expected


def test_one_odd_exclusion_leaves_the_others() -> None:
    made = subnet("s", "10.66.0.0/24,fd00:66::/112", exclude_ips=("10.66.0.2..10.66.0.100",))
    api = Api(namespace("default"), node("node1", 1), made)
    topology = Topology(fabric())
    settle(topology, api)
    now = api.get(Subnet, "s")
    spec = msgspec.structs.replace(now.spec, exclude_ips=("fd00:66::20..fd00:66::10", *now.spec.exclude_ips))
    api.put(msgspec.structs.replace(now, spec=spec), pod("p", annotations={names.LOGICAL_SWITCH: "s"}))
    settle(topology, api)
    assert address(api.get(Pod, "p", "default")).split(",")[0] == "10.66.0.101"
    assert "is not a range" in topology.problems[made.metadata.uid].message


def test_a_gateway_in_use_stays_inside() -> None:
    fixed = {names.LOGICAL_SWITCH: "s", names.IP_ADDRESS: "10.66.200.5"}
    api = Api(namespace("default"), node("node1", 1), subnet("s", "10.66.0.0/16"), pod("p", annotations=fixed))
    topology = Topology(fabric())
    settle(topology, api)
    now = api.get(Subnet, "s")
    api.put(msgspec.structs.replace(now, spec=msgspec.structs.replace(now.spec, cidr_block="10.66.128.0/17")))
    settle(topology, api)
    (joint,) = [
        row for row in topology.state.values() if isinstance(row, LogicalRouterPort) and row.name == "ovn-cluster-s"
    ]
    assert joint.networks == {"10.66.0.1/16"}
    assert "it serves Pod default/p" in topology.problems[now.metadata.uid].message


def test_a_former_gateway_in_use_stays_inside() -> None:
    first = subnet("s", "10.66.0.0/24", gateway="10.66.0.254")
    api = Api(namespace("default"), node("node1", 1), first, pod("p", annotations={names.LOGICAL_SWITCH: "s"}))
    topology = Topology(fabric())
    settle(topology, api)
    for change in ({"gateway": "10.66.0.100"}, {"cidr_block": "10.66.0.0/25"}):
        now = api.get(Subnet, "s")
        api.put(msgspec.structs.replace(now, spec=msgspec.structs.replace(now.spec, **change)))
        settle(topology, api)
    joint = next(
        row for row in topology.state.values() if isinstance(row, LogicalRouterPort) and row.name == "ovn-cluster-s"
    )
    assert joint.networks == {"10.66.0.100/24", "10.66.0.254/24"}
    assert "gateway 10.66.0.254 would be outside" in topology.problems[first.metadata.uid].message


@pytest.mark.parametrize(
    ("annotations", "part"),
    [
        ({"cidr": "10.66.0.5/16"}, "host bits"),
        ({"cidr": "foo"}, "is not a CIDR"),
        ({"cidr": "10.66.0.0/16", "gateway": "not"}, "is not an IP address"),
        ({"cidr": "10.66.0.0/16", "gateway_type": "weird"}, "distributed or centralized"),
        ({"cidr": "10.66.0.0/16", "logical_switch": "My_Switch"}, "no name of an object"),
        ({"cidr": "10.66.0.0/16", "allow": "x"}, "is not a CIDR"),
    ],
)
def test_a_namespace_is_told_what_is_wrong_with_its_annotations(annotations: dict[str, str], part: str) -> None:
    space = wish("team", **{"logical_switch": "own", **annotations})
    topology = settled(Api(space, node("node1", 1), pod("p", namespace="team")))
    assert part in topology.problems[space.metadata.uid].message
    assert part in topology.problems["uid-p"].message


def test_counts_beyond_a_doubles_precision_settle() -> None:
    ours, theirs = SubnetStatus(v6_available_ips=float(2**64 - 2)), SubnetStatus(v6_available_ips=18446744073709552000)
    assert same(ours, theirs)
    assert not same(ours, SubnetStatus(v6_available_ips=5))


@pytest.mark.parametrize("unknown", [{"StatefulSet"}, set[str]()])
def test_while_its_kind_is_unknown_a_stateful_set_is_not_proven_gone(unknown: set[str]) -> None:
    """A new controller that may not list StatefulSets keeps the addresses of Pods that are away."""
    web = stateful_set("web", 2)
    api = Api(node("node1", 1), namespace("default"), web, pod("web-1", parent=web))
    settled(api)
    api.remove("uid-web-1")
    api.remove(web.metadata.uid)
    topology = Topology(fabric())
    show(topology, replace(api.snapshot(), unknown=unknown))
    removed = [write.object.name for write in topology.writes.values() if isinstance(write, Delete)]
    assert removed == ([] if unknown else ["web-1.default"])


def test_an_object_of_a_kind_that_cannot_be_listed_is_not_known_which_is_not_missing() -> None:
    """Pods that name an IPPool, by themselves or through their Namespace, and one that counts on its StatefulSet."""
    web, pooled = stateful_set("web", 2), {names.IP_POOL: "few"}
    api = Api(node("node1", 1), namespace("default"), namespace("team", None, **pooled))
    topology = settled(api)
    before = api.snapshot()
    listed = pod("web-1", parent=web, annotations={names.IP_POOL: "10.16.0.11;10.16.0.12"})
    api.put(pod("a", annotations=pooled), pod("b", namespace="team"), listed)
    view = replace(step(before, api.snapshot()), unknown={"IPPool", "StatefulSet"})
    show(topology, view)
    told = {uid: problem.message for uid, problem in topology.problems.items()}
    assert told.keys() == {"uid-a", "uid-b", "uid-web-1"}
    assert all("cannot list" in message and "does not exist" not in message for message in told.values())
    show(topology, replace(view, changed=set[tuple[str, str]](), unknown=frozenset()))
    told = {uid: problem.message for uid, problem in topology.problems.items()}
    assert told == {
        "uid-a": f"IPPool few does not exist; make it, or remove annotation {names.IP_POOL}",
        "uid-b": f"IPPool few does not exist; make it, or remove annotation {names.IP_POOL} of Namespace team",
        "uid-web-1": f"Pod default/web-1 waits for StatefulSet web with UID {web.metadata.uid}, which its "
        "ownerReferences name and which does not exist; delete the Pod, or make it without this reference",
    }
    api.put(pool("few", "ovn-default", "10.16.0.40..10.16.0.41"))
    settle(topology, api)
    assert {address(api.get(Pod, name, space)) for name, space in (("a", "default"), ("b", "team"))} == {
        "10.16.0.40",
        "10.16.0.41",
    }


def test_a_subnet_made_anew_before_its_first_status_inherits_nothing() -> None:
    api = Api(node("node1", 1), namespace("default"))
    topology, before = settled(api), api.snapshot()
    first = subnet("s", "10.20.0.0/24", uid="first")
    api.put(first)
    show(topology, step(before, api.snapshot()))
    before = api.snapshot()
    del api.objects["first"]
    api.put(subnet("s", "nonsense", uid="second"))
    settle(topology, api, before)
    assert api.get(Subnet, "s").status.cidr_block == ""
    assert topology.state == settled(api).state


@pytest.mark.parametrize(
    "made",
    [
        service("s", "10.96.0.5", annotations={names.AFFINITY_TIMEOUT: "1" * 5000}),
        service("s", "10.96.0.5", annotations={names.AFFINITY_TIMEOUT: "0"}),
    ],
)
def test_an_absurd_number_ends_no_derivation(made: Service) -> None:
    topology = settled(Api(node("node1", 1), namespace("default"), made))
    assert "is no number of seconds" in topology.problems[made.metadata.uid].message


def test_gateway_nodes_whose_texts_run_together_are_two_groups() -> None:
    """Names of nodes have no white space: else the keys of two groups could be one."""
    nodes = [gateway(f"node{number}", number) for number in (1, 2)]
    wishes: dict[str, dict[str, Any]] = {
        "a": {"gateway_node": "node1,node2 from node1"},
        "b": {"gateway_node": "node1,node2", "enable_ecmp": True},
    }
    subnets = [
        subnet(name, f"10.2{number}.0.0/24", gateway_type="centralized", **wish)
        for number, (name, wish) in enumerate(wishes.items())
    ]
    topology = settled(Api(*nodes, namespace("default"), *subnets))
    assert "is neither NODE nor NODE:ADDRESS" in topology.problems["subnet-uid-a"].message
    assert "subnet-uid-b" not in topology.problems


ACTION = "lease_time=3600); eth.src = 0a:00:00:00:00:01; reg0[4] = put_dhcp_opts(offerip = 10.70.2.99"


@pytest.mark.parametrize("text", [ACTION, "lease_time=1;next", "a b=1", "x=(1)", 'x="a"b"', 'x="a', "x=a\\nb", "x=!y"])
def test_an_option_is_no_action(text: str) -> None:
    """northd puts the options into an action of a flow as they are."""
    with pytest.raises(ValueError, match=r"no option has|control character"):
        parse_options(text)


def test_options_that_there_are() -> None:
    text = 'lease_time=3600, dns_server={8.8.8.8,1.1.1.1},domain_name="ovn.org",mtu=1400'
    assert parse_options(text) == {
        "lease_time": "3600",
        "dns_server": "{8.8.8.8,1.1.1.1}",
        "domain_name": '"ovn.org"',
        "mtu": "1400",
    }


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({names.LOGICAL_SWITCH: ",".join(f"s{number}" for number in range(65))}, "has 65 names; 64 are the most"),
        ({names.IP_POOL: ",".join(f"p{number}" for number in range(65))}, "has 65 names; 64 are the most"),
        ({names.IP_POOL: ";".join(["10.16.0.9"] * 1001)}, "lists 1001 addresses; 1000 are the most"),
    ],
)
def test_what_would_cost_too_much_is_told(annotations: dict[str, str], message: str) -> None:
    """10,000 names and 10,000 addresses took all memory of the controller."""
    api = Api(gateway("node1", 1), namespace("default"), pod("a", annotations=annotations))
    (problem,) = settled(api).problems.values()
    assert (problem.object.name, message in problem.message) == ("a", True)
    api = Api(
        gateway("node1", 1), wish("default", **{key.partition("/")[2]: text for key, text in annotations.items()})
    )
    topology = settled(api)
    if names.LOGICAL_SWITCH in annotations:
        (problem,) = topology.problems.values()
        assert (problem.object.name, message in problem.message) == ("default", True)


def test_an_address_has_one_text() -> None:
    made = pod("a", annotations={names.IP_ADDRESS: "::ffff:10.16.0.9"})
    (problem,) = settled(Api(gateway("node1", 1), namespace("default"), made)).problems.values()
    assert "write 10.16.0.9" in problem.message
