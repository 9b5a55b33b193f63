"""Which news wakes the parts of a node's daemon, and what the node knows."""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import TypeAlias

import dns.message
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ovn.daemon.settings import Settings
from kube_ovn.daemon.view import View
from kube_ovn.host.dns import Directory
from kube_ovn.host.service import Direct, NodeService
from kube_ovn.host.subnet import NodeSubnet
from kube_ovn.model import names
from kube_ovn.model.crd import Subnet
from kube_ovn.model.kube import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Node,
    NodeCondition,
    ObjectMeta,
    Pod,
    Service,
    ServiceCIDR,
    ServicePort,
    ServiceSpec,
)
from tests.node_view import OWN, node, subnet, view
from tests.small_clusters import service_cidr


class Woken:
    """The parts that were woken since the last question."""

    def __init__(self, of: View) -> None:
        self._parts: set[str] = set()
        of.wake(lambda: self._parts.add("own node"), of.own_nodes)
        of.wake(lambda: self._parts.add("addresses"), of.addresses)
        of.wake(lambda: self._parts.add("subnets"), of.effective)
        of.wake(lambda: self._parts.add("site"), of.sites)
        of.wake(lambda: self._parts.add("services"), of.handled)
        of.wake(lambda: self._parts.add("networks of Services"), of.ranges)

    def take(self) -> set[str]:
        parts, self._parts = self._parts, set()
        return parts


EVERY_PART = {"own node", "addresses", "subnets", "site", "services", "networks of Services"}


@pytest.fixture
def blank() -> View:
    return View(Settings(node_name=OWN))


# Nodes


def ready(item: Node, status: str) -> Node:
    condition = NodeCondition(type="Ready", status=status)
    return msgspec.structs.replace(item, status=msgspec.structs.replace(item.status, conditions=(condition,)))


def test_the_own_node_and_the_addresses_of_all(blank: View) -> None:
    woken, nodes = Woken(blank), blank.nodes.store
    one, two = node(OWN, "172.30.0.11", "fd00::11", "none"), node("node2", "172.30.0.12")
    nodes.put(two)
    assert blank.all_addresses is None
    nodes.replace([one, two], 0.0)
    assert woken.take() == EVERY_PART, "a kind is known"
    assert blank.own == one
    assert blank.all_addresses == set(map(ip_address, ("172.30.0.11", "fd00::11", "172.30.0.12")))
    nodes.put(ready(two, "False"))
    assert woken.take() == set()
    nodes.put(node("node2", "172.30.0.22"))
    assert woken.take() == {"addresses"}
    nodes.put(ready(one, "False"))
    assert woken.take() == {"own node"}
    nodes.remove("uid-node2")
    assert woken.take() == {"addresses"}
    nodes.remove(f"uid-{OWN}")
    assert woken.take() == {"own node", "addresses"}
    assert blank.all_addresses == frozenset()


# Subnets


def effective(name: str, *networks: str, nat: bool = False) -> NodeSubnet:
    return NodeSubnet(name=name, networks=tuple(map(ip_network, networks)), nat=nat)


def subnets(*items: Subnet) -> View:
    made = View(Settings(node_name=OWN))
    made.subnets.store.replace(items, 0.0)
    return made


def names_of(of: View) -> list[str]:
    return [each.name for each in of.node_subnets or ()]


def test_no_subnet_is_known_before_the_first_full_list(blank: View) -> None:
    woken = Woken(blank)
    blank.subnets.store.put(subnet("a", "10.1.0.0/16"))
    assert blank.node_subnets is None
    assert not woken.take()
    blank.subnets.store.replace([subnet("a", "10.1.0.0/16")], 0.0)
    assert woken.take(), "no Subnet changed, but now all are known"
    assert blank.node_subnets == (effective("a", "10.1.0.0/16"),)


def test_an_empty_list_is_an_answer() -> None:
    assert subnets().node_subnets == ()


def test_subnets_in_effect_but_the_join_subnet() -> None:
    known = subnets(
        subnet("b", "10.2.0.0/16,fd00:2::/64", nat=True),
        subnet("a", "10.1.0.0/16"),
        subnet("join", "100.64.0.0/16"),
        subnet("refused", ""),
    )
    expected = (effective("a", "10.1.0.0/16"), effective("b", "10.2.0.0/16", "fd00:2::/64", nat=True))
    assert known.node_subnets == expected


def test_counts_wake_nothing() -> None:
    """They change with every Pod of the cluster."""
    known = subnets(subnet("a", "10.1.0.0/16", used=1))
    woken = Woken(known)
    known.subnets.store.put(subnet("a", "10.1.0.0/16", used=2))
    known.subnets.store.put(subnet("a", "10.1.0.0/16", used=3, mtu=1300))
    assert not woken.take()
    assert known.mtu("a") == 1300, "known all the same"
    assert known.mtu("b") == 0


