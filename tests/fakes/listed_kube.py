"""An API server's lists and objects, from a settled cluster: only what `kubectl ko` asks for."""

from typing import Any

from kube_ovn.k8s.client import KubeError, Listing
from kube_ovn.model.kube import Pod
from kube_ovn.model.resource import Resource
from tests.small_clusters import Api


class ListedKube:
    """Answers `list` with the selectors of fields and labels that are in use, and `get`; notes what was asked for."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.asked: list[str] = []

    async def list(self, kind: Resource[Any], *, namespace: str = "", selector: dict[str, str] | None = None) -> Any:
        terms = " ".join(f"{value}" for value in (selector or {}).values())
        self.asked.append(" ".join(filter(None, (kind.plural, namespace, terms))))
        items = [each for each in self._api.objects.values() if isinstance(each, kind.type)]
        if namespace:
            items = [each for each in items if each.metadata.namespace == namespace]
        for name, text in (selector or {}).items():
            key, _, value = text.partition("=")
            items = [each for each in items if _field(each, name, key) == value]
        return Listing(items=items, version="1", unreadable=[])

    async def get(self, kind: Resource[Any], namespace: str, name: str) -> Any:
        self.asked.append(f"{kind.plural}/{namespace}/{name}")
        found = self._api.find(kind.type, name, namespace)
        if found is None:
            raise KubeError(404, "NotFound", "not found", name)
        return found


def _field(item: Any, name: str, key: str) -> str | None:
    if name == "labelSelector":
        return str(item.metadata.labels.get(key))
    assert isinstance(item, Pod)
    first = item.status.pod_ips[0].ip if item.status.pod_ips else ""
    return {"status.podIP": first, "spec.nodeName": item.spec.node_name}[key]
