"""Subnets, pools and Namespaces: which subnets are in effect, and which of them a Namespace's Pods fall to.

Holds what was worked out in earlier passes and works out anew only what may have changed; the decisions are in
`subnets`, `pools` and `namespace`. Whether a subnet is in effect is read from its status (`subnets.in_effect`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import msgspec

from kube_ovn.model import crd, names
from kube_ovn.model.addr import Address, Network, format_list
from kube_ovn.model.kube import Namespace, Node
from kube_ovn.model.network import Kind, Subnet, cluster_ref
from kube_ovn.model.ranges import Ranges, address, host_ranges
from kube_ovn.model.writes import Annotate, Apply, Aspect, Create, Delete, Write, WriteKey
from kube_ovn.topology.ipam import Ledger
from kube_ovn.topology.namespace import (
    Wish,
    namespace_problem,
    namespace_ref,
    parse_wish,
    selects,
    told,
    told_annotations,
    wish_problem,
    wished_spec,
)
from kube_ovn.topology.node import internal_addresses
from kube_ovn.topology.outbox import Outbox
from kube_ovn.topology.pools import PoolVerdict, settle_pools
from kube_ovn.topology.subnets import Surroundings, Verdict, in_effect, settle


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric:
    """The configured network: one router, the subnet Pods fall to, the subnet that joins the nodes, and Services."""

    router: str
    default: str
    join: str
    initial: Mapping[str, Mapping[str, object]]
    """Specs of the subnets that are made when they are not there, by name: these two."""
    services: tuple[Network, ...] = ()
    domain: str = ""
    """Of the cluster's names in DNS; empty: the fabric does not answer for them."""
    dns: tuple[Address, ...] = ()
    """Where kubelets tell Pods that there is a DNS server, one a family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """The objects a network is made of, by UID."""

    subnets: Mapping[str, crd.Subnet]
    pools: Mapping[str, crd.IPPool]
    namespaces: Mapping[str, Namespace]
    nodes: Mapping[str, Node]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Where the Pods of a Namespace get their addresses: subnets in order, and pools if there are any.

    `pending`: a subnet that is wished for and not there yet, so that Pods wait without a word. `refusal`: why there is
    none.
    """

    subnets: tuple[str, ...]
    pools: tuple[str, ...] = ()
    pending: bool = False
    refusal: str = ""


class Settled:
    """What a pass changed, by name."""

    def __init__(self) -> None:
        self.subnets: set[str] = set()
        """Subnets that were looked at."""
        self.effective: set[str] = set()
        """Those of them whose ports may have to change."""
        self.pools: set[str] = set()
        """Pools that were looked at."""
        self.nodes = False
        """Whether addresses of nodes changed."""
        self.namespaces: set[str] = set()
        """Namespaces bound to others than before."""
        self.lost: list[str] = []
        """Keys of owners whose subnet is gone."""


