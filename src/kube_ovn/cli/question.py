"""The words of a question on packets: ends, and protocol with port. Pure.

An end is `namespace/name` of a Pod (or `name` alone), `service/namespace/name`, or an address.
"""

from dataclasses import dataclass
from enum import StrEnum

from kube_ovn.model.addr import Address, parse_address

PROTOCOLS = ("tcp", "udp", "sctp")
LAST_PORT = 65535
_HOW = "give namespace/name of a Pod, service/namespace/name, or an address"


class QuestionError(Exception):
    """The question cannot be understood, or its objects cannot be found. The message is one sentence."""


class Sort(StrEnum):
    POD = "Pod"
    SERVICE = "Service"


_SORTS = {"pod": Sort.POD, "pods": Sort.POD, "po": Sort.POD}
_SORTS |= {"service": Sort.SERVICE, "services": Sort.SERVICE, "svc": Sort.SERVICE}


@dataclass(frozen=True, slots=True)
class Ref:
    """An object that is an end."""

    sort: Sort
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.sort} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Port:
    """A protocol, with a number or, for a Service, a name."""

    protocol: str
    number: int = 0
    name: str = ""

    def __str__(self) -> str:
        return f"{self.protocol.upper()} {self.name or self.number or ''}".strip()


def parse_end(text: str, namespace: str) -> Ref | Address:
    """Parse an end. `namespace`: where an object is that is given without a Namespace. Raises QuestionError."""
    try:
        return parse_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        pass
    parts = text.split("/")
    sort = _SORTS.get(parts[0].lower()) if len(parts) > 1 else None
    if sort is not None and (len(parts) == 3 or sort is Sort.SERVICE):
        parts = parts[1:]
    else:
        sort = Sort.POD
    if len(parts) > 2 or not all(parts):
        raise QuestionError(f"{text!r} is no end of a packet: {_HOW}")
    return Ref(sort, parts[0] if len(parts) == 2 else namespace, parts[-1])


def parse_port(text: str) -> Port:
    """Parse `tcp/80`, `80/tcp`, `80` (TCP), `tcp/http` or `icmp`. Raises QuestionError."""
    parts = text.lower().split("/")
    if parts == ["icmp"]:
        return Port("icmp")
    if len(parts) == 2 and parts[1] in PROTOCOLS:
        parts.reverse()
    protocol, value = parts if len(parts) == 2 else ("tcp", parts[0])
    if len(parts) > 2 or protocol not in PROTOCOLS or not value:
        raise QuestionError(f"{text!r} is no protocol with a port: give one such as tcp/80, udp/53, sctp/3868 or icmp")
    if not value.isdecimal():
        return Port(protocol, name=value)
    if not 1 <= int(value) <= LAST_PORT:
        raise QuestionError(f"port {value[:20]} is not from 1 to {LAST_PORT}")
    return Port(protocol, int(value))
