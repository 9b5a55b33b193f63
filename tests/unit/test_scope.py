"""A Subnet or IPPool that names Namespaces is for their Pods only."""

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.crd import IPPool, LabelSelector, Subnet
from kube_ovn.model.kube import Namespace, Object, Pod
from kube_ovn.topology.graph import Topology
from tests.small_clusters import (
    Api,
    address,
    fabric,
    namespace,
    node,
    pod,
    pool,
    reservation,
    settle,
    stateful_set,
    subnet,
)

BLUE = subnet("blue", "10.20.0.0/24", namespaces=("blue",))
FEW = pool("few", "blue", "10.20.0.100..10.20.0.109", namespaces=("pooled",))
OWN = {names.LOGICAL_SWITCH: "own", names.CIDR: "10.30.0.0/24"}
YOUNG, OLD = "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"


class World:
    """A cluster and its controller, which has done all there is to do after each change."""

    def __init__(self, *objects: Object, trusts_tenants: bool = False) -> None:
        names_of_all = ("default", "blue", "pooled")
        self.api = Api(node("node1", 1), *map(namespace, names_of_all), *objects)
        self.topology = Topology(fabric(trusts_tenants=trusts_tenants))
        self.put()

    def put(self, *objects: Object) -> None:
        self.api.put(*objects)
        settle(self.topology, self.api)

    def annotate(self, name: str, **annotations: str) -> None:
        """Give a Namespace these annotations beside those that were written back, and no others."""
        item = self.api.get(Namespace, name)
        kept = {names.WRITTEN_BACK: item.metadata.annotations.get(names.WRITTEN_BACK, "{}")}
        metadata = msgspec.structs.replace(item.metadata, annotations={**kept, **annotations})
        self.put(msgspec.structs.replace(item, metadata=metadata))

    def edit(self, item: Subnet | IPPool, **spec: object) -> None:
        now = self.api.get(type(item), item.metadata.name)
        self.put(msgspec.structs.replace(now, spec=msgspec.structs.replace(now.spec, **spec)))

    def address(self, name: str, namespace: str = "default") -> str:
        return address(self.api.get(Pod, name, namespace))

    def refusal(self, uid: str) -> str:
        return self.topology.problems[uid].message


def aged(item: Namespace, age: str) -> Namespace:
    return msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, creation_timestamp=age))


def asking(name: str = "a", namespace: str = "default", /, **annotations: str) -> Pod:
    return pod(name, namespace=namespace, annotations=annotations)


@pytest.mark.parametrize(
    ("annotations", "refusal"),
    [
        ({names.LOGICAL_SWITCH: "blue"}, "subnet blue is for other Namespaces than default"),
        ({names.LOGICAL_SWITCH: "ovn-default,blue"}, "subnet blue is for other Namespaces than default"),
        ({names.IP_POOL: "few"}, "IPPool few is for other Namespaces than default"),
        ({names.IP_POOL: "open"}, "subnet blue is for other Namespaces than default"),
        ({names.LOGICAL_SWITCH: "blue", names.IP_ADDRESS: "10.20.0.9"}, "address 10.20.0.9: subnet blue is for other"),
        ({names.LOGICAL_SWITCH: "blue", names.IP_ADDRESS: "10.20.0.100"}, "address 10.20.0.100: IPPool few is for"),
        ({names.LOGICAL_SWITCH: "blue", names.IP_POOL: "10.20.0.9;10.20.0.10"}, "address 10.20.0.9: subnet blue"),
    ],
)
def test_no_annotation_leads_a_pod_into_the_subnet_of_another(annotations: dict[str, str], refusal: str) -> None:
    world = World(BLUE, FEW, pool("open", "blue", "10.20.0.200"))
    world.put(asking(**annotations))
    assert refusal in world.refusal("uid-a")
    assert names.ALLOCATED not in world.api.get(Pod, "a", "default").metadata.annotations
    world.edit(BLUE, namespaces=("blue", "default"))
    world.edit(FEW, namespaces=("pooled", "default"))
    assert world.address("a")
    assert not world.topology.problems


@pytest.mark.parametrize(
    "annotations",
    [
        {names.LOGICAL_SWITCH: "blue"},
        {names.IP_POOL: "few"},
        {names.LOGICAL_SWITCH: "blue", names.IP_ADDRESS: "10.20.0.100"},
    ],
)
def test_an_annotation_leads_anywhere_where_tenants_are_trusted(annotations: dict[str, str]) -> None:
    world = World(BLUE, FEW, trusts_tenants=True)
    world.put(asking(**annotations))
    assert world.address("a").startswith("10.20.0.")
    assert not world.topology.problems


def test_labels_of_a_namespace_let_its_pods_in_as_long_as_it_has_them() -> None:
    red = subnet("red", "10.21.0.0/24", namespace_selectors=(LabelSelector(match_labels={"team": "red"}),))
    world = World(red, namespace("ns", {"team": "red"}, **{names.LOGICAL_SWITCH: "ovn-default"}))
    world.put(asking("a", "ns", **{names.LOGICAL_SWITCH: "red"}))
    assert world.address("a", "ns") == "10.21.0.2"
    world.put(namespace("ns", **{names.LOGICAL_SWITCH: "ovn-default"}))
    world.put(asking("b", "ns", **{names.LOGICAL_SWITCH: "red"}))
    assert world.address("a", "ns") == "10.21.0.2", "a Pod that has an address keeps it"
    assert "is for other Namespaces than ns" in world.refusal("uid-b")


