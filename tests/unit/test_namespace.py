"""Annotations of a Namespace: which are its user's wish, which the controller's word, and what is written when."""

import json
from collections.abc import Mapping
from dataclasses import replace

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.crd import LabelSelector, SelectorRequirement, Subnet, SubnetSpec
from kube_ovn.model.kube import Namespace, Object, Pod
from kube_ovn.model.writes import Create, Patch
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.subnets.namespace import (
    Wish,
    namespace_ref,
    parse_wish,
    told,
    told_annotations,
    wish_problem,
    wished_spec,
    written,
)
from kube_ovn.topology.subnets.verdict import parse_subnet
from tests.small_clusters import Api, address, fabric, namespace, node, pod, settle, show, subnet

DEFAULT = parse_subnet("ovn-default", "10.16.0.0/16")
BLUE = parse_subnet("blue", "10.20.0.0/24,fd20::/64", exclude=["10.20.0.5..10.20.0.9", "10.20.0.20"])
TOLD = told([DEFAULT], ())
"""What a Namespace that says nothing is told."""


def wish_in(namespace: Namespace, otherwise: Mapping[str, str]) -> Wish:
    known = written(namespace)
    return parse_wish(namespace, otherwise if known is None else known)


def made(**annotations: str) -> Namespace:
    return namespace("ns", None, **annotations)


def told_before(**annotations: str) -> Namespace:
    """A Namespace that was told of the default subnet, with what its user wrote since."""
    return made(**{**TOLD, names.WRITTEN_BACK: json.dumps(TOLD), **annotations})


def after(before: Namespace, changes: dict[str, str | None]) -> Namespace:
    annotations = {**before.metadata.annotations, **changes}
    return made(**{key: text for key, text in annotations.items() if text is not None})


# --- The wish ---


@pytest.mark.parametrize(
    "annotations",
    [
        {},
        {names.LOGICAL_SWITCH: ""},
        {names.LOGICAL_SWITCH: "  "},
        {names.LOGICAL_SWITCH: "ovn-default"},
        {names.LOGICAL_SWITCH: "ovn-default", names.CIDR: "10.16.0.0/16", names.EXCLUDE_IPS: "10.16.0.1"},
        {"example.com/logical_switch": "blue"},
    ],
)
def test_a_namespace_that_says_nothing_else_than_it_is_told_has_no_wish(annotations: dict[str, str]) -> None:
    assert wish_in(made(**annotations), TOLD) == Wish()


def test_what_was_written_back_is_no_wish_whatever_would_be_told_now() -> None:
    assert wish_in(told_before(), told([BLUE], ("few",))) == Wish()


def test_two_cidrs_for_one_subnet_are_a_wish_and_told() -> None:
    wished = wish_in(made(**{names.LOGICAL_SWITCH: "own", names.CIDR: "10.30.0.0/24;fd30::/112"}), {})
    assert wished.shape[names.CIDR] == "10.30.0.0/24;fd30::/112"
    assert "10.30.0.0/24;fd30::/112" in str(wish_problem(wished))


def test_what_differs_from_what_was_written_back_is_a_wish() -> None:
    assert wish_in(told_before(**{names.LOGICAL_SWITCH: "blue, green"}), TOLD) == Wish(switches=("blue", "green"))


def test_a_wish_that_is_what_would_be_told_stays_a_wish_once_there_is_a_record() -> None:
    wishing = made(**{names.LOGICAL_SWITCH: "ovn-default", names.WRITTEN_BACK: "{}"})
    assert wish_in(wishing, TOLD) == Wish(switches=("ovn-default",))


@pytest.mark.parametrize("record", ["nonsense", "[]", "null", '{"a": 1}'])
def test_a_record_that_was_damaged_says_nothing(record: str) -> None:
    damaged = made(**{names.LOGICAL_SWITCH: "blue", names.WRITTEN_BACK: record})
    assert written(damaged) == {}
    assert wish_in(damaged, TOLD) == Wish(switches=("blue",))


def test_pools_may_be_wished_for_alone() -> None:
    assert wish_in(told_before(**{names.IP_POOL: "few,more"}), TOLD) == Wish(pools=("few", "more"))


