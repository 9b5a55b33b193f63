"""Our resource definitions, rendered from the chart and made known to an API server."""

from functools import cache
from pathlib import Path

from images.manifest import CHART
from sandbox.command import run
from sandbox.paths import venv_bin
from sandbox.programs import HELM, find_programs

DEFINITIONS = ("subnet", "ip", "ippool", "vpc")


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
    run([*kubectl, "wait", "--for=condition=Established", "crd", "--all", "--timeout=20s"])
