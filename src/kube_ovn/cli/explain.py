"""`kubectl ko explain`: a value that the controller would derive from the live cluster now, and the values that it is
derived from.
"""

from collections.abc import Iterator

from kube_ovn.derive import Explanation, Graph

MOST_OF_A_VALUE = 300
"""Characters of a value that are shown."""


class ExplainError(Exception):
    """There is no such value; the message is one sentence."""


def explain(graph: Graph, name: str, text: str, depth: int) -> Explanation:
    """The value of a source under the key that reads as this text. Raises ExplainError."""
    source = graph.sources.get(name)
    if source is None:
        raise ExplainError(f"nothing is named {name!r}; there are: {', '.join(sorted(graph.sources))}")
    for key in source.values:
        if str(key) == text:
            return graph.explain(source, key, depth)
    some = ", ".join(sorted(map(str, source.values))[:10])
    raise ExplainError(f"{name} has no {text}; it has {len(source.values)} keys, such as: {some}")


def format_lines(found: Explanation, indent: int = 0) -> Iterator[str]:
    """One line for each value, what it was derived from indented below it."""
    value = str(found.value)
    shown = value if len(value) <= MOST_OF_A_VALUE else f"{value[:MOST_OF_A_VALUE]}..."
    yield f"{'  ' * indent}{found.source} {found.key}: {shown}"
    for each in found.because:
        yield from format_lines(each, indent + 1)
