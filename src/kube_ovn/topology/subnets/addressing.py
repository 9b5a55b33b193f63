"""The Subnets in effect, their addresses, and their readiness to give out new addresses.

Reads Subnets, IPPools, objections and grants. The step in here puts an accepted subnet into a collection, where it
counts for the moment between the verdict and the status that says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kube_ovn.derive import Collection, Derived, Graph, Index, News, Read, Source
from kube_ovn.discovery.attached import Named
from kube_ovn.model import crd
from kube_ovn.model.crd import IPPool
from kube_ovn.model.kube import VersionedMeta
from kube_ovn.model.network import Subnet
from kube_ovn.topology.addresses.grants import COMING, READY, UNREADY, Grants, Pools
from kube_ovn.topology.inputs import STANDING, Inputs
from kube_ovn.topology.subnets import places
from kube_ovn.topology.subnets.objections import Reads, against_change
from kube_ovn.topology.subnets.objections import define as define_objections
from kube_ovn.topology.subnets.overlap import Extent, find_overlaps
from kube_ovn.topology.subnets.places import Places
from kube_ovn.topology.subnets.pool import PoolVerdict, judge_pools
from kube_ovn.topology.subnets.verdict import Claim, in_effect, parse_claim, until_written


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The decision on a Subnet."""

    effective: Subnet | None
    """The subnet in effect now; None when there is none."""
    accepted: Subnet | None
    """The subnet that the status is to record; None when there is none."""
    refusal: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A subnet that was accepted and is not in a status yet. A Subnet made anew under the name of another has another
    UID, and inherits nothing.
    """

    uid: str
    subnet: Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressing:
    """The derivations on Subnets and IPPools that other parts read: by the name of the Subnet, where nothing else is
    said.
    """

    judged: Derived[str, Claim, Judged]
    effective: Derived[str, Judged, Subnet]
    cidrs: Source[str, tuple[Named, ...]]
    """The CIDRs of effective subnets, with the words for them in messages."""
    places: Places[str, tuple[Named, ...]]
    readiness: Derived[str, crd.Subnet, str]
    """`READY`, `COMING` or `UNREADY` to give out addresses."""
    pool_specs: Derived[str, IPPool, IPPool]
    """IPPools by their name, without the fields that no user changes: the status and the version."""
    pool_ranges: Source[str, Pools]
    pool_verdicts: Derived[str, IPPool, PoolVerdict]
    """By the name of the IPPool."""


def define_in_effect(graph: Graph, inputs: Inputs, grants: Grants) -> Derived[str, crd.Subnet, Subnet]:
    """Derive the subnets that statuses put in effect. A subnet in use stays as it is, also when its status was
    damaged.
    """
    return graph.derive(
        "subnets in effect",
        inputs.subnets,
        lambda read, name, subnet: in_effect(subnet) or read.get(grants.in_use, name),
    )


def define(graph: Graph, on: Reads) -> Addressing:
    """Derive the decisions on Subnets and IPPools."""
    inputs, fabric, grants = on.inputs, on.fabric, on.grants
    decided = graph.collection("accepted subnets", str, Accepted)

    def claim(read: Read, name: str, subnet: crd.Subnet) -> Claim:
        has = read.get(on.in_effect, name) or _accepted(read, decided, subnet)
        if name not in fabric.initial and not read.get(inputs.standing, STANDING):
            # Until the initial subnets are in effect, nothing is known that could be in the way of a change.
            return Claim(age=subnet.metadata.creation_timestamp, wanted=has, complaint="", held=has)
        return parse_claim(subnet, fabric.router, fabric.services, has)

    def judge(read: Read, name: str, each: Claim) -> Judged:
        overlap = "".join(found[name] for found in read.select(overlaps, name).values())
        refusal = each.complaint or overlap or read.get(objections, name) or ""
        accepted, current = each.held if refusal else each.wanted, read.get(on.in_effect, name)
        if current is None:
            return Judged(effective=None, accepted=accepted, refusal=refusal)
        present = read.get(grants.in_use, name)
        if present is not None and against_change(read, grants, current, present):
            refusal = "its status does not fit the addresses in use"  # a user edited it
            return Judged(effective=present, accepted=present, refusal=refusal)
        stays = current if accepted is None else until_written(current, accepted)
        return Judged(effective=stays, accepted=accepted, refusal=refusal)

    def readiness(read: Read, name: str, subnet: crd.Subnet) -> str:
        if subnet.metadata.deletion_timestamp:
            return UNREADY
        if read.get(effective, name) is not None:
            return READY
        return COMING if _accepted(read, decided, subnet) is not None else UNREADY

    claims = graph.derive("claims of subnets", inputs.subnets, claim)
    objections = define_objections(graph, on, claims)
    overlaps = _define_overlaps(graph, inputs, claims, objections)
    judged = graph.derive("judged subnets", claims, judge)
    _remember(graph, inputs.subnets, judged, decided)
    effective = graph.derive("effective subnets", judged, lambda read, name, each: each.effective)
    cidrs = graph.derive("CIDRs of subnets", effective, lambda read, name, each: _name_cidrs(each))
    specs = graph.derive("specs of pools", inputs.pools, lambda read, name, pool: _spec(pool))
    pools = _define_pools(graph, specs, effective)
    return Addressing(
        judged=judged,
        effective=effective,
        cidrs=cidrs,
        places=places.define(graph, "subnets", cidrs, lambda name, named: (cidr for cidr, _ in named)),
        readiness=graph.derive("readiness of subnets", inputs.subnets, readiness),
        pool_specs=specs,
        pool_ranges=pools[0],
        pool_verdicts=pools[1],
    )


def _define_overlaps(
    graph: Graph, inputs: Inputs, claims: Derived[str, crd.Subnet, Claim], objections: Derived[str, Claim, str]
) -> Index[str, str, Mapping[str, str]]:
    """Derive the Subnets that would overlap another one. One cell decides on all Subnets; its result is in groups, one
    for each Subnet that would overlap, so that only these Subnets are judged anew.
    """

    def extent(read: Read, name: str, each: Claim) -> Extent:
        return Extent(
            age=each.age,
            held=() if each.held is None else each.held.cidrs,
            wanted=() if each.wanted is None else each.wanted.cidrs,
            barred=read.get(objections, name) is not None,
        )

    def find_all(read: Read, key: str, value: bool) -> Mapping[str, str]:
        return find_overlaps(read.all(extents))

    extents = graph.derive("extents of subnets", claims, extent)
    overlaps = graph.derive("overlaps of subnets", inputs.one, find_all)
    return graph.index("subnets that overlap", overlaps, lambda key, found: found)


def _name_cidrs(subnet: Subnet) -> tuple[Named, ...]:
    return tuple((cidr, f"{cidr} of Subnet {subnet.name}") for cidr in subnet.cidrs)


def _accepted(read: Read, decided: Source[str, Accepted], subnet: crd.Subnet) -> Subnet | None:
    """The subnet that was accepted for a Subnet object and is not in its status yet."""
    found = read.get(decided, subnet.metadata.name)
    return found.subnet if found is not None and found.uid == subnet.metadata.uid else None


def _remember(
    graph: Graph,
    subnets: Source[str, crd.Subnet],
    judged: Source[str, Judged],
    decided: Collection[str, Accepted],
) -> None:
    """Have an accepted subnet count until its status says so: of two Subnets that ask for one CIDR in turn, only one
    gets it.
    """

    def remember(news: News) -> None:
        for name in news.of(judged) | news.of(subnets):
            each, subnet = judged.values.get(name), subnets.values.get(name)
            if subnet is None or each is None or each.effective is not None or each.accepted is None:
                decided.drop(name)
            else:
                decided.put(name, Accepted(subnet.metadata.uid, each.accepted))

    graph.step("remember accepted subnets", (subnets, judged), remember)


def _define_pools(
    graph: Graph, specs: Derived[str, IPPool, IPPool], effective: Derived[str, Judged, Subnet]
) -> tuple[Source[str, Pools], Derived[str, IPPool, PoolVerdict]]:
    by_subnet: Index[str, str, IPPool] = graph.index("pools by subnet", specs, lambda name, pool: (pool.spec.subnet,))

    def judge_group(read: Read, subnet: str, members: Mapping[str, IPPool]) -> Mapping[str, PoolVerdict]:
        there = read.get(effective, subnet)
        return judge_pools(members.values(), {} if there is None else {subnet: there})

    verdicts = graph.derive("verdicts about pools", by_subnet, judge_group)

    def ranges(read: Read, subnet: str, found: Mapping[str, PoolVerdict]) -> Pools | None:
        return {name: verdict.ranges for name, verdict in found.items() if verdict.ranges} or None

    def verdict(read: Read, name: str, pool: IPPool) -> PoolVerdict:
        return (read.get(verdicts, pool.spec.subnet) or {})[name]

    return graph.derive("ranges of pools", verdicts, ranges), graph.derive("judged pools", specs, verdict)


def _spec(pool: IPPool) -> IPPool:
    meta = pool.metadata
    return IPPool(
        metadata=VersionedMeta(name=meta.name, uid=meta.uid, creation_timestamp=meta.creation_timestamp),
        spec=pool.spec,
    )
