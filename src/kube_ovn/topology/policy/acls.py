"""Rules as ACLs of a Port_Group. Pure.

There is one ACL for each rule, other end, IP family and protocol: OVN makes one flow for each address and each port of
such an ACL, not one for each pair of them, and changes flows one by one when a set changes (ovn-architecture(7);
`expr_to_matches` in lib/expr.c).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kube_ovn.model import names
from kube_ovn.model.addr import Network
from kube_ovn.model.nb import Acl, AddressSet, PortGroup
from kube_ovn.model.row import Key, Member, Row, facts, owned
from kube_ovn.topology.policy.rules import (
    EVERY_PORT,
    Action,
    Compiled,
    Direction,
    Port,
    Rule,
    Seat,
    Selection,
    Service,
    Span,
)
from kube_ovn.topology.policy.selections import NamedPort, Need, listeners

_COMMIT = 1
"""As the label of `subnets.switch`: ACLs that let questions for names pass commit their connections anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """How the two ends of packets are matched in one direction."""

    acl: str
    """The column `direction` of an ACL."""
    port: str
    other: str
    options: dict[str, str]


_SIDES = {
    Direction.INGRESS: Side(acl="to-lport", port="outport", other="src", options={}),
    # After the load balancers, where a packet to a Service has the endpoint's address.
    Direction.EGRESS: Side(acl="from-lport", port="inport", other="dst", options={"apply-after-lb": "true"}),
}


_SEAT = Seat(names.TIER_POLICY, names.ACL_POLICY_ALLOW, names.ACL_POLICY_NAMES)
"""Of the rules of NetworkPolicies."""


def group(selection: Selection) -> str:
    """The Port_Group of a selection."""
    return names.policy_group(repr(selection))


def address_set(selection: Selection, version: int, *, own: bool = False) -> str:
    """The Address_Set of a selection. `own`: that of the Pods with addresses of their own."""
    return (names.own_pods_set if own else names.policy_set)(repr(selection), version)


def address_sets(selection: Selection, need: Need, version: int) -> Iterator[str]:
    """The Address_Sets of a selection that there are."""
    if need.peer:
        yield address_set(selection, version)
    if need.own_peer:
        yield address_set(selection, version, own=True)


def render_selection(selection: Selection, need: Need, versions: Sequence[int]) -> dict[Key, Row | None]:
    """The rows of a selection, without its members. What no rule allows is dropped."""
    ids, at = owned(selection=str(selection)), group(selection)
    drops = [_drop(selection, direction) for direction in sorted(need.isolated)] if selection.port is None else []
    return facts(
        *([PortGroup(name=at, external_ids=ids)] if need.grouped else []),
        *drops,
        *(
            AddressSet(name=name, external_ids=ids)
            for version in versions
            for name in address_sets(selection, need, version)
        ),
        members=tuple(Member(PortGroup.TABLE, at, "acls", each.key) for each in drops),
    )


