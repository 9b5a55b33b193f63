"""What the user of a Pod is told of the Pod's annotations: those that cannot be used, and wishes that lost."""

import pytest

from kube_ovn.model import names
from kube_ovn.model.kube import Object, Pod
from kube_ovn.model.nb import DhcpOptions, LogicalSwitchPort
from kube_ovn.model.routes import MOST_ROUTES, parse_routes
from kube_ovn.model.row import RowKey
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.subnets.options import MOST_TOLD, parse_dhcp_options
from tests.small_clusters import (
    Api,
    address,
    fabric,
    namespace,
    node,
    pod,
    pool,
    reservation,
    show,
    stateful_set,
    subnet,
)

BLUE, TWO = subnet("blue", "10.20.0.0/24"), subnet("two", "10.21.0.0/24,fd21::/120")


class World:
    """A Namespace, a Node, two Subnets, and what users were told so far."""

    def __init__(self, *objects: Object) -> None:
        self.api, self.topology = Api(node("node1", 1)), Topology(fabric())
        self.messages: list[str] = []
        self.put(namespace("default"), BLUE, TWO)
        self.put(*objects)

    def put(self, *objects: Object) -> None:
        """Put objects and settle; every message on the way is kept, as each becomes an Event."""
        self.api.put(*objects)
        for _ in range(20):
            show(self.topology, self.api.snapshot())
            self.messages += [each.message for each in self.topology.take_changed_told().values() if each is not None]
            if not (writes := list(self.topology.writes.values())):
                return
            for write in writes:
                self.api.write(write)
        raise AssertionError("not settled")

    @property
    def holds(self) -> bool:
        """Whether the Pod has an address."""
        return "uid-a" in self.topology.grants


def wishing(**annotations: str) -> Pod:
    """Pod `a` in Subnet `blue` with these annotations of ours; `_` stands for `-` in those about DHCP."""
    keys = {key: f"ovn.kubernetes.io/{key.replace('_', '-') if key.startswith('dhcp') else key}" for key in annotations}
    made = {keys[key]: text for key, text in annotations.items()}
    return pod("a", annotations={names.LOGICAL_SWITCH: "blue", **made})


# --- Values that cannot be used ---


@pytest.mark.parametrize(
    ("key", "text", "right"),
    [
        ("ip_address", "10.20.0.300", "'10.20.0.300' is not an IP address"),
        ("mac_address", "nonsense", "'nonsense' is not a MAC address like"),
        ("ip_pool", "10.20.0.3;few", "'few' is not an IP address"),
        ("ip_family", "IPv4", "is 'IPv4'; it must be ipv4 or ipv6"),
        ("ip_pool", "10.20.0.8..10.20.0.9", "is no address: list single addresses, joined by `;`"),
        ("routes", "{", "is not a list of routes like [{"),
        ("routes", '["10.0.0.0/8"]', "is not a list of routes like [{"),
        ("routes", '[{"dst": "10.0.0.0/8"}]', "the route to 10.0.0.0/8 has no gateway; add gw"),
        ("routes", '[{"dst": "ten", "gw": "10.20.0.9"}]', "dst 'ten' is not a CIDR like 10.0.0.0/8"),
        ("routes", '[{"gw": "here"}]', "gw 'here' is not an IP address"),
        ("routes", '[{"dst": "fd00::/8", "gw": "10.20.0.9"}]', "are of different IP families"),
        ("routes", '[{"gw": "10.99.0.9"}]', "gateway 10.99.0.9 is no host in the CIDR 10.20.0.0/24 of subnet blue"),
        ("routes", '[{"gw": "10.20.0.255"}]', "gateway 10.20.0.255 is no host in the CIDR 10.20.0.0/24 of subnet blue"),
        ("routes", '[{"gw": "fd20::9"}]', "gateway fd20::9 is IPv6, and the Pod gets no IPv6 address in subnet blue"),
    ],
)
def test_a_pod_with_a_wrong_wish_holds_no_address(key: str, text: str, right: str) -> None:
    world = World(wishing(**{key: text}))
    (told,) = world.topology.problems.values()
    assert f"ovn.kubernetes.io/{key}" in told.message
    assert right in told.message
    assert not world.holds
    assert world.topology.graph.verify() == []