def test_a_shape_is_what_makes_a_subnet() -> None:
    shape = {names.CIDR: "10.30.0.0/24", names.PRIVATE: "true", names.GATEWAY: "10.30.0.254"}
    wish = wish_in(told_before(**{names.LOGICAL_SWITCH: "own", **shape}), TOLD)
    assert wish == Wish(switches=("own",), shape=shape)
    assert wish.makes == "own"


@pytest.mark.parametrize(
    "wish",
    [
        Wish(),
        Wish(switches=("own",)),
        Wish(shape={names.CIDR: "10.30.0.0/24"}),
        Wish(switches=("own", "two"), shape={names.CIDR: "10.30.0.0/24"}),
        Wish(switches=("own",), shape={names.PRIVATE: "true"}),
    ],
)
def test_without_one_name_and_a_cidr_nothing_is_made(wish: Wish) -> None:
    assert wish.makes is None


# --- What is wrong with it ---


@pytest.mark.parametrize(
    "wish",
    [
        Wish(),
        Wish(switches=("blue", "green"), pools=("few",)),
        Wish(switches=("own",), shape={names.CIDR: "10.30.0.0/24", names.PRIVATE: "false"}),
        Wish(shape={names.EXCLUDE_IPS: "10.16.0.1"}),
    ],
)
def test_a_wish_that_can_be_met_has_no_problem(wish: Wish) -> None:
    assert wish_problem(wish) is None


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Wish(shape={names.CIDR: "10.30.0.0/24"}), f"{names.LOGICAL_SWITCH} must name it, by a name"),
        (Wish(switches=("a", "b"), shape={names.CIDR: "10.30.0.0/24"}), f"{names.LOGICAL_SWITCH} names 2; name one"),
        (Wish(shape={names.PRIVATE: "true"}), f"annotations {names.PRIVATE} need {names.LOGICAL_SWITCH}"),
        (
            Wish(switches=("own",), shape={names.CIDR: "10.30.0.0/24", names.PRIVATE: "yes"}),
            f"annotation {names.PRIVATE} is 'yes'; it must be true or false",
        ),
        (
            Wish(switches=("own",), shape={names.CIDR: "10.30.0.0/24", names.NAT_OUTGOING: "True"}),
            f"annotation {names.NAT_OUTGOING} is 'True'; it must be true or false",
        ),
    ],
)
def test_a_wish_that_cannot_be_met_says_why(wish: Wish, message: str) -> None:
    assert message in (wish_problem(wish) or "")


# --- The Subnet it makes ---


def test_a_spec_has_all_fields_that_annotations_decide() -> None:
    shape = {
        names.CIDR: "10.30.0.0/24",
        names.GATEWAY: "10.30.0.254",
        names.EXCLUDE_IPS: "10.30.0.5..10.30.0.9, 10.30.0.20",
        names.PRIVATE: "true",
        names.ALLOW: "10.16.0.0/16",
        names.GATEWAY_TYPE: "centralized",
        names.GATEWAY_NODE: "node1",
        names.NAT_OUTGOING: "true",
    }
    full = wished_spec(Wish(switches=("own",), shape=shape), ["ns"])
    bare = wished_spec(Wish(switches=("own",), shape={names.CIDR: "10.30.0.0/24"}), ["ns", "two"])
    assert full == {
        "cidrBlock": "10.30.0.0/24",
        "namespaces": ["ns"],
        "gateway": "10.30.0.254",
        "gatewayType": "centralized",
        "gatewayNode": "node1",
        "excludeIps": ["10.30.0.5..10.30.0.9", "10.30.0.20"],
        "allowSubnets": ["10.16.0.0/16"],
        "private": True,
        "natOutgoing": True,
    }
    assert bare == {
        "cidrBlock": "10.30.0.0/24",
        "namespaces": ["ns", "two"],
        "gateway": "",
        "gatewayType": "distributed",
        "gatewayNode": "",
        "excludeIps": [],
        "allowSubnets": [],
        "private": False,
        "natOutgoing": False,
    }


