"""Services: load balancers, names in DNS, and health checks of endpoints.

Reads Services, EndpointSlices, Nodes, grants and effective subnets. Makes load balancers and names (`network`), the
values of the load balancers' variables on each node (`variables`), and the holders of addresses to check from
(`checks`). `balancer` and `dns` are pure.
"""
