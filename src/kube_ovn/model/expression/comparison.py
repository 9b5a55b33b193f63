"""The rules for the comparison of a field with constants, in the order in which OVN checks them."""

from typing import NamedTuple

from kube_ovn.model.expression.symbols import Symbol
from kube_ovn.model.expression.tokens import Constant


class Operand(NamedTuple):
    """The right side of a comparison: a constant, or several in braces or behind the name of a set."""

    constants: tuple[Constant, ...]
    """Empty when they are texts."""
    several: bool
    is_text: bool = False


def comparison_complaint(symbol: Symbol, relation: str, operand: Operand, *, negated: bool) -> str:
    """OVN's sentence why a field cannot be compared so; empty when it can. `negated`: inside an odd number of `!`."""
    complaint = _type_complaint(symbol, operand)
    if not complaint and relation not in ("==", "!="):
        complaint = _order_complaint(symbol, operand)
    if not complaint and symbol.level == "nominal":
        complaint = _nominal_complaint(symbol, operand, negated=(relation == "!=") ^ negated)
    return complaint


def _type_complaint(symbol: Symbol, operand: Operand) -> str:
    if operand.is_text and symbol.width:
        return f"Integer field {symbol.name} is not compatible with string constant."
    if not operand.is_text and not symbol.width:
        return f"String field {symbol.name} is not compatible with integer constant."
    for constant in operand.constants:
        if constant.bits > symbol.width:
            return f"{constant.bits}-bit constant is not compatible with {symbol.width}-bit field {symbol.name}."
    return ""


def _order_complaint(symbol: Symbol, operand: Operand) -> str:
    if operand.several:
        return "Only == and != operators may be used with value sets."
    if symbol.level != "ordinal":
        return f"Only == and != operators may be used with {symbol.level} field {symbol.name}."
    if any(constant.masked for constant in operand.constants):
        return (
            "Only == and != operators may be used with masked constants.  Consider using subfields instead"
            " (e.g. eth.src[0..15] > 0x1111 in place of eth.src > 00:00:00:00:11:11/00:00:00:00:ff:ff)."
        )
    return ""


def _nominal_complaint(symbol: Symbol, operand: Operand, *, negated: bool) -> str:
    """Why a nominal field cannot be compared so: OVN makes flows only of a test for equality."""
    name = symbol.name
    if symbol.predicate and not all(bool(constant.value) ^ negated for constant in operand.constants):
        return (
            f"Nominal predicate {name} may only be tested positively, e.g. `{name}' or `{name} == 1' but not"
            f" `!{name}' or `{name} == 0'."
        )
    if not symbol.predicate and negated:
        return f"Nominal field {name} may only be tested for equality (taking enclosing `!' operators into account)."
    return ""
