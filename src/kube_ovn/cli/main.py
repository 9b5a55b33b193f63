"""`kubectl ko`: shows what the network should be, what it is, and why. Only reads. Each command has a module of its
own.
"""

import asyncio
import sys
from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

from kube_ovn.cli import ipam
from kube_ovn.cli.explain import ExplainError, format_lines
from kube_ovn.cli.explain import explain as explain_graph
from kube_ovn.cli.inside import InsideError, is_inside, run_inside
from kube_ovn.cli.plan import PlanError, observe_plan, print_json, print_table
from kube_ovn.k8s.client import KubeError
from kube_ovn.k8s.credentials import CredentialsError
from kube_ovn.ovsdb.client import OvsdbError
from kube_ovn.telemetry import start_logging

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
ipam_app = typer.Typer(no_args_is_help=True, help="Addresses: who has which, and who had it.")
app.add_typer(ipam_app, name="ipam")


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"


OutputOption: TypeAlias = Annotated[
    Output, typer.Option("-o", "--output", help="a table for people, JSON for machines")
]
NamespaceOption: TypeAlias = Annotated[str, typer.Option(envvar="KUBE_OVN_NS", help="Namespace of kube-ovn-controller")]
KubeconfigOption: TypeAlias = Annotated[str, typer.Option(help="kubeconfig file; empty = as kubectl")]
NorthboundOption: TypeAlias = Annotated[
    str, typer.Option(help="Northbound database that this machine can ask; if not, the controller's Pod asks its own")
]


@app.callback()
def ko() -> None:
    """Tools for a cluster with Kube-OVN as its network."""
    start_logging("error")


@app.command()
def plan(
    output: OutputOption = Output.TABLE,
    namespace: NamespaceOption = "kube-system",
    ovn_nb_addr: NorthboundOption = "",
    kubeconfig: KubeconfigOption = "",
) -> None:
    """Desired against actual: what the controller would create, update and delete now. Nothing when converged."""
    try:
        if not ovn_nb_addr and not is_inside():
            raise typer.Exit(run_inside(["plan", f"--output={output}"], namespace, kubeconfig))
        found = asyncio.run(observe_plan(kubeconfig, namespace, ovn_nb_addr))
    except (KubeError, OvsdbError, CredentialsError, PlanError, InsideError) as error:
        print(f"kubectl ko plan: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    for sentence in found.unread:
        print(f"kubectl ko plan: {sentence}", file=sys.stderr)
    if output is Output.JSON:
        print_json(found)
    else:
        print_table(found)


@app.command("explain")
def explain_value(
    source: Annotated[str, typer.Argument(help="what is derived, such as 'outcomes of Pods'")],
    key: Annotated[str, typer.Argument(help="which of them, such as web-0.default")],
    depth: Annotated[int, typer.Option(min=0, max=9, help="how many levels down")] = 2,
    namespace: NamespaceOption = "kube-system",
    ovn_nb_addr: NorthboundOption = "",
    kubeconfig: KubeconfigOption = "",
) -> None:
    """A value that the controller would derive now, and what from: the reason for a row, a write or an Event."""
    try:
        if not ovn_nb_addr and not is_inside():
            raise typer.Exit(run_inside(["explain", source, key, f"--depth={depth}"], namespace, kubeconfig))
        topology = asyncio.run(observe_plan(kubeconfig, namespace, ovn_nb_addr)).topology
        for line in format_lines(explain_graph(topology.graph, source, key, depth)):
            print(line)
    except (KubeError, OvsdbError, CredentialsError, PlanError, ExplainError, InsideError) as error:
        print(f"kubectl ko explain: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


@ipam_app.command()
def explain(
    ip: Annotated[str, typer.Argument(help="an IPv4 or IPv6 address")],
    output: OutputOption = Output.TABLE,
    namespace: NamespaceOption = "kube-system",
    kubeconfig: KubeconfigOption = "",
) -> None:
    """The role of an address, the object that has it and since when, and the objects that had it before."""
    try:
        address = ipam.parse_address(ip)
        found = ipam.explain(address, asyncio.run(ipam.observe_address(kubeconfig, namespace, address)))
    except (KubeError, CredentialsError, ipam.ExplainError) as error:
        print(f"kubectl ko ipam explain: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if output is Output.JSON:
        ipam.print_json(found)
    else:
        ipam.print_table(found)


def main() -> None:
    app()
