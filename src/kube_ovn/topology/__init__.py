"""The controller's decisions: pure functions of Kubernetes objects, on the engine of `kube_ovn.derive`.

`inputs` are the collections that Kubernetes and the database fill; `graph` puts the parts together, in their order;
`outputs` are the rows, the writes and what users are told. A part is a folder; what it reads and makes stands in its
`__init__`. Most files are pure functions that know nothing of the graph; the ones with a `define` say what is derived
from what.
"""
