"""A Subnet: one logical switch over all nodes, joined to its router. Pure."""

from kube_ovn.model import names
from kube_ovn.model.nb import (
    LogicalRouter,
    LogicalRouterPolicy,
    LogicalRouterPort,
    LogicalSwitch,
    LogicalSwitchPort,
)
from kube_ovn.model.network import Subnet
from kube_ovn.model.row import Key, Member, Row, facts, owned


def render_subnet(router: str, subnet: Subnet) -> dict[Key, Row | None]:
    """The switch, both ends of its joint with the router, and the policy that keeps traffic to it inside the fabric."""
    lrp, lsp = names.router_port(router, subnet.name), names.switch_port(subnet.name, router)
    policies = [
        LogicalRouterPolicy(
            priority=names.POLICY_EAST_WEST,
            match=f"ip{cidr.version}.dst == {cidr}",
            action="allow",
            external_ids=owned(key=f"{router} subnet {subnet.name} ipv{cidr.version}", subnet=subnet.name),
        )
        for cidr in subnet.cidrs
    ]
    return facts(
        LogicalSwitch(name=subnet.name, external_ids=owned()),
        LogicalRouterPort(
            name=lrp,
            mac=names.derived_mac(lrp),
            networks=frozenset(
                f"{gateway}/{cidr.prefixlen}" for cidr, gateway in zip(subnet.cidrs, subnet.gateways, strict=True)
            ),
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
        members=(
            Member(LogicalRouter.TABLE, router, "ports", lrp),
            Member(LogicalSwitch.TABLE, subnet.name, "ports", lsp),
            *(Member(LogicalRouter.TABLE, router, "policies", policy.key) for policy in policies),
        ),
    )
