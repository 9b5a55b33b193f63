"""Answers for the cluster's names where no DNS server gives them. Pure.

OVN answers the most frequent questions at the port of a Pod: for the addresses of a name, and for the name of an
address. It passes the others on, and they come here while the cluster has no DNS server that is ready: questions for a
family that a name does not have (answered with NODATA, so that resolvers which ask for both families do not wait), for
names that do not exist, for SRV records, for more addresses than fit a datagram, and questions over TCP. Names outside
the cluster's domain are not answered here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.reversename
import dns.rrset

from kube_ovn.derive import Graph, Index, Read, Source
from kube_ovn.discovery.dns import Names, service_name, service_names
from kube_ovn.discovery.endpoints import is_headless
from kube_ovn.model.addr import Address, Network
from kube_ovn.model.kube import EndpointSlice, Service

TTL = 5
"""Seconds for which an answer may be remembered, also the one that there is none."""
VERSION = "1.1.0"
"""The version of the specification of Kubernetes' DNS, which is the answer for `dns-version.<domain>`."""
LONGEST_QUESTION, MOST_RECORDS = 1024, 2
"""Bytes of a question, with its options, and the records of it: for EDNS (RFC 6891) and for a signature."""
_LABELS = 5
"""The most labels of a name of a Service: `_port._protocol.service.namespace.svc`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    service: Service
    names: Names
    ports: frozenset[tuple[str, str, int]]
    """The name, the protocol and the number of each port."""


class Directory:
    """The names of all Services."""

    def __init__(
        self,
        domain: str,
        graph: Graph,
        services: Source[tuple[str, str], Service],
        slices: Index[tuple[str, str], tuple[str, str], EndpointSlice],
        reserved: Callable[[Read], Sequence[Network]],
        is_inside: Callable[[Address], bool],
    ) -> None:
        """`services`: by Namespace and name; `slices`: by Service. `reserved`: reads the networks of Services' own
        addresses.
        `is_inside`: whether the reverse name of an address is one of the cluster's names.
        """
        self.domain, self._slices, self._reserved, self._is_inside = domain, slices, reserved, is_inside
        self._zone = dns.name.from_text(f"{domain}.")
        self._entries = graph.derive("names of Services", services, self._enter)
        self._namespaces = graph.index("names by Namespace", self._entries, lambda key, entry: (key[0],))
        self._pointers = graph.index("names by address", self._entries, lambda key, entry: entry.names.pointers)

    def _enter(self, read: Read, key: tuple[str, str], service: Service) -> _Entry:
        slices, reserved = list[EndpointSlice](), tuple[Network, ...]()
        if is_headless(service):
            slices, reserved = list(read.select(self._slices, key).values()), tuple(self._reserved(read))
        names = service_names(service, slices, self.domain, reserved)
        return _Entry(service=service, names=names, ports=frozenset(_ports(service, slices)))

    def answer(self, query: dns.message.Message) -> dns.message.Message | None:
        """The reply to a query; None when it is not for one of the cluster's names. Where the reply has a CNAME and
        nothing else, the caller adds the answer for its target.
        """
        if query.opcode() != dns.opcode.QUERY:
            return make_reply(query, dns.rcode.NOTIMP)
        if len(query.question) != 1:
            return make_reply(query, dns.rcode.FORMERR)
        name, kind = query.question[0].name, query.question[0].rdtype
        address = _reversed(name)
        if name.is_subdomain(self._zone):
            exists, found = self._forward(name.relativize(self._zone), name, kind)
        elif address is not None and self._is_inside(address):
            exists, found = self._backward(address, name, kind)
        else:
            return None
        reply = make_reply(query, dns.rcode.NOERROR if exists else dns.rcode.NXDOMAIN)
        reply.answer += found
        if not found:
            reply.authority.append(self._authority())
        return reply

    def _forward(
        self, relative: dns.name.Name, name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> tuple[bool, list[dns.rrset.RRset]]:
        labels = [label.decode("ascii", "replace").lower() for label in relative.labels]
        match labels:
            case []:
                return True, [self._authority()] if kind == dns.rdatatype.SOA else []
            case ["dns-version"]:
                return True, _rrset(name, "TXT", [f'"{VERSION}"']) if kind == dns.rdatatype.TXT else []
            case ["svc"] | ["pod"]:
                return True, []
            case [namespace, "svc"] | [namespace, "pod"]:
                return namespace in self._namespaces.values, []
            case [host, namespace, "pod"]:
                return self._pod(host, namespace, name, kind)
            case [*rest, service, namespace, "svc"] if len(labels) <= _LABELS:
                entry = self._entries.values.get((namespace, service))
                return (False, []) if entry is None else self._service(entry, rest, name, kind)
        return False, []

    def _service(
        self, entry: _Entry, rest: Sequence[str], name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> tuple[bool, list[dns.rrset.RRset]]:
        spec, own = entry.service.spec, service_name(entry.service, self.domain)
        if spec.type == "ExternalName":
            return not rest, [] if rest else _rrset(name, "CNAME", [f"{spec.external_name.rstrip('.')}."])
        if rest and rest[-1].startswith("_"):
            return self._srv(entry, rest, name, kind)
        key = ".".join([*rest, own])
        if rest and key not in entry.names.addresses:
            return False, []
        listed = entry.names.addresses.get(key, ())
        return True, [
            rrset
            for version, wanted in ((4, dns.rdatatype.A), (6, dns.rdatatype.AAAA))
            if kind in (wanted, dns.rdatatype.ANY)
            for rrset in _rrset(name, wanted.name, [str(each) for each in listed if each.version == version])
        ]

    def _srv(
        self, entry: _Entry, rest: Sequence[str], name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> tuple[bool, list[dns.rrset.RRset]]:
        """The answer for a port, by its name and protocol: at the Service's own name, or at the name of each endpoint
        of a headless Service.
        """
        own = service_name(entry.service, self.domain)
        ports = [port for port in entry.ports if f"_{port[1].lower()}" == rest[-1]]
        if len(rest) == 2:
            ports = [port for port in ports if f"_{port[0]}" == rest[0]]
        targets = sorted(entry.names.addresses.keys() - {own}) or [own]
        texts = [f"0 100 {number} {target}." for number in sorted({port[2] for port in ports}) for target in targets]
        wanted = len(rest) == 2 and kind in (dns.rdatatype.SRV, dns.rdatatype.ANY) and entry.names.addresses
        return bool(ports), _rrset(name, "SRV", texts) if wanted and texts else []

    def _pod(
        self, host: str, namespace: str, name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> tuple[bool, list[dns.rrset.RRset]]:
        """The answer for an address that is written with dashes, also for one that no Pod has."""
        for text, version, wanted in (
            (host.replace("-", "."), 4, dns.rdatatype.A),
            (host.replace("-", ":"), 6, dns.rdatatype.AAAA),
        ):
            try:
                address = ip_address(text)
            except ValueError:
                continue
            if address.version == version and namespace in self._namespaces.values:
                asked = kind in (wanted, dns.rdatatype.ANY)
                return True, _rrset(name, wanted.name, [str(address)]) if asked else []
        return False, []

    def _backward(
        self, address: Address, name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> tuple[bool, list[dns.rrset.RRset]]:
        entries = self._pointers.values.get(address, {}).values()
        pointers = [f"{entry.names.pointers[address]}." for entry in entries]
        asked = kind in (dns.rdatatype.PTR, dns.rdatatype.ANY)
        return bool(pointers), _rrset(name, "PTR", pointers) if asked else []

    def _authority(self) -> dns.rrset.RRset:
        """The record that says how long the answer that there is none may be remembered (RFC 2308)."""
        text = f"ns.dns.{self._zone} hostmaster.{self._zone} 1 7200 1800 86400 {TTL}"
        return dns.rrset.from_text(self._zone, TTL, "IN", "SOA", text)


def refusal(wire: bytes, rcode: dns.rcode.Rcode) -> bytes | None:
    """A reply with an error, without the question, to a message that may be no query; None for a message that must not
    be replied to.
    """
    if len(wire) < 12 or wire[2] & 0x80:
        return None
    return wire[:2] + bytes([0x80 | (wire[2] & 0x79), rcode]) + bytes(8)


def is_question(wire: bytes) -> bool:
    """Whether a message is worth reading: it is short, and has one question (RFC 9619), no answer and hardly any other
    record. To read others can take seconds.
    """
    return 12 <= len(wire) <= LONGEST_QUESTION and wire[4:11] == b"\0\1\0\0\0\0\0" and wire[11] <= MOST_RECORDS


def make_reply(query: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
    """A reply to a query, as yet without an answer."""
    reply = dns.message.make_response(query, recursion_available=True)
    reply.flags |= dns.flags.AA
    reply.set_rcode(rcode)
    return reply


def _rrset(name: dns.name.Name, kind: str, texts: Sequence[str]) -> list[dns.rrset.RRset]:
    return [dns.rrset.from_text_list(name, TTL, "IN", kind, texts)] if texts else []


def _reversed(name: dns.name.Name) -> Address | None:
    """The address of a complete reverse name; None for any other name."""
    try:
        return ip_address(dns.reversename.to_address(name))
    except (dns.exception.DNSException, ValueError):
        return None


def _ports(service: Service, slices: Iterable[EndpointSlice]) -> Iterator[tuple[str, str, int]]:
    """The ports of a Service that have a name. The ports of a headless Service are those of its endpoints."""
    if not is_headless(service):
        yield from ((port.name, port.protocol, port.port) for port in service.spec.ports if port.name)
        return
    for item in slices:
        yield from (
            (port.name, port.protocol or "TCP", port.port)
            for port in item.ports or ()
            if port.name and port.port is not None
        )
