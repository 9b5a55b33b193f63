"""How Services are reached on a node: the node's second table of nftables. Pure.

It is not part of the first table, so that the counters there do not begin anew with each Service that comes or goes.
The output of `nft list table inet kube-ovn-services` is meant to be read. Only the first packet of a connection is
looked up; the kernel sends the others after it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import collapse_addresses

from kube_ovn.host.nftables import FABRIC_NICS, Rendered, block, braced, format_table, ip_of, nodes_set
from kube_ovn.host.own_ports import Asked
from kube_ovn.host.service import Direct, Entry, NodeService, Target, Through
from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network
from kube_ovn.model.host import Front

_MARK = f"0x{names.MASQUERADE_MARK:08x}"
_UNMARKED = f"0x{0xFFFFFFFF ^ names.MASQUERADE_MARK:08x}"
_SEED = "0x6b6f"
"""The seed of the hash of clients. It is the same on all nodes, so that a client reaches the same endpoint through each
of them.
"""
_LOOPBACK = {4: "127.0.0.0/8", 6: "::1"}
_WHAT = "meta l4proto . th dport"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTable(Rendered):
    """The table for Services."""

    fronts: Mapping[Front, frozenset[tuple[Address, int]]]
    """The endpoints or addresses that each UDP front leads to. The kernel sends a client to a former one until the
    client's connection is ended (`linux.conntrack`).
    """


@dataclass(slots=True)
class _Maps:
    """The elements of each map of one IP family."""

    through: list[str] = field(default_factory=list)
    direct: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    restricted: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    direct_ports: list[str] = field(default_factory=list)
    outside_ports: list[str] = field(default_factory=list)


def render_services(
    services: Iterable[NodeService],
    networks: Sequence[Network],
    nodes: Collection[Address],
    left: Collection[Asked] = frozenset(),
) -> ServiceTable:
    """The table. `networks`: the networks of Services' own addresses; `nodes`: the addresses of all nodes. `left`: the
    fronts that this node does not serve.
    """
    entries = list(_first(services, left))
    families = sorted({*(network.version for network in networks), *(entry.front.version for _, entry in entries)})
    rules: list[str] = []
    for version in families:
        own = [(service, entry) for service, entry in entries if entry.front.version == version]
        rules += _sets(version, networks, nodes)
        rules += _render_maps(version, own)
    rules += _chains(entries)
    rules += _hooks(families)
    text, comment = format_table(names.SERVICES_TABLE, rules)
    fronts = {entry.front: _targets(entry) for _, entry in entries if entry.front.protocol == "udp"}
    return ServiceTable(text=text, comment=comment, fronts=fronts)


def _first(services: Iterable[NodeService], left: Collection[Asked]) -> Iterator[tuple[NodeService, Entry]]:
    """Each front with its Service, which is the oldest one that asks for the front: nft takes a front once."""
    taken: set[Front] = set()
    for service in sorted(services, key=lambda service: service.age):
        for entry in service.entries:
            if entry.front not in taken and (service.uid, entry.front) not in left:
                taken.add(entry.front)
                yield service, entry


def _targets(entry: Entry) -> frozenset[tuple[Address, int]]:
    found: set[tuple[Address, int]] = set()
    for target in (entry.inside, entry.outside):
        found |= {(target.address, target.port)} if isinstance(target, Through) else set(target.endpoints)
    return frozenset(found)


def _sets(version: int, networks: Iterable[Network], nodes: Collection[Address]) -> list[str]:
    kind = f"ipv{version}_addr"
    services = [str(network) for network in networks if network.version == version]
    return [
        *block(f"set services{version}", "where Services have their own addresses", kind, services),
        *nodes_set(version, nodes),
    ]


def _render_maps(version: int, entries: Iterable[tuple[NodeService, Entry]]) -> list[str]:
    maps = _Maps()
    for service, entry in entries:
        _add(maps, service, entry)
    port = "inet_proto . inet_service"
    address, target = f"ipv{version}_addr . {port}", f"ipv{version}_addr . inet_service"
    return [
        line
        for name, comment, kind, elements in (
            ("through", "addresses that lead to a Service's own", f"{address} : {target}", maps.through),
            ("direct", "addresses that lead to endpoints", f"{address} : verdict", maps.direct),
            ("outside", "where those lead clients outside, if elsewhere", f"{address} : verdict", maps.outside),
            ("restricted", "addresses for some clients only", f"{address} : verdict", maps.restricted),
            ("ports", "node ports that lead to a Service's own address", f"{port} : {target}", maps.ports),
            ("direct_ports", "node ports that lead to endpoints", f"{port} : verdict", maps.direct_ports),
            (
                "outside_ports",
                "where those lead clients outside, if elsewhere",
                f"{port} : verdict",
                maps.outside_ports,
            ),
        )
        for line in block(f"map {name}{version}", comment, kind, elements, flags="")
    ]


def _add(maps: _Maps, service: NodeService, entry: Entry) -> None:
    front = entry.front
    key = f"{front.protocol} . {front.port}"
    through, direct, outside = maps.ports, maps.direct_ports, maps.outside_ports
    if front.address is not None:
        key = f"{front.address} . {key}"
        through, direct, outside = maps.through, maps.direct, maps.outside
    key += f' comment "{service.namespace}/{service.name}"'
    if isinstance(entry.inside, Through):
        through.append(f"{key} : {entry.inside.address} . {entry.inside.port}")
    else:
        direct.append(f"{key} : {_verdict(entry.inside)}")
    if entry.outside != entry.inside:
        outside.append(f"{key} : {_verdict(entry.outside)}")
    if entry.restricted:
        maps.restricted.append(f"{key} : jump {_ranges_chain(service, front.version)}")


def _verdict(target: Target) -> str:
    assert isinstance(target, Direct), "only endpoints are a target for clients outside alone"
    return f"goto {target.name}" if target.endpoints else "drop"


def _ranges_chain(service: NodeService, version: int) -> str:
    return f"ranges/{service.namespace}/{service.name}/{version}"


def _chains(entries: Iterable[tuple[NodeService, Entry]]) -> list[str]:
    """The chains in which a front chooses an endpoint or checks a client, each once."""
    chains: dict[str, list[str]] = {}
    for service, entry in entries:
        for target in (entry.inside, entry.outside):
            if isinstance(target, Direct) and target.endpoints:
                chains.setdefault(target.name, _choice(target, entry.front))
        if entry.restricted:
            chains.setdefault(_ranges_chain(service, entry.front.version), _gate(service, entry.front.version))
    return [
        line
        for name, rules in chains.items()
        for line in (f"    chain {name} {{", *(f"        {r}" for r in rules), "    }")
    ]


def _choice(target: Direct, front: Front) -> list[str]:
    ip, endpoints = ip_of(front.version), target.endpoints
    how = (
        f"jhash {ip} saddr mod {len(endpoints)} seed {_SEED}"
        if target.sticky
        else f"numgen random mod {len(endpoints)}"
    )
    listed = ", ".join(f"{number} : {address} . {port}" for number, (address, port) in enumerate(endpoints))
    return [
        *([f"meta mark set meta mark | {_MARK}"] if target.masquerade else []),
        f"meta l4proto {front.protocol} dnat {ip} to {how} map {{ {listed} }}",
    ]


def _gate(service: NodeService, version: int) -> list[str]:
    own = [network for network in service.ranges if network.version == version]
    allowed = list(collapse_addresses(own))  # type: ignore[type-var]
    return [*([f"{ip_of(version)} saddr {braced(allowed)} return"] if allowed else []), "counter drop"]


def _hooks(families: Sequence[int]) -> list[str]:
    return [
        "    chain inside {",
        '        comment "of Pods and of the node\'s own processes"',
        *(f"        {rule}" for version in families for rule in _inside(version)),
        "    }",
        "    chain outside {",
        *(f"        {rule}" for version in families for rule in _outside(version)),
        "        goto inside",
        "    }",
        "    chain restricted {",
        *(f"        {ip_of(version)} daddr . {_WHAT} vmap @restricted{version}" for version in families),
        "    }",
        "    chain prerouting {",
        "        type nat hook prerouting priority dstnat; policy accept;",
        "        jump restricted",
        f"        iifname {FABRIC_NICS} goto inside",
        "        goto outside",
        "    }",
        "    chain output {",
        "        type nat hook output priority -100; policy accept;",
        "        goto inside",
        "    }",
        "    chain forward {",
        '        comment "what comes back from the fabric is for an address that no Service has"',
        "        type filter hook forward priority filter - 1; policy accept;",
        *(f"        {rule}" for version in families for rule in _unanswered(version)),
        "    }",
        "    chain postrouting {",
        '        comment "answers must come back through this node"',
        "        type nat hook postrouting priority srcnat; policy accept;",
        f'        oifname != "lo" meta mark & {_MARK} != 0 meta mark set meta mark & {_UNMARKED} counter masquerade',
        *(f"        {rule}" for version in families for rule in _answered_here(version)),
        "    }",
    ]


def _inside(version: int) -> list[str]:
    ip = ip_of(version)
    return [
        f"dnat {ip} to {ip} daddr . {_WHAT} map @through{version}",
        f"{ip} daddr . {_WHAT} vmap @direct{version}",
        f"{_own_address(version)} dnat {ip} to {_WHAT} map @ports{version}",
        f"{_own_address(version)} {_WHAT} vmap @direct_ports{version}",
    ]


def _outside(version: int) -> list[str]:
    return [
        f"{ip_of(version)} daddr . {_WHAT} vmap @outside{version}",
        f"{_own_address(version)} {_WHAT} vmap @outside_ports{version}",
    ]


def _own_address(version: int) -> str:
    return f"fib daddr type local {ip_of(version)} daddr != {_LOOPBACK[version]}"


def _unanswered(version: int) -> list[str]:
    back = f'iifname {FABRIC_NICS} oifname "{names.NODE_NIC}" {ip_of(version)} daddr @services{version}'
    new = f"{back} ct status & dnat == 0"
    return [f"{new} meta l4proto tcp counter reject with tcp reset", f"{new} counter reject"]


def _answered_here(version: int) -> list[str]:
    ip, through = ip_of(version), f'oifname "{names.NODE_NIC}"'
    return [
        f"{through} {ip} daddr @services{version} ct status dnat counter masquerade",
        f"{through} {ip} daddr @services{version} fib saddr type != local counter masquerade",
        f"{through} {ip} saddr @nodes{version} ct status dnat counter masquerade",
    ]
