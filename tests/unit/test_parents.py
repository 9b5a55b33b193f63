"""A StatefulSet is believed as the owner of a Pod when it is the controller in the Pod's references, of apps/v1, when
the Pod has a name of it, and when it exists in the Pod's Namespace with this UID. Any other Pod is a plain one: it gets
no address that is kept for the StatefulSet's Pod, and keeps none when it goes.
"""

from typing import Any

import msgspec
import pytest

from kube_ovn.model import names
from kube_ovn.model.crd import IP
from kube_ovn.model.kube import OwnerReference, Pod
from kube_ovn.model.nb import LogicalSwitchPort
from kube_ovn.model.row import RowKey
from tests.histories.controller import rows
from tests.histories.steps import Restart
from tests.histories.world import World
from tests.small_clusters import namespace, pod, stateful_set
from tests.unit.test_memory_faults import LISTED, RESTARTS, addresses, port, put, told_about, world

WEB = stateful_set("web", 2)
TRUE = {"kind": "StatefulSet", "apiVersion": "apps/v1", "name": "web", "uid": WEB.metadata.uid, "controller": True}
FORGED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "another API group": ("default", "web-0", {"apiVersion": "apps.example.com/v1"}),
    "another version": ("default", "web-0", {"apiVersion": "apps/v1beta2"}),
    "no API group": ("default", "web-0", {"apiVersion": ""}),
    "not the controller": ("default", "web-0", {"controller": False}),
    "nothing of a controller": ("default", "web-0", {"controller": None}),
    "another name": ("default", "web-0", {"name": "db"}),
    "of another Namespace": ("other", "web-0", {}),
    "made up": ("default", "web-0", {"uid": "made-up"}),
    "not a number of it": ("default", "mine-0", {}),
    "no number": ("default", "web-x", {}),
    "a number no StatefulSet writes": ("default", "web-00", {}),
}
forged = pytest.mark.parametrize(("space", "name", "changes"), FORGED.values(), ids=FORGED.keys())


def made(name: str, changes: dict[str, Any], /, **fields: Any) -> Pod:
    reference = {key: value for key, value in {**TRUE, **changes}.items() if value is not None}
    bare = pod(name, **fields)
    owners = (msgspec.convert(reference, OwnerReference),)
    return msgspec.structs.replace(bare, metadata=msgspec.structs.replace(bare.metadata, owner_references=owners))


def record_of(where: World, item: Pod) -> IP | None:
    return where.server.find(IP, f"{item.metadata.name}.{item.metadata.namespace}")


def cluster() -> tuple[World, Pod]:
    """A cluster with the StatefulSet and its first Pod, which keeps an address."""
    first = made("web-0", {})
    where = world(WEB, namespace("other"), first)
    assert addresses(where, first)
    return where, first


@RESTARTS
def test_the_next_pod_of_its_name_has_the_address(again: Restart | None) -> None:
    where, first = cluster()
    found = addresses(where, first)
    where.server.remove(first.metadata.uid)
    where.calm()
    if again is not None:
        where.take(again)
    put(where, second := made("web-0", {}, uid="next"))
    assert addresses(where, second) == found


@forged
@RESTARTS
def test_a_pod_that_it_has_not_made_is_not_given_the_address(
    again: Restart | None, space: str, name: str, changes: dict[str, Any]
) -> None:
    where, first = cluster()
    found = addresses(where, first)
    where.server.remove(first.metadata.uid)
    where.calm()
    assert record_of(where, first), "it is kept"
    if again is not None:
        where.take(again)
    put(where, second := made(name, changes, uid="next", namespace=space))
    assert addresses(where, second) not in ("", found)
    assert not told_about(where, second)


@forged
@RESTARTS
def test_no_address_is_kept_for_a_pod_that_it_has_not_made(
    again: Restart | None, space: str, name: str, changes: dict[str, Any]
) -> None:
    where = world(WEB, namespace("other"))
    put(where, item := made(name, changes, namespace=space))
    assert record_of(where, item)
    where.server.remove(item.metadata.uid)
    if again is not None:
        where.take(again)
    where.calm()
    assert record_of(where, item) is None


