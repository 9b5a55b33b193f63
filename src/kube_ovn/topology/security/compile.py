"""A SecurityGroup as rules. Pure.

What cannot be understood never lets a packet pass, and is told. A rule that allows has no effect then. A rule that
drops, or passes packets on to the next tier, keeps others from being allowed: it becomes a rule that drops whatever it
can have meant, so a part that cannot be read counts for all values.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial
from typing import TypeVar

from kube_ovn.model.addr import Network, parse_address, parse_networks
from kube_ovn.model.security import SecurityGroup, SecurityGroupRule
from kube_ovn.topology.policy.rules import EVERY_PORT, Direction, Span

T = TypeVar("T")
MOST_URGENT, LEAST_URGENT = 1, 16384
_FAMILIES = {"ipv4": 4, "ipv6": 6}
_PROTOCOLS = ("all", "icmp", "tcp", "udp")


class Verdict(IntEnum):
    """What becomes of a packet. Of rules with one priority the lower one counts."""

    DROP = 0
    PASS = 1
    ALLOW = 2


_VERDICTS = {"drop": Verdict.DROP, "pass": Verdict.PASS, "allow": Verdict.ALLOW}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRule:
    """One rule: packets of some IP families between the Pods of the group and a remote end. None: all values."""

    direction: Direction
    number: int
    """The index of the rule among those of its direction."""
    priority: int
    verdict: Verdict
    versions: tuple[int, ...]
    remote: Network | str | None
    """A network, or the name of a SecurityGroup."""
    local: Network | None
    protocol: str | None
    """`icmp`, `tcp` or `udp`."""
    ports: Span | None
    sources: Span | None

    @property
    def field(self) -> str:
        """The place of the rule in its SecurityGroup."""
        return f"spec.{self.direction}Rules[{self.number}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledGroup:
    """A SecurityGroup: its tier, its rules, and the parts that cannot be understood, one sentence each."""

    tier: int
    same_group: bool
    rules: tuple[GroupRule, ...]
    faults: tuple[tuple[Direction, str], ...]


def compile_group(group: SecurityGroup) -> CompiledGroup:
    """The rules of a SecurityGroup."""
    spec = group.spec
    is_tier, faults, rules = spec.tier in (0, 1), list[tuple[Direction, str]](), list[GroupRule]()
    for direction, listed in ((Direction.INGRESS, spec.ingress_rules), (Direction.EGRESS, spec.egress_rules)):
        if not is_tier:
            faults.append((direction, f"spec.tier is {spec.tier}: use 0 or 1; no rule allows anything until then"))
        for number, each in enumerate(listed):
            reader = _Reader(each)
            rule = reader.read(direction, number, is_trusted=is_tier)
            faults += [(direction, f"spec.{direction}Rules[{number}]: {fault}") for fault in reader.faults]
            if rule is not None:
                rules.append(rule)
    same = spec.allow_same_group_traffic and is_tier
    return CompiledGroup(tier=spec.tier if is_tier else 0, same_group=same, rules=tuple(rules), faults=tuple(faults))


class _Reader:
    """Reads the parts of one rule, and keeps a sentence on each that cannot be understood."""

    def __init__(self, rule: SecurityGroupRule) -> None:
        self.faults: list[str] = []
        self._rule = rule
        self._is_mixed = False  # whether an address is not of the family that the rule is for

    def read(self, direction: Direction, number: int, *, is_trusted: bool) -> GroupRule | None:
        """The rule; None when it has no effect. `is_trusted`: whether the rest of its group is understood."""
        version = self._try(self._version)
        protocol = self._try(self._protocol)
        verdict = self._try(self._verdict)
        remote: Network | str | None = None
        local: Network | None = None
        with self._telling():
            remote = self._remote(version)
        with self._telling():
            local = self._network("localAddress", self._rule.local_address, version)
        rule = GroupRule(
            direction=direction,
            number=number,
            priority=self._try(self._priority) or MOST_URGENT,
            verdict=verdict if verdict is not None else Verdict.DROP,
            versions=(version,) if version is not None and not self._is_mixed else (4, 6),
            remote=remote,
            local=local,
            protocol=None if protocol == "all" else protocol,
            ports=self._try(partial(self._ports, protocol)),
            sources=self._try(partial(self._sources, protocol)),
        )
        if is_trusted and not self.faults:
            return rule
        return None if rule.verdict is Verdict.ALLOW else replace(rule, verdict=Verdict.DROP)

    def _try(self, part: Callable[[], T | None]) -> T | None:
        """A part; None, with a fault, when it cannot be understood."""
        with self._telling():
            return part()
        return None

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Take what is wrong with a part for a fault."""
        try:
            yield
        except ValueError as error:
            self.faults.append(str(error))

    def _version(self) -> int:
        return _FAMILIES[_one_of("ipVersion", self._rule.ip_version, tuple(_FAMILIES))]

    def _protocol(self) -> str:
        return _one_of("protocol", self._rule.protocol, _PROTOCOLS)

    def _verdict(self) -> Verdict:
        return _VERDICTS[_one_of("policy", self._rule.policy, ("allow", "drop", "pass"))]

    def _priority(self) -> int:
        priority = self._rule.priority
        if not MOST_URGENT <= priority <= LEAST_URGENT:
            raise ValueError(f"priority {priority} is not from {MOST_URGENT} to {LEAST_URGENT}")
        return priority

    def _remote(self, version: int | None) -> Network | str | None:
        rule = self._rule
        if _one_of("remoteType", rule.remote_type, ("address", "securityGroup")) == "securityGroup":
            if not rule.remote_security_group:
                raise ValueError("remoteType is securityGroup, and remoteSecurityGroup is empty")
            return rule.remote_security_group
        if not rule.remote_address:
            raise ValueError("remoteType is address, and remoteAddress is empty; 0.0.0.0/0 or ::/0 is all addresses")
        return self._network("remoteAddress", rule.remote_address, version)

    def _network(self, field: str, text: str, version: int | None) -> Network | None:
        """The network of an address or a CIDR, None for all addresses."""
        if not text:
            return None
        try:
            network, *more = parse_networks(text if "/" in text else str(parse_address(text)))
        except ValueError as error:
            raise ValueError(f"{field}: {error}") from None
        if more:
            raise ValueError(f"{field} {text} is not one CIDR; write a rule for each")
        if version is not None and network.version != version:
            self._is_mixed = True
            raise ValueError(f"{field} {text} is no address of ipVersion ipv{version}")
        return network if network.prefixlen else None

    def _ports(self, protocol: str | None) -> Span | None:
        rule = self._rule
        return _span("portRange", rule.port_range_min, rule.port_range_max, protocol)

    def _sources(self, protocol: str | None) -> Span | None:
        rule = self._rule
        span = _span("sourcePortRange", rule.source_port_range_min, rule.source_port_range_max, protocol)
        if span is not None and not rule.local_address:
            raise ValueError("sourcePortRangeMin and sourcePortRangeMax count only together with localAddress; set it")
        return span


def _one_of(field: str, text: str, known: tuple[str, ...]) -> str:
    if text not in known:
        raise ValueError(f"{field} {text[:40]!r} is unknown: use {', '.join(known[:-1])} or {known[-1]}")
    return text


def _span(field: str, low: int, high: int, protocol: str | None) -> Span | None:
    """The ports from `low` to `high`; None for all ports, which is also what 0 and 0 mean. `protocol`: None when it
    cannot be understood.
    """
    if protocol is None or (low, high) == (0, 0) or (low in (0, 1) and high == EVERY_PORT[0].high):
        return None
    if not 1 <= low <= high <= EVERY_PORT[0].high:
        raise ValueError(f"{field}Min {low} and {field}Max {high} are not from 1 to 65535, in this order")
    if protocol not in ("tcp", "udp"):
        raise ValueError(f"{field}Min and {field}Max mean nothing with protocol {protocol}: use tcp or udp")
    return Span(low, high)
