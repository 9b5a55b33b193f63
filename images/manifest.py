"""Renders the chart into one manifest, for an installation with `kubectl apply`.

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
    """The manifest as YAML. Values in the files of `overlays` win over those in `values`. Raises SandboxError with
    helm's message when the values are wrong.

    When an image keeps its tag, only a change of `pod_annotations` makes its Pods start anew.
    """
    helm = find_programs(HELM)["helm"]
    files: list[str | Path] = [word for path in (values, *overlays) for word in ("--values", path)]
    argv: list[str | Path] = [helm, "template", "kube-ovn", CHART, "--namespace", namespace, *files]
    return run([*argv, "--set-json", f"podAnnotations={json.dumps(dict(pod_annotations or {}), sort_keys=True)}"])
