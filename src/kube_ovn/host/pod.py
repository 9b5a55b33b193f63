"""A Pod on this node: the network of its interface, its port in Open vSwitch, and when its sandbox is over. Pure."""

import contextlib
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace

from kube_ovn.model import names
from kube_ovn.model.addr import Address, parse_addresses, parse_mac, parse_networks
from kube_ovn.model.crd import IP
from kube_ovn.model.host import InterfaceAddress, Link, PodNetwork, Route, Sandbox
from kube_ovn.model.kube import Pod
from kube_ovn.model.routes import default_route, parse_routes
from kube_ovn.model.row import Key, Member, Row, facts, owned
from kube_ovn.model.vswitch import Bridge, Interface, Port

CONTAINER_ID, IFNAME, POD_UID, NETNS = "container_id", "ifname", "pod_uid", "pod_netns"
"""Keys in external_ids of an Interface. They name the sandbox of the port."""


def parse_network(pod: Pod) -> PodNetwork | None:
    """Parse the network that the controller has granted a Pod; None while it has not. Raises ValueError with a sentence
    on the annotations.
    """
    annotations = pod.metadata.annotations
    if annotations.get(names.ALLOCATED) != "true":
        return None
    for name in (names.IP_ADDRESS, names.MAC_ADDRESS, names.CIDR, names.GATEWAY):
        if name not in annotations:
            raise ValueError(f"annotation {name} is missing although {names.ALLOCATED} is set")
    interfaces, gateways = parse_interfaces(annotations)
    return PodNetwork(
        uid=pod.metadata.uid,
        mac=parse_mac(annotations[names.MAC_ADDRESS]),
        interfaces=interfaces,
        gateways=gateways,
        routes=_routes(gateways, annotations.get(names.ROUTES, "")),
    )


def is_recorded(pod: Pod, network: PodNetwork, ip: IP) -> bool:
    """Whether an IP object records the network that the annotations of a Pod tell. Who may make a Pod writes its
    annotations as well, and would have any address; only the controller and administrators write IP objects.
    """
    meta, spec = pod.metadata, ip.spec
    parent = pod.stateful_set
    owners = {"", meta.uid, meta.uid if parent is None else parent.uid}  # "": a reservation
    try:
        addresses, mac = parse_addresses(spec.addresses), parse_mac(spec.mac_address or network.mac)
    except ValueError:
        return False
    return (
        spec.owner_uid in owners
        and set(addresses) == {interface.address for interface in network.interfaces}
        and mac == network.mac
        and spec.subnet == meta.annotations.get(names.LOGICAL_SWITCH)
    )


def runtime_uids(pod: Pod) -> tuple[str, ...]:
    """The UIDs by which a container runtime may know a Pod: a static Pod, which the API server shows as its mirror, has
    a UID of its kubelet's.
    """
    return (pod.metadata.uid, pod.metadata.annotations.get(names.CONFIG_HASH, ""))


def pod_mtu(node: int, wanted: int) -> int:
    """The MTU of a Pod's interface in bytes: the one that its Subnet wants (0: none), but at most the one of the node's
    tunnels.
    """
    return min(node, wanted) if wanted else node


def parse_interfaces(annotations: Mapping[str, str]) -> tuple[tuple[InterfaceAddress, ...], tuple[Address, ...]]:
    """Parse addresses, with the prefix lengths of their subnets, and the gateway of each. Raises ValueError."""
    addresses = parse_addresses(annotations[names.IP_ADDRESS])
    networks = {network.version: network for network in parse_networks(annotations[names.CIDR])}
    gateways = {gateway.version: gateway for gateway in parse_addresses(annotations[names.GATEWAY])}
    for address in addresses:
        if address.version not in networks or address not in networks[address.version]:
            raise ValueError(f"{names.IP_ADDRESS} {address} is not in {names.CIDR} {annotations[names.CIDR]}")
        if address.version not in gateways:
            raise ValueError(f"{names.GATEWAY} {annotations[names.GATEWAY]} has none for {address}")
    return (
        tuple(InterfaceAddress(address=a, prefix=networks[a.version].prefixlen) for a in addresses),
        tuple(gateways[a.version] for a in addresses),
    )


def _routes(gateways: Iterable[Address], user: str) -> tuple[Route, ...]:
    """The default routes and the user's routes. A default route of the user replaces the one of its family."""
    routes = {default_route(hop): Route(to=default_route(hop), via=hop) for hop in gateways}
    try:
        routes.update({route.to: route for route in parse_routes(user)})
    except ValueError as error:
        raise ValueError(f"annotation {error}") from None
    return tuple(routes.values())


