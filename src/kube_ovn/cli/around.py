"""Reading what a question on packets needs from the API server: no more than the ends, their Namespaces, the policies
in these, and the Subnets. Writes nothing, and asks with the rights of the user.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kube_ovn.cli.question import Port, QuestionError, Ref, Sort
from kube_ovn.discovery.endpoints import backends, choose, cluster_addresses, parse_slices, pods
from kube_ovn.k8s.client import Client as Kube
from kube_ovn.k8s.client import KubeError
from kube_ovn.model import crd, names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import EndpointSlice, Namespace, Node, Pod, Service
from kube_ovn.model.resource import (
    ENDPOINT_SLICES,
    IPS,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    SERVICES,
    SUBNETS,
)
from kube_ovn.topology.addresses.memory import read_addresses
from kube_ovn.topology.policy.ends import (
    Known,
    compile_all,
    has_port,
    joined_addresses,
    own_addresses,
    pod_addresses,
)
from kube_ovn.topology.policy.selections import traits_of
from kube_ovn.topology.policy.verdict import Policy
from kube_ovn.topology.subnets.verdict import in_effect

NOT_FOUND = 404
MOST_ENDPOINTS = 20
"""The endpoints of a Service that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One end of a question: its addresses, the Pod that has them, and the port where it is an endpoint."""

    addresses: tuple[Address, ...]
    pod: Pod | None = None
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question with the objects to answer it from."""

    known: Known
    source: Side
    targets: Sequence[Side]
    left_out: int = 0
    """How many endpoints of the Service are not among the targets."""


async def observe_question(kube: Kube, source: Ref | Address, target: Ref | Address, port: Port) -> Asked:
    """Read what a question needs. Raises KubeError, QuestionError."""
    reader = _Reader(kube)
    await reader.start()
    (first, *_), _ = await reader.find(source, port, is_source=True)
    targets, left_out = await reader.find(target, port, is_source=False)
    return Asked(known=await reader.known(), source=first, targets=targets, left_out=left_out)


async def observe_target(kube: Kube, target: Ref | Address, port: Port) -> tuple[Known, Sequence[Side], int]:
    """Read the whole cluster and a target in it. Raises KubeError, QuestionError."""
    reader = _Reader(kube)
    await reader.start()
    targets, left_out = await reader.find(target, port, is_source=False)
    return await observe_all(kube), targets, left_out


async def observe_all(kube: Kube) -> Known:
    """Read all that policies depend on. Raises KubeError, QuestionError."""
    subnets = await _subnets(kube)
    listed = await asyncio.gather(kube.list(PODS), kube.list(NAMESPACES), kube.list(NODES), kube.list(NETWORK_POLICIES))
    return Known(
        pods=listed[0].items,
        namespaces=listed[1].items,
        nodes=listed[2].items,
        subnets=subnets,
        policies=compile_all(listed[3].items),
    )


