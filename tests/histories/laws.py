"""Laws of desired states: what holds of the rows after each pass, and that two controllers agree."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, TypeGuard

from kube_ovn.model.addr import Address
from kube_ovn.model.crd import IPPool, Subnet
from kube_ovn.model.kube import Namespace, Object
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.network import Grant
from kube_ovn.model.row import Member, Row, RowKey, State

MOST_SHOWN = 5
"""Differences in a message."""
REFERS_TO = {
    "ports": ("Logical_Switch_Port", "Logical_Router_Port"),
    "acls": ("ACL",),
    "dhcpv4_options": ("DHCP_Options",),
    "dhcpv6_options": ("DHCP_Options",),
    "ha_chassis_group": ("HA_Chassis_Group",),
    "ha_chassis": ("HA_Chassis",),
    "static_routes": ("Logical_Router_Static_Route",),
    "policies": ("Logical_Router_Policy",),
    "load_balancer_group": ("Load_Balancer_Group",),
    "load_balancer": ("Load_Balancer",),
    "health_check": ("Load_Balancer_Health_Check",),
    "dns_records": ("DNS",),
    "bands": ("Meter_Band",),
    "addresses": (),
}
"""Tables that the columns of memberships refer to."""


def check_references(state: State) -> None:
    """Every membership has its rows: the database would refuse the whole transaction."""
    for key in state:
        if isinstance(key, Member):
            assert RowKey(key.table, key.key) in state, f"{key} has no row of its own"
            tables = REFERS_TO[key.column]
            assert not tables or any(RowKey(table, key.target) in state for table in tables), f"{key} refers to nothing"


def addresses_of(row: LogicalSwitchPort) -> list[str]:
    return [address for entry in row.addresses for address in entry.split()[1:]]


def check_addresses(state: State) -> None:
    """No address of a subnet has two ports."""
    taken: dict[tuple[str, str], str] = {}
    for row in state.values():
        if isinstance(row, LogicalSwitchPort) and not row.type:
            for address in addresses_of(row):
                before = taken.setdefault((row.external_ids["ls"], address), row.name)
                assert before == row.name, f"{before} and {row.name} both have {address}"


def is_port(row: Row | None) -> TypeGuard[LogicalSwitchPort]:
    return isinstance(row, LogicalSwitchPort)


def may_be_in(namespace: str, grant: Grant, seen: Sequence[Object], default: str) -> bool:
    """Whether a Namespace's Pods may have these addresses, as Subnets, IPPools and labels say. `default`: the Subnet of
    Namespaces that none names.
    """
    (labels,) = [item.metadata.labels for item in seen if _is_namespace(item, namespace)]
    (spec,) = [each.spec for each in seen if isinstance(each, Subnet) and each.metadata.name == grant.subnet]
    selected = any(
        all(labels.get(key) == value for key, value in selector.match_labels.items())
        for selector in spec.namespace_selectors
    )
    closed = bool(spec.namespaces or spec.namespace_selectors) and grant.subnet != default
    let_in = not closed or namespace in spec.namespaces or selected
    pools = [each.spec for each in seen if isinstance(each, IPPool) and each.spec.subnet == grant.subnet]
    for address in grant.addresses:
        having = [pool.namespaces for pool in pools if any(_within(address, text) for text in pool.ips)]
        if not any(namespace in named or (not named and let_in) for named in having or [()]):
            return False
    return True


def _is_namespace(item: Object, name: str) -> bool:
    return isinstance(item, Namespace) and item.metadata.name == name


def _within(address: Address, text: str) -> bool:
    """Whether an address is in an entry of an IPPool: an address or a range."""
    try:
        first, _, last = text.partition("..")
        low, high = ip_address(first), ip_address(last or first)
        return low.version == address.version and int(low) <= int(address) <= int(high)
    except ValueError:
        return False


def differences(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> dict[Any, Any]:
    """The keys on which two mappings differ, each with both values."""
    nothing = "nothing"
    return {
        key: (one.get(key, nothing), other.get(key, nothing))
        for key in one.keys() | other.keys()
        if one.get(key, nothing) != other.get(key, nothing)
    }


def assert_same(what: str, walked: Mapping[Any, Any], fresh: Mapping[Any, Any]) -> None:
    found = [f"{key}:\n  walked {old}\n  fresh  {new}" for key, (old, new) in differences(walked, fresh).items()]
    assert not found, "\n".join([f"{what} of a controller that starts now are others", *found[:MOST_SHOWN]])