def render_sandbox(sandbox: Sandbox, network: PodNetwork) -> dict[Key, Row | None]:
    """The rows of the port of a sandbox on br-int. ovn-controller binds it to the logical port that iface-id names."""
    link = sandbox.link
    port = Port(name=link, external_ids=owned())
    interface = Interface(
        name=link,
        external_ids=owned(
            **{
                "iface-id": names.pod_port(sandbox.pod, sandbox.namespace),
                "pod_name": sandbox.pod,
                "pod_namespace": sandbox.namespace,
                "ip": ",".join(str(interface.address) for interface in network.interfaces),
                NETNS: sandbox.netns,
                CONTAINER_ID: sandbox.container,
                IFNAME: sandbox.interface,
                POD_UID: network.uid,
            }
        ),
    )
    return facts(interface, port, members=port_members(link))


def port_members(link: str) -> tuple[Member, ...]:
    """The memberships of the port of a link: its Interface in the Port, the Port in br-int."""
    return (
        Member(Port.TABLE, link, "interfaces", link),
        Member(Bridge.TABLE, names.INTEGRATION_BRIDGE, "ports", link),
    )


def sandbox_of(row: Row) -> Sandbox | None:
    """The sandbox of an Interface of kube-ovn; None for a NIC of the node and for a row that is no Interface."""
    ids = row.external_ids
    if not isinstance(row, Interface) or CONTAINER_ID not in ids:
        return None
    return Sandbox(
        container=ids[CONTAINER_ID],
        interface=ids.get(IFNAME, ""),
        netns=ids.get(NETNS, ""),
        namespace=ids.get("pod_namespace", ""),
        pod=ids.get("pod_name", ""),
        uid=ids.get(POD_UID, ""),
    )


def format_alias(sandbox: Sandbox, uid: str) -> str:
    """The alias of the node's end of a Pod's link. From it and the Pod alone, the port can be made anew.

    Empty for a sandbox with names that are too long for an alias (Linux takes 255 bytes).
    """
    alias = f"{names.LINK_ALIAS} {sandbox.container} {sandbox.interface} {uid} {sandbox.netns}"
    return alias if len(alias.encode()) <= 255 else ""


def parse_alias(alias: str) -> Sandbox | None:
    """The sandbox of a link, without the name of its Pod; None for a link that is not kube-ovn's."""
    match alias.split(" ", 4):
        case [names.LINK_ALIAS, container, interface, uid, netns]:
            return Sandbox(container=container, interface=interface, netns=netns, uid=uid)
    return None


def render_lost(
    links: Iterable[Link], known: Container[str], pods: Mapping[str, Pod]
) -> dict[str, dict[Key, Row | None]]:
    """The rows of Pods' links that have no port, by link: Open vSwitch lost its database, or a user deleted ports."""
    lost: dict[str, dict[Key, Row | None]] = {}
    for link in links:
        sandbox = parse_alias(link.alias)
        if sandbox is None or link.name != sandbox.link or link.name in known or sandbox.uid not in pods:
            continue
        pod = pods[sandbox.uid]
        with contextlib.suppress(ValueError):  # the next request for the Pod's network tells it
            if network := parse_network(pod):
                meta = pod.metadata
                lost[link.name] = render_sandbox(replace(sandbox, namespace=meta.namespace, pod=meta.name), network)
    return lost


def is_over(sandbox: Sandbox, netns_exists: bool, link_exists: bool, uids: frozenset[str] | None) -> bool:
    """Whether a sandbox is proven to be gone: its network namespace is, and its link or its Pod as well.

    A link dies with the namespace of its far end, so if both are missing, that is proof. A link that lives without a
    path to its namespace may belong to a namespace that is mounted elsewhere; then the Pod must be missing as well,
    from a list that is known to be complete (`uids`; None when it is not).
    """
    if netns_exists:
        return False
    return not link_exists or (uids is not None and sandbox.uid not in uids)


def select_over(
    interfaces: Mapping[str, Sandbox],
    netns_exists: Callable[[str], bool],
    links: Container[str],
    uids: frozenset[str] | None,
) -> list[str]:
    """The links in the database that have a sandbox which is over."""
    return [
        link
        for link, sandbox in interfaces.items()
        if is_over(sandbox, netns_exists(sandbox.netns), link in links, uids)
    ]
