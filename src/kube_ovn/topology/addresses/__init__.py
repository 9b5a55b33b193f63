"""The address of each owner.

Reads Pods, Nodes, IP objects, StatefulSets, effective subnets, and the Subnets that need an address for health checks.
Makes the holders (`holders`), the requests (`request`, with the places that `places` finds, as values of `ask`), the
grants (`grants`) and the IP objects (`records`). `own` has the names that only the fabric's own IP objects have,
`parents` which StatefulSets exist. The steps have a memory: `recall` takes over the grants that earlier processes
recorded, as `memory` reads them, and `allocate` grants requests. They share the `registry` with its `ledger`, the book
of one process.
"""
