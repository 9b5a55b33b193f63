"""The controller's decisions: pure functions of Kubernetes objects, on the engine of `kube_ovn.derive`.

`inputs` holds the collections that Kubernetes and the database fill. `graph` puts the parts together, in their order.
`outputs` collects the rows, the writes and the messages for users. A part is a folder; its `__init__` names what the
part reads and what it makes. Most files hold pure functions that do not depend on the graph. A file with a `define`
says what is derived from what.
"""