def test_a_subnet_that_means_something_else_wakes() -> None:
    known = subnets(subnet("a", "10.1.0.0/16"))
    woken = Woken(known)
    for changed in (
        subnet("a", "10.1.0.0/16", nat=True),
        subnet("a", "10.0.0.0/15", nat=True),
        subnet("b", "10.2.0.0/16"),
        subnet("b", "10.2.0.0/16", uid="made anew"),
        subnet("a", ""),
    ):
        known.subnets.store.put(changed)
        assert woken.take() == {"subnets"}, changed
    assert names_of(known) == ["b"]
    known.subnets.store.remove("made anew")
    assert woken.take() == {"subnets"}
    assert names_of(known) == []


def test_a_list_after_an_outage_tells_of_all_at_once() -> None:
    known = subnets(subnet("a", "10.1.0.0/16"), subnet("b", "10.2.0.0/16"))
    known.subnets.store.replace([subnet("b", "10.2.0.0/16", nat=True), subnet("c", "10.3.0.0/16")], 1.0)
    assert known.node_subnets == (effective("b", "10.2.0.0/16", nat=True), effective("c", "10.3.0.0/16"))


def test_a_damaged_status_changes_nothing() -> None:
    known = subnets(subnet("a", "10.1.0.0/16"), subnet("new", "no cidr"))
    woken = Woken(known)
    assert known.node_subnets == (effective("a", "10.1.0.0/16"),)
    known.subnets.store.put(subnet("a", "10.1.0.1/16"))
    assert not woken.take()
    assert known.node_subnets == (effective("a", "10.1.0.0/16"),)
    known.subnets.store.put(subnet("a", "10.1.0.1/16", uid="made anew"))
    assert names_of(known) == [], "it is another Subnet, and never had another status"


# The place of the node


def test_what_is_around_stays_as_it_was_while_it_is_wrong_or_unknown() -> None:
    known = view(nodes=[node(OWN, address="100.64.0.2", zone="a")])
    woken, before = Woken(known), known.site
    assert before is not None
    assert before.place.addresses == (ip_address("100.64.0.2"),)
    for inside in ("10.16.3.4", "100.64.0.9", "10.96.0.1"):
        assert known.is_inside(ip_address(inside))
    assert not known.is_inside(ip_address("172.30.0.11"))
    for wrong in (node(OWN, zone="a"), node(OWN, address="nonsense", zone="a")):
        known.nodes.store.put(wrong)
        assert known.site == before
    known.nodes.store.remove(f"uid-{OWN}")
    known.subnets.store.put(subnet("ovn-default", ""))
    assert known.site == before
    assert "site" not in woken.take()
    known.nodes.store.put(node(OWN, address="100.64.0.2", zone="b"))
    known.subnets.store.put(subnet("ovn-default", "10.17.0.0/16"))
    assert "site" in woken.take()
    assert not known.is_inside(ip_address("10.16.3.4"))
    assert known.site is not None
    assert known.site.place.zone == "b"


# The networks of Services


def texts(of: View) -> list[str] | None:
    return None if of.service_networks is None else [str(each) for each in of.service_networks]


def test_the_networks_of_services_are_known_when_all_that_decides_about_them_is(blank: View) -> None:
    blank.nodes.store.replace([node(OWN, "172.30.0.11")], 0.0)
    blank.subnets.store.replace([subnet("ovn-default", "10.16.0.0/16")], 0.0)
    assert texts(blank) is None
    woken = Woken(blank)
    blank.cidrs.store.do_without()
    assert texts(blank) == ["10.96.0.0/12"], "an API server without the kind has none"
    assert "networks of Services" in woken.take()


def test_a_service_cidr_counts_from_when_it_comes_until_it_goes() -> None:
    known = view()
    woken, names_there = Woken(known), known.directory("cluster.local")
    known.cidrs.store.put(service_cidr("kubernetes", "10.96.0.0/12"))
    assert not woken.take()
    known.cidrs.store.put(service_cidr("extra", "172.20.0.0/16"))
    assert woken.take() == {"networks of Services", "site"}
    assert texts(known) == ["10.96.0.0/12", "172.20.0.0/16"]
    assert known.is_inside(ip_address("172.20.0.9"))
    assert known.site is not None
    assert known.site.services == known.service_networks
    assert answers(names_there, "9.0.20.172.in-addr.arpa"), "the reverse names are the cluster's"
    known.cidrs.store.remove("cidr-uid-extra")
    assert texts(known) == ["10.96.0.0/12"]
    assert not known.is_inside(ip_address("172.20.0.9"))
    assert not answers(names_there, "9.0.20.172.in-addr.arpa")