@pytest.mark.parametrize(
    ("key", "text", "right"),
    [
        ("port_security", "yes", "is 'yes'; it must be true or false"),
        ("port_vips", "nonsense", "'nonsense' is no address"),
        ("dhcp_v4_options", "lease_time", "'lease_time' is not of the form key=value"),
        ("dhcp_v4_options", "lease_tme=60", "lease_tme is no option of OVN for DHCPv4; did you mean lease_time?"),
        ("dhcp_v4_options", "lease_time=soon", "lease_time is 'soon'; it must be a number up to 4294967295"),
        ("dhcp_v4_options", "mtu=70000", "mtu is '70000'; it must be a number up to 65535"),
        ("dhcp_v4_options", "dns_server=fd00::1", "it must be an IPv4 address, or some in braces"),
        ("dhcp_v4_options", "domain_name=example.org", "it must be a text in double quotes"),
        ("dhcp_v6_options", "router=fd00::1", "router is no option of OVN"),
        ("dhcp_v6_options", "dns_server=10.20.0.9", "it must be an IPv6 address, or some in braces"),
    ],
)
def test_what_is_left_out_of_a_port_is_told(key: str, text: str, right: str) -> None:
    world = World(wishing(**{key: text}))
    (told,) = world.topology.problems.values()
    assert key.replace("_", "-") in told.message.replace("_", "-")
    assert right in told.message
    assert world.holds


def test_an_unknown_option_takes_no_other_with_it() -> None:
    """OVN gives a port no answer at all when one of its options is unknown."""
    world = World(wishing(dhcp_v4_options='lease_time=60,colour=blue,domain_name="example.org"'))
    (row,) = (row for row in world.topology.state.values() if isinstance(row, DhcpOptions))
    assert row.options["lease_time"] == "60"
    assert row.options["domain_name"] == '"example.org"'
    assert "colour" not in row.options


def test_many_wrong_options_are_told_in_part() -> None:
    right, faults = parse_dhcp_options(",".join(f"odd{number}=1" for number in range(300)) + ",mtu=1400", 4)
    assert right == {"mtu": "1400"}
    assert len(faults) == MOST_TOLD


def test_options_of_a_subnet_are_checked_alike() -> None:
    world = World(subnet("blue", "10.20.0.0/24", enable_dhcp=True, dhcp_v4_options="mtu=1400,colour=blue"))
    (told,) = world.topology.problems.values()
    assert "dhcpV4Options: colour is no option of OVN" in told.message
    (row,) = (row for row in world.topology.state.values() if isinstance(row, DhcpOptions))
    assert row.options["mtu"] == "1400"
    assert "colour" not in row.options


def test_open_ports_have_unreadable_addresses_told() -> None:
    world = World(namespace("default", {names.PERMIT_SPOOFING: "true"}), wishing(port_security="false", port_vips="no"))
    (told,) = world.topology.problems.values()
    assert told.message == f"{names.PORT_VIPS}: 'no' is no address; write addresses, joined by commas"


@pytest.mark.parametrize("text", ["", " ", "[]"])
def test_no_route_is_no_fault(text: str) -> None:
    assert parse_routes(text) == ()
    assert World(wishing(routes=text)).messages == []


def test_routes_are_bounded() -> None:
    many = ",".join('{"gw": "10.20.0.9"}' for _ in range(MOST_ROUTES + 1))
    with pytest.raises(ValueError, match=f"has {MOST_ROUTES + 1} routes; {MOST_ROUTES} are the most"):
        parse_routes(f"[{many}]")
    with pytest.raises(ValueError, match="is not a list of routes"):
        parse_routes("[" * 100_000)
    with pytest.raises(ValueError, match="is not a list of routes"):
        parse_routes('[{"x":' * 100_000)


# --- Routes, and the Subnet that they need ---


def test_a_pod_gets_the_subnet_that_has_its_gateway() -> None:
    wish = {
        names.LOGICAL_SWITCH: "blue,two",
        names.ROUTES: '[{"gw": "10.21.0.9"}, {"gw": "fd21::9"}, {"gw": "fe80::9"}]',
    }
    world = World(pod("a", annotations=wish))
    assert world.topology.grants["uid-a"].subnet == "two"
    assert not world.topology.problems


def test_of_a_list_the_entries_in_that_subnet_are_left() -> None:
    wish = {names.LOGICAL_SWITCH: "blue,two", names.IP_FAMILY: "ipv4", names.ROUTES: '[{"gw": "10.21.0.9"}]'}
    world = World(pod("a", annotations={**wish, names.IP_POOL: "10.20.0.7;10.21.0.7"}))
    assert world.topology.grants["uid-a"].subnet == "two"
    world = World(pod("a", annotations={**wish, names.IP_POOL: "10.20.0.7;10.20.0.8"}))
    assert "gateway 10.21.0.9 is no host in the CIDR 10.20.0.0/24 of subnet blue" in world.messages[0]
    assert not world.holds


def test_a_route_needs_an_address_of_its_family() -> None:
    wish = {names.LOGICAL_SWITCH: "two", names.IP_FAMILY: "ipv4", names.ROUTES: '[{"gw": "fd21::9"}]'}
    world = World(pod("a", annotations=wish))
    assert "gateway fd21::9 is IPv6, and the Pod gets no IPv6 address in subnet two" in world.messages[0]


