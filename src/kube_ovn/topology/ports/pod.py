"""A Pod: its request, its port, and the annotations that let it start. Pure."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

from kube_ovn.config import parse_list
from kube_ovn.model import names
from kube_ovn.model.addr import Address, format_list, parse_addresses, parse_mac
from kube_ovn.model.crd import StatefulSet, SubnetSpec
from kube_ovn.model.host import Route
from kube_ovn.model.kube import Pod
from kube_ovn.model.nb import DhcpOptions, LogicalSwitch, LogicalSwitchPort, PortGroup
from kube_ovn.model.network import Grant, Kind, ObjectRef, Subnet
from kube_ovn.model.routes import parse_routes
from kube_ovn.model.row import Key, Member, Row, facts, owned
from kube_ovn.topology.subnets.namespace import parse_names
from kube_ovn.topology.subnets.options import parse_dhcp_options
from kube_ovn.topology.subnets.switch import dhcp_key, dhcp_options

T = TypeVar("T")
FAMILIES = {"ipv4": 4, "ipv6": 6}
MOST_LISTED = 1000
"""Entries of a list of addresses: for each of them, each subnet of the Pod is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The request of a Pod: the subnets or pools where it asks for an address, and the values that its user fixed."""

    subnets: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    """IP families; empty for all families of the subnet."""
    addresses: tuple[Address, ...] = ()
    mac: str | None = None
    pools: tuple[str, ...] = ()
    choices: tuple[tuple[Address, ...], ...] = ()
    """A list of addresses, one entry for each Pod of a workload."""
    routes: tuple[Route, ...] = ()


def needs_port(pod: Pod) -> bool:
    """Whether a Pod is to have a port: it has a node, its own network namespace, and has not ended.

    A Pod that waits for the scheduler holds no address: before it has a node, the address could not be used.
    """
    return bool(pod.spec.node_name) and not pod.spec.host_network and pod.status.phase not in ("Succeeded", "Failed")


def pod_ref(pod: Pod) -> ObjectRef:
    meta = pod.metadata
    return ObjectRef(kind=Kind.POD, namespace=meta.namespace, name=meta.name, uid=meta.uid)


def parse_request(pod: Pod) -> Request:
    """Read the annotations of a Pod without a grant. Raises ValueError with a sentence for its user."""
    annotations = pod.metadata.annotations
    try:
        pools, choices = _parse_pool(annotations.get(names.IP_POOL, ""))
        return Request(
            subnets=parse_names(names.LOGICAL_SWITCH, annotations.get(names.LOGICAL_SWITCH, "")),
            versions=_parse_family(annotations.get(names.IP_FAMILY, "")),
            addresses=_addresses(names.IP_ADDRESS, text) if (text := annotations.get(names.IP_ADDRESS)) else (),
            mac=_naming(names.MAC_ADDRESS, parse_mac, text) if (text := annotations.get(names.MAC_ADDRESS)) else None,
            pools=pools,
            choices=choices,
            routes=parse_routes(annotations.get(names.ROUTES, "")),
        )
    except ValueError as error:
        raise ValueError(f"annotation of Pod {pod_label(pod)}: {error}") from None


def _naming(key: str, parse: Callable[[str], T], text: str) -> T:
    """Parse the text of an annotation. Raises ValueError with a sentence that begins with the annotation."""
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _addresses(key: str, text: str) -> tuple[Address, ...]:
    return _naming(key, parse_addresses, text)


def _parse_family(text: str) -> tuple[int, ...]:
    if not text:
        return ()
    if text not in FAMILIES:
        raise ValueError(f"{names.IP_FAMILY} is {text!r}; it must be ipv4 or ipv6")
    return (FAMILIES[text],)


def _parse_pool(text: str) -> tuple[tuple[str, ...], tuple[tuple[Address, ...], ...]]:
    """Parse names of IPPools, or addresses. `;` stands between Pods. `,` stands between the families of one Pod, or,
    where all addresses are of one family, between Pods as well. Raises ValueError.
    """
    if not text.strip():
        return (), ()
    first = text.replace(";", ",").split(",")[0]
    try:
        parse_addresses(first)
    except ValueError:
        if ".." in first or "/" in first:
            raise ValueError(
                f"{names.IP_POOL}: {first.strip()[:60]!r} is no address: list single addresses, joined by `;`, or make "
                "an IPPool of ranges and name it"
            ) from None
        return parse_names(names.IP_POOL, text), ()
    if (number := text.count(";" if ";" in text else ",") + 1) > MOST_LISTED:
        raise ValueError(f"{names.IP_POOL} lists {number} addresses; {MOST_LISTED} are the most, or make an IPPool")
    if ";" in text:
        return (), tuple(_addresses(names.IP_POOL, part) for part in text.split(";") if part.strip())
    each = tuple(_addresses(names.IP_POOL, part) for part in parse_list(text))
    versions = [entry[0].version for entry in each]
    return (), (parse_addresses(text),) if sorted(versions) == [4, 6] else each


def ordinal(pod: Pod, parent: StatefulSet | None) -> int | None:
    """The number of a StatefulSet's Pod among the Pods of the set, from 0 on; None when the Pod's name has none."""
    found = names.split_ordinal(pod.metadata.name)
    return None if found is None else found[1] - (parent.spec.ordinals.start if parent is not None else 0)


def against_routes(routes: Iterable[Route], subnet: Subnet, versions: Collection[int]) -> str:
    """Why a Pod with addresses of these IP families in a subnet cannot have its routes, as a sentence; empty when it
    can. A gateway is a host of the subnet, or has a link-local address; others the kernel does not take
    (ip-route(8), `via`).
    """
    for via in (route.via for route in routes if route.via is not None):
        if via.version not in versions:
            return (
                f"{names.ROUTES}: gateway {via} is IPv{via.version}, and the Pod gets no IPv{via.version} address in "
                f"subnet {subnet.name}: remove the route, or choose another subnet"
            )
        if not subnet.has_host(via) and not (via.version == 6 and via.is_link_local):
            return (
                f"{names.ROUTES}: gateway {via} is no host in the CIDR {format_list(subnet.cidrs)} of subnet "
                f"{subnet.name}; choose one there"
            )
    return ""


def dhcp_faults(pod: Pod) -> list[str]:
    """The parts of a Pod's annotations about DHCP that cannot be used and are left out, one sentence each."""
    texts = {4: names.DHCP_V4_OPTIONS, 6: names.DHCP_V6_OPTIONS}
    return [
        f"{key}: {fault}"
        for version, key in texts.items()
        if (text := pod.metadata.annotations.get(key))
        for fault in parse_dhcp_options(text, version)[1]
    ]


