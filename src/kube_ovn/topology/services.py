"""Services, their endpoints and names, kept up to date pass by pass; rows are made in `service` and `dns`."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import EndpointSlice, Node, ObjectMeta, Service
from kube_ovn.model.network import Kind, ObjectRef, Problem
from kube_ovn.service.dns import Names, service_names
from kube_ovn.service.endpoints import (
    Place,
    balanced_addresses,
    cluster_addresses,
    external_addresses,
    pods,
    read_address,
    source_ranges,
)
from kube_ovn.topology.assembly import Assembly
from kube_ovn.topology.checks import Checks
from kube_ovn.topology.claims import Claims, Name
from kube_ovn.topology.dns import render_dns, shard
from kube_ovn.topology.network import Fabric
from kube_ovn.topology.outbox import Outbox
from kube_ovn.topology.service import (
    Front,
    Probes,
    Rendered,
    Surroundings,
    affinity_timeout,
    dns_service,
    render_service,
    render_services,
    render_variables,
    wants_checks,
)

_NODES_DNS = Name(names.FABRIC, names.DNS_SERVICE)


class Services:
    """Which Service has which slices, and the rows of each."""

    def __init__(
        self,
        assembly: Assembly,
        outbox: Outbox,
        fabric: Fabric,
        inside: Callable[[Address], str],
        own: Callable[[Node], tuple[Address, ...]],
        checks: Checks,
    ) -> None:
        """`inside`: whose of the fabric an address is, in words; empty for those outside. `own`: the addresses of a
        node in the fabric.
        """
        self._checks = checks
        self._assembly, self._outbox, self._domain, self._inside = assembly, outbox, fabric.domain, inside
        self._join, self._reserved = fabric.join, fabric.services
        self._dns = frozenset(fabric.dns if fabric.domain else ())
        self._services: dict[Name, Service] = {}
        self._slices: dict[Name, dict[str, EndpointSlice]] = {}  # by Service and UID
        self._about: dict[str, Name] = {}  # the Service that an object is about, by its UID
        self._claims = Claims()
        self._outside: set[Name] = set()  # Services with addresses outside the cluster's own
        self._nodes = Nodes(assembly, own)
        self._names = Directory(assembly)
        assembly.put("services", render_services())
        if self._dns:
            own_fronts = _fronts(dns_service(self._dns), self._dns)
            self._claims.update(_NODES_DNS, "", (), map(str, own_fronts))

    def render(
        self,
        services: Mapping[str, Service],
        slices: Mapping[str, EndpointSlice],
        nodes: Mapping[str, Node],
        changed: Collection[str] | None,
        switches: Collection[str],
        touched: Collection[str],
        about: Collection[str],
        *,
        moved: bool,
    ) -> None:
        """Bring the rows of Services up to date that may have changed. `switches` are those of Pods; `touched` subnets
        whose grants changed; `about`: names of IP objects that changed; `moved`: whether addresses may be inside the
        fabric that were not, or the other way round.
        """
        stale: set[Name] = set()
        for uid in {*self._about, *services, *slices} if changed is None else changed:
            stale |= self._look_at(uid, services.get(uid), slices.get(uid))
        for name in list(stale):
            stale |= self._claim(name)
        if self._nodes.look_at(nodes, None if self._join in touched else changed):
            stale |= self._nodes.dependent
        if moved:
            stale |= self._outside
        stale |= self._checks.stale(about, touched, moved=moved)
        around = Surroundings(places=self._nodes.places, dns=self._dns)
        for name in sorted(stale - {_NODES_DNS}):
            self._render(name, around)
        if changed is None or _NODES_DNS in stale:
            self._render_dns(around)
        self._checks.settle()
        self._nodes.put()
        self._names.put(switches)

    def _look_at(self, uid: str, service: Service | None, item: EndpointSlice | None) -> set[Name]:
        """The Services that an object was and is about."""
        before, now = self._about.pop(uid, None), None
        if before is not None:
            self._forget(uid, before)
        if service is not None:
            now = _name(service.metadata, service.metadata.name)
            self._services[now] = service
        elif item is not None and (owner := item.metadata.labels.get(names.SERVICE_OF_SLICE)):
            now = _name(item.metadata, owner)
            self._slices.setdefault(now, {})[uid] = item
        if now is not None:
            self._about[uid] = now
        return {name for name in (before, now) if name is not None}

    def _forget(self, uid: str, name: Name) -> None:
        service = self._services.get(name)
        if service is not None and service.metadata.uid == uid:
            del self._services[name]
        elif name in self._slices:
            self._slices[name].pop(uid, None)
            if not self._slices[name]:
                del self._slices[name]

    def _claim(self, name: Name) -> set[Name]:
        """Others who have, or have not, an address now that this one gave up or took."""
        service = self._services.get(name)
        own = [] if service is None else _fronts(service, cluster_addresses(service))
        others = [] if service is None else _fronts(service, external_addresses(service))
        (self._outside.add if others else self._outside.discard)(name)
        age = "" if service is None else service.metadata.creation_timestamp
        return self._claims.update(name, age, map(str, own), map(str, others))

    def _render_dns(self, around: Surroundings) -> None:
        """Where Pods look for a DNS server and there is no Service, the nodes answer."""
        free = [
            address
            for address in sorted(self._dns, key=lambda address: address.version)
            if all(
                self._claims.holder(str(front)) == _NODES_DNS for front in _fronts(dns_service([address]), [address])
            )
        ]
        rendered = render_service(dns_service(free), [], around)
        self._assembly.put("service of the nodes' DNS", rendered.facts)
        self._nodes.set(_NODES_DNS, rendered)

    def _render(self, name: Name, around: Surroundings) -> None:
        unit, service = f"service {name.namespace}/{name.name}", self._services.get(name)
        slices = list(self._slices.get(name, {}).values())
        if service is None:
            self._assembly.drop(unit)
            self._nodes.set(name, Rendered())
            self._names.set(name, None)
            self._checks.ask(name, {})
            return
        outside, complaints = self._judge(name, service)
        wanted, complaint = wants_checks(service)

        def find_probes(addresses: Collection[Address]) -> Probes:
            return self._checks.ask(name, _ports(name, slices, addresses))

        if not wanted:
            self._checks.ask(name, {})
        rendered = render_service(service, slices, around, outside, find_probes if wanted else None)
        complaints += [complaint] if complaint else _unchecked(rendered) if wanted else []
        self._assembly.put(unit, rendered.facts)
        self._nodes.set(name, rendered)
        self._names.set(name, service_names(service, slices, self._domain, self._reserved) if self._domain else None)
        self._outbox.tell(service.metadata.uid, _problem(service, complaints))

    def _judge(self, name: Name, service: Service) -> tuple[list[Front], list[str]]:
        """What a Service is reached at besides its own addresses, from inside the fabric; and what it cannot have."""
        fronts, complaints = [], []
        restricted = balanced_addresses(service) if service.spec.load_balancer_source_ranges else []
        for front in _fronts(service, external_addresses(service)):
            holder, whose = self._claims.holder(str(front)), self._inside(front.address)
            if whose:
                complaints.append(f"{front.address} is {whose}, and stays so; use an address outside the fabric")
            elif holder != name:
                complaints.append(f"{front} is that of Service {holder}; use another address or port")
            elif front.address not in restricted:
                fronts.append(front)  # whose clients are restricted, a node looks at them
        complaints += [
            f"externalIPs: {text!r} is no address" for text in service.spec.external_ips if read_address(text) is None
        ]
        complaints += [f"loadBalancerSourceRanges: {text!r} is no CIDR" for text in source_ranges(service)[1]]
        complaints.append(affinity_timeout(service)[1])
        return fronts, list(dict.fromkeys(filter(None, complaints)))


class Nodes:
    """Where nodes are, and what the variables of Services mean on them."""

    def __init__(self, assembly: Assembly, own: Callable[[Node], tuple[Address, ...]]) -> None:
        """`own`: the addresses of a node in the fabric."""
        self._assembly, self._own = assembly, own
        self._nodes: dict[str, tuple[Place, str]] = {}  # with its chassis
        self.places: Sequence[Place] = ()
        self._variables: dict[str, dict[str, str]] = {}  # by node
        self._of: dict[Name, dict[str, dict[str, str]]] = {}  # by Service and node
        self.dependent: set[Name] = set()
        """Services whose endpoints depend on where the client is."""
        self._units: dict[str, str] = {}  # chassis -> the node whose variables it has
        self._touched: set[str] = set()

    def look_at(self, nodes: Mapping[str, Node], changed: Collection[str] | None) -> bool:
        """Whether anything about them is new."""
        if changed is not None and len(nodes) == len(self._nodes) and not any(uid in nodes for uid in changed):
            return False
        now = {node.metadata.name: self._parse(node) for node in nodes.values()}
        if now == self._nodes:
            return False
        self._touched |= {*now, *self._nodes}
        self._nodes = dict(sorted(now.items()))
        self.places = [place for place, _ in self._nodes.values()]
        return True

    def _parse(self, node: Node) -> tuple[Place, str]:
        meta = node.metadata
        place = Place(node=meta.name, zone=meta.labels.get(names.ZONE, ""), addresses=self._own(node))
        return place, meta.annotations.get(names.CHASSIS, "")

    def set(self, service: Name, rendered: Rendered) -> None:
        """What a Service's variables mean."""
        variables = rendered.variables
        (self.dependent.add if rendered.by_place else self.dependent.discard)(service)
        before = self._of.pop(service, {})
        if variables:
            self._of[service] = variables
        for node in {*before, *variables}:
            if before.get(node) != variables.get(node):
                mine = self._variables.setdefault(node, {})
                for key in before.get(node, ()):
                    del mine[key]
                mine.update(variables.get(node, {}))
                if not mine:
                    del self._variables[node]
                self._touched.add(node)

    def put(self) -> None:
        touched, self._touched = self._touched, set()
        if not touched:
            return
        wanted: dict[str, str] = {}  # chassis -> node; the first where two say they have the same
        for name, (_, chassis) in self._nodes.items():
            if chassis and self._variables.get(name):
                wanted.setdefault(chassis, name)
        for chassis in self._units.keys() - wanted.keys():
            self._assembly.drop(f"variables {chassis}")
        for chassis, name in wanted.items():
            if name in touched or self._units.get(chassis) != name:
                self._assembly.put(f"variables {chassis}", render_variables(chassis, self._variables[name]))
        self._units = wanted


