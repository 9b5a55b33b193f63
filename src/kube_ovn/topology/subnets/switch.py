"""A Subnet: one logical switch over all nodes, joined to its router, with its ACLs and DHCP options. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kube_ovn.model import names
from kube_ovn.model.addr import Address, Network, parse_networks
from kube_ovn.model.crd import SubnetAcl, SubnetSpec
from kube_ovn.model.expression import Match
from kube_ovn.model.nb import (
    Acl,
    DhcpOptions,
    LogicalRouter,
    LogicalRouterPolicy,
    LogicalRouterPort,
    LogicalSwitch,
    LogicalSwitchPort,
)
from kube_ovn.model.network import Subnet
from kube_ovn.model.row import Key, Member, Row, facts, owned
from kube_ovn.topology.subnets.options import parse_dhcp_options, parse_options
from kube_ovn.topology.subnets.standing_acls import render_standing

_RA = {"address_mode": "dhcpv6_stateful", "max_interval": "30", "min_interval": "5", "send_periodic": "true"}
_DHCP_SERVER = "169.254.0.254"
_LEASE_SECONDS = "3600"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetInputs:
    """All that a subnet's rows depend on. Equal inputs make equal rows."""

    router: str
    subnet: Subnet
    spec: SubnetSpec
    old_gateways: tuple[Address, ...]
    """Addresses that the router answers besides the gateways: former gateways that owners still use."""
    join: tuple[Network, ...]
    has_pods: bool
    """Whether the subnet is for Pods. The join subnet has only the ACLs of its user: with any ACL, OVN drops what it
    finds invalid there, such as an answer at a gateway when the question went another way.
    """
    services: tuple[Network, ...]
    """The networks of the Services' own addresses, where those that no Service has are refused."""
    dns: bool
    """Whether the switch answers questions for names."""
    rules: Sequence[Match | str]
    """For each ACL of the spec its parsed match; a text for an ACL that is left out."""


def render_subnet(inputs: SubnetInputs) -> dict[Key, Row | None]:
    """The rows of a subnet: the switch, both ends of its joint with the router, the policy that keeps traffic to the
    subnet inside the fabric, ACLs and DHCP options. A text in the spec that cannot be read is left out here, and is
    among the faults that `parsing` finds.
    """
    router, subnet = inputs.router, inputs.subnet
    lrp, lsp = names.router_port(router, subnet.name), names.switch_port(subnet.name, router)
    policies, acls = _policies(router, subnet), _acls(inputs)
    lb = inputs.spec.enable_lb is not False
    return facts(
        LogicalSwitch(name=subnet.name, external_ids=owned()),
        LogicalRouterPort(
            name=lrp,
            mac=names.derived_mac(lrp),
            networks=frozenset(
                f"{gateway}/{cidr.prefixlen}"
                for cidr in subnet.cidrs
                for gateway in (*subnet.gateways, *inputs.old_gateways)
                if gateway in cidr
            ),
            ipv6_ra_configs=_router_advertisement(inputs),
            external_ids=owned(lr=router, ls=subnet.name),
        ),
        LogicalSwitchPort(
            name=lsp,
            type="router",
            addresses=frozenset({"router"}),
            options={"router-port": lrp},
            external_ids=owned(ls=subnet.name),
        ),
        *policies,
        *acls,
        *_dhcp(inputs),
        members=(
            Member(LogicalRouter.TABLE, router, "ports", lrp),
            Member(LogicalSwitch.TABLE, subnet.name, "ports", lsp),
            *([Member(LogicalSwitch.TABLE, subnet.name, "load_balancer_group", names.SERVICE_LBS)] if lb else []),
            *(Member(LogicalRouter.TABLE, router, "policies", policy.key) for policy in policies),
            *(Member(LogicalSwitch.TABLE, subnet.name, "acls", acl.key) for acl in acls),
        ),
    )


def dhcp_key(subnet: str, version: int) -> str:
    """The key of a subnet's DHCP_Options row."""
    return f"{subnet} ipv{version}"


def dhcp_options(subnet: Subnet, version: int, gateway: Address, text: str, mtu: int) -> dict[str, str]:
    """The DHCP options of one IP family: those that the user asks for, and those that OVN needs (ovn-nb(5),
    DHCP_Options).
    """
    mac = names.derived_mac(subnet.name, "dhcp")
    wanted, _ = parse_dhcp_options(text, version)
    if version == 6:
        return {"server_id": mac, **wanted}
    needed = {"lease_time": _LEASE_SECONDS, "router": str(gateway), "server_id": _DHCP_SERVER, "server_mac": mac}
    if mtu and not text:
        needed["mtu"] = str(mtu)
    return {**needed, **wanted}


