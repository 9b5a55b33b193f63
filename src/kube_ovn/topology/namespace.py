"""A Namespace: which subnet its Pods fall to, told on the Namespace itself. Pure.

It has no rows of its own: what its Pods get is written with each Pod.
"""

from kube_ovn.model import names
from kube_ovn.model.addr import Address, format_list
from kube_ovn.model.network import Subnet


def namespace_annotations(subnet: Subnet) -> dict[str, str]:
    """What people and tools read on the Namespace. The gateway is among what is never handed out, as users expect."""
    return {
        names.LOGICAL_SWITCH: subnet.name,
        names.CIDR: format_list(subnet.cidrs),
        names.EXCLUDE_IPS: ",".join(
            [*map(str, subnet.gateways), *(_format_range(low, high) for low, high in subnet.exclude)]
        ),
    }


def _format_range(low: Address, high: Address) -> str:
    return str(low) if low == high else f"{low}..{high}"
