"""Every name this project mints and every priority it uses, in one place.

Builders are nouns: they map identities to the names users and `ovn-nbctl` see. A name that two identities could share
would let one object edit another's rows, so each builder says why it is injective.
"""

import hashlib

# --- Annotations (contract: <provider>.kubernetes.io/<key>; the default provider is literally "ovn") ---

ALLOCATED = "ovn.kubernetes.io/allocated"
IP_ADDRESS = "ovn.kubernetes.io/ip_address"
MAC_ADDRESS = "ovn.kubernetes.io/mac_address"
CIDR = "ovn.kubernetes.io/cidr"
GATEWAY = "ovn.kubernetes.io/gateway"
EXCLUDE_IPS = "ovn.kubernetes.io/exclude_ips"
LOGICAL_SWITCH = "ovn.kubernetes.io/logical_switch"
LOGICAL_ROUTER = "ovn.kubernetes.io/logical_router"
POD_NIC_TYPE = "ovn.kubernetes.io/pod_nic_type"
ROUTED = "ovn.kubernetes.io/routed"
ROUTES = "ovn.kubernetes.io/routes"
PORT_NAME = "ovn.kubernetes.io/port_name"
CHASSIS = "ovn.kubernetes.io/chassis"

VETH_PAIR = "veth-pair"

# --- Kubernetes objects ---

CONTROLLER = "kube-ovn-controller"
"""Event component and Lease of the controller."""
CNISERVER = "kube-ovn-cniserver"
"""Event component of the node daemon."""

# --- Event reasons ---

ACQUIRE_ADDRESS_FAILED = "AcquireAddressFailed"
VALIDATE_POD_NETWORK_FAILED = "ValidatePodNetworkFailed"
POD_NETWORK_ALLOCATION_FAILED = "PodNetworkAllocationFailed"
CREATE_OVN_PORT_FAILED = "CreateOVNPortFailed"
POD_NETWORK_CONFIGURE_FAILED = "PodNetworkConfigureFailed"
NODE_ADDRESS_CONFLICT = "NodeAddressConflictWithSubnet"

# --- external_ids of Northbound rows ---

OWNER_UID = "owner_uid"
"""On the ports of Pods and Nodes: whose they are, whatever comes to have the same name."""

# --- Logical_Router_Policy priorities (contract §3.4); the highest that matches decides ---

POLICY_EAST_WEST = 31000
"""ip.dst == a subnet of the fabric: stay inside."""
POLICY_NODE = 30000
"""ip.dst == a node's own address: to that node over the join switch, past any gateway."""
POLICY_GATEWAY = 29000
"""ip.src == a Pod: out through its gateway node."""

# --- Linux and Open vSwitch on the node ---

INTEGRATION_BRIDGE = "br-int"
NODE_NIC = "ovn0"
NFT_TABLE = "kube-ovn"
ROUTE_PROTOCOL = 0x4F
"""rtm_protocol of every route this project installs on a node ("O" in ASCII; unassigned in rt_protos)."""
POD_LINK_SUFFIX = "_h"
"""End of the host-side veth names of Pods."""
LINK_ALIAS = "kube-ovn"
"""First word of the alias of such a link; container, interface, Pod UID and namespace follow."""


def router_port(router: str, switch: str) -> str:
    """Logical_Router_Port that joins a switch to a router."""
    return f"{router}-{switch}"


def switch_port(switch: str, router: str) -> str:
    """Logical_Switch_Port of type router: the switch's end of the same joint."""
    return f"{switch}-{router}"


def pod_port(pod: str, namespace: str) -> str:
    """Logical_Switch_Port of a Pod. Injective: a Namespace's name has no dot, so the last dot separates."""
    return f"{pod}.{namespace}"


def node_port(node: str) -> str:
    """Logical_Switch_Port of a Node on the join switch. Only a Pod named `node-..` can collide (`topology.render`)."""
    return f"node-{node}"


def node_port_group(node: str) -> str:
    """Port_Group of the Pods on a Node.

    OVN allows letters, digits, `_` and `.`: `-` becomes `.`, as users of the contract expect, and `.` becomes `_`.
    Injective, because a Node's name (a DNS subdomain) has no `_`.
    """
    return "node." + node.replace(".", "_").replace("-", ".")


def derived_mac(*identity: str) -> str:
    """A locally administered unicast MAC derived from an identity, so that rendering needs no randomness."""
    digest = hashlib.blake2b("/".join(identity).encode(), digest_size=5).hexdigest()
    return ":".join(["0a", *(digest[i : i + 2] for i in range(0, 10, 2))])
