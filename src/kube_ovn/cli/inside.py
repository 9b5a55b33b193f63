"""Running a command of `kubectl ko` in the Pod of kube-ovn-controller.

The Northbound database answers nodes and the fabric's own Pods alone (SECURITY.md). So what reads it runs there, with
the account of the controller; its user needs the right to `kubectl exec` into that Pod.
"""

import os
import subprocess
from collections.abc import Sequence

from kube_ovn.model import names

PROGRAM = "/usr/local/bin/kubectl-ko"
DEADLINE = 120.0


class InsideError(Exception):
    """The command cannot be run in the Pod; the message is one sentence."""


def is_inside() -> bool:
    """Whether this process runs in a Pod (the variable is set in every container: core/v1, Service)."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def run_inside(words: Sequence[str], namespace: str, kubeconfig: str) -> int:
    """Run `kubectl ko` with these words in the Pod, and return its exit code. Raises InsideError."""
    argv = ["kubectl", *([f"--kubeconfig={kubeconfig}"] if kubeconfig else []), "exec", "--namespace", namespace]
    argv += [f"deployment/{names.CONTROLLER}", "--container", names.CONTROLLER, "--", PROGRAM, *words]
    try:
        return subprocess.run([*argv, "--namespace", namespace], timeout=DEADLINE, check=False).returncode
    except FileNotFoundError:
        raise InsideError("kubectl is not found; put it on the PATH") from None
    except subprocess.TimeoutExpired:
        raise InsideError(f"no answer from the Pod of {names.CONTROLLER} within {DEADLINE:.0f} s") from None
