"""OVN Northbound rows this project writes: names and types as in ovn-nb(5). Nouns only."""

from typing import ClassVar

from kube_ovn.model import names
from kube_ovn.model.row import Row


class LogicalSwitch(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Logical_Switch"
    MEMBERS: ClassVar[tuple[str, ...]] = ("ports", "acls", "load_balancer_group", "dns_records")

    name: str
    other_config: dict[str, str] = {}


class LogicalSwitchPort(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Logical_Switch_Port"
    MEMBERS: ClassVar[tuple[str, ...]] = ("dhcpv4_options", "dhcpv6_options")

    name: str
    type: str = ""
    addresses: frozenset[str] = frozenset()
    port_security: frozenset[str] = frozenset()
    options: dict[str, str] = {}


class LogicalRouter(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Logical_Router"
    MEMBERS: ClassVar[tuple[str, ...]] = ("ports", "static_routes", "policies")

    name: str
    options: dict[str, str] = {}


class LogicalRouterPort(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Logical_Router_Port"
    MEMBERS: ClassVar[tuple[str, ...]] = ("ha_chassis_group",)

    name: str
    mac: str
    networks: frozenset[str]
    ipv6_ra_configs: dict[str, str] = {}


class LogicalRouterStaticRoute(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Logical_Router_Static_Route"
    KEY: ClassVar[str] = "external_ids"

    ip_prefix: str
    nexthop: str
    policy: str | None = None
    route_table: str = ""


class LogicalRouterPolicy(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Logical_Router_Policy"
    KEY: ClassVar[str] = "external_ids"

    priority: int
    match: str
    action: str
    nexthops: frozenset[str] = frozenset()


class PortGroup(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Port_Group"
    MEMBERS: ClassVar[tuple[str, ...]] = ("ports", "acls")

    name: str


class Acl(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "ACL"
    KEY: ClassVar[str] = "external_ids"

    priority: int
    direction: str
    match: str
    action: str
    tier: int = 0
    label: int = 0
    log: bool = False
    name: str | None = None
    """What the log calls it."""
    severity: str | None = None
    meter: str | None = None
    options: dict[str, str] = {}


class Meter(Row, frozen=True, kw_only=True):
    """How much is logged."""

    TABLE: ClassVar[str] = "Meter"
    MEMBERS: ClassVar[tuple[str, ...]] = ("bands",)

    name: str
    unit: str = "pktps"


class MeterBand(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Meter_Band"
    KEY: ClassVar[str] = "external_ids"

    rate: int
    action: str = "drop"


class AddressSet(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Address_Set"
    MEMBERS: ClassVar[tuple[str, ...]] = ("addresses",)

    name: str


class DhcpOptions(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "DHCP_Options"
    KEY: ClassVar[str] = "external_ids"

    cidr: str
    options: dict[str, str] = {}


class HaChassisGroup(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "HA_Chassis_Group"
    MEMBERS: ClassVar[tuple[str, ...]] = ("ha_chassis",)

    name: str


class HaChassis(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "HA_Chassis"
    KEY: ClassVar[str] = "external_ids"

    chassis_name: str
    priority: int


class LoadBalancer(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Load_Balancer"
    MEMBERS: ClassVar[tuple[str, ...]] = ("health_check",)

    name: str
    protocol: str
    vips: dict[str, str]
    selection_fields: frozenset[str] = frozenset()
    ip_port_mappings: dict[str, str] = {}
    options: dict[str, str] = {}


class LoadBalancerHealthCheck(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Load_Balancer_Health_Check"
    KEY: ClassVar[str] = "external_ids"

    vip: str
    options: dict[str, str] = {}


class LoadBalancerGroup(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Load_Balancer_Group"
    MEMBERS: ClassVar[tuple[str, ...]] = ("load_balancer",)
    OURS: ClassVar[frozenset[str] | None] = frozenset({names.SERVICE_LBS})

    name: str


class ChassisTemplateVar(Row, frozen=True, kw_only=True):
    """The values of `^name` variables on one chassis."""

    TABLE: ClassVar[str] = "Chassis_Template_Var"
    KEY: ClassVar[str] = "chassis"

    chassis: str
    variables: dict[str, str]


class Dns(Row, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "DNS"
    KEY: ClassVar[str] = "external_ids"

    records: dict[str, str]


class NbGlobal(Row, frozen=True, kw_only=True):
    """The one root row of the database. This project owns only one entry of its external_ids: the fence
    (`ovsdb.commit.FENCE`).
    """

    TABLE: ClassVar[str] = "NB_Global"

    name: str


TABLES: tuple[type[Row], ...] = (
    NbGlobal,
    LogicalSwitch,
    LogicalSwitchPort,
    LogicalRouter,
    LogicalRouterPort,
    LogicalRouterStaticRoute,
    LogicalRouterPolicy,
    PortGroup,
    Acl,
    Meter,
    MeterBand,
    AddressSet,
    DhcpOptions,
    HaChassisGroup,
    HaChassis,
    LoadBalancer,
    LoadBalancerHealthCheck,
    LoadBalancerGroup,
    ChassisTemplateVar,
    Dns,
)
"""Every Northbound table this project reads and writes; nothing else is monitored."""
