"""Which owner has which address. The one part with a memory (`steps`).

Reads Pods, Nodes, IP objects, StatefulSets, what is in effect, and which Subnets are asked for checks. Makes the
holders (`holders`), the grants (`grants`), what is asked for (`request`), and IP objects (`records`). `ledger` is the
book of one process; `memory` reads what earlier processes wrote.
"""
