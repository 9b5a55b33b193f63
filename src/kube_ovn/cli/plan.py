"""`kubectl ko plan`: derive the network of the live cluster with the controller's own code and settings, compare, write
nothing.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

import msgspec
from rich.console import Console
from rich.table import Table

from kube_ovn.config import parse_flags
from kube_ovn.controller.optional import kept
from kube_ovn.controller.settings import Settings
from kube_ovn.k8s.client import Client as Kube
from kube_ovn.k8s.client import KubeError
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.k8s.domain import read_domain
from kube_ovn.k8s.store import Store
from kube_ovn.model import names
from kube_ovn.model.nb import TABLES
from kube_ovn.model.resource import Resource
from kube_ovn.model.row import Key, Row, RowKey
from kube_ovn.model.writes import Annotate, Apply, ApplyStatus, Create, Delete, Let, Patch, Write
from kube_ovn.ovsdb.client import Client as Northbound
from kube_ovn.ovsdb.tls import load_tls
from kube_ovn.plan import Plan, diff
from kube_ovn.topology.addresses.memory import confirmed
from kube_ovn.topology.fabric import Fabric
from kube_ovn.topology.graph import Topology
from kube_ovn.topology.inputs import FOLLOWED, OPTIONAL

DEADLINE = 15.0
_VARIABLE = re.compile(r"\$\(([A-Za-z0-9_.-]+)\)")

Item = dict[str, object]


class PlanError(Exception):
    """The settings of the cluster's controller cannot be read; the message is one sentence."""


class _Variable(msgspec.Struct, frozen=True):
    name: str
    value: str = ""


class _Container(msgspec.Struct, frozen=True):
    name: str
    args: tuple[str, ...] = ()
    env: tuple[_Variable, ...] = ()


class _PodSpec(msgspec.Struct, frozen=True):
    containers: tuple[_Container, ...]


class _Template(msgspec.Struct, frozen=True):
    spec: _PodSpec


class _DeploymentSpec(msgspec.Struct, frozen=True):
    template: _Template


class _Deployment(msgspec.Struct, frozen=True):
    spec: _DeploymentSpec


