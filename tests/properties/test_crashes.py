"""A controller that dies at any of its awaits, again and again: no address is lost, doubled or changed.

The awaits of a pass are its commit and each of its writes; a crash comes before one, or after the world took it and
before the controller learned so. Writes of the dead arrive late, or never. The next leader starts from what Kubernetes
and the Northbound database say.
"""

import os
import random
from collections.abc import Mapping

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from kube_ovn.model import names
from kube_ovn.model.crd import IP, StatefulSet, Subnet
from kube_ovn.model.kube import Object, Pod
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.row import Key, Row
from kube_ovn.model.writes import Annotate, Write
from kube_ovn.topology.addresses.memory import confirmed, owner_of, owner_of_ip
from kube_ovn.topology.addresses.own import is_reservation
from kube_ovn.topology.graph import Topology
from tests.small_clusters import (
    Api,
    Snapshot,
    fabric,
    namespace,
    node,
    pod,
    reservation,
    show,
    snapshot,
    stateful_set,
    step,
    subnet,
)

STEPS = int(os.environ.get("KUBE_OVN_SOAK_STEPS", "100000"))
"""Steps in all; `make soak` takes a million."""
A_RUN = 50

NODES = [node("node1", 1), node("node2", 2)]
SMALL = fabric("10.16.0.0/29,fd00::/125")  # five addresses: they come round soon
TINY = subnet("tiny", "10.17.0.0/29", namespaces=("team",))
WEB = stateful_set("web", 2)