def test_a_pod_gets_an_address_when_its_routes_are_mended() -> None:
    world = World(wishing(routes="nonsense"))
    assert not world.holds
    world.put(wishing(routes='[{"gw": "10.20.0.9"}]'))
    assert world.holds
    assert not world.topology.problems


def test_the_next_pod_of_a_name_waits_with_wrong_routes_and_its_address_is_kept() -> None:
    web = stateful_set("web", 1)
    world = World(web, pod("web-0", parent=web, annotations={names.LOGICAL_SWITCH: "blue"}))
    held = address(world.api.get(Pod, "web-0", "default"))
    world.api.remove(world.api.get(Pod, "web-0", "default").metadata.uid)
    world.put()
    wish = {names.LOGICAL_SWITCH: "blue", names.ROUTES: '[{"gw": "10.99.0.9"}]'}
    world.put(pod("web-0", parent=web, annotations=wish, uid="next"))
    assert names.ALLOCATED not in world.api.get(Pod, "web-0", "default").metadata.annotations
    assert "gateway 10.99.0.9 is no host" in world.topology.problems["next"].message
    wish = {**wish, names.ROUTES: '[{"gw": "10.20.0.99"}]'}
    world.put(pod("web-0", parent=web, annotations=wish, uid="next"))
    assert address(world.api.get(Pod, "web-0", "default")) == held


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({names.ROUTES: '[{"gw": "10.99.0.9"}]'}, "gateway 10.99.0.9 is no host"),
        ({names.IP_FAMILY: "both"}, names.IP_FAMILY),
    ],
)
def test_a_pod_with_a_reservation_waits_for_annotations_that_can_be_used(wish: dict[str, str], said: str) -> None:
    world = World(reservation("a.default", "blue", "10.20.0.5"), pod("a", annotations=wish))
    assert said in world.topology.problems["uid-a"].message
    assert names.ALLOCATED not in world.api.get(Pod, "a", "default").metadata.annotations
    world.put(pod("a"))
    assert address(world.api.get(Pod, "a", "default")) == "10.20.0.5"
    assert not world.topology.problems


def test_a_reservation_that_goes_leaves_nothing_to_a_pod_that_was_not_given_it() -> None:
    wish = {names.LOGICAL_SWITCH: "blue", names.ROUTES: '[{"gw": "10.99.0.9"}]'}
    world = World(reservation("a.default", "blue", "10.20.0.5"), pod("a", annotations=wish))
    world.api.remove("ip-uid-a.default")
    world.put()
    assert "gateway 10.99.0.9 is no host" in world.topology.problems["uid-a"].message
    assert not {"uid-a", "ip-uid-a.default"} & world.topology.grants.keys()


def test_wrong_routes_of_a_pod_that_runs_are_told_and_it_keeps_its_port() -> None:
    world = World(wishing())
    there = world.api.get(Pod, "a", "default")
    annotations = {**there.metadata.annotations, names.ROUTES: '[{"gw": "10.99.0.9"}]'}
    world.put(pod("a", annotations=annotations, reported=address(there)))
    assert "gateway 10.99.0.9 is no host" in world.topology.problems["uid-a"].message
    assert RowKey(LogicalSwitchPort.TABLE, "a.default") in world.topology.state
    assert world.holds


# --- Wishes that lost ---


def test_a_reservation_wins_over_the_wishes_of_its_pod() -> None:
    wish = {"ip_address": "10.20.0.9", "mac_address": "0a:00:00:00:00:09"}
    world = World(reservation("a.default", "two", "10.21.0.5", "0a:00:00:00:00:05"), wishing(**wish))
    assert str(world.topology.grants["ip-uid-a.default"].addresses[0]) == "10.21.0.5"
    (told,) = {each for each in world.messages if "lost" in each}
    for key, asked in {**wish, "logical_switch": "blue"}.items():
        assert f"ovn.kubernetes.io/{key} asks for {asked}" in told
    assert "IP a.default reserves 10.21.0.5 for this Pod: change that IP, or the annotation" in told
    assert not world.topology.problems, "the annotations say what the Pod has now"


def test_what_is_kept_for_a_name_wins_over_the_mac_of_the_next_pod() -> None:
    web = stateful_set("web", 1)
    world = World(web, pod("web-0", parent=web))
    there = world.api.get(Pod, "web-0", "default")
    world.api.remove(there.metadata.uid)
    world.put(pod("web-0", parent=web, uid="next", annotations={names.MAC_ADDRESS: "0a:00:00:00:00:09"}))
    (told,) = {each for each in world.messages if "lost" in each}
    assert f"{names.MAC_ADDRESS} asks for 0a:00:00:00:00:09" in told
    assert f"IP web-0.default keeps {address(there)} for each Pod of this name" in told


