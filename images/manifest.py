"""Renders the chart into one manifest, for those who install with `kubectl apply`.

The chart is the only source; nothing is added or changed here.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.command import run
from sandbox.paths import PROJECT
from sandbox.programs import HELM, find_programs

CHART = PROJECT / "charts" / "kube-ovn"


def render_manifest(
    *,
    values: Path,
    overlays: Sequence[Path] = (),
    namespace: str = "kube-system",
    pod_annotations: Mapping[str, str] | None = None,
) -> str:
    """The manifest as YAML; helm says what is wrong with the values. What the files of `overlays` say goes first.

    An image that keeps its tag needs a changed `pod_annotations` for its Pods to start anew.
    """
    helm = find_programs(HELM)["helm"]
    files: list[str | Path] = [word for path in (values, *overlays) for word in ("--values", path)]
    argv: list[str | Path] = [helm, "template", "kube-ovn", CHART, "--namespace", namespace, *files]
    return run([*argv, "--set-json", f"podAnnotations={json.dumps(dict(pod_annotations or {}), sort_keys=True)}"])
