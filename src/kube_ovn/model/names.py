"""Every name that this project makes and every priority that it uses, in one place.

Builders are nouns: they map identities to the names that users and `ovn-nbctl` see. If two identities shared a name,
one object could change the rows of another. So the docstring of each builder explains why it is injective.
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
PRIVATE = "ovn.kubernetes.io/private"
ALLOW = "ovn.kubernetes.io/allow"
GATEWAY_TYPE = "ovn.kubernetes.io/gateway_type"
GATEWAY_NODE = "ovn.kubernetes.io/gateway_node"
NAT_OUTGOING = "ovn.kubernetes.io/nat_outgoing"
IP_POOL = "ovn.kubernetes.io/ip_pool"
IP_FAMILY = "ovn.kubernetes.io/ip_family"
PORT_SECURITY = "ovn.kubernetes.io/port_security"
PORT_VIPS = "ovn.kubernetes.io/port_vips"
SECURITY_GROUPS = "ovn.kubernetes.io/security_groups"
CONFIG_HASH = "kubernetes.io/config.hash"
"""Annotation of a static Pod, by its kubelet: the UID that the container runtime has for it. The API server has another
one.
"""
GATEWAY_FOR_NAMESPACES = "kubeovn.io/gateway-for-namespaces"
"""Label of a Node: `true` lets annotations of Namespaces name it as a gateway."""
PERMIT_SPOOFING = "kubeovn.io/permit-spoofing"
"""Label of a Namespace: `true` lets its Pods send from addresses that are not their own. Only
administrators set it.
"""
DHCP_V4_OPTIONS = "ovn.kubernetes.io/dhcp-v4-options"
DHCP_V6_OPTIONS = "ovn.kubernetes.io/dhcp-v6-options"
WRITTEN_BACK = "ovn.kubernetes.io/written_back"
"""On a Namespace: the annotations that the controller wrote, with their values. A value that differs is a wish of the
user.
"""
LOGICAL_ROUTER = "ovn.kubernetes.io/logical_router"
POD_NIC_TYPE = "ovn.kubernetes.io/pod_nic_type"
ROUTED = "ovn.kubernetes.io/routed"
ROUTES = "ovn.kubernetes.io/routes"
PORT_NAME = "ovn.kubernetes.io/port_name"
CHASSIS = "ovn.kubernetes.io/chassis"
NETWORKS = "ovn.kubernetes.io/attached_networks"
"""On a Node: the networks that it is attached to, and the addresses that it talks to (`host.attached`)."""

ENABLE_LOG = "ovn.kubernetes.io/enable_log"
"""On a NetworkPolicy: `true` has its verdicts logged, those that `log_acl_actions` names."""
LOG_ACTIONS = "ovn.kubernetes.io/log_acl_actions"
LOG_RATE = "ovn.kubernetes.io/acl_log_meter_rate"
"""The most packets that are logged in a second, on each node."""
POLICY_MODE = "ovn.kubernetes.io/policy_mode"
"""On a NetworkPolicy: `audit` restricts nothing; what the policy would drop is logged."""

VETH_PAIR = "veth-pair"

# --- Kubernetes objects ---

PROVIDER = "ovn"
"""The provider of attachments to the fabric itself."""
FINALIZER = "kubeovn.io/kube-ovn-controller"
"""The finalizer of objects that must not go while they are in use."""
MADE_BY_NAMESPACE = "kubeovn.io/made-by-namespace"
"""Label of a Subnet that the annotations of a Namespace made, change and remove."""
IP_SUBNET = "ovn.kubernetes.io/subnet"
IP_NODE = "ovn.kubernetes.io/node-name"
IP_RESERVED = "ovn.kubernetes.io/ip_reserved"
"""Labels of IP objects; `ip_reserved` is "false" on those the controller made."""
STATEFULSET = "StatefulSet"
NODE_TYPE = "Node"
CHECKS_TYPE = "HealthChecks"
"""Values of `podType` in IP objects."""

CONTROLLER = "kube-ovn-controller"
"""Event component and Lease of the controller."""
CNISERVER = "kube-ovn-cniserver"
"""Event component of the node daemon."""

# --- Event reasons ---

ACQUIRE_ADDRESS_FAILED = "AcquireAddressFailed"
ADDRESS_IN_USE = "AddressInUse"
VALIDATE_POD_NETWORK_FAILED = "ValidatePodNetworkFailed"
POD_NETWORK_ALLOCATION_FAILED = "PodNetworkAllocationFailed"
CREATE_OVN_PORT_FAILED = "CreateOVNPortFailed"
POD_NETWORK_CONFIGURE_FAILED = "PodNetworkConfigureFailed"
VALIDATE_SUBNET_FAILED = "ValidateLogicalSwitchFailed"
VALIDATE_SUBNET_SUCCESS = "ValidateLogicalSwitchSuccess"
IN_USE = "InUse"
"""Condition reason: the removal waits until the object is in use no more."""
NOT_SUPPORTED = "NotSupported"
NO_READY_GATEWAY = "NoReadyGateway"
GATEWAY_CONDITION = "GatewayReady"
"""Type of the condition of a centralized Subnet; other Subnets do not have it."""
GATEWAY_READY = "ReconcileCentralizedGatewaySuccess"
"""GATEWAY_READY and NO_READY_GATEWAY are the reasons of this condition."""
GATEWAY_TYPE_CHANGED = "SubnetGatewayTypeChanged"
GATEWAY_NODE_CHANGED = "SubnetGatewayNodeChanged"
GATEWAY_NODE_REFUSED = "GatewayNodeRefused"
"""Reasons of Events."""
ANNOTATION_IGNORED = "AnnotationIgnored"
"""Reason of an Event on a Pod or Namespace with an annotation that nothing reads."""
SERVICE_REFUSED = "ServiceRefused"
"""Reason of an Event on a Service that does not get all that it asks for."""
SERVICE_CIDR_REFUSED = "ServiceCIDRRefused"
"""Reason of an Event on a ServiceCIDR that nodes do not route to the fabric."""
NODE_ADDRESS_CONFLICT = "NodeAddressConflictWithSubnet"

# --- external_ids of Northbound rows ---

OWNER_UID = "owner_uid"
"""On the ports of Pods and Nodes: the UID of the Pod or Node, because a later object may have the same name."""

# --- Logical_Router_Policy priorities (contract §3.4); the highest that matches decides ---

POLICY_EAST_WEST = 31000
"""ip.dst is in a subnet of the fabric: the packet stays inside."""
POLICY_NODE = 31001
"""ip.dst is a node's own address: the packet goes to that node over the join switch, past any gateway, and also when a
subnet holds the address.
"""
POLICY_CENTRALIZED = 29010
"""ip.src is in a centralized subnet: the packet leaves through the subnet's gateway nodes. Above POLICY_GATEWAY."""
POLICY_GATEWAY = 29000
"""ip.src is a Pod: the packet leaves through the node of the Pod."""

