"""A controller that dies at any of its awaits, again and again: no address is lost, doubled or changed.

The awaits of a pass are its commit and each of its annotations; a crash comes before one, or after the world took it
and before the controller learned so. The next leader starts from what Kubernetes and the Northbound database say.
"""

import random
from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kube_ovn.model import names
from kube_ovn.model.kube import Node, Pod
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.row import Key, Row
from kube_ovn.topology.memory import confirmed
from kube_ovn.topology.render import Snapshot, Topology
from tests.clusters import address, node, pod, snapshot, step, vpc

NODES = [node("node1", 1), node("node2", 2)]
SMALL = vpc("10.16.0.0/29")  # five addresses: they come round soon


class Cluster(RuleBasedStateMachine):
    """Kubernetes and the Northbound database outlive every controller; `seen` is what the watch has told this one."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, Pod | Node] = {item.metadata.uid: item for item in NODES}
        self.northbound: dict[Key, Row | None] = {}
        self.addresses: dict[str, str] = {}  # by UID, as published
        self.made = 0
        self.flying: list[tuple[str, dict[str, str]]] = []  # annotations sent by controllers that died meanwhile
        self.start()
        self.make_pass(100)  # the nodes are there already, so that what may die concerns Pods

    def start(self) -> None:
        self.controller = Topology(SMALL, confirmed(self.northbound))
        self.seen = dict(self.objects)
        self.rendered: Snapshot | None = None

    @rule(
        name=st.sampled_from("abc"), on=st.sampled_from(["node1", "node2"]), wish=st.sampled_from(["", "", "10.16.0.4"])
    )
    def create(self, name: str, on: str, wish: str) -> None:
        if any(item.metadata.name == name for item in self.objects.values()):
            return
        self.made += 1
        made = pod(name, on, uid=f"uid-{self.made}", annotations={names.IP_ADDRESS: wish} if wish else {})
        self.objects[made.metadata.uid] = made

    @rule(chance=st.randoms(use_true_random=False))
    def delete(self, chance: Any) -> None:
        if pods := sorted(uid for uid, item in self.objects.items() if isinstance(item, Pod)):
            uid = chance.choice(pods)
            del self.objects[uid]
            self.addresses.pop(uid, None)

    @rule(chance=st.randoms(use_true_random=False), wish=st.sampled_from(["10.16.0.3", "10.16.0.5", "nonsense"]))
    def edit(self, chance: Any, wish: str) -> None:
        """A user writes another address on a Pod."""
        if pods := sorted(uid for uid, item in self.objects.items() if isinstance(item, Pod)):
            self.patch(chance.choice(pods), {names.IP_ADDRESS: wish})

    @rule(chance=st.randoms(use_true_random=False), much=st.sampled_from([1.0, 0.5]))
    def hear(self, chance: Any, much: float) -> None:
        """The watch tells some of what happened, or all."""
        for uid in sorted(self.objects.keys() | self.seen.keys()):
            if chance.random() <= much:
                self.tell(uid)

    def tell(self, uid: str) -> None:
        if uid in self.objects:
            told = self.objects[uid]
            for old in [old for old, item in self.seen.items() if item.metadata.name == told.metadata.name]:
                del self.seen[old]  # a Store never shows two objects of one name
            self.seen[uid] = told
        else:
            self.seen.pop(uid, None)

    @rule(survives=st.integers(min_value=0, max_value=3))
    def make_pass(self, survives: int) -> None:
        """A pass that dies at its await number `survives`, unless it has fewer; what was done by then stays done."""
        view = snapshot(*self.seen.values())
        self.controller.render(view if self.rendered is None else step(self.rendered, view))
        self.rendered = view
        if survives == 0:
            self.start()
            return
        self.northbound = dict(self.controller.assembly.state)
        for number, uid in enumerate(sorted(self.controller.publications), start=1):
            if number == survives:
                self.flying.append((uid, dict(self.controller.publications[uid].annotations)))
                self.start()
                return
            self.publish(uid, self.controller.publications[uid].annotations)

    @rule()
    def land(self) -> None:
        """What a dead controller had sent arrives late."""
        if self.flying:
            self.publish(*self.flying.pop(0))

    def publish(self, uid: str, annotations: Mapping[str, str]) -> None:
        self.patch(uid, annotations)
        if uid in self.objects and names.IP_ADDRESS in annotations:
            new = annotations[names.IP_ADDRESS]
            assert self.addresses.setdefault(uid, new) == new, "what was published never changes"

    def patch(self, uid: str, annotations: Mapping[str, str]) -> None:
        item = self.objects.get(uid)
        if item is not None:  # else the API server refuses: its precondition is the UID
            metadata = msgspec.structs.replace(item.metadata, annotations={**item.metadata.annotations, **annotations})
            self.objects[uid] = msgspec.structs.replace(item, metadata=metadata)

    @invariant()
    def no_two_ports_share_an_address(self) -> None:
        ports = [row for row in self.northbound.values() if isinstance(row, LogicalSwitchPort) and not row.type]
        taken = [entry.partition(" ")[2] for port in ports for entry in port.addresses]
        assert len(taken) == len(set(taken))

    @invariant()
    def what_is_published_has_its_port(self) -> None:
        owners = {
            row.external_ids.get(names.OWNER_UID): " ".join(row.addresses).partition(" ")[2]
            for row in self.northbound.values()
            if isinstance(row, LogicalSwitchPort)
        }
        for uid, published in self.addresses.items():
            assert owners[uid] == published

    def teardown(self) -> None:
        """Left in peace the world settles, and a controller that starts then agrees with everything."""
        while self.flying:
            self.land()
        for _ in range(2):
            for uid in self.objects.keys() | self.seen.keys():
                self.tell(uid)
            self.make_pass(100)
        fresh = Topology(SMALL, confirmed(self.northbound))
        fresh.render(snapshot(*self.objects.values()))
        assert fresh.assembly.state == self.northbound
        assert not fresh.publications
        for uid, published in self.addresses.items():
            assert address(self.objects[uid]) == published


TestCrashes = Cluster.TestCase
TestCrashes.settings = settings(max_examples=400, stateful_step_count=30, deadline=None)


def test_annotations_of_a_dead_leader_land_when_the_next_has_already_decided() -> None:
    world = Cluster()
    world.hear(random.Random(0), 1.0)
    world.create("c", "node1", "")
    world.hear(random.Random(0), 1.0)
    world.make_pass(1)  # committed; what was sent of it is still under way
    world.create("a", "node1", "")  # comes first where there is no memory
    world.hear(random.Random(0), 1.0)
    world.make_pass(100)
    world.land()
    world.no_two_ports_share_an_address()
    world.what_is_published_has_its_port()
    world.teardown()
