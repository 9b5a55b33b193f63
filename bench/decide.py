"""What decisions cost, without a database or an API server: a cold start, and single changes in a large cluster.

10,000 Pods, 1,000 nodes, 102 Subnets, 5,000 Services of up to 10 endpoints, 500 of them with a traffic policy that
depends on the node. The anchor of a change is the cold start: the cost of working everything out anew.
"""

import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec

from bench.figure import Anchor, Ask, Figure, median
from kube_ovn.k8s.store import Store
from kube_ovn.model import names
from kube_ovn.model.crd import Subnet
from kube_ovn.model.kube import EndpointSlice, Namespace, Node, NodeAddress, NodeCondition, NodeStatus, Object, Pod
from kube_ovn.model.resource import Resource
from kube_ovn.model.writes import Create
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.inputs import FOLLOWED
from sandbox.progress import say
from tests.small_clusters import KINDS, Api, fabric, gateway, namespace, pod, service, show, slice_of, step, subnet

PODS, NODES, SUBNETS, SERVICES, LOCAL, ENDPOINTS = 10_000, 1_000, 100, 5_000, 500, 10
ROUNDS = 9
NODE_CHANGE = 50.0
"""Milliseconds that the zone of a node may cost."""


def measure_decisions() -> list[Figure]:
    world = Decisions(_objects())
    cold = world.start()
    anchor = Anchor(name="cold start, ms", value=cold * 1000)
    figures = [
        Figure(
            name=f"cold start with {PODS} Pods, {NODES} nodes, {SERVICES} Services: CPU of all decisions",
            value=cold,
            unit="s",
            n=1,
            anchor=Anchor(name="the same objects decoded, s", value=world.decoding()),
        ),
        Figure(
            name="memory that the graph and its rows take beside the objects",
            value=world.memory(),
            unit="MB",
            n=1,
            anchor=Anchor(name="objects", value=len(world.objects)),
        ),
    ]
    for name, change, ask in world.changes():
        spent = [world.spend(change, number) for number in range(ROUNDS)]
        say(f"{name}: {[round(each * 1000, 3) for each in spent]} ms")
        figures.append(
            Figure(name=f"CPU of {name}", value=median(spent) * 1000, unit="ms", n=ROUNDS, anchor=anchor, ask=ask)
        )
    return figures


