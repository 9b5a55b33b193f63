"""The resources of this project, `kubeovn.io/v1`, and the workloads that own addresses: only the fields that are read.

Nouns only, as in `model.kube`. The schema of a CRD says what a field means to a user (`charts/kube-ovn/templates`).
Texts of addresses are as users wrote them: `topology.subnets` makes subnets of them, or tells what is wrong.
"""

import msgspec

from kube_ovn.model.kube import ObjectMeta, VersionedMeta


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`status.conditions[]`. `controller.send` fills in the time."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""


class SelectorRequirement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """meta/v1 LabelSelector; empty selects everything."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[SelectorRequirement, ...] = ()


class SubnetAcl(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One raw ACL of a Subnet, as in ovn-nb(5) table ACL."""

    direction: str
    priority: int
    match: str
    action: str


class NatRuleMatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Addresses and CIDRs separated by commas; an empty text matches all."""

    src_ips: str = msgspec.field(default="", name="srcIPs")
    dst_ips: str = msgspec.field(default="", name="dstIPs")


class NatRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An exception to natOutgoing. `action` is `nat` or `forward`."""

    match: NatRuleMatch = NatRuleMatch()
    action: str = ""


class EffectiveNatRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A rule that the nodes carry out, under its name on the nodes."""

    rule_id: str = msgspec.field(default="", name="ruleID")
    match: NatRuleMatch = NatRuleMatch()
    action: str = ""


class SubnetSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    cidr_block: str = ""
    gateway: str = ""
    exclude_ips: tuple[str, ...] = ()
    provider: str = ""
    vpc: str = ""
    vlan: str = ""
    protocol: str = ""
    namespaces: tuple[str, ...] = ()
    namespace_selectors: tuple[LabelSelector, ...] = ()
    private: bool = False
    allow_subnets: tuple[str, ...] = ()
    acls: tuple[SubnetAcl, ...] = ()
    gateway_type: str = ""
    gateway_node: str = ""
    gateway_node_selectors: tuple[LabelSelector, ...] = ()
    enable_ecmp: bool = False
    nat_outgoing: bool = False
    nat_outgoing_policy_rules: tuple[NatRule, ...] = ()
    external_egress_gateway: str = ""
    policy_routing_priority: int = 0
    policy_routing_table_id: int = msgspec.field(default=0, name="policyRoutingTableID")
    enable_dhcp: bool = msgspec.field(default=False, name="enableDHCP")
    dhcp_v4_options: str = ""
    dhcp_v6_options: str = ""
    enable_ipv6_ra: bool = msgspec.field(default=False, name="enableIPv6RA")
    ipv6_ra_configs: str = msgspec.field(default="", name="ipv6RAConfigs")
    mtu: int = 0
    permit_spoofing: bool = False
    enable_lb: bool | None = None
    """None: Services work, as with true."""


class SubnetStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`cidr_block` and `gateway` are the ones in effect: a change of the spec that cannot be made leaves them as is.

    Counts are JSON numbers of any size; the API server keeps those beyond 2^63 as doubles.
    """

    conditions: tuple[Condition, ...] = ()
    cidr_block: str = ""
    gateway: str = ""
    activate_gateway: str = ""
    """The nodes that packets of a centralized subnet leave through now, joined by commas."""
    nat_outgoing_policy_rules: tuple[EffectiveNatRule, ...] = ()
    v4_available_ips: int | float = msgspec.field(default=0, name="v4availableIPs")
    v4_using_ips: int | float = msgspec.field(default=0, name="v4usingIPs")
    v6_available_ips: int | float = msgspec.field(default=0, name="v6availableIPs")
    v6_using_ips: int | float = msgspec.field(default=0, name="v6usingIPs")
    v4_available_ip_range: str = msgspec.field(default="", name="v4availableIPrange")
    v4_using_ip_range: str = msgspec.field(default="", name="v4usingIPrange")
    v6_available_ip_range: str = msgspec.field(default="", name="v6availableIPrange")
    v6_using_ip_range: str = msgspec.field(default="", name="v6usingIPrange")


class Subnet(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    metadata: VersionedMeta
    spec: SubnetSpec = SubnetSpec()
    status: SubnetStatus = SubnetStatus()


class IPSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The addresses of one owner in one subnet. Without `owner_uid` it is a reservation that a user made."""

    subnet: str = ""
    ip_address: str = ""
    v4_ip_address: str = ""
    v6_ip_address: str = ""
    mac_address: str = ""
    gateway: str = ""
    """The gateways that the owner was given, in the order of the addresses. They stay as long as the owner lives."""
    pod_name: str = ""
    namespace: str = ""
    node_name: str = ""
    pod_type: str = ""
    """`StatefulSet` for an address that outlives its Pod; `Node` for the address of a Node; `HealthChecks` for the
    address that endpoints in a subnet are checked from; else empty.
    """
    owner_uid: str = msgspec.field(default="", name="ownerUID")
    """The UID of the Pod, or of the StatefulSet, Node or Subnet where `pod_type` says so."""

    @property
    def addresses(self) -> str:
        """The addresses, joined by commas; a reservation's user may have named them for each IP family alone."""
        return self.ip_address or ",".join(filter(None, (self.v4_ip_address, self.v6_ip_address)))


class IP(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    metadata: ObjectMeta
    spec: IPSpec = IPSpec()


class IPPoolSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel"):
    subnet: str = ""
    ips: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    enable_address_set: bool = False


class IPPoolStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    conditions: tuple[Condition, ...] = ()
    v4_available_ips: int | float = msgspec.field(default=0, name="v4AvailableIPs")
    v4_using_ips: int | float = msgspec.field(default=0, name="v4UsingIPs")
    v6_available_ips: int | float = msgspec.field(default=0, name="v6AvailableIPs")
    v6_using_ips: int | float = msgspec.field(default=0, name="v6UsingIPs")
    v4_available_ip_range: str = msgspec.field(default="", name="v4AvailableIPRange")
    v4_using_ip_range: str = msgspec.field(default="", name="v4UsingIPRange")
    v6_available_ip_range: str = msgspec.field(default="", name="v6AvailableIPRange")
    v6_using_ip_range: str = msgspec.field(default="", name="v6UsingIPRange")


class IPPool(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    metadata: VersionedMeta
    spec: IPPoolSpec = IPPoolSpec()
    status: IPPoolStatus = IPPoolStatus()


class VpcSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel"):
    namespaces: tuple[str, ...] = ()


class VpcStatus(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel"):
    conditions: tuple[Condition, ...] = ()
    standby: bool = False
    default: bool = False
    router: str = ""
    default_logical_switch: str = ""
    subnets: tuple[str, ...] = ()


class Vpc(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    metadata: VersionedMeta
    spec: VpcSpec = VpcSpec()
    status: VpcStatus = VpcStatus()


class Ordinals(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    start: int = 0


class StatefulSetSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    replicas: int = 1
    ordinals: Ordinals = Ordinals()


class StatefulSet(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """apps/v1: the number of Pods that a StatefulSet wants, and the ordinal of the first one."""

    metadata: ObjectMeta
    spec: StatefulSetSpec = StatefulSetSpec()
