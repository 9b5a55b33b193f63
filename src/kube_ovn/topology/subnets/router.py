"""A VPC: one logical router and its default route. Pure."""

from kube_ovn.model.nb import LogicalRouter, LogicalRouterStaticRoute
from kube_ovn.model.network import Subnet
from kube_ovn.model.row import Key, Member, Row, facts, owned

_ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}

_OPTIONS = {
    # Neighbours are resolved when needed and forgotten when idle: no flow per neighbour pair, no stale MAC for ever.
    "dynamic_neigh_routers": "true",
    "mac_binding_age_threshold": "300",
    "always_learn_from_arp_request": "false",
}


def render_vpc(router: str, join: Subnet | None) -> dict[Key, Row | None]:
    """The router, with a default route that brings packets for the outside to the policy stage, where the gateway is
    picked.

    There is no route before the join subnet exists. The next hop is the router's own address on the join switch; no
    packet is ever sent there (ovn-northd(8): a packet without a route is dropped before policies are looked at).
    """
    routes = [
        LogicalRouterStaticRoute(
            ip_prefix=_ANYWHERE[gateway.version],
            nexthop=str(gateway),
            external_ids=owned(key=f"{router} {_ANYWHERE[gateway.version]}"),
        )
        for gateway in (join.gateways if join is not None else ())
    ]
    return facts(
        LogicalRouter(name=router, options=_OPTIONS, external_ids=owned()),
        *routes,
        members=tuple(Member(LogicalRouter.TABLE, router, "static_routes", route.key) for route in routes),
    )