def answers(of: Directory, name: str) -> bool:
    return of.answer(dns.message.make_query(name, "PTR")) is not None


@pytest.mark.parametrize(
    "rival",
    [
        subnet("blue", "172.20.5.0/24"),
        subnet("join", "172.20.0.0/16"),
        node("node2", "172.20.0.12"),
    ],
)
def test_what_a_subnet_or_a_node_has_is_not_routed_to_services(rival: Node | Subnet) -> None:
    known = view(cidrs=[service_cidr("extra", "172.20.0.0/16")])
    assert texts(known) == ["10.96.0.0/12", "172.20.0.0/16"]
    put(known, rival)
    assert texts(known) == ["10.96.0.0/12"]
    remove(known, rival.metadata.uid)
    assert texts(known) == ["10.96.0.0/12", "172.20.0.0/16"]


# Services


def service(name: str, *, node_port: int = 0, uid: str = "", policy: str = "Cluster") -> Service:
    return Service(
        metadata=ObjectMeta(name=name, namespace="team", uid=uid or f"uid-{name}"),
        spec=ServiceSpec(
            cluster_ips=("10.96.0.80",),
            ports=(ServicePort(port=80, node_port=node_port),),
            external_traffic_policy=policy,
        ),
    )


def slice_of(of: str, *addresses: str, name: str = "slice") -> EndpointSlice:
    labels = {names.SERVICE_OF_SLICE: of} if of else {}
    return EndpointSlice(
        metadata=ObjectMeta(name=name, namespace="team", uid=f"uid-{name}", labels=labels),
        address_type="IPv4",
        endpoints=tuple(Endpoint(addresses=(address,), node_name=OWN) for address in addresses),
        ports=(EndpointPort(port=8080),),
    )


def handled(of: View) -> list[str]:
    return sorted(each.name for each in of.node_services or ())


def only(of: View) -> NodeService:
    (found,) = of.node_services or ()
    return found


def local(of: View) -> list[str]:
    """The endpoints that clients outside are led to."""
    target = only(of).entries[-1].outside
    assert isinstance(target, Direct)
    return [str(address) for address, _ in target.endpoints]


def test_no_service_is_known_before_all_that_decides_about_it_is(blank: View) -> None:
    steps: list[Callable[[], object]] = [
        lambda: blank.services.store.replace([service("web", node_port=30080)], 0.0),
        lambda: blank.slices.store.replace([], 0.0),
        lambda: blank.nodes.store.replace([node(OWN)], 0.0),
        lambda: blank.subnets.store.replace([subnet("ovn-default", "10.16.0.0/16")], 0.0),
        lambda: blank.cidrs.store.do_without(),
    ]
    for step in steps:
        assert blank.node_services is None
        step()
    assert handled(blank) == ["web"]


def test_services_that_a_node_does_nothing_for_wake_nothing() -> None:
    known = view([service("web")], [slice_of("web", "10.16.0.5")])
    woken = Woken(known)
    assert handled(known) == []
    known.services.store.put(service("other"))
    known.slices.store.put(slice_of("web", "10.16.0.6"))
    assert not woken.take()


def test_endpoints_behind_the_services_own_address_wake_nothing() -> None:
    known = view([service("web", node_port=30080)])
    woken = Woken(known)
    known.slices.store.put(slice_of("web", "10.16.0.5"))
    assert not woken.take()


def test_endpoints_among_which_the_node_chooses() -> None:
    known = view([service("web", node_port=30080, policy="Local")])
    woken, slices = Woken(known), known.slices.store
    assert local(known) == []
    slices.put(slice_of("web", "10.16.0.5"))
    assert woken.take() == {"services"}
    assert local(known) == ["10.16.0.5"]
    slices.put(slice_of("web", "10.16.0.7", name="second"))
    assert local(known) == ["10.16.0.5", "10.16.0.7"]
    slices.put(slice_of("other", "10.16.0.7", name="second"))
    assert local(known) == ["10.16.0.5"], "a slice may become another Service's"
    slices.remove("uid-slice")
    assert local(known) == []


def test_a_slice_may_come_before_its_service() -> None:
    known = view(slices=[slice_of("web", "10.16.0.5"), slice_of("", "10.16.0.6", name="of no Service")])
    known.services.store.put(service("web", node_port=30080, policy="Local"))
    assert local(known) == ["10.16.0.5"]


def test_a_node_handles_a_service_with_an_endpoint_outside_the_fabric() -> None:
    known = view([service("web")], [slice_of("web", "172.30.0.1")])
    assert local(known) == ["172.30.0.1"]
    known.subnets.store.put(subnet("nodes", "172.30.0.0/24"))
    assert handled(known) == [], "a Subnet has the address now"
    known.subnets.store.remove("uid-nodes")
    assert handled(known) == ["web"]
    known.slices.store.put(slice_of("web", "10.16.0.5"))
    assert handled(known) == []


