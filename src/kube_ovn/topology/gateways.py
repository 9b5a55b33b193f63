"""The ways out of centralized subnets, kept up to date pass by pass. What they are is decided in `topology.gateway`."""

from collections.abc import Collection, Mapping

from kube_ovn.model.crd import SubnetSpec
from kube_ovn.model.gateway import CENTRALIZED
from kube_ovn.model.kube import Node
from kube_ovn.model.network import Subnet
from kube_ovn.topology.assembly import Assembly
from kube_ovn.topology.gateway import (
    Exit,
    GatewayNode,
    Group,
    assign_slots,
    choose,
    parse_node,
    render_exit,
    render_groups,
    watch,
)
from kube_ovn.topology.ipam import Ledger
from kube_ovn.topology.network import NetworkState, Settled

_UNIT = "gateways"


class Gateways:
    """Exits by subnet, and the groups they need."""

    def __init__(self, network: NetworkState, ledger: Ledger, assembly: Assembly) -> None:
        self._network, self._ledger, self._assembly = network, ledger, assembly
        self._nodes: dict[str, GatewayNode] = {}
        self._inputs: dict[str, tuple[Subnet, SubnetSpec]] = {}
        self._exits: dict[str, Exit] = {}

    def render(self, nodes: Mapping[str, Node], changed: Collection[str] | None, settled: Settled) -> set[str]:
        """Bring rows up to date; the subnets whose way out is another now, or that have none of their own any more."""
        news = self._look_at_nodes(nodes, changed)
        before = self._exits
        if self._look_at_subnets(settled) or news:
            self._exits = {
                name: choose(spec, subnet.versions, self._nodes) for name, (subnet, spec) in self._inputs.items()
            }
            self._put(before)
        return {name for name in {*before, *self._exits} if before.get(name) != self._exits.get(name)}

    def exit(self, subnet: str) -> Exit | None:
        """The way out of a centralized subnet; None for others."""
        return self._exits.get(subnet)

    def _look_at_nodes(self, nodes: Mapping[str, Node], changed: Collection[str] | None) -> bool:
        if changed is not None and len(nodes) == len(self._nodes) and not any(uid in nodes for uid in changed):
            return False
        parsed = {node.metadata.name: parse_node(node) for node in nodes.values()}
        news, self._nodes = parsed != self._nodes, parsed
        return news

    def _look_at_subnets(self, settled: Settled) -> bool:
        news = False
        for name in {*settled.subnets, *settled.effective, *(name for name in self._inputs if self._is_gone(name))}:
            subnet, spec = self._ledger.subnet(name), self._network.spec(name)
            inputs = None
            if subnet is not None and spec.gateway_type == CENTRALIZED and name != self._network.fabric.join:
                inputs = (subnet, spec)
            if self._inputs.get(name) != inputs:
                news = True
                if inputs is None:
                    del self._inputs[name]
                else:
                    self._inputs[name] = inputs
        return news

    def _is_gone(self, name: str) -> bool:
        return name not in self._network.subnets or self._ledger.subnet(name) is None

    def _put(self, before: Mapping[str, Exit]) -> None:
        router = self._network.fabric.router
        groups: set[Group] = {group for way in self._exits.values() for some in way.groups.values() for group in some}
        if groups:
            groups.add(watch(self._nodes, groups))
        slots = assign_slots(groups)
        for name in before.keys() - self._exits.keys():
            self._assembly.drop(f"gateway {name}")
        self._assembly.put(_UNIT, render_groups(router, groups, self._nodes))
        for name, way in self._exits.items():
            self._assembly.put(f"gateway {name}", render_exit(router, self._inputs[name][0], way, slots))
