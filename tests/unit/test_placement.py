"""Where a Pod's addresses come from: its own lists and wishes first, then what its Namespace is bound to."""

import pytest

from kube_ovn.derive import Collection, Graph, Read
from kube_ovn.model import names
from kube_ovn.model.addr import parse_addresses
from kube_ovn.model.crd import StatefulSet
from kube_ovn.model.kube import Pod
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.topology.addresses import holders, own
from kube_ovn.topology.addresses.allocate import place
from kube_ovn.topology.addresses.ask import Want
from kube_ovn.topology.addresses.grants import COMING, READY, UNREADY, Pools
from kube_ovn.topology.addresses.grants import define as define_grants
from kube_ovn.topology.addresses.ledger import ExhaustedError, Ledger, Need, RefusedError
from kube_ovn.topology.addresses.parents import Parents
from kube_ovn.topology.addresses.places import Reads, WaitError
from kube_ovn.topology.addresses.request import ask_for_pod
from kube_ovn.topology.addresses.span import REST, Owner
from kube_ovn.topology.inputs import Inputs, Name, record_name
from kube_ovn.topology.outputs import Outputs
from kube_ovn.topology.ports.obstacles import Obstacles
from kube_ovn.topology.ports.pod import Request, parse_request
from kube_ovn.topology.subnets.addressing import Judged
from kube_ovn.topology.subnets.namespace import Binding
from kube_ovn.topology.subnets.pool import judge_pools
from kube_ovn.topology.subnets.scope import Scope, Scopes
from kube_ovn.topology.subnets.verdict import parse_subnet
from tests.small_clusters import fabric, pod, pool, stateful_set


class World:
    """Subnets `one` (4 addresses for Pods), `two` (4) and `dual` (4 a family), and a pool `few` of two of `two`."""

    def __init__(self) -> None:
        graph = Graph()
        inputs, grants = Inputs(graph), define_grants(graph)
        self.ledger = Ledger()
        subnets = {
            "one": parse_subnet("one", "10.1.0.0/29", exclude=["10.1.0.6"]),
            "two": parse_subnet("two", "10.2.0.0/29", exclude=["10.2.0.2"]),
            "dual": parse_subnet("dual", "10.3.0.0/29,fd03::/125", exclude=["10.3.0.6", "fd03::6..fd03::7"]),
            "join": parse_subnet("join", "100.64.0.0/16"),
        }
        self._bindings: Collection[str, Binding] = graph.collection("bindings", str, Binding)
        self._readiness: Collection[str, str] = graph.collection("readiness", str, str)
        effective: Collection[str, Subnet] = graph.collection("effective", str, Subnet)
        ranges: Collection[str, Pools] = graph.collection("ranges of pools", str, dict)
        self._scopes: Collection[str, Scope] = graph.collection("scopes", str, Scope)
        self._holders = holders.define(graph, inputs, own.define(graph, inputs, Outputs()), grants, {})
        self._graph, self._inputs = graph, inputs
        self._on = Reads(
            fabric=fabric(),
            grants=grants,
            ips=inputs.ips,
            pods=inputs.pods,
            pools=inputs.pools,
            unknown=inputs.unknown,
            absent=inputs.absent,
            parents=Parents(inputs.sets, inputs.unknown),
            bindings=self._bindings,
            scopes=Scopes(
                fabric=fabric(),
                namespaces=inputs.namespaces,
                subnets=self._scopes,
                effective=effective,
                pool_specs=inputs.pools,
                pool_ranges=ranges,
            ),
            readiness=self._readiness,
            effective=effective,
            obstacles=Obstacles(
                router="",
                foreign=inputs.foreign,
                judged=graph.collection("judged", str, Judged),
            ),
        )
        pools = {"few": pool("few", "two", "10.2.0.5..10.2.0.6"), "far": pool("far", "gone", "10.9.0.1")}
        inputs.pools.replace(pools)
        effective.replace(subnets)
        self._readiness.replace(dict.fromkeys(subnets, READY))
        verdicts = judge_pools(pools.values(), subnets)
        for name, subnet in subnets.items():
            ranges.put(name, {p: verdict.ranges for p, verdict in verdicts.items() if pools[p].spec.subnet == name})
            self.ledger.put_subnet(subnet, ranges.values[name])

    def come(self, name: str) -> None:
        """A subnet will be there in a moment."""
        self._readiness.put(name, COMING)

    def go(self, name: str) -> None:
        """A subnet gives out no addresses any more."""
        self._readiness.put(name, UNREADY)

    def grant(
        self,
        name: str,
        binding: Binding | None = None,
        parent: StatefulSet | None = None,
        /,
        **annotations: str,
    ) -> list[str]:
        return shown(self.place(pod(name, annotations=annotations, parent=parent), binding, parent))

    def place(self, item: Pod, binding: Binding | None = None, parent: StatefulSet | None = None) -> Grant:
        record = record_name(item.metadata.namespace, item.metadata.name)
        self._bindings.put(item.metadata.namespace, binding or Binding(subnets=("one",)))
        if parent is not None:
            self._inputs.sets.put(Name("default", parent.metadata.name), parent)
        self._inputs.pods.put(record, item)
        self._graph.settle()
        read = Read()
        read.begin(1000)
        asked = ask_for_pod(read, self._on, item, self._holders.pods.values[record], None)
        assert isinstance(asked, Want)
        return place(self.ledger, asked.owner, asked.ask)

    def fill(self, subnet: str, pool: str = "") -> None:
        number = 0
        while True:
            number += 1
            try:
                self.ledger.allocate(Owner(f"{subnet}{pool}{number}", f"Pod x/{subnet}-{number}"), subnet, pool=pool)
            except ExhaustedError:
                return


