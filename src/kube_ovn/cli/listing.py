"""`kubectl ko policies`: all NetworkPolicies, the Pods that each selects, its rules, and its rows in the Northbound
database. Writes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from kube_ovn.cli.around import observe_all
from kube_ovn.k8s.client import Client as Kube
from kube_ovn.k8s.credentials import load_credentials
from kube_ovn.model.nb import Acl
from kube_ovn.topology.inputs import Name
from kube_ovn.topology.policy.acls import render_policy
from kube_ovn.topology.policy.ends import Known, has_port
from kube_ovn.topology.policy.rules import Direction, Selection
from kube_ovn.topology.policy.selections import NamedPort
from kube_ovn.topology.policy.verdict import Candidate, Policy, is_in

WIDTH = 1000
"""The columns of a table; the terminal wraps long lines."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A NetworkPolicy as it is enforced."""

    namespace: str
    name: str
    pods: int
    """The Pods that it selects."""
    ingress: int | None
    """The rules of a direction; None where the policy says nothing of the direction."""
    egress: int | None
    acls: int
    """The ACLs of its rules. What no rule allows is dropped by ACLs that policies with equal selectors share."""
    faults: tuple[str, ...]
    """The parts that are not understood, one sentence each."""


async def observe_lines(kubeconfig: str) -> list[Line]:
    """All NetworkPolicies. Raises KubeError, CredentialsError, QuestionError."""
    async with Kube(load_credentials(kubeconfig)) as kube:
        return list_policies(await observe_all(kube))


def list_policies(known: Known) -> list[Line]:
    """The NetworkPolicies in the order of their names."""
    seen = [found for each in known.pods if (found := known.candidate(each)) is not None]
    ported = {Name(each.metadata.namespace, each.metadata.name) for each in known.pods if has_port(each)}
    selected: Counter[Name] = Counter()
    for each in seen:
        if each.name in ported:
            selected.update(policy.name for policy in known.catalog.policies(known.catalog.chosen(each)))
    rows = _Rows(known, seen)
    return [_line(each, selected[each.name], rows.count(each)) for each in known.policies]


def _line(policy: Policy, pods: int, acls: int) -> Line:
    compiled = policy.compiled
    rules = Counter(each.direction for each in compiled.rules)
    many = {each: rules[each] if each in compiled.isolated else None for each in Direction}
    return Line(
        namespace=policy.name.namespace,
        name=policy.name.name,
        pods=pods,
        ingress=many[Direction.INGRESS],
        egress=many[Direction.EGRESS],
        acls=acls,
        faults=compiled.faults,
    )


class _Rows:
    """Renders policies as the controller does."""

    def __init__(self, known: Known, seen: Iterable[Candidate]) -> None:
        self._known = known
        self._versions = sorted({cidr.version for each in known.around for cidr in each.cidrs})
        self._named: dict[tuple[str, str], list[Candidate]] = {}
        for each in seen:
            for at in each.traits.ports:
                self._named.setdefault(at, []).append(each)

    def count(self, policy: Policy) -> int:
        """The ACLs of the rules of a policy."""
        rows = render_policy(policy.name, policy.compiled, self._numbers, self._is_dns, self._versions)
        return sum(isinstance(row, Acl) for row in rows.values())

    def _numbers(self, port: NamedPort) -> set[int]:
        at = (port.protocol, port.name)
        return {each.traits.ports[at] for each in self._named.get(at, ()) if is_in(each, port.selection)}

    def _is_dns(self, selection: Selection) -> bool:
        return is_in(self._known.stand_in, selection)


def format_faults(lines: Sequence[Line]) -> Iterator[str]:
    """One line for each part of a policy that is not understood."""
    return (f"{each.namespace}/{each.name} is not understood whole: {text}" for each in lines for text in each.faults)


def print_table(lines: Sequence[Line]) -> None:
    """Print a table, then what is not understood."""
    if not lines:
        print("there is no NetworkPolicy")
        return
    console = Console(width=WIDTH, markup=False, highlight=False)
    table = Table("namespace", "name", "pods", "ingress rules", "egress rules", "ACLs", box=None, pad_edge=False)
    for each in lines:
        rules = ["-" if many is None else str(many) for many in (each.ingress, each.egress)]
        table.add_row(each.namespace, each.name, str(each.pods), *rules, str(each.acls))
    console.print(table)
    for text in format_faults(lines):
        console.print(text)


def print_json(lines: Sequence[Line]) -> None:
    print(msgspec.json.format(msgspec.json.encode(lines), indent=2).decode())
