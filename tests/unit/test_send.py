"""Each kind of write as the requests it makes, in their order, and what the answers leave in the Stores."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from kube_ovn.controller import send
from kube_ovn.controller.send import Sender, Targets
from kube_ovn.k8s.client import APPLY, JSON, JSON_PATCH, MERGE, Client, KubeError
from kube_ovn.model import names
from kube_ovn.model.crd import Condition, IPPool, Subnet
from kube_ovn.model.history import Record
from kube_ovn.model.network import Kind, ObjectRef
from kube_ovn.model.resource import IPPOOLS, RESOURCES, SUBNETS
from kube_ovn.model.writes import Annotate, Apply, ApplyStatus, Create, Delete, Let, Patch
from tests.small_clusters import pool, subnet

NOW = "2026-05-05T05:05:05Z"
MANAGED = {"fieldManager": "kube-ovn-controller"}
FORCED = {**MANAGED, "force": "true"}


class Kube(Client):
    """Records what is asked and answers as it is told: with an object, or with a refusal by method."""

    def __init__(self, log: list[Any], answer: object = None) -> None:
        self.log, self.answer = log, answer
        self.refusals: dict[str, int] = {}

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        form: str = JSON,
        deadline: float = 0,
    ) -> bytes:
        asked = f"{method} {path}"
        self.log.append((asked, form, dict(query or {}), msgspec.to_builtins(body)))
        if (status := self.refusals.get(method)) is not None:
            raise KubeError(status, "", "no", path)
        return msgspec.json.encode(self.answer)


class World:
    """A Sender, everything it did in order, and its Stores."""

    def __init__(self, answer: object = None) -> None:
        self.log: list[Any] = []
        self.kube = Kube(self.log, answer)
        targets = Targets(RESOURCES)
        self.subnets, self.pools = targets.store(SUBNETS), targets.store(IPPOOLS)
        self.sender = Sender(self.kube, targets.by_kind, self._remember)
        self.history_works = True

    async def _remember(self, record: Record) -> None:
        self.log.append(("remember", record))
        if not self.history_works:
            raise KubeError(503, "", "no")

    @property
    def asked(self) -> list[str]:
        return [entry[0] for entry in self.log]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send, "_now", lambda: NOW)


def ref(kind: Kind, name: str, namespace: str = "", uid: str = "u") -> ObjectRef:
    return ObjectRef(kind=kind, namespace=namespace, name=name, uid=uid)


# --- One request each ---


async def test_annotations_are_those_of_the_object_with_this_uid() -> None:
    world = World()
    await world.sender.send(Annotate(object=ref(Kind.POD, "a", "shop"), annotations={"k": "v", "old": None}))
    body = {"metadata": {"uid": "u", "annotations": {"k": "v", "old": None}}}
    assert world.log == [("PATCH /api/v1/namespaces/shop/pods/a", MERGE, {}, body)]


async def test_an_object_is_made_whole_and_known_at_once() -> None:
    made = subnet("s", "10.20.0.0/24")
    world = World(msgspec.structs.replace(made, metadata=msgspec.structs.replace(made.metadata, resource_version="9")))
    body = {"metadata": {"name": "s"}, "spec": {"cidrBlock": "10.20.0.0/24"}}
    await world.sender.send(Create(object=ref(Kind.SUBNET, "s", uid=""), body=body))
    whole = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", **body}
    assert world.log == [("POST /apis/kubeovn.io/v1/subnets", JSON, MANAGED, whole)]
    known = world.subnets.named("", "s")
    assert known is not None
    assert (known.spec, known.metadata.resource_version) == (made.spec, "9")


async def test_what_is_applied_is_ours_by_force() -> None:
    world = World(versioned(subnet("s", "10.20.0.0/24")))
    body = {"metadata": {"name": "s", "uid": "u"}, "spec": {"protocol": "IPv4"}}
    await world.sender.send(Apply(object=ref(Kind.SUBNET, "s"), body=body))
    whole = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", **body}
    assert world.log == [("PATCH /apis/kubeovn.io/v1/subnets/s", APPLY, FORCED, whole)]


async def test_a_patch_is_of_the_object_with_this_uid() -> None:
    world = World()
    body = {"metadata": {"labels": {"l": "x"}}, "spec": {"nodeName": "node2"}}
    await world.sender.send(Patch(object=ref(Kind.IP, "a.default"), body=body))
    sent = {"metadata": {"name": "a.default", "uid": "u", "labels": {"l": "x"}}, "spec": {"nodeName": "node2"}}
    assert world.log == [("PATCH /apis/kubeovn.io/v1/ips/a.default", MERGE, {}, sent)]


async def test_a_finalizer_is_taken_off_where_it_stands() -> None:
    world = World()
    await world.sender.send(Let(object=ref(Kind.SUBNET, "s"), finalizer=names.FINALIZER, position=1))
    asked, form, _, operations = world.log[0]
    assert (asked, form) == ("PATCH /apis/kubeovn.io/v1/subnets/s", JSON_PATCH)
    assert operations[-2:] == [
        {"op": "test", "path": "/metadata/finalizers/1", "value": names.FINALIZER},
        {"op": "remove", "path": "/metadata/finalizers/1"},
    ]


@pytest.mark.parametrize("status", [404, 422])
async def test_an_object_that_went_or_changed_meanwhile_keeps_or_lost_its_finalizer_anyway(status: int) -> None:
    world = World()
    world.kube.refusals = {"PATCH": status}
    await world.sender.send(Let(object=ref(Kind.SUBNET, "s"), finalizer=names.FINALIZER, position=0))


@pytest.mark.parametrize("status", [0, 403, 409, 500])
async def test_any_other_refusal_is_raised(status: int) -> None:
    world = World()
    world.kube.refusals = {"PATCH": status, "POST": status}
    for write in (
        Let(object=ref(Kind.SUBNET, "s"), finalizer=names.FINALIZER, position=0),
        Annotate(object=ref(Kind.POD, "a", "shop"), annotations={}),
        Create(object=ref(Kind.VPC, "v", uid=""), body={}),
    ):
        with pytest.raises(KubeError) as refused:
            await world.sender.send(write)
        assert refused.value.status == status


# --- The end of a grant ---

RECORD = Record(
    addresses="10.16.0.2",
    mac="0a:00:00:00:00:01",
    subnet="ovn-default",
    holder="Pod default/a",
    uid="pod-u",
    since="2026-01-01T00:00:00Z",
    until="",
)
END = Delete(object=ref(Kind.IP, "a.default"), finalizer=names.FINALIZER, position=0, record=RECORD)
PATH = "/apis/kubeovn.io/v1/ips/a.default"


async def test_a_grant_ends_in_the_history_first_then_without_finalizer_then_not_at_all() -> None:
    world = World()
    await world.sender.send(END)
    assert world.asked == ["remember", f"PATCH {PATH}", f"DELETE {PATH}"]
    assert world.log[0][1] == msgspec.structs.replace(RECORD, until=NOW)
    assert world.log[2][3] == {"preconditions": {"uid": "u"}}


async def test_what_is_not_remembered_is_not_removed() -> None:
    world = World()
    world.history_works = False
    with pytest.raises(KubeError):
        await world.sender.send(END)
    assert world.asked == ["remember"]


async def test_what_keeps_its_finalizer_is_not_deleted() -> None:
    world = World()
    world.kube.refusals = {"PATCH": 500}
    with pytest.raises(KubeError):
        await world.sender.send(END)
    assert world.asked == ["remember", f"PATCH {PATH}"]


@pytest.mark.parametrize("refusals", [{"PATCH": 404, "DELETE": 404}, {"PATCH": 422}, {"DELETE": 404}])
async def test_what_is_gone_already_is_no_error(refusals: dict[str, int]) -> None:
    world = World()
    world.kube.refusals = refusals
    await world.sender.send(END)
    assert world.asked[-1] == f"DELETE {PATH}"


async def test_another_of_its_name_is_an_error() -> None:
    world = World()
    world.kube.refusals = {"DELETE": 409}
    with pytest.raises(KubeError):
        await world.sender.send(END)


async def test_without_a_finalizer_or_a_record_there_is_one_request() -> None:
    world = World()
    await world.sender.send(replace(END, finalizer="", record=None))
    assert world.asked == [f"DELETE {PATH}"]


# --- Conditions ---

OLD = "2026-01-01T00:00:00Z"
READY = Condition(type="Ready", status="True", reason="ReadyTrue", observed_generation=3)


def status_write(conditions: tuple[Condition, ...], before: tuple[Condition, ...]) -> ApplyStatus:
    return ApplyStatus(
        object=ref(Kind.IPPOOL, "few"), version="41", status={"v4UsingIPs": 1}, conditions=conditions, before=before
    )


async def sent_conditions(conditions: tuple[Condition, ...], before: tuple[Condition, ...]) -> list[dict[str, object]]:
    world = World(versioned(pool("few", "s")))
    await world.sender.send(status_write(conditions, before))
    found: list[dict[str, object]] = world.log[0][3]["status"]["conditions"]
    return found


def versioned(made: Subnet | IPPool) -> Subnet | IPPool:
    metadata = msgspec.structs.replace(made.metadata, resource_version="42")
    return msgspec.structs.replace(made, metadata=metadata)


async def test_a_status_is_applied_to_the_version_it_was_decided_for_and_known_at_once() -> None:
    world = World(versioned(pool("few", "s")))
    await world.sender.send(status_write((READY,), ()))
    ((asked, form, query, body),) = world.log
    assert (asked, form, query) == ("PATCH /apis/kubeovn.io/v1/ippools/few/status", APPLY, FORCED)
    assert body["metadata"] == {"name": "few", "uid": "u", "resourceVersion": "41"}
    assert body["status"]["v4UsingIPs"] == 1
    known = world.pools.named("", "few")
    assert known is not None
    assert known.metadata.resource_version == "42"


async def test_a_new_condition_has_the_time_it_is_written() -> None:
    (condition,) = await sent_conditions((READY,), ())
    assert condition == {
        "type": "Ready",
        "status": "True",
        "reason": "ReadyTrue",
        "message": "",
        "observedGeneration": 3,
        "lastTransitionTime": NOW,
        "lastUpdateTime": NOW,
    }


@pytest.mark.parametrize(
    ("before", "since"),
    [
        (Condition(type="Ready", status="True", last_transition_time=OLD), OLD),
        (Condition(type="Ready", status="True", reason="Other", message="other", last_transition_time=OLD), OLD),
        (Condition(type="Ready", status="False", last_transition_time=OLD), NOW),
        (Condition(type="Ready", status="True", last_transition_time=""), NOW),
        (Condition(type="Validated", status="True", last_transition_time=OLD), NOW),
    ],
)
async def test_a_condition_keeps_its_time_as_long_as_its_status_stays(before: Condition, since: str) -> None:
    (condition,) = await sent_conditions((READY,), (before,))
    assert (condition["lastTransitionTime"], condition["lastUpdateTime"]) == (since, NOW)


async def test_each_condition_has_its_own_time() -> None:
    before = (Condition(type="Ready", status="False", last_transition_time=OLD), replaced("Validated", OLD))
    ready, validated = await sent_conditions((READY, replaced("Validated", "")), before)
    assert (ready["lastTransitionTime"], validated["lastTransitionTime"]) == (NOW, OLD)


def replaced(kind: str, time: str) -> Condition:
    return Condition(type=kind, status="True", last_transition_time=time)


async def test_a_finalizer_is_taken_off_the_object_with_this_uid_and_no_namesake_of_it() -> None:
    world = World()
    await world.sender.send(END)
    assert {"op": "test", "path": "/metadata/uid", "value": "u"} in world.log[1][3]


async def test_every_kind_that_is_followed_can_be_written_to() -> None:
    world = World()
    for kind in Kind:
        await world.sender.send(Annotate(object=ref(kind, "a", "shop"), annotations={"k": "v"}))
    assert len(world.log) == len(Kind)