# --- Gateways of centralized subnets: one switch between the router and the nodes; no Kubernetes name has an `@` ---

GATEWAY_SWITCH = "gateways@ovn"
GATEWAY_PORT = "host@gateways"
"""The port of this switch, of type localport: it is each node's own, and only the node's chassis reaches it."""

# --- Services ---

SERVICE_LBS = "kube-ovn-services"
"""Load_Balancer_Group of all Services: the switches of Pods and of nodes are in it."""
SERVICE_OF_SLICE = "kubernetes.io/service-name"
"""Label of an EndpointSlice: the name of its Service (discovery/v1)."""
SERVICE_PROXY_NAME = "service.kubernetes.io/service-proxy-name"
SERVICE_HEADLESS = "service.kubernetes.io/headless"
"""Labels of Services with addresses that another proxy answers for, or none (KEP-2447)."""
ZONE = "topology.kubernetes.io/zone"
"""Label of a Node."""
FABRIC, DNS_SERVICE = "@fabric", "dns"
"""Namespace and name of the Service that no user made. No Namespace has an `@` in its name."""
DNS_PORT = 53
"""The port of DNS, and of the nodes' own answers: OVN answers packets that go to it after a load balancer has chosen.
"""
HEALTH_CHECK = "ovn.kubernetes.io/service_health_check"
"""On a Service: "true" when OVN is to check whether the endpoints answer."""
CLOSED_PORT = 9
"""A port of a node at which clients are refused: the protocol that had it (RFC 863) is long out of use."""
AFFINITY_TIMEOUT = "ovn.kubernetes.io/affinity_timeout"
"""On a Service with sessionAffinity ClientIP: the seconds for which OVN is to remember each client."""

# --- ACL priorities and tiers of Subnets (contract §11.1) ---