def test_an_address_wins_over_a_pool() -> None:
    world = World(pool("few", "blue", "10.20.0.64..10.20.0.70"), wishing(ip_pool="few", ip_address="10.20.0.9"))
    assert world.messages == [
        f"{names.IP_POOL} asks for few, and lost: {names.IP_ADDRESS} names 10.20.0.9; remove one of the two"
    ]
    inside = World(pool("few", "blue", "10.20.0.64..10.20.0.70"), wishing(ip_pool="few", ip_address="10.20.0.66"))
    assert inside.messages == []


def test_a_list_wins_over_an_address() -> None:
    world = World(wishing(ip_pool="10.20.0.7;10.20.0.8", ip_address="10.20.0.9"))
    assert str(world.topology.grants["uid-a"].addresses[0]) == "10.20.0.7"
    assert world.messages == [
        f"{names.IP_ADDRESS} asks for 10.20.0.9, and lost: {names.IP_POOL} lists 10.20.0.7; remove one of the two"
    ]


def test_a_pool_of_another_subnet_is_refused() -> None:
    world = World(pool("few", "two", "10.21.0.64..10.21.0.70"), wishing(ip_pool="few"))
    (told,) = world.messages
    assert f"IPPool few is of subnet two, but annotation {names.LOGICAL_SWITCH} asks for blue" in told
    assert not world.holds


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("ip_address", "10.20.0.99"),
        ("logical_switch", "two"),
        ("ip_family", "ipv6"),
        ("ip_pool", "10.20.0.99;10.20.0.98"),
    ],
)
def test_a_pod_that_runs_keeps_what_it_has(key: str, text: str) -> None:
    world = World(wishing())
    there = world.api.get(Pod, "a", "default")
    annotations = {**there.metadata.annotations, f"ovn.kubernetes.io/{key}": text}
    world.put(pod("a", annotations=annotations, reported=address(there)))
    (told,) = {each for each in world.messages if "lost" in each}
    assert f"ovn.kubernetes.io/{key} asks for {text.replace(';', ' or ')}" in told
    assert f"the Pod has had {address(there)} since it started: delete the Pod" in told


def test_a_pod_that_was_given_its_address_is_told_how_to_ask_anew() -> None:
    world = World(wishing())
    there = world.api.get(Pod, "a", "default")
    world.put(pod("a", annotations={**there.metadata.annotations, names.IP_ADDRESS: "10.20.0.99"}))
    (told,) = {each for each in world.messages if "lost" in each}
    assert told.endswith(
        f"lost: the Pod was given {address(there)} before: delete the Pod, so that the next one asks anew"
    )


def test_a_kind_of_interface_that_is_not_there_is_told() -> None:
    world = World(wishing(pod_nic_type="dpdk-port"))
    assert world.messages == [
        f"{names.POD_NIC_TYPE} asks for 'dpdk-port', and lost: veth-pair is the only one yet; remove it"
    ]


def test_a_pod_that_has_what_it_asked_for_is_told_nothing() -> None:
    few = pool("few", "two", "10.21.0.64..10.21.0.70")
    wish = {names.IP_POOL: "few", names.IP_FAMILY: "ipv4", names.MAC_ADDRESS: "0A-00-00-00-00-09"}
    world = World(few, pod("a", annotations=wish))
    there = world.api.get(Pod, "a", "default")
    world.put(pod("a", annotations=dict(there.metadata.annotations), reported=address(there)))
    world.put(pool("few", "two", "10.21.0.80..10.21.0.90"))
    assert world.messages == []


# --- Namespaces ---


@pytest.mark.parametrize("cidr", ["", "10.20.0.0/24"])
def test_the_shape_of_a_subnet_that_annotations_do_not_make_is_told(cidr: str) -> None:
    shape = {names.LOGICAL_SWITCH: "blue", names.PRIVATE: "true", names.GATEWAY_TYPE: "centralized"}
    world = World(namespace("default", **shape, **({names.CIDR: cidr} if cidr else {})), pod("a"))
    assert world.messages == [
        f"annotations {names.GATEWAY_TYPE},{names.PRIVATE} do nothing: they shape a subnet that annotations make, and "
        "Subnet blue is an object of its own; change its spec, or remove them"
    ]
    assert world.topology.grants["uid-a"].subnet == "blue"


def test_a_namespace_that_has_what_it_asked_for_is_told_nothing() -> None:
    shape = {names.LOGICAL_SWITCH: "own", names.CIDR: "10.40.0.0/24", names.PRIVATE: "true"}
    world = World(namespace("default", **shape), pod("a"))
    assert world.messages == []
    assert world.topology.grants["uid-a"].subnet == "own"