# --- Which Subnets bind it ---


def requirement(operator: str, *values: str) -> LabelSelector:
    return LabelSelector(match_expressions=(SelectorRequirement(key="team", operator=operator, values=values),))


@pytest.mark.parametrize(
    ("spec", "labels", "bound"),
    [
        (SubnetSpec(), {"team": "blue"}, False),
        (SubnetSpec(namespaces=("ns",)), {}, True),
        (SubnetSpec(namespaces=("other",)), {}, False),
        (SubnetSpec(namespace_selectors=(LabelSelector(),)), {}, True),
        (SubnetSpec(namespace_selectors=(LabelSelector(match_labels={"team": "blue"}),)), {"team": "blue"}, True),
        (SubnetSpec(namespace_selectors=(LabelSelector(match_labels={"team": "blue"}),)), {"team": "red"}, False),
        (
            SubnetSpec(namespace_selectors=(LabelSelector(match_labels={"team": "blue", "tier": "1"}),)),
            {"team": "blue"},
            False,
        ),
        (SubnetSpec(namespace_selectors=(requirement("In", "red"), requirement("In", "blue"))), {"team": "blue"}, True),
        (SubnetSpec(namespaces=("other",), namespace_selectors=(requirement("Exists"),)), {"team": ""}, True),
        (SubnetSpec(namespace_selectors=(requirement("In", "blue", "red"),)), {"team": "red"}, True),
        (SubnetSpec(namespace_selectors=(requirement("In", "blue"),)), {}, False),
        (SubnetSpec(namespace_selectors=(requirement("NotIn", "blue"),)), {"team": "red"}, True),
        (SubnetSpec(namespace_selectors=(requirement("NotIn", "blue"),)), {}, True),
        (SubnetSpec(namespace_selectors=(requirement("NotIn", "blue"),)), {"team": "blue"}, False),
        (SubnetSpec(namespace_selectors=(requirement("Exists"),)), {}, False),
        (SubnetSpec(namespace_selectors=(requirement("DoesNotExist"),)), {}, True),
        (SubnetSpec(namespace_selectors=(requirement("DoesNotExist"),)), {"team": "x"}, False),
        (SubnetSpec(namespace_selectors=(requirement("Near", "blue"),)), {"team": "blue"}, False),
    ],
)
def test_a_subnet_binds_by_name_or_by_labels(spec: SubnetSpec, labels: dict[str, str], bound: bool) -> None:
    blue = msgspec.structs.replace(
        subnet("blue", "10.20.0.0/24"), spec=msgspec.structs.replace(spec, cidr_block="10.20.0.0/24")
    )
    api = Api(blue, namespace("ns", labels))
    settle(Topology(fabric()), api)
    assert (api.get(Namespace, "ns").metadata.annotations[names.LOGICAL_SWITCH] == "blue") is bound


def test_one_more_namespace_of_a_shared_subnet_costs_no_look_at_the_others() -> None:
    def sharing(number: int) -> Namespace:
        return namespace(f"n{number}", None, **{names.LOGICAL_SWITCH: "own", names.CIDR: "10.30.0.0/16"})

    api, topology = Api(*map(sharing, range(30))), Topology(fabric(trusts_tenants=True))
    settle(topology, api)
    bound = next(each for each in topology.graph.derivations if each.name == "bound Namespaces")
    before, worked = api.snapshot(), bound.worked
    api.put(sharing(30))
    settle(topology, api, before)
    assert api.get(Subnet, "own").spec.namespaces == (*sorted(f"n{number}" for number in range(30)), "n30")
    assert bound.worked - worked <= 3


# --- What is told ---


def test_told_is_an_entry_a_subnet_with_the_gateways_among_what_is_excluded() -> None:
    assert told([DEFAULT, BLUE], ("few", "more")) == {
        names.LOGICAL_SWITCH: "ovn-default,blue",
        names.CIDR: "10.16.0.0/16;10.20.0.0/24,fd20::/64",
        names.EXCLUDE_IPS: "10.16.0.1;10.20.0.1,fd20::1,10.20.0.5..10.20.0.9,10.20.0.20",
        names.IP_POOL: "few,more",
    }