TIER_GUARD = 0
"""The tier of ACLs that come before those of users."""
ACL_GUARD = 32000
"""Refuses packets that no ACL of a user may allow."""
ACL_PAST_GUARD = 32001
"""Leads packets past the guard to the ACLs of users."""
OPEN_PORTS = "kube_ovn.open_ports"
"""Port_Group of the ports that may send anything. No Node has this name in a port group: those begin with `node.`."""
ACL_NEXT_TIER = 0
"""Leads packets to the next tier that OVN would not lead there; in the last tier it allows them."""
TIER_SUBNET = 2
ACL_PRIVATE_DROP = 1000
"""In a private subnet: stops packets that no other ACL allows."""
ACL_PRIVATE_ALLOW = 1001
"""In a private subnet: allows traffic inside it, and between it and its `allowSubnets`."""
ACL_NODE_ALLOW = 3000
"""In a private subnet: allows traffic from the nodes, such as the probes of the kubelet."""
TIER_LAST = 3
"""The tier of ACLs that come after those of users. There is no later tier (ovn-nb(5), ACL)."""
ACL_DNS_COMMIT = 0
"""Allows packets that are allowed anyway; it is there for the effect of its label."""

# --- Policies ---

TIER_ADMIN = 1
"""The tier of cluster-wide policies of administrators (contract §3.7)."""
TIER_POLICY = 3
"""The tier of NetworkPolicies, and below them in it of baseline policies: after that of Subnets, so that no
NetworkPolicy opens what a private subnet closes.
"""
ACL_POLICY_DROP = 31000
"""Drops what no rule of a NetworkPolicy allows."""
ACL_POLICY_DROP_LOGGED = 31001
"""The same, and logs it. Of two ACLs with one priority it is not known which one counts, so the one that logs is above
the one that does not.
"""
ACL_POLICY_ALLOW = 31002
ACL_POLICY_NAMES = 31003
"""Allows questions for names, with a label (`ACL_DNS_COMMIT`)."""
ACL_POLICY_ALLOW_LOGGED = 31004
ACL_POLICY_NAMES_LOGGED = 31005
ACL_POLICY_NODES = 31010
"""Allows what a node sends to the Pods on it, such as the probes of the kubelet."""
ACL_ADMIN_NODES = 32767
"""Leads what a node sends to the Pods on it past the policies of administrators."""
ACL_ADMIN = 32766
"""Less ADMIN_PLACES for each level, and one for each place in it: the priority of a rule of the tier Admin. The last
place of level 1000 has 735.
"""
ADMIN_PLACES = 32
ACL_BASELINE = 30999
"""As ACL_ADMIN, of the tier Baseline: below NetworkPolicies. The last place of level 1000 has 18988."""
BASELINE_PLACES = 12
ACL_LAST_POLICY = 1800
"""Less one for each place: the priority of a rule of the BaselineAdminNetworkPolicy, below all but ACL_DNS_COMMIT."""
LAST_PLACES = 1799
ACL_AUDIT_LOG = 1
"""In the tier of Subnets: logs what no rule of a NetworkPolicy in mode `audit` allows, and leaves it to the next tier.
For what a Pod in a private subnet receives it is in the tier before: what such a subnet lets in gets no further in its
own.
"""
ACL_AUDIT_PASS = 2
"""Leaves to the next tier, without a word, what a rule of such a NetworkPolicy allows."""
ACL_SUBNET_LEAST = 3
"""The least priority of what a Subnet's user writes of packets that Pods receive: above ours, which must not come in
its place.
"""
AUDIT_PORTS = "kube_ovn.audited"
"""Port_Group of all Pods that receive packets under an audit, but for those in private subnets."""
AUDIT_PORTS_PRIVATE = "kube_ovn.audited_private"
"""Port_Group of the latter."""
POLICY_PORTS = "kube_ovn.policies"
"""Port_Group of all Pods that policies restrict."""
CLUSTER_DNS = ("kube-system", "k8s-app", "kube-dns")
"""The Namespace of the Pods of a cluster's DNS server, and the label that policies select them by."""
ENFORCED = "ovn.kubernetes.io/enforced"
"""Annotation on a policy: on how many nodes it is enforced, as a condition."""
POLICY_ENFORCED = "PolicyEnforced"
"""Reason of an Event on a policy that tells on how many nodes it is enforced."""
POLICY_REFUSED = "PolicyRefused"
"""Reason of an Event on a policy that is not understood whole."""
POLICY_ORDER = "PolicyOrderUndefined"
"""Reason of an Event on a cluster-wide policy that shares its priority with others."""
POLICY_CROWDED = "PolicyPriorityFull"
"""Reason of an Event on a cluster-wide policy with more rules than its priority has places for."""

