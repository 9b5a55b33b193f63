"""The fabric's own objects in cluster tests: Subnets, IP objects, their conditions and Events."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar

from sandbox.demo import SYSTEM, kubectl
from tests.cluster import kube
from tests.cluster.kube import Json, Objects
from tests.cluster.lab import Scene

T = TypeVar("T")
_FIRST_V4, _FIRST_V6 = IPv4Address("10.128.0.0"), IPv6Address("fd01::")
_FIRST_FAR_V4, _FIRST_FAR_V6 = IPv4Address("198.18.0.1"), IPv6Address("2001:db8:f::1")
_PARTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Addresses that no other test of a run has: sixteen networks of each family."""

    number: int
    """The number of the test in this run."""

    def v4(self, host: int, part: int = 0) -> str:
        """An IPv4 address of one of the networks."""
        return str(_FIRST_V4 + ((self.number * _PARTS + part) << 8) + host)

    def v6(self, host: int, part: int = 0) -> str:
        """An IPv6 address of one of the networks; its last digits read like the IPv4 one's."""
        return str(_FIRST_V6 + (self.number << 80) + (part << 64) + int(str(host), 16))

    def cidr4(self, part: int = 0, length: int = 24) -> str:
        return f"{self.v4(0, part)}/{length}"

    def cidr6(self, part: int = 0, length: int = 112) -> str:
        return f"{self.v6(0, part)}/{length}"

    def far(self) -> tuple[str, str]:
        """Addresses of each family for the outside host, of ranges that documentation and benchmarks have."""
        return str(_FIRST_FAR_V4 + self.number), str(_FIRST_FAR_V6 + self.number)

    def both(self, part: int = 0) -> str:
        """The CIDRs of both families, as a Subnet has them."""
        return f"{self.cidr4(part)},{self.cidr6(part)}"


def subnet(name: str, cidr: str, **spec: Any) -> Json:
    """A Subnet as its user writes it."""
    return {
        "apiVersion": "kubeovn.io/v1",
        "kind": "Subnet",
        "metadata": {"name": name},
        "spec": {"cidrBlock": cidr, **spec},
    }


def ready(*names: str, within: float = 40) -> None:
    """Wait until Subnets are Ready."""

    def all_ready(seen: Objects) -> bool:
        return all(name in seen and find_condition(seen[name], "Ready").get("status") == "True" for name in names)

    try:
        kube.when(all_ready, within, f"Subnets {', '.join(names)} are Ready", "subnet")
    except AssertionError as error:
        error.add_note(kubectl("get", "subnet", "-o", "yaml"))
        error.add_note(kubectl("logs", "-n", SYSTEM, "deployment/kube-ovn-controller", "--timestamps", "--tail=100"))
        raise


@contextmanager
def own_subnet(scene: Scene, cidr: str, **spec: Any) -> Iterator[str]:
    """A Subnet for the Namespace of a scene; in the end its Pods and the Subnet are removed."""
    name = f"s-{scene.namespace}"
    kube.apply(subnet(name, cidr, namespaces=[scene.namespace], **spec))
    try:
        ready(name)
        yield name
    finally:
        remove_subnet(scene, name)


def remove_subnet(scene: Scene, name: str) -> None:
    """Delete a Subnet and the Pods of its Namespace, and wait until the Subnet is gone."""
    for kind in ("statefulset", "deployment", "pod"):
        kube.delete_all(kind, scene.namespace)
    kube.remove("subnet", name)


def change(name: str, **spec: object) -> None:
    """Change fields of a Subnet."""
    kube.patch("subnet", name, {"spec": spec})


def find_condition(item: Json, type: str) -> Mapping[str, Any]:
    """One condition of an object; empty when it has none of that type."""
    conditions = item.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == type), {})


def condition(kind: str, name: str, type: str) -> Mapping[str, Any]:
    return find_condition(kube.read(kind, name), type)


def becomes(kind: str, name: str, true: Callable[[Json], T | None], within: float, what: str, namespace: str = "") -> T:
    """Wait until something is true of one object."""

    def seen(objects: Objects) -> T | None:
        return true(objects[name]) if name in objects else None

    return kube.when(seen, within, what, kind, namespace, fields=f"metadata.name={name}")


def told(kind: str, name: str, type: str, part: str, within: float = 20) -> str:
    """Wait until a condition's message says something."""

    def message(item: Json) -> str | None:
        text: str = find_condition(item, type).get("message", "")
        return text if part in text else None

    return becomes(kind, name, message, within, f"condition {type} of {kind} {name} says {part!r}")


def warned(kind: str, name: str, part: str, namespace: str = "default", within: float = 30) -> str:
    """Wait until a Warning on an object says something."""

    def message(seen: Objects) -> str | None:
        return next((str(item["message"]) for item in seen.values() if part in item["message"]), None)

    what = f"a Warning on {kind} {name} says {part!r}"
    fields = f"involvedObject.kind={kind},involvedObject.name={name},type=Warning"
    return kube.when(message, within, what, "event", namespace, fields=fields)


def recorded(subnets: set[str] | None = None) -> dict[str, Json]:
    """The spec of all IP objects, or of those of some subnets, by name."""
    return specs({item["metadata"]["name"]: item for item in kube.get("ip")}, subnets)


def specs(items: Objects, subnets: set[str] | None = None) -> dict[str, Json]:
    found = {name: item["spec"] for name, item in items.items()}
    return {name: spec for name, spec in found.items() if subnets is None or spec["subnet"] in subnets}


def records(condition: Callable[[Mapping[str, Json]], T | None], within: float, what: str) -> T:
    """Wait until something is true of the specs of all IP objects."""
    return kube.when(lambda seen: condition(specs(seen)), within, what, "ip")


def using(item: Json) -> int:
    """The number of addresses in use, by the status of a Subnet."""
    return int(item.get("status", {}).get("v4usingIPs", 0))