def test_a_pool_lets_its_namespaces_in_and_nobody_beside_it() -> None:
    world = World(BLUE, FEW)
    world.put(
        asking("a", "pooled"),
        asking("b", "pooled", **{names.LOGICAL_SWITCH: "blue", names.IP_ADDRESS: "10.20.0.101"}),
        asking("c", "pooled", **{names.LOGICAL_SWITCH: "blue", names.IP_ADDRESS: "10.20.0.9"}),
        asking("d", "blue", **{names.IP_ADDRESS: "10.20.0.102"}),
    )
    assert (world.address("a", "pooled"), world.address("b", "pooled")) == ("10.20.0.100", "10.20.0.101")
    assert "subnet blue is for other Namespaces than pooled" in world.refusal("uid-c")
    assert "IPPool few is for other Namespaces than blue" in world.refusal("uid-d")


def test_an_entry_of_a_list_that_is_for_others_is_passed_over() -> None:
    world = World(BLUE, FEW)
    world.put(asking("a", "blue", **{names.IP_POOL: "10.20.0.100;10.20.0.9"}))
    assert world.address("a", "blue") == "10.20.0.9"


def test_a_reservation_of_an_administrator_leads_anywhere() -> None:
    world = World(BLUE, reservation("a.default", "blue", "10.20.0.9"))
    world.put(asking())
    assert world.address("a") == "10.20.0.9"
    assert not world.topology.problems


def test_the_next_pod_of_a_stateful_sets_name_keeps_no_address_that_is_for_others_now() -> None:
    web = stateful_set("web", 1)
    first = pod("web-0", parent=web, annotations={names.LOGICAL_SWITCH: "open"})
    world = World(subnet("open", "10.21.0.0/24"), web, first)
    assert world.address("web-0") == "10.21.0.2"
    world.edit(subnet("open", ""), namespaces=("blue",))
    assert world.address("web-0") == "10.21.0.2", "a Pod that has an address keeps it"
    world.api.remove(first.metadata.uid)
    second = msgspec.structs.replace(first, metadata=msgspec.structs.replace(first.metadata, uid="uid-next"))
    world.put(second)
    assert "is for other Namespaces than default" in world.refusal("uid-next")


# --- Wishes of Namespaces ---


def test_a_namespace_cannot_wish_itself_into_the_subnet_of_another() -> None:
    world = World(BLUE, namespace("ns", None, **{names.LOGICAL_SWITCH: "blue"}))
    world.put(asking("a", "ns"))
    assert "subnet blue is for other Namespaces than ns" in world.refusal("namespace-uid-ns")
    assert "subnet blue is for other Namespaces than ns" in world.refusal("uid-a")
    world.edit(BLUE, namespaces=("blue", "ns"))
    assert world.address("a", "ns") == "10.20.0.2"
    assert not world.topology.problems


def test_a_namespace_that_names_a_subnet_of_another_among_its_own_is_told_and_goes_on_with_its_own() -> None:
    world = World(BLUE, namespace("ns", None, **{names.LOGICAL_SWITCH: "blue,ovn-default"}))
    world.put(asking("a", "ns"))
    assert world.address("a", "ns") == "10.16.0.2"
    assert "subnet blue is for other Namespaces than ns" in world.refusal("namespace-uid-ns")


@pytest.mark.parametrize("pool_of", [FEW, pool("few", "blue", "10.20.0.100")], ids=["its own", "of its subnet"])
def test_a_namespace_cannot_wish_itself_into_the_pool_of_another(pool_of: IPPool) -> None:
    world = World(BLUE, pool_of, namespace("ns", None, **{names.IP_POOL: "few"}))
    world.put(asking("a", "ns"))
    assert "is for other Namespaces than ns" in world.refusal("namespace-uid-ns")
    assert "is for other Namespaces than ns" in world.refusal("uid-a")


def test_a_namespace_with_the_annotations_of_another_does_not_get_into_its_subnet() -> None:
    world = World(aged(namespace("one", None, **OWN), OLD), aged(namespace("two", None, **OWN), YOUNG))
    world.put(asking("a", "two"), asking("b", "one"))
    assert world.api.get(Subnet, "own").spec.namespaces == ("one",)
    assert "made by the annotations of another Namespace" in world.refusal("namespace-uid-two")
    assert "made by the annotations of another Namespace" in world.refusal("uid-a")
    assert world.address("b", "one") == "10.30.0.2"


def test_annotations_that_describe_the_subnet_object_of_another_do_not_lead_into_it() -> None:
    world = World(BLUE, namespace("ns", None, **{names.LOGICAL_SWITCH: "blue", names.CIDR: "10.20.0.0/24"}))
    world.put(asking("a", "ns"))
    assert "subnet blue is for other Namespaces than ns" in world.refusal("namespace-uid-ns")
    assert world.api.get(Subnet, "blue").spec.namespaces == ("blue",)