class NetworkState:
    """The network's part of the desired state, kept up to date pass by pass."""

    def __init__(self, fabric: Fabric, ledger: Ledger, outbox: Outbox, is_taken: Callable[[str], bool]) -> None:
        """`is_taken`: whether a port has a name already."""
        self.fabric, self._ledger, self._outbox = fabric, ledger, outbox
        self._is_taken = is_taken
        self.subnets: dict[str, crd.Subnet] = {}
        self.pools: dict[str, crd.IPPool] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.pool_verdicts: dict[str, PoolVerdict] = {}
        self.bindings: dict[str, Binding] = {}
        self._essences: dict[str, tuple[object, ...]] = {}
        self._pool_specs: dict[str, crd.IPPoolSpec] = {}
        self._pool_ranges: dict[str, dict[str, tuple[Ranges, ...]]] = {}  # by subnet and pool
        self._features: dict[str, tuple[object, ...]] = {}  # what ports depend on, by subnet
        self._nodes: tuple[tuple[Address, str], ...] = ()
        self._node_uids: frozenset[str] = frozenset()
        self._decided: dict[str, Subnet] = {}
        self._wishes: dict[str, tuple[Namespace, Wish]] = {}  # by UID, of Namespaces that have one
        self.writes: set[WriteKey] = set()
        """Those about Subnets that annotations make, and about those not there yet."""

    def remember(self, subnets: Iterable[crd.Subnet]) -> None:
        """Take over what is in effect, before the first pass decides anything: grants are to be found in it."""
        for subnet in subnets:
            effective = in_effect(subnet)
            if effective is not None and self._ledger.subnet(effective.name) is None:
                self._ledger.put_subnet(effective)

    def stands(self, subnets: Iterable[crd.Subnet]) -> bool:
        """Whether the subnets that must be there in any case are in effect."""
        return {subnet.metadata.name for subnet in subnets if in_effect(subnet)} >= self.fabric.initial.keys()

    def settle(
        self, objects: Objects, changed: Collection[str] | None, touched: Collection[str], *, standing: bool = True
    ) -> Settled:
        """Bring everything up to date. `touched`: subnets whose grants changed since the last pass, for whom a change
        that was refused may be possible now.
        """
        done = Settled()
        news = self._look_at_subnets(objects, changed, done) | self._look_at_pools(objects, changed, done)
        done.nodes = self._look_at_nodes(objects, changed)
        news |= done.nodes or changed is None
        retry = any(self.verdicts[name].refusal for name in touched if name in self.verdicts)
        if news or retry:
            before = self.verdicts
            self._settle_subnets(done)
            news |= self.verdicts != before
        if news:
            done.subnets |= self.subnets.keys()
        if standing:
            self._settle_namespaces(objects, changed, done, all_of_them=news)
        else:  # what Namespaces say is understood only beside what is in effect
            self._make_subnets()
        return done

    def usable(self, name: str) -> bool:
        """Whether new addresses are given out in a subnet."""
        subnet = self.subnets.get(name)
        return subnet is not None and not subnet.metadata.deletion_timestamp and self._ledger.subnet(name) is not None

    def coming(self, name: str) -> bool:
        """Whether a subnet will be usable in a moment: it is being made, or its acceptance being written down."""
        subnet = self.subnets.get(name)
        if subnet is None:
            return name in self.fabric.initial
        return name in self._decided and not subnet.metadata.deletion_timestamp

    def spec(self, name: str) -> crd.SubnetSpec:
        subnet = self.subnets.get(name)
        return crd.SubnetSpec() if subnet is None else subnet.spec

    def _look_at_subnets(self, objects: Objects, changed: Collection[str] | None, done: Settled) -> bool:
        """Whether a Subnet came, went, or changed in what matters here: not in what its status counts."""
        if changed is not None and not any(uid in objects.subnets or uid in self._essences for uid in changed):
            return False
        before = self.subnets
        self.subnets = {subnet.metadata.name: subnet for subnet in objects.subnets.values()}
        done.subnets |= {name for name, subnet in self.subnets.items() if before.get(name) is not subnet}
        essences = {uid: _essence(subnet) for uid, subnet in objects.subnets.items()}
        news, self._essences = essences != self._essences, essences
        return news

    def _look_at_pools(self, objects: Objects, changed: Collection[str] | None, done: Settled) -> bool:
        if changed is not None and not any(uid in objects.pools or uid in self._pool_specs for uid in changed):
            return False
        before = self.pools
        self.pools = {pool.metadata.name: pool for pool in objects.pools.values()}
        done.pools |= {name for name in {*before, *self.pools} if before.get(name) is not self.pools.get(name)}
        specs = {uid: pool.spec for uid, pool in objects.pools.items()}
        news, self._pool_specs = specs != self._pool_specs, specs
        return news

    def _look_at_nodes(self, objects: Objects, changed: Collection[str] | None) -> bool:
        if changed is not None and not any(uid in objects.nodes or uid in self._node_uids for uid in changed):
            return False
        self._node_uids = frozenset(objects.nodes)
        nodes = tuple(
            sorted(
                ((each, node.metadata.name) for node in objects.nodes.values() for each in internal_addresses(node)),
                key=str,
            )
        )
        news, self._nodes = nodes != self._nodes, nodes
        return news

    @property
    def around(self) -> Surroundings:
        return Surroundings(
            router=self.fabric.router, services=self.fabric.services, nodes=self._nodes, is_taken=self._is_taken
        )

    def joins(self, port: str) -> str | None:
        """The Subnet whose joint with the router has a port of this name."""
        name = port.removesuffix(names.switch_port("", self.fabric.router))
        return name if name != port and name in self.subnets else None

    def _settle_subnets(self, done: Settled) -> None:
        # Whoever has addresses in a subnet keeps them, whatever somebody wrote into its status.
        used = {name: subnet for name, subnet in self._ledger.subnets.items() if self._ledger.keys(name)}
        self.verdicts = settle(self.subnets.values(), {**self._decided, **used}, self._users, self.around)
        self._decided = {}
        effective: dict[str, Subnet] = {}
        for name, subnet in self.subnets.items():
            held, accepted = in_effect(subnet) or used.get(name), self.verdicts[name].accepted
            if held is None and accepted is not None:
                self._decided[name] = accepted
            elif held is not None:
                effective[name] = self._keep_users(name, held if accepted is None else _both(held, accepted))
        self.pool_verdicts = settle_pools(self.pools.values(), effective)
        for name in [name for name in self._ledger.subnets if name not in effective]:
            done.lost += self._ledger.drop_subnet(name)
            self._features.pop(name, None)
            done.effective.add(name)
        for name, addressing in effective.items():
            self._put(name, addressing, done)

    def _put(self, name: str, subnet: Subnet, done: Settled) -> None:
        ranges = {
            pool.metadata.name: verdict.ranges
            for pool in self.pools.values()
            if pool.spec.subnet == name and (verdict := self.pool_verdicts[pool.metadata.name]).ranges
        }
        if self._ledger.subnet(name) != subnet or self._pool_ranges.get(name) != ranges:
            self._pool_ranges[name] = ranges
            self._ledger.put_subnet(subnet, ranges)
        spec = self.subnets[name].spec
        features = (subnet.cidrs, subnet.gateways, spec.enable_dhcp, spec.mtu)
        if self._features.get(name) != features:
            self._features[name] = features
            done.effective.add(name)

    def _keep_users(self, name: str, subnet: Subnet) -> Subnet:
        """The subnet as it is to be; as it was, if somebody wrote into its status what leaves users outside."""
        present = self._ledger.subnet(name)
        if present is None or all(subnet.has_host(each) for each, _ in self._ledger.owners(name)):
            return subnet
        self.verdicts[name] = Verdict(accepted=present, refusal="addresses in use lie outside of its status")
        return present

    def _users(self, name: str) -> list[tuple[Address, str]]:
        return [(each, owner.label) for each, owner in self._ledger.owners(name)]

    def _settle_namespaces(
        self, objects: Objects, changed: Collection[str] | None, done: Settled, *, all_of_them: bool
    ) -> None:
        uids = objects.namespaces.keys() if changed is None or all_of_them else changed
        looked_at = [namespace for uid in uids if (namespace := objects.namespaces.get(uid)) is not None]
        gone = [uid for uid in self._wishes if uid not in objects.namespaces]
        for uid in gone:
            del self._wishes[uid]
        wishes = False
        for namespace in looked_at:
            wishes |= self._read_wish(namespace)
        if wishes or gone or all_of_them:
            self._make_subnets()
            looked_at = list({ns.metadata.uid: ns for ns in (*looked_at, *self._wishing())}.values())
        for namespace in looked_at:
            self._bind(namespace, done)
        if gone or changed is None or len(self.bindings) > len(objects.namespaces):
            there = {namespace.metadata.name for namespace in objects.namespaces.values()}
            self.bindings = {name: binding for name, binding in self.bindings.items() if name in there}

    def _wishing(self) -> list[Namespace]:
        return [namespace for namespace, _ in self._wishes.values()]

    def _read_wish(self, namespace: Namespace) -> bool:
        """Whether a Namespace's wish changed."""
        uid = namespace.metadata.uid
        before = self._wishes.pop(uid, None)
        wish = parse_wish(namespace, self._told(self._bound_by_subnets(namespace)))
        if wish.makes in self.fabric.initial:
            wish = replace(wish, shape={})  # these are the administrator's to shape
        if wish != Wish():
            self._wishes[uid] = (namespace, wish)
        return (before[1] if before is not None else Wish()) != wish

    def _bound_by_subnets(self, namespace: Namespace) -> Binding:
        """What binds a Namespace if it has no wish of its own."""
        bound = [
            subnet
            for subnet in self.subnets.values()
            if names.MADE_BY_NAMESPACE not in subnet.metadata.labels
            and not subnet.metadata.deletion_timestamp
            and selects(subnet.spec, namespace)
        ]
        ordered = sorted(bound, key=lambda subnet: (subnet.metadata.creation_timestamp, subnet.metadata.name))
        pools = [pool.metadata.name for pool in self.pools.values() if namespace.metadata.name in pool.spec.namespaces]
        return Binding(
            subnets=tuple(subnet.metadata.name for subnet in ordered) or (self.fabric.default,),
            pools=tuple(sorted(pools)),
        )

    def _told(self, binding: Binding) -> dict[str, str]:
        subnets = [subnet for name in binding.subnets if (subnet := self._ledger.subnet(name)) is not None]
        return told(subnets, binding.pools)

    def _make_subnets(self) -> None:
        """The Subnets that Namespaces wish for, and those that must be there in any case."""
        before, self.writes = self.writes, set()
        for name, spec in self.fabric.initial.items():
            if name not in self.subnets:
                body = {"metadata": {"name": name, "finalizers": [names.FINALIZER]}, "spec": dict(spec)}
                self._write(f"Subnet {name}", Create(object=cluster_ref(Kind.SUBNET, name), body=body))
        makers: dict[str, list[tuple[Namespace, Wish]]] = {}
        wanted: set[str] = set()
        for namespace, wish in sorted(self._wishes.values(), key=lambda each: _age(each[0])):
            wanted |= set(wish.switches)
            if wish.makes is not None:
                makers.setdefault(wish.makes, []).append((namespace, wish))
        for name, those in makers.items():
            sound = [each for each in those if wish_problem(*each) is None]
            # While the one who shapes a Subnet says what cannot be understood, it stays as it is.
            if sound and (sound[0] is those[0] or name not in self.subnets):
                self._make_subnet(name, sound)
        for name, subnet in self.subnets.items():
            meta = subnet.metadata
            if names.MADE_BY_NAMESPACE in meta.labels and name not in wanted and not meta.deletion_timestamp:
                self._write(meta.uid, Delete(object=cluster_ref(Kind.SUBNET, name, meta.uid)))
        for key in before - self.writes:
            self._outbox.put(key, None)

    def _make_subnet(self, name: str, makers: list[tuple[Namespace, Wish]]) -> None:
        """Several Namespaces may share a Subnet; the oldest says what it looks like."""
        subnet = self.subnets.get(name)
        if subnet is not None and (
            names.MADE_BY_NAMESPACE not in subnet.metadata.labels or subnet.metadata.deletion_timestamp
        ):
            return  # somebody's own object, or the last one of this name is not gone yet
        first = makers[0][1]
        alike = [namespace.metadata.name for namespace, wish in makers if _agree(first, wish)]
        spec = wished_spec(first, alike)
        if subnet is not None and names.FINALIZER in subnet.metadata.finalizers and _has(subnet.spec, spec):
            return
        metadata = {"name": name, "labels": {names.MADE_BY_NAMESPACE: "true"}, "finalizers": [names.FINALIZER]}
        body = {"metadata": metadata, "spec": spec}
        self._write(f"Subnet {name}", Apply(object=cluster_ref(Kind.SUBNET, name), body=body))

    def _write(self, identity: str, write: Write) -> None:
        key = WriteKey(identity, Aspect.OBJECT)
        self.writes.add(key)
        if self._outbox.writes.get(key) != write:
            self._outbox.put(key, write)

    def _bind(self, namespace: Namespace, done: Settled) -> None:
        meta = namespace.metadata
        wish = self._wishes[meta.uid][1] if meta.uid in self._wishes else Wish()
        bound, problem = self._binding(namespace, wish)
        self._outbox.tell(meta.uid, None if problem is None else namespace_problem(namespace, problem))
        if self.bindings.get(meta.name) != bound:
            self.bindings[meta.name] = bound
            done.namespaces.add(meta.name)
        write = None
        if not bound.refusal and not bound.pending and self.usable(bound.subnets[0]):
            annotations = told_annotations(namespace, self._told(bound), wish)
            if annotations:
                write = Annotate(object=namespace_ref(namespace), annotations=annotations)
        self._outbox.put(WriteKey(meta.uid, Aspect.ANNOTATIONS), write)

    def _binding(self, namespace: Namespace, wish: Wish) -> tuple[Binding, str | None]:
        """Where a Namespace's Pods go, and what is wrong with what its user wrote."""
        bound = self._bound_by_subnets(namespace)
        if wish.pools:
            bound = replace(bound, pools=wish.pools)
        problem = wish_problem(namespace, wish)
        if not wish.switches:
            return bound, problem
        there = tuple(name for name in wish.switches if name in self.subnets)
        problem = problem or self._clash(namespace, wish)
        if problem is not None:
            return replace(bound, subnets=(), refusal=problem), problem
        if wish.makes is not None:
            verdict = self.verdicts.get(wish.makes)
            refusal = f"subnet {wish.makes}: {verdict.refusal}" if verdict is not None and verdict.refusal else ""
            usable = self.usable(wish.makes)
            return (
                replace(bound, subnets=wish.switches, pending=not usable, refusal="" if usable else refusal),
                refusal or None,
            )
        if there != wish.switches:
            missing = format_list(name for name in wish.switches if name not in there)
            problem = (
                f"annotation {names.LOGICAL_SWITCH} names {missing}, which is no subnet: "
                f"make a Subnet of that name, or add annotation {names.CIDR}"
            )
        return replace(bound, subnets=there, refusal="" if there else problem or ""), problem

    def _clash(self, namespace: Namespace, wish: Wish) -> str | None:
        """What stands between a Namespace and the Subnet it wishes for: another's wish, or somebody's own object."""
        if wish.makes is None:
            return None
        name, cidr = wish.makes, wish.shape[names.CIDR]
        subnet = self.subnets.get(name)
        if subnet is not None and names.MADE_BY_NAMESPACE not in subnet.metadata.labels:
            if subnet.spec.cidr_block == cidr:
                return None
            return (
                f"Subnet {name} is an object of its own with CIDR {subnet.spec.cidr_block}, and annotation "
                f"{names.CIDR} says {cidr}: remove the annotation to use the Subnet, or choose another name"
            )
        sound = [each for each in self._wishes.values() if each[1].makes == name and wish_problem(*each) is None]
        first, theirs = min(sound, key=lambda each: _age(each[0]))
        if _agree(theirs, wish):
            return None
        return (
            f"subnet {name} is made by the annotations of Namespace {first.metadata.name} with CIDR "
            f"{theirs.shape[names.CIDR]}; those of Namespace {namespace.metadata.name}, with CIDR {cidr}, say "
            "something else: choose another name, or say the same in both"
        )


