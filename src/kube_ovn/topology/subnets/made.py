"""The Subnets that annotations of Namespaces make: the wish that shapes each, the Namespaces that it is for, and the
writes.

Reads the wishes of Namespaces, Subnets and limits. A Subnet of an administrator is never written to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from kube_ovn.derive import Derived, Graph, Read, Source
from kube_ovn.model import crd, names
from kube_ovn.model.network import Kind, cluster_ref
from kube_ovn.model.writes import Aspect, Create, Patch, WriteKey
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.inputs import ONE, Inputs
from kube_ovn.topology.outputs import Outputs, Wanted
from kube_ovn.topology.subnets.limits import Limits
from kube_ovn.topology.subnets.namespace import Wish, wished_spec

Members = Mapping[str, "Wished"]
"""The wishes for one Subnet, by Namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wished:
    """The wish of one Namespace."""

    namespace: str
    uid: str
    age: str
    wish: Wish
    problem: str
    """The problem of the wish in itself, as a sentence; empty when there is none."""

    @property
    def rank(self) -> tuple[str, str]:
        """A sort key: older Namespaces come first."""
        return (self.age, self.namespace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapers:
    """The Namespaces that may shape a Subnet."""

    first: Wished | None
    """The wish that shapes it: of the Namespaces that it was made for, or else of all, the first that can be
    understood. A Namespace that it was made for keeps it while its wish cannot be understood.
    """
    namespaces: tuple[str, ...]
    """The Namespaces that it is for; empty when it is for any, as where tenants are trusted. Without trust, those that
    it was made for keep it as long as it is there: the addresses in it are those of their Pods.
    """

    def includes(self, namespace: str) -> bool:
        return not self.namespaces or namespace in self.namespaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The derivations on Subnets that annotations make which other parts read."""

    shapers: Derived[str, Members, Shapers]
    """By the name of the Subnet."""
    excess: Derived[str, Any, frozenset[str]]
    """The names of the Subnets that are not made because there are too many: those of the youngest wishes."""


def define(
    graph: Graph, inputs: Inputs, outputs: Outputs, fabric: Fabric, limits: Limits, wishes: Source[str, Wished]
) -> Made:
    """Derive the Subnets that annotations make."""

    def shapers(read: Read, name: str, members: Members) -> Shapers:
        return _shapers(members, limits.made_for(read, name), trusts=fabric.trusts_tenants)

    def find_excess(read: Read, key: str, value: bool) -> frozenset[str]:
        made, firsts = read.all(limits.made), read.all(all_firsts)
        new = sorted((first.rank, name) for name, first in firsts.items() if not read.get(limits.there, name))
        return frozenset(name for _, name in new[max(0, fabric.namespace_subnets - len(made)) :])

    def make(read: Read, name: str, members: Members) -> Wanted | None:
        found, subnet = read.get(all_shapers, name), read.get(inputs.subnets, name)
        if found is None or found.first is None or found.first.problem:
            return None
        if subnet is None and name in (read.get(excess, ONE) or ()):
            return None
        if subnet is not None and (
            names.MADE_BY_NAMESPACE not in subnet.metadata.labels or subnet.metadata.deletion_timestamp
        ):
            return None  # a user made it, or the former Subnet of this name is not gone yet
        ordered = _in_order(members, limits.made_for(read, name))
        if subnet is not None and ordered[0] != found.first:
            return None  # while the wish of the first cannot be understood, the Subnet stays as it is
        sharing = _sharing(found.first, [each for each in ordered if found.includes(each.namespace)])
        spec = wished_spec(found.first.wish, sharing)
        return _write(name, found.first, spec, subnet, trusts=fabric.trusts_tenants)

    makers = graph.index("wishes by subnet to make", wishes, _makes)
    all_shapers = graph.derive("shapers of subnets to make", makers, shapers)
    all_firsts = graph.derive("first wishes by subnet to make", all_shapers, lambda read, name, each: each.first)
    excess = graph.derive("subnets that are too many", inputs.one, find_excess)
    outputs.writes.follow(graph.derive("Subnets of Namespaces", makers, make))
    return Made(shapers=all_shapers, excess=excess)


def agree(first: Wish, other: Wish) -> bool:
    """Whether the shape of the first wish has all that the shape of the second asks for."""
    return all(first.shape.get(key) == text for key, text in other.shape.items())


def _makes(name: str, each: Wished) -> tuple[str, ...]:
    return () if each.wish.makes is None else (each.wish.makes,)


def _shapers(members: Members, made_for: tuple[str, ...], *, trusts: bool) -> Shapers:
    ordered = _in_order(members, made_for)
    keeping = [each for each in ordered if each.namespace in made_for]
    others = [] if made_for and not trusts else ordered
    first = next((each for each in keeping or others if not each.problem), keeping[0] if keeping else None)
    alone = () if first is None else (first.namespace,)
    return Shapers(first=first, namespaces=() if trusts else made_for or alone)


def _in_order(members: Members, made_for: Sequence[str]) -> list[Wished]:
    """The wishes for a Subnet: those of the Namespaces that it was made for come first, then those of older Namespaces.
    So an older Namespace does not take over a Subnet of another.
    """
    places = {namespace: place for place, namespace in enumerate(made_for)}
    return sorted(members.values(), key=lambda each: (places.get(each.namespace, len(places)), *each.rank))


def _sharing(first: Wished, ordered: Sequence[Wished]) -> list[str]:
    """The Namespaces that share a Subnet: their wishes can be understood, and agree with the first."""
    return [each.namespace for each in ordered if not each.problem and agree(first.wish, each.wish)]


def _write(
    name: str, first: Wished, spec: Mapping[str, object], subnet: crd.Subnet | None, *, trusts: bool
) -> Wanted | None:
    """The write that makes a Subnet, or gives it the shape that is wanted; None when it has that. A Subnet that an
    administrator makes meanwhile stays as it is: one is made only where there is none, and changed by its UID.
    """
    maker = cluster_ref(Kind.NAMESPACE, first.namespace, first.uid)
    key = WriteKey(f"{Kind.SUBNET} {name}", Aspect.OBJECT)
    if subnet is None:
        metadata = {"name": name, "labels": {names.MADE_BY_NAMESPACE: "true"}, "finalizers": [names.FINALIZER]}
        body = {"metadata": metadata, "spec": spec}
        return Wanted(key, Create(object=cluster_ref(Kind.SUBNET, name), body=body, maker=maker))
    changes = _changes(subnet.spec, spec, trusts=trusts)
    ref = cluster_ref(Kind.SUBNET, name, subnet.metadata.uid)
    return Wanted(key, Patch(object=ref, body={"spec": changes}, maker=maker)) if changes else None


def _changes(spec: crd.SubnetSpec, wanted: Mapping[str, object], *, trusts: bool) -> dict[str, object]:
    """The fields of a spec that are to change. Where tenants are not trusted, an administrator lets a Namespace in by
    adding it to the Subnet, and it stays.
    """
    parsed = msgspec.convert(wanted, crd.SubnetSpec)
    fields = {field.encode_name: field.name for field in msgspec.structs.fields(crd.SubnetSpec)}
    changes = {
        key: value for key, value in wanted.items() if getattr(spec, fields[key]) != getattr(parsed, fields[key])
    }
    if "namespaces" in changes and not trusts:
        all_of_them = list(dict.fromkeys([*parsed.namespaces, *spec.namespaces]))
        if len(all_of_them) == len(spec.namespaces):
            del changes["namespaces"]
        else:
            changes["namespaces"] = all_of_them
    return changes