def _policies(router: str, subnet: Subnet) -> list[LogicalRouterPolicy]:
    return [
        LogicalRouterPolicy(
            priority=names.POLICY_EAST_WEST,
            match=f"ip{cidr.version}.dst == {cidr}",
            action="allow",
            external_ids=owned(key=f"{router} subnet {subnet.name} ipv{cidr.version}", subnet=subnet.name),
        )
        for cidr in subnet.cidrs
    ]


def _acls(inputs: SubnetInputs) -> list[Acl]:
    subnet, spec = inputs.subnet, inputs.spec
    ranks = _ranks(spec.acls)
    acls = [
        _acl(subnet, f"user {number}", acl.direction, ranks.get(acl.priority, acl.priority), acl.match, acl.action)
        for number, (acl, rule) in enumerate(zip(spec.acls, inputs.rules, strict=True))
        if not isinstance(rule, str)
    ]
    if inputs.has_pods:
        acls += render_standing(subnet, lb=spec.enable_lb is not False, services=inputs.services, dns=inputs.dns)
    if not spec.private:
        return acls
    # Traffic at the joint with the router passes these ACLs as well: packets that leave the subnet are dropped there.
    acls.append(_acl(subnet, "private", "to-lport", names.ACL_PRIVATE_DROP, "ip", "drop"))
    for cidr in subnet.cidrs:
        ip = f"ip{cidr.version}"
        inside = f"{ip}.src == {cidr} && {ip}.dst == {cidr}"
        acls.append(_pass(subnet, f"inside {ip}", names.ACL_PRIVATE_ALLOW, inside))
        nodes = [
            *(str(net) for net in inputs.join if net.version == cidr.version),
            f"${names.node_address_set(cidr.version)}",
        ]
        acls.append(_allow(subnet, f"nodes {ip}", names.ACL_NODE_ALLOW, f"{ip}.src == {{{', '.join(nodes)}}}"))
        for other in parse_allowed(spec.allow_subnets):
            if other.version == cidr.version:
                out, back = f"{ip}.src == {cidr} && {ip}.dst == {other}", f"{ip}.src == {other} && {ip}.dst == {cidr}"
                acls.append(_pass(subnet, f"allow {other}", names.ACL_PRIVATE_ALLOW, f"({out}) || ({back})"))
    return acls


def _ranks(acls: Iterable[SubnetAcl]) -> dict[int, int]:
    """The priorities that a user's lowest ones become, in the same order: those of audits are below them all. Nothing
    comes near the next ones of ours, but where a user has nearly a thousand different priorities below those.
    """
    ranks: dict[int, int] = {}
    least = names.ACL_SUBNET_LEAST
    for priority in sorted({each.priority for each in acls}):
        if priority >= least:
            break
        ranks[priority] = least
        least += 1
    return ranks


def _pass(subnet: Subnet, what: str, priority: int, match: str) -> Acl:
    """An ACL that leaves packets to policies, which come later."""
    return _acl(subnet, what, "to-lport", priority, match, "pass")


def _allow(subnet: Subnet, what: str, priority: int, match: str) -> Acl:
    return _acl(subnet, what, "to-lport", priority, match, "allow-related")


def _acl(subnet: Subnet, what: str, direction: str, priority: int, match: str, action: str) -> Acl:
    return Acl(
        priority=priority,
        direction=direction,
        match=match,
        action=action,
        tier=names.TIER_SUBNET,
        external_ids=owned(key=f"subnet {subnet.name} {what}", parent=subnet.name),
    )


def parse_allowed(texts: Iterable[str]) -> tuple[Network, ...]:
    """The CIDRs among some texts, each once."""
    found: dict[Network, None] = {}
    for text in texts:
        try:
            found.update(dict.fromkeys(parse_networks(text)))
        except ValueError:
            continue
    return tuple(found)


def _dhcp(inputs: SubnetInputs) -> list[DhcpOptions]:
    subnet, spec = inputs.subnet, inputs.spec
    if not spec.enable_dhcp:
        return []
    texts: dict[int, str] = {4: spec.dhcp_v4_options, 6: spec.dhcp_v6_options}
    return [
        DhcpOptions(
            cidr=str(cidr),
            options=dhcp_options(subnet, cidr.version, gateway, texts[cidr.version], spec.mtu),
            external_ids=owned(key=dhcp_key(subnet.name, cidr.version), ls=subnet.name, protocol=f"IPv{cidr.version}"),
        )
        for cidr, gateway in zip(subnet.cidrs, subnet.gateways, strict=True)
    ]


def _router_advertisement(inputs: SubnetInputs) -> dict[str, str]:
    spec = inputs.spec
    if not spec.enable_ipv6_ra or 6 not in inputs.subnet.versions:
        return {}
    try:
        wanted = parse_options(spec.ipv6_ra_configs)
    except ValueError:
        wanted = {}
    mtu = {"mtu": str(spec.mtu)} if spec.mtu else {}
    return wanted or {**_RA, **mtu}
