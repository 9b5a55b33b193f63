"""What earlier passes granted, read back from where it was written: annotations, and ports of the Northbound database.

A port is the better witness: it is written first, so that a leader which died in between left only it, and no user can
edit it. The annotations remain when the database was lost.
"""

from collections.abc import Mapping

from kube_ovn.model import names
from kube_ovn.model.addr import parse_addresses, parse_mac
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.network import Grant
from kube_ovn.model.row import State


def remembered(annotations: Mapping[str, str]) -> Grant | None:
    """The grant an object's annotations record; None where there is none or a user has damaged it."""
    if annotations.get(names.ALLOCATED) != "true":
        return None
    try:
        return Grant(
            subnet=annotations[names.LOGICAL_SWITCH],
            addresses=parse_addresses(annotations[names.IP_ADDRESS]),
            mac=parse_mac(annotations[names.MAC_ADDRESS]),
        )
    except (KeyError, ValueError):
        return None


def confirmed(state: State) -> dict[str, Grant]:
    """The grants that ports of ours carry, by the UID of their owner; what was damaged since is left out."""
    grants: dict[str, Grant] = {}
    for row in state.values():
        if not isinstance(row, LogicalSwitchPort) or names.OWNER_UID not in row.external_ids:
            continue
        mac, _, addresses = " ".join(row.addresses).partition(" ")
        try:
            grants[row.external_ids[names.OWNER_UID]] = Grant(
                subnet=row.external_ids["ls"],
                addresses=parse_addresses(addresses.replace(" ", ",")),
                mac=parse_mac(mac),
            )
        except (KeyError, ValueError):
            continue
    return grants
