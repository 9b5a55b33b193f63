"""Namespaces: the subnets that each is bound to, and the annotations that are written back.

Reads Namespaces, Subnets, IPPools and effective subnets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kube_ovn.derive import Graph, Index, Read, Source
from kube_ovn.model import crd, names
from kube_ovn.model.addr import format_list
from kube_ovn.model.crd import IPPool, LabelSelector
from kube_ovn.model.kube import Namespace
from kube_ovn.model.network import Kind, Told, cluster_ref
from kube_ovn.model.writes import Annotate, Aspect, Create, WriteKey
from kube_ovn.topology.addresses.grants import READY
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.inputs import ONE, Inputs
from kube_ovn.topology.outputs import Outputs, Wanted
from kube_ovn.topology.subnets import limits, made
from kube_ovn.topology.subnets.addressing import Addressing
from kube_ovn.topology.subnets.made import Wished, agree
from kube_ovn.topology.subnets.namespace import (
    Binding,
    Wish,
    canonical,
    matches,
    namespace_problem,
    namespace_ref,
    parse_wish,
    told,
    told_annotations,
    wish_problem,
    written,
)
from kube_ovn.topology.subnets.scope import Scopes, Tenant

_BY_LABELS = ("labels", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selector:
    """The Namespaces that a Subnet binds."""

    name: str
    age: str
    namespaces: tuple[str, ...]
    selectors: tuple[LabelSelector, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bound:
    """The binding of a Namespace, and the problem of the wish of its user, as a sentence."""

    binding: Binding
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """The write to a Namespace, and the message for its user."""

    write: Wanted | None
    told: Told | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bindings:
    """The derivations on Namespaces that other parts read."""

    bindings: Source[str, Binding]
    """By Namespace."""
    wished: Index[str, str, Wished]
    """The wishes that name a Subnet, by the name of the Subnet."""


def define(
    graph: Graph, inputs: Inputs, outputs: Outputs, fabric: Fabric, addressing: Addressing, scopes: Scopes
) -> Bindings:
    """Derive the bindings of Namespaces, the Subnets that their annotations make, and the annotations that are written
    to them.
    """
    binder = _Binder(graph, inputs, outputs, fabric, addressing, scopes)
    bound = graph.derive("bound Namespaces", inputs.namespaces, binder.bind)

    def answer(read: Read, name: str, namespace: Namespace) -> _Answer:
        each, write = read.get(bound, name), None
        assert each is not None, "every Namespace has a binding"
        binding = each.binding
        if not binding.refusal and not binding.pending and binder.is_ready(read, binding.subnets[0]):
            wanted = binder.annotations(read, binding)
            if changes := told_annotations(namespace, wanted, binder.wish_of(read, name)):
                key = WriteKey(namespace.metadata.uid, Aspect.ANNOTATIONS)
                write = Wanted(key, Annotate(object=namespace_ref(namespace), annotations=changes))
        return _Answer(write=write, told=namespace_problem(namespace, each.problem) if each.problem else None)

    answers = graph.derive("answers to Namespaces", inputs.namespaces, answer)
    outputs.writes.follow(answers, lambda answer: answer.write)
    outputs.telling.follow(answers, lambda answer: answer.told)
    return Bindings(
        bindings=graph.derive("bindings", bound, lambda read, name, each: each.binding), wished=binder.wished
    )


class _Binder:
    """The derivations that lead to a binding."""

    def __init__(
        self,
        graph: Graph,
        inputs: Inputs,
        outputs: Outputs,
        fabric: Fabric,
        addressing: Addressing,
        scopes: Scopes,
    ) -> None:
        self._inputs, self._fabric, self._addressing, self._scopes = inputs, fabric, addressing, scopes
        selectors = graph.derive("selectors of subnets", inputs.subnets, _selector)
        self._selectors = graph.index("subnets by Namespace", selectors, _selected)
        self._pools: Index[str, str, IPPool] = graph.index(
            "pools by Namespace", addressing.pool_specs, lambda name, pool: pool.spec.namespaces
        )
        self._leaving = graph.derive("subnets in deletion", inputs.subnets, _is_leaving)
        self._there = graph.derive("names of subnets", inputs.subnets, lambda read, name, subnet: True)
        self._limits = limits.define(graph, inputs, fabric, self._there)
        self._of_users = graph.derive("CIDRs of users' subnets", inputs.subnets, _cidr_of_user)
        self._unwished = graph.derive("bindings without wishes", inputs.namespaces, self._bind_by_subnets)
        wishes = graph.derive("wishes of Namespaces", inputs.namespaces, self._wish)
        self._wishes = wishes
        self.wished = graph.index("wishes by subnet", wishes, lambda name, each: each.wish.switches)
        self._made = made.define(graph, inputs, outputs, fabric, self._limits, wishes)

    def _bind_by_subnets(self, read: Read, name: str, namespace: Namespace) -> Binding:
        """The binding of a Namespace that has no wish of its own."""
        named, labelled = read.select(self._selectors, ("name", name)), read.select(self._selectors, _BY_LABELS)
        labels = namespace.metadata.labels
        bound = {**named, **{k: v for k, v in labelled.items() if any(matches(each, labels) for each in v.selectors)}}
        ordered = sorted(bound.values(), key=lambda each: (each.age, each.name))
        return Binding(
            subnets=tuple(each.name for each in ordered) or (self._fabric.default,),
            pools=tuple(sorted(read.select(self._pools, name))),
        )

    def _wish(self, read: Read, name: str, namespace: Namespace) -> Wished | None:
        known = written(namespace)
        if known is None:
            binding = read.get(self._unwished, name)
            known = {} if binding is None else self.annotations(read, binding)
        wish = parse_wish(namespace, known)
        if wish.makes in self._fabric.initial:
            wish = replace(wish, shape={})  # these Subnets are the administrator's to shape
        if wish == Wish():
            return None
        problem = wish_problem(wish) or self._limits.against(read, name, wish)
        meta = namespace.metadata
        return Wished(namespace=name, uid=meta.uid, age=meta.creation_timestamp, wish=wish, problem=problem)

    def annotations(self, read: Read, binding: Binding) -> dict[str, str]:
        """The annotations that a Namespace with this binding should have."""
        found = [read.get(self._addressing.effective, name) for name in binding.subnets]
        return told([subnet for subnet in found if subnet is not None], binding.pools)

    def wish_of(self, read: Read, name: str) -> Wish:
        found = read.get(self._wishes, name)
        return Wish() if found is None else found.wish

    def is_ready(self, read: Read, subnet: str) -> bool:
        return read.get(self._addressing.readiness, subnet) == READY

    def bind(self, read: Read, name: str, namespace: Namespace) -> _Bound:
        wished, bound = read.get(self._wishes, name), read.get(self._unwished, name)
        assert bound is not None, "every Namespace has a binding"
        if wished is None:
            return _Bound(binding=bound, problem="")
        wish, problem, tenant = wished.wish, wished.problem, Tenant(name, bound.subnets)
        if wish.pools:
            bound = replace(bound, pools=wish.pools)
        if not wish.switches:
            return _Bound(binding=bound, problem=problem or self._against_pools(read, tenant, wish))
        problem = problem or self._clash(read, tenant, wish)
        if problem:
            return _Bound(binding=replace(bound, subnets=(), refusal=problem), problem=problem)
        if wish.makes is not None:
            bound, problem = self._bind_to_own(read, bound, tenant, wish.makes)
        else:
            bound, problem = self._bind_to_others(read, bound, tenant, wish)
        tenant = Tenant(name, bound.subnets)
        problem = problem or self._against_pools(read, tenant, wish) or self._idle(read, wish)
        return _Bound(binding=bound, problem=problem)

    def _idle(self, read: Read, wish: Wish) -> str:
        """The sentence on the annotations that shape no subnet, because a user made the one that they name; empty when
        there are none. Excluded addresses do not count: other versions left theirs.
        """
        subnets = [wish.makes] if wish.makes is not None else list(wish.switches)
        idle = sorted(wish.shape.keys() - {names.CIDR, names.EXCLUDE_IPS})
        if not idle or any(read.get(self._of_users, each) is None for each in subnets):
            return ""
        return (
            f"annotations {format_list(idle)} do nothing: they shape a subnet that annotations make, and Subnet "
            f"{format_list(subnets)} is an object of its own; change its spec, or remove them"
        )

    def _bind_to_others(self, read: Read, bound: Binding, tenant: Tenant, wish: Wish) -> tuple[Binding, str]:
        """The binding to Subnets that are there, and the problem of those that are not, or not for the Namespace."""
        against = {each: self._against(read, tenant, each) for each in wish.switches}
        there = tuple(each for each in wish.switches if read.get(self._there, each) and not against[each])
        problem = next(filter(None, against.values()), "")
        missing = [each for each in wish.switches if each not in there and not against[each]]
        if missing and not problem:
            problem = (
                f"annotation {names.LOGICAL_SWITCH} of Namespace {tenant.namespace} names {format_list(missing)}, "
                f"which is no subnet: make a Subnet of that name, or add annotation {names.CIDR}"
            )
        return replace(bound, subnets=there, refusal="" if there else problem), problem

    def _against(self, read: Read, tenant: Tenant, name: str) -> str:
        """The sentence why the Pods of a Namespace cannot be in a Subnet; empty when they can."""
        if name == self._fabric.join:
            return f"subnet {name} joins the nodes and is not for Pods: choose another"
        return self._scopes.against_subnet(read, tenant, name)

    def _against_pools(self, read: Read, tenant: Tenant, wish: Wish) -> str:
        """The sentence why an IPPool that a Namespace wishes for is not for it; empty when all are."""
        pools = [pool for each in wish.pools if (pool := read.get(self._addressing.pool_specs, each)) is not None]
        return next(filter(None, (self._scopes.against_pool(read, tenant, pool) for pool in pools)), "")

    def _bind_to_own(self, read: Read, bound: Binding, tenant: Tenant, makes: str) -> tuple[Binding, str]:
        """The binding to the Subnet that the annotations of a Namespace make, and the problem of that Subnet."""
        judged, ready = read.get(self._addressing.judged, makes), self.is_ready(read, makes)
        if not self._fabric.trusts_tenants and (made_for := self._limits.made_for(read, makes)):
            # A Subnet that annotations made gives addresses once it says that it is for this Namespace.
            ready = ready and tenant.namespace in made_for
        if words := "" if ready else read.get(self._inputs.unwritten, f"{Kind.SUBNET} {makes}"):
            # The Namespace is told when the write fails, its Pods here.
            return replace(bound, subnets=(makes,), pending=True, refusal=f"subnet {makes} cannot be made: {words}"), ""
        refusal = f"subnet {makes}: {judged.refusal}" if judged is not None and judged.refusal else ""
        if not refusal and read.get(self._leaving, makes):
            refusal = f"subnet {makes} is being deleted: `kubectl describe subnet {makes}` says what it waits for"
        return replace(bound, subnets=(makes,), pending=not ready, refusal="" if ready else refusal), refusal

    def _clash(self, read: Read, tenant: Tenant, wish: Wish) -> str:
        """The sentence why a Namespace cannot have the Subnet that it wishes for: it is made for another Namespace, or
        a user made it with another CIDR. Empty when the Namespace can have it.
        """
        if wish.makes is None:
            return ""
        makes, cidr = wish.makes, wish.shape[names.CIDR]
        of_user = read.get(self._of_users, makes)
        if of_user is not None:
            if of_user == cidr:
                return self._scopes.against_subnet(read, tenant, makes)
            return (
                f"Subnet {makes} is an object of its own with CIDR {of_user}, and annotation "
                f"{names.CIDR} says {cidr}: remove the annotation to use the Subnet, or choose another name"
            )
        if makes in (read.get(self._made.excess, ONE) or ()):
            return (
                f"there are {self._fabric.namespace_subnets} Subnets that annotations of Namespaces made, which is the "
                f"most: remove one, or have an administrator make Subnet {makes}"
            )
        shapers = read.get(self._made.shapers, makes)
        if shapers is None or not shapers.includes(tenant.namespace):
            return (
                f"subnet {makes} is made by the annotations of another Namespace, and is for its Pods only: choose "
                "another name, or have an administrator make a Subnet for both Namespaces"
            )
        first = shapers.first
        if first is None or agree(first.wish, wish):
            return ""
        return (
            f"subnet {makes} is made by the annotations of Namespace {first.namespace} with CIDR "
            f"{first.wish.shape[names.CIDR]}; those of Namespace {tenant.namespace}, with CIDR {cidr}, say "
            "something else: choose another name, or say the same in both"
        )


def define_initial(graph: Graph, inputs: Inputs, outputs: Outputs, fabric: Fabric) -> None:
    """Derive the initial Subnets that are missing: those that must exist in any case."""
    initial = graph.collection("initial subnets", str, dict)
    initial.replace({name: dict(spec) for name, spec in fabric.initial.items()})

    def create(read: Read, name: str, spec: Mapping[str, object]) -> Wanted | None:
        if read.get(inputs.subnets, name) is not None:
            return None
        body = {"metadata": {"name": name, "finalizers": [names.FINALIZER]}, "spec": dict(spec)}
        write = Create(object=cluster_ref(Kind.SUBNET, name), body=body)
        return Wanted(WriteKey(f"{Kind.SUBNET} {name}", Aspect.OBJECT), write)

    outputs.writes.follow(graph.derive("missing initial subnets", initial, create))


def _selector(read: Read, name: str, subnet: crd.Subnet) -> _Selector | None:
    meta, spec = subnet.metadata, subnet.spec
    if names.MADE_BY_NAMESPACE in meta.labels or meta.deletion_timestamp:
        return None
    if not spec.namespaces and not spec.namespace_selectors:
        return None
    return _Selector(
        name=name, age=meta.creation_timestamp, namespaces=spec.namespaces, selectors=spec.namespace_selectors
    )


def _is_leaving(read: Read, name: str, subnet: crd.Subnet) -> bool | None:
    return bool(subnet.metadata.deletion_timestamp) or None


def _cidr_of_user(read: Read, name: str, subnet: crd.Subnet) -> str | None:
    return None if names.MADE_BY_NAMESPACE in subnet.metadata.labels else canonical(names.CIDR, subnet.spec.cidr_block)


def _selected(name: str, each: _Selector) -> Sequence[tuple[str, str]]:
    """The groups of a Subnet: one for each Namespace that it names, and one for all Subnets that select by labels."""
    return [*(("name", namespace) for namespace in each.namespaces), *([_BY_LABELS] if each.selectors else [])]
