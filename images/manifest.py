"""Renders the chart into one manifest, for those who install with `kubectl apply`.

The chart is the only source; nothing is added or changed here.
"""

from pathlib import Path

from sandbox.command import run
from sandbox.paths import PROJECT

CHART = PROJECT / "charts" / "kube-ovn"


def render_manifest(*, values: Path, namespace: str = "kube-system", helm: Path | str = "helm") -> str:
    """The manifest as YAML; helm says what is wrong with the values."""
    return run([helm, "template", "kube-ovn", CHART, "--namespace", namespace, "--values", values])
