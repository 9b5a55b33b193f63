"""What ovn-controller logs of packets that ACLs decide on: one line as a value. Pure.

Only the module `acl_log` of ovn-controller writes to the file. Its lines hold the name of an ACL, which only the
controller chooses, and numbers of the packet: nothing in them is a text that a Pod could choose.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from kube_ovn.model.addr import Address

_LINE = re.compile(
    r'[^|]*\|\d+\|acl_log(?:\([^|)]*\))?\|INFO\|name="(?P<name>[^"\\]*)", verdict=(?P<verdict>[a-z]+), '
    r"severity=[a-z]+, direction=(?P<way>to-lport|from-lport): (?P<flow>\S+)"
)
_MAC = re.compile("(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_KIND = "np/"
"""The names of NetworkPolicies begin with it. They have no rule that passes a packet on, but where they are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One packet, and the rule that decided on it."""

    policy: str
    """Kind, Namespace and name, joined by `/` (`names.policy_log`)."""
    rule: str
    """Its index among those of the direction, or `none` where no rule allows."""
    direction: str
    """`ingress` or `egress`."""
    verdict: str
    """`allow`, `drop`, `reject`, `pass`; `audit` for what would be dropped if the policy was enforced."""
    mac: str
    """The MAC address of the Pod that the policy is for."""
    source: Address
    target: Address
    protocol: str
    port: int
    """At the target; 0 for a protocol without ports."""

    @property
    def own(self) -> Address:
        """The address of the Pod that the policy is for."""
        return self.target if self.direction == "ingress" else self.source


def parse_decision(line: str) -> Decision | None:
    """Parse a line of the log. None for a line of another form, and for a packet without IP addresses."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    protocol, *pairs = found["flow"].split(",")
    fields = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    is_ingress = found["way"] == "to-lport"
    mac = fields.get("dl_dst" if is_ingress else "dl_src", "")
    source = _address(fields.get("nw_src") or fields.get("ipv6_src", ""))
    target = _address(fields.get("nw_dst") or fields.get("ipv6_dst", ""))
    port = fields.get("tp_dst", "0")
    if _MAC.fullmatch(mac) is None or source is None or target is None or not port.isdecimal():
        return None
    policy, rule = _split(found["name"])
    is_audit = policy.startswith(_KIND) and found["verdict"] == "pass"
    return Decision(
        policy=policy,
        rule=rule,
        direction="ingress" if is_ingress else "egress",
        verdict="audit" if is_audit else found["verdict"],
        mac=mac,
        source=source,
        target=target,
        protocol=protocol.removesuffix("6"),
        port=int(port),
    )


def _split(name: str) -> tuple[str, str]:
    """The policy and the rule in the name of an ACL; the whole for a name that is not ours."""
    parts = name.rsplit("/", 2)
    return (parts[0], parts[2]) if len(parts) == 3 else (name, "")


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