def _essence(subnet: crd.Subnet) -> tuple[object, ...]:
    meta, status = subnet.metadata, subnet.status
    return (
        meta.name,
        meta.labels,
        meta.finalizers,
        meta.deletion_timestamp,
        subnet.spec,
        status.cidr_block,
        status.gateway,
    )


def _both(held: Subnet, accepted: Subnet) -> Subnet:
    """The subnet until its status says what was accepted: what will not be in it is not handed out any more."""
    leaving: list[tuple[Address, Address]] = []
    for cidr in held.cidrs:
        stay = Ranges.of(span for c in accepted.cidrs if c.version == cidr.version for span in host_ranges(c).spans)
        gone = host_ranges(cidr) - stay
        leaving += [(address(cidr.version, low), address(cidr.version, high)) for low, high in gone.spans]
    leaving += [(gateway, gateway) for gateway in accepted.gateways if gateway not in held.gateways]
    return replace(held, exclude=(*accepted.exclude, *leaving))


def _agree(first: Wish, other: Wish) -> bool:
    """Whether the second says nothing else than the first."""
    return all(first.shape.get(key) == text for key, text in other.shape.items())


def _has(spec: crd.SubnetSpec, wanted: Mapping[str, object]) -> bool:
    """Whether a spec has the values of all fields that are wanted."""
    parsed = msgspec.convert(wanted, crd.SubnetSpec)
    fields = {field.encode_name: field.name for field in msgspec.structs.fields(crd.SubnetSpec)}
    return all(getattr(spec, fields[key]) == getattr(parsed, fields[key]) for key in wanted)


def _age(namespace: Namespace) -> tuple[str, str]:
    return (namespace.metadata.creation_timestamp, namespace.metadata.name)
