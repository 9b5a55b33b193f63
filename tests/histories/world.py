"""Histories: a cluster and its controller, step by step, and the laws that must hold meanwhile and at the end.

A history is a list of steps as values, so a failure prints one that can be run again (`run`). Users make, edit, remove
and replace objects. The controller makes passes, and its writes are carried out in part, twice, late or never; it hears
late of some kinds, starts anew, and loses its database. Foreign rows come and go.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from kube_ovn.model import names
from kube_ovn.model.crd import IP, StatefulSet, Subnet
from kube_ovn.model.kube import Namespace, Node, Object, Pod
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.row import Key, Row, RowKey, State
from kube_ovn.model.writes import Annotate, Delete, Write
from kube_ovn.topology.fabric import Fabric
from tests.histories.controller import complaints, grants, rows, show, stands, start, told, writes
from tests.histories.fields import Edit
from tests.histories.laws import addresses_of, assert_same, check_addresses, check_references, is_port, may_be_in
from tests.histories.server import Server, called
from tests.histories.steps import Calm, Foreign, Land, Make, Pass, Remove, Replace, Restart, Step
from tests.histories.things import AGES, FABRICS, FOREIGN, STANDING, TEMPLATES, WEB, identity
from tests.small_clusters import refer

ROUNDS = 60
"""Passes after which a cluster that is left alone must have nothing left to write."""
ENDED = ("Succeeded", "Failed")
IN_THE_WAY = " is in the way: it records a former address, and its finalizers keep it"
MOST_KEPT = 12
"""Writes that may arrive late."""


@dataclass(slots=True)
class Promise:
    """The addresses that a Pod was told."""

    addresses: str
    subnet: str
    broken: bool = False
    """A user has taken away something that the Pod needs for them: nothing is promised any more."""


class World:
    """A cluster, its Northbound database and the controller, in the middle of a history."""

    def __init__(self, of: Fabric, objects: Iterable[Object] = (), northbound: State | None = None) -> None:
        self.fabric, self.server = of, Server()
        self.server.objects = {item.metadata.uid: item for item in objects}
        self.northbound: dict[Key, Row | None] = dict(northbound or {})
        self.foreign: frozenset[RowKey] = frozenset()
        self.lives: dict[str, int] = {}
        self.kept: list[Write] = []
        self.subnets: dict[str, str] = {}  # names by UID
        self.promises: dict[str, Promise] = {}
        self.lost = False  # the database, and no pass was made since
        self.begin()

    def begin(self) -> None:
        self.topology = start(self.fabric, self.northbound)
        self.seen: dict[str, Object] = {}
        self.fresh = True
        self.blind: tuple[type[Any], ...] = ()  # kinds that could not be listed since the controller started

    def take(self, step: Step) -> None:
        match step:
            case Make():
                self.make(step)
            case Remove():
                if item := self.choose(step.kind, step.number):
                    self.remove(item)
            case Replace():
                if item := self.choose(step.kind, step.number):
                    self.replace(item)
            case Edit():
                if item := self.choose(step.kind, step.number):
                    self.edit(item, step)
            case Pass():
                self.make_pass(step)
            case Land():
                if self.kept:
                    self.carry_out(self.kept.pop(step.number % len(self.kept)))
            case Foreign():
                self.toggle(FOREIGN[step.number % len(FOREIGN)])
            case Restart():
                self.restart(step)
            case Calm():
                self.calm()

    # --- Users ---

    def choose(self, kind: type[Any], number: int) -> Object | None:
        there = sorted(self.server.of(kind), key=identity)
        return there[number % len(there)] if there else None

    def make(self, step: Make) -> None:
        item = TEMPLATES[step.name]
        if self.server.find(type(item), item.metadata.name, item.metadata.namespace) is None:
            self.put(item, AGES[step.age % len(AGES)])

    def put(self, item: Object, age: str) -> None:
        """With the UID of the next life of its name; a StatefulSet's Pod with that of its StatefulSet, also when that
        is yet to come.
        """
        life = self.lives[identity(item)] = self.lives.get(identity(item), -1) + 1
        made = called(item, f"{identity(item)} #{life}", age)
        if isinstance(made, Pod) and made.metadata.owner_references:
            parent = self.server.find(StatefulSet, WEB.metadata.name, WEB.metadata.namespace)
            uid = f"{identity(WEB)} #{self.lives.get(identity(WEB), -1) + 1}" if parent is None else parent.metadata.uid
            owners = (refer(WEB, uid),)
            made = msgspec.structs.replace(
                made, metadata=msgspec.structs.replace(made.metadata, owner_references=owners)
            )
        self.server.put(made)
        self.notice_subnets()
        if isinstance(made, Node):
            self.give_up(names.node_port(made.metadata.name))

    def remove(self, item: Object) -> None:
        self.server.remove(item.metadata.uid)
        self.notice_subnets()

    def replace(self, item: Object) -> None:
        """Remove an object and make one of its name; objects that tests make get their first fields again. An IP object
        keeps its own, but a reservation leaves its MAC address open.
        """
        del self.server.objects[item.metadata.uid]
        like = item if isinstance(item, IP) else TEMPLATES.get(identity(item), item)
        if isinstance(like, IP) and not like.spec.owner_uid:
            like = msgspec.structs.replace(like, spec=msgspec.structs.replace(like.spec, mac_address=""))
        self.put(like, item.metadata.creation_timestamp)
        self.notice_subnets()

    def edit(self, item: Object, edit: Edit) -> None:
        uid = item.metadata.uid
        if isinstance(item, Pod) and (edit.path[0] != "metadata" or edit.path[1] == "owner_references"):
            self.break_promises(lambda each, _: each == uid)
        if isinstance(item, Subnet) and edit.path[0] == "status":
            self.break_promises(lambda _, promise: promise.subnet == item.metadata.name)
        self.server.edit(item, edit)
        self.notice_subnets()

    def toggle(self, key: RowKey) -> None:
        self.foreign ^= {key}
        if key in self.foreign:
            self.northbound.pop(key, None)
            self.give_up(key.key)

    # --- The controller ---

    def restart(self, step: Restart) -> None:
        if step.lost:
            self.northbound = {}
            self.lost = True
        self.begin()
        self.blind = step.blind

    def hear(self, deaf: Iterable[type[Any]]) -> list[Object]:
        """The changes that watches tell: the objects that came, changed or went, as they were and as they are."""
        silent = self.blind if self.fresh else (*deaf, *self.blind)
        now = {uid: item for uid, item in self.server.objects.items() if not isinstance(item, silent)}
        before = {uid: item for uid, item in self.seen.items() if not isinstance(item, silent)}
        changed = {uid for uid in before.keys() | now.keys() if before.get(uid) != now.get(uid)}
        self.seen = {uid: item for uid, item in self.seen.items() if uid not in changed or uid in now}
        self.seen |= {uid: now[uid] for uid in changed & now.keys()}
        return [item for some in (before, now) for uid in changed if (item := some.get(uid)) is not None]

    def make_pass(self, step: Pass) -> None:
        if step.resync:
            self.blind = ()
        changed = self.hear(step.deaf)
        if self.lost:
            self.break_promises(lambda uid, promise: not self.is_recorded(uid, promise))
            self.kept = [write for write in self.kept if not isinstance(write, Annotate)]
        before = grants(self.topology)
        absent = [kind for kind in self.blind if not self.server.of(kind)]
        heard = None if step.resync or self.fresh else changed
        show(self.topology, self.seen, heard, self.foreign, self.blind, absent)
        self.check_scopes(before.keys())
        self.fresh = False
        if stands(self.topology):
            self.northbound, self.lost = dict(rows(self.topology)), False
            self.check()
        decided = list(writes(self.topology).values())
        if step.backwards:
            decided.reverse()
        for number, write in enumerate(decided):
            now = step.carried >> number & 1
            if now:
                self.carry_out(write)
            if not now or step.twice:
                self.kept = [*self.kept, write][-MOST_KEPT:]

    def carry_out(self, write: Write) -> None:
        uid = write.object.uid
        before = self.server.objects.get(uid)
        if not self.server.write(write):
            return
        self.notice_subnets()
        item = self.server.objects.get(uid)
        if isinstance(write, Annotate) and isinstance(item, Pod) and write.annotations.get(names.IP_ADDRESS):
            annotations = item.metadata.annotations
            self.server.connect(item)
            promise = Promise(
                addresses=annotations[names.IP_ADDRESS],
                subnet=annotations[names.LOGICAL_SWITCH],
                # A change that the controller has not heard of yet may have taken something away already.
                broken=self.seen.get(uid) != before or self.is_behind(Node, Subnet),
            )
            earlier = self.promises.setdefault(uid, promise)
            assert earlier.broken or earlier.addresses == promise.addresses, f"{uid} was told {earlier.addresses}"

    def is_behind(self, *kinds: type[Any]) -> bool:
        """Whether the controller has not heard of all changes of some kinds."""
        there = {uid: item for uid, item in self.server.objects.items() if isinstance(item, kinds)}
        return there != {uid: item for uid, item in self.seen.items() if isinstance(item, kinds)}

    def settle(self) -> None:
        """Passes until nothing is left to write, but what waits for the finalizers of others."""
        for _ in range(ROUNDS):
            before = dict(self.server.objects)
            self.make_pass(Pass())
            if self.server.objects == before and not self.left():
                return
        raise AssertionError(f"not settled after {ROUNDS} passes: {self.left()[:3]}")

    def left(self) -> list[Write]:
        leaving = {uid for uid, item in self.server.objects.items() if item.metadata.deletion_timestamp}
        return [
            write
            for write in writes(self.topology).values()
            if not (isinstance(write, Delete) and not write.finalizer and write.object.uid in leaving)
        ]

    # --- What must hold ---

    def calm(self) -> None:
        """Nothing happens until nothing is left to write; then nothing depends on the way there."""
        self.blind = ()
        self.settle()
        self.agree()
        self.check_records()
        self.check_silence()
        self.check_nodes()

    def agree(self) -> None:
        """A controller that starts now agrees with everything. Where an IP object is in the way of a new record, the
        address that would be recorded is known to one controller alone: then only what users are told is compared.
        """
        other = start(self.fabric, self.northbound)
        show(other, self.server.objects, None, self.foreign)
        if any(IN_THE_WAY in complaint for complaint in complaints(self.topology).values()):
            assert_same("told", told(self.topology), told(other))
            return
        assert_same("writes", writes(self.topology), writes(other))
        assert_same("rows", rows(self.topology), rows(other))
        assert_same("told", told(self.topology), told(other))
        assert_same("grants", grants(self.topology), grants(other))

    def check(self) -> None:
        """After each pass."""
        state = rows(self.topology)
        check_references(state)
        check_addresses(state)
        for key in self.foreign & state.keys():
            row = state[key]  # the joint of a subnet in effect stays, and stops the commits until the foreign row goes
            assert getattr(row, "type", "") == "router", f"{key} is the name of a foreign row"
        self.check_promises(state)

    def check_scopes(self, before: AbstractSet[str]) -> None:
        """A Pod that is granted addresses now gets them where its Namespace may be."""
        if self.fabric.trusts_tenants:
            return
        unseen = [item for kind in self.blind for item in self.server.of(kind)]
        seen = [*self.seen.values(), *unseen]
        recorded = {item.spec.owner_uid for item in seen if isinstance(item, IP)}
        ports = {row.external_ids.get(names.OWNER_UID) for row in self.northbound.values() if is_port(row)}
        for key, grant in grants(self.topology).items():
            item = self.seen.get(key)
            new = key not in before and key not in recorded and key not in ports
            if new and isinstance(item, Pod) and names.ALLOCATED not in item.metadata.annotations:
                assert may_be_in(item.metadata.namespace, grant, seen, self.fabric.default), f"{key} got {grant}"

    def check_promises(self, state: State) -> None:
        """A Pod that was told its addresses keeps its port, as long as no user removes an object that it needs."""
        for uid, promise in list(self.promises.items()):
            item = self.server.objects.get(uid)
            if not isinstance(item, Pod):
                del self.promises[uid]
                continue
            if promise.broken or uid not in self.seen:
                continue
            port = names.pod_port(item.metadata.name, item.metadata.namespace)
            row = state.get(RowKey(LogicalSwitchPort.TABLE, port))
            assert isinstance(row, LogicalSwitchPort), f"{uid} lost its port"
            assert row.external_ids.get(names.OWNER_UID) == uid, f"{uid} lost its port to {row.external_ids}"
            assert addresses_of(row) == promise.addresses.split(",")

    def check_records(self) -> None:
        """When all is calm: no two IP objects hold one address."""
        taken: dict[tuple[str, str], str] = {}
        for item in self.server.of(IP):
            assert isinstance(item, IP)
            if item.metadata.uid in complaints(self.topology):
                continue  # it reserves nothing, and its user knows
            for text in item.spec.ip_address.split(","):
                before = taken.setdefault((item.spec.subnet, text), item.metadata.name)
                assert before == item.metadata.name, f"{before} and {item.metadata.name} both hold {text}"

    def check_silence(self) -> None:
        """When all is calm: a Pod has its port, or its user is told why not, or its Namespace is missing."""
        for item in self.server.of(Pod) if stands(self.topology) else ():
            assert isinstance(item, Pod)
            meta = item.metadata
            wanted = item.spec.node_name and not item.spec.host_network and item.status.phase not in ENDED
            port = RowKey(LogicalSwitchPort.TABLE, names.pod_port(meta.name, meta.namespace))
            if not wanted or port in rows(self.topology) or meta.uid in complaints(self.topology):
                continue
            there = self.server.find(Namespace, meta.namespace)
            assert not there, f"{meta.uid} has no port, and its user is told nothing"

    def check_nodes(self) -> None:
        """When all is calm: a Node has a port and an IP object of its own, or its user is told why not. So it is also
        when a reservation has the name of that IP object.
        """
        recorded = {item.spec.owner_uid for item in self.server.of(IP) if isinstance(item, IP)}
        for item in self.server.of(Node) if stands(self.topology) else ():
            port, uid = RowKey(LogicalSwitchPort.TABLE, names.node_port(item.metadata.name)), item.metadata.uid
            assert uid in complaints(self.topology) or (port in rows(self.topology) and uid in recorded), uid

    # --- What users take away ---

    def break_promises(self, which: Callable[[str, Promise], bool]) -> None:
        for uid, promise in self.promises.items():
            promise.broken |= which(uid, promise)

    def give_up(self, port: str) -> None:
        """Another object has the name of a port now."""

        def has_it(uid: str, _: Promise) -> bool:
            item = self.server.objects.get(uid)
            return item is not None and names.pod_port(item.metadata.name, item.metadata.namespace) == port

        self.break_promises(has_it)

    def notice_subnets(self) -> None:
        """Addresses in a Subnet that is gone are lost, also when a new Subnet has its name."""
        there = {item.metadata.uid: item.metadata.name for item in self.server.of(Subnet)}
        gone = {name for uid, name in self.subnets.items() if uid not in there}
        self.subnets = there
        self.break_promises(lambda _, promise: promise.subnet in gone)

    def is_recorded(self, uid: str, promise: Promise) -> bool:
        """Whether a Pod's IP object has the addresses that the Pod was told: then it needs no other witness."""
        item = self.server.objects.get(uid)
        if not isinstance(item, Pod):
            return False
        meta = item.metadata
        record = self.server.find(IP, names.pod_port(meta.name, meta.namespace))
        parent = item.stateful_set
        owner = ("", uid) if parent is None else (names.STATEFULSET, parent.uid)
        return (
            record is not None
            and (record.spec.pod_type, record.spec.owner_uid) == owner
            and (record.spec.namespace, record.spec.pod_name) == (meta.namespace, meta.name)
            and record.spec.ip_address == promise.addresses
        )


@dataclass(slots=True)
class Beginning:
    """A cluster that stands already: made once, since objects do not change."""

    objects: tuple[Object, ...] = ()
    northbound: State = field(default_factory=dict)
    lives: Mapping[str, int] = field(default_factory=dict)
    promises: Mapping[str, Promise] = field(default_factory=dict)


def standing(of: Fabric, things: Iterable[str]) -> Beginning:
    world = World(of)
    for name in things:
        world.take(Make(name))
    world.settle()
    return Beginning(tuple(world.server.objects.values()), world.northbound, world.lives, world.promises)


@functools.cache
def beginning(network: str, cluster: str) -> Beginning:
    return standing(FABRICS[network], STANDING[cluster])


def run(network: str, cluster: str, history: Iterable[Step]) -> World:
    """A history, from its beginning to the calm after it."""
    world = begin(network, cluster)
    for step in [*history, Calm()]:
        world.take(step)
    return world


def begin(network: str, cluster: str) -> World:
    made = beginning(network, cluster)
    world = World(FABRICS[network], made.objects, made.northbound)
    world.server.count_from(1000)
    world.lives = dict(made.lives)
    world.notice_subnets()
    world.promises = {uid: replace(promise) for uid, promise in made.promises.items()}
    return world
