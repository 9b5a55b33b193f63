"""A golden scenario: `cluster.yaml` in, the whole outcome as text out. Shared by the test and by `rewrite`."""

from pathlib import Path

import msgspec

from kube_ovn.model.kube import Namespace, Node, Pod
from kube_ovn.model.row import Row, State
from kube_ovn.topology.render import Snapshot, Topology
from tests.clusters import snapshot, vpc

FOLDER = Path(__file__).parent
SCENARIOS = sorted(path.parent.name for path in FOLDER.glob("*/cluster.yaml"))


def load(scenario: str) -> tuple[Topology, Snapshot]:
    """The scenario's objects and a renderer for its network (a `Network` document changes the default CIDRs)."""
    documents = msgspec.yaml.decode((FOLDER / scenario / "cluster.yaml").read_text(), type=list[dict[str, object]])
    objects: list[Pod | Node | Namespace] = []
    network = vpc()
    for document in documents:
        match document["kind"]:
            case "Pod":
                objects.append(msgspec.convert(document, Pod))
            case "Node":
                objects.append(msgspec.convert(document, Node))
            case "Namespace":
                objects.append(msgspec.convert(document, Namespace))
            case _:
                network = vpc(str(document["default"]), str(document["join"]))
    return Topology(network), snapshot(*objects)


def outcome(scenario: str) -> str:
    """Rows, memberships, annotations and problems, sorted, as a reviewer reads them."""
    topology, objects = load(scenario)
    topology.render(objects)
    lines = [*_rows(topology.assembly.state), "", "# Annotations"]
    for publication in sorted(topology.publications.values(), key=lambda p: (p.object.kind, p.object.name)):
        lines.append(f"{publication.object.kind} {publication.object.name}")
        lines += [f"  {key}={value}" for key, value in sorted(publication.annotations.items())]
    lines += ["", "# Problems"]
    for problem in sorted(topology.problems.values(), key=lambda p: p.object.name):
        lines.append(f"{problem.object.kind} {problem.object.name}: {problem.reason}: {problem.message}")
    return "\n".join(lines) + "\n"


def _rows(state: State) -> list[str]:
    lines: list[str] = []
    for row in sorted((row for row in state.values() if row is not None), key=lambda row: row.row_key):
        lines.append(f"{row.TABLE} {row.key}")
        lines += [f"  {column}={value}" for column, value in _columns(row)]
        members = sorted(key for key in state if len(key) == 4 and (key.table, key.key) == row.row_key)
        lines += [f"  {member.column}: {member.target}" for member in members]
    return lines


def _columns(row: Row) -> list[tuple[str, str]]:
    shown = []
    for column in row.__struct_fields__:
        value = getattr(row, column)
        if isinstance(value, frozenset):
            value = " | ".join(sorted(value))
        elif isinstance(value, dict):
            value = " ".join(f"{key}={entry}" for key, entry in sorted(value.items()))
        if value not in ("", None, 0):
            shown.append((column, str(value)))
    return shown