class Decisions:
    """The objects in Stores, as the controller has them, and a topology that has seen them."""

    def __init__(self, objects: dict[str, Object]) -> None:
        self.objects = objects
        self._stores: dict[Resource[Any], Store[Any]] = {kind: Store() for kind in FOLLOWED}
        self._by_type = {kind.type: store for kind, store in self._stores.items()}
        for item in objects.values():
            self._by_type[type(item)].put(item)
        self._topology = Topology(fabric())

    def start(self) -> float:
        """Seconds of CPU until everything is decided by a new process."""
        gc.collect()
        gc.disable()
        started = time.process_time()
        self._decide(self._topology)
        spent = time.process_time() - started
        gc.enable()
        self._topology.take_changed()
        return spent

    def decoding(self) -> float:
        """Seconds of CPU for decoding all objects, which any process has to do."""
        encoded = {
            kind: msgspec.json.encode([item for item in self.objects.values() if type(item) is kind])
            for kind in self._by_type
        }
        started = time.process_time()
        for kind, data in encoded.items():
            msgspec.json.decode(data, type=list[kind])  # type: ignore[valid-type]
        return time.process_time() - started

    def memory(self) -> float:
        """Megabytes (10^6 bytes) that a further topology takes, with all its values."""
        stores = {kind: Store[Any]() for kind in FOLLOWED}
        for item in self.objects.values():
            next(store for kind, store in stores.items() if kind.type is type(item)).put(item)
        gc.collect()
        tracemalloc.start()
        topology = Topology(fabric())
        topology.look(stores)
        topology.settle()
        topology.take_changed()
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return taken / 1e6

    def spend(self, change: Callable[[int], None], number: int) -> float:
        """Seconds of CPU that the pass after a change takes."""
        change(number)
        started = time.process_time()
        self._decide(self._topology)
        spent = time.process_time() - started
        self._topology.take_changed()
        self._topology.take_changed_writes()
        return spent

    def _decide(self, topology: Topology) -> None:
        topology.look(self._stores)
        topology.settle()

    def rows(self) -> int:
        """The number of rows and memberships that are wanted."""
        return len(self._topology.state)

    def put(self, item: Object) -> None:
        self._by_type[type(item)].put(item)

    def _all(self, kind: type[Any]) -> list[Any]:
        return [item for item in self.objects.values() if type(item) is kind]

    def changes(self) -> list[tuple[str, Callable[[int], None], Ask | None]]:
        """Single changes, each of another object in each round."""
        pods, nodes, slices = self._all(Pod), self._all(Node), self._all(EndpointSlice)
        spaces = self._all(Namespace)
        subnets = [item for item in self._all(Subnet) if item.metadata.name.startswith("s")]
        replace = msgspec.structs.replace

        def relabel(item: Any, **labels: str) -> None:
            self.put(replace(item, metadata=replace(item.metadata, labels={**item.metadata.labels, **labels})))

        def fewer_endpoints(item: EndpointSlice) -> None:
            self.put(replace(item, endpoints=(item.endpoints or ())[:-1]))

        def unready(node: Node) -> None:
            conditions = (NodeCondition(type="Ready", status="False"),)
            self.put(replace(node, status=replace(node.status, conditions=conditions)))

        def change_spec(item: Subnet, **fields: Any) -> None:
            self.put(replace(item, spec=replace(item.spec, **fields)))

        asked = Ask(relation="<", value=NODE_CHANGE)
        return [
            ("one Pod's label", lambda n: relabel(pods[n * 37], app=str(n)), None),
            ("one Pod more", lambda n: self.put(pod(f"new{n}", "node5", namespace="n3", uid=f"new{n}")), None),
            ("one endpoint", lambda n: fewer_endpoints(slices[LOCAL + n]), None),
            ("one endpoint of a Local Service", lambda n: fewer_endpoints(slices[n]), None),
            ("one Namespace's label", lambda n: relabel(spaces[n], team="blue"), None),
            ("one node's zone", lambda n: relabel(nodes[n], **{names.ZONE: "zone9"}), asked),
            ("one node that is not Ready", lambda n: unready(nodes[20 + n]), asked),
            ("one node that goes", lambda n: self._by_type[Node].remove(nodes[900 + n].metadata.uid), asked),
            ("one Subnet's MTU", lambda n: change_spec(subnets[n], mtu=1300), None),
            ("one Subnet that becomes private", lambda n: change_spec(subnets[20 + n], private=True), None),
        ]


def _objects() -> dict[str, Object]:
    """The cluster after all is done: every address recorded, every status written."""
    api = Api()
    api.put(*(_node(number) for number in range(NODES)))
    for number in range(SUBNETS):
        cidr = f"10.{20 + number // 10}.{number % 10 * 16}.0/22"
        api.put(namespace(f"n{number}"), subnet(f"s{number}", cidr, namespaces=(f"n{number}",)))
    for number in range(PODS):
        api.put(pod(f"p{number}", f"node{number % NODES}", namespace=f"n{number % SUBNETS}", uid=f"pod-{number}"))
    for number in range(SERVICES):
        api.put(*_service(number))
    return recorded(api)


def recorded(api: Api) -> dict[str, Object]:
    """The objects when every address is recorded and every status written."""
    topology, before = Topology(fabric()), None
    while before is None or topology.writes:
        view = api.snapshot()
        show(topology, view if before is None else step(before, view))
        before = view
        for write in list(topology.writes.values()):
            if isinstance(write, Create):
                api.make(KINDS[write.object.kind], write.object.name, write.body)
            else:
                api.write(write)
    return api.objects


def _node(number: int) -> Node:
    made = gateway(f"node{number}", number % 200)
    address = NodeAddress(type="InternalIP", address=f"172.16.{number // 250}.{number % 250 + 1}")
    return msgspec.structs.replace(
        made,
        metadata=msgspec.structs.replace(made.metadata, labels={names.ZONE: f"zone{number % 3}"}),
        status=NodeStatus(addresses=(address,), conditions=made.status.conditions),
    )


def _service(number: int) -> tuple[Object, Object]:
    where = f"n{number % SUBNETS}"
    addresses = list(dict.fromkeys(f"10.{20 + (number + k) % 10}.0.{(number + k) % 200 + 2}" for k in range(ENDPOINTS)))
    policy = {"internal_traffic_policy": "Local"} if number < LOCAL else {}
    nodes = [f"node{(number * 7 + k) % NODES}" for k in range(len(addresses))]
    return (
        service(f"svc{number}", f"10.96.{number // 250}.{number % 250 + 1}", namespace=where, **policy),
        slice_of(f"svc{number}", *addresses, namespace=where, nodes=nodes),
    )
