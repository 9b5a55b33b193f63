"""The controller's decision as a whole: all parts in their order, with the inputs and outputs of the graph.

This is the one module that depends on all parts. It is synchronous and free of I/O, time and randomness. There are
three outputs: rows for `plan.diff`, writes to the Kubernetes API that are sent after the commit, and messages for
users.
"""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from kube_ovn.derive import Graph, Read
from kube_ovn.model import names
from kube_ovn.model.addr import Address
from kube_ovn.model.kube import Object
from kube_ovn.model.network import Grant, Kind, ObjectRef, Told
from kube_ovn.model.policy import Enforced, Version
from kube_ovn.model.resource import Resource
from kube_ovn.model.row import Key, Row, RowKey
from kube_ovn.model.writes import Write, WriteKey
from kube_ovn.topology import annotations
from kube_ovn.topology.addresses import grants, holders, memory, own, places, records, request
from kube_ovn.topology.addresses.allocate import Allocation
from kube_ovn.topology.addresses.elsewhere import Elsewhere
from kube_ovn.topology.addresses.parents import Parents
from kube_ovn.topology.addresses.recall import Recall
from kube_ovn.topology.addresses.registry import Registry
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.gateways import exits
from kube_ovn.topology.inputs import STANDING, Inputs
from kube_ovn.topology.outputs import Outputs, ToldKey, by_uid
from kube_ovn.topology.policy import enforce, status
from kube_ovn.topology.ports import outcome, spoofing
from kube_ovn.topology.ports.obstacles import Obstacles
from kube_ovn.topology.services import checks, cidrs
from kube_ovn.topology.services import network as services
from kube_ovn.topology.subnets import (
    addressing,
    attached,
    bindings,
    features,
    near,
    network,
    objections,
    parsing,
    report,
    scope,
)
from kube_ovn.topology.subnets.verdict import in_effect

T_co = TypeVar("T_co", bound=Object, covariant=True)


class Objects(Protocol[T_co]):
    """The objects of one kind as they are now, and the names of those that changed. A Store is one."""

    @property
    def objects(self) -> Mapping[str, T_co]:
        """The objects by UID."""

    def named(self, namespace: str, name: str) -> T_co | None: ...

    def take_changed_names(self) -> AbstractSet[tuple[str, str]] | None:
        """Namespaces and names of objects that came, changed or left since the last call; None when any may have."""


