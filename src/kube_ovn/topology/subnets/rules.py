"""The matches of a Subnet's rules (its ACLs), as OVN would read them."""

from kube_ovn.derive import Derived, Graph, Read, Source
from kube_ovn.model.crd import SubnetAcl
from kube_ovn.model.expression import Match, parse_match
from kube_ovn.topology.subnets.features import Features

Rules = tuple[Match | str, ...]
"""For each of a Subnet's ACLs, in their order: the names in its match; or why OVN would not understand the match, or
would never apply it.
"""
_BITS = {".ip4": 32, "_ip4": 32, ".ip6": 128, "_ip6": 128}
"""Bits of the addresses in a set, by the end of the set's name."""


def define(graph: Graph, features: Source[str, Features]) -> Derived[str, Features, Rules]:
    """Derive the rules of each Subnet, by its name."""

    def parse(read: Read, name: str, each: Features) -> Rules:
        return tuple(map(parse_rule, each.spec.acls))

    return graph.derive("rules of subnets", features, parse)


def parse_rule(acl: SubnetAcl) -> Match | str:
    """The names in the match of an ACL; or why the rule is left out, in a sentence."""
    try:
        parsed = parse_match(acl.match)
        parse_match(acl.match, {name: bits for name in parsed.address_sets if (bits := _BITS.get(name[-4:]))})
    except ValueError as error:
        return str(error)
    if acl.direction == "from-lport" and "outport" in parsed.fields:
        return "a from-lport rule is looked at before there is an outport; use to-lport"
    return parsed