# --- SecurityGroups (contract §11.2); tier 0 of the API is in TIER_SUBNET, tier 1 in TIER_POLICY ---

CLOSED_PODS = -1
"""Stands for a tier: that of Pods which name a SecurityGroup that does not exist. Nothing is allowed there."""
SECURITY_GROUP_TIERS = {0: TIER_SUBNET, 1: TIER_POLICY, CLOSED_PODS: TIER_SUBNET}
"""By the tier of a SecurityGroup, the tier of its ACLs."""
ACL_GROUP_NODES = 18490
"""Allows what a node sends to the Pods on it that are in groups; above all rules."""
ACL_GROUP_RULE = 18484
"""Less its own priority (1 to 16384): the priority of a rule's ACL, unless the rule has to give way to another one of
the same priority (`topology.security.levels`).
"""
ACL_GROUP_LAST = 2007
"""The lowest priority of an ACL for a rule that lets packets pass."""
ACL_GROUP_CLOSED = 2006
"""Of rules that drop, when there are so many that no priority above this one is left."""
ACL_GROUP_BASE = 2005
"""Allows what a Pod in groups needs to have its addresses: DHCP and VRRP. Questions for names inside a group are here,
too, with a label (`ACL_DNS_COMMIT`).
"""
ACL_GROUP_SAME = 2004
"""Allows traffic among the Pods of one group."""
ACL_GROUP_DROP = 2003
"""Drops what nothing else lets pass to or from Pods in groups."""
SECURITY_GROUP_REFUSED = "SecurityGroupRefused"
"""Reason of an Event on a SecurityGroup that is not understood whole."""
POD_SECURITY_FAILED = "PodSecurityFailed"
"""Reason of an Event on a Pod that names groups which do not exist."""

# --- Linux and Open vSwitch on the node ---

INTEGRATION_BRIDGE = "br-int"
NODE_NIC = "ovn0"
GATEWAY_NIC = "ovngw0"
"""The interface of a node at which packets come out when it is a gateway of centralized subnets."""
NODE_NICS = frozenset({NODE_NIC, GATEWAY_NIC})
NFT_TABLE = "kube-ovn"
SERVICES_TABLE = "kube-ovn-services"
"""The second table: the addresses and ports at which Services are reached on the node itself."""
GUARD_TABLE = "kube-ovn-guard"
"""The third table: who may reach the databases of OVN."""
DATABASE_PORTS = (6641, 6642, 6643, 6644)
"""The TCP ports of the Northbound and Southbound database, and of their members among each other (ovn-ctl(8))."""
TUNNEL_PORTS = (6081, 4789)
"""The UDP ports of tunnels between nodes: Geneve (RFC 8926) and VXLAN (RFC 7348)."""
MASQUERADE_MARK = 0x4000
"""Bit of a packet's mark, between two chains of a table: the answer must come back through this node. kube-proxy, which
this replaces, uses the same bit for the same purpose.
"""
ROUTE_PROTOCOL = 0x4F
"""rtm_protocol of every route this project installs on a node ("O" in ASCII; unassigned in rt_protos)."""
POD_LINK_SUFFIX = "_h"
"""End of the names of Pods' veths on the host."""
LINK_ALIAS = "kube-ovn"
"""First word of the alias of such a link. Container, interface, Pod UID and Namespace follow."""


def router_port(router: str, switch: str) -> str:
    """Logical_Router_Port that joins a switch to a router."""
    return f"{router}-{switch}"


def switch_port(switch: str, router: str) -> str:
    """Logical_Switch_Port of type router: the switch's end of the same joint."""
    return f"{switch}-{router}"


def pod_port(pod: str, namespace: str) -> str:
    """Logical_Switch_Port of a Pod. Injective: a Namespace's name has no dot, so the last dot separates."""
    return f"{pod}.{namespace}"


MOST_DIGITS = 9
"""A longer number is no ordinal of a StatefulSet's Pod."""