@forged
def test_a_pod_that_it_has_not_made_takes_its_turn_in_a_list(space: str, name: str, changes: dict[str, Any]) -> None:
    """A made-up StatefulSet may still come into sight: its Pod waits for it, and its user is told."""
    late = stateful_set("web", 2, 1)
    where = world(late, namespace("other"))
    put(where, item := made(name, changes, namespace=space, annotations=LISTED))
    waits = space == "other" or "uid" in changes
    assert addresses(where, item) == ("" if waits else "10.16.0.11")
    if waits:
        uid = changes.get("uid", WEB.metadata.uid)
        assert told_about(where, item) == (
            f"Pod {space}/web-0 waits for StatefulSet web with UID {uid}, which its ownerReferences name and which "
            "does not exist; delete the Pod, or make it without this reference"
        )


@RESTARTS
def test_a_pod_that_runs_keeps_its_address_when_its_references_are_no_longer_believed(again: Restart | None) -> None:
    """As after an upgrade from a version that believed any StatefulSet: only the record is made anew."""
    where, first = cluster()
    found, row = addresses(where, first), port(where, "web-0.default")
    now = where.server.objects[first.metadata.uid]
    other = made("web-0", {"apiVersion": "apps.example.com/v1"}).metadata.owner_references
    meta = msgspec.structs.replace(now.metadata, owner_references=other)
    where.server.put(msgspec.structs.replace(now, metadata=meta))  # type: ignore[type-var]
    if again is not None:
        where.take(again)
    where.calm()
    assert port(where, "web-0.default") == row
    record = record_of(where, first)
    assert record is not None
    assert (record.spec.ip_address, record.spec.owner_uid, record.spec.pod_type) == (found, first.metadata.uid, "")


@RESTARTS
def test_a_pod_keeps_its_address_while_its_stateful_set_goes_and_another_takes_it_over(again: Restart | None) -> None:
    """As with `kubectl delete --cascade=orphan`: the reference goes, and comes with the UID of the next StatefulSet."""
    where, first = cluster()
    found, row = addresses(where, first), port(where, "web-0.default")

    def refer(*owners: OwnerReference) -> None:
        now = where.server.objects[first.metadata.uid]
        meta = msgspec.structs.replace(now.metadata, owner_references=owners)
        where.server.put(msgspec.structs.replace(now, metadata=meta))  # type: ignore[type-var]
        if again is not None:
            where.take(again)
        where.calm()
        assert port(where, "web-0.default") == row

    refer()
    where.server.remove(WEB.metadata.uid)
    where.calm()
    after = msgspec.structs.replace(WEB, metadata=msgspec.structs.replace(WEB.metadata, uid="sts-uid-anew"))
    put(where, after)
    refer(*made("web-0", {"uid": "sts-uid-anew"}).metadata.owner_references)
    where.server.remove(first.metadata.uid)
    where.calm()
    put(where, second := made("web-0", {"uid": "sts-uid-anew"}, uid="next"))
    assert addresses(where, second) == found


@RESTARTS
def test_the_record_of_a_stateful_set_that_is_gone_is_kept_for_no_other_pod(again: Restart | None) -> None:
    """The StatefulSet and its Pod are gone, and a Pod with the same reference comes before the record is removed."""
    where, first = cluster()
    found = addresses(where, first)
    where.server.remove(WEB.metadata.uid)
    where.server.remove(first.metadata.uid)
    where.server.put(second := made("web-0", {}, uid="next"))
    if again is not None:
        where.take(again)
    where.calm()
    assert addresses(where, second) not in ("", found)


def test_a_pod_in_sight_before_its_stateful_set_is_its_pod_all_the_same() -> None:
    where = world(first := made("web-0", {}))
    found, row = addresses(where, first), rows(where.topology)[RowKey(LogicalSwitchPort.TABLE, "web-0.default")]
    assert found
    put(where, WEB)
    assert rows(where.topology)[RowKey(LogicalSwitchPort.TABLE, "web-0.default")] == row
    where.server.remove(first.metadata.uid)
    where.calm()
    put(where, second := made("web-0", {}, uid="next"))
    assert addresses(where, second) == found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("web-0", ("web", 0)),
        ("a-b-12", ("a-b", 12)),
        ("web", None),
        ("-1", None),
        ("web-", None),
        ("web-01", None),
        ("web-x", None),
        ("web-1234567890", None),
    ],
)
def test_the_name_of_a_pod_tells_its_stateful_set(name: str, found: tuple[str, int] | None) -> None:
    assert names.split_ordinal(name) == found
