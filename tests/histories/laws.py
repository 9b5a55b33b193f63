"""Laws of desired states: what holds of the rows after each pass, and that two controllers agree."""

from collections.abc import Mapping
from typing import Any

from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.row import Member, RowKey, State

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
