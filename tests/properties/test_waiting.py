"""Pods that wait in a full Subnet: a controller that starts now, and tries each of them, agrees; and a
departure costs the same however many wait.
"""

import sys
from types import FrameType
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kube_ovn.model import names
from kube_ovn.model.crd import IPPool, Subnet
from kube_ovn.model.kube import Pod
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.inputs import FOLLOWED
from tests.histories.fields import Edit
from tests.histories.steps import Pass
from tests.histories.world import World
from tests.small_clusters import Api, Shown, fabric, gateway, namespace, node, pod, pool, settle, step, subnet

SMALL, LIST, MAC = {names.LOGICAL_SWITCH: "small"}, "10.20.0.3;10.20.0.4", "0a:00:00:00:00:07"
ASKS: list[dict[str, str]] = [
    SMALL,
    {names.LOGICAL_SWITCH: "small,dual"},
    {names.LOGICAL_SWITCH: "dual"},
    {names.LOGICAL_SWITCH: "dual", names.IP_FAMILY: "ipv6"},
    {names.LOGICAL_SWITCH: "dual", names.IP_ADDRESS: "fd00:22::3"},
    {**SMALL, names.IP_ADDRESS: "10.20.0.2"},
    {**SMALL, names.IP_ADDRESS: "10.20.0.5"},
    {**SMALL, names.MAC_ADDRESS: MAC},
    {names.LOGICAL_SWITCH: "small,dual", names.MAC_ADDRESS: MAC},
    {names.IP_POOL: "few", names.MAC_ADDRESS: MAC},
    {**SMALL, names.IP_POOL: LIST},
    {names.IP_POOL: "few"},
    {names.IP_POOL: "few,more"},
]
PLACES = (
    subnet("small", "10.20.0.0/29"),
    subnet("dual", "10.22.0.0/29,fd00:22::/126"),
    pool("few", "small", "10.20.0.5"),
    pool("more", "dual", "10.22.0.6"),
)
EXCLUDED = [(), ("10.20.0.2",), ("10.20.0.6",)]
RANGES = [("10.20.0.5",), ("10.20.0.5..10.20.0.6",), ("10.20.0.2",)]
MOST = 14
"""Pods at a time: more than there are addresses."""
pods, asks = st.integers(0, MOST - 1), st.integers(0, len(ASKS) - 1)
crowds = st.lists(asks, min_size=MOST, max_size=MOST)
changes = st.one_of(
    st.tuples(st.just("come"), pods, asks),
    st.tuples(st.just("go"), pods, st.just(0)),
    st.tuples(st.just("pass"), st.sampled_from([0, 1, 3, -1]), st.just(0)),
    st.tuples(st.just("exclude"), st.integers(0, len(EXCLUDED) - 1), st.just(0)),
    st.tuples(st.just("range"), st.integers(0, len(RANGES) - 1), st.just(0)),
)
histories = st.tuples(*[st.lists(changes, min_size=1, max_size=4)] * 6)
"""What happens between one calm and the next."""


def change(where: World, kind: type[Any], name: str, field: str, value: object) -> None:
    item = where.server.get(kind, name)
    where.edit(item, Edit(kind, 0, ("spec", field), value))


def come(where: World, number: int, ask: int, age: int) -> None:
    made = pod(f"p{number}", uid=f"uid-{age}", annotations=ASKS[ask])
    meta = msgspec.structs.replace(made.metadata, creation_timestamp=f"2026-01-01T00:00:{age:02}Z")
    where.server.put(msgspec.structs.replace(made, metadata=meta))


@settings(max_examples=100, phases=(Phase.generate,), suppress_health_check=[HealthCheck.too_slow])
@given(crowds, histories)
def test_lines_are_served_as_if_each_were_tried(crowd: list[int], history: list[list[tuple[str, int, int]]]) -> None:
    """After each calm: a controller that tries all, one after another, grants and tells the same."""
    where = World(fabric(), [gateway("node1", 1), namespace("default"), *PLACES])
    where.calm()
    for number, ask in enumerate(crowd):
        come(where, number, ask, number)
    where.calm()
    age = MOST
    for part in history:
        for what, one, other in part:
            there = where.server.find(Pod, f"p{one}", "default")
            match what:
                case "come" if there is None:
                    come(where, one, other, age)
                    age += 1
                case "go" if there is not None:
                    where.server.remove(there.metadata.uid)
                case "pass":
                    where.make_pass(Pass(one))
                case "exclude":
                    change(where, Subnet, "small", "exclude_ips", EXCLUDED[one])
                case "range":
                    change(where, IPPool, "few", "ips", RANGES[one])
        where.calm()


def crowd(waiting: int) -> tuple[Api, Topology]:
    """A full Subnet of 5 addresses, and Pods that wait in it, in two lines."""
    asks = [SMALL, {names.IP_POOL: "few"}]
    api, topology = Api(namespace("default"), node("node1", 1), *PLACES), Topology(fabric())
    settle(topology, api)
    for name, count in (("first", 9), ("late", waiting)):
        api.put(*(pod(f"{name}-{number:04}", annotations=asks[number % 2]) for number in range(count)))
        settle(topology, api)
    return api, topology


def depart(api: Api, topology: Topology, name: str) -> tuple[int, int, int]:
    """A Pod goes, and the next has its address. Returns how many functions are called for it, how many outcomes of Pods
    are worked out, and how many problems are told that were not told a pass before: each of these is an Event.
    """
    (outcomes,) = (each for each in topology.graph.derivations if each.name == "outcomes of Pods")
    calls, worked, events = 0, outcomes.worked, 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = api.snapshot()
    api.remove(f"uid-{name}")
    while (view := api.snapshot()).objects != before.objects:
        told, changed = dict(topology.told), step(before, view)
        topology.look({kind: Shown(changed, kind) for kind in FOLLOWED})
        sys.setprofile(count)
        try:
            topology.settle()
        finally:
            sys.setprofile(None)
        events += sum(told.get(key) != each for key, each in topology.told.items())
        before = view
        for write in list(topology.writes.values()):
            api.write(write)
    return calls, outcomes.worked - worked, events


@pytest.mark.parametrize("name", ["first-0000", "first-0001"])
def test_a_departure_costs_the_same_however_many_wait(name: str) -> None:
    few, many = (crowd(waiting) for waiting in (10, 200))
    (calls, worked, events), (more_calls, more_worked, more_events) = depart(*few, name), depart(*many, name)
    for api, _ in (few, many):
        next_in_line = {"first-0000": "first-0008", "first-0001": "first-0003"}[name]
        assert names.IP_ADDRESS in api.get(Pod, next_in_line, "default").metadata.annotations
    assert events == more_events == 0, "what was told is not told again"
    assert worked == more_worked
    assert more_calls < 1.1 * calls
