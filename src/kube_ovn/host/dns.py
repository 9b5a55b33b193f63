"""Answers for the cluster's names where no DNS server gives them. Pure.

OVN answers at a Pod's port what is asked most: the addresses of a name, and the name of an address. What it passes on
comes here when the cluster has no DNS server that is ready: a family that a name has not (NODATA, so that resolvers
which ask for both do not wait), names there are not, SRV, more addresses than fit a datagram, questions over TCP.
Names outside the cluster's domain are not answered here.
"""

from collections.abc import Iterable, Iterator, Sequence
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

from kube_ovn.discovery.dns import Names, service_name, service_names
from kube_ovn.discovery.endpoints import HEADLESS
from kube_ovn.model.addr import Address, Network, is_within
from kube_ovn.model.kube import EndpointSlice, Service

TTL = 5
"""Seconds, also of "there is none"."""
VERSION = "1.1.0"
"""Of Kubernetes' specification of its names, told at `dns-version.<domain>`."""
_LABELS = 5
"""From the name of a port down to a Namespace: `_port._protocol.service.namespace.svc`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    service: Service
    names: Names
    ports: frozenset[tuple[str, str, int]]
    """Name, protocol and number."""


class Directory:
    """The names of all Services, kept up to date by who follows them."""

    def __init__(self, domain: str, networks: Sequence[Network] = (), services: Sequence[Network] = ()) -> None:
        """`services`: where Services have their own addresses."""
        self.domain, self.networks, self._services = domain, networks, services
        """`networks`: whose reverse names are the cluster's."""
        self._zone = dns.name.from_text(f"{domain}.")
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._namespaces: dict[str, int] = {}
        self._pointers: dict[Address, dict[str, None]] = {}

    def put(self, namespace: str, name: str, service: Service | None, slices: Iterable[EndpointSlice]) -> None:
        """What there is of a Service now."""
        key, slices = (namespace, name), list(slices)
        before = self._entries.pop(key, None)
        if before is not None:
            self._count(namespace, -1)
            for address, pointer in before.names.pointers.items():
                self._pointers[address].pop(pointer, None)
                if not self._pointers[address]:
                    del self._pointers[address]
        if service is None:
            return
        names = service_names(service, slices, self.domain, self._services)
        self._entries[key] = _Entry(service=service, names=names, ports=frozenset(_ports(service, slices)))
        self._count(namespace, 1)
        for address, pointer in names.pointers.items():
            self._pointers.setdefault(address, {})[pointer] = None

    def _count(self, namespace: str, change: int) -> None:
        self._namespaces[namespace] = self._namespaces.get(namespace, 0) + change
        if not self._namespaces[namespace]:
            del self._namespaces[namespace]

    def answer(self, query: dns.message.Message) -> dns.message.Message | None:
        """The reply to a query; None when it is not about the cluster's names. A reply with a CNAME and nothing else
        wants the rest from whoever knows it.
        """
        if query.opcode() != dns.opcode.QUERY:
            return make_reply(query, dns.rcode.NOTIMP)
        if len(query.question) != 1:
            return make_reply(query, dns.rcode.FORMERR)
        name, kind = query.question[0].name, query.question[0].rdtype
        address = _reversed(name)
        if name.is_subdomain(self._zone):
            exists, found = self._forward(name.relativize(self._zone), name, kind)
        elif address is not None and is_within(address, self.networks):
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
                return namespace in self._namespaces, []
            case [host, namespace, "pod"]:
                return self._pod(host, namespace, name, kind)
            case [*rest, service, namespace, "svc"] if len(labels) <= _LABELS:
                entry = self._entries.get((namespace, service))
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
        """A port by name and protocol: at the Service's own name, or at each of a headless one's endpoints."""
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
        """An address with dashes, whoever has it."""
        for text, version, wanted in (
            (host.replace("-", "."), 4, dns.rdatatype.A),
            (host.replace("-", ":"), 6, dns.rdatatype.AAAA),
        ):
            try:
                address = ip_address(text)
            except ValueError:
                continue
            if address.version == version and namespace in self._namespaces:
                asked = kind in (wanted, dns.rdatatype.ANY)
                return True, _rrset(name, wanted.name, [str(address)]) if asked else []
        return False, []

    def _backward(
        self, address: Address, name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> tuple[bool, list[dns.rrset.RRset]]:
        pointers = [f"{pointer}." for pointer in self._pointers.get(address, ())]
        asked = kind in (dns.rdatatype.PTR, dns.rdatatype.ANY)
        return bool(pointers), _rrset(name, "PTR", pointers) if asked else []

    def _authority(self) -> dns.rrset.RRset:
        """How long "there is none" may be remembered (RFC 2308)."""
        text = f"ns.dns.{self._zone} hostmaster.{self._zone} 1 7200 1800 86400 {TTL}"
        return dns.rrset.from_text(self._zone, TTL, "IN", "SOA", text)


def refusal(wire: bytes, rcode: dns.rcode.Rcode) -> bytes | None:
    """A reply to what may be no query at all; None when there is nobody to reply to."""
    try:
        query = dns.message.from_wire(wire, question_only=True)
    except dns.exception.DNSException:
        if len(wire) < 12 or wire[2] & 0x80:
            return None
        return wire[:2] + bytes([0x80 | (wire[2] & 0x79), rcode]) + bytes(8)
    return None if query.flags & dns.flags.QR else make_reply(query, rcode).to_wire()


def make_reply(query: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
    """A reply without an answer, yet."""
    reply = dns.message.make_response(query, recursion_available=True)
    reply.flags |= dns.flags.AA
    reply.set_rcode(rcode)
    return reply


def _rrset(name: dns.name.Name, kind: str, texts: Sequence[str]) -> list[dns.rrset.RRset]:
    return [dns.rrset.from_text_list(name, TTL, "IN", kind, texts)] if texts else []


def _reversed(name: dns.name.Name) -> Address | None:
    """The address of a reverse name that is whole."""
    try:
        return ip_address(dns.reversename.to_address(name))
    except (dns.exception.DNSException, ValueError):
        return None


def _ports(service: Service, slices: Iterable[EndpointSlice]) -> Iterator[tuple[str, str, int]]:
    """With names; a headless Service's are its endpoints'."""
    if HEADLESS not in service.spec.cluster_ips:
        yield from ((port.name, port.protocol, port.port) for port in service.spec.ports if port.name)
        return
    for item in slices:
        yield from (
            (port.name, port.protocol or "TCP", port.port)
            for port in item.ports or ()
            if port.name and port.port is not None
        )