def shown(grant: Grant) -> list[str]:
    return [str(each) for each in grant.addresses]


# --- What a Pod asks for ---


@pytest.mark.parametrize(
    ("text", "pools", "choices"),
    [
        ("", (), ()),
        ("  ", (), ()),
        ("few", ("few",), ()),
        ("few, more", ("few", "more"), ()),
        ("10.1.0.3", (), ("10.1.0.3",)),
        ("10.1.0.3,10.1.0.4", (), ("10.1.0.3", "10.1.0.4")),
        ("10.1.0.3;10.1.0.4", (), ("10.1.0.3", "10.1.0.4")),
        ("10.1.0.3 ; 10.1.0.4 ;", (), ("10.1.0.3", "10.1.0.4")),
        ("10.1.0.3,fd03::3", (), ("10.1.0.3,fd03::3",)),
        ("fd03::3,10.1.0.3", (), ("fd03::3,10.1.0.3",)),
        ("10.1.0.3,fd03::3;10.1.0.4,fd03::4", (), ("10.1.0.3,fd03::3", "10.1.0.4,fd03::4")),
        ("fd03::3,fd03::4,fd03::5", (), ("fd03::3", "fd03::4", "fd03::5")),
    ],
)
def test_a_list_is_pools_by_name_or_an_entry_a_pod(text: str, pools: tuple[str, ...], choices: tuple[str, ...]) -> None:
    request = parse_request(pod("a", annotations={names.IP_POOL: text}))
    assert request == Request(pools=pools, choices=tuple(map(parse_addresses, choices)))


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({names.IP_POOL: "10.1.0.3;few"}, "'few' is not an IP address"),
        ({names.IP_POOL: "10.1.0.3,few"}, "'few' is not an IP address"),
        ({names.IP_POOL: "10.1.0.3,10.1.0.4;10.1.0.5"}, "two entries of the same IP family"),
        ({names.IP_FAMILY: "IPv4"}, f"{names.IP_FAMILY} is 'IPv4'; it must be ipv4 or ipv6"),
        ({names.IP_ADDRESS: "10.1.0.300"}, "'10.1.0.300' is not an IP address"),
        ({names.MAC_ADDRESS: "nonsense"}, "'nonsense' is not a MAC address"),
    ],
)
def test_what_cannot_be_read_names_the_pod(annotations: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match="annotation of Pod default/a: ") as refused:
        parse_request(pod("a", annotations=annotations))
    assert message in str(refused.value)


# --- Subnets ---


def test_the_first_subnet_with_room_gives() -> None:
    world, bound = World(), Binding(subnets=("one", "two"))
    assert world.grant("a", bound) == ["10.1.0.2"]
    world.fill("one")
    assert world.grant("b", bound) == ["10.2.0.3"]


