"""Subnets as switches, the router, and what the status of Subnets, IPPools and Vpcs says. The last step of a pass: what
was granted in it counts.
"""

from collections.abc import Callable, Collection, Mapping

import msgspec

from kube_ovn.model import crd, names
from kube_ovn.model.addr import Network
from kube_ovn.model.kube import VersionedMeta
from kube_ovn.model.nb import AddressSet
from kube_ovn.model.network import Kind, Notice, Problem, Subnet, cluster_ref
from kube_ovn.model.row import Key, Member, Row, facts, owned
from kube_ovn.model.writes import Apply, ApplyStatus, Aspect, Create, Let, Write, WriteKey
from kube_ovn.topology.assembly import Assembly
from kube_ovn.topology.gateway import Exit
from kube_ovn.topology.ipam import Ledger
from kube_ovn.topology.network import NetworkState, Settled
from kube_ovn.topology.outbox import Outbox
from kube_ovn.topology.pools import render_pool
from kube_ovn.topology.status import GATEWAY, pool_status, same, subnet_status, vpc_status
from kube_ovn.topology.subnet import SubnetInputs, faults, render_subnet
from kube_ovn.topology.subnets import format_names, node_conflict
from kube_ovn.topology.vpc import render_vpc

_PROTOCOLS = {(4,): "IPv4", (6,): "IPv6", (4, 6): "Dual", (6, 4): "Dual"}


