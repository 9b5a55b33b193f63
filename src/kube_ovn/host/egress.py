"""How packets leave the fabric through this node: the node's nftables table. Pure.

The table is kube-ovn's own and is replaced as a whole. It only adds to the rules of the host's other tables: a packet
must pass every table of nftables, so nothing here can undo the drop of a host's firewall. The output of `nft list table
inet kube-ovn` is meant to be read.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kube_ovn.host.nftables import (
    FABRIC_NICS,
    LONGEST_COMMENT,
    Rendered,
    block,
    braced,
    format_table,
    ip_of,
    nodes_set,
)
from kube_ovn.host.subnet import NodeSubnet
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network
from kube_ovn.model.gateway import NatException

_LONGEST_NAME = 200
"""Characters of the name of a subnet in the name of a counter."""
DIRECTIONS = ("egress", "ingress")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The packets between a network of a subnet and the outside in one direction. The table counts them."""

    subnet: str
    network: Network
    direction: str
    """`egress` or `ingress`, from the view of the Pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Rendered):
    """The node's table of nftables."""

    flows: Mapping[str, Flow]
    """The flow that each counter of the table counts, by the name of the counter."""


def render_table(
    fabric: Sequence[NodeSubnet], services: Sequence[Network] = (), nodes: Collection[Address] = ()
) -> Table:
    """The node's table. Between the subnets of the fabric, addresses stay as they are. On the way out, the addresses of
    subnets with `nat` become addresses of the node: any, or those that are fixed for it. Packets leave a centralized
    subnet through its gateway or not at all.

    `services`: networks of addresses that the fabric answers also for clients that come through this node. `nodes`: the
    addresses of all nodes of the cluster.
    """
    families = sorted({network.version for subnet in fabric for network in subnet.networks})
    flows = {_counter(flow): flow for version in families for flow in _flows(version, fabric)}
    rules = [
        *(line for name, flow in flows.items() for line in _declare(name, flow)),
        *(line for version in families for line in _sets(version, fabric)),
        *(line for version in families for line in nodes_set(version, nodes)),
        *(line for version in families for line in _counter_maps(version, flows)),
        "    chain past_gateway {",
        "        comment \"only answers of this node's own ports leave past a gateway, with the node's address\"",
        "        ct direction reply ct status dnat return",
        "        counter drop",
        "    }",
        "    chain forward {",
        '        comment "only the fabric\'s subnets are forwarded, each through its own gateway"',
        "        type filter hook forward priority filter; policy accept;",
        *(line for version in families for line in _services(version, services)),
        *(line for version in families for line in _forward(version)),
        "    }",
        *_own_ports(families),
        "    chain postrouting {",
        '        comment "Pods reach the outside with an address of the node they leave through"',
        "        type nat hook postrouting priority srcnat; policy accept;",
        f'        oifname "{names.NODE_NIC}" ct status dnat jump own_ports',
        *(line for version in families for line in _exceptions(version, fabric)),
        *(f"        {_leaving(version)} {_to_source(version)}" for version in families),
        *(f"        {_leaving(version)} counter masquerade fully-random" for version in families),
        "    }",
    ]
    text, comment = format_table(names.NFT_TABLE, rules)
    return Table(text=text, comment=comment, flows=flows)


def _flows(version: int, fabric: Sequence[NodeSubnet]) -> Iterator[Flow]:
    for network, owners in _elements(version, fabric):
        for direction in DIRECTIONS:
            yield Flow(subnet=owners[0].name, network=network, direction=direction)


