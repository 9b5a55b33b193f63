"""The part of the graph that judges Subnets, alone: Subnets, grants and foreign rows go in, verdicts come out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kube_ovn.derive import Graph
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.crd import Subnet as SubnetObject
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.network import Grant, Subnet
from kube_ovn.model.row import RowKey
from kube_ovn.topology.addresses import grants, holders, own
from kube_ovn.topology.addresses.grants import Held
from kube_ovn.topology.addresses.span import Owner
from kube_ovn.topology.inputs import STANDING, Inputs
from kube_ovn.topology.outputs import Outputs
from kube_ovn.topology.subnets import addressing, attached, objections
from kube_ovn.topology.subnets.verdict import Claim
from tests.small_clusters import fabric

Users = Sequence[tuple[Address, str]]
"""Addresses in use, each with the label of its owner."""


class Verdict(NamedTuple):
    accepted: Subnet | None
    refusal: str = ""


class Judging:
    """A graph of its own, which stands."""

    def __init__(self) -> None:
        self.graph, self.fabric = Graph(), fabric()
        self.inputs = Inputs(self.graph)
        self.inputs.standing.put(STANDING, True)
        self._grants = grants.define(self.graph)
        own_names = own.define(self.graph, self.inputs, Outputs())
        having = holders.define(self.graph, self.inputs, own_names, self._grants, {})
        held = addressing.define_in_effect(self.graph, self.inputs, self._grants)
        self._made = addressing.define(
            self.graph,
            objections.Reads(
                inputs=self.inputs,
                fabric=self.fabric,
                attached=attached.define(self.graph, self.inputs),
                claimed=attached.define_claimed(self.graph, self.inputs),
                in_effect=held,
                holders=having,
                grants=self._grants,
                confirmed=(),
            ),
        )

    def put(self, *subnets: SubnetObject) -> None:
        for each in subnets:
            self.inputs.subnets.put(each.metadata.name, each)

    def use(self, subnet: str, users: Users) -> None:
        """These addresses are in use in a subnet, and no others."""
        self._grants.held.replace(
            {key: held for key, held in self._grants.held.values.items() if held.grant.subnet != subnet}
            | {
                f"{subnet} {address}": Held(
                    Owner(f"{subnet} {address}", label),
                    Grant(subnet=subnet, addresses=(address,), mac=str(address)),
                    uid="",
                    recorded=True,
                )
                for address, label in users
            }
        )

    def block(self, subnet: str, *, taken: bool) -> None:
        """Whether others have a row under the name of the subnet's joint."""
        key = RowKey(LogicalSwitchPort.TABLE, names.switch_port(subnet, self.fabric.router))
        if taken:
            self.inputs.foreign.put(key, True)
        else:
            self.inputs.foreign.drop(key)

    @property
    def claims(self) -> Mapping[str, Claim]:
        (found,) = [each for each in self.graph.derivations if each.name == "claims of subnets"]
        return found.values

    def verdicts(self) -> Mapping[str, Verdict]:
        assert self.graph.settle() == []
        return {name: Verdict(each.accepted, each.refusal) for name, each in self._made.judged.values.items()}
