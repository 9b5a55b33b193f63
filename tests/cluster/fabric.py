"""What cluster tests see and make of the fabric's own objects: Subnets, IP objects, and what is said of them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sandbox.demo import SYSTEM, kubectl
from sandbox.paths import SandboxError
from tests.cluster.lab import Json, Scene, get, until


def subnet(name: str, cidr: str, **spec: Any) -> Json:
    """A Subnet as its user writes it."""
    return {
        "apiVersion": "kubeovn.io/v1",
        "kind": "Subnet",
        "metadata": {"name": name},
        "spec": {"cidrBlock": cidr, **spec},
    }


def apply(*objects: Json) -> str:
    return kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def ready(*names: str, within: float = 20) -> None:
    """As a user waits."""
    for name in names:
        try:
            kubectl("wait", "--for=create", f"subnet/{name}", f"--timeout={within:g}s")
            kubectl("wait", "--for=condition=Ready", f"subnet/{name}", f"--timeout={within:g}s")
        except SandboxError as error:
            error.add_note(kubectl("get", "subnet", "-o", "yaml"))
            error.add_note(
                kubectl("logs", "-n", SYSTEM, "deployment/kube-ovn-controller", "--timestamps", "--tail=100")
            )
            raise


@contextmanager
def own_subnet(scene: Scene, cidr: str, **spec: Any) -> Iterator[str]:
    """A Subnet for the Namespace of a scene; in the end its Pods go, and it with them."""
    name = f"s-{scene.namespace}"
    apply(subnet(name, cidr, namespaces=[scene.namespace], **spec))
    try:
        ready(name)
        yield name
    finally:
        scene.kubectl("delete", "statefulset,deployment,pod", "--all", "--wait=false")
        kubectl("delete", "subnet", name, "--timeout=60s", timeout=70)


def read(kind: str, name: str) -> Json:
    item: Json = json.loads(kubectl("get", kind, name, "-o", "json"))
    return item


def condition(kind: str, name: str, type: str) -> Mapping[str, str]:
    """One condition of an object; empty when it has none of that type."""
    conditions = read(kind, name).get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == type), {})


def told(kind: str, name: str, type: str, part: str, within: float = 20) -> str:
    """Wait until a condition's message says something."""

    def message() -> str | None:
        text = condition(kind, name, type).get("message", "")
        return text if part in text else None

    return until(message, within, f"condition {type} of {kind} {name} says {part!r}")


def warned(kind: str, name: str, part: str, namespace: str = "default", within: float = 30) -> str:
    """Wait until a Warning on an object says something."""

    def message() -> str | None:
        selector = f"--field-selector=involvedObject.kind={kind},involvedObject.name={name},type=Warning"
        messages = [str(item["message"]) for item in get("events", "-n", namespace, selector)]
        return next((text for text in messages if part in text), None)

    return until(message, within, f"a Warning on {kind} {name} says {part!r}")


def recorded(subnets: set[str] | None = None) -> dict[str, Json]:
    """The spec of all IP objects, or of those of some subnets, by name."""
    items = {item["metadata"]["name"]: item["spec"] for item in get("ips")}
    return {name: spec for name, spec in items.items() if subnets is None or spec["subnet"] in subnets}


def using(name: str) -> int:
    """How many addresses of a Subnet its status says are in use."""
    return int(read("subnet", name).get("status", {}).get("v4usingIPs", 0))