def test_nothing_is_told_of_no_subnet() -> None:
    assert told([], ()) == {}


def test_a_new_namespace_is_told_everything_with_a_record_of_it() -> None:
    changes = told_annotations(made(), TOLD, Wish())
    assert json.loads(str(changes.pop(names.WRITTEN_BACK))) == TOLD
    assert changes == TOLD


@pytest.mark.parametrize("wanted", [TOLD, told([BLUE], ("few",))])
@pytest.mark.parametrize("before", [made(), told_before(), made(**{names.LOGICAL_SWITCH: "ovn-default"})])
def test_what_was_told_needs_no_word_more_and_is_no_wish(before: Namespace, wanted: dict[str, str]) -> None:
    there = after(before, told_annotations(before, wanted, wish_in(before, TOLD)))
    wish = wish_in(there, TOLD)
    assert wish == Wish()
    assert told_annotations(there, wanted, wish) == {}


def test_what_is_told_no_more_is_removed() -> None:
    before = after(made(), told_annotations(made(), told([BLUE], ("few",)), Wish()))
    changes = told_annotations(before, TOLD, Wish())
    assert changes[names.IP_POOL] is None
    assert changes[names.LOGICAL_SWITCH] == "ovn-default"


def test_what_is_wished_for_is_not_touched() -> None:
    wishing = told_before(**{names.LOGICAL_SWITCH: "blue"})
    changes = told_annotations(wishing, told([BLUE], ()), wish_in(wishing, TOLD))
    assert names.LOGICAL_SWITCH not in changes
    assert changes[names.CIDR] == "10.20.0.0/24,fd20::/64"
    assert names.LOGICAL_SWITCH not in json.loads(str(changes[names.WRITTEN_BACK]))


def test_a_wish_stays_a_wish_after_the_rest_was_told() -> None:
    wishing = told_before(**{names.LOGICAL_SWITCH: "blue"})
    there = after(wishing, told_annotations(wishing, told([BLUE], ()), wish_in(wishing, TOLD)))
    assert wish_in(there, TOLD) == Wish(switches=("blue",))
    assert told_annotations(there, told([BLUE], ()), wish_in(there, TOLD)) == {}


def test_a_wish_that_was_taken_back_gives_way_to_what_is_told() -> None:
    wishing = told_before(**{names.LOGICAL_SWITCH: "blue"})
    there = after(wishing, told_annotations(wishing, told([BLUE], ()), wish_in(wishing, TOLD)))
    back = after(there, {names.LOGICAL_SWITCH: None})
    assert wish_in(back, TOLD) == Wish()
    assert after(back, told_annotations(back, TOLD, Wish())).metadata.annotations == told_before_text()


def told_before_text() -> dict[str, str]:
    record = json.dumps(TOLD, sort_keys=True, separators=(",", ":"))
    return {**TOLD, names.WRITTEN_BACK: record}


def test_what_somebody_undid_is_told_again() -> None:
    undone = after(told_before(), {names.CIDR: None})
    assert told_annotations(undone, TOLD, wish_in(undone, TOLD)) == {names.CIDR: "10.16.0.0/16"}


def test_a_namespace_of_its_own_subnet_keeps_the_annotations_that_make_it() -> None:
    own = replace(DEFAULT, name="own")
    wishing = made(**{names.LOGICAL_SWITCH: "own", names.CIDR: "10.16.0.0/16", names.PRIVATE: "true"})
    wish = wish_in(wishing, told([BLUE], ()))
    there = after(wishing, told_annotations(wishing, told([own], ()), wish))
    assert wish_in(there, told([BLUE], ())) == wish
    assert there.metadata.annotations[names.EXCLUDE_IPS] == "10.16.0.1"


# --- What becomes of it ---