def split_ordinal(pod: str) -> tuple[str, int] | None:
    """The name of the StatefulSet, and the ordinal, in the name of a StatefulSet's Pod; None for any other name."""
    parent, _, text = pod.rpartition("-")
    if not parent or not text.isdecimal() or len(text) > MOST_DIGITS or text != str(int(text)):
        return None
    return parent, int(text)


def node_port(node: str) -> str:
    """Logical_Switch_Port of a Node on the join switch. Only a Pod named `node-..` can collide
    (`topology.ports.obstacles`).
    """
    return f"node-{node}"


def service_lb(namespace: str, service: str, protocol: str) -> str:
    """Load_Balancer of a Service and protocol. Injective: no name of either has a `/`."""
    return f"{namespace}/{service}/{protocol.lower()}"


def local_service_lb(namespace: str, service: str, protocol: str, version: int) -> str:
    """Load_Balancer of addresses of a Service that lead to other endpoints on each node. OVN takes one IP
    family a row.
    """
    return f"{service_lb(namespace, service, protocol)}/ipv{version}"


def service_variable(what: str) -> str:
    """Entry of Chassis_Template_Var.variables. Injective beyond chance; OVN allows letters, digits, `_` and `.`."""
    return f"service.{hashlib.blake2b(what.encode(), digest_size=8).hexdigest()}"


def dns_row(number: int) -> str:
    """DNS row with this number; each holds the names of some of the Services."""
    return f"services {number}"


def gateway_group(key: str) -> str:
    """Logical_Router_Port and HA_Chassis_Group of a group of gateway nodes. Injective beyond chance."""
    return f"gateway@{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}"


LONGEST_CUT = 220
"""Characters of a port's name that are left when it is cut for the name of an object."""


def ip_object(port: str) -> str:
    """IP object of a port: the same name, unless that is too long for an object (253 characters). Injective beyond
    chance: the digest stands after a dash in the last label, which in a name without a digest is a Namespace, 63
    characters long at most.
    """
    if len(port) <= 253:
        return port
    return f"{port[:LONGEST_CUT].rstrip('-.')}-{hashlib.blake2b(port.encode(), digest_size=16).hexdigest()}"


def checks_ip(subnet: str) -> str:
    """IP object with the address that endpoints in a subnet are checked from. Injective beyond chance, and never the IP
    object of a Pod: those have a dot.
    """
    plain = "." not in subnet and len(subnet) <= 63
    return f"checks-{subnet if plain else hashlib.blake2b(subnet.encode(), digest_size=8).hexdigest()}"


def spare_ip(ip: str, number: int) -> str:
    """IP object of a Node or of checks, in place of one that has its name; there are as many as are needed. Injective
    beyond chance, and never the IP object of a Pod: it has no dot.
    """
    digest = hashlib.blake2b(f"{ip} {number}".encode(), digest_size=16).hexdigest()
    return f"{ip.partition('-')[0]}-{digest}"


def is_own_ip(ip: str) -> bool:
    """Whether an IP object of this name can be that of a Node or of checks alone. The name of a Pod's has a dot, or is
    cut (`ip_object`). A Node's may have a dot, too.
    """
    return ip.startswith(("node-", "checks-")) and "." not in ip and len(ip) <= LONGEST_CUT


def label_value(text: str) -> str:
    """A name as the value of a label: the whole name, or "" when it has more than 63 characters."""
    return text if len(text) <= 63 else ""


def node_port_group(node: str) -> str:
    """Port_Group of the Pods on a Node.

    OVN allows letters, digits, `_` and `.`: `-` becomes `.`, as users of the contract expect, and `.` becomes `_`.
    Injective, because a Node's name (a DNS subdomain) has no `_`.
    """
    return "node." + node.replace(".", "_").replace("-", ".")


def node_address_set(version: int) -> str:
    """Address_Set of the nodes' own addresses of one IP family. A pool never has this name: its set has no upper-case
    letter.
    """
    return f"kube_ovn.NODES.ip{version}"


def joined_nodes_set(version: int) -> str:
    """Address_Set of the nodes' addresses in the join subnet, of one IP family. A pool never has this name."""
    return f"kube_ovn.JOINED.ip{version}"


def policy_group(selection: str) -> str:
    """Port_Group of the Pods of a selection that policies restrict. Injective beyond chance, and never the group of a
    node: those begin with `node.`.
    """
    return f"NP.{hashlib.blake2b(selection.encode(), digest_size=8).hexdigest()}"


