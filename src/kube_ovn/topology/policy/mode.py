"""The annotations of a policy that say how it is carried out: whether it is only tried, and what is logged. Pure.

A value that cannot be read has the default, and is told. The default of `policy_mode` is that the policy is enforced:
what is misspelt must not open anything.
"""

from collections.abc import Mapping

from kube_ovn.model import names
from kube_ovn.topology.policy.rules import ENFORCED, Mode

DEFAULT_RATE = 100
"""Packets a second. There is always a meter: each packet that is logged goes through ovn-controller."""
MOST_RATE = 1000
"""Few enough that no user of policies keeps ovn-controller from its work."""
_ACTIONS = ("allow", "drop", "reject", "pass")
"""Of the last two a NetworkPolicy has none; they are known because other kinds of policies have them."""


def parse_mode(annotations: Mapping[str, str], faults: list[str]) -> Mode:
    """What the annotations of a policy say. Adds to `faults` a sentence for each value that is not understood."""
    audit, is_logged = _audit(annotations, faults), _is_on(annotations, faults)
    read = {names.LOG_ACTIONS: is_logged and not audit, names.LOG_RATE: is_logged or audit}
    for each, is_read in read.items():
        if each in annotations and not is_read:
            why = "in mode audit" if audit else f'without {names.ENABLE_LOG}: "true"'
            faults.append(f"annotation {each} does nothing {why}")
    if audit:
        return Mode(audit=True, rate=_rate(annotations, faults))
    if not is_logged:
        return ENFORCED
    return Mode(actions=_actions(annotations, faults), rate=_rate(annotations, faults))


def _audit(annotations: Mapping[str, str], faults: list[str]) -> bool:
    text = annotations.get(names.POLICY_MODE, "enforce")
    if text not in ("audit", "enforce"):
        faults.append(f"annotation {names.POLICY_MODE} is {text[:40]!r}: use audit or enforce; the policy is enforced")
    return text == "audit"


def _is_on(annotations: Mapping[str, str], faults: list[str]) -> bool:
    text = annotations.get(names.ENABLE_LOG, "false")
    if text not in ("true", "false"):
        faults.append(f"annotation {names.ENABLE_LOG} is {text[:40]!r}: use true or false; nothing is logged")
    return text == "true"


def _actions(annotations: Mapping[str, str], faults: list[str]) -> frozenset[str]:
    texts = [each.strip() for each in annotations.get(names.LOG_ACTIONS, "drop").split(",")]
    unknown = [each for each in texts if each not in _ACTIONS]
    if unknown:
        faults.append(
            f"annotation {names.LOG_ACTIONS} names {unknown[0][:40]!r}: use some of {', '.join(_ACTIONS)}, joined by "
            "commas; drops are logged"
        )
        return frozenset({"drop"})
    return frozenset(texts) & {"allow", "drop"}


def _rate(annotations: Mapping[str, str], faults: list[str]) -> int:
    text = annotations.get(names.LOG_RATE, str(DEFAULT_RATE))
    if text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_RATE)) and 1 <= int(text) <= MOST_RATE:
        return int(text)
    faults.append(
        f"annotation {names.LOG_RATE} is {text[:40]!r}: use a number of packets a second from 1 to {MOST_RATE}; "
        f"{DEFAULT_RATE} are logged"
    )
    return DEFAULT_RATE
