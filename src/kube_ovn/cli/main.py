"""`kubectl ko`: shows what the network should be, what it is, and why. Only reads. Each command has a module of its
own.
"""

import asyncio
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

from kube_ovn.cli import ipam, listing, preview, who_can, why
from kube_ovn.cli.explain import ExplainError, format_lines
from kube_ovn.cli.explain import explain as explain_graph
from kube_ovn.cli.inside import InsideError, is_inside, run_inside
from kube_ovn.cli.plan import PlanError, observe_plan, print_json, print_table
from kube_ovn.cli.preview import PreviewError
from kube_ovn.cli.question import QuestionError
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
InOption: TypeAlias = Annotated[
    str, typer.Option("-n", "--in", help="Namespace of Pods, Services and policies given without one; as kubectl")
]
LimitOption: TypeAlias = Annotated[int, typer.Option(min=1, help="the most lines of one sort")]
PORT_HELP = "protocol and port: tcp/80, udp/53, sctp/3868, or icmp; a name such as tcp/http works too"
END_HELP = "namespace/name of a Pod, an address, or service/namespace/name"


@app.callback()
def ko() -> None:
    """Tools for a cluster with Kube-OVN as its network."""
    start_logging("error")


@app.command()
def plan(
    output: OutputOption = Output.TABLE,
    file: Annotated[
        list[str], typer.Option("-f", "--filename", help="NetworkPolicies to apply; - is the standard input")
    ] = [],  # noqa: B006  # typer copies it
    delete: Annotated[bool, typer.Option("--delete", help="the policies in the files are to be deleted")] = False,
    inside: InOption = "",
    limit: LimitOption = 50,
    namespace: NamespaceOption = "kube-system",
    ovn_nb_addr: NorthboundOption = "",
    kubeconfig: KubeconfigOption = "",
) -> None:
    """Desired against actual: what the controller would create, update and delete now. Nothing when converged.

    With -f: which present Pods could newly reach which others, and which no longer, if the NetworkPolicies in a file
    were applied.
    """
    try:
        if file or delete:
            _preview(kubeconfig, inside, file, delete=delete, output=output, limit=limit)
            return
        if not ovn_nb_addr and not is_inside():
            raise typer.Exit(run_inside(["plan", f"--output={output}"], namespace, kubeconfig))
        found = asyncio.run(observe_plan(kubeconfig, namespace, ovn_nb_addr))
    except (
        KubeError,
        OvsdbError,
        CredentialsError,
        PlanError,
        PreviewError,
        QuestionError,
        InsideError,
    ) as error:
        print(f"kubectl ko plan: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    for sentence in found.unread:
        print(f"kubectl ko plan: {sentence}", file=sys.stderr)
    if output is Output.JSON:
        print_json(found)
    else:
        print_table(found)


def _preview(kubeconfig: str, inside: str, files: list[str], *, delete: bool, output: Output, limit: int) -> None:
    """Show what policies in files would change. Raises the errors of `preview.observe_preview`."""
    if not files:
        raise PreviewError("--delete needs the policies that are to be deleted: give them with -f")
    found = asyncio.run(preview.observe_preview(kubeconfig, inside, files, delete=delete))
    if output is Output.JSON:
        preview.print_json(found)
    else:
        _print_lines(preview.format_lines(found, limit))


@app.command("explain")
def explain_value(
    source: Annotated[str, typer.Argument(help=f"{END_HELP}; or what is derived, such as 'outcomes of Pods'")],
    key: Annotated[str, typer.Argument(help=f"{END_HELP}; or which of the derived, such as web-0.default")],
    port: Annotated[str, typer.Argument(help=PORT_HELP)] = "",
    output: OutputOption = Output.TABLE,
    inside: InOption = "",
    depth: Annotated[int, typer.Option(min=0, max=9, help="how many levels down")] = 2,
    namespace: NamespaceOption = "kube-system",
    ovn_nb_addr: NorthboundOption = "",
    kubeconfig: KubeconfigOption = "",
) -> None:
    """Why a packet may pass or not, given source, target and port: the policies and rules that decide, and what would
    have to change.

    Given two words: a value that the controller would derive now, and what from: the reason for a row, a write or an
    Event.
    """
    try:
        if port:
            answers, left_out = asyncio.run(why.observe_answers(kubeconfig, inside, source, key, port))
            if output is Output.JSON:
                why.print_json(answers)
            else:
                _print_lines(why.format_lines(answers, left_out))
            return
        if not ovn_nb_addr and not is_inside():
            raise typer.Exit(run_inside(["explain", source, key, f"--depth={depth}"], namespace, kubeconfig))
        topology = asyncio.run(observe_plan(kubeconfig, namespace, ovn_nb_addr)).topology
        _print_lines(format_lines(explain_graph(topology.graph, source, key, depth)))
    except (
        KubeError,
        OvsdbError,
        CredentialsError,
        PlanError,
        ExplainError,
        QuestionError,
        InsideError,
    ) as error:
        print(f"kubectl ko explain: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


@app.command("who-can")
def list_senders(
    target: Annotated[str, typer.Argument(help=END_HELP)],
    port: Annotated[str, typer.Argument(help=PORT_HELP)],
    output: OutputOption = Output.TABLE,
    inside: InOption = "",
    limit: LimitOption = 50,
    kubeconfig: KubeconfigOption = "",
) -> None:
    """The present Pods that may send to a target, by workload, and what stops the others."""
    try:
        answers, left_out = asyncio.run(who_can.observe_who_can(kubeconfig, inside, target, port))
    except (KubeError, CredentialsError, QuestionError) as error:
        print(f"kubectl ko who-can: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if output is Output.JSON:
        why.print_json(answers)
    else:
        _print_lines(who_can.format_lines(answers, left_out, limit))


@app.command("policies")
def list_policies(output: OutputOption = Output.TABLE, kubeconfig: KubeconfigOption = "") -> None:
    """All NetworkPolicies: the Pods that each selects, its rules and ACLs, and what of it is not understood."""
    try:
        lines = asyncio.run(listing.observe_lines(kubeconfig))
    except (KubeError, CredentialsError, QuestionError) as error:
        print(f"kubectl ko policies: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if output is Output.JSON:
        listing.print_json(lines)
    else:
        listing.print_table(lines)


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


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