class World:
    """A cluster and its controller, which has done all there is to do after each change."""

    def __init__(self, *objects: Object, trusts_tenants: bool = False) -> None:
        self.api = Api(node("node1", 1), namespace("default"), *objects)
        self.topology = Topology(fabric(trusts_tenants=trusts_tenants))
        self.settle()

    def settle(self, *objects: Object) -> None:
        self.api.put(*objects)
        settle(self.topology, self.api)

    def annotate(self, name: str, changes: dict[str, str | None]) -> None:
        item = self.api.get(Namespace, name)
        merged = {**item.metadata.annotations, **changes}
        kept = {key: text for key, text in merged.items() if text is not None}
        metadata = msgspec.structs.replace(item.metadata, annotations=kept)
        self.settle(msgspec.structs.replace(item, metadata=metadata))

    def spec(self, name: str) -> SubnetSpec:
        return self.api.get(Subnet, name).spec


OWN = {names.LOGICAL_SWITCH: "own", names.CIDR: "10.30.0.0/24"}


def test_annotations_make_a_subnet_and_its_pods_are_in_it() -> None:
    world = World(namespace("ns", None, **OWN, **{names.PRIVATE: "true", names.NAT_OUTGOING: "true"}))
    world.settle(pod("a", namespace="ns"))
    made = world.spec("own")
    assert (made.cidr_block, made.namespaces, made.private, made.nat_outgoing) == ("10.30.0.0/24", ("ns",), True, True)
    assert made.protocol == "IPv4"
    assert address(world.api.get(Pod, "a", "ns")) == "10.30.0.2"
    assert not world.topology.problems


def test_the_user_of_a_namespace_is_told_when_its_subnet_is_refused() -> None:
    api, topology = Api(node("node1", 1)), Topology(fabric())
    settle(topology, api)
    api.put(namespace("team", **{names.LOGICAL_SWITCH: "team", names.CIDR: "10.40.0.0/24"}))
    show(topology, api.snapshot())
    (write,) = (each for each in topology.writes.values() if each.object.name == "team" and isinstance(each, Create))
    assert write.maker == namespace_ref(api.get(Namespace, "team"))
    settle(topology, api)
    api.put(namespace("team", **{names.LOGICAL_SWITCH: "team", names.CIDR: "10.40.0.0/24", names.PRIVATE: "true"}))
    show(topology, api.snapshot())
    (change,) = (each for each in topology.writes.values() if isinstance(each, Patch))
    assert change.maker == write.maker
    assert change.body == {"spec": {"private": True}}


def test_a_subnet_that_an_administrator_makes_meanwhile_stays_as_it_is() -> None:
    api, topology = Api(node("node1", 1)), Topology(fabric())
    settle(topology, api)
    api.put(namespace("ns", None, **OWN))
    show(topology, api.snapshot())
    (write,) = (each for each in topology.writes.values() if each.object.name == "own")
    api.put(subnet("own", "10.31.0.0/24"))
    assert not api.write(write), "the decision comes too late"
    settle(topology, api)
    made = api.get(Subnet, "own")
    assert (made.spec.cidr_block, dict(made.metadata.labels)) == ("10.31.0.0/24", {})


def test_a_change_is_for_the_subnet_that_it_was_decided_for() -> None:
    world = World(namespace("ns", None, **OWN))
    world.api.put(namespace("ns", None, **OWN, **{names.PRIVATE: "true"}))
    show(world.topology, world.api.snapshot())
    (change,) = (each for each in world.topology.writes.values() if each.object.name == "own")
    del world.api.objects[world.api.get(Subnet, "own").metadata.uid]
    world.settle(subnet("own", "10.31.0.0/24"))
    assert not world.api.write(change)
    assert not world.spec("own").private


def test_an_administrator_lets_a_namespace_into_a_subnet_that_annotations_make() -> None:
    world = World(namespace("ns", None, **OWN), namespace("two"))
    asking = {names.LOGICAL_SWITCH: "own"}
    world.settle(pod("a", namespace="ns"), pod("b", namespace="two", annotations=asking))
    assert "have an administrator add two to spec.namespaces of Subnet own" in world.topology.problems["uid-b"].message
    own = world.api.get(Subnet, "own")
    world.settle(msgspec.structs.replace(own, spec=msgspec.structs.replace(own.spec, namespaces=("two", "ns"))))
    assert address(world.api.get(Pod, "b", "two")) == "10.30.0.3"
    assert not world.topology.problems
    world.annotate("ns", {names.PRIVATE: "true"})
    assert (world.spec("own").private, world.spec("own").namespaces) == (True, ("two", "ns"))
    world.annotate("ns", dict.fromkeys([*OWN, names.PRIVATE]))
    assert world.api.get(Subnet, "own").metadata.deletion_timestamp, "it is wished for no more"