class Switches:
    """The rows and statuses of the network, kept up to date pass by pass."""

    def __init__(
        self,
        network: NetworkState,
        ledger: Ledger,
        assembly: Assembly,
        outbox: Outbox,
        exit: Callable[[str], Exit | None],
    ) -> None:
        """`exit`: the way out of a subnet that is centralized."""
        self._network, self._ledger, self._exit = network, ledger, exit
        self._assembly, self._outbox = assembly, outbox
        self._inputs: dict[str, SubnetInputs] = {}
        self._vpcs: dict[str, crd.Vpc] = {}
        self._subnet_names: tuple[str, ...] = ()
        self._announced: dict[str, str | None] = {}  # by UID; not in the status yet

    def render(
        self, vpcs: Mapping[str, crd.Vpc], changed: Collection[str] | None, settled: Settled, touched: Collection[str]
    ) -> None:
        """Bring rows and statuses up to date: of subnets that were looked at, or whose grants changed."""
        if settled.effective or changed is None:
            fabric = self._network.fabric
            join = self._ledger.subnet(fabric.join)
            self._assembly.put(f"vpc {fabric.router}", render_vpc(fabric.router, join))
        if settled.nodes or changed is None:
            self._assembly.put("nodes", _node_addresses(self._network))
        for name in sorted({*settled.subnets, *touched, *self._gone()}):
            self._render_subnet(name)
            self._tell_subnet(name)
        moved = {*touched, *settled.effective}
        pools = {name for name, pool in self._network.pools.items() if pool.spec.subnet in moved}
        for name in sorted(settled.pools | pools):
            self._render_pool(name)
        self._render_vpcs(vpcs, changed)

    @property
    def names(self) -> frozenset[str]:
        """The switches there are to be."""
        return frozenset(self._inputs)

    def _gone(self) -> list[str]:
        return [name for name in self._inputs if self._ledger.subnet(name) is None]

    def _render_subnet(self, name: str) -> None:
        """Rows stay as long as somebody has an address in the subnet."""
        subnet, effective = self._network.subnets.get(name), self._ledger.subnet(name)
        if subnet is None or effective is None or (self._is_leaving(subnet) and not self._ledger.keys(name)):
            self._inputs.pop(name, None)
            self._assembly.drop(f"subnet {name}")
            return
        inputs = SubnetInputs(
            router=self._network.fabric.router,
            subnet=effective,
            spec=subnet.spec,
            old_gateways=self._ledger.old_gateways(name),
            join=self._join(),
            dns=bool(self._network.fabric.domain) and name != self._network.fabric.join,
        )
        if self._inputs.get(name) != inputs:
            self._inputs[name] = inputs
            self._assembly.put(f"subnet {name}", render_subnet(inputs))

    def _join(self) -> tuple[Network, ...]:
        join = self._ledger.subnet(self._network.fabric.join)
        return () if join is None else join.cidrs

    def _is_leaving(self, subnet: crd.Subnet) -> bool:
        """Whether a Subnet goes as soon as nobody has an address in it."""
        return bool(subnet.metadata.deletion_timestamp) and subnet.metadata.name not in self._network.fabric.initial

    def _tell_subnet(self, name: str) -> None:
        subnet = self._network.subnets.get(name)
        if subnet is None:
            return
        uid, verdict = subnet.metadata.uid, self._network.verdicts[name]
        effective, accepted = self._ledger.subnet(name), verdict.accepted
        conflict = node_conflict(effective, self._network.around) if effective is not None else None
        way = self._exit(name)
        wrong = way.faults if way is not None else ()
        versions = effective.versions if effective is not None else ()
        complaint = "; ".join(
            each for each in (verdict.refusal, *faults(subnet.spec, versions), *wrong, conflict) if each
        )
        status = subnet_status(
            subnet,
            accepted,
            complaint,
            self._ledger.usage(name),
            self._waiting_for(subnet),
            way,
            in_effect=effective is not None,
        )
        self._put_status(Kind.SUBNET, subnet.metadata, subnet.status, status)
        self._outbox.tell(uid, _subnet_problem(subnet, complaint, way.flaw if way is not None else ""))
        self._announce(subnet, status)
        if WriteKey(uid, Aspect.OBJECT) not in self._network.writes:
            self._outbox.put(WriteKey(uid, Aspect.OBJECT), self._object(subnet, accepted))

    def _announce(self, subnet: crd.Subnet, status: crd.SubnetStatus) -> None:
        """Say once when the kind of gateway changed, or the nodes. That there are none any more is a problem."""
        uid, before, now = subnet.metadata.uid, _gateways(subnet.status), _gateways(status)
        if now == before:
            self._announced.pop(uid, None)
            return
        if uid in self._announced and self._announced[uid] == now:
            return
        self._announced[uid] = now
        way = f"packets of Subnet {subnet.metadata.name} to the outside leave through"
        if before is None or now is None:
            reason, message = names.GATEWAY_TYPE_CHANGED, f"{way} {now or 'the node of each Pod'}"
        else:
            reason = names.GATEWAY_NODE_CHANGED
            message = f"{way} {now}{f', not through {before} any more' if before else ''}"
        if now != "":
            ref = cluster_ref(Kind.SUBNET, subnet.metadata.name, uid)
            self._outbox.announce(Notice(object=ref, reason=reason, message=message))

    def _object(self, subnet: crd.Subnet, accepted: Subnet | None) -> Write | None:
        """What of a Subnet besides its status is ours: a finalizer, and the protocol for `kubectl get`."""
        meta = subnet.metadata
        ref = cluster_ref(Kind.SUBNET, meta.name, meta.uid)
        has = names.FINALIZER in meta.finalizers
        if meta.deletion_timestamp:
            if not has or not self._is_leaving(subnet) or self._ledger.keys(meta.name):
                return None
            return Let(object=ref, finalizer=names.FINALIZER, position=meta.finalizers.index(names.FINALIZER))
        protocol = _PROTOCOLS[accepted.versions] if accepted is not None else subnet.spec.protocol
        if names.MADE_BY_NAMESPACE in meta.labels or (has and subnet.spec.protocol == protocol):
            return None
        return Apply(
            object=ref,
            part="marks",
            body={
                "metadata": {"name": meta.name, "uid": meta.uid, "finalizers": [names.FINALIZER]},
                "spec": {"protocol": protocol} if protocol else {},
            },
        )

    def _waiting_for(self, subnet: crd.Subnet) -> str | None:
        if not subnet.metadata.deletion_timestamp:
            return None
        if not self._is_leaving(subnet):
            return (
                "ever: the network is configured with it; make it anew with other values after a change of the settings"
            )
        labels = list(dict.fromkeys(owner.label for _, owner in self._ledger.owners(subnet.metadata.name)))
        return format_names(labels) if labels else "nobody any more"

    def _render_pool(self, name: str) -> None:
        pool, verdict = self._network.pools.get(name), self._network.pool_verdicts.get(name)
        unit = f"pool {name}"
        if pool is None or verdict is None:
            self._assembly.drop(unit)
            return
        subnet = self._ledger.subnet(pool.spec.subnet)
        if subnet is not None and pool.spec.enable_address_set and verdict.ranges:
            self._assembly.put(unit, render_pool(pool, verdict, subnet))
        else:
            self._assembly.drop(unit)
        uid = pool.metadata.uid
        usage = self._ledger.usage(pool.spec.subnet, name) if verdict.ranges else []
        self._put_status(Kind.IPPOOL, pool.metadata, pool.status, pool_status(pool, verdict, usage))
        self._outbox.tell(uid, _problem(Kind.IPPOOL, name, uid, verdict.refusal))

    def _render_vpcs(self, vpcs: Mapping[str, crd.Vpc], changed: Collection[str] | None) -> None:
        fabric = self._network.fabric
        subnets = tuple(sorted(name for name in self._inputs))
        if (
            changed is not None
            and subnets == self._subnet_names
            and not any(uid in vpcs or uid in self._vpcs for uid in changed)
        ):
            return
        self._subnet_names = subnets
        self._vpcs = dict(vpcs)
        missing = all(vpc.metadata.name != fabric.router for vpc in vpcs.values())
        create = Create(
            object=cluster_ref(Kind.VPC, fabric.router, ""), body={"metadata": {"name": fabric.router}, "spec": {}}
        )
        self._outbox.put(WriteKey(f"{Kind.VPC} {fabric.router}", Aspect.OBJECT), create if missing else None)
        for uid, vpc in vpcs.items():
            name = vpc.metadata.name
            status = vpc_status(vpc, fabric.router, fabric.default, subnets)
            self._put_status(Kind.VPC, vpc.metadata, vpc.status, status)
            complaint = "" if name == fabric.router else status.conditions[0].message
            self._outbox.tell(uid, _problem(Kind.VPC, name, uid, complaint, names.NOT_SUPPORTED))

    def _put_status(
        self,
        kind: Kind,
        meta: VersionedMeta,
        actual: crd.SubnetStatus | crd.IPPoolStatus | crd.VpcStatus,
        wanted: crd.SubnetStatus | crd.IPPoolStatus | crd.VpcStatus,
    ) -> None:
        write = None
        if not same(wanted, actual):
            fields = msgspec.to_builtins(wanted)
            del fields["conditions"]
            write = ApplyStatus(
                object=cluster_ref(kind, meta.name, meta.uid),
                version=meta.resource_version,
                status=fields,
                conditions=wanted.conditions,
                before=actual.conditions,
            )
        self._outbox.put(WriteKey(meta.uid, Aspect.STATUS), write)


