"""The expression language of ovn-sb(5) (table Logical_Flow, column match), as far as matches of ACLs use it.

`parse_match` decides whether OVN understands a match, and raises the sentence that OVN itself would log on every node;
the meaning of a match does not matter here. `tokens` cuts the text, `symbols` lists the fields, `comparison` has the
rules for a comparison with each, and `parse` the grammar. The facts are those of OVN 25.03:
`tests/daemon/test_expressions.py` compares them with its parser.
"""

from kube_ovn.model.expression.parse import DEEPEST, LONGEST, Match, parse_match

__all__ = ["DEEPEST", "LONGEST", "Match", "parse_match"]
