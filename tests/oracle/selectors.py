"""Selectors of labels, as the oracle reads them (meta/v1 LabelSelector)."""

from kube_ovn.model.crd import LabelSelector


class OddError(Exception):
    """A part that cannot be understood."""


def selects(selector: LabelSelector, labels: dict[str, str]) -> bool:
    """Whether labels meet all requirements. Raises OddError, whatever the labels are."""
    holds = [labels.get(key) == value for key, value in selector.match_labels.items()]
    for each in selector.match_expressions:
        there = each.key in labels
        if each.operator in ("In", "NotIn") and each.values:
            holds.append((there and labels[each.key] in each.values) == (each.operator == "In"))
        elif each.operator in ("Exists", "DoesNotExist") and not each.values:
            holds.append(there == (each.operator == "Exists"))
        else:
            raise OddError
    return all(holds)