DEPLOYMENTS = Resource(name="Deployment", version="apps/v1", plural="deployments", type=_Deployment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The changes that would be made: to rows and memberships of the Northbound database, and to Kubernetes objects."""

    rows: Plan[Key, Row | None]
    writes: tuple[Write, ...]
    unread: tuple[str, ...]
    """The parts of the cluster that could not be read, one sentence each: there the controller's plan may differ."""
    topology: Topology
    """The graph that the plan was derived with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """The objects of each kind, and those that could not be read."""

    stores: Mapping[Resource[Any], Store[Any]]
    unknown: frozenset[str]
    """Optional kinds (`controller.optional`) that the API server does not list."""
    absent: frozenset[str]
    """Those of them that it does not have."""
    unread: tuple[str, ...]


async def observe_plan(kubeconfig: str, namespace: str, ovn_nb_addr: str) -> Found:
    """Read the cluster and derive the plan. Raises KubeError, OvsdbError, CredentialsError, PlanError."""
    async with Kube(load_credentials(kubeconfig)) as kube:
        settings = await _settings(kube, namespace, ovn_nb_addr)
        domain = (settings.cluster_domain or await read_domain(kube)) if settings.dns else ""
        listed = await _list_all(kube)
    endpoints = settings.northbound()
    nb = Northbound(endpoints, "OVN_Northbound", TABLES, tls=load_tls(endpoints))
    following = asyncio.ensure_future(nb.run())
    try:
        await nb.synced(DEADLINE)
        return _plan(replace(settings.fabric(), domain=domain), listed, nb)
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def _list_all(kube: Kube) -> _Listed:
    """List every kind that the controller follows. Raises KubeError when a required kind is missing."""
    stores: dict[Resource[Any], Store[Any]] = {}
    unknown: list[str] = []
    absent: list[str] = []
    unread: list[str] = []
    for resource in FOLLOWED:
        store = stores[resource] = Store[Any]()
        try:
            listing = await kube.list(resource)
        except KubeError as error:
            if not error.unavailable or resource.name not in OPTIONAL:
                raise
            unknown.append(resource.name)
            if await kube.lacks(resource):
                absent.append(resource.name)
            else:
                unread.append(f"{resource.plural} cannot be listed: {error.message}")
            continue
        store.replace(listing.items, asked=0.0)
        for each in listing.unreadable:
            name = f"{each.namespace}/{each.name}".removeprefix("/")
            unread.append(f"{resource.name} {name} cannot be read: {each.error}")
    return _Listed(stores=stores, unknown=frozenset(unknown), absent=frozenset(absent), unread=tuple(unread))


def _plan(fabric: Fabric, listed: _Listed, nb: Northbound) -> Found:
    """The plan of the first pass of a controller that starts now."""
    topology = Topology(fabric, confirmed(nb.replica.owned))
    topology.look(listed.stores, nb.replica.foreign, listed.unknown, absent=listed.absent)
    topology.settle()
    rows: Plan[Key, Row | None] = Plan()
    if topology.standing:
        rows = diff(topology.state, nb.replica.owned)
        rows = rows.without(kept(rows, listed.unknown, nb.replica.owned, nb.replica.target, listed.absent))
    return Found(rows=rows, writes=tuple(topology.writes.values()), unread=listed.unread, topology=topology)


async def _settings(kube: Kube, namespace: str, ovn_nb_addr: str) -> Settings:
    """The settings that the controller of this cluster runs with. Raises KubeError, PlanError."""
    deployment = await kube.get(DEPLOYMENTS, namespace, names.CONTROLLER)
    for container in deployment.spec.template.spec.containers:
        if container.name == names.CONTROLLER:
            override = (f"--ovn-nb-addr={ovn_nb_addr}",) if ovn_nb_addr else ()
            environ = {variable.name: variable.value for variable in container.env if variable.value}
            return parse_flags(Settings, names.CONTROLLER, (*_expand(container.args, environ), *override), environ)
    raise PlanError(f"Deployment {namespace}/{names.CONTROLLER} has no container {names.CONTROLLER}")


def _expand(args: Iterable[str], environ: Mapping[str, str]) -> list[str]:
    """The arguments of a container with the values of its variables (core/v1, Container.args). One with a variable that
    only a running Pod has, such as its address, is left out: it says nothing about the network.
    """
    listed = ((arg, _VARIABLE.findall(arg)) for arg in args)
    known = (arg for arg, used in listed if all(name in environ for name in used))
    return [_VARIABLE.sub(lambda found: environ[found[1]], arg) for arg in known]


def print_json(found: Found) -> None:
    """Print `{"create": [...], "update": [...], "delete": [...]}`."""
    document = {
        "create": [_item(key, row) for key, row in found.rows.create.items()],
        "update": [_update(key, pair) for key, pair in found.rows.update.items()],
        "delete": [_item(key, row) for key, row in found.rows.delete.items()],
    }
    for write in found.writes:
        document[_verb(write)].append(_object(write))
    print(json.dumps(document, indent=2, sort_keys=True))


def print_table(found: Found) -> None:
    """Print one line for each change; nothing when there is none."""
    if not found.rows and not found.writes:
        return
    table = Table("", "object", "what", box=None, pad_edge=False)
    for key, row in found.rows.create.items():
        table.add_row(_MARKS["create"], _name(key), _format(_item(key, row)))
    for key, pair in found.rows.update.items():
        table.add_row(_MARKS["update"], _name(key), _format(_update(key, pair)))
    for key, row in found.rows.delete.items():
        table.add_row(_MARKS["delete"], _name(key), _format(_item(key, row)))
    for write in found.writes:
        ref, what = write.object, _what(write)
        table.add_row(_MARKS[_verb(write)], f"{ref.kind} {ref.namespace}/{ref.name}".replace(" /", " "), what)
    Console(soft_wrap=True).print(table)
    changes = len(found.rows) + len(found.writes)
    print(f"{changes} change{'s' if changes != 1 else ''} the controller would make now")


_MARKS = {"create": "[green]+", "update": "[yellow]~", "delete": "[red]-"}


def _verb(write: Write) -> str:
    if isinstance(write, Create):
        return "create"
    return "delete" if isinstance(write, Delete) else "update"


def _what(write: Write) -> str:
    match write:
        case Annotate():
            return "annotations"
        case ApplyStatus():
            return "status"
        case Let():
            return "finalizer"
        case Create() | Patch() | Apply() | Delete():
            return "object"
        case _:
            assert_never(write)


def _object(write: Write) -> Item:
    """A write as JSON: the object, and the fields that are written."""
    ref = write.object
    item: Item = {"kind": str(ref.kind), "namespace": ref.namespace, "name": ref.name}
    match write:
        case Annotate():
            item["annotations"] = dict(write.annotations)
        case Create() | Patch() | Apply():
            item["object"] = write.body
        case ApplyStatus():
            item["status"] = {**write.status, "conditions": [msgspec.to_builtins(each) for each in write.conditions]}
        case Let():
            item["finalizer"] = write.finalizer
        case Delete():
            pass
        case _:
            assert_never(write)
    return item


def _name(key: Key) -> str:
    return f"{key.table} {key.key}"


def _format(item: Mapping[str, object]) -> str:
    if "target" in item:
        return f"{item['column']}: {item['target']}"
    columns = item["columns"]
    assert isinstance(columns, dict)
    return " ".join(f"{column}={json.dumps(value)}" for column, value in columns.items() if value)


def _item(key: Key, row: Row | None) -> Item:
    if not isinstance(key, RowKey) or row is None:
        return {**key._asdict()}
    columns = {column: _plain(getattr(row, column)) for column in row.__struct_fields__}
    return {"table": key.table, "key": key.key, "columns": columns}


def _update(key: Key, pair: tuple[Row | None, Row | None]) -> Item:
    actual, desired = pair
    assert actual is not None
    columns = {
        column: {"actual": _plain(getattr(actual, column)), "desired": _plain(getattr(desired, column))}
        for column in actual.__struct_fields__
        if getattr(actual, column) != getattr(desired, column)
    }
    return {"table": key.table, "key": key.key, "columns": columns}


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value
