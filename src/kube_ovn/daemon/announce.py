"""The announcement of this node once its network is proven to work: the name of its chassis, and that Pods may come.

Only what is missing is written, so a restart of the daemon writes nothing. The condition is never set to True again:
when the gateway does not answer for a while, Pods that work must not be evicted. The daemon's readiness shows it.
"""

from datetime import UTC, datetime

import msgspec

from kube_ovn.k8s.client import STRATEGIC, Client
from kube_ovn.model import names
from kube_ovn.model.kube import Node
from kube_ovn.model.resource import NODES

CONDITION, REASON = "NetworkUnavailable", "JoinSubnetGatewayReachable"


class _Condition(msgspec.Struct, frozen=True):
    type: str
    status: str
    reason: str = ""


class _Status(msgspec.Struct, frozen=True):
    conditions: tuple[_Condition, ...] = ()


class _Node(msgspec.Struct, frozen=True):
    status: _Status = _Status()


async def announce(kube: Client, node: Node, chassis: str) -> None:
    """Write the annotation with the chassis and the condition `NetworkUnavailable` of a Node where they are missing.
    Raises KubeError.
    """
    name = node.metadata.name
    if node.metadata.annotations.get(names.CHASSIS) != chassis:
        await kube.annotate(NODES, "", name, {names.CHASSIS: chassis}, node.metadata.uid)
    present = msgspec.json.decode(await kube.request("GET", NODES.path(name=name)), type=_Node)
    if _Condition(CONDITION, "False", REASON) in present.status.conditions:
        return
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {
        "type": CONDITION,
        "status": "False",
        "reason": REASON,
        "message": "the gateway of the join subnet answers this node",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    await kube.patch(NODES, "", name, {"status": {"conditions": [condition]}}, form=STRATEGIC, subresource="status")