def pod_label(pod: Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


@dataclass(frozen=True, slots=True)
class Senders:
    """The addresses besides the Pod's own that a port may send from."""

    more: tuple[Address, ...] = ()
    all: bool = False
    """Whether the port may send from any address, and what DHCP servers send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodInputs:
    """All that a Pod's rows depend on besides the Pod. Equal inputs make equal rows."""

    grant: Grant
    subnet: Subnet
    spec: SubnetSpec
    node_known: bool
    senders: Senders


def render_pod(pod: Pod, inputs: PodInputs) -> dict[Key, Row | None]:
    """The rows of a Pod: its port, on its switch and in the port group of its node, with the DHCP options
    offered there.
    """
    meta, node, grant = pod.metadata, pod.spec.node_name, inputs.grant
    port = names.pod_port(meta.name, meta.namespace)
    members = [Member(LogicalSwitch.TABLE, grant.subnet, "ports", port)]
    if inputs.node_known:
        members.append(Member(PortGroup.TABLE, names.node_port_group(node), "ports", port))
    if inputs.senders.all:
        members.append(Member(PortGroup.TABLE, names.OPEN_PORTS, "ports", port))
    offers, chosen = _dhcp(pod, inputs, port)
    members += [Member(LogicalSwitchPort.TABLE, port, column, key) for column, key in chosen.items()]
    return facts(
        LogicalSwitchPort(
            name=port,
            addresses=frozenset({grant.lsp_addresses}),
            port_security=_port_security(inputs.senders, grant),
            # Only this chassis may claim the port: a stale interface of a Pod of the same name on another node cannot
            # take it over.
            options={"requested-chassis": node},
            external_ids=owned(ls=grant.subnet, pod=f"{meta.namespace}/{meta.name}", owner_uid=meta.uid),
        ),
        *offers,
        members=tuple(members),
    )


def _port_security(senders: Senders, grant: Grant) -> frozenset[str]:
    """The column of that name (ovn-nb(5), Logical_Switch_Port): empty when the port may send from any address."""
    if senders.all:
        return frozenset()
    return frozenset({" ".join([grant.lsp_addresses, *map(str, senders.more)])})


def _dhcp(pod: Pod, inputs: PodInputs, port: str) -> tuple[list[DhcpOptions], dict[str, str]]:
    """Rows for the DHCP options of the Pod itself; and, by column, the key of the row that its port refers to."""
    annotations, grant = pod.metadata.annotations, inputs.grant
    texts = {4: annotations.get(names.DHCP_V4_OPTIONS, ""), 6: annotations.get(names.DHCP_V6_OPTIONS, "")}
    rows: list[DhcpOptions] = []
    chosen: dict[str, str] = {}
    for address in grant.addresses:
        version = address.version
        if texts[version]:
            cidr, gateway = next(
                pair for pair in zip(inputs.subnet.cidrs, inputs.subnet.gateways, strict=True) if address in pair[0]
            )
            row = DhcpOptions(
                cidr=str(cidr),
                options=dhcp_options(inputs.subnet, version, gateway, texts[version], inputs.spec.mtu),
                external_ids=owned(key=f"port {dhcp_key(port, version)}", ls=inputs.subnet.name, port=port),
            )
            rows.append(row)
            chosen[f"dhcpv{version}_options"] = row.key
        elif inputs.spec.enable_dhcp:
            chosen[f"dhcpv{version}_options"] = dhcp_key(grant.subnet, version)
    return rows, chosen


def pod_annotations(router: str, grant: Grant, subnet: Subnet) -> dict[str, str]:
    """The annotations that the node's daemon waits for. They are published only after the port is committed."""
    cidrs = [cidr for address in grant.addresses for cidr in subnet.cidrs if address in cidr]
    return {
        names.ALLOCATED: "true",
        names.IP_ADDRESS: format_list(grant.addresses),
        names.MAC_ADDRESS: grant.mac,
        names.CIDR: format_list(cidrs),
        names.GATEWAY: format_list(grant.gateways),
        names.LOGICAL_SWITCH: subnet.name,
        names.LOGICAL_ROUTER: router,
        names.POD_NIC_TYPE: names.VETH_PAIR,
        names.ROUTED: "true",
    }
