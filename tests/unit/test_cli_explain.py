"""`kubectl ko explain`: a value with what it was derived from."""

import pytest

from kube_ovn.cli.explain import ExplainError, explain, format_lines
from kube_ovn.model.kube import Pod
from tests.small_clusters import Api, address, namespace, node, pod, settled


def test_a_value_is_shown_with_what_it_was_derived_from_so_many_levels_down() -> None:
    made = Api(namespace("default"), node("node1", 1), pod("a"))
    graph = settled(made).graph
    first, *lines = format_lines(explain(graph, "outcomes of Pods", "a.default", 1))
    assert first.startswith("outcomes of Pods a.default: Outcome(")
    assert any(line.startswith("  pods a.default: Pod(") for line in lines)
    assert any(line.startswith("  grants uid-a: ") and address(made.get(Pod, "a", "default")) in line for line in lines)
    assert not any(line.startswith("    ") for line in lines)
    assert any(line.startswith("    ") for line in format_lines(explain(graph, "outcomes of Pods", "a.default", 2)))


@pytest.mark.parametrize(
    ("source", "key", "words"),
    [("nonsense", "a", "outcomes of Pods"), ("outcomes of Pods", "b.default", "such as: a.default")],
)
def test_what_is_not_there_is_said_with_what_is(source: str, key: str, words: str) -> None:
    graph = settled(Api(namespace("default"), node("node1", 1), pod("a"))).graph
    with pytest.raises(ExplainError, match=words):
        explain(graph, source, key, 1)
