"""The ports of cluster-wide policies, in both forms that the API has, as services of a rule. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kube_ovn.model.admin_policy import AdminPort, AdminProtocol, DestinationPort, Transport
from kube_ovn.topology.policy.compile import PROTOCOLS, merge
from kube_ovn.topology.policy.rules import EVERY_PORT, Service, Span


class _Entry(NamedTuple):
    """Ports of one protocol: by a number or a range, or by a name."""

    protocol: str
    span: Span | None = None
    name: str = ""


def parse_ports(
    ports: Sequence[AdminPort] | None, protocols: Sequence[AdminProtocol] | None, *, named: bool
) -> tuple[Service, ...]:
    """The services of a rule. `named`: whether its peers can have named ports. Raises ValueError."""
    entries: list[_Entry] = []
    for number, port in enumerate(ports or ()):
        entries += _told(number, _of_port(port))
    for number, protocol in enumerate(protocols or ()):
        entries += _told(number, _of_protocol(protocol))
    if not entries:
        raise ValueError("it lists none")
    if not named and any(each.name for each in entries):
        raise ValueError("nodes and networks have no named ports")
    spans: dict[str, list[Span]] = {}
    names: dict[str, set[str]] = {}
    for each in entries:
        if each.span is None:
            names.setdefault(each.protocol, set()).add(each.name)
        else:
            spans.setdefault(each.protocol, []).append(each.span)
    return tuple(
        Service(protocol=each, spans=merge(spans.get(each, ())), named=tuple(sorted(names.get(each, ()))))
        for each in sorted(spans.keys() | names.keys())
    )


def _told(number: int, entries: Iterable[_Entry]) -> list[_Entry]:
    """The entries, with the number of the one that is wrong in its error."""
    try:
        return list(entries)
    except ValueError as error:
        raise ValueError(f"entry {number}: {error}") from None


def _of_port(port: AdminPort) -> Iterator[_Entry]:
    """An entry of v1alpha1."""
    given = [each for each in (port.port_number, port.named_port, port.port_range) if each is not None]
    if len(given) != 1:
        raise ValueError("it must have one of portNumber, namedPort and portRange")
    if port.named_port is not None:
        yield from _by_name(port.named_port)
    elif port.port_number is not None:
        number = port.port_number.port
        yield _Entry(_protocol(port.port_number.protocol), _span(number, number))
    else:
        assert port.port_range is not None
        yield _Entry(_protocol(port.port_range.protocol), _span(port.port_range.start, port.port_range.end))


def _of_protocol(protocol: AdminProtocol) -> Iterator[_Entry]:
    """An entry of v1alpha2."""
    transports: dict[str, Transport | None] = {"tcp": protocol.tcp, "udp": protocol.udp, "sctp": protocol.sctp}
    given = [(name, each) for name, each in transports.items() if each is not None]
    if len(given) + (protocol.destination_named_port is not None) != 1:
        raise ValueError("it must have one of tcp, udp, sctp and destinationNamedPort")
    if protocol.destination_named_port is not None:
        yield from _by_name(protocol.destination_named_port)
    for name, each in given:
        yield _Entry(name, EVERY_PORT[0] if each.destination_port is None else _destination(each.destination_port))


def _destination(port: DestinationPort) -> Span:
    if (port.number is None) == (port.range is None):
        raise ValueError("destinationPort must have one of number and range")
    if port.number is not None:
        return _span(port.number, port.number)
    assert port.range is not None
    return _span(port.range.start, port.range.end)


def _by_name(name: str) -> Iterator[_Entry]:
    """A named port is of whatever protocol a Pod gives it."""
    if not name:
        raise ValueError("the name of the port is empty")
    for protocol in PROTOCOLS:
        yield _Entry(protocol.lower(), name=name)


def _protocol(protocol: str) -> str:
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol[:40]!r} is none of {', '.join(PROTOCOLS)}")
    return protocol.lower()


def _span(first: int, last: int) -> Span:
    if not 1 <= first <= last <= 65535:
        raise ValueError(f"ports {first} to {last} are not from 1 to 65535, in this order")
    return Span(first, last)
