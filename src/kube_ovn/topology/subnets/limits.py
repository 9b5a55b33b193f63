"""Limits of the Subnets that annotations of Namespaces make: the ranges of their addresses, their number, and the nodes
that may be their gateways.

A limit bars what is new: a Subnet keeps the addresses and gateways that its spec has. Reads Nodes and Subnets.
"""

from dataclasses import dataclass

from kube_ovn.derive import Derived, Graph, Index, Read, Source
from kube_ovn.model import crd, names
from kube_ovn.model.addr import format_list, is_part, parse_networks
from kube_ovn.model.gateway import parse_gateway_nodes
from kube_ovn.model.kube import Node
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.inputs import Inputs
from kube_ovn.topology.subnets.namespace import Wish, canonical

MOST_OF_ONE = 4
"""Subnets made for one Namespace: the present one, and former ones that Pods are still in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The part of a Subnet that annotations made which limits depend on."""

    namespaces: tuple[str, ...]
    """The Namespaces that it was made for, in the order in which they came."""
    cidr: str
    gateways: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits, and what they depend on."""

    fabric: Fabric
    made: Derived[str, crd.Subnet, Made]
    """By the name of the Subnet; none for a Subnet that a user made."""
    by_namespace: Index[str, str, Made]
    """By the Namespace that a Subnet was made for."""
    there: Source[str, bool]
    labels: Derived[str, Node, bool]
    """The Nodes with the label of gateways for Namespaces."""

    def made_for(self, read: Read, name: str) -> tuple[str, ...]:
        """The Namespaces that a Subnet was made for, in the order in which they came; none when it is not there, or a
        user made it.
        """
        made = read.get(self.made, name)
        return () if made is None else made.namespaces

    def against(self, read: Read, namespace: str, wish: Wish) -> str:
        """The sentence why annotations cannot make the Subnet that they describe; empty when they can."""
        if wish.makes is None:
            return ""
        made = read.get(self.made, wish.makes)
        if made is None and read.get(self.there, wish.makes):
            return ""  # a Subnet of a user: nothing is made
        if made is None and len(read.select(self.by_namespace, namespace)) >= MOST_OF_ONE:
            names_of_all = format_list(sorted(read.select(self.by_namespace, namespace)))
            return f"subnets {names_of_all} of Namespace {namespace} are still in use; wait until their Pods are gone"
        cidr, gateways = wish.shape[names.CIDR], wish.shape.get(names.GATEWAY_NODE, "")
        return self._against_cidr(cidr, made) or self._against_gateways(read, gateways, made)

    def _against_cidr(self, text: str, made: Made | None) -> str:
        ranges = self.fabric.namespace_ranges
        if not ranges or (made is not None and made.cidr == text):
            return ""
        for cidr in parse_networks(text):
            if not any(is_part(cidr, each) for each in ranges):
                return f"annotation {names.CIDR}: {cidr} is not in the ranges for Namespaces, {format_list(ranges)}"
        return ""

    def _against_gateways(self, read: Read, text: str, made: Made | None) -> str:
        if self.fabric.trusts_tenants or not text or (made is not None and made.gateways == text):
            return ""
        try:
            nodes = parse_gateway_nodes(text)
        except ValueError:
            return ""  # told with the other texts of the Subnet
        lacking = [node for node in nodes if not read.get(self.labels, node)]
        if not lacking:
            return ""
        return (
            f"annotation {names.GATEWAY_NODE} names {format_list(lacking)}, which is no gateway for Namespaces: choose "
            f"another node, or have an administrator give it label {names.GATEWAY_FOR_NAMESPACES}=true"
        )


def define(graph: Graph, inputs: Inputs, fabric: Fabric, there: Source[str, bool]) -> Limits:
    """Derive what the limits depend on. `there`: the names of all Subnets."""

    def made(read: Read, name: str, subnet: crd.Subnet) -> Made | None:
        if names.MADE_BY_NAMESPACE not in subnet.metadata.labels:
            return None
        spec = subnet.spec
        return Made(namespaces=spec.namespaces, cidr=canonical(names.CIDR, spec.cidr_block), gateways=spec.gateway_node)

    def label(read: Read, name: str, node: Node) -> bool | None:
        return node.metadata.labels.get(names.GATEWAY_FOR_NAMESPACES) == "true" or None

    all_made = graph.derive("Subnets made by annotations", inputs.subnets, made)
    return Limits(
        fabric=fabric,
        made=all_made,
        by_namespace=graph.index("made Subnets by Namespace", all_made, lambda name, each: each.namespaces),
        there=there,
        labels=graph.derive("gateways for Namespaces", inputs.nodes, label),
    )
