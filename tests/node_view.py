"""The view of a node on a small cluster, for tests of what a node decides."""

from collections.abc import Iterable

from kube_ovn.daemon.settings import Settings
from kube_ovn.daemon.view import View
from kube_ovn.model import names
from kube_ovn.model.crd import Subnet, SubnetSpec, SubnetStatus
from kube_ovn.model.kube import (
    EndpointSlice,
    Node,
    NodeAddress,
    NodeStatus,
    ObjectMeta,
    Service,
    ServiceCIDR,
    VersionedMeta,
)

OWN = "node1"
GRANTED = {
    names.ALLOCATED: "true",
    names.IP_ADDRESS: "10.16.0.5",
    names.MAC_ADDRESS: "0a:00:00:00:00:05",
    names.CIDR: "10.16.0.0/16",
    names.GATEWAY: "10.16.0.1",
    names.LOGICAL_SWITCH: "ovn-default",
}
"""The annotations of a Pod with an address, as the controller writes them."""


def node(name: str, *addresses: str, address: str = "", zone: str = "") -> Node:
    """A Node; `address`: its address in the fabric."""
    annotations = {names.IP_ADDRESS: address, names.CIDR: "100.64.0.0/16"} if address else {}
    return Node(
        metadata=ObjectMeta(name=name, uid=f"uid-{name}", annotations=annotations, labels={names.ZONE: zone}),
        status=NodeStatus(addresses=tuple(NodeAddress(type="InternalIP", address=each) for each in addresses)),
    )


def subnet(name: str, cidr_block: str, *, nat: bool = False, mtu: int = 0, used: int = 0, uid: str = "") -> Subnet:
    return Subnet(
        metadata=VersionedMeta(name=name, uid=uid or f"uid-{name}"),
        spec=SubnetSpec(nat_outgoing=nat, mtu=mtu),
        status=SubnetStatus(cidr_block=cidr_block, v4_using_ips=used, v4_available_ips=1000 - used),
    )


def view(
    services: Iterable[Service] = (),
    slices: Iterable[EndpointSlice] = (),
    *,
    nodes: Iterable[Node] = (node(OWN, "172.30.0.11", address="100.64.0.2"),),
    cidrs: Iterable[ServiceCIDR] = (),
    fabric: str = "10.16.0.0/16",
) -> View:
    """A view that knows all kinds but Pods."""
    made = View(Settings(node_name=OWN))
    made.nodes.store.replace(nodes, 0.0)
    made.subnets.store.replace([subnet("ovn-default", fabric)], 0.0)
    made.cidrs.store.replace(cidrs, 0.0)
    made.services.store.replace(services, 0.0)
    made.slices.store.replace(slices, 0.0)
    return made
