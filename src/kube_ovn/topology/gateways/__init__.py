"""Through which nodes a centralized subnet is left.

Reads Nodes and what is in effect; makes the way out of each centralized subnet, and its rows (`exits`). `groups` is
pure.
"""