class Cluster(RuleBasedStateMachine):
    """Kubernetes and the Northbound database outlive every controller; `seen` is what the watch has told this one."""

    taken = 0
    """Steps in all lives of this machine."""

    def __init__(self) -> None:
        super().__init__()
        self.api = Api(*NODES, namespace("default"), namespace("team"), TINY, WEB)
        self.northbound: dict[Key, Row | None] = {}
        self.addresses: dict[str, str] = {}  # by UID, as published
        self.made = 0
        self.flying: list[Write] = []  # sent by controllers that died meanwhile
        self.start()

    @initialize()
    def settle(self) -> None:
        """The nodes and subnets are there already, so that what dies concerns Pods."""
        for _ in range(12):
            self.hear_all()
            self.make_pass(1000)

    def start(self) -> None:
        self.controller = Topology(SMALL, confirmed(self.northbound))
        self.hear_all()  # a new leader lists everything anew
        self.rendered: Snapshot | None = None

    def hear_all(self) -> None:
        self.seen: dict[str, Object] = dict(self.api.objects)

    @property
    def pods(self) -> list[str]:
        return sorted(uid for uid, item in self.api.objects.items() if isinstance(item, Pod))

    @rule(
        name=st.sampled_from(["a", "b", "c", "web-0", "web-1", "web-2"]),
        on=st.sampled_from(["node1", "node2"]),
        space=st.sampled_from(["default", "team"]),
        wish=st.sampled_from(["", "", "10.16.0.4", "10.17.0.4"]),
    )
    def create(self, name: str, on: str, space: str, wish: str) -> None:
        if self.api.find(Pod, name, space) is not None:
            return
        self.made += 1
        parent = WEB if name.startswith("web") and space == "default" else None
        annotations = {names.IP_ADDRESS: wish} if wish else {}
        self.api.put(pod(name, on, uid=f"uid-{self.made}", namespace=space, annotations=annotations, parent=parent))

    @rule(chance=st.randoms(use_true_random=False))
    def delete(self, chance: random.Random) -> None:
        if pods := self.pods:
            uid = chance.choice(pods)
            self.api.remove(uid)
            self.addresses.pop(uid, None)

    @rule(chance=st.randoms(use_true_random=False), wish=st.sampled_from(["10.16.0.3", "10.16.0.5", "nonsense"]))
    def edit(self, chance: random.Random, wish: str) -> None:
        """A user writes another address on a Pod."""
        if pods := self.pods:
            self.annotate(chance.choice(pods), {names.IP_ADDRESS: wish})

    @rule(replicas=st.integers(0, 3))
    def scale(self, replicas: int) -> None:
        """The StatefulSet wants more or fewer Pods, or is gone and there again."""
        if replicas == 3:
            self.api.objects.pop(WEB.metadata.uid, None)
        else:
            spec = msgspec.structs.replace(WEB.spec, replicas=replicas)
            self.api.put(msgspec.structs.replace(WEB, spec=spec))

    @rule(address=st.sampled_from(["10.16.0.5", "10.17.0.5"]), name=st.sampled_from(["kept", "a.default", "b.team"]))
    def reserve(self, address: str, name: str) -> None:
        if self.api.find(IP, name) is None:
            self.made += 1
            made = reservation(name, "tiny" if address.startswith("10.17") else "ovn-default", address)
            self.api.put(
                msgspec.structs.replace(made, metadata=msgspec.structs.replace(made.metadata, uid=f"ip-{self.made}"))
            )

    @rule(chance=st.randoms(use_true_random=False))
    def delete_record(self, chance: random.Random) -> None:
        """A user deletes an IP object, whoever uses it."""
        if ips := sorted(uid for uid, item in self.api.objects.items() if isinstance(item, IP)):
            self.api.remove(chance.choice(ips))

    @rule(cidr=st.sampled_from(["10.17.0.0/29", "10.17.0.0/28", "10.17.0.0/30", "10.16.0.0/28"]))
    def resize(self, cidr: str) -> None:
        item = self.api.get(Subnet, "tiny")
        meta = msgspec.structs.replace(item.metadata, generation=item.metadata.generation + 1)
        spec = msgspec.structs.replace(item.spec, cidr_block=cidr)
        self.api.put(msgspec.structs.replace(item, metadata=meta, spec=spec))

    @rule(chance=st.randoms(use_true_random=False), much=st.sampled_from([1.0, 0.5]))
    def hear(self, chance: random.Random, much: float) -> None:
        """The watch tells some of what happened, or all."""
        for uid in sorted(self.api.objects.keys() | self.seen.keys()):
            if chance.random() <= much:
                self.tell(uid)

    def tell(self, uid: str) -> None:
        if uid in self.api.objects:
            told = self.api.objects[uid]
            for old in [old for old, item in self.seen.items() if old != uid and same_name(item, told)]:
                del self.seen[old]  # a Store never shows two objects of one name
            self.seen[uid] = told
        else:
            self.seen.pop(uid, None)

    @rule(survives=st.integers(min_value=0, max_value=5))
    def make_pass(self, survives: int) -> None:
        """A pass that dies at its await number `survives`, unless it has fewer; what was done by then stays done."""
        view = snapshot(*self.seen.values())
        show(self.controller, view if self.rendered is None else step(self.rendered, view))
        self.rendered = view
        if survives == 0:
            self.start()
            return
        self.northbound = dict(self.controller.state)
        writes = self.controller.writes
        for number, key in enumerate(sorted(writes), start=1):
            if number == survives:
                self.flying.append(writes[key])
                self.start()
                return
            self.carry_out(writes[key])

    @rule()
    def land(self) -> None:
        """What a dead controller had sent arrives late."""
        if self.flying:
            self.carry_out(self.flying.pop(0))

    def carry_out(self, write: Write) -> None:
        done = self.api.write(write)
        if done and isinstance(write, Annotate) and names.IP_ADDRESS in write.annotations:
            new = write.annotations[names.IP_ADDRESS]
            assert new is not None
            before = self.addresses.setdefault(write.object.uid, new)
            assert before == new, "what was published never changes"

    def annotate(self, uid: str, annotations: Mapping[str, str]) -> None:
        item = self.api.objects[uid]
        assert isinstance(item, Pod)
        metadata = msgspec.structs.replace(item.metadata, annotations={**item.metadata.annotations, **annotations})
        self.api.objects[uid] = msgspec.structs.replace(item, metadata=metadata)

    @invariant()
    def count_a_step(self) -> None:
        type(self).taken += 1

    @invariant()
    def no_two_ports_share_an_address(self) -> None:
        ports = [row for row in self.northbound.values() if isinstance(row, LogicalSwitchPort) and not row.type]
        taken = [address for port in ports for entry in port.addresses for address in entry.split()[1:]]
        assert len(taken) == len(set(taken))

    @invariant()
    def what_is_published_has_its_port(self) -> None:
        owners = {
            row.external_ids.get(names.OWNER_UID): ",".join(" ".join(row.addresses).split()[1:])
            for row in self.northbound.values()
            if isinstance(row, LogicalSwitchPort)
        }
        for uid, published in self.addresses.items():
            assert owners[uid] == published

    def teardown(self) -> None:
        """Left in peace the world settles: a controller that starts then agrees with everything, and what is recorded
        is what living owners have, no more and no less.
        """
        while self.flying:
            self.land()
        for _ in range(15):
            self.hear_all()
            self.make_pass(1000)
        fresh = Topology(SMALL, confirmed(self.northbound))
        show(fresh, self.api.snapshot())
        assert fresh.state == self.northbound
        assert not fresh.writes
        assert not self.controller.writes
        for uid, published in self.addresses.items():
            assert self.api.objects[uid].metadata.annotations[names.IP_ADDRESS] == published
        self.records_are_exactly_what_is_owned()

    def records_are_exactly_what_is_owned(self) -> None:
        objects = list(self.api.objects.values())
        ips = [item for item in objects if isinstance(item, IP) and not is_reservation(item)]
        taken = [(ip.spec.subnet, address) for ip in ips for address in ip.spec.ip_address.split(",")]
        assert len(taken) == len(set(taken))
        living = {owner_of(item).key for item in objects if isinstance(item, Pod)}
        parent = next((item for item in objects if isinstance(item, StatefulSet)), None)
        sticky = {f"{WEB.metadata.uid}/default/web-{n}" for n in range(parent.spec.replicas if parent else 0)}
        nodes = {item.metadata.uid for item in NODES}
        assert {owner_of_ip(ip).key for ip in ips} <= living | sticky | nodes
        ports = {
            row.external_ids.get(names.OWNER_UID)
            for row in self.northbound.values()
            if isinstance(row, LogicalSwitchPort)
        }
        assert self.addresses.keys() <= ports


def same_name(one: Object, other: Object) -> bool:
    return type(one) is type(other) and (one.metadata.namespace, one.metadata.name) == (
        other.metadata.namespace,
        other.metadata.name,
    )


def test_no_step_on_the_way_loses_or_doubles_an_address() -> None:
    """How long a run is Hypothesis decides, so there may have to be some more of them."""
    before = Cluster.taken
    while (left := STEPS - (Cluster.taken - before)) > 0:
        limits = settings(max_examples=left // A_RUN + 10, stateful_step_count=A_RUN)
        run_state_machine_as_test(Cluster, settings=limits)
