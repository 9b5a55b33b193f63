"""The expression language of ovn-sb(5) (table Logical_Flow, column match), as far as matches of ACLs use it.

`parse_match` says whether OVN understands a match, in the words OVN itself would log on every node; nothing here knows
what a match means. `tokens` cuts the text, `symbols` lists the fields, `comparison` has what may be asked of each, and
`parse` the grammar. The facts are those of OVN 25.03: `tests/daemon/test_expressions.py` holds them to its parser.
"""

from kube_ovn.model.expression.parse import DEEPEST, LONGEST, Match, parse_match

__all__ = ["DEEPEST", "LONGEST", "Match", "parse_match"]
