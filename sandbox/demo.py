"""The whole product on the sandbox: install it as a user would, and show that Pods reach one another.

`install` is also what the cluster tests start from. Like `cluster.up` it looks first and makes only what is missing.
"""

import json
import os
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from images.build import build_image, image_key
from images.manifest import CHART, render_manifest
from sandbox import cluster, node_images, rights, toolchain
from sandbox.command import run
from sandbox.control_plane import ADMIN_KUBECONFIG
from sandbox.layout import IpFamily
from sandbox.node_images import TOOLS_IMAGE
from sandbox.paths import PROJECT, SandboxError, venv_bin
from sandbox.progress import say, step

SYSTEM = "kube-system"
WORKLOADS = (
    "deployment/ovn-central",
    "daemonset/ovs-ovn",
    "deployment/kube-ovn-controller",
    "daemonset/kube-ovn-cni",
)
_ROLLOUT_DEADLINE = 180
_DEMO = "demo"


def kubectl(*words: str | Path, text: str | None = None, timeout: float = 60) -> str:
    """Run kubectl as the administrator and return its output. Raises SandboxError with its error output."""
    return run([venv_bin() / "kubectl", f"--kubeconfig={ADMIN_KUBECONFIG}", *words], text=text, timeout=timeout)


def install(node_count: int, family: IpFamily) -> None:
    """Let a sandbox run with this project, built from this checkout, as its only network.

    Raises SandboxError when a sandbox of another address family is here.
    """
    rights.check_root()
    with rights.only_one():
        toolchain.ensure_packages()
        rights.check_machine()
        cluster.up(node_count, family)
        archive = build_image()
        with step("loading the kube-ovn image"):
            node_images.load(archive, cluster.recorded_cluster().nodes)
        with step("installing kube-ovn"):
            kubectl("apply", "-f", "-", text=_manifest(family))
            for workload in WORKLOADS:
                kubectl(
                    "rollout",
                    "status",
                    workload,
                    "-n",
                    SYSTEM,
                    f"--timeout={_ROLLOUT_DEADLINE}s",
                    timeout=_ROLLOUT_DEADLINE + 10,
                )
            kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s", timeout=70)


def reinstall(node_count: int, family: IpFamily) -> None:
    """As `install`, but a sandbox of another address family gives way."""
    rights.check_root()
    if cluster.recorded_family() not in (None, family):
        with rights.only_one():
            cluster.down()
    install(node_count, family)


def values_files(family: IpFamily) -> list[Path]:
    """The chart's values for a sandbox. IPv4 needs no file of its own: it is the chart's default."""
    files = CHART / "ci"
    more = [] if family is IpFamily.IPV4 else [files / f"sandbox-{family}.yaml"]
    return [files / "sandbox-values.yaml", *more]


def _manifest(family: IpFamily) -> str:
    values, *overlays = values_files(family)
    # The tag stays the same while the content changes: only the annotation makes the Pods start anew.
    annotations = {"sandbox/image": image_key()}
    return render_manifest(values=values, overlays=overlays, pod_annotations=annotations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A Pod of the demonstration, with an address of each family the cluster speaks."""

    name: str
    node: str
    addresses: tuple[str, ...]

    def address(self, version: int) -> str:
        """The Pod's address of this family."""
        found = [address for address in self.addresses if ip_address(address).version == version]
        if not found:
            raise SandboxError(f"{self.name} on {self.node} has no IPv{version} address, only {self.addresses}")
        return found[0]


def show() -> None:
    """Start a Pod on each node and print what they reach. Raises SandboxError when one does not reach another."""
    with step("starting a Pod on each node"):
        guests = _start_guests()
    headers = ["Pod", "on", "address", *(f"to\n{guest.name}" for guest in guests), "outside\nhost saw"]
    # Lean, so that the addresses of IPv6 fit 80 columns.
    reached = Table(*headers, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for guest in guests:
        for outside in cluster.recorded_cluster().outside:
            answers = [_ask_name(guest, other, outside.version) for other in guests]
            client = _ask(guest, f"http://{_bracketed(str(outside))}/")
            reached.add_row(guest.name, guest.node, guest.address(outside.version), *answers, client)
    Console().print(reached)
    print(f"\nPoint kubectl at it:\n\n    source {os.path.relpath(PROJECT / 'sandbox' / 'env.sh')}\n")
    print("Then: kubectl get pods -A -o wide, kubectl ko plan, sandbox --help. `make down` removes it all.")


def _start_guests() -> list[Guest]:
    """Start the Pods as a DaemonSet, so that a second `make demo` finds them, and a newer checkout replaces them."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _DEMO}}
    items = [namespace, _guest_manifest()]
    kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    kubectl("rollout", "status", "daemonset/guest", "-n", _DEMO, "--timeout=60s", timeout=70)
    listed = json.loads(kubectl("get", "pods", "-n", _DEMO, "-l", "app=guest", "-o", "json"))["items"]
    return [
        Guest(
            name=pod["metadata"]["name"],
            node=pod["spec"]["nodeName"],
            addresses=tuple(entry["ip"] for entry in pod["status"]["podIPs"]),
        )
        for pod in sorted(listed, key=lambda pod: str(pod["spec"]["nodeName"]))
        if "deletionTimestamp" not in pod["metadata"]
    ]


def _guest_manifest() -> dict[str, object]:
    container = {
        "name": "guest",
        "image": TOOLS_IMAGE,
        "imagePullPolicy": "Never",
        "args": ["netexec", "--http-port=8080"],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    }
    labels = {"app": "guest"}
    template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "guest", "namespace": _DEMO},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def _ask_name(guest: Guest, other: Guest, version: int) -> str:
    answer = _ask(guest, f"http://{_bracketed(other.address(version))}:8080/hostname")
    if answer != other.name:
        raise SandboxError(
            f"{guest.name} on {guest.node} asked {other.name} over IPv{version} for its name and got {answer!r}"
        )
    return answer


def _ask(guest: Guest, url: str) -> str:
    return kubectl("exec", "-n", _DEMO, guest.name, "--", "curl", "-sS", "--max-time", "5", url).strip()


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def demo(node_count: int, family: IpFamily) -> None:
    """`make demo`."""
    install(node_count, family)
    show()
    say("done")
