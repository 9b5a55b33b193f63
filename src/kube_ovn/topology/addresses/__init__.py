"""Which owner has which address.

Reads Pods, Nodes, IP objects, StatefulSets, effective subnets, and which Subnets need an address for health checks.
Makes the holders (`holders`), the requests (`request`), the grants (`grants`) and the IP objects (`records`). The steps
have a memory (`steps`): `ledger` is the book of one process; `memory` reads what earlier processes wrote.
"""
