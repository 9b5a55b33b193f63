"""Rules as ACLs of a Port_Group. Pure.

There is one ACL for each rule, other end, IP family and protocol: OVN makes one flow for each address and each port of
such an ACL, not one for each pair of them, and changes flows one by one when a set changes (ovn-architecture(7);
`expr_to_matches` in lib/expr.c).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kube_ovn.model import names
from kube_ovn.model.addr import Network
from kube_ovn.model.admin_policy import AdminName
from kube_ovn.model.nb import Acl, AddressSet, PortGroup
from kube_ovn.model.row import Key, Member, Row, facts, owned
from kube_ovn.topology.inputs import Name
from kube_ovn.topology.policy.logs import NO_RULE, choose, logged, render_meter
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
from kube_ovn.topology.policy.selections import Asked, NamedPort, Need, listeners

_COMMIT = 1
"""As the label of `subnets.switch`: ACLs that let questions for names pass commit their connections anew."""

_PRIORITIES = {
    (False, False): names.ACL_POLICY_ALLOW,
    (True, False): names.ACL_POLICY_NAMES,
    (False, True): names.ACL_POLICY_ALLOW_LOGGED,
    (True, True): names.ACL_POLICY_NAMES_LOGGED,
}
"""Of ACLs that allow, by whether they have a label and whether they log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """How the two ends of packets are matched in one direction."""

    acl: str
    """The column `direction` of an ACL."""
    port: str
    other: str
    options: dict[str, str]


SIDES = {
    Direction.INGRESS: Side(acl="to-lport", port="outport", other="src", options={}),
    # After the load balancers, where a packet to a Service has the endpoint's address.
    Direction.EGRESS: Side(acl="from-lport", port="inport", other="dst", options={"apply-after-lb": "true"}),
}


def group(selection: Selection) -> str:
    """The Port_Group of a selection."""
    return names.policy_group(repr(selection))


class Trial(NamedTuple):
    """Where policies are tried: on what Pods send or receive, and whether their subnet is private."""

    direction: Direction
    is_private: bool = False

    @property
    def tier(self) -> int:
        """Before that of Subnets where a Subnet decides in its own tier on all that its Pods receive."""
        return names.TIER_ADMIN if self.is_private else names.TIER_SUBNET

    def group(self, selection: Selection) -> str:
        """The Port_Group of those Pods of a selection on which policies are tried."""
        return names.audit_group(repr(selection), f"{self.direction}.private" if self.is_private else self.direction)


def trials(directions: Iterable[Direction], *, any_private: bool) -> list[Trial]:
    """Where policies are tried that isolate in some directions. `any_private`: whether there is a private subnet."""
    return [
        Trial(direction, is_private)
        for direction in sorted(directions)
        for is_private in (False, True)
        if not is_private or (any_private and direction is Direction.INGRESS)
    ]


def address_set(selection: Selection, version: int, *, own: bool = False) -> str:
    """The Address_Set of a selection. `own`: that of the Pods with addresses of their own."""
    return (names.own_pods_set if own else names.policy_set)(repr(selection), version)


def address_sets(selection: Selection, need: Need, version: int) -> Iterator[str]:
    """The Address_Sets of a selection that there are."""
    if need.peer:
        yield address_set(selection, version)
    if need.own_peer:
        yield address_set(selection, version, own=True)


def render_selection(
    selection: Selection, need: Need, versions: Sequence[int], *, any_private: bool = False
) -> dict[Key, Row | None]:
    """The rows of a selection, without its members. What no rule allows is dropped."""
    ids, whole = owned(selection=str(selection)), selection.port is None
    groups: dict[str, list[Acl]] = {}
    if need.grouped:
        groups[group(selection)] = [_drop(selection, each, need) for each in sorted(need.isolated) if whole]
    for trial in trials(need.audited, any_private=any_private):
        groups[trial.group(selection)] = [_audit(selection, trial, need)] if whole else []
    return facts(
        *(PortGroup(name=each, external_ids=ids) for each in groups),
        *(acl for acls in groups.values() for acl in acls),
        *(
            AddressSet(name=each, external_ids=ids)
            for version in versions
            for each in address_sets(selection, need, version)
        ),
        members=tuple(Member(PortGroup.TABLE, each, "acls", acl.key) for each, acls in groups.items() for acl in acls),
    )