def test_subnets_that_are_all_full_are_all_told() -> None:
    world = World()
    world.fill("one")
    world.fill("two")
    with pytest.raises(ExhaustedError) as refused:
        world.grant("a", Binding(subnets=("one", "two")))
    assert str(refused.value) == (
        "subnet one has no available address: 0 of 4 addresses in 10.1.0.0/29 are free; "
        "subnet two has no available address: 0 of 2 addresses in 10.2.0.0/29 are free"
    )


def test_a_pods_own_subnets_come_before_its_namespaces() -> None:
    assert World().grant("a", Binding(subnets=("one",)), **{names.LOGICAL_SWITCH: "two,one"}) == ["10.2.0.3"]


def test_one_that_is_not_there_is_passed_over_for_one_that_is() -> None:
    assert World().grant("a", **{names.LOGICAL_SWITCH: "gone,two"}) == ["10.2.0.3"]


def test_a_subnet_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(RefusedError, match="subnet gone does not exist; `kubectl get subnets` shows those that do"):
        World().grant("a", **{names.LOGICAL_SWITCH: "gone"})


def test_a_subnet_that_is_not_ready_says_how_to_learn_why() -> None:
    world = World()
    world.go("two")
    with pytest.raises(
        RefusedError, match="subnet two is not ready or is being deleted: `kubectl describe subnet two`"
    ):
        world.grant("a", **{names.LOGICAL_SWITCH: "two"})


@pytest.mark.parametrize("annotations", [{names.LOGICAL_SWITCH: "new"}, {names.LOGICAL_SWITCH: "gone,new"}])
def test_a_pod_waits_for_a_subnet_that_is_coming(annotations: dict[str, str]) -> None:
    world = World()
    world.come("new")
    with pytest.raises(WaitError):
        world.grant("a", **annotations)


def test_a_pod_waits_for_what_its_namespace_waits_for_unless_it_goes_elsewhere() -> None:
    world, bound = World(), Binding(subnets=("new",), pending=True)
    with pytest.raises(WaitError):
        world.grant("a", bound)
    assert world.grant("b", bound, **{names.LOGICAL_SWITCH: "two"}) == ["10.2.0.3"]


def test_what_is_wrong_with_its_namespace_is_told_unless_it_goes_elsewhere() -> None:
    world, bound = World(), Binding(subnets=(), refusal="the reason")
    with pytest.raises(RefusedError, match="the reason"):
        world.grant("a", bound)
    assert world.grant("b", bound, **{names.LOGICAL_SWITCH: "two"}) == ["10.2.0.3"]


def test_no_pod_is_on_the_join_subnet() -> None:
    with pytest.raises(RefusedError, match="subnet join joins the nodes and is not for Pods"):
        World().grant("a", **{names.LOGICAL_SWITCH: "join"})


# --- Families ---


@pytest.mark.parametrize(
    ("family", "expected"), [("", ["10.3.0.2", "fd03::2"]), ("ipv4", ["10.3.0.2"]), ("ipv6", ["fd03::2"])]
)
def test_a_pod_gets_the_families_it_asks_for(family: str, expected: list[str]) -> None:
    assert World().grant("a", **{names.LOGICAL_SWITCH: "dual", names.IP_FAMILY: family}) == expected


def test_a_family_the_subnet_has_not_is_told() -> None:
    with pytest.raises(RefusedError, match=r"subnet one has no IPv6 addresses: its CIDR is 10\.1\.0\.0/29"):
        World().grant("a", **{names.IP_FAMILY: "ipv6"})


# --- One address of its own ---


def test_a_fixed_address_may_be_in_the_second_subnet() -> None:
    assert World().grant("a", Binding(subnets=("one", "two")), **{names.IP_ADDRESS: "10.2.0.4"}) == ["10.2.0.4"]


def test_a_fixed_address_may_be_in_a_pool() -> None:
    assert World().grant("a", **{names.LOGICAL_SWITCH: "two", names.IP_ADDRESS: "10.2.0.5"}) == ["10.2.0.5"]


