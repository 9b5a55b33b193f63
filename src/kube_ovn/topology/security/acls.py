"""Groups as rows: Port_Groups, Address_Sets and ACLs. Pure.

The ends of packets are matched as for NetworkPolicies: what comes in by its source at the port of the Pod, what goes
out by its destination after the load balancers. ARP and neighbour discovery are no matter of ACLs: OVN lets them pass.
"""

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network

from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network
from kube_ovn.model.nb import Acl, AddressSet, PortGroup
from kube_ovn.model.row import Key, Member, Row, facts, owned
from kube_ovn.topology.policy.acls import SIDES
from kube_ovn.topology.policy.rules import Direction, Span
from kube_ovn.topology.security.compile import CompiledGroup, GroupRule
from kube_ovn.topology.security.levels import Levels, Rank, level_of, ranks_of

_COMMIT = 1
"""As the label of `subnets.switch`: ACLs that let questions for names pass commit their connections anew."""
_LOCAL = {Direction.INGRESS: "dst", Direction.EGRESS: "src"}
"""The end of packets at which the Pods of the group are."""
_BASE = {
    Direction.INGRESS: {
        "dhcp ip4": "ip4 && udp.src == 67 && udp.dst == 68",
        "dhcp ip6": "ip6 && udp.src == 547 && udp.dst == 546",
        "vrrp": "ip.proto == 112",
    },
    Direction.EGRESS: {
        "dhcp ip4": "ip4 && udp.src == 68 && udp.dst == 67",
        "dhcp ip6": "ip6 && udp.src == 546 && udp.dst == 547",
        "vrrp": "ip.proto == 112",
    },
}
"""What Pods need to have their addresses, and to share one among them (contract §11.2)."""
_DENIED = "kubeovn_deny_all"
_ACTIONS = {Rank.DROP: "drop", Rank.PASS: "pass", Rank.NAMES: "allow-related", Rank.ALLOW: "allow-related"}


def render_group(
    name: str,
    group: CompiledGroup,
    levels: Callable[[GroupRule], Levels],
    exists: Callable[[str], bool],
) -> dict[Key, Row | None]:
    """The rows of a group, without its Pods. `exists`: whether there is a group of a name. No Pod is in one that is not
    there, so a rule with it as the remote end is about no packet.
    """
    at = names.security_group(name)
    acls = [*_same_group(name, group)] if group.same_group else []
    for rule in group.rules:
        if not isinstance(rule.remote, str) or exists(rule.remote):
            acls += _rule(name, group.tier, rule, levels(rule))
    return facts(
        PortGroup(name=at, external_ids=owned(type="security_group", sg=name)),
        *(AddressSet(name=names.security_group_set(name, version), external_ids=owned(sg=name)) for version in (4, 6)),
        *acls,
        members=tuple(Member(PortGroup.TABLE, at, "acls", each.key) for each in acls),
    )


def render_denied(tier: int) -> dict[Key, Row | None]:
    """The rows of the group of all Pods in groups of a tier: what no rule lets pass is dropped."""
    at = names.denied_group(tier)
    acls = [_acl(at, tier, each, names.ACL_GROUP_DROP, "drop", "ip", "drop", sg=_DENIED) for each in Direction]
    for direction in Direction if tier != names.CLOSED_PODS else ():
        for what, match in _BASE[direction].items():
            acls.append(_acl(at, tier, direction, names.ACL_GROUP_BASE, "allow-related", match, what, sg=_DENIED))
    return facts(
        PortGroup(name=at, external_ids=owned(type="security_group", sg=_DENIED)),
        *acls,
        members=tuple(Member(PortGroup.TABLE, at, "acls", each.key) for each in acls),
    )


