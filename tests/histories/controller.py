"""The only functions by which tests of histories use a Topology."""

from collections.abc import Iterable, Mapping
from typing import Any

from kube_ovn.model.kube import Object
from kube_ovn.model.network import Grant, Told
from kube_ovn.model.row import RowKey, State
from kube_ovn.model.writes import Write, WriteKey
from kube_ovn.topology.addresses.memory import confirmed
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.graph import Topology
from tests import small_clusters
from tests.small_clusters import Snapshot


def start(of: Fabric, northbound: State) -> Topology:
    """A controller that starts with this state of the Northbound database."""
    return Topology(of, confirmed(northbound))


def show(
    topology: Topology,
    objects: Mapping[str, Object],
    changed: Iterable[Object] | None,
    foreign: frozenset[RowKey],
    unknown: Iterable[type[Object]] = (),
    absent: Iterable[type[Object]] = (),
) -> None:
    """Make a pass: all objects by UID, and those that came, changed or went; None when any may have. `unknown`: kinds
    that could never be listed; `absent`: those of them that the API server does not have.
    """
    named = None if changed is None else {(item.metadata.namespace, item.metadata.name) for item in changed}
    kinds, lacking = ({each.__name__ for each in some} for some in (unknown, absent))
    view = Snapshot(objects=objects, changed=named, foreign=foreign, unknown=kinds, absent=lacking)
    small_clusters.show(topology, view)


def stands(topology: Topology) -> bool:
    """Whether the topology's rows count; until then the database stays as it is."""
    return topology.standing


def rows(topology: Topology) -> State:
    return topology.state


def writes(topology: Topology) -> Mapping[WriteKey, Write]:
    return topology.writes


def told(topology: Topology) -> Mapping[Any, Told]:
    """The messages to users."""
    return topology.told


def complaints(topology: Topology) -> Mapping[str, str]:
    """The warnings to users, by the object's UID."""
    return {uid: problem.message for uid, problem in topology.problems.items()}


def grants(topology: Topology) -> Mapping[str, Grant]:
    """The addresses of each owner, by the owner's key."""
    return topology.grants
