"""People with less than an administrator's rights, each with a kubeconfig of their own."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox.command import run
from sandbox.control_plane import ADMIN_KUBECONFIG
from sandbox.demo import kubectl
from sandbox.paths import SandboxError, venv_bin
from tests.cluster.kube import Json
from tests.cluster.lab import Scene

OWNS = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "patch", "update"]}
"""The rule by which the owner of a Namespace may change it; of this one alone, by its name."""
MINUTES = "20m"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A ServiceAccount of one Namespace, with the rights of ClusterRole `edit` there."""

    namespace: str
    kubeconfig: Path

    def kubectl(self, *words: str, text: str | None = None) -> str:
        """What kubectl prints; raises SandboxError with its error output."""
        return run([venv_bin() / "kubectl", f"--kubeconfig={self.kubeconfig}", *words], text=text)

    def create(self, *objects: Json) -> None:
        for each in objects:
            self.kubectl("create", "-f", "-", text=json.dumps(each))

    def annotate(self, kind: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations, and take away those that are None."""
        words = [f"{key}-" if text is None else f"{key}={text}" for key, text in annotations.items()]
        self.kubectl("annotate", "--overwrite", kind, name, *words)

    def may(self, verb: str, resource: str) -> bool:
        """Whether the API server lets the tenant do something."""
        answer = ""
        with suppress(SandboxError):  # kubectl ends with an error when the answer is no
            answer = self.kubectl("auth", "can-i", verb, resource, "--quiet=false")
        return answer.strip() == "yes"


def make_tenant(scene: Scene, folder: Path, rules: Sequence[Json] = ()) -> Tenant:
    """Make an account in the Namespace of a scene. `rules`: what it may do beside `edit`, with the object that has the
    Namespace's name.
    """
    name = scene.namespace
    account = f"--serviceaccount={name}:tenant"
    scene.kubectl("create", "serviceaccount", "tenant")
    scene.kubectl("create", "rolebinding", "tenant", "--clusterrole=edit", account)
    if rules:
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "owner"}}
        bounded = [{**rule, "resourceNames": [name]} for rule in rules]
        scene.kubectl("create", "-f", "-", text=json.dumps({**role, "rules": bounded}))
        scene.kubectl("create", "rolebinding", "owner", "--role=owner", account)
    token = scene.kubectl("create", "token", "tenant", f"--duration={MINUTES}").strip()
    config = json.loads(kubectl("config", "view", "--raw", "-o", "json"))
    for user in config["users"]:
        user["user"] = {"token": token}
    for context in config["contexts"]:
        context["context"]["namespace"] = name
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    assert path != ADMIN_KUBECONFIG
    return Tenant(name, path)