def _counter(flow: Flow) -> str:
    """The name of the counter of a flow. The kernel takes 255 bytes."""
    name = flow.subnet
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}-{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"
    return f"{flow.direction}{flow.network.version}-{name}"


def _declare(name: str, flow: Flow) -> list[str]:
    way = "to the outside" if flow.direction == DIRECTIONS[0] else "from the outside"
    return [f"    counter {name} {{", f'        comment "{flow.network} {way}"', "    }"]


def _counter_maps(version: int, flows: Mapping[str, Flow]) -> list[str]:
    return [
        line
        for direction in DIRECTIONS
        for line in block(
            f"map {direction}{version}",
            f"the counter of each network, {direction}",
            f"ipv{version}_addr : counter",
            [
                f'{flow.network} : "{name}"'
                for name, flow in flows.items()
                if (flow.direction, flow.network.version) == (direction, version)
            ],
        )
    ]


def _sets(version: int, fabric: Sequence[NodeSubnet]) -> list[str]:
    leaving = [subnet for subnet in fabric if subnet.nat]
    centralized = [subnet for subnet in fabric if subnet.centralized]
    fixed = [subnet for subnet in leaving if _source(subnet, version)]
    return [
        *_set(
            "pods", version, "subnets with natOutgoing: outside the fabric their Pods have a node's address", leaving
        ),
        *_set("fabric", version, "all subnets: between them every Pod has its own address", fabric),
        *_set("centralized", version, "subnets that leave through gateway nodes, never through ovn0", centralized),
        *_set(
            "private",
            version,
            "subnets that only permitted clients may reach",
            [subnet for subnet in fabric if subnet.private],
        ),
        *_set(
            "stopped",
            version,
            "subnets whose packets cannot leave as configured",
            [each for each in fabric if version in each.stopped],
        ),
        *_set(
            "sources",
            version,
            "subnets whose packets get a fixed address on this node",
            fixed,
            lambda subnet: _source(subnet, version),
        ),
    ]


def _source(subnet: NodeSubnet, version: int) -> str:
    return next((str(address) for address in subnet.sources if address.version == version), "")


def _set(
    name: str,
    version: int,
    comment: str,
    subnets: Iterable[NodeSubnet],
    value: Callable[[NodeSubnet], str] | None = None,
) -> list[str]:
    """A set of the networks of subnets; with `value`, a map from these networks."""
    elements = [
        f'{network} comment "{_names(owners)}"' + (f" : {value(owners[0])}" if value else "")
        for network, owners in _elements(version, subnets)
    ]
    kind = f"ipv{version}_addr"
    if value:
        return block(f"map {name}{version}", comment, f"{kind} : {kind}", elements)
    return block(f"set {name}{version}", comment, kind, elements)


def _names(subnets: Iterable[NodeSubnet]) -> str:
    return ", ".join(sorted(subnet.name for subnet in subnets))[:LONGEST_COMMENT]


def _elements(version: int, subnets: Iterable[NodeSubnet]) -> list[tuple[Network, list[NodeSubnet]]]:
    """The networks of a family in order, each with its subnets. A network inside another is left out: nft takes no
    overlap, and a subnet that is made anew under another name may be here together with the former one.
    """
    owners: dict[Network, list[NodeSubnet]] = {}
    for subnet in subnets:
        for network in subnet.networks:
            if network.version == version:
                owners.setdefault(network, []).append(subnet)
    found: list[tuple[Network, list[NodeSubnet]]] = []
    for network in sorted(owners, key=lambda network: (int(network.network_address), network.prefixlen)):
        if not found or not _contains(found[-1][0], network):
            found.append((network, owners[network]))
    return found


def _contains(outer: Network, inner: Network) -> bool:
    """Whether `inner` lies inside `outer`. It must not begin before `outer`."""
    return int(inner.network_address) <= int(outer.broadcast_address)


def _services(version: int, services: Iterable[Network]) -> list[str]:
    """The rules that let packets for addresses of Services through to the fabric, and the answers back. A packet of a
    Pod is not let through again: the fabric has sent it here because no Service has the address.
    """
    own, nic = [network for network in services if network.version == version], names.NODE_NIC
    if not own:
        return []
    to, source = f"{ip_of(version)} daddr {braced(own)}", f"{ip_of(version)} saddr {braced(own)}"
    return [
        f'        iifname "{nic}" {source} ct direction reply accept',
        f'        oifname "{nic}" {to} ct status dnat accept',
        f'        iifname != {FABRIC_NICS} oifname "{nic}" {to} accept',
    ]


def _forward(version: int) -> list[str]:
    ip, nic = ip_of(version), names.NODE_NIC
    return [
        f"        iifname {FABRIC_NICS} {ip} saddr != @fabric{version} counter drop",
        f'        oifname "{nic}" {ip} daddr != @fabric{version} counter drop',
        f'        oifname != "{nic}" {ip} saddr @stopped{version} counter drop',
        f'        iifname "{nic}" oifname != "{nic}" {ip} saddr @centralized{version} jump past_gateway',
        # Packets without a connection are not translated: they would leave with the address of a Pod.
        f"        {_leaving(version)} ct state invalid counter drop",
        f'        iifname {FABRIC_NICS} oifname != "{nic}" counter name {ip} saddr map @egress{version}',
        f'        iifname != {FABRIC_NICS} oifname "{nic}" counter name {ip} daddr map @ingress{version}',
    ]


def _own_ports(families: Iterable[int]) -> list[str]:
    """The chain for requests to a port of this node that portmap sends to a Pod (CNI plugins, "portmap"). The answers
    must come back to this node, which puts the addresses back; else they would go to the gateway, or directly to a Pod
    or another node that is the client.

    Requests to a private subnet are left alone: the node is let in there, and its client may not be.
    """
    return [
        "    chain own_ports {",
        '        comment "requests to ports of this node get its address, for the answers; not in private subnets"',
        *(f"        {ip_of(version)} daddr @private{version} return" for version in families),
        f"        iifname {FABRIC_NICS} counter masquerade",
        *(f"        {ip_of(version)} saddr @nodes{version} counter masquerade" for version in families),
        *(f"        {ip_of(version)} daddr @centralized{version} counter masquerade" for version in families),
        "    }",
    ]


def _exceptions(version: int, fabric: Sequence[NodeSubnet]) -> list[str]:
    """The rules of natOutgoingPolicyRules, subnet by subnet. The first that matches a packet decides."""
    ip, rules = ip_of(version), []
    for subnet in fabric:
        own = [network for network in subnet.networks if network.version == version]
        for exception in subnet.exceptions if own else ():
            if exception.version == version:
                which = f"{_leaving(version)} {ip} saddr {braced(own)}{_match(exception)}"
                comment = f"rule {exception.id} of {subnet.name}"[:LONGEST_COMMENT]
                rules.append(f'        {which} counter {_verdict(exception, subnet)} comment "{comment}"')
    return rules


def _verdict(exception: NatException, subnet: NodeSubnet) -> str:
    if not exception.nat:
        return "accept"
    source = _source(subnet, exception.version)
    return f"snat {ip_of(exception.version)} to {source}" if source else "masquerade fully-random"


def _match(exception: NatException) -> str:
    ip = ip_of(exception.version)
    parts = [(f"{ip} saddr", exception.sources), (f"{ip} daddr", exception.destinations)]
    return "".join(f" {field} {braced(networks)}" for field, networks in parts if networks)


def _to_source(version: int) -> str:
    """Packets of subnets that are not in the map go on to the next rule."""
    ip = ip_of(version)
    return f"counter snat {ip} to {ip} saddr map @sources{version}"


def _leaving(version: int) -> str:
    """The match for a packet of a Pod that leaves the fabric."""
    ip = ip_of(version)
    return f'oifname != "{names.NODE_NIC}" {ip} saddr @pods{version} {ip} daddr != @fabric{version}'
