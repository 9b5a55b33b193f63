"""Verdicts about Subnets, over any history, are those of the plain decision: each Subnet in turn against all others."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kube_ovn.model.addr import Network, format_list, parse_networks
from kube_ovn.model.crd import SubnetStatus
from kube_ovn.model.network import Subnet
from kube_ovn.topology.subnets.overlap import Extent, find_overlaps
from kube_ovn.topology.subnets.verdict import Claim, find_loss
from tests.judging import Judging, Users, Verdict
from tests.small_clusters import subnet

V4 = ("10.0.0.0/22", "10.0.0.0/24", "10.0.0.0/25", "10.0.0.128/25", "10.0.0.0/28", "10.0.0.16/28", "10.0.1.0/24")
V6 = ("fd00::/56", "fd00::/64", "fd00::/120", "fd00::80/121", "fd00:0:0:1::/64")
ADDRESSES = ("10.0.0.1", "10.0.0.5", "10.0.0.20", "10.0.0.200", "10.0.1.5", "fd00::1", "fd00::5", "fd00::85")

names = st.sampled_from("abcdefgh")
both = st.tuples(st.sampled_from(V4), st.sampled_from(V6))
cidrs = st.one_of(st.sampled_from((*V4, *V6)), both.map(format_list), both.map(lambda pair: format_list(pair[::-1])))


@dataclass(frozen=True)
class Put:
    name: str
    says: str
    """The CIDR in the status."""
    asks: str
    age: str

    def take(self, world: "World") -> None:
        made = subnet(self.name, self.asks, age=self.age)
        world.judging.put(msgspec.structs.replace(made, status=SubnetStatus(cidr_block=self.says)))


@dataclass(frozen=True)
class Drop:
    name: str

    def take(self, world: "World") -> None:
        world.judging.inputs.subnets.drop(self.name)


@dataclass(frozen=True)
class Use:
    name: str
    addresses: frozenset[str]

    def take(self, world: "World") -> None:
        there = sorted(map(ip_address, self.addresses), key=lambda each: (each.version, int(each)))
        world.users[self.name] = [(each, f"Pod default/p{number % 3}") for number, each in enumerate(there)]
        world.judging.use(self.name, world.users[self.name])


@dataclass(frozen=True)
class Block:
    name: str
    taken: bool

    def take(self, world: "World") -> None:
        (world.taken.add if self.taken else world.taken.discard)(self.name)
        world.judging.block(self.name, taken=self.taken)


class World:
    def __init__(self) -> None:
        self.judging, self.taken = Judging(), set[str]()
        self.users: dict[str, Users] = {}


steps = st.one_of(
    st.builds(Put, names, st.just("") | cidrs, st.sampled_from(["", "nonsense", "10.96.0.0/24"]) | cidrs, names),
    st.builds(Put, names, st.just(""), cidrs, names),
    st.builds(Put, names, cidrs, cidrs, names),
    st.builds(Drop, names),
    st.builds(Use, names, st.frozensets(st.sampled_from(ADDRESSES), max_size=3)),
    st.builds(Block, names, st.booleans()),
)
histories = st.lists(st.lists(steps, min_size=1, max_size=12), min_size=1, max_size=4)


extents = st.builds(
    Extent,
    age=st.sampled_from("12345"),
    held=st.just(()) | cidrs.map(parse_networks),
    wanted=st.just(()) | cidrs.map(parse_networks),
    barred=st.booleans(),
)


@settings(max_examples=500)
@given(st.dictionaries(names, extents))
def test_the_same_overlaps_are_found_as_by_looking_at_each_two(some: dict[str, Extent]) -> None:
    claims = {
        name: Claim(age=each.age, wanted=made(name, each.wanted), complaint="complaint", held=made(name, each.held))
        for name, each in some.items()
    }
    refused = judge(claims, {name: "objection" for name, each in some.items() if each.barred})
    expected = {name: each.refusal for name, each in refused.items() if "overlaps" in each.refusal}
    assert find_overlaps(some) == expected


def made(name: str, networks: tuple[Network, ...]) -> Subnet | None:
    return Subnet(name=name, cidrs=networks, gateways=()) if networks else None


@settings(max_examples=300)
@given(histories)
def test_the_verdicts_are_those_of_each_subnet_against_all_others(
    history: list[list[Put | Drop | Use | Block]],
) -> None:
    world = World()
    for some in history:
        for step in some:
            step.take(world)
        found, claims = world.judging.verdicts(), world.judging.claims
        assert found == judge(claims, {name: find_objection(name, each, world) for name, each in claims.items()})
        assert world.judging.graph.verify() == []


def judge(claims: Mapping[str, Claim], objections: Mapping[str, str]) -> dict[str, Verdict]:
    """The decision in plain words. Its time grows with the square of the number of Subnets."""
    ordered = sorted(claims, key=lambda name: (claims[name].age, name))
    taken = {name: [held] for name in ordered if (held := claims[name].held) is not None}
    verdicts: dict[str, Verdict] = {}
    for name in ordered:
        wanted, held = claims[name].wanted, claims[name].held
        try:
            if wanted is None:
                raise ValueError(claims[name].complaint)
            check_others(name, wanted, taken)
            if objection := objections.get(name):
                raise ValueError(objection)
            verdicts[name] = Verdict(wanted)
            taken.setdefault(name, []).append(wanted)
        except ValueError as error:
            verdicts[name] = Verdict(held, str(error))
    return verdicts


def check_others(name: str, wanted: Subnet, taken: Mapping[str, list[Subnet]]) -> None:
    for rival, others in taken.items():
        if rival == name:
            continue
        for cidr in wanted.cidrs:
            for theirs in (theirs for other in others for theirs in other.cidrs):
                if cidr.version == theirs.version and cidr.overlaps(theirs):
                    raise ValueError(f"CIDR {cidr} overlaps {theirs} of subnet {rival}; choose another")


def find_objection(name: str, claim: Claim, world: World) -> str:
    wanted, held = claim.wanted, claim.held
    if held is None:
        taken = f"its port would be named {name}-ovn-cluster, which is taken already; choose another name"
        return taken if name in world.taken else ""
    if wanted is None or (wanted.cidrs, wanted.gateways) == (held.cidrs, held.gateways):
        return ""
    return find_loss(wanted, held, world.users.get(name, ()), frozenset())
