"""The texts in the spec of a Subnet, parsed once for each change of the spec: its status changes with every Pod, and a
spec may hold a thousand rules.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kube_ovn.derive import Derived, Graph, Read, Source
from kube_ovn.model.crd import EffectiveNatRule, SubnetAcl, SubnetSpec
from kube_ovn.model.expression import Match, parse_match
from kube_ovn.model.gateway import parse_external, parse_nat_rules
from kube_ovn.model.network import Subnet
from kube_ovn.topology.subnets.features import Features
from kube_ovn.topology.subnets.options import parse_dhcp_options, parse_options
from kube_ovn.topology.subnets.switch import parse_allowed

_BITS = {".ip4": 32, "_ip4": 32, ".ip6": 128, "_ip6": 128}
"""Bits of the addresses in a set, by the end of the set's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The parsed texts of one Subnet, and what is wrong with them."""

    rules: tuple[Match | str, ...]
    """For each ACL, in their order: the names in its match; or why OVN would not understand the match, or would never
    apply it.
    """
    nat_rules: tuple[EffectiveNatRule, ...]
    """The NAT rules that can be read, under the names that they have on the nodes."""
    faults: tuple[str, ...]
    """A sentence for each text that cannot be read, or cannot be carried out in the IP families of the subnet. The
    CRD's schema refuses most of them.
    """


def define(
    graph: Graph, features: Source[str, Features], effective: Source[str, Subnet]
) -> Derived[str, Features, Texts]:
    """Derive the texts of each Subnet, by its name."""

    def parse(read: Read, name: str, each: Features) -> Texts:
        subnet = read.get(effective, name)
        return parse_texts(each.spec, () if subnet is None else subnet.versions)

    return graph.derive("texts of subnets", features, parse)


def parse_texts(spec: SubnetSpec, versions: Collection[int]) -> Texts:
    """Parse the texts of a spec. `versions`: the IP families of the subnet in effect."""
    rules, exceptions = tuple(map(parse_rule, spec.acls)), parse_nat_rules(spec.nat_outgoing_policy_rules)
    faults = [f"allowSubnets: {text!r} is not a CIDR" for text in spec.allow_subnets if not parse_allowed([text])]
    faults += [
        f"acls[{number}].match: {rule}; the rule is left out"
        for number, rule in enumerate(rules)
        if isinstance(rule, str)
    ]
    faults += _external_faults(spec, versions)
    faults += [f"natOutgoingPolicyRules: {each}" for each in exceptions if isinstance(each, str)]
    faults += _option_faults(spec)
    nat_rules = [
        EffectiveNatRule(rule_id=exception.id, match=rule.match, action=rule.action)
        for rule, exception in zip(spec.nat_outgoing_policy_rules, exceptions, strict=True)
        if spec.nat_outgoing and not isinstance(exception, str)
    ]
    return Texts(rules=rules, nat_rules=tuple(nat_rules), faults=tuple(faults))


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


def _external_faults(spec: SubnetSpec, versions: Collection[int]) -> Sequence[str]:
    try:
        external = parse_external(spec)
    except ValueError as error:
        return [str(error)]
    with_router = {gateway.version for gateway in external.gateways} if external is not None else set(versions)
    return [
        f"externalEgressGateway: no IPv{version} router, so packets of this family are stopped"
        for version in versions
        if version not in with_router
    ]


def _option_faults(spec: SubnetSpec) -> Sequence[str]:
    found = [f"dhcpV4Options: {each}" for each in parse_dhcp_options(spec.dhcp_v4_options, 4)[1]]
    found += [f"dhcpV6Options: {each}" for each in parse_dhcp_options(spec.dhcp_v6_options, 6)[1]]
    try:
        parse_options(spec.ipv6_ra_configs)
    except ValueError as error:
        found.append(f"ipv6RAConfigs: {error}")
    return found
