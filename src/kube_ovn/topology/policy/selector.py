"""Selectors of labels in one canonical form: two that say the same are equal, and can be keys. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from kube_ovn.model.crd import LabelSelector


class Requirement(NamedTuple):
    """What the label of one key must be: one of `values`, or none of them, or there, or not there."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


Selector: TypeAlias = tuple[Requirement, ...]
"""Requirements that all must hold, sorted; none selects everything."""


def canonical(selector: LabelSelector) -> Selector:
    """The canonical form of a selector. Raises ValueError when an operator is unknown, or has the wrong number of
    values (meta/v1 LabelSelectorRequirement).
    """
    found = {Requirement(key, "In", (value,)) for key, value in selector.match_labels.items()}
    for each in selector.match_expressions:
        has_values = each.operator in ("In", "NotIn")
        if not has_values and each.operator not in ("Exists", "DoesNotExist"):
            raise ValueError(
                f"operator {each.operator[:40]!r} of label {each.key} is unknown: use In, NotIn, Exists or DoesNotExist"
            )
        if has_values != bool(each.values):
            raise ValueError(f"operator {each.operator} of label {each.key} has {len(each.values)} values")
        found.add(Requirement(each.key, each.operator, tuple(sorted(set(each.values)))))
    return tuple(sorted(found))


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether labels meet all requirements."""
    return all(_holds(each, labels.get(each.key)) for each in selector)


def _holds(requirement: Requirement, value: str | None) -> bool:
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case _:
            return value is None


def anchors(selector: Selector) -> Iterable[tuple[str, str]]:
    """Labels, of which an object must have one to be selected: those of the requirement with the fewest values. None
    when there is no such requirement.
    """
    return [
        (each.key, value)
        for each in sorted(selector, key=lambda each: len(each.values))
        if each.operator == "In"
        for value in each.values
    ][: _fewest(selector)]


def _fewest(selector: Selector) -> int:
    return min((len(each.values) for each in selector if each.operator == "In"), default=0)


def describe(selector: Selector) -> str:
    """A selector as kubectl writes one."""
    return ",".join(_describe(each) for each in selector)


def _describe(each: Requirement) -> str:
    match each.operator:
        case "In" if len(each.values) == 1:
            return f"{each.key}={each.values[0]}"
        case "In":
            return f"{each.key} in ({','.join(each.values)})"
        case "NotIn":
            return f"{each.key} notin ({','.join(each.values)})"
        case "Exists":
            return each.key
        case _:
            return f"!{each.key}"
