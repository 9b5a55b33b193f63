"""`kubectl ko`: what the network should be, is, and why. Reads only. One module a command; this one joins them."""

import asyncio
import sys
from enum import StrEnum
from typing import Annotated

import typer

from kube_ovn.cli.plan import PlanError, observe_plan, print_json, print_table
from kube_ovn.k8s.client import KubeError
from kube_ovn.k8s.credentials import CredentialsError
from kube_ovn.ovsdb.client import OvsdbError
from kube_ovn.telemetry import start_logging

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"


@app.callback()
def ko() -> None:
    """Tools for a cluster whose network is Kube-OVN."""
    start_logging("error")


@app.command()
def plan(
    output: Annotated[
        Output, typer.Option("-o", "--output", help="a table for people, JSON for machines")
    ] = Output.TABLE,
    namespace: Annotated[
        str, typer.Option(envvar="KUBE_OVN_NS", help="Namespace of kube-ovn-controller")
    ] = "kube-system",
    ovn_nb_addr: Annotated[
        str, typer.Option(help="Northbound database, if not the controller's own address for it")
    ] = "",
    kubeconfig: Annotated[str, typer.Option(help="kubeconfig file; empty = as kubectl")] = "",
) -> None:
    """Desired against actual: what the controller would create, update and delete now. Nothing when converged."""
    try:
        found = asyncio.run(observe_plan(kubeconfig, namespace, ovn_nb_addr))
    except (KubeError, OvsdbError, CredentialsError, PlanError) as error:
        print(f"kubectl ko plan: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if output is Output.JSON:
        print_json(found)
    else:
        print_table(found)


def main() -> None:
    app()
