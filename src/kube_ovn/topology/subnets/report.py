"""The writes to Subnets, IPPools and Vpcs, and the messages for their users: statuses, finalizers, Events.

The last of the files here that derive: it reads the results of all others.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec

from kube_ovn.derive import Derived, Graph, Read, Source
from kube_ovn.model import crd, names
from kube_ovn.model.expression import Match
from kube_ovn.model.kube import VersionedMeta
from kube_ovn.model.nb import AddressSet, PortGroup
from kube_ovn.model.network import Kind, Subnet, Told, cluster_ref
from kube_ovn.model.resource import VPCS
from kube_ovn.model.row import RowKey
from kube_ovn.model.writes import Apply, ApplyStatus, Aspect, Create, Delete, Let, Write, WriteKey
from kube_ovn.topology.addresses.grants import Grants
from kube_ovn.topology.addresses.span import Usage
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.gateways.groups import Exit
from kube_ovn.topology.inputs import STANDING, Inputs
from kube_ovn.topology.outputs import Outputs, Wanted
from kube_ovn.topology.subnets.addressing import Addressing
from kube_ovn.topology.subnets.bindings import Bindings
from kube_ovn.topology.subnets.features import is_leaving
from kube_ovn.topology.subnets.near import NodesNear
from kube_ovn.topology.subnets.network import Network
from kube_ovn.topology.subnets.objections import users
from kube_ovn.topology.subnets.parsing import Texts
from kube_ovn.topology.subnets.status import GATEWAY, pool_status, same, subnet_status, vpc_status
from kube_ovn.topology.subnets.verdict import format_names

_PROTOCOLS = {(4,): "IPv4", (6,): "IPv6", (4, 6): "Dual", (6, 4): "Dual"}
AnyStatus = crd.SubnetStatus | crd.IPPoolStatus | crd.VpcStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The writes to one object, and the messages for its user."""

    status: Wanted | None
    object: Wanted | None = None
    """The fields of the object that the controller owns besides the status."""
    told: Told | None = None
    notice: Told | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The sources and settings that reports are derived from."""

    inputs: Inputs
    fabric: Fabric
    addressing: Addressing
    texts: Source[str, Texts]
    bindings: Bindings
    network: Network
    nodes: NodesNear
    grants: Grants
    exits: Derived[str, Subnet, Exit]


def define(graph: Graph, outputs: Outputs, on: Reads) -> None:
    """Derive the statuses, finalizers and Events of Subnets, IPPools and Vpcs."""
    inputs, fabric = on.inputs, on.fabric

    def subnet_report(read: Read, name: str, subnet: crd.Subnet) -> Report:
        return _subnet(read, on, subnet, lacking)

    def lack(read: Read, name: str, each: Texts) -> tuple[str, ...] | None:
        return tuple(_missing(read, on, each.rules)) or None

    lacking = graph.derive("rules that name absent sets", on.texts, lack)

    def usage(read: Read, name: str, pool: crd.IPPool) -> tuple[Usage, ...]:
        occupancy = read.get(on.grants.occupancy, pool.spec.subnet)
        return () if occupancy is None else occupancy.pools.get(name, ())

    usages = graph.derive("usage of pools", on.addressing.pool_specs, usage)

    def pool_report(read: Read, name: str, pool: crd.IPPool) -> Report:
        return _pool(read, on, pool, read.get(usages, name) or ())

    def vpc_report(read: Read, name: str, vpc: crd.Vpc) -> Report:
        meta, subnets = vpc.metadata, read.all(on.network.switches) if name == fabric.router else ()
        status = vpc_status(vpc, fabric.router, fabric.default, tuple(sorted(subnets)))
        complaint = "" if name == fabric.router else status.conditions[0].message
        return Report(
            status=_status(Kind.VPC, meta, vpc.status, status),
            told=_told(Kind.VPC, name, meta.uid, complaint, names.NOT_SUPPORTED),
        )

    def missing_vpc(read: Read, key: str, value: bool) -> Wanted | None:
        if read.get(inputs.vpcs, fabric.router) is not None or read.get(inputs.unknown, VPCS.name):
            return None
        body = {"metadata": {"name": fabric.router}, "spec": {}}
        write = Create(object=cluster_ref(Kind.VPC, fabric.router, ""), body=body)
        return Wanted(WriteKey(f"{Kind.VPC} {fabric.router}", Aspect.OBJECT), write)

    outputs.writes.follow(graph.derive("missing Vpc", inputs.one, missing_vpc))
    _follow(outputs, graph.derive("reports on Subnets", inputs.subnets, subnet_report))
    _follow(outputs, graph.derive("reports on IPPools", inputs.pools, pool_report))
    _follow(outputs, graph.derive("reports on Vpcs", inputs.vpcs, vpc_report))


def _follow(outputs: Outputs, made: Source[str, Report]) -> None:
    outputs.writes.follow(made, lambda report: report.status)
    outputs.writes.follow(made, lambda report: report.object)
    outputs.telling.follow(made, lambda report: report.told)
    outputs.telling.follow(made, lambda report: report.notice, "notice")


def _subnet(read: Read, on: Reads, subnet: crd.Subnet, lacking: Source[str, tuple[str, ...]]) -> Report:
    name, uid = subnet.metadata.name, subnet.metadata.uid
    if not read.get(on.inputs.standing, STANDING) and name not in on.fabric.initial:
        return Report(status=None)
    judged, texts = read.get(on.addressing.judged, name), read.get(on.texts, name)
    assert judged is not None, "every Subnet is judged"
    assert texts is not None, "the texts of every Subnet are parsed"
    way, occupancy = read.get(on.exits, name), read.get(on.grants.occupancy, name)
    refused = _refused(read, on, Kind.SUBNET, subnet.metadata)
    wrong = (
        judged.refusal,
        *texts.faults,
        *(read.get(lacking, name) or ()),
        *(way.faults if way is not None else ()),
        _conflict(read, on, judged.effective),
        refused,
    )
    complaint = "; ".join(each for each in wrong if each)
    status = subnet_status(
        subnet,
        judged.accepted,
        complaint,
        () if occupancy is None else occupancy.usage,
        _waiting_for(read, on, subnet),
        way,
        texts.nat_rules,
        in_effect=judged.effective is not None and not refused,
    )
    said = "; ".join(filter(None, (complaint, way.flaw if way is not None else "")))
    return Report(
        status=_status(Kind.SUBNET, subnet.metadata, subnet.status, status),
        object=_object(read, on, subnet, judged.accepted),
        told=_told(Kind.SUBNET, name, uid, said, names.VALIDATE_SUBNET_FAILED if complaint else names.NO_READY_GATEWAY),
        notice=_notice(subnet, status),
    )


def _refused(read: Read, on: Reads, kind: Kind, meta: VersionedMeta) -> str:
    """The words with which the database refuses the rows of an object, in a sentence; empty when it takes the rows."""
    words = read.get(on.inputs.refused, cluster_ref(kind, meta.name, meta.uid))
    return f"the Northbound database does not take its rows: {words}" if words else ""


def _missing(read: Read, on: Reads, rules: Iterable[Match | str]) -> list[str]:
    """A sentence for each rule that names sets or groups which do not exist: OVN leaves such a rule out."""
    found: list[str] = []
    for number, rule in enumerate(rules):
        if isinstance(rule, str):
            continue
        absent = [f"${name}" for name in rule.address_sets if not _is_set(read, on, name)]
        absent += [f"@{name}" for name in rule.port_groups if not _is_group(read, on, name)]
        if absent:
            found.append(f"acls[{number}].match names {', '.join(sorted(absent))}, which OVN does not have")
    return found


def _is_set(read: Read, on: Reads, name: str) -> bool:
    """Whether an Address_Set of this name exists. OVN makes two for each Port_Group."""
    if name in map(names.node_address_set, (4, 6)) or read.select(on.network.sets, name):
        return True
    group = name.removesuffix("_ip4").removesuffix("_ip6")
    if group != name and _is_group(read, on, group):
        return True
    return read.get(on.inputs.foreign, RowKey(AddressSet.TABLE, name)) is True


def _is_group(read: Read, on: Reads, name: str) -> bool:
    if read.select(on.network.groups, name):
        return True
    return read.get(on.inputs.foreign, RowKey(PortGroup.TABLE, name)) is True


def _conflict(read: Read, on: Reads, effective: Subnet | None) -> str:
    """The sentence on a node with an address in a subnet: the node cannot be reached from there. Empty when there is no
    such node. The subnet is not refused, because nodes come later.
    """
    if effective is None:
        return ""
    members = read.select(on.nodes.conflicts_by_subnet, effective.name)
    found = [(address, node) for node, each in members.items() for address, name in each if name == effective.name]
    if not found:
        return ""
    address, node = min(found, key=str)
    cidrs = ",".join(map(str, effective.cidrs))
    return f"CIDR {cidrs} contains address {address} of node {node}; change one of them"


def _notice(subnet: crd.Subnet, status: crd.SubnetStatus) -> Told | None:
    """The Event for a change of the type of gateway or of the gateway nodes; None when neither changed. When no gateway
    node is left, there is a message for that problem instead.
    """
    before, now = _gateways(subnet.status), _gateways(status)
    if now in (before, ""):
        return None
    way = f"packets of Subnet {subnet.metadata.name} to the outside leave through"
    if before is None or now is None:
        reason, message = names.GATEWAY_TYPE_CHANGED, f"{way} {now or 'the node of each Pod'}"
    else:
        reason = names.GATEWAY_NODE_CHANGED
        message = f"{way} {now}{f', not through {before} any more' if before else ''}"
    ref = cluster_ref(Kind.SUBNET, subnet.metadata.name, subnet.metadata.uid)
    return Told(object=ref, reason=reason, message=message, normal=True)


def _object(read: Read, on: Reads, subnet: crd.Subnet, accepted: Subnet | None) -> Wanted | None:
    write = _object_write(read, on, subnet, accepted)
    return None if write is None else Wanted(WriteKey(subnet.metadata.uid, Aspect.OBJECT), write)


def _is_wished(read: Read, on: Reads, subnet: crd.Subnet) -> bool:
    """Whether a Namespace that a Subnet was made for still wishes for it; where tenants are trusted, any Namespace."""
    wishes, made_for = read.select(on.bindings.wished, subnet.metadata.name), subnet.spec.namespaces
    return bool(wishes) if on.fabric.trusts_tenants or not made_for else any(each in wishes for each in made_for)


def _object_write(read: Read, on: Reads, subnet: crd.Subnet, accepted: Subnet | None) -> Write | None:
    """The write to a Subnet besides the status: its finalizer, and the protocol for `kubectl get`; None when there is
    none. A Subnet that annotations made is removed when no Namespace names it any more.
    """
    meta = subnet.metadata
    ref = cluster_ref(Kind.SUBNET, meta.name, meta.uid)
    has, made = names.FINALIZER in meta.finalizers, names.MADE_BY_NAMESPACE in meta.labels
    if meta.deletion_timestamp:
        occupancy = read.get(on.grants.occupancy, meta.name)
        if not has or not is_leaving(subnet, on.fabric) or (occupancy is not None and occupancy.owners):
            return None
        return Let(object=ref, finalizer=names.FINALIZER, position=meta.finalizers.index(names.FINALIZER))
    if made and not _is_wished(read, on, subnet):
        return Delete(object=ref)
    protocol = _PROTOCOLS[accepted.versions] if accepted is not None else subnet.spec.protocol
    if has and subnet.spec.protocol == protocol:
        return None
    return Apply(
        object=ref,
        part="marks",
        body={
            "metadata": {"name": meta.name, "uid": meta.uid, "finalizers": [names.FINALIZER]},
            "spec": {"protocol": protocol} if protocol else {},
        },
    )


def _waiting_for(read: Read, on: Reads, subnet: crd.Subnet) -> str | None:
    if not subnet.metadata.deletion_timestamp:
        return None
    if not is_leaving(subnet, on.fabric):
        return "ever: the network is configured with it; make it anew with other values after a change of the settings"
    labels = list(dict.fromkeys(label for _, label in users(read, on.grants, subnet.metadata.name)))
    return format_names(labels) if labels else "nothing any more"


def _pool(read: Read, on: Reads, pool: crd.IPPool, usage: tuple[Usage, ...]) -> Report:
    meta = pool.metadata
    verdict = read.get(on.addressing.pool_verdicts, meta.name)
    assert verdict is not None, "every IPPool is judged"
    refused = _refused(read, on, Kind.IPPOOL, meta)
    complaint = "; ".join(filter(None, (verdict.refusal, refused)))
    status = pool_status(pool, replace(verdict, refusal=complaint, ranges=() if refused else verdict.ranges), usage)
    return Report(
        status=_status(Kind.IPPOOL, meta, pool.status, status),
        told=_told(Kind.IPPOOL, meta.name, meta.uid, complaint),
    )


def _status(kind: Kind, meta: VersionedMeta, actual: AnyStatus, wanted: AnyStatus) -> Wanted | None:
    if same(wanted, actual):
        return None
    fields = msgspec.to_builtins(wanted)
    del fields["conditions"]
    write = ApplyStatus(
        object=cluster_ref(kind, meta.name, meta.uid),
        version=meta.resource_version,
        status=fields,
        conditions=wanted.conditions,
        before=actual.conditions,
    )
    return Wanted(WriteKey(meta.uid, Aspect.STATUS), write)


def _told(kind: Kind, name: str, uid: str, complaint: str, reason: str = names.VALIDATE_SUBNET_FAILED) -> Told | None:
    if not complaint:
        return None
    return Told(object=cluster_ref(kind, name, uid), reason=reason, message=f"{kind} {name}: {complaint}")


def _gateways(status: crd.SubnetStatus) -> str | None:
    """The nodes that packets leave a subnet through, as its status says; None for a distributed subnet."""
    return status.activate_gateway if any(each.type == GATEWAY for each in status.conditions) else None