def render_policy(
    name: str,
    policy: Compiled,
    numbers: Callable[[NamedPort], Iterable[int]],
    is_dns: Callable[[Selection], bool],
    versions: Sequence[int],
    rules: Iterable[tuple[Rule, Seat]] | None = None,
) -> dict[Key, Row | None]:
    """The ACLs of a policy and the sets of its CIDRs. `numbers`: what Pods say a named port is; `is_dns`: whether a
    selection selects the Pods of the cluster's DNS server; `rules`: those in force with their priorities, which all
    rules of a NetworkPolicy share.
    """
    placed = [(rule, _SEAT) for rule in policy.rules] if rules is None else list(rules)
    found = _Policy(name=name, policy=policy, numbers=numbers, is_dns=is_dns, versions=versions)
    acls = [acl for rule, seat in placed for acl in found.acls(rule, seat)]
    blocks = {blocks for rule, _ in placed for _, blocks in found.blocks(rule) if len(blocks) > 1}
    return facts(
        *(acl for _, acl in acls),
        *(AddressSet(name=_block_set(each), external_ids=owned()) for each in blocks),
        members=(
            *(Member(PortGroup.TABLE, group(at), "acls", acl.key) for at, acl in acls),
            *(Member(AddressSet.TABLE, _block_set(each), "addresses", str(cidr)) for each in blocks for cidr in each),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    """One policy that is rendered."""

    name: str
    policy: Compiled
    numbers: Callable[[NamedPort], Iterable[int]]
    is_dns: Callable[[Selection], bool]
    versions: Sequence[int]

    def blocks(self, rule: Rule) -> Iterator[tuple[int, tuple[Network, ...]]]:
        """The CIDRs of a rule, by IP family."""
        for version in self.versions:
            if blocks := tuple(each for each in rule.blocks if each.version == version):
                yield version, blocks

    def _by_port(self, selection: Selection, rule: Rule) -> Iterator[Selection]:
        """The selections by port that a rule speaks of, as parts of a selection."""
        for service in rule.services or ():
            for name in service.named:
                for number in sorted(self.numbers(NamedPort(selection, service.protocol, name))):
                    yield selection._replace(port=Port(service.protocol, name, number))

    def acls(self, rule: Rule, seat: Seat) -> Iterator[tuple[Selection, Acl]]:
        """The ACLs of a rule, each with the selection that it restricts."""
        for number, (at, match, label) in enumerate(self._matches(rule)):
            yield at, self._acl(rule, seat, number, at, match, label=label)

    def _acl(self, rule: Rule, seat: Seat, number: int, at: Selection, match: str, *, label: bool) -> Acl:
        side = _SIDES[rule.direction]
        return Acl(
            priority=seat.names if label else seat.priority,
            direction=side.acl,
            match=f"{side.port} == @{group(at)} && {match}",
            action=rule.action,
            tier=seat.tier,
            label=_COMMIT if label else 0,
            options=side.options,
            external_ids=owned(key=f"policy {self.name} {rule.direction} {rule.number} {number}", policy=self.name),
        )

    def _matches(self, rule: Rule) -> Iterator[tuple[Selection, str, bool]]:
        """For each ACL of a rule the selection that it restricts, the rest of its match, and whether it is labelled.

        Who may ask the Pods of the cluster's DNS server may ask the nodes, which answer where there is no such server.
        """
        subject, ends, allows = self.policy.subject, list(self._ends(rule)), rule.action is Action.ALLOW
        for end in ends:
            for match, label in _services(rule):
                yield subject, f"{end} && {match}" if match else end, label
        if rule.direction is Direction.INGRESS:
            for each in self._by_port(subject, rule):
                assert each.port is not None
                for end in ends:
                    yield each, f"{end} && {_number(each.port)}", False
            return
        for peer in listeners(rule):
            for each in self._by_port(peer, rule):
                assert each.port is not None
                for version in self.versions:
                    end = f"ip{version}.dst == ${address_set(each, version, own=rule.own)}"
                    label = allows and _asks_names(each.port.protocol, each.port.number)
                    yield subject, f"{end} && {_number(each.port)}", label
        if any(map(self.is_dns, rule.selections)):
            for protocol in ("tcp", "udp"):
                if _covers(rule, protocol, names.DNS_PORT):
                    for version in self.versions:
                        end = f"ip{version}.dst == ${names.joined_nodes_set(version)}"
                        yield subject, f"{end} && {protocol}.dst == {names.DNS_PORT}", allows and protocol == "udp"

    def _ends(self, rule: Rule) -> Iterator[str]:
        """The matches of the other end, one for each set and IP family."""
        other = _SIDES[rule.direction].other
        if rule.anywhere:
            yield "ip"
            return
        for each in rule.selections:
            for version in self.versions:
                yield f"ip{version}.{other} == ${address_set(each, version, own=rule.own)}"
        for selector in rule.nodes:
            for version in self.versions:
                yield f"ip{version}.{other} == ${names.selected_nodes_set(repr(selector), version)}"
        for version, blocks in self.blocks(rule):
            end = str(blocks[0]) if len(blocks) == 1 else f"${_block_set(blocks)}"
            yield f"ip{version}.{other} == {end}"


def _services(rule: Rule) -> Iterator[tuple[str, bool]]:
    """The matches of the ports of a rule, one for each protocol, and whether the ACL is labelled. An egress rule that
    lets questions for names pass among others has an ACL of its own for them.
    """
    may_ask = rule.direction is Direction.EGRESS and rule.action is Action.ALLOW
    if rule.services is None:
        yield "", False
        if may_ask:
            yield f"udp.dst == {names.DNS_PORT}", True
        return
    for each in rule.services:
        if not each.spans:
            continue
        asks = may_ask and any(_asks_names(each.protocol, number) for number in _at(each.spans, names.DNS_PORT))
        if asks:
            yield f"udp.dst == {names.DNS_PORT}", True
        if not asks or each.spans != (Span(names.DNS_PORT, names.DNS_PORT),):
            yield _spans(each), False


def _at(spans: Iterable[Span], number: int) -> list[int]:
    return [number] if any(each.low <= number <= each.high for each in spans) else []


def _covers(rule: Rule, protocol: str, number: int) -> bool:
    """Whether a rule allows a port of a protocol, by its number."""
    return rule.services is None or any(
        each.protocol == protocol and bool(_at(each.spans, number)) for each in rule.services
    )


def _asks_names(protocol: str, number: int) -> bool:
    return (protocol, number) == ("udp", names.DNS_PORT)


def _spans(service: Service) -> str:
    if service.spans == EVERY_PORT:
        return service.protocol
    field = f"{service.protocol}.dst"
    single = [str(each.low) for each in service.spans if each.low == each.high]
    parts = [f"{each.low} <= {field} <= {each.high}" for each in service.spans if each.low != each.high]
    if single:
        parts.insert(0, f"{field} == {single[0]}" if len(single) == 1 else f"{field} == {{{', '.join(single)}}}")
    return parts[0] if len(parts) == 1 else f"({' || '.join(parts)})"


def _number(port: Port) -> str:
    return f"{port.protocol}.dst == {port.number}"


def _block_set(blocks: Sequence[Network]) -> str:
    """The Address_Set of CIDRs of one IP family; equal lists share one."""
    digest = hashlib.blake2b(" ".join(map(str, blocks)).encode(), digest_size=16).hexdigest()
    return names.policy_set(f"blocks {digest}", blocks[0].version)


def _drop(subject: Selection, direction: Direction) -> Acl:
    """The ACL that drops what no rule allows; all policies with one subject share it."""
    side = _SIDES[direction]
    return Acl(
        priority=names.ACL_POLICY_DROP,
        direction=side.acl,
        match=f"{side.port} == @{group(subject)} && ip",
        action="drop",
        tier=names.TIER_POLICY,
        options=side.options,
        external_ids=owned(key=f"policies {group(subject)} {direction}"),
    )
