"""What a Pod's annotations make of its interface and its port, and when a sandbox is over."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest

from kube_ovn.host.pod import (
    format_alias,
    is_over,
    is_recorded,
    parse_alias,
    parse_network,
    pod_mtu,
    render_lost,
    render_sandbox,
    sandbox_of,
    select_over,
)
from kube_ovn.model import names
from kube_ovn.model.crd import IP, IPSpec
from kube_ovn.model.host import Link, Sandbox
from kube_ovn.model.kube import ObjectMeta, Pod
from kube_ovn.model.row import Member, RowKey
from tests.node_view import GRANTED
from tests.small_clusters import refer, stateful_set

DUAL = {
    names.IP_ADDRESS: "10.16.0.5,fd00::5",
    names.CIDR: "10.16.0.0/16,fd00::/64",
    names.GATEWAY: "10.16.0.1,fd00::1",
}
SANDBOX = Sandbox(container="c" * 64, interface="eth0", netns="/run/netns/x", namespace="ns", pod="a.b", uid="u")


def pod(**annotations: str) -> Pod:
    return Pod(metadata=ObjectMeta(name="a.b", namespace="ns", uid="u", annotations=annotations))


def test_nothing_until_allocated() -> None:
    assert parse_network(pod()) is None
    assert parse_network(pod(**{**GRANTED, names.ALLOCATED: "false"})) is None


def test_network_of_two_families() -> None:
    network = parse_network(pod(**{**GRANTED, **DUAL}))
    assert network is not None
    assert list(map(str, network.interfaces)) == ["10.16.0.5/16", "fd00::5/64"]
    assert list(map(str, network.routes)) == ["0.0.0.0/0 via 10.16.0.1", "::/0 via fd00::1"]


@pytest.mark.parametrize(
    ("changes", "recorded"),
    [
        ({}, True),
        ({"owner_uid": ""}, True),  # a reservation
        ({"mac_address": ""}, True),  # it leaves the MAC address open until it is completed
        ({"mac_address": "0A-00-00-00-00-05"}, True),
        ({"ip_address": "", "v6_ip_address": "fd00::5", "v4_ip_address": "10.16.0.5"}, True),
        ({"ip_address": "fd00::5,10.16.0.5"}, True),
        ({"ip_address": "10.16.0.5"}, False),
        ({"ip_address": "10.16.0.6,fd00::5"}, False),
        ({"ip_address": ""}, False),
        ({"mac_address": "0a:00:00:00:00:06"}, False),
        ({"mac_address": "nonsense"}, False),
        ({"subnet": "other"}, False),
        ({"owner_uid": "of a former Pod"}, False),
    ],
)
def test_annotations_are_held_to_what_is_recorded(changes: dict[str, str], recorded: bool) -> None:
    told = pod(**{**GRANTED, **DUAL})
    network = parse_network(told)
    assert network is not None
    spec = IPSpec(subnet="ovn-default", ip_address="10.16.0.5,fd00::5", mac_address="0a:00:00:00:00:05", owner_uid="u")
    ip = IP(metadata=ObjectMeta(name="a.b.ns", uid="r"), spec=msgspec.structs.replace(spec, **changes))
    assert is_recorded(told, network, ip) is recorded


@pytest.mark.parametrize(
    ("changes", "recorded"),
    [
        ({}, True),
        ({"api_version": "apps.example.com/v1"}, False),
        ({"kind": "ReplicaSet"}, False),
        ({"controller": False}, False),
        ({"name": "other"}, False),
    ],
)
def test_the_record_of_another_object_counts_when_it_is_the_pods_stateful_set(
    changes: dict[str, Any], recorded: bool
) -> None:
    reference = msgspec.structs.replace(refer(stateful_set("web", 1)), **changes)
    meta = ObjectMeta(name="web-0", namespace="ns", uid="u", annotations=GRANTED, owner_references=(reference,))
    told = Pod(metadata=meta)
    network = parse_network(told)
    assert network is not None
    address = str(network.interfaces[0].address)
    spec = IPSpec(
        subnet=GRANTED[names.LOGICAL_SWITCH],
        ip_address=address,
        mac_address=network.mac,
        pod_type=names.STATEFULSET,
        owner_uid=reference.uid,
    )
    assert is_recorded(told, network, IP(metadata=ObjectMeta(name="web-0.ns", uid="r"), spec=spec)) is recorded


def test_users_routes() -> None:
    routes = '[{"dst": "192.168.1.7/24", "gw": "10.16.0.9"}, {"gw": "10.16.0.254"}]'
    network = parse_network(pod(**{**GRANTED, names.ROUTES: routes}))
    assert network is not None
    assert {route.to: route.via for route in network.routes} == {
        ip_network("0.0.0.0/0"): ip_address("10.16.0.254"),
        ip_network("192.168.1.0/24"): ip_address("10.16.0.9"),
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({names.IP_ADDRESS: "10.17.0.5"}, r"10\.17\.0\.5 is not in .*cidr 10\.16\.0\.0/16"),
        ({names.IP_ADDRESS: "fd00::5"}, "fd00::5 is not in"),
        ({names.IP_ADDRESS: "x"}, "'x' is not an IP address"),
        ({names.MAC_ADDRESS: "ff:ff:ff:ff:ff:ff"}, "multicast"),
        ({names.GATEWAY: "fd00::1"}, "has none for 10"),
        ({names.ROUTES: "{"}, "routes is not a list of routes"),
        ({names.ROUTES: '[{"dst": "fd00::/64", "gw": "10.16.0.1"}]'}, "different IP families"),
        ({names.ROUTES: '[{"dst": "10.0.0.0/8"}]'}, "the route to 10.0.0.0/8 has no gateway; add gw"),
    ],
)
def test_wrong_annotations(changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_network(pod(**{**GRANTED, **changes}))


def test_missing_annotation_is_named() -> None:
    annotations = {key: value for key, value in GRANTED.items() if key != names.GATEWAY}
    with pytest.raises(ValueError, match="gateway is missing"):
        parse_network(pod(**annotations))


@pytest.mark.parametrize(("wanted", "mtu"), [(0, 1400), (1300, 1300), (1400, 1400), (9000, 1400)])
def test_mtu_is_what_the_subnet_wants_and_the_node_can(wanted: int, mtu: int) -> None:
    assert pod_mtu(1400, wanted) == mtu


def test_port_of_a_sandbox() -> None:
    network = parse_network(pod(**GRANTED))
    assert network is not None
    rows = render_sandbox(SANDBOX, network)
    link = "cccccccccccc_h"
    interface = rows[RowKey("Interface", link)]
    assert interface is not None
    assert interface.external_ids["iface-id"] == "a.b.ns"
    assert interface.external_ids["vendor"] == "kube-ovn"
    assert set(rows) == {
        RowKey("Interface", link),
        RowKey("Port", link),
        Member("Port", link, "interfaces", link),
        Member("Bridge", "br-int", "ports", link),
    }
    assert sandbox_of(interface) == SANDBOX


@pytest.mark.parametrize(
    ("netns", "link", "uids", "over"),
    [
        (True, True, frozenset(), False),  # the namespace lives: whatever the API server says
        (True, False, frozenset(), False),
        (False, False, None, True),  # both ends are gone
        (False, True, None, False),  # no complete list, no proof
        (False, True, frozenset({"u"}), False),
        (False, True, frozenset({"other"}), True),
    ],
)
def test_proof_that_a_sandbox_is_over(netns: bool, link: bool, uids: frozenset[str] | None, over: bool) -> None:
    assert is_over(SANDBOX, netns, link, uids) is over
    selected = select_over({"l": SANDBOX}, lambda _: netns, frozenset({"l"} if link else ()), uids)
    assert selected == (["l"] if over else [])


def test_lost_port_is_known_from_its_link() -> None:
    """The database of the switch is gone: link and Pod say together what was in it."""
    network = parse_network(pod(**GRANTED))
    assert network is not None
    alias = format_alias(SANDBOX, "u")
    link = Link(index=3, name=SANDBOX.link, mac="", mtu=1400, up=True, alias=alias)
    pods = {"u": pod(**GRANTED)}
    assert render_lost([link], {}, pods) == {SANDBOX.link: render_sandbox(SANDBOX, network)}
    assert render_lost([link], {SANDBOX.link: SANDBOX}, pods) == {}  # it is not lost
    assert render_lost([link], {}, {}) == {}  # its Pod is gone, or not heard of yet
    assert render_lost([link], {}, {"u": pod(**{**GRANTED, names.MAC_ADDRESS: "wrong"})}) == {}
    assert render_lost([replace(link, name="other_h")], {}, pods) == {}
    for foreign in ("", "some words", "kube-ovn but not ours", "x " + alias):
        assert render_lost([replace(link, alias=foreign)], {}, pods) == {}


def test_alias_fits_or_is_left_out() -> None:
    path = "/var/run/netns/cni-01234567-89ab-cdef-0123-456789abcdef"
    usual = replace(SANDBOX, netns=path, interface="fifteen-chars-x")
    alias = format_alias(usual, "01234567-89ab-cdef-0123-456789abcdef")
    assert parse_alias(alias) == replace(usual, namespace="", pod="", uid="01234567-89ab-cdef-0123-456789abcdef")
    assert format_alias(replace(SANDBOX, container="c" * 250), "u") == ""