def audit_group(selection: str, where: str) -> str:
    """Port_Group of the Pods of a selection under an audit. `where`: the direction, and whether their subnet is
    private. Injective as `policy_group`, and never the name of one: those end in 16 digits.
    """
    return f"{policy_group(selection)}.{where}"


def policy_meter(namespace: str, rate: int) -> str:
    """Meter of what is logged of the policies in a Namespace that ask for this rate. Injective: no Namespace has a dot
    in its name.
    """
    return f"NP.{namespace}.{rate}"


LONGEST_ACL_NAME = 63
"""Characters (ovn-nb(5), ACL)."""


def policy_log(namespace: str, policy: str, direction: str, rule: str) -> str:
    """What OVN's log calls a rule of a NetworkPolicy: `np/<namespace>/<policy>/<direction>/<rule>`. Where that is too
    long, a digest after a `~`, which no name has, stands for the end of the Namespace and policy. Injective beyond
    chance.
    """
    whole, end = f"{namespace}/{policy}", f"/{direction}/{rule}"
    left = LONGEST_ACL_NAME - len("np/") - len(end)
    if len(whole) > left:
        digest = hashlib.blake2b(whole.encode(), digest_size=6).hexdigest()
        whole = f"{whole[: left - 1 - len(digest)]}~{digest}"
    return f"np/{whole}{end}"


def policy_set(what: str, version: int) -> str:
    """Address_Set of the addresses of a selection, or of CIDRs, of one IP family. Injective beyond chance, and never
    the set of a pool: that has no upper-case letter.
    """
    return f"{policy_group(what)}.ip{version}"


def security_group(group: str) -> str:
    """Port_Group of a SecurityGroup. `-` becomes `.`, as users of the contract expect, and `.` becomes `__`. Injective,
    because the name of an object has no `_` and no two dots beside each other. No other group is named so: those begin
    otherwise, or have a single `_` (`denied_group`).
    """
    return "ovn.sg." + group.replace(".", "__").replace("-", ".")


def security_group_set(group: str, version: int) -> str:
    """Address_Set of the Pods of a SecurityGroup, of one IP family. Injective as the Port_Group is; a pool's set ends
    in another word, and so do the sets that OVN makes of a Port_Group.
    """
    return f"{security_group(group)}.associated.v{version}"


def denied_group(tier: int) -> str:
    """Port_Group of the Pods from and to which everything is dropped that no SecurityGroup of a tier (0 or 1) lets
    pass; and of those that are closed (`CLOSED_PODS`). No SecurityGroup has these names: they have a single `_`.
    """
    return {0: "ovn.sg.kubeovn_deny_all", 1: "ovn.sg.kubeovn_deny_all_1", CLOSED_PODS: "ovn.sg.kubeovn_closed"}[tier]


def own_pods_set(selection: str, version: int) -> str:
    """Address_Set of those Pods of a selection that have addresses of their own, of one IP family. Injective as
    `policy_set` is: no selection and no list of CIDRs begins like this.
    """
    return policy_set(f"own {selection}", version)


def selected_nodes_set(selector: str, version: int) -> str:
    """Address_Set of the Nodes that a selector selects, of one IP family. Injective as `own_pods_set` is."""
    return policy_set(f"nodes {selector}", version)


def pool_address_set(pool: str, version: int) -> str:
    """Address_Set of an IPPool for one IP family, because a set holds one. `-` becomes `.`, as users of the contract
    expect, and `.` becomes `_`. OVN takes no name that begins with a digit, so a `_` comes before it. Injective,
    because the name of an object has no `_`, and begins with a letter or a digit.
    """
    first = "_" if pool[:1].isdigit() else ""
    return f"{first}{pool.replace('.', '_').replace('-', '.')}.ip{version}"


def derived_mac(*identity: str) -> str:
    """A locally administered unicast MAC derived from an identity, so that rendering needs no randomness."""
    digest = hashlib.blake2b("/".join(identity).encode(), digest_size=5).hexdigest()
    return ":".join(["0a", *(digest[i : i + 2] for i in range(0, 10, 2))])


# --- Address history: a ring of ConfigMaps in the controller's Namespace ---

HISTORY_SEGMENTS = 32


def history_segment(slot: int) -> str:
    """ConfigMap that holds one segment of the history."""
    return f"kube-ovn-ipam-history-{slot:02}"
