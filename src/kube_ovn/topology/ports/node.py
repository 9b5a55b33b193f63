"""A Node: its port on the join switch, the port group of its Pods, and the policies that send packets of its Pods out
through it. Pure.

There are O(nodes) rows: the Pods of a node are matched by the address set that OVN keeps for the node's port group,
whatever subnets they are in.
"""

from kube_ovn.discovery.attached import internal_addresses
from kube_ovn.model import names
from kube_ovn.model.addr import Address, format_list
from kube_ovn.model.kube import Node
from kube_ovn.model.nb import LogicalRouter, LogicalRouterPolicy, LogicalSwitch, LogicalSwitchPort, PortGroup
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.model.row import Key, Member, Row, facts, owned


def render_node(router: str, node: Node, grant: Grant) -> dict[Key, Row | None]:
    """The rows of one node. `grant`: its addresses on the join switch."""
    name = node.metadata.name
    port, group = names.node_port(name), names.node_port_group(name)
    policies = [
        *(
            _reroute(router, node, names.POLICY_NODE, f"ip{a.version}.dst == {a}", hop, f"address {a}")
            for a in internal_addresses(node)
            for hop in grant.addresses
            if hop.version == a.version
        ),
        *(
            _reroute(
                router,
                node,
                names.POLICY_GATEWAY,
                f"ip{hop.version}.src == ${group}_ip{hop.version}",
                hop,
                f"pods ipv{hop.version}",
            )
            for hop in grant.addresses
        ),
    ]
    return facts(
        LogicalSwitchPort(
            name=port,
            addresses=frozenset({grant.lsp_addresses}),
            options={"requested-chassis": name},
            external_ids=owned(ls=grant.subnet, node=name, owner_uid=node.metadata.uid),
        ),
        PortGroup(name=group, external_ids=owned(node=name)),
        *policies,
        members=(
            Member(LogicalSwitch.TABLE, grant.subnet, "ports", port),
            *(Member(LogicalRouter.TABLE, router, "policies", policy.key) for policy in policies),
        ),
    )


def node_annotations(node: Node, grant: Grant, join: Subnet) -> dict[str, str]:
    """The annotations that the node's daemon needs to build ovn0."""
    return {
        names.ALLOCATED: "true",
        names.IP_ADDRESS: format_list(grant.addresses),
        names.MAC_ADDRESS: grant.mac,
        names.CIDR: format_list(join.cidrs),
        names.GATEWAY: format_list(join.gateways),
        names.LOGICAL_SWITCH: join.name,
        names.PORT_NAME: names.node_port(node.metadata.name),
    }


def _reroute(router: str, node: Node, priority: int, match: str, hop: Address, what: str) -> LogicalRouterPolicy:
    return LogicalRouterPolicy(
        priority=priority,
        match=match,
        action="reroute",
        nexthops=frozenset({str(hop)}),
        external_ids=owned(key=f"{router} node {node.metadata.name} {what}", node=node.metadata.name),
    )