def _problem(
    kind: Kind, name: str, uid: str, complaint: str, reason: str = names.VALIDATE_SUBNET_FAILED
) -> Problem | None:
    if not complaint:
        return None
    message = f"{kind} {name}: {complaint}"
    return Problem(object=cluster_ref(kind, name, uid), reason=reason, message=message)


def _gateways(status: crd.SubnetStatus) -> str | None:
    """The nodes a subnet leaves through, as its status tells; None for one that is distributed."""
    return status.activate_gateway if any(each.type == GATEWAY for each in status.conditions) else None


def _subnet_problem(subnet: crd.Subnet, complaint: str, flaw: str) -> Problem | None:
    name, uid = subnet.metadata.name, subnet.metadata.uid
    said = "; ".join(filter(None, (complaint, flaw)))
    return _problem(Kind.SUBNET, name, uid, said, names.VALIDATE_SUBNET_FAILED if complaint else names.NO_READY_GATEWAY)


def _node_addresses(network: NetworkState) -> dict[Key, Row | None]:
    """The nodes' own addresses: whom a private subnet lets in."""
    rows = [AddressSet(name=names.node_address_set(version), external_ids=owned()) for version in (4, 6)]
    members = dict.fromkeys(
        Member(AddressSet.TABLE, names.node_address_set(address.version), "addresses", str(address))
        for address, _ in network.around.nodes
    )
    return facts(*rows, members=tuple(members))
