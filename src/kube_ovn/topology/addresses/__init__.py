"""Which owner has which address.

Reads Pods, Nodes, IP objects, StatefulSets, effective subnets, and which Subnets need an address for health checks.
Makes the holders (`holders`), the requests (`request`), the grants (`grants`) and the IP objects (`records`). The steps
have a memory: `recall` takes over what earlier processes wrote, as `memory` reads it, and `allocate` grants what is
asked for. They share the `registry` with its `ledger`, the book of one process.
"""