def test_a_fixed_address_and_mac_are_granted_together() -> None:
    made = pod("a", annotations={names.IP_ADDRESS: "10.1.0.4", names.MAC_ADDRESS: "0A-00-00-00-00-01"})
    grant = World().place(made)
    assert (shown(grant), grant.mac) == (["10.1.0.4"], "0a:00:00:00:00:01")


def test_a_fixed_address_of_no_subnet_of_the_pod_is_told_with_those_it_has() -> None:
    with pytest.raises(RefusedError) as refused:
        World().grant("a", Binding(subnets=("one", "two")), **{names.IP_ADDRESS: "10.3.0.4"})
    assert str(refused.value) == (
        "address 10.3.0.4 is not in the CIDR of the Pod's subnets one (10.1.0.0/29), two (10.2.0.0/29); choose another"
    )


def test_a_fixed_address_that_is_taken_is_not_exchanged_for_another() -> None:
    world = World()
    world.grant("a", **{names.IP_ADDRESS: "10.1.0.4"})
    with pytest.raises(RefusedError, match=r"address 10\.1\.0\.4 of subnet one is used by Pod default/a"):
        world.grant("b", **{names.IP_ADDRESS: "10.1.0.4"})


def test_a_mac_that_another_has_in_the_second_subnet_is_told_and_an_address_of_the_first_still_helps() -> None:
    world, mac = World(), "0a:00:00:00:00:01"
    world.fill("one")
    world.ledger.allocate(Owner("x", "Pod x/x"), "two", mac=mac)
    with pytest.raises(RefusedError, match=f"MAC address {mac} in subnet two is used by Pod x/x") as refused:
        world.grant("a", Binding(subnets=("one", "two")), **{names.MAC_ADDRESS: mac})
    assert refused.value.needs == {Need("one", (REST, 4))}


# --- Pools ---


def test_a_pool_gives_of_its_own_and_of_its_own_subnet() -> None:
    assert World().grant("a", Binding(subnets=("one",)), **{names.IP_POOL: "few"}) == ["10.2.0.5"]


def test_a_namespaces_pools_come_before_its_subnets() -> None:
    assert World().grant("a", Binding(subnets=("one",), pools=("few",))) == ["10.2.0.5"]


def test_a_pool_that_is_full_is_not_left_for_its_subnet() -> None:
    world = World()
    world.fill("two", "few")
    with pytest.raises(ExhaustedError, match="pool few of subnet two has no available address: 0 of 2"):
        world.grant("a", **{names.IP_POOL: "few"})


def test_nobody_else_gets_what_is_in_a_pool() -> None:
    world = World()
    world.fill("two")
    assert world.grant("a", **{names.IP_POOL: "few"}) == ["10.2.0.5"]


def test_a_pool_that_does_not_exist_is_told() -> None:
    with pytest.raises(RefusedError, match="IPPool many does not exist"):
        World().grant("a", **{names.IP_POOL: "many"})


# --- Lists ---

LIST = "10.1.0.5;10.1.0.3;10.1.0.4"


def test_a_pod_of_a_stateful_set_gets_the_entry_of_its_number() -> None:
    world, web = World(), stateful_set("web", 3)
    assert world.grant("web-1", None, web, **{names.IP_POOL: LIST}) == ["10.1.0.3"]
    assert world.grant("web-0", None, web, **{names.IP_POOL: LIST}) == ["10.1.0.5"]
    assert world.grant("web-2", None, web, **{names.IP_POOL: LIST.replace(";", ",")}) == ["10.1.0.4"]


def test_numbers_count_from_where_the_stateful_set_starts() -> None:
    world, web = World(), stateful_set("web", 3, start=5)
    assert world.grant("web-5", None, web, **{names.IP_POOL: LIST}) == ["10.1.0.5"]
    assert world.grant("web-7", None, web, **{names.IP_POOL: LIST}) == ["10.1.0.4"]


@pytest.mark.parametrize(("name", "start", "number"), [("web-3", 0, 4), ("web-8", 5, 4), ("web-4", 5, 0)])
def test_a_list_shorter_than_the_stateful_set_says_what_to_do(name: str, start: int, number: int) -> None:
    with pytest.raises(RefusedError) as refused:
        World().grant(name, None, stateful_set("web", 4, start), **{names.IP_POOL: LIST})
    assert str(refused.value) == (
        f"annotation {names.IP_POOL} lists 3 addresses and Pod default/{name} is number {number} of its StatefulSet: "
        "add addresses, or scale the StatefulSet down"
    )


