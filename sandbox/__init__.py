"""A real Kubernetes on this one machine: root file systems, images, nodes, control plane and a host outside.

Nothing here is used by the product; the product knows nothing of the sandbox. Run it as `python -m sandbox`.
"""
