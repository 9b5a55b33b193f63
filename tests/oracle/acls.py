"""What ACLs of the Northbound database say of one packet: a small reading of ovn-nb(5), for the matches that we write.

`tests/daemon/test_policy_trace.py` holds it to northd and ovn-trace.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from kube_ovn.model.nb import Acl
from kube_ovn.model.row import Member, State


@dataclass(frozen=True, kw_only=True)
class Packet:
    """A packet at the port of a Pod. `resident`: the ports on the chassis where it is."""

    source: str
    target: str
    protocol: str
    port: int = 0
    resident: frozenset[str] = field(default_factory=frozenset)


class Database:
    """The rows of groups, sets and ACLs, for questions."""

    def __init__(self, state: State) -> None:
        self._groups: dict[str, set[str]] = {}
        self._sets: dict[str, set[str]] = {}
        self._acls: dict[str, list[str]] = {}
        self._rows: dict[str, Acl] = {}
        for key, row in state.items():
            if isinstance(key, Member):
                column = {"ports": self._groups, "addresses": self._sets}.get(key.column)
                if key.table == "Port_Group" and key.column == "acls":
                    self._acls.setdefault(key.key, []).append(key.target)
                elif column is not None and key.table in ("Port_Group", "Address_Set"):
                    column.setdefault(key.key, set()).add(key.target)
            elif isinstance(row, Acl):
                self._rows[row.key] = row

    def verdict(self, port: str, direction: str, packet: Packet) -> str:
        """`allow`, or the action that stops the packet at a port. `direction` as in an ACL."""
        return self.judge(port, direction, packet)[0]

    def judge(self, port: str, direction: str, packet: Packet) -> tuple[str, list[Acl]]:
        """The verdict, and the ACLs that log the packet on the way to it: at most one in each tier."""
        there = [
            self._rows[key]
            for group, ports in self._groups.items()
            if port in ports
            for key in self._acls.get(group, ())
            if self._rows[key].direction == direction
        ]
        logs: list[Acl] = []
        for tier in sorted({each.tier for each in there}):
            matching = [each for each in there if each.tier == tier and self._matches(each.match, port, packet)]
            if not matching:
                continue
            best = max(each.priority for each in matching)
            decisive = [each for each in matching if each.priority == best]
            outcomes = {(each.action, each.log) for each in decisive}
            assert len(outcomes) == 1, f"{outcomes} at one priority"
            action, is_logged = outcomes.pop()
            logs += decisive[:1] if is_logged else []
            if action != "pass":
                return action.removesuffix("-related"), logs
        return "allow", logs

    def _matches(self, match: str, port: str, packet: Packet) -> bool:
        return all(any(self._holds(term, port, packet) for term in _terms(part)) for part in match.split(" && "))

    def _holds(self, term: str, port: str, packet: Packet) -> bool:
        if term == "ip":
            return True
        if term in ("tcp", "udp", "sctp"):
            return packet.protocol.lower() == term
        if found := re.fullmatch(r"(?:in|out)port == @(\S+)", term):
            return port in self._groups.get(found[1], ())
        if found := re.fullmatch(r'is_chassis_resident\("(.+)"\)', term):
            return found[1] in packet.resident
        if found := re.fullmatch(r"ip([46])\.(src|dst) == (\S+)", term):
            address = ip_address(packet.source if found[2] == "src" else packet.target)
            listed = self._sets.get(found[3][1:], set()) if found[3].startswith("$") else {found[3]}
            return address.version == int(found[1]) and any(address in ip_network(each) for each in listed)
        if found := re.fullmatch(r"(tcp|udp|sctp)\.dst == \{?([\d, ]+)\}?", term):
            numbers = [int(each) for each in found[2].split(",")]
            return packet.protocol.lower() == found[1] and packet.port in numbers
        if found := re.fullmatch(r"(\d+) <= (tcp|udp|sctp)\.dst <= (\d+)", term):
            return packet.protocol.lower() == found[2] and int(found[1]) <= packet.port <= int(found[3])
        raise AssertionError(f"no such term is expected: {term}")


def _terms(part: str) -> Iterator[str]:
    yield from part.removeprefix("(").removesuffix(")").split(" || ") if " || " in part else [part]
