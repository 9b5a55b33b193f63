"""`kubectl ko plan`: render the live cluster with the controller's own code and settings, compare, write nothing."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from rich.console import Console
from rich.table import Table

from kube_ovn.config import parse_flags
from kube_ovn.controller.settings import Settings
from kube_ovn.k8s.client import Client as Kube
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.k8s.decode import NAMESPACES, NODES, PODS, Kind
from kube_ovn.model import names
from kube_ovn.model.nb import TABLES
from kube_ovn.model.row import Key, Row, RowKey
from kube_ovn.ovsdb.client import Client as Northbound
from kube_ovn.ovsdb.tls import load_tls
from kube_ovn.plan import Plan, diff
from kube_ovn.topology.memory import confirmed
from kube_ovn.topology.render import Publication, Snapshot, Topology

DEADLINE = 15.0

Item = dict[str, object]


class PlanError(Exception):
    """The cluster has no controller to read the settings of; one sentence."""


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


DEPLOYMENTS = Kind(name="Deployment", version="apps/v1", plural="deployments", type=_Deployment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What would be changed: rows and memberships of the Northbound database, and annotations."""

    rows: Plan[Key, Row | None]
    publications: tuple[Publication, ...]


async def observe_plan(kubeconfig: str, namespace: str, ovn_nb_addr: str) -> Found:
    """Look at the cluster. Raises KubeError, OvsdbError, PlanError."""
    async with Kube(load_credentials(kubeconfig)) as kube:
        settings = await _settings(kube, namespace, ovn_nb_addr)
        nodes, namespaces, pods = await kube.list(NODES), await kube.list(NAMESPACES), await kube.list(PODS)
    endpoints = settings.northbound()
    nb = Northbound(endpoints, "OVN_Northbound", TABLES, tls=load_tls(endpoints))
    following = asyncio.ensure_future(nb.run())
    try:
        await nb.synced(DEADLINE)
        topology = Topology(settings.vpc(), confirmed(nb.replica.owned))
        topology.render(
            Snapshot(
                nodes={node.metadata.uid: node for node in nodes.items},
                namespaces={namespace.metadata.uid: namespace for namespace in namespaces.items},
                pods={pod.metadata.uid: pod for pod in pods.items},
                foreign=nb.replica.foreign,
            )
        )
        rows = diff(topology.assembly.state, nb.replica.owned)
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
    return Found(rows=rows, publications=tuple(topology.publications.values()))


async def _settings(kube: Kube, namespace: str, ovn_nb_addr: str) -> Settings:
    """The settings the controller of this cluster runs with."""
    deployment = await kube.get(DEPLOYMENTS, namespace, names.CONTROLLER)
    for container in deployment.spec.template.spec.containers:
        if container.name == names.CONTROLLER:
            override = (f"--ovn-nb-addr={ovn_nb_addr}",) if ovn_nb_addr else ()
            environ = {variable.name: variable.value for variable in container.env if variable.value}
            return parse_flags(Settings, names.CONTROLLER, (*container.args, *override), environ)
    raise PlanError(f"Deployment {namespace}/{names.CONTROLLER} has no container {names.CONTROLLER}")


def print_json(found: Found) -> None:
    """`{"create": [...], "update": [...], "delete": [...]}`."""
    updates = [_update(key, pair) for key, pair in found.rows.update.items()]
    updates += [_annotations(publication) for publication in found.publications]
    document = {
        "create": [_item(key, row) for key, row in found.rows.create.items()],
        "update": updates,
        "delete": [_item(key, row) for key, row in found.rows.delete.items()],
    }
    print(json.dumps(document, indent=2, sort_keys=True))


def print_table(found: Found) -> None:
    """One line a change; nothing when there is none."""
    if not found.rows and not found.publications:
        return
    table = Table("", "object", "what", box=None, pad_edge=False)
    for key, row in found.rows.create.items():
        table.add_row("[green]+", _name(key), _format(_item(key, row)))
    for key, pair in found.rows.update.items():
        table.add_row("[yellow]~", _name(key), _format(_update(key, pair)))
    for key, row in found.rows.delete.items():
        table.add_row("[red]-", _name(key), _format(_item(key, row)))
    for publication in found.publications:
        ref = publication.object
        table.add_row("[yellow]~", f"{ref.kind} {ref.namespace}/{ref.name}".replace(" /", " "), "annotations")
    Console(soft_wrap=True).print(table)
    changes = len(found.rows) + len(found.publications)
    print(f"{changes} change{'s' if changes != 1 else ''} the controller would make now")


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


def _annotations(publication: Publication) -> Item:
    ref = publication.object
    return {
        "kind": str(ref.kind),
        "namespace": ref.namespace,
        "name": ref.name,
        "annotations": dict(publication.annotations),
    }


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value
