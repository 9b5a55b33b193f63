"""The addresses that Services' endpoints are checked from: one in each subnet that has Pods to be checked.

OVN asks a Pod as if from a host of the Pod's subnet, and answers for the address of that host (ovn-nb(5),
Load_Balancer, `ip_port_mappings`). So no Pod may have this address: it is granted to the Subnet, recorded as any grant
is, and released when no Service asks for checks there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kube_ovn.derive import Derived, Graph, Index, Read
from kube_ovn.discovery import size
from kube_ovn.discovery.endpoints import external_addresses, pods
from kube_ovn.model import crd, names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import EndpointSlice, Service
from kube_ovn.model.network import Subnet
from kube_ovn.topology.addresses.grants import Grants
from kube_ovn.topology.addresses.holders import Holder, Holders
from kube_ovn.topology.addresses.own import find_free
from kube_ovn.topology.addresses.records import find_kept
from kube_ovn.topology.addresses.span import Owner
from kube_ovn.topology.inputs import Inputs, Name, record_name
from kube_ovn.topology.services.balancer import Front, Probe, Probes, plan_service, wants_checks


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPods:
    """The Pods of a Service that are to be checked."""

    ports: Mapping[Address, tuple[str, str]]
    """By the address of an endpoint: the port of its Pod, and the subnet of the Pod."""

    @property
    def subnets(self) -> list[str]:
        return sorted({subnet for _, subnet in self.ports.values()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """The Pods that Services have checked, and the Subnets that hold an address to check them from."""

    pods: Derived[Name, Service, CheckedPods]
    holders: Derived[str, Mapping[Name, CheckedPods], Holder]
    """By the name of the Subnet."""
    _inputs: Inputs
    _grants: Grants

    def probes(self, read: Read, service: Name) -> Probes:
        """The checks that the endpoints of a Service are to have."""
        checked = read.get(self.pods, service)
        if checked is None:
            return Probes()
        sources: dict[str, tuple[Address, ...]] = {}
        refusals: list[str] = []
        waiting = False
        for subnet in checked.subnets:
            refusal, found = self._source(read, subnet)
            sources[subnet] = found
            refusals += [refusal] if refusal else []
            waiting |= not refusal and not found
        probes = {
            address: Probe(port=port, source=source)
            for address, (port, subnet) in checked.ports.items()
            for source in sources[subnet]
            if source.version == address.version
        }
        return Probes(found=probes, refusals=tuple(refusals), waiting=waiting)

    def _source(self, read: Read, subnet: str) -> tuple[str, tuple[Address, ...]]:
        """Returns why there is no address to check from, and the addresses. Both are empty while the addresses are on
        their way.
        """
        record, holder = names.checks_ip(subnet), read.get(self.holders, subnet)
        if holder is None:
            return f"Subnet {subnet} is not ready or is being deleted", ()
        held = read.get(self._grants.held, holder.owner.key)
        if held is not None:
            return ("", held.grant.addresses) if held.recorded else (find_kept(read, self._inputs, holder), ())
        refusal = read.get(self._grants.refusals, record)
        return f"there is no address to check from: {refusal.message}" if refusal is not None else "", ()


def define(
    graph: Graph,
    inputs: Inputs,
    slices: Index[Name, Name, EndpointSlice],
    holders: Holders,
    grants: Grants,
    in_effect: Derived[str, crd.Subnet, Subnet],
) -> Checks:
    """Derive the checks from Services, EndpointSlices and grants."""

    def find(read: Read, name: Name, service: Service) -> CheckedPods | None:
        if not wants_checks(service)[0]:
            return None
        those = list(read.select(slices, name).values())
        if size.refusal(service, those):
            return None
        outside = [
            Front(address=each, port=port) for each in external_addresses(service) for port in service.spec.ports
        ]
        wanted = plan_service(service, those, (), outside).checkable
        if not wanted:
            return None
        found: dict[Address, tuple[str, str]] = {}
        for address, pod in sorted(pods(those, name.namespace), key=str):
            holder = holders.of_ip(read, record_name(name.namespace, pod)) if address in wanted else None
            held = read.get(grants.held, holder.owner.key) if holder is not None else None
            if held is not None and held.recorded and address in held.grant.addresses:
                found[address] = (names.pod_port(pod, name.namespace), held.grant.subnet)
        return CheckedPods(ports=found) if found else None

    def hold(read: Read, subnet: str, services: Mapping[Name, CheckedPods]) -> Holder | None:
        record = names.checks_ip(subnet)
        usable = find_usable(read, inputs, in_effect, subnet)
        if usable is None:
            return None
        uid = usable.metadata.uid
        return Holder(
            record=record,
            ip=find_free(read, inputs.ips, record),
            uid=uid,
            owner=Owner(uid, f"health checks in Subnet {subnet}"),
            owner_uid=uid,
            pod_type=names.CHECKS_TYPE,
            pod_name=subnet,
            namespace="",
            node="",
        )

    checked = graph.derive("checked Pods of Services", inputs.services, find)
    by_subnet: Index[str, Name, CheckedPods] = graph.index(
        "checked Pods by subnet", checked, lambda name, each: each.subnets
    )
    return Checks(
        pods=checked,
        holders=graph.derive("check holders", by_subnet, hold),
        _inputs=inputs,
        _grants=grants,
    )


def find_usable(
    read: Read, inputs: Inputs, in_effect: Derived[str, crd.Subnet, Subnet], subnet: str
) -> crd.Subnet | None:
    """The Subnet of this name, if it gives out addresses."""
    there = read.get(inputs.subnets, subnet)
    if there is None or there.metadata.deletion_timestamp or read.get(in_effect, subnet) is None:
        return None
    return there
