"""Subnets, IPPools, Namespaces and Vpcs: what is in effect, who falls to it, and its rows.

Reads Subnets, IPPools, Namespaces, Vpcs and Nodes, holders and grants. Makes what is in effect (`addressing`), bindings
of Namespaces (`bindings`), rows of switches and of the router (`network`), and statuses (`report`). The rest is pure:
`verdict`, `pool`, `namespace`, `switch`, `router`, `status`.
"""