def render_node(node: str, tier: int, addresses: Iterable[Address]) -> dict[Key, Row | None]:
    """The rows by which a node reaches the Pods on it that are in groups of a tier, as its kubelet must."""
    at = names.denied_group(tier)
    acls = [
        Acl(
            priority=names.ACL_GROUP_NODES,
            direction=SIDES[Direction.INGRESS].acl,
            match=f"outport == @{at} && ip{address.version}.src == {address} && "
            f'is_chassis_resident("{names.node_port(node)}")',
            action="allow-related",
            tier=names.SECURITY_GROUP_TIERS[tier],
            external_ids=owned(key=f"sg {at} node {node} {address}", node=node, parent=at),
        )
        for address in addresses
    ]
    return facts(*acls, members=tuple(Member(PortGroup.TABLE, at, "acls", each.key) for each in acls))


def _rule(name: str, tier: int, rule: GroupRule, levels: Levels) -> Iterator[Acl]:
    at = names.security_group(name)
    for rank in sorted(ranks_of(rule, tier)):
        level, action = level_of(levels, rule.priority, rank), _ACTIONS[rank]
        if level is None and rank in (Rank.DROP, Rank.PASS):
            level, action = names.ACL_GROUP_CLOSED, "drop"
        if level is None:
            continue
        for version in rule.versions:
            if (match := _match(rule, version, is_names=rank is Rank.NAMES)) is not None:
                what = f"{rule.number} ip{version}{' names' if rank is Rank.NAMES else ''}"
                label = _COMMIT if rank is Rank.NAMES else 0
                yield _acl(at, tier, rule.direction, level, action, match, what, label=label, sg=name)


def _same_group(name: str, group: CompiledGroup) -> Iterator[Acl]:
    at = names.security_group(name)
    for direction in Direction:
        for version in (4, 6):
            end = _remote(direction, name, version)
            for what, also, priority, label in (
                ("same", "", names.ACL_GROUP_SAME, 0),
                ("same names", f" && udp.dst == {names.DNS_PORT}", names.ACL_GROUP_BASE, _COMMIT),
            ):
                if not label or direction is Direction.EGRESS:
                    what = f"{what} ip{version}"
                    yield _acl(
                        at, group.tier, direction, priority, "allow-related", end + also, what, label=label, sg=name
                    )


def _acl(
    at: str,
    tier: int,
    direction: Direction,
    priority: int,
    action: str,
    match: str,
    what: str,
    *,
    label: int = 0,
    sg: str,
) -> Acl:
    side = SIDES[direction]
    return Acl(
        priority=priority,
        direction=side.acl,
        match=f"{side.port} == @{at} && {match}",
        action=action,
        tier=names.SECURITY_GROUP_TIERS[tier],
        label=label,
        options=side.options,
        external_ids=owned(key=f"sg {at} {direction} {what}", parent=at, sg=sg),
    )


def _match(rule: GroupRule, version: int, *, is_names: bool) -> str | None:
    """The match of a rule for packets of one IP family, without the port; None when it is about no such packet.
    `is_names`: only for questions for names.
    """
    if any(isinstance(each, Network) and each.version != version for each in (rule.remote, rule.local)):
        return None
    parts = [f"ip{version}"] if rule.remote is None else [_remote(rule.direction, rule.remote, version)]
    if rule.local is not None:
        parts.append(f"ip{version}.{_LOCAL[rule.direction]} == {_network(rule.local)}")
    if is_names:
        parts.append(f"udp.dst == {names.DNS_PORT}")
    elif rule.ports is not None:
        parts.append(_ports(f"{rule.protocol}.dst", rule.ports))
    elif rule.protocol is not None:
        parts.append(f"icmp{version}" if rule.protocol == "icmp" else rule.protocol)
    if rule.sources is not None:
        parts.append(_ports(f"{rule.protocol}.src", rule.sources))
    return " && ".join(parts)


def _remote(direction: Direction, remote: Network | str, version: int) -> str:
    end = f"${names.security_group_set(remote, version)}" if isinstance(remote, str) else _network(remote)
    return f"ip{version}.{SIDES[direction].other} == {end}"


def _network(network: Network) -> str:
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if single else str(ip_network(network))


def _ports(field: str, span: Span) -> str:
    return f"{field} == {span.low}" if span.low == span.high else f"{span.low} <= {field} <= {span.high}"