def render_policy(
    name: Name,
    policy: Compiled,
    numbers: Callable[[NamedPort], Iterable[int]],
    is_dns: Callable[[Selection], bool],
    versions: Sequence[int],
    *,
    any_private: bool = False,
) -> dict[Key, Row | None]:
    """The ACLs of a policy and the sets of its CIDRs. `numbers`: what Pods say a named port is; `is_dns`: whether a
    selection selects the Pods of the cluster's DNS server.
    """
    found = _Policy(name=name, policy=policy, numbers=numbers, is_dns=is_dns, versions=versions)
    acls = list(found.tried(any_private) if policy.mode.audit else found.allowed())
    return {**found.rows(acls, policy.rules), **render_meter(name.namespace, policy.mode)}


def render_wide(
    name: AdminName,
    policy: Compiled,
    rules: Sequence[tuple[Rule, Seat]],
    numbers: Callable[[NamedPort], Iterable[int]],
    is_dns: Callable[[Selection], bool],
    versions: Sequence[int],
) -> dict[Key, Row | None]:
    """As `render_policy`, of a cluster-wide policy. `rules`: those in force, with their priorities."""
    found = _Policy(name=name, policy=policy, numbers=numbers, is_dns=is_dns, versions=versions)
    acls = [acl for rule, seat in rules for acl in found.placed(rule, seat)]
    return found.rows(acls, [rule for rule, _ in rules])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    """One policy that is rendered."""

    name: Name | AdminName
    policy: Compiled
    numbers: Callable[[NamedPort], Iterable[int]]
    is_dns: Callable[[Selection], bool]
    versions: Sequence[int]

    def rows(self, acls: Sequence[tuple[str, Acl]], rules: Iterable[Rule]) -> dict[Key, Row | None]:
        """These ACLs in their Port_Groups, and the sets of the CIDRs of the rules that they are made of."""
        blocks = {blocks for rule in rules for _, blocks in self.blocks(rule) if len(blocks) > 1}
        return facts(
            *(acl for _, acl in acls),
            *(AddressSet(name=_block_set(each), external_ids=owned()) for each in blocks),
            members=(
                *(Member(PortGroup.TABLE, at, "acls", acl.key) for at, acl in acls),
                *(
                    Member(AddressSet.TABLE, _block_set(each), "addresses", str(cidr))
                    for each in blocks
                    for cidr in each
                ),
            ),
        )

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

    def allowed(self) -> Iterator[tuple[str, Acl]]:
        """The ACLs that allow, each with the Port_Group that it is in."""
        assert isinstance(self.name, Name)
        is_logged = "allow" in self.policy.mode.actions
        seat = Seat(names.TIER_POLICY, _PRIORITIES[False, is_logged], _PRIORITIES[True, is_logged])
        for rule in self.policy.rules:
            asked = Asked(rule.direction, self.policy.mode.rate, self.name)
            for at, acl in self.placed(rule, seat):
                yield at, logged(acl, asked, str(rule.number)) if is_logged else acl

    def placed(self, rule: Rule, seat: Seat) -> Iterator[tuple[str, Acl]]:
        """The ACLs of a rule that has its priorities, each with the Port_Group that it is in."""
        side = SIDES[rule.direction]
        for number, (at, match, label) in enumerate(self._matches(rule)):
            yield (
                group(at),
                Acl(
                    priority=seat.names if label else seat.priority,
                    direction=side.acl,
                    match=f"{side.port} == @{group(at)} && {match}",
                    action=rule.action,
                    tier=seat.tier,
                    label=_COMMIT if label else 0,
                    options=side.options,
                    external_ids=self._ids(rule, str(number)),
                ),
            )

    def tried(self, any_private: bool) -> Iterator[tuple[str, Acl]]:
        """The ACLs of what would be allowed, each with the Port_Group that it is in."""
        for rule in self.policy.rules:
            matches = list(enumerate(self._matches(rule)))
            for trial in trials([rule.direction], any_private=any_private):
                for number, (at, match, _) in matches:
                    ids = self._ids(rule, f"{number} private" if trial.is_private else str(number))
                    yield trial.group(at), _leave(trial, trial.group(at), names.ACL_AUDIT_PASS, match, ids)

    def _ids(self, rule: Rule, what: str) -> dict[str, str]:
        return owned(key=f"policy {self.name} {rule.direction} {rule.number} {what}", policy=str(self.name))

    def _matches(self, rule: Rule) -> Iterator[tuple[Selection, str, bool]]:
        """For each ACL of a rule the selection that it restricts, the rest of its match, and whether it is labelled.

        Who may ask the Pods of the cluster's DNS server may ask the nodes, which answer where there is no such server.
        """
        subject, ends = self.policy.subject, list(self._ends(rule))
        labels = rule.action is Action.ALLOW and not self.policy.mode.audit
        for end in ends:
            for match, label in _services(rule, labels=labels):
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
                    label = labels and _asks_names(each.port.protocol, each.port.number)
                    yield subject, f"{end} && {_number(each.port)}", label
        if any(map(self.is_dns, rule.selections)):
            for protocol in ("tcp", "udp"):
                if _covers(rule, protocol, names.DNS_PORT):
                    for version in self.versions:
                        end = f"ip{version}.dst == ${names.joined_nodes_set(version)}"
                        yield subject, f"{end} && {protocol}.dst == {names.DNS_PORT}", labels and protocol == "udp"

    def _ends(self, rule: Rule) -> Iterator[str]:
        """The matches of the other end, one for each set and IP family."""
        other = SIDES[rule.direction].other
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