class _Reader:
    """Reads the objects around a question, each once."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._pods: dict[tuple[str, str], Pod] = {}
        self._nodes: list[Node] = []
        self._subnets: list[crd.Subnet] = []

    async def start(self) -> None:
        self._subnets = await _subnets(self._kube)

    async def find(self, end: Ref | Address, port: Port, *, is_source: bool) -> tuple[Sequence[Side], int]:
        """The sides that an end stands for, and how many of them are left out."""
        if not isinstance(end, Ref):
            return await self._at(end, None if is_source else port)
        if end.sort is Sort.SERVICE:
            if is_source:
                raise QuestionError(f"{end} sends nothing: ask for a Pod behind it")
            return await self._endpoints(await self._service(end), port)
        return [await self._of_pod(await self._pod(end.namespace, end.name), is_source=is_source)], 0

    async def known(self) -> Known:
        """All that was read, with the Namespaces of the Pods and the policies in these."""
        spaces = {namespace for namespace, _ in self._pods} | ({names.CLUSTER_DNS[0]} if self._nodes else set())
        restricted = sorted({pod.metadata.namespace for pod in self._pods.values() if has_port(pod)})
        found = await asyncio.gather(*(self._namespace(each) for each in sorted(spaces)))
        policies: list[Policy] = []
        for listing in await asyncio.gather(*(self._kube.list(NETWORK_POLICIES, namespace=x) for x in restricted)):
            policies += compile_all(listing.items)
        return Known(
            pods=list(self._pods.values()),
            namespaces=[each for each in found if each is not None],
            nodes=self._nodes,
            subnets=self._subnets,
            policies=policies,
        )

    async def _of_pod(self, pod: Pod, *, is_source: bool) -> Side:
        name = f"Pod {pod.metadata.namespace}/{pod.metadata.name}"
        if traits_of(pod) is None:
            raise QuestionError(f"{name} has no node yet, or has ended: it sends and receives nothing")
        addresses = pod_addresses(pod)
        if not has_port(pod):
            node = await self._host(pod.spec.node_name)
            # A node sends to Pods from its address in the join subnet; Pods reach it at its own.
            addresses = (joined_addresses(node) if is_source else ()) or own_addresses(node)
        if not addresses:
            raise QuestionError(f"{name} has no address yet; `kubectl describe pod` says why")
        return Side(addresses=addresses, pod=pod)

    async def _at(self, address: Address, port: Port | None) -> tuple[Sequence[Side], int]:
        """What has an address: a Pod, a node, a Service if a port of one may be meant, or nothing in the cluster."""
        pod = await self._holder(address)
        if pod is not None:
            return [Side(addresses=(address,), pod=pod)], 0
        nodes = await self._list_nodes()
        for node in nodes:
            if address in own_addresses(node):
                await self._host(node.metadata.name)
                return [Side(addresses=(address,))], 0
        if port is not None and not self._in_subnet(address):
            for service in (await self._kube.list(SERVICES)).items:
                if address in cluster_addresses(service):
                    return await self._endpoints(service, port)
        return [Side(addresses=(address,))], 0

    async def _holder(self, address: Address) -> Pod | None:
        """The Pod with a port of its own that has an address."""
        for pod in (await self._kube.list(PODS, selector={"fieldSelector": f"status.podIP={address}"})).items:
            if has_port(pod) and traits_of(pod) is not None and address in pod_addresses(pod):
                return self._keep(pod)
        subnet = self._in_subnet(address)
        if not subnet or not names.label_value(subnet):
            return None
        for ip in (await self._kube.list(IPS, selector={"labelSelector": f"{names.IP_SUBNET}={subnet}"})).items:
            if ip.spec.pod_name and ip.spec.pod_type != names.NODE_TYPE and address in read_addresses(ip):
                return await self._pod(ip.spec.namespace, ip.spec.pod_name)
        return None

    def _in_subnet(self, address: Address) -> str:
        """The name of the Subnet that holds an address; empty when none does."""
        found = (each for each in map(in_effect, self._subnets) if each is not None and each.holds(address))
        return next((each.name for each in found), "")

    async def _endpoints(self, service: Service, port: Port) -> tuple[Sequence[Side], int]:
        meta = service.metadata
        name = f"Service {meta.namespace}/{meta.name}"
        listed = [each for each in service.spec.ports if each.protocol.lower() == port.protocol]
        asked = [each for each in listed if port.name == each.name if port.name] or [
            each for each in listed if each.port == port.number
        ]
        if not asked:
            there = ", ".join(f"{each.protocol} {each.port}" for each in service.spec.ports) or "none"
            raise QuestionError(f"{name} has no port {port}; its ports are: {there}")
        selector = {"labelSelector": f"{names.SERVICE_OF_SLICE}={meta.name}"}
        slices = (await self._kube.list(ENDPOINT_SLICES, namespace=meta.namespace, selector=selector)).items
        parsed = parse_slices(slices)
        found = [each for version in (4, 6) for each in choose(backends(asked[0], version, parsed))]
        if not found:
            raise QuestionError(f"{name} has no endpoint that is ready: packets to it are refused")
        chosen = found[:MOST_ENDPOINTS]
        targets = await self._targets(slices, meta.namespace, [(each.address, each.port) for each in chosen])
        return targets, len(found) - len(chosen)

    async def _targets(
        self, slices: Iterable[EndpointSlice], namespace: str, endpoints: Sequence[tuple[Address, int]]
    ) -> Sequence[Side]:
        named = dict(pods(slices, namespace))
        sides = []
        for address, number in endpoints:
            pod = await self._pod(namespace, named[address]) if address in named else None
            if pod is None or not has_port(pod):
                found, _ = await self._at(address, None)
                pod = found[0].pod
            sides.append(Side(addresses=(address,), pod=pod, port=number))
        return sides

    async def _host(self, name: str) -> Node:
        """A node, with the Pods in its network."""
        node = next((each for each in await self._list_nodes() if each.metadata.name == name), None)
        if node is None:
            raise QuestionError(f"there is no node {name}")
        for pod in (await self._kube.list(PODS, selector={"fieldSelector": f"spec.nodeName={name}"})).items:
            if not has_port(pod):
                self._keep(pod)
        return node

    async def _list_nodes(self) -> list[Node]:
        self._nodes = self._nodes or (await self._kube.list(NODES)).items
        return self._nodes

    async def _pod(self, namespace: str, name: str) -> Pod:
        try:
            return self._pods.get((namespace, name)) or self._keep(await self._kube.get(PODS, namespace, name))
        except KubeError as error:
            if error.status != NOT_FOUND:
                raise
            raise QuestionError(f"there is no Pod {namespace}/{name}") from None

    def _keep(self, pod: Pod) -> Pod:
        self._pods[pod.metadata.namespace, pod.metadata.name] = pod
        return pod

    async def _service(self, ref: Ref) -> Service:
        try:
            return await self._kube.get(SERVICES, ref.namespace, ref.name)
        except KubeError as error:
            if error.status != NOT_FOUND:
                raise
            raise QuestionError(f"there is no {ref}") from None

    async def _namespace(self, name: str) -> Namespace | None:
        try:
            return await self._kube.get(NAMESPACES, "", name)
        except KubeError as error:
            if error.status != NOT_FOUND:
                raise
            return None


async def _subnets(kube: Kube) -> list[crd.Subnet]:
    try:
        return (await kube.list(SUBNETS)).items
    except KubeError as error:
        if error.status != NOT_FOUND:
            raise
        raise QuestionError("this cluster does not know Subnets (kubeovn.io/v1): install Kube-OVN first") from None
