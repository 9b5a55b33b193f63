"""NetworkPolicies of cluster tests: made, changed and removed, and whether a Pod reaches another one."""

import json
from collections.abc import Mapping

from kube_ovn.model import names
from tests.cluster import kube
from tests.cluster.kube import Json
from tests.cluster.lab import HTTP, Pod, Scene

DENY: Json = {"podSelector": {}, "policyTypes": ["Ingress"]}


def apply(scene: Scene, name: str, spec: Json, **annotations: str) -> None:
    """Make or change a policy, and wait until all nodes enforce it."""
    meta = {"name": name, "namespace": scene.namespace, "annotations": annotations}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    kube.apply({**kind, "metadata": meta, "spec": spec}, namespace=scene.namespace)
    kube.when(lambda seen: _is_enforced(seen[name]), 20, f"policy {name} is enforced", "networkpolicy", scene.namespace)


def _is_enforced(policy: Json) -> bool:
    told = json.loads(policy["metadata"].get("annotations", {}).get(names.ENFORCED, "{}"))
    is_new = told.get("observedGeneration") == policy["metadata"]["generation"]
    return is_new and bool(told["status"] == "True")


def remove(scene: Scene, name: str) -> None:
    kube.remove("networkpolicy", name, namespace=scene.namespace)


def labelled(pod: Json, **labels: str) -> Json:
    return {**pod, "metadata": {**pod["metadata"], "labels": labels}}


def relabel(scene: Scene, name: str, labels: Mapping[str, str | None]) -> None:
    kube.patch("pod", name, {"metadata": {"labels": dict(labels)}}, scene.namespace)


def connects(scene: Scene, source: Pod, address: str, port: int = HTTP) -> bool:
    host = f"[{address}]" if ":" in address else address
    return (
        scene.shell(source, f"curl -sS --max-time 1 'http://{host}:{port}/' >/dev/null 2>&1 && echo yes || true") != ""
    )