def _services(rule: Rule, *, labels: bool) -> Iterator[tuple[str, bool]]:
    """The matches of the ports of a rule, one for each protocol, and whether the ACL is labelled. Where there are
    labels, an egress rule that lets questions for names pass among others has an ACL of its own for them.
    """
    is_egress = rule.direction is Direction.EGRESS and labels
    if rule.services is None:
        yield "", False
        if is_egress:
            yield f"udp.dst == {names.DNS_PORT}", True
        return
    for each in rule.services:
        if not each.spans:
            continue
        asks = is_egress and any(_asks_names(each.protocol, number) for number in _at(each.spans, names.DNS_PORT))
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


def _drop(subject: Selection, direction: Direction, need: Need) -> Acl:
    """The ACL that drops what no rule allows; all policies with one subject share it. It is logged when one asks."""
    side, asked = SIDES[direction], choose(need.logged, direction)
    acl = Acl(
        priority=names.ACL_POLICY_DROP if asked is None else names.ACL_POLICY_DROP_LOGGED,
        direction=side.acl,
        match=f"{side.port} == @{group(subject)} && ip",
        action="drop",
        tier=names.TIER_POLICY,
        options=side.options,
        external_ids=owned(key=f"policies {group(subject)} {direction}"),
    )
    return acl if asked is None else logged(acl, asked, NO_RULE)


def _audit(subject: Selection, trial: Trial, need: Need) -> Acl:
    """The ACL that logs what no rule of the policies allows that are tried on a selection."""
    asked, at = choose(need.audits, trial.direction), trial.group(subject)
    assert asked is not None, "else there is no audit in this direction"
    return logged(_leave(trial, at, names.ACL_AUDIT_LOG, "ip", owned(key=f"audits {at}")), asked, NO_RULE)


def _leave(trial: Trial, at: str, priority: int, match: str, ids: dict[str, str]) -> Acl:
    """An ACL that leaves packets of a Port_Group to the next tier."""
    side = SIDES[trial.direction]
    return Acl(
        priority=priority,
        direction=side.acl,
        match=f"{side.port} == @{at} && {match}",
        action="pass",
        tier=trial.tier,
        options=side.options,
        external_ids=ids,
    )