class Directory:
    """The names of Services, by the row they are in."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._rows: dict[str, dict[Name, Names]] = {}
        self._switches: frozenset[str] = frozenset()
        self._touched: set[str] = set()

    def set(self, service: Name, known: Names | None) -> None:
        row = shard(*service)
        mine = self._rows.setdefault(row, {})
        if mine.get(service) == known:
            return
        if known is None:
            del mine[service]
        else:
            mine[service] = known
        self._touched.add(row)

    def put(self, switches: Collection[str]) -> None:
        touched, self._touched = self._touched, set()
        if self._switches != switches:
            self._switches = frozenset(switches)
            touched = set(self._rows)
        for row in touched:
            services = [known for _, known in sorted(self._rows[row].items())]
            self._assembly.put(f"dns {row}", render_dns(row, services, self._switches))


def _fronts(service: Service, addresses: Iterable[Address]) -> list[Front]:
    return [Front(address=address, port=port) for address in addresses for port in service.spec.ports]


def _name(metadata: ObjectMeta, name: str) -> Name:
    return Name(metadata.namespace, name)


def _ports(name: Name, slices: Iterable[EndpointSlice], addresses: Collection[Address]) -> dict[Address, list[str]]:
    """Ports of the Pods that some addresses may be of, as the slices say."""
    found: dict[Address, list[str]] = {address: [] for address in addresses}
    for address, pod in pods(slices, name.namespace):
        if address in found:
            found[address].append(names.pod_port(pod, name.namespace))
    return found


def _unchecked(rendered: Rendered) -> list[str]:
    """Why endpoints of a Service are not checked whose user asks for that; nothing while it is about to be so."""
    if not rendered.unchecked or rendered.probes.waiting:
        return []
    why = rendered.probes.refusals or [
        "all of them must be Pods of its Namespace and of the fabric, be asked by TCP or UDP, and not depend on where "
        "the client is"
    ]
    where = ", ".join(map(str, rendered.unchecked))
    return [f"{names.HEALTH_CHECK}: endpoints at {where} are not checked: {'; '.join(why)}"]


def _problem(service: Service, complaints: Collection[str]) -> Problem | None:
    if not complaints:
        return None
    meta = service.metadata
    ref = ObjectRef(kind=Kind.SERVICE, namespace=meta.namespace, name=meta.name, uid=meta.uid)
    message = f"Service {meta.namespace}/{meta.name}: {'; '.join(complaints)}"
    return Problem(object=ref, reason=names.SERVICE_REFUSED, message=message)