def test_changed_annotations_change_the_subnet_and_back() -> None:
    world = World(namespace("ns", None, **OWN))
    world.annotate(
        "ns", {names.PRIVATE: "true", names.ALLOW: "10.16.0.0/16", names.EXCLUDE_IPS: "10.30.0.2..10.30.0.9"}
    )
    made = world.spec("own")
    assert (made.private, made.allow_subnets, made.exclude_ips) == (True, ("10.16.0.0/16",), ("10.30.0.2..10.30.0.9",))
    world.annotate("ns", {names.PRIVATE: None, names.ALLOW: None, names.EXCLUDE_IPS: None})
    made = world.spec("own")
    assert (made.private, made.allow_subnets, made.exclude_ips) == (False, (), ())


def test_without_annotations_the_subnet_goes_when_nobody_is_in_it() -> None:
    world = World(namespace("ns", None, **OWN))
    world.settle(pod("a", namespace="ns"))
    world.annotate("ns", dict.fromkeys(OWN))
    assert world.api.get(Subnet, "own").metadata.deletion_timestamp
    world.api.remove("uid-a")
    world.settle()
    assert world.api.find(Subnet, "own") is None
    world.settle(pod("b", namespace="ns"))
    assert address(world.api.get(Pod, "b", "ns")) == "10.16.0.2"
    assert not world.topology.problems


def test_a_namespace_that_is_gone_takes_its_subnet_along() -> None:
    world = World(namespace("ns", None, **OWN))
    world.api.remove("namespace-uid-ns")
    world.settle()
    assert world.api.find(Subnet, "own") is None


def test_two_trusted_namespaces_share_a_subnet_until_both_are_gone() -> None:
    world = World(namespace("one", None, **OWN), namespace("two", None, **OWN), trusts_tenants=True)
    assert world.spec("own").namespaces == ("one", "two")
    world.api.remove("namespace-uid-one")
    world.settle()
    assert world.spec("own").namespaces == ("two",)
    assert not world.topology.problems


def test_somebodys_own_subnet_is_used_and_not_changed() -> None:
    mine = subnet("own", "10.30.0.0/24", private=True)
    world = World(mine, namespace("ns", None, **OWN))
    world.settle(pod("a", namespace="ns"))
    assert world.spec("own").private
    assert address(world.api.get(Pod, "a", "ns")) == "10.30.0.2"
    world.annotate("ns", dict.fromkeys(OWN))
    assert world.api.find(Subnet, "own") is not None


def test_somebodys_own_subnet_with_another_cidr_is_told() -> None:
    world = World(subnet("own", "10.31.0.0/24"), namespace("ns", None, **OWN))
    world.settle(pod("a", namespace="ns"))
    assert (
        "Subnet own is an object of its own with CIDR 10.31.0.0/24"
        in world.topology.problems["namespace-uid-ns"].message
    )
    assert world.spec("own").cidr_block == "10.31.0.0/24"
    assert names.ALLOCATED not in world.api.get(Pod, "a", "ns").metadata.annotations


def test_a_subnet_that_cannot_be_is_told_on_its_namespace_and_pods_wait() -> None:
    world = World(namespace("ns", None, **{**OWN, names.CIDR: "10.96.0.0/24"}))
    world.settle(pod("a", namespace="ns"))
    assert "overlaps the Service CIDR" in world.topology.problems["namespace-uid-ns"].message
    assert "overlaps the Service CIDR" in world.topology.problems["uid-a"].message
    world.annotate("ns", {names.CIDR: "10.30.0.0/24"})
    assert address(world.api.get(Pod, "a", "ns")) == "10.30.0.2"
    assert not world.topology.problems


