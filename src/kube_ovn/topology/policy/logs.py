"""What OVN logs of policies: columns of ACLs, and the Meters that bound it. Pure.

All policies of a Namespace that ask for one rate share a Meter: OVN makes each Meter on every node, and no Namespace
keeps another one's packets from being logged.
"""

from collections.abc import Iterable

import msgspec

from kube_ovn.model import names
from kube_ovn.model.nb import Acl, Meter, MeterBand
from kube_ovn.model.row import Key, Member, Row, facts, owned
from kube_ovn.topology.policy.rules import Direction, Mode
from kube_ovn.topology.policy.selections import Asked

NO_RULE = "none"
"""Stands for the number of a rule where no rule allows."""
_SEVERITIES = {"drop": "warning", "pass": "notice", "allow-related": "info"}
"""By action. What an audit finds is a `pass`."""


def logged(acl: Acl, asked: Asked, rule: str) -> Acl:
    """An ACL that also logs, under the name of a policy and its rule."""
    return msgspec.structs.replace(
        acl,
        log=True,
        name=names.policy_log(*asked.policy, asked.direction, rule),
        severity=_SEVERITIES[acl.action],
        meter=names.policy_meter(asked.policy.namespace, asked.rate),
    )


def choose(asked: Iterable[Asked], direction: Direction) -> Asked | None:
    """The wish by which an ACL is logged that several policies share: the one for most packets, and of equal ones the
    one of the policy with the least name. None when no policy asks.
    """
    those = (each for each in asked if each.direction is direction)
    return min(those, key=lambda each: (-each.rate, each.policy), default=None)


def render_meter(namespace: str, mode: Mode) -> dict[Key, Row | None]:
    """The Meter of a policy of which something is logged."""
    if not (mode.audit or mode.actions):
        return {}
    name = names.policy_meter(namespace, mode.rate)
    band = MeterBand(rate=mode.rate, external_ids=owned(key=name))
    return facts(Meter(name=name, external_ids=owned()), band, members=(Member(Meter.TABLE, name, "bands", band.key),))
