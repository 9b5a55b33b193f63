"""The ports of Nodes and Pods, and the annotations that let a Pod start.

Reads Nodes, Pods, grants and effective subnets. Makes rows, annotations and Events (`outcome`). `obstacles` says why a
name cannot be used. `node` and `pod` are pure.
"""