class Topology:
    """The desired state, the writes and the messages for users, brought up to date pass by pass.

    `confirmed` holds the grants found in the Northbound database, by the UID of the Pod or Node; it serves the first
    pass (`addresses.memory`). `released` holds the addresses that were in use before, by subnet, in the order of their
    release.
    """

    def __init__(
        self,
        fabric: Fabric,
        confirmed: Mapping[str, Grant] = MappingProxyType({}),
        released: Mapping[str, Iterable[Address]] = MappingProxyType({}),
    ) -> None:
        self.graph, self.fabric = Graph(), fabric
        self.inputs, self.outputs = Inputs(self.graph), Outputs()
        self._fed: set[str] = set()
        self._define(confirmed, released)

    def _define(self, confirmed: Mapping[str, Grant], released: Mapping[str, Iterable[Address]]) -> None:
        graph, inputs, outputs, fabric = self.graph, self.inputs, self.outputs, self.fabric
        held = grants.define(graph)
        parents, own_names = Parents(inputs.sets, inputs.unknown), own.define(graph, inputs, outputs)
        recorded = memory.define_recorded(graph, inputs.ips, own_names)
        having = holders.define(graph, inputs, own_names, held, confirmed)
        effect = addressing.define_in_effect(graph, inputs, held)
        slices = services.index_slices(graph, inputs)
        checked = checks.define(graph, inputs, slices, having, held, effect)
        registry = Registry(held, fabric.router)
        recall = Recall(inputs, recorded, held, registry, fabric.join, confirmed, released)
        recall.define(graph, having, checked.holders, effect)

        links = attached.define(graph, inputs)
        spaces = addressing.define(
            graph,
            objections.Reads(
                inputs=inputs,
                fabric=fabric,
                attached=links,
                claimed=attached.define_claimed(graph, inputs),
                in_effect=effect,
                holders=having,
                grants=held,
                confirmed=confirmed.keys(),
            ),
        )
        annotations.define(graph, inputs, outputs)
        bindings.define_initial(graph, inputs, outputs, fabric)
        scopes = scope.define(graph, inputs, fabric, spaces)
        bound = bindings.define(graph, inputs, outputs, fabric, spaces, scopes)
        obstacles = Obstacles(router=fabric.router, foreign=inputs.foreign, judged=spaces.judged)
        asking = places.Reads(
            fabric=fabric,
            grants=held,
            ips=inputs.ips,
            pods=inputs.pods,
            pools=inputs.pools,
            unknown=inputs.unknown,
            absent=inputs.absent,
            parents=parents,
            bindings=bound.bindings,
            scopes=scopes,
            readiness=spaces.readiness,
            effective=spaces.effective,
            obstacles=obstacles,
        )
        of_pods, of_nodes = request.define(graph, asking, having.pods, having.nodes)
        asked = (of_nodes, of_pods, request.define_checks(graph, held, checked.holders))
        kept = records.Reads(
            inputs=inputs, recorded=recorded, holders=having, checks=checked.holders, grants=held, parents=parents
        )
        leaving = records.define_changes(graph, outputs, kept)
        allocation = Allocation(held, registry, recall)
        allocation.define(graph, spaces.effective, spaces.pool_ranges, asked, leaving)
        records.define_creation(graph, inputs, outputs, having, checked.holders, held)

        ranges = cidrs.define(graph, inputs, outputs, fabric, links, spaces.cidrs)
        around = near.define(graph, fabric, spaces, links, ranges)
        looks = features.define(graph, inputs, fabric)
        parsed = parsing.define(graph, looks, spaces.effective)
        switches = network.define(graph, inputs, outputs, fabric, looks, parsed, spaces, around.addresses, ranges, held)
        spoofing.define_open_ports(graph, inputs, outputs)
        ways = exits.define(graph, inputs, outputs, fabric, looks, spaces)
        ends = outcome.define(
            graph,
            outputs,
            outcome.Reads(
                inputs=inputs,
                fabric=fabric,
                holders=having,
                grants=held,
                obstacles=obstacles,
                addressing=spaces,
                features=looks,
                nodes=around,
                spoofing=spoofing.Spoofing(
                    fabric=fabric,
                    permitted=spoofing.define_permits(graph, inputs),
                    features=looks,
                    grants=spoofing.index_grants(graph, held),
                    uses=switches.uses,
                    nodes=around,
                    scopes=scopes,
                ),
                pod_requests=of_pods,
                node_requests=of_nodes,
            ),
        )
        services.define(
            graph,
            outputs,
            services.Reads(
                inputs=inputs,
                fabric=fabric,
                ranges=ranges,
                slices=slices,
                holders=having,
                grants=held,
                network=switches,
                places=spaces.places,
                checks=checked,
            ),
        )
        self._unenforced = status.define(graph, inputs, outputs)
        enforce.define(
            graph,
            outputs,
            enforce.Reads(
                inputs=inputs,
                effective=spaces.effective,
                features=looks,
                pods=ends,
                holders=having,
                grants=held,
            ),
        )
        report.define(
            graph,
            outputs,
            report.Reads(
                inputs=inputs,
                fabric=fabric,
                addressing=spaces,
                texts=parsed,
                bindings=bound,
                network=switches,
                nodes=around,
                grants=held,
                exits=ways,
            ),
        )
        outputs.telling.follow(graph.derive("refused rows", inputs.refused, _tell_refused))
        self._held = held
        self._elsewhere = Elsewhere(
            fabric=fabric,
            bindings=bound.bindings,
            scopes=scopes,
            readiness=spaces.readiness,
            effective=spaces.effective,
            pools=spaces.pool_specs,
            occupancy=held.occupancy,
        )

    # --- in ---

    def look(
        self,
        objects: Mapping[Resource[Any], Objects[Any]],
        foreign: AbstractSet[RowKey] = frozenset(),
        unknown: AbstractSet[str] = frozenset(),
        absent: AbstractSet[str] = frozenset(),
        unwritten: Mapping[str, str] = MappingProxyType({}),
        enforced: Mapping[str, Enforced] = MappingProxyType({}),
    ) -> None:
        """Take over the present state: the objects of each kind, and the foreign rows of the Northbound database.
        `unknown`: the kinds that could never be listed, by name. `absent`, `unwritten`, `enforced`: as in
        `Inputs`.
        """
        inputs = self.inputs
        inputs.enforced.replace(enforced)
        inputs.unwritten.replace(unwritten)
        inputs.unknown.replace(dict.fromkeys(unknown, True))
        inputs.absent.replace(dict.fromkeys(absent, True))
        self._feed(objects, early=True)
        if not self.standing:
            there = {name for name, subnet in inputs.subnets.values.items() if in_effect(subnet) is not None}
            if not there >= self.fabric.initial.keys():
                return
            inputs.standing.put(STANDING, True)
        inputs.feed_foreign(foreign)
        self._feed(objects, early=False)

    def _feed(self, objects: Mapping[Resource[Any], Objects[Any]], *, early: bool) -> None:
        """Take over the objects of some kinds: all of a kind at first, then what changed."""
        for kind in self.inputs.kinds:
            if kind.early == early:
                source = objects[kind.resource]
                changed = source.take_changed_names()
                is_first = kind.resource.name not in self._fed
                self._fed.add(kind.resource.name)
                self.inputs.feed(kind, None if is_first else changed, source.named, source.objects.values)

    def set_aside(self, refused: Mapping[ObjectRef, str]) -> None:
        """Set the objects that have rows which the database refuses now, each with the database's words."""
        self.inputs.feed_refused(refused)

    def settle(self) -> list[str]:
        """Bring all derivations up to date. Returns the names of those that do not come to rest, which is a fault."""
        restless = self.graph.settle()
        self.outputs.writes.offer_again(self.inputs.take_seen())
        return restless

    # --- out ---

    @property
    def standing(self) -> bool:
        """Whether the initial subnets, from which nodes and Pods get addresses, are in effect. Before that nothing is
        known of addresses, and what is in the Northbound database must stay as it is.
        """
        return bool(self.inputs.standing.values)

    @property
    def state(self) -> Mapping[Key, Row | None]:
        """The rows and memberships that should exist."""
        return self.outputs.rows.state

    def take_changed(self) -> set[Key]:
        """The keys of `state` that changed since the last call."""
        return self.outputs.rows.take_changed()

    def owners(self, keys: Collection[Key]) -> Mapping[Key, ObjectRef | None]:
        """The object that each of these rows is made for; None for rows of the fabric itself."""
        return self.outputs.rows.owners(keys)

    @property
    def unenforced(self) -> Collection[Version]:
        """The policies that are not yet known to be enforced on all nodes."""
        return self._unenforced.values.values()

    @property
    def writes(self) -> Mapping[WriteKey, Write]:
        """The writes to the Kubernetes API that are wanted now."""
        return self.outputs.writes.wanted

    def take_changed_writes(self) -> dict[WriteKey, Write | None]:
        """The writes that came or changed since the last call; None for a write that is not wanted any more."""
        return self.outputs.writes.take_changed()

    @property
    def told(self) -> Mapping[ToldKey, Told]:
        """The messages for users now."""
        return self.outputs.telling.told

    def take_changed_told(self) -> dict[ToldKey, Told | None]:
        """The messages for users that came or changed since the last call; None for a message that went."""
        return self.outputs.telling.take_changed()

    def describe(self, told: Collection[Told]) -> list[str]:
        """The texts of messages as of now: with the places in which Pods of the Namespace find a free address, where
        that helps.
        """
        namespaces = {each.elsewhere for each in told if each.elsewhere}
        free = self._elsewhere.describe(namespaces) if namespaces else {}
        return [f"{each.message}; {free[each.elsewhere]}" if each.elsewhere else each.message for each in told]

    @property
    def problems(self) -> Mapping[str, Told]:
        """The problems among the messages, by the UID of the object."""
        return by_uid(self.told)

    @property
    def grants(self) -> Mapping[str, Grant]:
        """The grant of each owner, by the owner's key."""
        return {key: held.grant for key, held in self._held.held.values.items()}


def _tell_refused(read: Read, ref: ObjectRef, words: str) -> Told | None:
    """The message for the user of an object when the database refuses the object's rows."""
    if ref.kind in (Kind.SUBNET, Kind.IPPOOL):
        return None  # told with the other problems of the object, and in its conditions
    message = f"the Northbound database does not take what {ref.kind} {ref.name} makes: {words}"
    reason = names.SERVICE_REFUSED if ref.kind is Kind.SERVICE else names.CREATE_OVN_PORT_FAILED
    return Told(object=ref, reason=reason, message=message)