def test_a_service_made_anew_under_its_name() -> None:
    known = view([service("web", node_port=30080)])
    known.services.store.put(service("web", node_port=30081, uid="another"))
    assert only(known).entries[0].front.port == 30081
    known.services.store.remove("another")
    assert handled(known) == []


def test_a_wrong_address_stops_no_other_service() -> None:
    known = view([service("web", node_port=30080)])
    wrong = service("other", node_port=30081)
    broken = msgspec.structs.replace(wrong, spec=msgspec.structs.replace(wrong.spec, external_ips=("nonsense",)))
    known.services.store.put(broken)
    known.slices.store.put(slice_of("web", "nonsense"))
    assert handled(known) == ["other", "web"]


def test_health_checks_count_the_endpoints_on_this_node() -> None:
    made = service("web", node_port=30080, policy="Local")
    spec = msgspec.structs.replace(made.spec, type="LoadBalancer", health_check_node_port=31000)
    known = view([msgspec.structs.replace(made, spec=spec)], [slice_of("web", "10.16.0.5", "10.16.0.6")])
    assert (only(known).health_port, only(known).local) == (31000, 2)


# Any history

Thing: TypeAlias = Node | Subnet | Service | EndpointSlice | ServiceCIDR


def things() -> Iterator[Thing]:
    for zone in ("a", "b"):
        yield node(OWN, "172.30.0.11", address="100.64.0.2", zone=zone)
    yield from (node("node2", "172.30.0.12"), node("node2", "172.30.0.13"))
    for name, cidr in (("a", "10.16.0.0/16"), ("a", "10.17.0.0/16"), ("b", "172.30.0.0/24"), ("b", "")):
        yield from (subnet(name, cidr), subnet(name, cidr, uid=f"another {name}"))
    for name in ("web", "db"):
        for policy in ("Local", "Cluster"):
            yield from (service(name, node_port=port, policy=policy, uid=f"{name} {port}") for port in (0, 30080))
        for address in ("10.16.0.5", "172.30.0.1"):
            yield from (slice_of(name, address, name=each) for each in ("slice", "second"))
    for text in ("172.30.0.0/24", "10.17.0.0/24", "172.20.0.0/16"):
        yield from (service_cidr(name, text) for name in ("extra", "more"))


def put(of: View, thing: Thing) -> None:
    match thing:
        case Node():
            of.nodes.store.put(thing)
        case Subnet():
            of.subnets.store.put(thing)
        case Service():
            of.services.store.put(thing)
        case EndpointSlice():
            of.slices.store.put(thing)
        case ServiceCIDR():
            of.cidrs.store.put(thing)


def remove(of: View, uid: str) -> None:
    for kind in (of.nodes, of.subnets, of.services, of.slices, of.cidrs):
        kind.store.remove(uid)


STEP = st.tuples(st.sampled_from(list(things())), st.sampled_from([True, True, True, False]))


@given(st.lists(STEP, min_size=15, max_size=40))
def test_a_view_is_what_a_new_one_would_be(steps: Sequence[tuple[Thing, bool]]) -> None:
    old = view(nodes=[])
    old.directory("cluster.local")
    for thing, come in steps:
        if come:
            put(old, thing)
        else:
            remove(old, thing.metadata.uid)
        assert old.graph.verify() == []
    new = View(Settings(node_name=OWN))
    new.nodes.store.replace(old.nodes.store.objects.values(), 0.0)
    new.subnets.store.replace(old.subnets.store.objects.values(), 0.0)
    new.services.store.replace(old.services.store.objects.values(), 0.0)
    new.slices.store.replace(old.slices.store.objects.values(), 0.0)
    new.cidrs.store.replace(old.cidrs.store.objects.values(), 0.0)
    assert old.service_networks == new.service_networks
    assert (old.own, old.all_addresses, old.node_subnets) == (new.own, new.all_addresses, new.node_subnets)
    if new.own is not None and new.node_subnets:  # else the old one keeps what it knew
        assert old.site == new.site
        assert old.handled.values == new.handled.values


def test_a_pod_that_leaves_is_noticed(blank: View) -> None:
    left: list[str] = []
    blank.pods.objects.listen(lambda name, before, now: left.append(name[1]) if now is None else None)
    pod = Pod(metadata=ObjectMeta(name="web", namespace="team", uid="one"))
    blank.pods.store.replace([pod], 0.0)
    assert left == []
    blank.pods.store.put(msgspec.structs.replace(pod, metadata=ObjectMeta(name="web", namespace="team", uid="two")))
    assert left == ["web"], "the one before is gone"
