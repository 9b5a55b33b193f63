"""The part of a Subnet that changes only when a user changes it: all but the status."""

from dataclasses import dataclass

from kube_ovn.derive import Derived, Graph
from kube_ovn.model import crd
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.inputs import Inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """The spec of a Subnet, and whether the Subnet goes as soon as no address in it is in use."""

    uid: str
    spec: crd.SubnetSpec
    leaving: bool


def define(graph: Graph, inputs: Inputs, fabric: Fabric) -> Derived[str, crd.Subnet, Features]:
    """Derive the features of each Subnet, by its name."""

    def features(read: object, name: str, subnet: crd.Subnet) -> Features:
        meta = subnet.metadata
        return Features(uid=meta.uid, spec=subnet.spec, leaving=is_leaving(subnet, fabric))

    return graph.derive("features of subnets", inputs.subnets, features)


def is_leaving(subnet: crd.Subnet, fabric: Fabric) -> bool:
    """Whether a Subnet goes as soon as no address in it is in use. The configured Subnets stay."""
    return bool(subnet.metadata.deletion_timestamp) and subnet.metadata.name not in fabric.initial
