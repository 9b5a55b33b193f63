"""The engine: values derived from other values by pure functions, and worked out anew only when something they read has
changed. Generic: nothing here depends on Kubernetes or on networks.

    graph = Graph()
    pods = graph.collection("pods", str, Pod)       an input: put(key, value), drop(key)
    by_node = graph.index("pods by node", pods, lambda key, pod: (pod.node,))
    ports = graph.derive("ports", pods, render)     render(read, key, pod) -> Port | None, once for each key of pods
    graph.settle()                                  brings everything up to date

`read.get(source, key)`, `read.select(index, group)` and `read.all(source)` hand out values and record that the cell has
read them. A cell (one key of a derivation) is worked out anew when a value it has read is another; a result that equals
the one before goes no further. The order of definition is the order of work: what is defined later cannot be read, so
there is no cycle and no cell is worked out twice in a round. A `Step` is for what has a memory: a function that is
called with the keys that changed, and that may put values into collections. Where it puts one that earlier derivations
read, a further round follows.

The law: after `settle`, every cell has the value it would have if all were worked out from the inputs alone. `verify`
holds the graph to it.
"""

from kube_ovn.derive.cells import Derived, Read
from kube_ovn.derive.graph import MOST_ROUNDS, Explanation, Graph, StaleCell
from kube_ovn.derive.sources import Collection, Index, Source, Union
from kube_ovn.derive.step import News, Step

__all__ = [
    "MOST_ROUNDS",
    "Collection",
    "Derived",
    "Explanation",
    "Graph",
    "Index",
    "News",
    "Read",
    "Source",
    "StaleCell",
    "Step",
    "Union",
]
