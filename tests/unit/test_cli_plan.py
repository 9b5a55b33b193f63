"""`kubectl ko plan`: what it makes of a cluster that can be listed only in part."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from kube_ovn.cli.plan import DEPLOYMENTS, _list_all, _plan, _settings
from kube_ovn.k8s.client import KubeError, Listing
from kube_ovn.k8s.decode import Unreadable
from kube_ovn.model.resource import IPPOOLS, NODES, PODS, SERVICES, Resource
from kube_ovn.model.row import Member, RowKey
from tests.small_clusters import Api, fabric, namespace, node, pod, service, settled, slice_of

REFERENCES = {"load_balancer": "Load_Balancer", "dns_records": "DNS"}


def _target(member: Member) -> RowKey | None:
    """As the replica tells it from the schema, for the columns that matter here."""
    table = REFERENCES.get(member.column)
    return None if table is None else RowKey(table, member.target)


class _Kube:
    """Lists the objects of a cluster; the kinds in `refused` with an error."""

    def __init__(self, api: Api, refused: dict[str, int], unreadable: list[Unreadable]) -> None:
        self._api, self._refused, self._unreadable = api, refused, unreadable

    async def list(self, resource: Resource[Any]) -> Listing[Any]:
        if status := self._refused.get(resource.name):
            raise KubeError(status, "Refused", "no", resource.plural)
        items = [item for item in self._api.objects.values() if isinstance(item, resource.type)]
        return Listing(items=items, version="1", unreadable=self._unreadable if resource is PODS else [])

    async def lacks(self, resource: Resource[Any]) -> bool:
        return self._refused[resource.name] == 404


def _cluster() -> tuple[Api, Any]:
    api = Api(
        node("node1", 1), namespace("default"), pod("a"), service("web", "10.96.0.20"), slice_of("web", "10.16.0.9")
    )
    topology = settled(api)
    replica = SimpleNamespace(owned=dict(topology.state), foreign=frozenset(), target=_target)
    return api, SimpleNamespace(replica=replica)


async def _found(api: Api, nb: Any, refused: dict[str, int], unreadable: list[Unreadable] | None = None) -> Any:
    kube: Any = _Kube(api, refused, unreadable or [])
    return _plan(fabric(), await _list_all(kube), nb)


async def test_a_converged_cluster_has_an_empty_plan() -> None:
    found = await _found(*_cluster(), {})
    assert (found.rows, found.writes, found.unread) == (type(found.rows)(), (), ())


async def test_rows_of_a_kind_that_cannot_be_listed_stay() -> None:
    found = await _found(*_cluster(), {SERVICES.name: 403})
    assert not found.rows.delete
    assert found.unread == ("services cannot be listed: no",)


@pytest.mark.parametrize(("status", "lacking"), [(403, ()), (404, (IPPOOLS.name,))])
async def test_a_kind_that_is_not_there_differs_from_one_that_is_forbidden(
    status: int, lacking: tuple[str, ...]
) -> None:
    found = await _found(*_cluster(), {IPPOOLS.name: status})
    assert found.topology.inputs.unknown.values.keys() == {IPPOOLS.name}
    assert tuple(found.topology.inputs.absent.values) == lacking
    assert found.unread == (() if lacking else ("ippools cannot be listed: no",))


async def test_a_required_kind_that_cannot_be_listed_is_an_error() -> None:
    with pytest.raises(KubeError):
        await _found(*_cluster(), {NODES.name: 403})


async def test_an_error_of_the_api_server_is_an_error_for_any_kind() -> None:
    with pytest.raises(KubeError):
        await _found(*_cluster(), {SERVICES.name: 500})


async def test_an_object_that_cannot_be_read_is_named() -> None:
    bad = Unreadable(version="1", namespace="default", name="b", uid="u", error="Expected `str`")
    found = await _found(*_cluster(), {}, [bad])
    assert found.unread == ("Pod default/b cannot be read: Expected `str`",)


async def test_the_settings_are_those_of_the_controller_but_for_what_its_pod_alone_has() -> None:
    container = {
        "name": "kube-ovn-controller",
        "args": ["--ovn-nb-addr=$(NB)", "--metrics-address=$(POD_IP)", "--default-cidr=10.20.0.0/16"],
        "env": [{"name": "NB", "value": "tcp:192.0.2.7:6641"}, {"name": "POD_IP", "valueFrom": {"fieldRef": {}}}],
    }
    deployment = msgspec.convert({"spec": {"template": {"spec": {"containers": [container]}}}}, DEPLOYMENTS.type)

    async def get(resource: Any, namespace: str, name: str) -> Any:
        return deployment

    found = await _settings(SimpleNamespace(get=get), "kube-system", "")  # type: ignore[arg-type]
    assert found.northbound() == ("tcp:192.0.2.7:6641",)
    assert found.fabric().initial["ovn-default"]["cidrBlock"] == "10.20.0.0/16"