def test_labels_bind_and_let_go() -> None:
    selector = (LabelSelector(match_labels={"team": "blue"}),)
    world = World(subnet("blue", "10.20.0.0/24", namespace_selectors=selector), namespace("ns", {"team": "blue"}))
    world.settle(pod("a", namespace="ns"))
    assert address(world.api.get(Pod, "a", "ns")) == "10.20.0.2"
    item = world.api.get(Namespace, "ns")
    assert item.metadata.annotations[names.LOGICAL_SWITCH] == "blue"
    world.settle(msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, labels={})))
    assert world.api.get(Namespace, "ns").metadata.annotations[names.LOGICAL_SWITCH] == "ovn-default"
    world.settle(pod("b", namespace="ns"))
    assert address(world.api.get(Pod, "a", "ns")) == "10.20.0.2", "who has an address keeps it"
    assert address(world.api.get(Pod, "b", "ns")) == "10.16.0.2"


def test_a_subnet_that_is_being_deleted_lets_its_namespaces_go() -> None:
    world = World(subnet("blue", "10.20.0.0/24", namespaces=("ns",)), namespace("ns"))
    world.settle(pod("a", namespace="ns"))
    world.api.remove("subnet-uid-blue")
    world.settle(pod("b", namespace="ns"))
    assert address(world.api.get(Pod, "b", "ns")) == "10.16.0.2"
    ready = {each.type: each.message for each in world.api.get(Subnet, "blue").status.conditions}["Ready"]
    assert ready == "being deleted: waiting for Pod ns/a"
    world.api.remove("uid-a")
    world.settle()
    assert world.api.find(Subnet, "blue") is None


def test_a_subnet_changes_its_cidr_by_annotation() -> None:
    world = World(namespace("ns", None, **OWN))
    world.annotate("ns", {names.CIDR: "10.30.0.0/23"})
    world.settle(pod("a", namespace="ns"))
    assert world.api.get(Subnet, "own").status.cidr_block == "10.30.0.0/23"
    world.annotate("ns", {names.CIDR: "10.32.0.0/24"})
    assert "Pod ns/a (10.30.0.2) would be outside" in world.topology.problems["namespace-uid-ns"].message
    assert world.api.get(Subnet, "own").status.cidr_block == "10.30.0.0/23"
    world.annotate("ns", {names.CIDR: "10.30.0.0/23"})
    assert not world.topology.problems


def test_a_namespace_that_another_implementation_left_keeps_its_order() -> None:
    left = {
        names.LOGICAL_SWITCH: "red,blue",
        names.CIDR: "10.21.0.0/24;10.20.0.0/24",
        names.EXCLUDE_IPS: "10.21.0.1;10.20.0.1",
    }
    spaces = [
        subnet(name, cidr, namespaces=("ns",)) for name, cidr in (("blue", "10.20.0.0/24"), ("red", "10.21.0.0/24"))
    ]
    world = World(*spaces, namespace("ns", None, **left))
    world.settle(pod("a", namespace="ns"))
    assert address(world.api.get(Pod, "a", "ns")) == "10.21.0.2", "the first named comes first"
    assert not world.topology.problems
    annotations = world.api.get(Namespace, "ns").metadata.annotations
    assert {key: annotations[key] for key in left} == left


def test_what_a_user_writes_goes_into_the_subnet_in_one_form() -> None:
    shape = {
        names.CIDR: "10.30.0.0/255.255.255.0, FD30::/112",
        names.EXCLUDE_IPS: "10.30.0.5.. , 10.30.0.7 .. 10.30.0.9",
        names.ALLOW: "192.0.2.1",
    }
    world = World(namespace("ns", None, **{names.LOGICAL_SWITCH: "own", **shape}))
    made = world.spec("own")
    assert made.cidr_block == "10.30.0.0/24,fd30::/112"
    assert made.exclude_ips == ("10.30.0.5", "10.30.0.7..10.30.0.9")
    assert made.allow_subnets == ("192.0.2.1/32",)
    assert not world.topology.problems