@pytest.mark.parametrize("trusted", [False, True])
def test_the_first_namespace_of_a_subnet_keeps_its_shape_whoever_comes_later(trusted: bool) -> None:
    world = World(aged(namespace("first", None, **OWN, **{names.PRIVATE: "true"}), YOUNG), trusts_tenants=trusted)
    world.put(aged(namespace("older", None, **OWN), OLD))
    made = world.api.get(Subnet, "own").spec
    assert made.private
    assert made.namespaces == (("first", "older") if trusted else ("first",))
    world.annotate("first", **OWN, **{names.PRIVATE: "perhaps"})
    world.put(asking("a", "older"))
    made = world.api.get(Subnet, "own").spec
    assert (made.private, made.namespaces[0]) == (True, "first"), "a wish that cannot be read lets nobody else in"
    assert trusted or "made by the annotations of another Namespace" in world.refusal("uid-a")
    world.annotate("first")
    made = world.api.get(Subnet, "own").spec
    assert (made.private, made.namespaces) == (False, ("older",))
    assert world.address("a", "older") == "10.30.0.2"
    assert not world.topology.problems


TAKING = {names.LOGICAL_SWITCH: "own", names.CIDR: "10.30.0.0/23"}


def test_who_keeps_only_the_name_of_its_subnet_keeps_the_subnet() -> None:
    world = World(aged(namespace("first", None, **OWN, **{names.PRIVATE: "true"}), OLD))
    world.put(asking("a", "first"))
    world.annotate("first", **{names.LOGICAL_SWITCH: "own"})
    for again in ({}, {names.CIDR: OWN[names.CIDR]}):
        world.annotate("first", **{names.LOGICAL_SWITCH: "own"}, **again)
        world.put(aged(namespace("thief", None, **TAKING), YOUNG), asking("b", "thief"), asking("c", "first"))
        made = world.api.get(Subnet, "own").spec
        assert (made.namespaces, made.private, made.cidr_block) == (("first",), True, "10.30.0.0/24")
        assert "made by the annotations of another Namespace" in world.refusal("namespace-uid-thief")
        assert "made by the annotations of another Namespace" in world.refusal("uid-b")
        assert world.address("c", "first") == "10.30.0.3"


def test_a_subnet_goes_before_the_next_namespace_makes_one_of_its_name() -> None:
    world = World(aged(namespace("first", None, **OWN), OLD))
    world.put(asking("a", "first"), aged(namespace("next", None, **TAKING), YOUNG), asking("b", "next"))
    world.annotate("first")
    assert world.api.get(Subnet, "own").metadata.deletion_timestamp
    assert world.api.get(Subnet, "own").spec.namespaces == ("first",)
    assert "made by the annotations of another Namespace" in world.refusal("uid-b")
    world.api.remove("uid-a")
    world.put()
    assert world.api.get(Subnet, "own").spec.namespaces == ("next",)
    assert world.address("b", "next") == "10.30.0.2"
    assert not world.topology.problems


def test_new_pods_are_told_that_their_subnet_is_being_deleted() -> None:
    world = World(namespace("ns", None, **OWN))
    world.put(asking("a", "ns"))
    world.api.remove(world.api.get(Subnet, "own").metadata.uid)
    world.put(asking("b", "ns"))
    for uid in ("namespace-uid-ns", "uid-b"):
        assert "subnet own is being deleted" in world.refusal(uid)
    world.api.remove("uid-a")
    world.put()
    assert world.address("b", "ns") == "10.30.0.2"
    assert not world.topology.problems


def test_a_subnet_that_namespaces_shared_before_stays_theirs() -> None:
    spaces = [aged(namespace("one", None, **OWN), OLD), aged(namespace("two", None, **OWN), YOUNG)]
    world = World(*spaces, trusts_tenants=True)
    world.topology = Topology(fabric())
    world.put(asking("a", "two"), asking("b", "one"))
    assert world.api.get(Subnet, "own").spec.namespaces == ("one", "two")
    assert world.address("a", "two").startswith("10.30.0.")
    assert world.address("b", "one").startswith("10.30.0.")
    assert not world.topology.problems


def test_the_family_that_is_not_named_comes_from_no_subnet_of_others() -> None:
    both = subnet("ds", "10.22.0.0/24,fd22::/112", namespaces=("blue",))
    few = pool("few", "ds", "10.22.0.100", "fd22::100", namespaces=("pooled",))
    world = World(both, few)
    world.put(
        asking("a", "pooled", **{names.LOGICAL_SWITCH: "ds", names.IP_ADDRESS: "10.22.0.100"}),
    )
    assert "subnet ds is for other Namespaces than pooled" in world.refusal("uid-a")
    world.put(asking("b", "pooled", **{names.LOGICAL_SWITCH: "ds", names.IP_ADDRESS: "10.22.0.100,fd22::100"}))
    assert world.address("b", "pooled") == "10.22.0.100,fd22::100"
