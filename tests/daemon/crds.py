"""Our resource definitions, rendered from the chart and made known to an API server."""

import json
from functools import cache
from pathlib import Path

from images.manifest import CHART
from sandbox.command import run
from sandbox.paths import venv_bin
from sandbox.programs import HELM, find_programs
from tests.daemon.node import until

DEFINITIONS = ("subnet", "ip", "ippool", "vpc", "security-group")


@cache
def render_crds() -> str:
    """The definitions as YAML."""
    helm = find_programs(HELM)["helm"]
    values = CHART / "ci" / "sandbox-values.yaml"
    show = [word for name in DEFINITIONS for word in ("--show-only", f"templates/crd-{name}.yaml")]
    return run([helm, "template", "kube-ovn", CHART, "--values", values, *show])


def install_crds(kubeconfig: Path) -> None:
    """Install the definitions and wait until objects of our kinds can be made."""
    kubectl: list[str | Path] = [venv_bin() / "kubectl", f"--kubeconfig={kubeconfig}"]
    run([*kubectl, "apply", "--server-side", "-f", "-"], text=render_crds())
    until_established(kubeconfig)


def until_established(kubeconfig: Path) -> None:
    """Wait until objects of all kinds that are defined can be made. `kubectl wait` fails for a definition that was just
    made: it has no conditions yet.
    """
    get: list[str | Path] = [venv_bin() / "kubectl", f"--kubeconfig={kubeconfig}", "get", "crd", "-o", "json"]

    def established() -> bool:
        conditions = [item.get("status", {}).get("conditions") or [] for item in json.loads(run(get))["items"]]
        return all(any(c["type"] == "Established" and c["status"] == "True" for c in each) for each in conditions)

    until("objects of our kinds can be made", established)