def test_an_entry_that_another_has_is_not_exchanged_for_the_next() -> None:
    world, web = World(), stateful_set("web", 3)
    world.grant("other", **{names.IP_ADDRESS: "10.1.0.5"})
    with pytest.raises(RefusedError, match=r"address 10\.1\.0\.5 of subnet one is used by Pod default/other"):
        world.grant("web-0", None, web, **{names.IP_POOL: LIST})


def test_a_pod_of_another_workload_gets_the_first_that_is_free() -> None:
    world = World()
    given = [world.grant(name, **{names.IP_POOL: LIST})[0] for name in ("shop-7f-x", "shop-7f-y", "shop-7f-z")]
    assert given == ["10.1.0.5", "10.1.0.3", "10.1.0.4"]
    world.ledger.release("uid-shop-7f-y")
    assert world.grant("shop-7f-w", **{names.IP_POOL: LIST}) == ["10.1.0.3"]


def test_a_list_that_is_used_up_says_the_same_to_all() -> None:
    world = World()
    for name in ("a", "b", "c"):
        world.grant(name, **{names.IP_POOL: LIST})
    with pytest.raises(ExhaustedError) as refused:
        world.grant("d", **{names.IP_POOL: LIST})
    assert str(refused.value) == (
        f"annotation {names.IP_POOL} lists 3 addresses and all are in use, as `kubectl get ip` shows: "
        "add addresses, or scale the workload down"
    )


def test_an_entry_of_both_families_is_free_when_both_are() -> None:
    world, pairs = World(), "10.3.0.2,fd03::2;10.3.0.3,fd03::3"
    world.ledger.allocate(Owner("x", "Pod x/x"), "dual", [6])  # fd03::2
    assert world.grant("a", **{names.LOGICAL_SWITCH: "dual", names.IP_POOL: pairs}) == ["10.3.0.3", "fd03::3"]


def test_entries_may_be_in_several_subnets() -> None:
    world, web = World(), stateful_set("web", 2)
    bound, listed = Binding(subnets=("one", "two")), "10.2.0.4;10.1.0.4"
    assert world.grant("web-0", bound, web, **{names.IP_POOL: listed}) == ["10.2.0.4"]
    assert world.grant("web-1", bound, web, **{names.IP_POOL: listed}) == ["10.1.0.4"]


def test_an_entry_of_no_subnet_of_the_pod_is_told() -> None:
    with pytest.raises(RefusedError, match=r"address 10\.9\.0\.4 is not in the CIDR of the Pod's subnet one"):
        World().grant("a", **{names.IP_POOL: "10.9.0.4"})


def test_a_pool_by_name_of_a_subnet_that_is_not_there_is_told() -> None:
    with pytest.raises(RefusedError, match="subnet gone does not exist"):
        World().grant("a", **{names.IP_POOL: "far"})


def test_what_is_refused_takes_nothing() -> None:
    world = World()
    with pytest.raises(RefusedError):
        world.grant("a", **{names.LOGICAL_SWITCH: "dual", names.IP_ADDRESS: "10.3.0.4,fd99::1"})
    assert world.ledger.grants == {}


def test_a_list_of_one_family_in_a_dual_subnet_comes_with_the_other_family() -> None:
    world = World()
    given = world.grant("a", **{names.LOGICAL_SWITCH: "dual", names.IP_POOL: "10.3.0.4;10.3.0.5"})
    assert given == ["10.3.0.4", "fd03::2"]


def test_a_pod_that_asks_for_addresses_of_two_families_gets_them_in_the_subnets_order() -> None:
    assert World().grant("a", **{names.LOGICAL_SWITCH: "dual", names.IP_ADDRESS: "fd03::4,10.3.0.4"}) == [
        "10.3.0.4",
        "fd03::4",
    ]


def test_a_pods_own_subnet_comes_before_its_namespaces_pools() -> None:
    bound = Binding(subnets=("one",), pools=("few",))
    assert World().grant("a", bound, **{names.LOGICAL_SWITCH: "one"}) == ["10.1.0.2"]
