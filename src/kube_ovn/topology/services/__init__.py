"""Services: load balancers, names in DNS, and health checks of endpoints.

Reads Services, EndpointSlices, Nodes, grants and what is in effect. Makes load balancers and names (`network`), what
they mean on each node (`variables`), and the holders of addresses to check from (`checks`). `balancer` and `dns` are
pure.
"""
