"""The documents speak of code that exists."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from kube_ovn.model.kube import Namespace
from kube_ovn.topology.graph import Topology
from tests.small_clusters import Api, namespace, node, pod, settle, settled

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")])


def documents_text() -> str:
    return "\n".join(path.read_text() for path in DOCUMENTS)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(kube_ovn(?:\.\w+)+)`", documents_text()))))
def test_a_dotted_name_can_be_imported(name: str) -> None:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[end:]:
            found = getattr(found, attribute)
        return
    pytest.fail(f"nothing of {name} exists")


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:src|tests|charts|cni|docs|sandbox|images)/[\w./-]+)`", documents_text())))
)
def test_a_path_exists(path: str) -> None:
    assert (PROJECT / path).exists(), f"a document speaks of {path}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_make_has_the_targets_the_documents_name() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([\w.-]+)[^`]*`", documents_text())):
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"there is no target {target}"


def test_the_worked_example_of_a_derivation_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """CONTRIBUTING's example is run as it stands there, and costs what it says."""
    (code,) = re.findall(r"```python\n(.*?)```", (PROJECT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) < 40
    example: dict[str, Any] = {}
    exec(code, example)
    define = Topology._define

    def define_more(topology: Topology, *witnesses: Any) -> None:
        define(topology, *witnesses)
        example["define"](topology.graph, topology.inputs, topology.outputs)

    monkeypatch.setattr(Topology, "_define", define_more)
    api = Api(node("node1", 1), namespace("default"), pod("a"), pod("b"))
    topology = settled(api)
    assert api.get(Namespace, "default").metadata.annotations[example["PODS"]] == "2"
    before = api.snapshot()
    api.remove("uid-a")
    settle(topology, api, before)
    assert api.get(Namespace, "default").metadata.annotations[example["PODS"]] == "1"
    assert topology.graph.verify() == []
