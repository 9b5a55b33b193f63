"""Subnets, IPPools, Namespaces and Vpcs: the subnets in effect, the Namespaces that are bound to them, and their rows.

Reads Subnets, IPPools, Namespaces, Vpcs, Nodes, holders and grants. Makes effective subnets (`addressing`), the part of
them that only users change (`features`), their parsed texts (`parsing`), bindings of Namespaces (`bindings`), networks
of nodes (`attached`) that are near subnets (`near`), rows of switches and of the router (`network`), and statuses
(`report`). The other files are pure: `verdict`, `overlap`, `pool`, `namespace`, `switch`, `router`, `status`.
"""
