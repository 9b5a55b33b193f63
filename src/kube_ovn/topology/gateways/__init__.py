"""The nodes that packets leave a centralized subnet through.

Reads Nodes and effective subnets. Makes the exit of each centralized subnet, and its rows (`exits`). `groups` is pure.
"""
