"""Spoofing: the addresses that a Pod's port may send from besides the Pod's own, and the answers of DHCP servers, which
only the fabric sends.

Annotations ask for it. It counts where an administrator permits it: on the Subnet, or with a label of the Namespace. A
further address must be one that is given to no other Pod. Reads Subnets, Namespaces, and the addresses that are in use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kube_ovn.config import parse_list
from kube_ovn.derive import Graph, Index, Read, Source
from kube_ovn.model import names
from kube_ovn.model.addr import Address, format_list, parse_addresses
from kube_ovn.model.kube import Namespace, Pod
from kube_ovn.model.nb import Acl, PortGroup
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.model.row import Key, Member, Row, facts, owned
from kube_ovn.topology.addresses.grants import Grants, Held
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.outputs import Outputs
from kube_ovn.topology.ports.pod import Senders
from kube_ovn.topology.subnets.features import Features
from kube_ovn.topology.subnets.near import NodesNear
from kube_ovn.topology.subnets.network import Use
from kube_ovn.topology.subnets.scope import Scopes, Tenant
from kube_ovn.topology.subnets.standing_acls import dhcp_answers

MOST_VIPS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoofing:
    """The sources and settings by which senders are judged."""

    fabric: Fabric
    permitted: Source[str, bool]
    """The Namespaces with the label that permits it."""
    features: Source[str, Features]
    grants: Index[tuple[str, Address], str, Held]
    """By subnet and address."""
    uses: Source[str, Use]
    nodes: NodesNear
    scopes: Scopes

    def judge(self, read: Read, pod: Pod, grant: Grant, subnet: Subnet) -> tuple[Senders, list[str]]:
        """The senders of a Pod's port, and a sentence for each part of the Pod's annotations that does not count."""
        annotations = pod.metadata.annotations
        security, listed = annotations.get(names.PORT_SECURITY, "true"), annotations.get(names.PORT_VIPS, "")
        faults = (
            []
            if security in ("true", "false")
            else [f"{names.PORT_SECURITY} is {security[:100]!r}; it must be true or false"]
        )
        found = parse_vips(listed)
        faults += found.faults
        wishes = [names.PORT_SECURITY] if security == "false" else []
        wishes += [names.PORT_VIPS] if parse_list(listed) else []
        if wishes and not self._permits(read, pod.metadata.namespace, grant.subnet):
            return Senders(), [*faults, _ask_for_permission(wishes, pod.metadata.namespace, grant.subnet)]
        if security == "false":
            return Senders(all=True), faults
        more = []
        for address in found.addresses:
            if address in grant.addresses:
                continue
            if against := self._against(read, pod.metadata.namespace, address, subnet):
                faults.append(f"{names.PORT_VIPS}: {address} {against}")
            else:
                more.append(address)
        return Senders(tuple(more)), faults

    def _permits(self, read: Read, namespace: str, subnet: str) -> bool:
        if self.fabric.trusts_tenants:
            return True
        features = read.get(self.features, subnet)
        if features is not None and features.spec.permit_spoofing:
            return True
        return read.get(self.permitted, namespace) is True

    def _against(self, read: Read, namespace: str, address: Address, subnet: Subnet) -> str:
        """Why a port in a subnet may not send from an address, as the end of a sentence; empty when it may."""
        if not subnet.has_host(address):
            return f"is no host address in the CIDR {format_list(subnet.cidrs)} of subnet {subnet.name}"
        tenant = Tenant(namespace, (subnet.name,))  # the Pod is in it
        if self.scopes.against_addresses(read, tenant, subnet.name, [address]):
            return "is in an IPPool for other Namespaces"
        use = read.get(self.uses, subnet.name)
        if address in subnet.gateways or (use is not None and address in use.old_gateways):
            return f"is a gateway of subnet {subnet.name}"
        if read.select(self.grants, (subnet.name, address)):
            return (
                "is given to another Pod or reserved; keep it in excludeIps of the Subnet, so that it is given to none"
            )
        node = min(read.select(self.nodes.conflicts_by_address, (subnet.name, address)), default="")
        return f"is the address of node {node}" if node else ""


def define_permits(graph: Graph, inputs: Inputs) -> Source[str, bool]:
    """Derive the Namespaces with the label that permits it."""

    def permit(read: Read, name: str, namespace: Namespace) -> bool | None:
        return namespace.metadata.labels.get(names.PERMIT_SPOOFING) == "true" or None

    return graph.derive("Namespaces that permit spoofing", inputs.namespaces, permit)


def index_grants(graph: Graph, grants: Grants) -> Index[tuple[str, Address], str, Held]:
    """Grants by subnet and address."""

    def places(owner: str, held: Held) -> list[tuple[str, Address]]:
        return [(held.grant.subnet, address) for address in held.grant.addresses]

    return graph.index("grants by address", grants.held, places)


@dataclass(frozen=True, slots=True)
class Vips:
    """The addresses in an annotation, and a sentence for each part that cannot be read."""

    addresses: tuple[Address, ...]
    faults: tuple[str, ...]


def parse_vips(text: str) -> Vips:
    """Parse the list of further addresses of a Pod. The first `MOST_VIPS` entries count."""
    parts, found, faults = parse_list(text), dict[Address, None](), []
    for part in parts[:MOST_VIPS]:
        try:
            found.update(dict.fromkeys(parse_addresses(part)))
        except ValueError:
            faults.append(f"{names.PORT_VIPS}: {part[:100]!r} is no address; write addresses, joined by commas")
    if len(parts) > MOST_VIPS:
        faults.append(f"{names.PORT_VIPS} has {len(parts)} addresses; the first {MOST_VIPS} count")
    return Vips(tuple(found), tuple(faults))


def _ask_for_permission(wishes: Sequence[str], namespace: str, subnet: str) -> str:
    return (
        f"{format_list(wishes)} counts only where an administrator permits it: permitSpoofing on Subnet {subnet}, or "
        f"label {names.PERMIT_SPOOFING}=true on Namespace {namespace}"
    )


def define_open_ports(graph: Graph, inputs: Inputs, outputs: Outputs) -> None:
    """Derive the port group of the ports that may send anything, and the ACL that lets them past the guards of
    subnets.
    """
    group = names.OPEN_PORTS
    acl = Acl(
        priority=names.ACL_PAST_GUARD,
        direction="from-lport",
        match=f"inport == @{group} && ({dhcp_answers((4, 6))})",
        action="pass",
        tier=names.TIER_GUARD,
        options={"apply-after-lb": "true"},
        external_ids=owned(key=group),
    )
    rows: Mapping[Key, Row | None] = facts(
        PortGroup(name=group, external_ids=owned()), acl, members=(Member(PortGroup.TABLE, group, "acls", acl.key),)
    )
    outputs.rows.follow(graph.derive("open ports", inputs.one, lambda read, key, value: rows))
