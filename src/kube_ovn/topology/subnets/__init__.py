"""Subnets, IPPools, Namespaces and Vpcs: which subnets are in effect, which Namespaces are bound to them, and their
rows.

Reads Subnets, IPPools, Namespaces, Vpcs, Nodes, holders and grants. Makes effective subnets (`addressing`), what only
users change of them (`features`), their parsed rules (`rules`), bindings of Namespaces (`bindings`), rows of switches
and of the router (`network`), and statuses (`report`). The other files are pure: `verdict`, `overlap`, `pool`,
`namespace`, `switch`, `router`, `status`.
"""
